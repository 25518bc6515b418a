"""A notebook's cells on one trio run: what is held, interrupts, the end, and IPython."""

from __future__ import annotations

import atexit
import re
import signal
import subprocess
import sys
import textwrap
import threading
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import pytest
import trio
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

import trioauth
from trioauth import notebook
from trioauth.notebook._cells import Cell, Runner, _wait
from trioauth.notebook._extension import _is_cancellation
from trioauth.testing import AuthServer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator


@pytest.fixture
def run() -> Iterator[Runner]:
    """A runner of its own; each call of it is a cell."""
    runner = Runner()
    yield runner
    runner.close()


class Door:
    """A context manager that says who went in and out."""

    def __init__(
        self, *, entering: Exception | None = None, leaving: Exception | None = None
    ) -> None:
        self.entering, self.leaving = entering, leaving
        self.entered: trio.lowlevel.Task | None = None
        self.left: trio.lowlevel.Task | None = None

    async def __aenter__(self) -> Self:
        self.entered = trio.lowlevel.current_task()
        if self.entering:
            raise self.entering
        return self

    async def __aexit__(self, *_: object) -> None:
        self.left = trio.lowlevel.current_task()
        if self.leaving:
            raise self.leaving


async def this_task() -> trio.lowlevel.Task:
    return trio.lowlevel.current_task()


async def token() -> trio.lowlevel.TrioToken:
    return trio.lowlevel.current_trio_token()


def interrupt() -> None:
    """Press Control-C."""
    signal.pthread_kill(cast("int", threading.main_thread().ident), signal.SIGINT)


# --- cells ---------------------------------------------------------------------------------


def test_a_cell_gives_its_result_or_raises_its_exception(run: Runner) -> None:
    async def fails() -> None:
        raise ValueError("of the cell")

    async def works() -> int:
        await trio.lowlevel.checkpoint()
        return 5

    assert run(works()) == 5
    with pytest.raises(ValueError, match="of the cell"):
        run(fails())
    assert run(works()) == 5


def test_all_cells_are_tasks_of_one_run_and_of_another_thread(run: Runner) -> None:
    assert run(token()) is run(token())
    assert run(this_task()) is not run(this_task())

    async def thread() -> threading.Thread:
        return threading.current_thread()

    assert run(thread()) is not threading.current_thread()


def test_a_cell_sees_the_context_of_the_main_thread(run: Runner) -> None:
    from contextvars import ContextVar

    variable = ContextVar[str]("variable")

    async def look() -> str:
        return variable.get()

    variable.set("seen")
    assert run(look()) == "seen"


def test_what_a_cell_starts_in_a_held_nursery_goes_on_in_later_cells(run: Runner) -> None:
    begun, done = trio.Event(), trio.Event()

    async def background() -> None:
        await begun.wait()
        done.set()

    async def start() -> trio.Nursery:
        nursery = await run.hold(trio.open_nursery())
        nursery.start_soon(background)
        return nursery

    async def go_on() -> None:
        begun.set()
        await done.wait()

    nursery = run(start())
    run(go_on())
    run(run.release(nursery))


def test_a_cell_can_not_run_another_one(run: Runner) -> None:
    async def outer() -> None:
        run(this_task())

    with pytest.raises(RuntimeError, match="can't run another one"):
        run(outer())


def test_a_run_that_was_closed_is_followed_by_another(run: Runner) -> None:
    first = run(token())
    run.close()
    run.close()
    assert run(token()) is not first


def test_a_run_can_not_wait_for_its_own_end(run: Runner) -> None:
    async def close() -> None:
        run.close()

    with pytest.raises(RuntimeError, match="without await"):
        run(close())


def test_a_run_that_broke_says_so_and_is_followed_by_another(
    run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)

    def crash() -> None:
        raise AssertionError("which trio does not survive")

    async def broken() -> None:
        trio.lowlevel.current_trio_token().run_sync_soon(crash)
        await trio.sleep_forever()

    first = run._running()
    with pytest.raises(RuntimeError, match="has ended; the next cell starts another"):
        run(broken())
    first.thread.join(10)
    run.close()
    assert run(token()) is not None


