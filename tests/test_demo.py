"""The demo, as a user starts it, and what it says when a promise is broken.

It runs in real time, on a real socket: so the runs are few, and short.
"""

import random
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import attrs
import httpx
import pytest
import trio

import trioauth
from trioauth import events
from trioauth.cli._command import main
from trioauth.cli._demo import demo as demos
from trioauth.cli._demo import plan
from trioauth.cli._demo.crowd import Crowd
from trioauth.cli._demo.demo import Demo
from trioauth.cli._demo.report import Counts, checks
from trioauth.cli._demo.show import Show, run
from trioauth.cli._demo.view import _crowd as draw_crowd
from trioauth.cli._demo.view import tell
from trioauth.testing import AuthServer

SHORT = ["--tasks", "8", "--seconds", "2", "--lifetime", "2"]

GOOD = Counts(
    requests=100,
    refused_twice=1,
    unauthorized=12,
    resent=11,
    most_attempts=2,
    unavailable=3,
    refreshes=7,
    landed=5,
    failed=2,
    generations=6,
    rotations=5,
    most_in_flight=1,
    dropped=1,
    repeated=1,
    cancelled=20,
    cancelled_waiting=8,
    slowest_exit=0.02,
    longest_wait=1.5,
    ended="refused",
    lasted=True,
    present=50,
    told=50,
)


def broken(counts: Counts) -> set[str]:
    return {each.promise for each in checks(counts) if not each.kept}


# --- as a user starts it -------------------------------------------------------------------


