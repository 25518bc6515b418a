"""What `check_store` and `check_grant` share: saying what is broken, and cancelling anywhere."""

from __future__ import annotations

import traceback
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NoReturn

import trio
import trio.testing

from ._checkpoints import Victim

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator

    from ._checkpoints import Phase

_PHASES: tuple[Phase, ...] = ("asleep", "woken")


def broken(promise: str, cause: BaseException | None = None) -> NoReturn:
    """Say which promise is broken, and how to mend it.

    Raises:
      AssertionError: With that sentence.
    """
    raise AssertionError(promise) from cause


def kind(value: object) -> str:
    """Return the name of a value's class, for a sentence that says what came instead."""
    return type(value).__name__


def shows(exc: BaseException, secrets: tuple[str, ...]) -> bool:
    """Say whether a log line or a traceback of this exception would show a secret."""
    return any(secret in text for text in _texts(exc, set()) for secret in secrets)


def _texts(exc: BaseException, done: set[int]) -> Iterator[str]:
    done.add(id(exc))
    # With its notes, but without the lines of code, which are those of a test.
    yield "".join(traceback.format_exception_only(exc))
    yield repr(exc.args)
    for other in (exc.__cause__, exc.__context__):
        if other is not None and id(other) not in done:
            yield from _texts(other, done)


@asynccontextmanager
async def open_bare_nursery() -> AsyncGenerator[trio.Nursery, None]:
    """Open a nursery that raises the first exception itself, and no group: it is a sentence."""
    try:
        async with trio.open_nursery() as nursery:
            yield nursery
    except BaseExceptionGroup as group:
        first: BaseException = group.exceptions[0]
        raise first from first.__cause__  # noqa: ASYNC123  # it keeps its cause, and loses the group


async def at_each_checkpoint(attempt: Callable[[Victim], Awaitable[None]]) -> None:
    """Make an attempt for each checkpoint of its victim, which is cancelled there; and one more.

    Not by `every_checkpoint`, which starts trio anew each time: what a store is made of, the
    connections of a database say, belongs to the run it was opened in.

    Args:
      attempt: Awaits ``victim(function)`` once, and checks what must hold then.
    """
    for phase in _PHASES:
        cancelled, step = True, 0
        while cancelled:
            step += 1
            victim = Victim(phase, step)
            trio.lowlevel.add_instrument(victim._instrument)
            try:
                await attempt(victim)
            finally:
                trio.lowlevel.remove_instrument(victim._instrument)
            cancelled = victim.cancelled


async def ends_as_cancelled(
    what: str, victim: Victim, function: Callable[[], Awaitable[object]]
) -> None:
    """Run a victim, which must end as cancelled, or as if nothing had happened.

    Raises:
      AssertionError: It raised something else.
    """
    try:
        await victim(function)
    except Exception as exc:  # noqa: BLE001  # whatever it is
        broken(
            f"{what} must end with trio.Cancelled when it is cancelled, and raised {kind(exc)}:"
            " let it pass; whatever has to catch BaseException, must raise it again",
            exc,
        )


async def yields(what: str, function: Callable[[], Awaitable[object]]) -> None:
    """Run something that must be a checkpoint.

    Raises:
      AssertionError: It was none.
    """
    done = False
    try:
        with trio.testing.assert_checkpoints():
            await function()
            done = True
    except AssertionError:
        if not done:
            raise
        broken(
            f"{what} must be a checkpoint, as every async function of trio's is, and was none:"
            " begin it with `await trio.lowlevel.checkpoint()`"
        )