def test_a_cell_that_comes_too_late_for_its_run_is_told(run: Runner) -> None:
    run(this_task())
    ended = run._running()
    run.close()
    with pytest.raises(RuntimeError, match="has ended"):
        _wait(Cell(this_task()), ended)


# --- interrupts ----------------------------------------------------------------------------


def test_an_interrupt_cancels_the_cell_and_nothing_else(run: Runner) -> None:
    async def hold() -> trio.Nursery:
        nursery = await run.hold(trio.open_nursery())
        nursery.start_soon(trio.sleep_forever)
        return nursery

    async def wait() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            interrupt()
            await trio.sleep_forever()

    async def children(nursery: trio.Nursery) -> int:
        count = len(nursery.child_tasks)
        nursery.cancel_scope.cancel()
        return count

    nursery = run(hold())
    with pytest.raises(KeyboardInterrupt, match="the cell was interrupted"):
        run(wait())
    assert run(children(nursery)) == 1
    run(run.release(nursery))


def test_a_second_interrupt_lets_a_cell_go_on_in_the_background(run: Runner) -> None:
    done = threading.Event()
    cancelled, may_end = trio.Event(), trio.Event()

    async def hears_the_first() -> None:
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    async def cell() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hears_the_first)
            with trio.CancelScope(shield=True):
                interrupt()
                await cancelled.wait()
                interrupt()
                await may_end.wait()
                done.set()

    async def let_go() -> None:
        may_end.set()

    with pytest.raises(KeyboardInterrupt, match="goes on in the background"):
        run(cell())
    assert not done.is_set()
    run(let_go())
    assert done.wait(10)


# --- hold and release ----------------------------------------------------------------------


def test_hold_enters_and_leaves_in_one_task_of_its_own(run: Runner) -> None:
    door = Door()

    async def hold() -> trio.lowlevel.Task:
        assert await run.hold(door) is door
        return trio.lowlevel.current_task()

    cell = run(hold())
    assert door.left is None
    run(run.release(door))
    assert door.entered is door.left is not None
    assert door.entered is not cell


def test_a_session_is_used_in_the_cells_between_hold_and_release(run: Runner) -> None:
    server = AuthServer()
    grant = trioauth.RefreshTokenGrant(server.token_url, client_id="client")
    session = run(
        run.hold(
            trioauth.open_session(
                grant, tokens=server.log_in(), base_url=server.url, transport=server.transport()
            )
        )
    )

    async def get() -> int:
        return int((await session.get("/notes")).json()["generation"])

    assert run(get()) == 1
    server.expire()
    assert run(get()) == 2
    assert session.statistics().refreshes == 1
    run(run.release(session))
    with pytest.raises(trio.ClosedResourceError):
        run(get())


def test_what_entering_raises_is_raised_by_hold_and_nothing_is_held(run: Runner) -> None:
    with pytest.raises(OSError, match="no way in"):
        run(run.hold(Door(entering=OSError("no way in"))))
    assert repr(run) == "<trioauth.notebook.runner, holding nothing>"


def test_what_leaving_raises_is_raised_by_release(run: Runner) -> None:
    door = run(run.hold(Door(leaving=OSError("stuck"))))
    with pytest.raises(OSError, match="stuck"):
        run(run.release(door))
    with pytest.raises(ValueError, match="this Door is not held, or not any more"):
        run(run.release(door))


def test_what_ended_a_held_nursery_is_said_at_once_and_raised_by_release(
    run: Runner, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fails() -> None:
        raise ValueError("in the background")

    async def hold() -> trio.Nursery:
        nursery = await run.hold(trio.open_nursery())
        nursery.start_soon(fails)
        await trio.testing.wait_all_tasks_blocked()
        return nursery

    nursery = run(hold())
    assert capsys.readouterr().err == (
        "trioauth.notebook: the held Nursery has ended with ExceptionGroup; release it\n"
    )
    with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="in the background")):
        run(run.release(nursery))