@pytest.mark.slow
def test_the_demo_keeps_its_promises_and_says_so(tmp_path: Path) -> None:
    picture = tmp_path / "demo.svg"
    done = subprocess.run(
        [sys.executable, "-m", "trioauth", "demo", "--tasks", "20", "--seconds", "4",
         "--lifetime", "1", "--seed", "7", "--timeline", str(picture)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    lines = done.stdout.splitlines()
    assert sum("the token endpoint is down" in line for line in lines) >= 1
    assert "      refresh tokens presented twice  1" in lines
    assert " tasks that saw the end of the login  20 of 20" in lines
    assert "                  tasks left running  0" in lines
    assert "AuthServer's reuse_grace" in done.stdout
    promises = [line.split()[1] for line in lines if line.startswith("  kept  ")]
    assert promises == ["P1", "P4", "P5", "P6", "P7", "P11", "P12", "P14", "P20"]
    assert lines[lines.index("session.explain() says:") + 2].startswith(
        "  Session:      logged out"
    )
    assert "canary" not in done.stdout + picture.read_text(encoding="utf-8")
    assert "logged out: refused" in " ".join(ET.parse(picture).getroot().itertext())


def test_ctrl_c_ends_it_quietly_with_130() -> None:
    command = [sys.executable, "-m", "trioauth", "demo", *SHORT, "--seconds", "30"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
        assert process.stderr.read() == b""


def test_without_arguments_it_prints_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "many tasks, one refresh" in capsys.readouterr().out


# --- in a terminal -------------------------------------------------------------------------


@pytest.mark.slow
def test_in_a_terminal_it_is_a_live_picture(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert main(["demo", *SHORT, "--httpx2"]) == 0
    shown = capsys.readouterr().out
    for words in ("generation", "the token endpoint is down", "waits for the refresh", "lands"):
        assert words in shown
    # The cursor is shown again, and the report comes after the picture.
    assert shown.rindex("\x1b[?25h") < shown.index("tasks left running")


async def test_only_so_many_dots_are_drawn() -> None:
    demo = Demo(tasks=403)
    demo.crowd.get = never
    async with trio.open_nursery() as nursery:
        for slot in range(403):
            demo.crowd.start(nursery, slot)
        text = draw_crowd(demo).plain
        nursery.cancel_scope.cancel()
    assert text == "·" * 400 + " and 3 more"


# --- broken promises -----------------------------------------------------------------------


@pytest.mark.slow
def test_a_server_that_forgives_nothing_makes_it_report_broken_promises(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demos, "_REUSE_GRACE", 0.0)
    assert main(["demo", *SHORT]) == 1
    lines = capsys.readouterr().out.splitlines()
    marks = [line.split()[1] for line in lines if line.startswith("BROKEN  ")]
    assert "P5" in marks
    assert "P14" in marks
    assert "P12" not in marks


async def _watch_nothing(show: Show) -> None:
    await trio.sleep_forever()


@pytest.mark.slow
async def test_a_login_that_does_not_end_is_reported_and_no_task_waits_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(AuthServer, "revoke", lambda self: None)
    monkeypatch.setattr(plan, "_LAST_WAIT", 0.1)
    demo = Demo(tasks=5, seconds=0.5, lifetime=1)
    assert await run(demo, partial(plan.carry_out, demo), _watch_nothing)
    assert broken(demo.counts) >= {"P11", "P12"}
    assert demo.counts.left_running == 5


def test_good_counts_break_no_promise() -> None:
    assert broken(GOOD) == set()


@pytest.mark.parametrize(
    ("promise", "changes"),
    [
        ("P1", {"rotations": 6}),
        ("P1", {"rotations": 4}),
        ("P1", {"most_in_flight": 2}),
        ("P4", {"most_attempts": 3}),
        ("P4", {"refused_once": 1}),
        ("P5", {"reused": 1}),
        ("P5", {"repeated": 3}),
        ("P5", {"dropped": 0}),
        ("P6", {"slowest_exit": 1.0}),
        ("P6", {"landed": 4}),
        ("P7", {"unsaved": 1}),
        ("P11", {"told": 49}),
        ("P11", {"present": 0, "told": 0}),
        ("P11", {"ended": "unavailable"}),
        ("P11", {"ended": None}),
        ("P12", {"left_running": 1}),
        ("P14", {"lasted": False}),
        ("P20", {"longest_wait": 10.1}),
    ],
)
def test_each_promise_that_is_broken_is_found_and_told(
    promise: str, changes: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    demo = Demo()
    demo.counts = attrs.evolve(GOOD, **changes)
    assert broken(demo.counts) == {promise}
    tell(demo)
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "BROKEN" in line)
    assert line.startswith(f"BROKEN  {promise} ")


def test_without_a_lost_answer_there_is_nothing_to_forgive(
    capsys: pytest.CaptureFixture[str],
) -> None:
    demo = Demo()
    for dropped in (0, 1):
        demo.counts = attrs.evolve(GOOD, dropped=dropped, repeated=dropped)
        assert broken(demo.counts) == set()
        tell(demo)
        assert ("reuse_grace" in capsys.readouterr().out) == bool(dropped)


# --- the command line ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--tasks", "0", "must be 1 or more, not 0"),
        ("--tasks", "many", "invalid"),
        ("--seconds", "0", "must be more than 0, not 0"),
        ("--seconds", "nan", "must be more than 0, not nan"),
        ("--lifetime", "inf", "must be more than 0, not inf"),
    ],
)
def test_an_option_that_makes_no_sense_is_named(
    option: str, value: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as info:
        main(["demo", option, value])
    assert info.value.code == 2
    error = capsys.readouterr().err
    assert option in error
    assert says in error


@pytest.mark.parametrize(
    ("missing", "arguments", "extra"),
    [
        ("rich", [], "testing"),
        ("hypercorn", [], "testing"),
        ("httpx2", ["--httpx2"], "httpx2"),
    ],
)
def test_what_is_not_installed_is_named_with_its_extra(
    missing: str,
    arguments: list[str],
    extra: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == missing else find_spec(name)
    )
    assert main(["demo", *arguments]) == 2
    assert f'the demo needs {missing}: pip install "trioauth[{extra}]"' in capsys.readouterr().err


def test_an_interrupt_before_it_listens_is_one_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(trio, "run", interrupted)
    assert main(["demo"]) == 130


def test_an_interrupt_leaves_no_picture(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def interrupt(show: Show) -> None:
        await trio.sleep(0.1)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("trioauth.cli._demo.view.watch", interrupt)
    picture = tmp_path / "demo.svg"
    assert main(["demo", *SHORT, "--timeline", str(picture)]) == 130
    assert not picture.exists()


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as info:
        main(["--version"])
    assert info.value.code == 0
    assert capsys.readouterr().out == f"trioauth {trioauth.__version__}\n"


def test_its_name_on_the_command_line_is_that_of_the_package() -> None:
    pyproject = (Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8")
    assert 'trioauth = "trioauth.__main__:main"' in pyproject


# --- the tasks -----------------------------------------------------------------------------


async def never(path: str) -> None:
    await trio.sleep_forever()


def make_crowd(get: Callable[[str], Awaitable[Any]] = never) -> Crowd:
    crowd = Crowd(random.Random(7), 1.0, httpx.TransportError, Counts())
    crowd.get = get
    return crowd


async def test_a_task_goes_on_after_a_fault_and_after_not_now(autojump_clock: object) -> None:
    asked: list[float] = []

    async def get(path: str) -> None:
        asked.append(trio.current_time())
        if len(asked) == 1:
            raise httpx.ConnectError("no route")
        if len(asked) == 2:
            error = trioauth.RefreshUnavailableError("later")
            error.retry_at = trio.current_time() + 100
            raise error
        raise trioauth.LoggedOutError("over", "refused")

    crowd = make_crowd(get)
    with pytest.RaisesGroup(trioauth.LoggedOutError):
        async with trio.open_nursery() as nursery:
            crowd.start(nursery, 0)
    assert (crowd.counts.faults, crowd.counts.unavailable) == (1, 1)
    assert asked[2] - asked[1] > 100
    assert not crowd.alive
    # The observer was not told that the login is over.
    assert crowd.counts.told == 0


async def test_a_refused_request_is_counted_by_whether_it_was_sent_again(
    autojump_clock: object,
) -> None:
    attempts = iter([1, 2, 2])

    async def get(path: str) -> httpx.Response:
        how = trioauth.Authentication(generation=1, attempts=next(attempts))
        return httpx.Response(401, extensions={"trioauth": how})

    crowd = make_crowd(get)
    with pytest.RaisesGroup(RuntimeError, flatten_subgroups=True):
        async with trio.open_nursery() as nursery:
            crowd.start(nursery, 0)
    counts = crowd.counts
    assert (counts.requests, counts.refused_once, counts.refused_twice) == (0, 1, 2)
    assert counts.most_attempts == 2


async def test_a_cancelled_task_is_replaced_and_timed(autojump_clock: object) -> None:
    async def get(path: str) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(7)
        await trio.sleep_forever()

    crowd = make_crowd(get)
    async with trio.open_nursery() as nursery:
        crowd.start(nursery, 0)
        await trio.sleep(2)
        crowd(events.WaitStarted(time=2, flight=1, task="task 1"))
        assert crowd.waiting == [0]
        crowd.replace(nursery, 0)
        assert crowd.counts.cancelled_waiting == 1
        await trio.testing.wait_all_tasks_blocked()
        assert set(crowd.alive) == {"task 1", "task 1, again 1"}
        await trio.sleep(8)
        assert set(crowd.alive) == {"task 1, again 1"}
        nursery.cancel_scope.cancel()
    assert not crowd.alive
    assert 5 < crowd.counts.slowest_exit <= 7


def test_a_generation_in_use_before_it_was_saved_is_counted() -> None:
    crowd = make_crowd()
    crowd(events.Saved(time=0, generation=1))
    crowd(events.LoggedIn(time=0, generation=1))
    crowd(events.RefreshLanded(time=1, flight=1, generation=2, adopted=False))
    crowd(events.Saved(time=2, generation=2))
    assert (crowd.counts.generations, crowd.counts.unsaved) == (2, 1)


async def test_a_task_that_waits_for_a_refresh_is_cancelled_more_often_than_others(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    demo = Demo(tasks=10, seed=7)
    demo.crowd.get = never
    replaced: list[int] = []
    monkeypatch.setattr(Crowd, "replace", lambda crowd, nursery, slot: replaced.append(slot))
    async with trio.open_nursery() as nursery:
        for slot in range(10):
            demo.crowd.start(nursery, slot)
        await trio.sleep(5)
        demo.crowd.slots[3].doing = "waits"
        with trio.move_on_after(1000):
            await demo._disturb(nursery)
        nursery.cancel_scope.cancel()
    assert set(replaced) == set(range(10))
    assert 0.4 < replaced.count(3) / len(replaced) < 0.7


async def test_the_plan_waits_when_a_refresh_is_not_to_be_had(autojump_clock: object) -> None:
    class NotNow:
        async def refresh(self) -> None:
            error = trioauth.RefreshUnavailableError("later")
            error.retry_at = trio.current_time() + 3
            raise error

    session: Any = NotNow()
    await plan._refresh(session)
    assert trio.current_time() == 3
