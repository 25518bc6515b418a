"""Hints that a record may have changed: a bounded memory of them, for tasks that wait.

Each hint has a number. A task says which number it has seen, and is told what came since. Of more
keys than `KEPT`, the oldest are forgotten; then the answer is "any may have changed".
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, final

import attrs
import trio

KEPT: Final = 1000


@final
@attrs.define(eq=False)
class Hints:
    """The hints of one store, for all of its tasks."""

    number: int = attrs.field(default=0, init=False)
    """The number of the last hint."""
    _latest: OrderedDict[str, int] = attrs.field(factory=OrderedDict[str, int], init=False)
    """The last hint of each key, the oldest first."""
    _forgotten: int = attrs.field(default=0, init=False)
    """All hints up to this number may have been about any key."""
    _waiting: dict[str | None, trio.Event] = attrs.field(
        factory=dict[str | None, trio.Event], init=False
    )
    """Who waits for a key; None: for any."""

    def give(self, key: str | None) -> None:
        """Tell those who wait that a key may have changed; None: any. Not a checkpoint."""
        self.number += 1
        if key is None:
            self._latest.clear()
            self._forgotten = self.number
            woken = list(self._waiting)
        else:
            self._latest[key] = self.number
            self._latest.move_to_end(key)
            if len(self._latest) > KEPT:
                _, self._forgotten = self._latest.popitem(last=False)
            woken = [key, None]
        for each in woken:
            if (event := self._waiting.pop(each, None)) is not None:
                event.set()

    def of(self, key: str, seen: int) -> bool:
        """Say whether a key may have changed since a number. Not a checkpoint."""
        return max(self._latest.get(key, 0), self._forgotten) > seen

    def after(self, seen: int) -> tuple[str | None, int] | None:
        """Return the next hint after a number, and its own; None if there is none."""
        if self._forgotten > seen:
            return None, self.number
        found: tuple[str, int] | None = None
        for key, number in reversed(self._latest.items()):
            if number <= seen:
                break
            found = key, number
        return found

    async def wait(self, key: str | None) -> None:
        """Wait for a hint of a key; None: of any.

        Cancellation:
          Safe. Hints are kept, not handed over.
        """
        event = self._waiting.setdefault(key, trio.Event())
        try:
            await event.wait()
        finally:
            # The last one to give up leaves nothing behind.
            if not event.is_set() and not event.statistics().tasks_waiting:
                self._waiting.pop(key, None)