def test_what_ends_without_an_exception_says_so_too(
    run: Runner, capsys: pytest.CaptureFixture[str]
) -> None:
    @asynccontextmanager
    async def short() -> AsyncGenerator[trio.CancelScope, None]:
        with trio.CancelScope() as scope:  # noqa: ASYNC100  # what it is for is in the yield
            yield scope

    async def end(scope: trio.CancelScope) -> None:
        scope.cancel()
        await run.release(scope)

    async def cancel(scope: trio.CancelScope) -> None:
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()

    scope = run(run.hold(short()))
    run(cancel(scope))
    assert capsys.readouterr().err == (
        "trioauth.notebook: the held CancelScope has ended; release it\n"
    )
    run(run.release(scope))


def test_an_interrupted_hold_holds_nothing(run: Runner) -> None:
    entering = []

    @asynccontextmanager
    async def slow() -> AsyncGenerator[None, None]:
        entering.append(trio.lowlevel.current_task())
        interrupt()
        await trio.sleep_forever()
        yield

    with pytest.raises(KeyboardInterrupt):
        run(run.hold(slow()))
    assert entering
    assert repr(run).endswith("holding nothing>")


def test_a_hold_that_is_cancelled_just_after_entering_holds_nothing(run: Runner) -> None:
    left = []

    @asynccontextmanager
    async def quick(scope: trio.CancelScope) -> AsyncGenerator[None, None]:
        scope.cancel()
        try:
            yield
        finally:
            left.append(True)

    async def cell() -> bool:
        with trio.CancelScope() as scope:
            await run.hold(quick(scope))
        return scope.cancelled_caught

    assert run(cell())
    assert left == [True]
    assert repr(run).endswith("holding nothing>")


def test_an_interrupted_release_goes_on_and_can_be_asked_again(run: Runner) -> None:
    may_leave = threading.Event()

    @asynccontextmanager
    async def slow() -> AsyncGenerator[str, None]:
        yield "slow"
        interrupt()
        await trio.to_thread.run_sync(may_leave.wait)
        raise OSError("at last")

    errors: list[str] = []

    async def release() -> None:
        try:
            await run.release("slow")
        except OSError as exc:
            errors.append(str(exc))

    async def release_twice() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(release)
            nursery.start_soon(release)

    run(run.hold(slow()))
    with pytest.raises(KeyboardInterrupt):
        run(run.release("slow"))
    may_leave.set()
    run(release_twice())
    assert errors == ["at last", "at last"]
    assert repr(run).endswith("holding nothing>")


def test_the_context_manager_may_be_released_in_place_of_its_value(run: Runner) -> None:
    @asynccontextmanager
    async def nothing() -> AsyncGenerator[None, None]:
        yield

    manager = nothing()
    run(run.hold(manager))
    assert repr(run) == "<trioauth.notebook.runner, holding _AsyncGeneratorContextManager>"
    run(run.release(manager))


def test_what_is_no_async_context_manager_or_is_held_already_is_not_held(run: Runner) -> None:
    with pytest.raises(TypeError, match="ThreadLike is no async context manager"):
        run(run.hold(type("ThreadLike", (), {})()))
    door = run(run.hold(Door()))
    with pytest.raises(ValueError, match="held already"):
        run(run.hold(door))
    with pytest.raises(ValueError, match="this int is not held.*what is held: Door"):
        run(run.release(5))


async def test_hold_and_release_work_only_in_cells(run: Runner) -> None:
    for function in (run.hold, run.release):
        with pytest.raises(RuntimeError, match="%load_ext trioauth.notebook"):
            await function(Door())
    await trio.to_thread.run_sync(run, this_task())
    with pytest.raises(RuntimeError, match="%load_ext trioauth.notebook"):
        await run.hold(Door())


# --- the end -------------------------------------------------------------------------------


def test_the_end_leaves_what_is_held_the_last_first(run: Runner) -> None:
    order = []

    @asynccontextmanager
    async def noted(name: str) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            with trio.CancelScope(shield=True):
                await trio.testing.wait_all_tasks_blocked()
            order.append(name)

    for name in ("server", "session"):
        run(run.hold(noted(name)))
    run.close()
    assert order == ["session", "server"]


def test_the_end_does_not_wait_for_ever(run: Runner) -> None:
    freed = threading.Event()

    @asynccontextmanager
    async def stubborn() -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(freed.wait)

    run(run.hold(stubborn()))
    run.close(timeout=0.05)
    freed.set()


