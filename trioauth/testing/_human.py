"""The person in front of the browser: what they decide, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, final

import attrs
import trio

if TYPE_CHECKING:
    from collections.abc import Mapping


@final
@attrs.frozen
class Approval:
    """The person says yes."""

    subject: str
    claims: Mapping[str, object] = attrs.field(factory=dict[str, object], repr=False)
    """What else is said of them, in ID tokens and at the userinfo endpoint."""


@final
@attrs.frozen
class Denial:
    """The person says no."""


Decision: TypeAlias = Approval | Denial


@final
@attrs.define(eq=False)
class Human:
    """Decides for all authorizations, pending and later; at first, they don't."""

    decision: Decision | None = None
    consented: set[tuple[str, str]] = attrs.field(factory=set[tuple[str, str]], init=False)
    """Which client was approved by which subject before."""
    _decided: trio.Event = attrs.field(factory=trio.Event, init=False)

    def decide(self, decision: Decision) -> None:
        """Decide, and let those go on who wait for it."""
        self.decision = decision
        self._decided.set()

    async def wait(self) -> Decision:
        """Wait until there is a decision.

        Cancellation:
          Safe.
        """
        await trio.lowlevel.checkpoint()
        while self.decision is None:
            await self._decided.wait()
        return self.decision
