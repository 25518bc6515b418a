"""The simulation of fleets: some hundreds keep P30 to P34, and meet every kind of trouble."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import attrs
import pytest

from .simulation.__main__ import main
from .simulation.fleet.judge import FleetJudge
from .simulation.fleet.run import play, play_range
from .simulation.fleet.world import STEPS, STORE_TROUBLES, draw

if TYPE_CHECKING:
    from collections import Counter

SEEDS = range(200)
# Two tests look at those worlds; run in several processes, they must come to the same one.
together = pytest.mark.xdist_group("some hundreds of fleets")


@pytest.fixture(autouse=True)
def canary() -> None:
    """Stand in for the suite's canary: the simulation looks for secrets itself, and faster."""


@pytest.fixture(scope="module")
def covered() -> tuple[Counter[str], dict[int, tuple[str, ...]]]:
    return play_range(SEEDS)


@pytest.mark.slow
@together
def test_in_some_hundreds_of_fleets_every_promise_is_kept(
    covered: tuple[Counter[str], dict[int, tuple[str, ...]]],
) -> None:
    _, failures = covered
    assert not failures, "see: python -m tests.simulation --fleet --seed N --verbose"


@pytest.mark.slow
@together
def test_those_fleets_have_met_everything_there_is_to_meet(
    covered: tuple[Counter[str], dict[int, tuple[str, ...]]],
) -> None:
    counts, _ = covered
    expected = {
        *(f"store:{what}" for what in STORE_TROUBLES),
        *(f"did: {what}" for what in STEPS),
        *(f"log-outs: {reason}" for reason in ("asked", "refused", "replaced", "elsewhere")),
        "leases that ended in mid-refresh",
        "left by cancel",
        "logins that ended by reuse",
        "lost answers",
        "not saved",
        "presented when the lease had just ended",
        "process:stop",
        "raised: StoreError",
        "refreshed again: the store lost it",
        "requests with a cookie",
        "saves that came too late",
        "server:kill",
        "server:revoke",
        "sessions dropped when idle",
        "two refreshes at once: a lease ended in mid-refresh",
        "waits for a lease",
    }
    assert sorted(expected - counts.keys()) == []


@pytest.mark.slow
def test_the_same_seed_gives_the_same_fleet_to_the_letter() -> None:
    for seed in range(10):
        world = draw(seed)
        assert draw(seed) == world
        random.seed(seed)
        first = play(world).log
        random.seed(seed + 1)
        assert play(world).log == first


@pytest.mark.slow
def test_a_broken_promise_in_a_fleet_is_shown_with_the_command_that_repeats_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(FleetJudge, "locked_out", lambda self, *_: self.ledger.violate("P0", "no"))
    assert main(["--fleet", "--seeds", "8:12"]) == 1
    seed = capsys.readouterr().out.partition("--fleet --seed ")[2].partition(" ")[0]
    assert main(["--fleet", "--seed", seed]) == 1
    assert "P0: no" in capsys.readouterr().out
    monkeypatch.undo()
    assert main(["--fleet", "--seed", seed]) == 0


def test_a_fleet_without_tasks_and_troubles_is_quiet() -> None:
    world = attrs.evolve(draw(1), tasks=(), troubles=())
    assert not play(world).violations
