"""The soak: a short one keeps every promise, and what breaks one is named."""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

from .soak import __main__ as command
from .soak.measures import Sample
from .soak.member import make_grant
from .soak.report import MOST_MEMORY, MOST_THREADS, SLOWEST_EXIT, Report
from .soak.run import Options, soak

if TYPE_CHECKING:
    from collections.abc import Callable

    from trioauth import TokenEndpoint, Tokens

pytestmark = pytest.mark.slow

# With this one, tokens expire before their time at once.
SEED = 5


async def test_soak_of_a_few_seconds_keeps_every_promise() -> None:
    arguments = f"--seconds 2 --tasks 45 --lifetime 0.8 --seed {SEED}".split()
    with trio.fail_after(60):
        done = await trio.run_process(
            [sys.executable, "-m", "tests.soak", *arguments],
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
            capture_stdout=True,
            check=False,
        )
    text = done.stdout.decode()
    assert "BROKEN" not in text
    assert text.count("kept  ") == 14
    assert done.returncode == 0


# httpx leaves the generator of a body where it was when its request is cancelled in between; the
# garbage collector finds it, in this test's process or not, and trio says so.
@pytest.mark.filterwarnings("ignore:Async generator 'httpx2?\\._content:ResourceWarning")
async def test_soak_names_a_leak_and_a_refresh_token_that_is_presented_twice() -> None:
    def twice(url: str) -> Any:
        grant = make_grant(url)

        async def present(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
            await grant(tokens, endpoint)
            return await grant(tokens, endpoint)

        return present

    leaked: list[Any] = []
    options = Options(
        seconds=1.5, tasks=30, lifetime=0.8, seed=SEED, make_grant=twice, keep=leaked.append
    )
    with trio.fail_after(60):
        report = await soak(options, tell=lambda line: None)
    assert {"P5", "objects"} <= set(report.broken)
    assert report.objects_left["httpx.Response"] > 0
    assert report.objects_left["httpx2.Response"] > 0


def a_sample(time: float, **held: Any) -> Sample:
    held = {"memory": 50.0, "files": 20, "threads": 3, "tasks": 5, "objects": Counter(), **held}
    return Sample(time, **held)


GOOD = Report(
    seconds=600,
    lifetime=2,
    logins=2,
    samples=[a_sample(10 * number) for number in range(60)],
    server=Counter(
        {"rotations": 500, "unauthorized": 900, "refused": 3, "logins": 9, "order: revoke": 3}
    ),
    clients=Counter({"requests": 9000, "logged out: refused": 3}),
    problems=Counter(),
    most_attempts=2,
    slowest_exit=0.1,
)


def growing(name: str, step: float) -> list[Sample]:
    return [a_sample(10 * number, **{name: 50 + step * number}) for number in range(60)]


def leaking(name: str, step: int) -> list[Sample]:
    many = [a_sample(10 * number, objects=Counter({name: step * number})) for number in range(60)]
    return [*many, a_sample(600)]


def but_at_the_end(**held: Any) -> list[Sample]:
    return [*GOOD.samples, a_sample(600, **held)]


def but_once(**held: Any) -> list[Sample]:
    return [*GOOD.samples[:30], a_sample(300, **held), *GOOD.samples[30:]]


def test_a_good_soak_breaks_nothing() -> None:
    assert GOOD.broken == []


@pytest.mark.parametrize(
    ("promise", "change"),
    [
        ("it ran", {"clients": Counter()}),
        ("it ran", {"server": GOOD.server - Counter(unauthorized=900)}),
        ("P1", {"server": GOOD.server + Counter(rotations=5000)}),
        ("P4", {"most_attempts": 3}),
        ("P5", {"server": GOOD.server + Counter(unexcused=1)}),
        ("P6", {"slowest_exit": SLOWEST_EXIT + 0.1}),
        ("P7", {"clients": GOOD.clients + Counter(unsaved=1)}),
        ("P8", {"samples": but_at_the_end(tasks=6)}),
        ("P14", {"clients": GOOD.clients + Counter({"logged out: unavailable": 1})}),
        ("P14", {"clients": GOOD.clients + Counter({"logged out: refused": 1})}),
        ("P14", {"server": GOOD.server - Counter({"order: revoke": 3})}),
        ("P20", {"problems": Counter({"TooSlowError: ": 1})}),
        ("memory", {"samples": growing("memory", MOST_MEMORY / 20)}),
        ("files", {"samples": but_at_the_end(files=21)}),
        ("threads", {"samples": but_once(threads=4 + MOST_THREADS)}),
        ("objects", {"samples": but_at_the_end(objects=Counter({"httpx.Response": 1}))}),
        ("objects", {"samples": leaking("trioauth.Generation", 5)}),
    ],
)
def test_soak_names_the_promise_or_bound_that_was_broken(
    promise: str, change: dict[str, Any]
) -> None:
    report = attrs.evolve(GOOD, **change)
    assert report.broken == [promise]
    assert any(line.startswith(f"BROKEN {promise}") for line in report.lines())


@pytest.mark.parametrize(
    ("report", "status"), [(GOOD, 0), (attrs.evolve(GOOD, most_attempts=3), 1)]
)
def test_soak_exits_with_one_if_a_promise_was_broken(
    report: Report,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[Options] = []

    async def fake(options: Options, tell: Callable[[str], object]) -> Report:
        asked.append(options)
        tell("so far, so good")
        return report

    monkeypatch.setattr(command, "soak", fake)
    assert command.main(["--minutes", "480", "--seed", "1"]) == status
    assert asked[0].seconds == 480 * 60
    shown = capsys.readouterr()
    assert "so far, so good" in shown.out
    assert shown.err == ("broken: P4\n" if status else "")
