"""World: what a seed is turned into. Plain, frozen values, so that a world can be made smaller."""

from __future__ import annotations

import random
from typing import Final, Literal, TypeAlias

import attrs

from trioauth import RefreshPolicy

ClientKind: TypeAlias = Literal["own", "httpx", "httpx2"]
Leaving: TypeAlias = Literal["return", "raise", "cancel"]
Where: TypeAlias = Literal["endpoint", "api", "store", "server", "wall", "process", "observer"]

REQUESTS: Final = ("get", "post", "once", "form", "stream", "denied", "away", "foreign")
# Several requests in a row, to what always refuses.
SERIES: Final = (
    "poll",  # by a caller who gives up soon
    "upload",  # with bodies that can't be sent again
    "items",  # each to a path of its own
)
STEPS: Final = (
    *REQUESTS,
    "token",
    "token_nowait",
    "refresh",
    "reject",
    "nursery",
    "wait_logged_out",
    "log_out",
    "log_in",
    *SERIES,
)
_WEIGHTS: Final = (30, 6, 6, 6, 5, 6, 2, 1, 10, 6, 5, 5, 5, 3, 1, 3, 1.5, 1.5, 0.7)

TROUBLES: Final[dict[Where, tuple[str, ...]]] = {
    "endpoint": (
        "delay",  # before it is read
        "slow",  # after it was acted upon
        "connect",  # never reached the server
        "reset_unread",
        "reset_read",  # read, not acted upon
        "reset_rotated",
        "500",
        "500_rotated",
        "502_html",
        "503",
        "429",
        "truncated",
        "cut_json",
        "portal",
        "garbage",
        "odd",  # tokens, with odd members
        "no_tokens",  # 200 with JSON that says no
        "no_sense",  # 200 with JSON that says nothing
        "invalid_client",
        "temporarily_unavailable",
        "empty_400",
        "redirect",
        "hang",
        "hang_rotated",
    ),
    "api": (
        "401",
        "401_bare",
        "401_late",  # judged at once, answered late
        "slow",
        "403",
        "500",
        "reset",
        "step_up",
        "basic",
    ),
    "store": (
        "load_raises",
        "save_raises",
        "lock_raises",
        "load_slow",
        "save_slow",
        "lock_slow",
        "load_hangs",
        "save_hangs",
        "lock_hangs",
        "conflict",
        "saved_in_spite",
        "lapse",  # the lock excludes no process, as a lease that ran out
        "lose",  # the contents are gone
        "remade",  # and another process has logged in anew, from the first generation on
    ),
    "server": ("revoke", "kill"),  # the login; its access tokens
    "wall": ("forward", "back", "suspend"),
    "process": ("stop",),  # it is stopped, while the rest of the world goes on
    "observer": ("interrupt",),  # it raises what is caught nowhere, as Control-C in it does
}
_WHERE_WEIGHTS: Final[dict[Where, int]] = {
    "endpoint": 10, "api": 8, "store": 4, "server": 3, "wall": 2, "process": 1, "observer": 1,
}  # fmt: skip
# What happens at a moment, rather than to the next task that comes by.
SUDDEN: Final = frozenset(
    {"lose", "remade", "revoke", "kill", "forward", "back", "suspend", "stop"}
)


@attrs.frozen
class Trouble:
    """Something that goes wrong, from ``at`` on, for the next ``times`` who come by."""

    where: Where
    what: str
    at: float
    until: float
    """When it is over, even if no task came by."""
    times: int
    amount: float


@attrs.frozen
class Step:
    """One thing that a task does with its session."""

    what: str
    after: float
    """The pause before it."""
    patience: float | None
    """When it is cancelled, in seconds from its start."""
    amount: float


@attrs.frozen
class Task:
    """A task of a program."""

    program: int
    start: float
    steps: tuple[Step, ...]


@attrs.frozen
class Visit:
    """A session from opening to leaving; the next one is opened on the same store."""

    after: float
    stay: float | None
    """None: to the end of the world."""
    leave: Leaving
    fresh_login: bool
    """Opened with ``tokens=``, rather than as the store says."""


@attrs.frozen
class Program:
    """One who opens sessions."""

    client: ClientKind
    policy: RefreshPolicy
    visits: tuple[Visit, ...]
    slots: int | None = None
    """How many connections the session's own client has; None: no limit."""
    stranger: bool = False
    """It has another client id, so that no record of the others is any of its business."""
    stubborn: bool = False
    """Its grant can't be cancelled."""


@attrs.frozen
class Servers:
    """The authorization server and the API."""

    lifetime: float
    latency: float
    api_latency: float
    grace: float
    """For how long a refresh token that was used is forgiven, once its answer may be lost."""
    kills_old: bool
    """A refresh ends the life of the access token before it."""


@attrs.frozen
class World:
    """All there is."""

    seed: int
    horizon: float
    """When the weather clears."""
    shared: bool
    """One store for all programs, or each its own."""
    prefilled: bool
    """There is a login in the store from the start."""
    servers: Servers
    programs: tuple[Program, ...]
    tasks: tuple[Task, ...]
    troubles: tuple[Trouble, ...]


