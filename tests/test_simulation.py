"""The simulation: some hundreds of worlds keep every promise, and meet every kind of trouble."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest
import trio

from .simulation.__main__ import main
from .simulation.actors import Actor
from .simulation.ledger import Ledger
from .simulation.run import play, play_range
from .simulation.shrink import shrink
from .simulation.world import STEPS, SUDDEN, TROUBLES, draw

if TYPE_CHECKING:
    from collections import Counter

SEEDS = range(300)
# Two tests look at those worlds; run in several processes, they must come to the same one.
together = pytest.mark.xdist_group("some hundreds of worlds")


@pytest.fixture(autouse=True)
def canary() -> None:
    """Stand in for the suite's canary: the simulation looks for secrets itself, and faster."""


@pytest.fixture(scope="module")
def covered() -> tuple[Counter[str], dict[int, tuple[str, ...]]]:
    return play_range(SEEDS)


@pytest.mark.slow
@together
def test_in_some_hundreds_of_worlds_every_promise_is_kept(
    covered: tuple[Counter[str], dict[int, tuple[str, ...]]],
) -> None:
    _, failures = covered
    assert not failures, "see: python -m tests.simulation --seed N --verbose"


@pytest.mark.slow
@together
def test_those_worlds_have_met_everything_there_is_to_meet(
    covered: tuple[Counter[str], dict[int, tuple[str, ...]]],
) -> None:
    counts, _ = covered
    troubles = {f"{where}:{what}" for where, kinds in TROUBLES.items() for what in kinds}
    at_once = {"token_nowait", "reject", "foreign"}
    expected = {
        *troubles,
        *(f"did: {what}" for what in STEPS),
        *(f"cancelled: {what}" for what in STEPS if what not in at_once),
        *(f"flights: {cause}" for cause in ("clock", "rejected", "asked_for")),
        *(f"handed back: {why}" for why in ("again", "body", "futile")),
        "final: quiet",
        "interrupted: get",
        "kept out by another client's record",
        "reports ignored",
        "requests sent three times",
        "sessions interrupted",
        *(
            f"log-outs: {reason}"
            for reason in ("asked", "refused", "unavailable", "replaced", "elsewhere")
        ),
        "Retry-After: date",
        "Retry-After: seconds",
        "adoptions",
        "cancelled: waiting for a flight",
        "deadlines hit",
        "failed flights",
        "final requests",
        "late 401s",
        "left by cancel",
        "left by raise",
        "left with a refresh in the air",
        "lost answers",
        "not saved",
        "refresh tokens presented again",
        "repeats forgiven",
        "requests resent",
        "requests to foreign hosts",
        "reuse",
        "revocations",
        "sessions that could not be opened",
    }
    assert SUDDEN < {what for kinds in TROUBLES.values() for what in kinds}
    assert sorted(expected - counts.keys()) == []


@pytest.mark.slow
def test_the_same_seed_gives_the_same_world_to_the_letter() -> None:
    for seed in range(20):
        world = draw(seed)
        assert draw(seed) == world
        random.seed(seed)
        first = play(world).log
        random.seed(seed + 1)
        assert play(world).log == first
        assert len(first.splitlines()) > 3


@pytest.mark.slow
def test_two_processes_find_what_one_finds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = [sys.executable, "-m", "tests.simulation", "--seeds", "0:60", "--jobs", "2"]
    root = Path(__file__).parents[1]
    done = subprocess.run(
        command, cwd=root, capture_output=True, text=True, timeout=300, check=False
    )
    assert main(["--seeds", "0:60", "--stop-at-first"]) == done.returncode == 0
    assert done.stdout.splitlines()[:-1] == capsys.readouterr().out.splitlines()[:-1]


def test_a_broken_promise_is_shown_with_the_command_that_repeats_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    _break_a_promise(monkeypatch)
    report = tmp_path / "report.json"
    assert main(["--seeds", "8:10", "--json", str(report)]) == 1
    shown = capsys.readouterr()
    assert "P0: the second rotation (at " in shown.out
    assert "python -m tests.simulation --seed 8 --verbose" in shown.out
    assert '"rotations"' in report.read_text()
    assert main(["--seed", "8", "--verbose"]) == 1
    assert "P0: the second rotation" in capsys.readouterr().out


def test_a_failing_world_is_shrunk_to_what_it_takes_to_fail(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _break_a_promise(monkeypatch)
    world = draw(8)
    smaller = shrink(world, play)
    assert play(smaller).violations
    assert len(smaller.tasks) < len(world.tasks)
    assert shrink(smaller, play) == smaller
    monkeypatch.undo()
    assert shrink(world, play) == world, "it fails no longer"


def _break_a_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the judge find fault with the second rotation of each world."""
    count = Ledger.count

    def fussy(ledger: Ledger, what: str, times: int = 1) -> None:
        count(ledger, what, times)
        if what == "rotations" and ledger.counts["rotations"] == 2:
            ledger.violate("P0", "the second rotation")

    monkeypatch.setattr(Ledger, "count", fussy)


def test_an_exception_that_no_task_may_see_breaks_a_promise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fail(self: Actor, what: str) -> None:
        await trio.lowlevel.checkpoint()
        raise KeyError(what)

    monkeypatch.setattr(Actor, "_do", fail)
    assert any("P19" in violation for violation in play(draw(0)).violations)


def test_a_world_without_actors_is_quiet() -> None:
    world = attrs.evolve(draw(1), tasks=(), troubles=())
    assert not play(world).violations
