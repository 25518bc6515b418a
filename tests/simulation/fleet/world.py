"""World: what a seed is turned into, for a fleet. The fields of the other worlds mean the same."""

from __future__ import annotations

import random
from typing import Final

import attrs

from tests.simulation.world import (
    SUDDEN,
    TROUBLES,
    Program,
    Servers,
    Step,
    Task,
    Trouble,
    Where,
    World,
    draw_program,
    draw_trouble,
    rounded,
)

STEPS: Final = (
    "get",
    "crowd",  # several requests at once
    "stream",
    "lent",  # by `session.http`
    "attached",  # by a client of the program, with the key in the request
    "attached_stream",
    "hold",  # a session that is used again after longer than the idle time
    "token",
    "refresh",
    "reject",
    "log_in",
    "log_out",
)
_WEIGHTS: Final = (20, 6, 5, 5, 8, 5, 6, 6, 7, 6, 3, 2)

STORE_TROUBLES: Final = (
    "pause",  # it answers nothing for a while; then what was asked of it is done
    "failover",  # to a replica that lacks the last write, whatever that was
    "failover_save",  # to one that lacks the last record, and all since
    "forget",  # it restarts empty
    "cut",  # it is cut off from one host
    "mute",  # it does what it is asked, and the answer is lost
    "twice",  # the same, and it is asked again
    "slow",
    "hint_lost",
)
MOMENTS: Final = (SUDDEN - {"lose", "remade"}) | set(STORE_TROUBLES[:5])
"""What happens at a moment, rather than to the next task that comes by."""
_WHERE: Final[dict[Where, int]] = {
    "endpoint": 8, "api": 5, "store": 12, "server": 2, "process": 1,
}  # fmt: skip


@attrs.frozen
class KeyedTask(Task):
    """A task that uses one login of a host."""

    key: int = 0


@attrs.frozen
class Host(Program):
    """A program that opens sessions for many logins."""

    idle: float = 300.0
    max_asking: int = 100


@attrs.frozen
class FleetWorld(World):
    """All there is."""

    keys: int = 1
    cookies: bool = False
    lease: float = 60.0
    """For how long a lock lasts; it may be too short for a flight, against the documentation."""
    store_timeout: float = 5.0
    store_latency: float = 0.0


def name_of(key: int) -> str:
    """Return the name of a key: a personal one, to be seen nowhere."""
    return f"person-{key}@sim"


def draw(seed: int) -> FleetWorld:
    """Draw the fleet of a seed."""
    r = random.Random(f"trioauth fleet {seed}")
    lifetime = rounded(r.choice((0.5, 2, 5, 10, 30, 3600)) * r.uniform(1, 1.5))
    horizon = rounded(min(60.0, max(5.0, lifetime * r.uniform(1.5, 4))))
    hosts = tuple(_draw_host(r, horizon) for _ in range(r.choice((1, 2, 2, 3, 4))))
    keys = r.choice((1, 2, 2, 3, 5))
    moments = [rounded(r.uniform(0, horizon * 0.8)) for _ in range(r.randint(1, 5))]
    count = 2 + int(24 * r.random() ** 2)
    longest = max(host.policy.timeout for host in hosts)
    return FleetWorld(
        seed=seed,
        horizon=horizon,
        shared=True,
        prefilled=r.random() < 0.7,
        servers=Servers(
            lifetime=lifetime,
            latency=r.choice((0.0, 0.05, 0.3, 1.0)),
            api_latency=r.choice((0.0, 0.02, 0.2)),
            grace=r.choice((0.0, 0.0, 0.0, 30.0)),
            kills_old=r.random() < 0.3,
        ),
        programs=hosts,
        tasks=tuple(_draw_task(r, len(hosts), keys, moments, horizon) for _ in range(count)),
        troubles=tuple(_draw_trouble(r, horizon) for _ in range(int(10 * r.random() ** 1.3))),
        keys=keys,
        cookies=r.random() < 0.5,
        lease=rounded(longest * 2) if r.random() < 0.6 else r.choice((0.5, 1.0, 3.0)),
        store_timeout=r.choice((0.5, 2.0, 5.0)),
        store_latency=r.choice((0.0, 0.0, 0.01, 0.1)),
    )


def _draw_host(r: random.Random, horizon: float) -> Host:
    program = draw_program(r, horizon)
    return Host(
        program.client,
        attrs.evolve(program.policy, when_unavailable="stay"),
        program.visits,
        idle=r.choice((0.0, 0.1, 0.5, 3.0, 20.0)),
        max_asking=r.choice((1, 2, 100)),
    )


def _draw_task(
    r: random.Random, hosts: int, keys: int, moments: list[float], horizon: float
) -> KeyedTask:
    start = r.choice(moments) if r.random() < 0.8 else rounded(r.uniform(0, horizon))
    steps = tuple(_draw_step(r, first=number == 0) for number in range(r.choice((1, 1, 2, 3, 5))))
    return KeyedTask(r.randrange(hosts), start, steps, key=r.randrange(keys))


def _draw_step(r: random.Random, *, first: bool) -> Step:
    (what,) = r.choices(STEPS, _WEIGHTS)
    after = 0.0 if first else rounded(r.choice((0.0, r.expovariate(1), r.expovariate(0.2))))
    patience = rounded(r.choice((0.0, r.uniform(0, 0.5), r.uniform(0, 5))))
    amount = rounded(r.choice((0.0, 1.0, r.uniform(0, 20))))
    return Step(what, after, patience if r.random() < 0.25 else None, amount)


def _draw_trouble(r: random.Random, horizon: float) -> Trouble:
    (where,) = r.choices(list(_WHERE), list(_WHERE.values()))
    what = r.choice(STORE_TROUBLES if where == "store" else TROUBLES[where])
    return draw_trouble(r, where, what, horizon)
