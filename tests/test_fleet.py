"""The fleet: a short one loses what it must and no more, and the account names what is wrong."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

from .fleet.account import Account, Life
from .fleet.notes import Note, Token
from .fleet.report import Row, rows
from .fleet.run import Plan, run_fleet
from .redis_server import redis_server

if TYPE_CHECKING:
    from pathlib import Path

    from .fleet.stores import Kind

SECONDS = 6.0
LEASE = 5.0
PATIENCE = 400.0
"""A busy machine takes its time to start eight processes, again and again."""


@pytest.mark.slow
@pytest.mark.xdist_group("fleet")
@pytest.mark.parametrize(("kind", "keys"), [("file", 1), ("sqlite", 20), ("redis", 20)])
async def test_p31_processes_killed_at_random_cost_what_a_kill_must_cost_and_nothing_else(
    kind: Kind, keys: int, tmp_path: Path
) -> None:
    async def run(place: str) -> Account:
        plan = Plan(
            kind=kind, place=place, seconds=SECONDS, keys=keys, workers=4, lease=LEASE, seed=2
        )
        return await run_fleet(plan, tell=lambda _: None)

    with trio.fail_after(PATIENCE):
        if kind == "redis":
            with redis_server(tmp_path) as server:
                account = await run(server.url)
        else:
            account = await run(str(tmp_path / "logins"))
    # A machine that is overloaded may not have come to a kill.
    wrong = [check for check in account.checks() if not check.kept and check.promise != "it ran"]
    assert not wrong
    assert not account.problems
    assert account.refreshes
    assert set(account.usable) == set(account.keys.values())


# --- the account ------------------------------------------------------------------------------

FIRST, SECOND = Token(1, 1), Token(1, 2)


def notes(*whats: str, token: Token = FIRST, at: float = 0.0) -> tuple[Note, ...]:
    """Notes, a tenth of a second apart."""
    tokens = {"spend": token, "answered": token, "saved": token.next, "loaded": token}
    return tuple(
        Note(what, "" if what in ("spend", "answered") else "a", tokens.get(what), at + number / 10)
        for number, what in enumerate(whats)
    )


WHOLE = ("locked", "loaded", "probing", "spend", "answered", "saved", "unlocked")
BEGIN = Life(0, (Note("saved", "a", FIRST, -1.0),))
GOOD = Account(
    kind="sqlite",
    seconds=6,
    seed=1,
    lease=math.inf,
    keys={1: "a"},
    lives=[BEGIN, Life(1, notes(*WHOLE))],
    presented=[(1, 10, "rotated")],
    refreshes=1,
    requests=1,
    orders={"SIGKILL": 1},
    usable={"a": SECOND},
)
REUSED = [(1, 10, "rotated"), (1, 10, "reused")]
AFTERWARDS = Life(
    2, notes("locked", "loaded", "probing", "spend", "answered", "ended", "unlocked", at=9)
)
KILLED = Life(1, notes("locked", "loaded", "probing", "spend"), killed=True)
LOST: dict[str, Any] = {"presented": REUSED, "usable": {"a": None}}


def test_a_fleet_that_lost_nothing_is_in_order() -> None:
    assert GOOD.broken == []
    assert not GOOD.must_cost


def test_kill_between_rotation_and_save_costs_a_login() -> None:
    account = attrs.evolve(GOOD, lives=[BEGIN, KILLED, AFTERWARDS], **LOST)
    assert account.broken == []
    assert dict(account.must_cost) == {FIRST: "killed"}


def test_kill_before_the_request_was_sent_costs_nothing() -> None:
    after = Life(2, notes(*WHOLE, at=9))
    account = attrs.evolve(GOOD, lives=[BEGIN, KILLED, after])
    assert account.broken == []
    assert not account.must_cost


def test_kill_after_the_save_reached_the_store_costs_nothing() -> None:
    reader = Life(2, (Note("loaded", "a", SECOND, 9.0),))
    account = attrs.evolve(GOOD, lives=[BEGIN, KILLED, reader])
    assert account.broken == []
    assert not account.must_cost


def test_stop_for_longer_than_the_lease_costs_a_login() -> None:
    stopped = list(notes(*WHOLE[:-2], "unlocked"))
    stopped[-1] = attrs.evolve(stopped[-1], time=10.0)
    lives = [BEGIN, Life(1, stopped), AFTERWARDS]
    account = attrs.evolve(GOOD, lives=lives, lease=5.0, **LOST)
    assert account.broken == []
    assert dict(account.must_cost) == {FIRST: "stopped"}
    # Without a lease that is a defect.
    assert "P31" in attrs.evolve(account, lease=math.inf).broken


@pytest.mark.parametrize(
    ("promise", "change"),
    [
        ("it ran", {"orders": {}}),
        ("it ran", {"problems": ["worker 3: status 1"]}),
        # Two that lived have spent the same token.
        ("P31", {"lives": [*GOOD.lives, AFTERWARDS], **LOST}),
        # A kill cost a login, and nothing has used it since.
        ("P31", {"lives": [BEGIN, KILLED], "usable": {"a": SECOND}}),
        # It reached the server unannounced.
        ("P5", {"lives": [BEGIN]}),
        # An answer was given up at once.
        ("P5", {"lives": [BEGIN, Life(1, notes("locked", "probing", "spend", "unlocked"))]}),
        # New tokens were lost, and no process was.
        ("P1", {"lives": [BEGIN, Life(1, notes(*WHOLE[:-2], "unlocked"))]}),
        ("P1", {"refreshes": 2}),
        ("P14", {"keys": {1: "a", 2: "a"}, "usable": {"a": Token(2, 1)}}),
        ("P31", {"usable": {"a": None}}),
        ("P30", {"lives": [*GOOD.lives, Life(2, (Note("got", "b", SECOND, 9.0),))]}),
    ],
)
def test_account_names_what_was_broken(promise: str, change: dict[str, Any]) -> None:
    assert promise in attrs.evolve(GOOD, **change).broken


def test_table_has_a_row_for_each_store() -> None:
    lines = rows([Row.of(GOOD)])
    assert len({line.count("|") for line in lines}) == 1
    assert lines[-1].startswith("| `SQLiteStore` | 1 | 6 | 1 | 1 |")
