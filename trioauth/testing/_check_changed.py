"""The part of check_store that is about hints: the optional method ``changed``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

import attrs
import trio

from ._conformance import broken, ends_as_cancelled, kind, open_bare_nursery, yields

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ._checkpoints import Victim

# Hints may be lost, so try more than once.
_TRIES = 3
# Seconds without a hint after which no more are expected.
_A_WHILE = 0.1
# So many hints at once, without a save, are taken for hints without end.
_MANY = 100


@final
@attrs.define(eq=False)
class ChangedCheck:
    """The checks of hints, for a store of one login or of many."""

    changed: Callable[[], Awaitable[Any]]
    save: Callable[[], Awaitable[None]]
    """Saves another record, through another store of that place."""
    expected: str
    """The key of that record; "" for a store of one login."""
    patience: float

    async def hints(self) -> None:
        """Get a hint while waiting for it, and one that came while no task waited."""
        await self._drain()
        for wait in (self._while_waiting, self._between_calls):
            for _ in range(_TRIES):
                if await wait():
                    break
            else:
                when = "while it waits" if wait == self._while_waiting else "between two calls"
                broken(
                    f"changed() must return after a save of another store {when}, and did not in"
                    f" {_TRIES} times {self.patience} seconds: keep what comes while no task waits"
                    " for the next call; or leave the method out, if the place can't tell"
                )
        await self.save()
        await yields("changed()", self._next)

    async def cancelled(self, victim: Victim) -> None:
        """Cancel a task that waits for a hint."""
        await self.save()
        await ends_as_cancelled("changed()", victim, self._once)

    async def _while_waiting(self) -> bool:
        async with open_bare_nursery() as nursery:
            found = trio.Event()

            async def wait() -> None:
                await self._next()
                found.set()

            nursery.start_soon(wait)
            with trio.move_on_after(_A_WHILE):
                await found.wait()
            await self.save()
            with trio.move_on_after(self.patience):
                await found.wait()
            nursery.cancel_scope.cancel(reason="check_store: waited long enough")
        return found.is_set()

    async def _between_calls(self) -> bool:
        await self._drain()
        await self.save()
        with trio.move_on_after(self.patience) as waiting:
            await self._next()
        return not waiting.cancelled_caught

    async def _drain(self) -> None:
        for _ in range(_MANY):
            with trio.move_on_after(_A_WHILE) as waiting:
                await self._call()
            if waiting.cancelled_caught:
                break

    async def _once(self) -> None:
        with trio.move_on_after(self.patience):
            await self.changed()

    async def _next(self) -> None:
        """Wait for a hint that is about the record; there may be others."""
        while (hint := await self._call()) is not None and hint != self.expected:
            pass

    async def _call(self) -> object:
        hint: object
        try:
            hint = await self.changed()
        except Exception as exc:  # noqa: BLE001  # whatever it is
            broken(
                f"changed() must wait for a hint, and raised {kind(exc)}: let it be async, and"
                " raise StoreError only if the place can't be reached",
                exc,
            )
        if hint is not None and not isinstance(hint, str):
            broken(
                f"changed() must return a str or None, and returned a {kind(hint)}: the key whose"
                ' record may have changed, "" in a store of one login, or None for any'
            )
        return hint
