"""The block of ``async with open_session(...)``, and of ``open_sessions``.

It has the only nursery. What is opened (`Life`) begins inside of it, and ends there; its clients
are closed after that. Exceptions of the block come out as themselves, never in a group (P19).
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Generic, NoReturn, Protocol, TypeVar, cast, final

import trio

from ._raising import reraise

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from types import TracebackType

OpenedT = TypeVar("OpenedT")
OpenedT_co = TypeVar("OpenedT_co", covariant=True)


class Life(Protocol[OpenedT_co]):
    """Begins and ends what is open while a block runs."""

    async def begin(self) -> OpenedT_co:
        """Begin, and return what the program gets.

        Cancellation:
          Safe. `end` is called in any case.
        """
        ...

    async def end(self) -> None:
        """Give the flights ``close_grace`` seconds to land, then cancel them.

        Cancellation:
          Delayed, for up to ``close_grace`` seconds.
        """
        ...

    async def close_clients(self) -> None:
        """Close the connections.

        Cancellation:
          Delayed, for a second at most.
        """
        ...


@final
class Opening(AbstractAsyncContextManager[OpenedT], Generic[OpenedT]):
    """What ``open_...()`` returns: for one ``async with``, and for nothing else."""

    __slots__ = ("_block", "_entered", "_kind", "_opener")

    def __init__(
        self, life: Callable[[trio.Nursery], Life[OpenedT]], kind: type[OpenedT], opener: str
    ) -> None:
        """Make it.

        Args:
          life: Makes what begins and ends in the nursery.
          kind: The class of what the program gets.
          opener: The name of the function that the program has called.
        """
        self._block = _keep_open(life)
        self._kind = kind
        self._opener = opener
        self._entered = False

    # Control-C is held back while the session opens and closes; the next checkpoint raises it.
    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> OpenedT:
        if self._entered:
            raise RuntimeError(
                "this session was opened before, and is good for one async with block; call "
                f"trioauth.{self._opener}(...) again for another"
            )
        self._entered = True
        return await self._block.__aenter__()  # the other half is below

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._block.__aexit__(kind, value, traceback)  # noqa: ASYNC102  # as `_keep_open` says

    if not TYPE_CHECKING:  # pragma: no branch  # it is so whenever this runs
        # Hidden from type checkers: with a __getattr__, each mistyped name would type-check.
        def __getattr__(self, name: str) -> NoReturn:
            if name.startswith("_") or not hasattr(self._kind, name):
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            raise AttributeError(
                f"this session is not open yet; write: async with trioauth.{self._opener}(...) as "
                f"{(opened := self._kind.__name__.lower())}, and then {opened}.{name}"
            )


@asynccontextmanager
async def _keep_open(
    life_of: Callable[[trio.Nursery], Life[OpenedT]],
) -> AsyncGenerator[OpenedT, None]:
    """Open something, keep it open while the block runs, and close it."""
    if not trio.lowlevel.in_trio_run():
        raise RuntimeError(
            "a session needs trio: open it in what trio.run(...) runs (asyncio has no trio in it); "
            "in a notebook, %load_ext trioauth.notebook"
        )
    clients = AsyncExitStack()
    crash: BaseException | None = None
    try:
        # The clients are closed outside the nursery, so that an error there is in no group.
        async with clients, trio.open_nursery() as nursery:
            life = life_of(nursery)
            clients.push_async_callback(life.close_clients)
            try:
                yield await life.begin()
            except BaseException as exc:
                crash = exc
                raise
            finally:
                await life.end()  # noqa: ASYNC102  # shielded, and bounded, inside
                nursery.cancel_scope.cancel(reason="trioauth: the session is closed")
    except BaseExceptionGroup as group:
        # The nursery made this group. Tasks of ours don't raise, so it holds the block's exception
        # and perhaps a cancellation; or else Control-C, pressed while a grant or a store ran.
        others = [exc for exc in group.exceptions if not isinstance(exc, trio.Cancelled)]
        if len(others) > 1:
            raise
        if crash is None or (others and (_is_cancellation(crash) or _is_exit(others[0]))):
            crash = (others or group.exceptions)[0]
        # The block's own exception object, also if that is a group, which trio may have rebuilt.
        reraise(crash)


def _is_cancellation(exc: BaseException) -> bool:
    """Say whether this is a cancellation, or a group of cancellations from a nursery."""
    if isinstance(exc, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", exc)
        return all(map(_is_cancellation, group.exceptions))
    return isinstance(exc, trio.Cancelled)


def _is_exit(exc: BaseException) -> bool:
    """Say whether this ends the program, such as Control-C: no other exception may hide it."""
    return not isinstance(exc, Exception | BaseExceptionGroup)
