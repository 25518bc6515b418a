"""Following: one task lets a session in memory look into the store when that gives a hint.

1. A hint names a key that is in memory: its session looks into the store, as a flight. It adopts
   what another program has saved: a newer generation, a new login, or a log-out.
2. A hint names another key: nothing is in memory that could be old.
3. A hint names none, so any record may have changed: each session looks when it is used next. There
   is no loop over all of them (P34).
4. Hints without end (they may be forged): they are collected, so a session looks ten times a second
   at most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import attrs
import trio

if TYPE_CHECKING:
    from ._core.hints import HintSource
    from ._members import Members

# Seconds for which hints are collected.
_PAUSE = 0.1


@final
@attrs.define(eq=False, repr=False)
class Following:
    """Follows the hints of a keyed store."""

    members: Members
    source: HintSource
    _names: set[str] = attrs.field(factory=set[str], init=False)
    """The keys in memory about which there were hints. Not more than are in memory."""

    async def follow(self) -> None:
        """Wait for hints, and look, until cancelled.

        Cancellation:
          Safe. A look that it has started goes on.
        """
        while True:
            if not self._names:
                await self._collect()
            with trio.move_on_after(_PAUSE):
                while True:
                    await self._collect()
            # A session that is looking already may have missed the change: it looks once more.
            self._names = {name for name in self._names if not self._look(name)}

    async def _collect(self) -> None:
        name = await self.source.wait()
        if name is None:
            self.members.doubted_at = trio.current_time()
        elif name in self.members.table:
            self._names.add(name)

    def _look(self, name: str) -> bool:
        member = self.members.table.get(name)
        return member is None or member.look()