def test_a_refresh_in_the_air_lands_and_is_saved_when_the_process_ends(tmp_path: Path) -> None:
    program = f"""
        import trio, trioauth
        from trioauth.notebook import hold, runner
        from trioauth.testing import AuthServer

        server = AuthServer()
        server.delay(0.3)
        grant = trioauth.RefreshTokenGrant(server.token_url, client_id="client")

        async def cell():
            session = await hold(trioauth.open_session(
                grant,
                tokens=server.log_in(),
                store=trioauth.FileStore({str(tmp_path / "tokens.json")!r}),
                base_url=server.url,
                transport=server.transport(),
            ))
            with trio.move_on_after(0.05):
                await session.refresh()

        runner(cell())
        print("the end", server.ledger.refreshes)
        """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "the end 1\n", "")
    assert '"generation": 2' in (tmp_path / "tokens.json").read_text("utf-8")


def test_the_runner_needs_no_ipython() -> None:
    program = """
        import sys
        sys.modules["IPython"] = None
        from trioauth.notebook import runner
        async def cell(): return 5
        assert runner(cell()) == 5
        """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")


# --- in IPython ----------------------------------------------------------------------------


class Notebook:
    """A shell, to type cells into."""

    def __init__(self, folder: Path) -> None:
        config = Config()
        config.HistoryManager.enabled = False
        # Any: IPython's annotations are few.
        self.shell: Any = InteractiveShell(  # type: ignore[no-untyped-call]
            config=config, ipython_dir=str(folder)
        )

    def __call__(self, cell: str) -> Any:
        """Run a cell and return its value."""
        result = self.shell.run_cell(textwrap.dedent(cell))
        result.raise_error()
        return result.result


@pytest.fixture
def cells(tmp_path: Path) -> Iterator[Notebook]:
    cells = Notebook(tmp_path)
    yield cells
    cells.shell.extension_manager.unload_extension("trioauth.notebook")
    atexit.unregister(cells.shell.atexit_operations)
    cells.shell.atexit_operations()


SETTING = """
    %load_ext trioauth.notebook
    import trio, trioauth
    from trioauth.testing import AuthServer
    server = AuthServer()
    grant = trioauth.RefreshTokenGrant(server.token_url, client_id="client")
    """
HELD = """
    session = await hold(trioauth.open_session(
        grant, tokens=server.log_in(), base_url=server.url, transport=server.transport()
    ))
    """


@pytest.mark.slow
def test_load_ext_lets_a_session_live_across_cells(cells: Notebook) -> None:
    cells(SETTING)
    cells(HELD)
    assert cells("(await session.get('/notes')).status_code") == 200
    assert cells("session.statistics().generation") == 1
    cells("await release(session)")


@pytest.mark.slow
def test_autoawait_alone_runs_the_cells(cells: Notebook) -> None:
    cells("%autoawait trioauth.notebook.runner")
    cells("from trioauth.notebook import hold, release")
    cells(SETTING.replace("%load_ext trioauth.notebook", ""))
    cells(HELD)
    cells("await release(session)")
    cells("%autoawait asyncio")
    notebook.runner.close()


@pytest.mark.slow
def test_names_that_are_taken_stay_what_they_are(cells: Notebook) -> None:
    cells("hold = 'mine'")
    cells(SETTING)
    assert cells("hold") == "mine"
    assert cells("release") == notebook.release
    cells("%unload_ext trioauth.notebook")
    assert cells("hold") == "mine"
    assert "release" not in cells.shell.user_ns


@pytest.mark.slow
def test_loading_twice_changes_nothing_and_unloading_puts_everything_back(cells: Notebook) -> None:
    shell: Any = cells.shell
    before = shell.loop_runner
    notebook.unload_ipython_extension(shell)
    for _ in range(2):
        notebook.load_ipython_extension(shell)
    assert shell.loop_runner is notebook.runner
    notebook.unload_ipython_extension(shell)
    assert shell.loop_runner is before
    assert shell.custom_exceptions == ()
    html = shell.display_formatter.formatters["text/html"]
    assert trioauth.Session not in html
    assert trioauth.Tokens not in html


