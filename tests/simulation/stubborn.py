"""What a program may put around the library: a grant that can't be cancelled, a pool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import trio

if TYPE_CHECKING:
    from trioauth import RefreshTokenGrant, TokenEndpoint, Tokens


@attrs.define(eq=False)
class Stubborn:
    """A grant that can't be cancelled, as one that works in a thread."""

    grant: RefreshTokenGrant

    def __getattr__(self, name: str) -> Any:
        return getattr(self.grant, name)

    async def __call__(self, tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
        """Obtain tokens."""
        with trio.CancelScope(shield=True):
            brought = await self.grant(tokens, endpoint)
        return brought  # noqa: RET504  # to mypy, a scope may swallow what is raised in it


@attrs.define(eq=False)
class Pool:
    """The simulated transport, as the limiter knows httpx's pools."""

    transport: Any

    async def aclose(self) -> None:
        """Close the transport."""
        await self.transport.aclose()
