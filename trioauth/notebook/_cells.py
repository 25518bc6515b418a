"""One trio run behind the cells of a notebook, for as long as the process lives.

The run has a thread of its own, so that held sessions go on between the cells, and during a cell
that blocks. Nothing here depends on IPython.
"""

from __future__ import annotations

import sys
import threading
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, final

import attrs
import outcome
import trio

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from contextlib import AbstractAsyncContextManager

ResultT = TypeVar("ResultT")

# How many seconds the end of the process waits for held context managers to be left. A session
# takes at most its `close_grace`; this bounds all others.
LONGEST_GOODBYE = 30.0
# Seconds between two looks of a waiting cell. An interrupt wakes it at once, except on Windows.
_TICK = 0.2


@final
@attrs.define(eq=False)
class Cell(Generic[ResultT]):
    """The coroutine of a cell, run as a task."""

    coro: Coroutine[Any, Any, ResultT]
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    done: threading.Event = attrs.field(factory=threading.Event, init=False)
    result: outcome.Outcome[ResultT] = attrs.field(init=False)

    async def run(self) -> None:
        """Run the coroutine, and never raise into the nursery that all cells share.

        Cancellation:
          Safe. The thread that waits for the cell is told.
        """
        try:
            with self.scope:
                self.result = outcome.Value(await self.coro)
            if self.scope.cancelled_caught:
                self.result = outcome.Error(KeyboardInterrupt("the cell was interrupted"))
        except trio.Cancelled:
            self.result = outcome.Error(_ended())
            raise
        except BaseException as exc:  # noqa: BLE001, ASYNC103  # raised in the thread that waits
            self.result = outcome.Error(exc)
        finally:
            self.done.set()