def draw(seed: int) -> World:
    """Draw the world of a seed."""
    r = random.Random(f"trioauth world {seed}")
    lifetime = rounded(r.choice((0.5, 1, 2, 5, 10, 30, 120, 3600)) * r.uniform(1, 1.5))
    horizon = rounded(min(60.0, max(5.0, lifetime * r.uniform(1.5, 4))))
    programs = tuple(draw_program(r, horizon) for _ in range(r.choice((1, 1, 1, 2, 2, 3, 4))))
    # Tasks come in crowds: much of what goes wrong needs two at the same time.
    moments = [rounded(r.uniform(0, horizon * 0.8)) for _ in range(r.randint(1, 5))]
    count = 1 + int(29 * r.random() ** 2.5)
    return World(
        seed=seed,
        horizon=horizon,
        shared=r.random() < 0.6,
        prefilled=r.random() < 0.6,
        servers=Servers(
            lifetime=lifetime,
            latency=r.choice((0.0, 0.05, 0.3, 1.0)),
            api_latency=r.choice((0.0, 0.02, 0.2)),
            grace=r.choice((0.0, 0.0, 5.0, 30.0)),
            kills_old=r.random() < 0.3,
        ),
        programs=programs,
        tasks=tuple(_draw_task(r, len(programs), moments, horizon) for _ in range(count)),
        troubles=tuple(_draw_trouble(r, horizon) for _ in range(int(13 * r.random() ** 1.5))),
    )


def draw_program(r: random.Random, horizon: float) -> Program:
    """Draw a program and its visits."""
    timeout = r.choice((1.0, 3.0, 10.0, 30.0))
    policy = RefreshPolicy(
        early=r.choice((0, 1, 10, 60)),
        leeway=r.choice((0, 0.1, 1, 5)),
        timeout=timeout,
        attempts=r.choice((1, 2, 4, 5)),
        backoff=r.choice((0.1, 0.5, 1)),
        cooldown=r.choice((0, 0.5, 2, 5)),
        close_grace=r.choice((0, 0.5, 2, 5)),
        max_futile=r.choice((1, 2, 3)),
        keep_fresh=r.random() < 0.2,
        when_unavailable="log_out" if r.random() < 0.15 else "stay",
    )
    count = r.choice((1, 1, 1, 2, 3))
    leavings: tuple[Leaving, ...] = ("return", "raise", "cancel")
    visits = tuple(
        Visit(
            after=rounded(r.choice((0, 0, r.uniform(0, 2)))),
            stay=rounded(r.uniform(0.1, horizon)) if number + 1 < count else None,
            leave=r.choice(leavings),
            fresh_login=r.random() < (0.6 if number == 0 else 0.2),
        )
        for number in range(count)
    )
    clients: tuple[ClientKind, ...] = ("own", "httpx", "httpx2")
    client = r.choice(clients)
    return Program(
        client,
        policy,
        visits,
        slots=r.choice((None, 1, 1, 2)) if client == "own" else None,
        stranger=r.random() < 0.05,
        stubborn=r.random() < 0.12,
    )


def _draw_task(r: random.Random, programs: int, moments: list[float], horizon: float) -> Task:
    start = r.choice(moments) if r.random() < 0.8 else rounded(r.uniform(0, horizon))
    steps = tuple(_draw_step(r, first=number == 0) for number in range(r.choice((1, 1, 2, 3, 5))))
    return Task(r.randrange(programs), start, steps)


def _draw_step(r: random.Random, *, first: bool) -> Step:
    (what,) = r.choices(STEPS, _WEIGHTS)
    after = 0.0 if first else rounded(r.choice((0.0, r.expovariate(1), r.expovariate(0.2))))
    patience = rounded(r.choice((0.0, r.uniform(0, 0.5), r.uniform(0, 5))))
    if what in ("wait_logged_out", "nursery"):
        impatient = r.random() < 0.7
    else:
        impatient = r.random() < 0.25
    amount = rounded(r.choice((0.0, 1.0, r.uniform(0, 20))))
    return Step(what, after, patience if impatient else None, amount)


def _draw_trouble(r: random.Random, horizon: float) -> Trouble:
    (where,) = r.choices(list(_WHERE_WEIGHTS), list(_WHERE_WEIGHTS.values()))
    return draw_trouble(r, where, r.choice(TROUBLES[where]), horizon)


def draw_trouble(r: random.Random, where: Where, what: str, horizon: float) -> Trouble:
    """Draw when something goes wrong, and how much."""
    at = rounded(r.uniform(0, horizon))
    if what == "lapse":
        # It takes two at the same time to notice.
        return Trouble(where, what, at, until=horizon, times=30, amount=0.0)
    return Trouble(
        where,
        what,
        at,
        until=rounded(at + r.expovariate(0.1)),
        times=r.choice((1, 1, 1, 2, 3, 8)),
        amount=rounded(r.choice((0.1, 1.0, 3.0, 12.0, 600.0)) * r.uniform(0.5, 1.5)),
    )


def rounded(number: float) -> float:
    """Return a number that is short in the log."""
    return round(number, 3)