@pytest.mark.slow
def test_unloading_leaves_what_is_held(cells: Notebook) -> None:
    cells(SETTING)
    cells(HELD)
    with pytest.raises(RuntimeError, match="without await"):
        cells("await trio.sleep(0)\n%unload_ext trioauth.notebook")
    session = cells("session")
    cells("%unload_ext trioauth.notebook")
    with pytest.raises(trio.ClosedResourceError):
        session.token_nowait()


def test_outside_of_ipython_the_extension_says_what_to_do() -> None:
    with pytest.raises(TypeError, match="say %load_ext trioauth.notebook"):
        notebook.load_ipython_extension(None)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize(
    "wait",
    [
        "interrupt(); await trio.sleep_forever()",
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            interrupt()
            await trio.sleep_forever()
        """,
    ],
    ids=["await", "nursery"],
)
def test_an_interrupted_cell_shows_an_interrupt_and_the_session_lives(
    cells: Notebook, capsys: pytest.CaptureFixture[str], wait: str
) -> None:
    cells(SETTING)
    cells(HELD)
    cells.shell.user_ns["interrupt"] = interrupt
    with pytest.raises(BaseException) as info:
        cells(wait)
    assert _is_cancellation(info.value)
    shown = re.sub("\x1b[^m]*m", "", capsys.readouterr().out)
    assert "KeyboardInterrupt: the cell was interrupted; nothing else was" in shown
    assert "Cancelled" not in shown
    assert cells("(await session.get('/notes')).status_code") == 200


@pytest.mark.slow
def test_a_group_of_exceptions_is_shown_as_ever(
    cells: Notebook, capsys: pytest.CaptureFixture[str]
) -> None:
    cells(SETTING)
    with pytest.RaisesGroup(ValueError):
        cells("async with trio.open_nursery(): raise ValueError('one of a group')")
    captured = capsys.readouterr()
    assert "ValueError: one of a group" in captured.out + captured.err
    assert "KeyboardInterrupt" not in captured.out + captured.err


@pytest.mark.slow
def test_the_cells_of_the_how_to_page_run(cells: Notebook) -> None:
    page = Path(__file__).parent.parent / "docs" / "examples" / "notebook.ipy"
    _, *typed = page.read_text("utf-8").split("# %%\n")
    values = [cells(cell) for cell in typed]
    assert values[2]["generation"] == 1
    assert values[3] is cells("session")
    assert set(values[5]) == {200}


@pytest.mark.slow
@pytest.mark.parametrize("call", ["trio.current_time()", "nursery.start_soon(trio.sleep, 1)"])
def test_what_needs_trio_in_a_cell_without_await_says_what_to_do(
    cells: Notebook, capsys: pytest.CaptureFixture[str], call: str
) -> None:
    cells(SETTING)
    cells("nursery = await hold(trio.open_nursery())")
    with pytest.raises((RuntimeError, AttributeError)):
        cells(call)
    assert "Begin it with:\n    await trio.lowlevel.checkpoint()" in capsys.readouterr().out
    with pytest.raises(RuntimeError):
        cells("raise RuntimeError('something else')")
    assert "Begin it with" not in capsys.readouterr().out
    cells("nursery.cancel_scope.cancel(); await release(nursery)")


@pytest.mark.slow
def test_another_handler_of_exceptions_stays(cells: Notebook) -> None:
    shell: Any = cells.shell
    shell.set_custom_exc((KeyError,), lambda *_, **__: None)
    cells(SETTING)
    assert shell.custom_exceptions == (KeyError,)
    cells("%unload_ext trioauth.notebook")
    assert shell.custom_exceptions == (KeyError,)


@pytest.mark.slow
def test_sessions_states_and_tokens_show_themselves_as_tables(cells: Notebook) -> None:
    cells(SETTING)
    cells(HELD)
    draw = cells.shell.display_formatter.format
    for expression in (
        "session",
        "session.statistics()",
        "session.state",
        "server.log_in()",
        "trioauth.LoggedOut('asked')",
    ):
        data, _ = draw(cells(expression))
        assert data["text/html"].startswith("<table"), expression
        assert "canary" not in data["text/html"], expression