@final
@attrs.define(eq=False)
class Held:
    """A context manager in a task of its own, because the task that enters it must leave it."""

    manager: AbstractAsyncContextManager[object]
    value: object = attrs.field(default=None, init=False)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    go: trio.Event = attrs.field(factory=trio.Event, init=False)
    left: trio.Event = attrs.field(factory=trio.Event, init=False)
    error: BaseException | None = attrs.field(default=None, init=False)

    async def keep(  # noqa: ASYNC114  # started by `Runner.hold` alone
        self,
        run: Run,
        *,
        task_status: trio.TaskStatus[object] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Enter, wait until it is released, and leave.

        Cancellation:
          Safe. The context manager is left as if its block had been cancelled.
        """
        try:
            with self.scope:
                async with self.manager as self.value:
                    run.holding.append(self)
                    task_status.started(self.value)
                    await self.go.wait()
        except BaseException as exc:  # noqa: ASYNC103  # raised by `Runner.release`
            if trio.lowlevel.current_task().parent_nursery is not run.nursery:
                raise  # `Runner.hold` still waits: entering failed, or was cancelled.
            self.error = exc
        finally:
            self.left.set()
        if not (self.go.is_set() or self.scope.cancel_called):
            why = "" if self.error is None else f" with {type(self.error).__name__}"
            print(f"trioauth.notebook: the held {self} has ended{why}; release it", file=sys.stderr)

    def __str__(self) -> str:
        return type(self.value if self.value is not None else self.manager).__name__


@final
@attrs.define(eq=False)
class Run:
    """A trio run in a thread."""

    thread: threading.Thread = attrs.field(init=False)
    token: trio.lowlevel.TrioToken = attrs.field(init=False)
    nursery: trio.Nursery = attrs.field(init=False)
    holding: list[Held] = attrs.field(factory=list[Held], init=False)
    """The held context managers, in the order of `hold`."""
    _end: trio.Event = attrs.field(factory=trio.Event, init=False)

    def start(self) -> None:
        """Start the run, and wait until it runs."""
        ready = threading.Event()
        # A daemon: a context manager that can't be left in time must not keep the process alive.
        self.thread = threading.Thread(
            target=trio.run, args=(self._main, ready), name="trioauth.notebook", daemon=True
        )
        self.thread.start()
        ready.wait()

    def end(self, timeout: float) -> None:
        """Leave all held context managers, the last one first; wait at most ``timeout`` seconds."""
        if self.thread.is_alive():
            self.token.run_sync_soon(self._end.set)
            self.thread.join(timeout)

    async def _main(self, ready: threading.Event) -> None:
        async with trio.open_nursery() as self.nursery:
            self.token = trio.lowlevel.current_trio_token()
            ready.set()
            await self._end.wait()
            # One after the other: to close, a session may need a server that is held, too.
            for held in reversed(self.holding):
                held.scope.cancel(reason="the notebook ends")
                await held.left.wait()
            self.nursery.cancel_scope.cancel(reason="the notebook ends")


@final
class Runner:
    """Run each coroutine that it is called with as a task of one trio run, and return its result.

    The run starts with the first call, in a thread of its own. It goes on between the calls, until
    the process ends or `close` is called. Then held context managers are left, the last one first.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._run: Run | None = None

    def __repr__(self) -> str:
        holding = [] if self._run is None else self._run.holding
        return f"<trioauth.notebook.runner, holding {_list(holding)}>"

    def __call__(self, coro: Coroutine[Any, Any, ResultT]) -> ResultT:
        """Run a coroutine, and wait for it.

        An interrupt (Control-C, or the button of a notebook) cancels the coroutine and nothing
        else. If the coroutine can't be cancelled, for example because it computes without awaiting,
        a second interrupt stops the waiting; the coroutine goes on in the background.

        Raises:
          RuntimeError: The caller itself runs in the run.
          KeyboardInterrupt: The wait was interrupted.
          Exception: Whatever the coroutine raises.
        """
        run = self._running()
        if threading.current_thread() is run.thread:
            coro.close()
            raise RuntimeError("a cell that awaits can't run another one that does; use await")
        cell = Cell(coro)
        # With the caller's context: IPython finds the cell of an output by a context variable.
        start = partial(run.nursery.start_soon, cell.run, name="cell")
        try:
            run.token.run_sync_soon(copy_context().run, start)
            _wait(cell, run)
        except KeyboardInterrupt:
            cancel = partial(cell.scope.cancel, reason="the cell was interrupted")
            try:
                run.token.run_sync_soon(cancel)
                _wait(cell, run)
            except KeyboardInterrupt:
                raise KeyboardInterrupt("the cell goes on in the background") from None
        return cell.result.unwrap()

    async def hold(self, manager: AbstractAsyncContextManager[ResultT]) -> ResultT:
        """Enter an async context manager, and stay inside; see `trioauth.notebook.hold`.

        Cancellation:
          All or nothing. If you are cancelled while it is entered, it is not held.
        """
        run = self._here("hold")
        if not (hasattr(manager, "__aenter__") and hasattr(manager, "__aexit__")):
            raise TypeError(
                f"hold() takes what one would write after `async with`, such as open_session(...);"
                f" {type(manager).__name__} is no async context manager"
            )
        if any(held.manager is manager for held in run.holding):
            raise ValueError("this is held already; what hold() gave then is still good")
        held = Held(manager)
        try:
            value = await run.nursery.start(partial(held.keep, run), name="held")
        except BaseException:
            if held in run.holding:
                run.holding.remove(held)
            raise
        return cast("ResultT", value)

    async def release(self, value: object) -> None:
        """Leave what `hold` gave ``value`` for; see `trioauth.notebook.release`.

        Cancellation:
          Safe. Leaving goes on without you.
        """
        run = self._here("release")
        for held in reversed(run.holding):
            if value is held.value or value is held.manager:
                break
        else:
            raise ValueError(
                f"this {type(value).__name__} is not held, or not any more; what is held:"
                f" {_list(run.holding)}"
            )
        held.go.set()
        await held.left.wait()
        if held in run.holding:
            run.holding.remove(held)
        if held.error is not None:
            raise held.error

    def close(self, timeout: float = LONGEST_GOODBYE) -> None:
        """End the run: leave what is held, the last one first. The next call starts another run.

        Args:
          timeout: How many seconds to wait for that, by default 30. What takes longer is abandoned.

        Raises:
          RuntimeError: The caller itself runs in the run.
        """
        run = self._run
        if run is None:
            return
        if threading.current_thread() is run.thread:
            raise RuntimeError("the run can't wait for its own end: use a cell without await")
        self._run = None
        run.end(timeout)

    def _running(self) -> Run:
        with self._lock:
            if self._run is None or not self._run.thread.is_alive():
                _see_out(self)
                self._run = Run()
                self._run.start()
            return self._run

    def _here(self, name: str) -> Run:
        run = self._run
        if run is None or threading.current_thread() is not run.thread:
            raise RuntimeError(
                f"{name}() works only in cells that trioauth.notebook runs: say"
                f" %load_ext trioauth.notebook in a cell before this one"
            )
        return run


def _list(holding: list[Held]) -> str:
    return ", ".join(map(str, holding)) or "nothing"


def _wait(cell: Cell[Any], run: Run) -> None:
    while not cell.done.wait(_TICK):
        if not run.thread.is_alive():
            cell.coro.close()
            raise _ended()


def _ended() -> RuntimeError:
    return RuntimeError("the trio run behind the cells has ended; the next cell starts another")


_runners: set[Runner] = set()


def _see_out(runner: Runner) -> None:
    """Close the runner when the process ends, while threads can still be started."""
    if not _runners:
        # Not `atexit`: by then no thread can be started, and a store may need one. Python waits for
        # this thread, after the main thread has ended.
        threading.Thread(target=_say_goodbye, name="trioauth.notebook, the end").start()
    _runners.add(runner)


def _say_goodbye() -> None:
    threading.main_thread().join()
    for runner in _runners:
        runner.close()
