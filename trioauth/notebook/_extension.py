"""The extension of IPython: `hold` and `release` for cells, and what loads and unloads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast
from weakref import WeakKeyDictionary

import attrs
import trio

from . import _html
from ._cells import Runner

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

__all__ = ["hold", "load_ipython_extension", "release", "runner", "unload_ipython_extension"]

ResultT = TypeVar("ResultT")

runner: Runner = Runner()


async def hold(manager: AbstractAsyncContextManager[ResultT]) -> ResultT:
    """Enter an async context manager, and stay inside when the cell ends.

    The context manager is entered, and later left, in a task of its own::

        session = await hold(trioauth.open_session(grant, base_url=...))

    Args:
      manager: What one would write after ``async with``, such as ``trioauth.open_session(...)``.

    Returns:
      What ``async with manager as ...`` gives.

    Cancellation:
      All or nothing. If you are cancelled while it is entered, it is not held.

    Raises:
      TypeError: ``manager`` is not an async context manager.
      ValueError: It is held already.
      RuntimeError: The caller is not in a cell that `runner` runs.
      Exception: What entering it raises.
    """
    __tracebackhide__ = True  # IPython shows the line of the cell, and the one that raises.
    return await runner.hold(manager)


async def release(value: object) -> None:
    """Leave the async context manager that `hold` gave ``value`` for.

    If leaving it raises, or if it ended earlier with an exception, that is raised here.

    Args:
      value: What `hold` returned, or the context manager that `hold` got.

    Cancellation:
      Safe. Leaving goes on without you; release it again to hear how it went.

    Raises:
      ValueError: ``value`` is not held.
      RuntimeError: The caller is not in a cell that `runner` runs.
      Exception: What leaving it raises.
    """
    __tracebackhide__ = True  # As in `hold`.
    await runner.release(value)


class Shell(Protocol):
    """The part of ``IPython.core.interactiveshell.InteractiveShell`` that is used here."""

    autoawait: bool
    loop_runner: Any
    display_formatter: Any
    custom_exceptions: tuple[type[BaseException], ...]
    user_ns: dict[str, Any]

    def push(self, variables: dict[str, Any], interactive: bool = ...) -> None:  # noqa: FBT001
        """Put names into the user's namespace."""

    def drop_by_id(self, variables: dict[str, Any]) -> None:
        """Take them out again, if they are still the same."""

    def set_custom_exc(
        self, exc_tuple: tuple[type[BaseException], ...], handler: Callable[..., None] | None
    ) -> None:
        """Say who shows certain exceptions."""

    def showtraceback(self, exc_tuple: Any = ..., *, running_compiled_code: bool = ...) -> None:
        """Show an exception."""


@attrs.frozen
class _Former:
    """The settings of a shell before the extension was loaded."""

    autoawait: bool
    loop_runner: Any
    names: dict[str, Any]
    """The names that were put into the user's namespace."""
    shows_interrupts: bool


# trio's errors in a cell without `await`, where trio does not run: `trio.current_time()`,
# `nursery.start_soon(...)`.
_OUTSIDE = (RuntimeError, AttributeError)
_OUTSIDE_SAYS = ("must be called from async context", "'RunContext' object has no attribute")

_loaded: WeakKeyDictionary[Any, _Former] = WeakKeyDictionary()


def load_ipython_extension(shell: Shell) -> None:
    """Let the cells of a shell run in trio. Called by ``%load_ext trioauth.notebook``.

    It puts `hold` and `release` into the user's namespace, unless these names are taken.

    Raises:
      TypeError: ``shell`` is not the shell of IPython or of a kernel.
    """
    if not hasattr(shell, "loop_runner"):
        raise TypeError(
            "this is called by IPython: say %load_ext trioauth.notebook in a notebook or in IPython"
        )
    if shell in _loaded:
        return
    names: dict[str, Any] = {
        name: value
        for name, value in (("hold", hold), ("release", release))
        if name not in shell.user_ns
    }
    # The handler of another extension stays; then an interrupted cell shows trio's Cancelled.
    shows_interrupts = not shell.custom_exceptions
    _loaded[shell] = _Former(shell.autoawait, shell.loop_runner, names, shows_interrupts)
    shell.loop_runner, shell.autoawait = runner, True
    shell.push(names, interactive=False)
    if shows_interrupts:
        shell.set_custom_exc((trio.Cancelled, BaseExceptionGroup, *_OUTSIDE), _show)
    for kind, draw in _html.DRAWN:
        shell.display_formatter.formatters["text/html"].for_type(kind, draw)


def unload_ipython_extension(shell: Shell) -> None:
    """Restore the shell, leave what is held, and end the run. Called by ``%unload_ext``.

    Raises:
      RuntimeError: The cell awaits, so it runs in the run that is to be ended.
    """
    former = _loaded.get(shell)
    if former is None:
        return
    runner.close()
    del _loaded[shell]
    shell.loop_runner, shell.autoawait = former.loop_runner, former.autoawait
    shell.drop_by_id(former.names)
    if former.shows_interrupts:
        shell.set_custom_exc((), None)
    for kind, _ in _html.DRAWN:
        shell.display_formatter.formatters["text/html"].pop(kind)


def _show(
    shell: Shell,
    kind: type[BaseException],
    error: BaseException,
    traceback: TracebackType | None,
    tb_offset: int | None = None,
) -> None:
    """Show an exception of a cell; show a cancellation as an interrupt.

    IPython itself catches `trio.Cancelled`, so this is the only place to see it.
    """
    del tb_offset
    if isinstance(error, _OUTSIDE) and str(error).startswith(_OUTSIDE_SAYS):
        error.add_note(
            "A cell that does not await runs outside of trio. Begin it with:\n"
            "    await trio.lowlevel.checkpoint()"
        )
    if _is_cancellation(error):
        error = KeyboardInterrupt("the cell was interrupted; nothing else was")
        kind, traceback = KeyboardInterrupt, None
    shell.showtraceback((kind, error, traceback), running_compiled_code=True)


def _is_cancellation(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return group.split(trio.Cancelled)[1] is None
    return isinstance(error, trio.Cancelled)
