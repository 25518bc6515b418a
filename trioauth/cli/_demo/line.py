"""The line from a session to the token endpoint: counted, and slowed or cut on this side."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, final

import attrs
import trio

from trioauth._errors import GrantError, RefreshUnavailableError

if TYPE_CHECKING:
    from trioauth._tokens import Tokens
    from trioauth.grants import RefreshTokenGrant
    from trioauth.oauth.channel import TokenEndpoint


@final
@attrs.define(eq=False, repr=False)
class Line:
    """A grant that keeps books about another: without the server's, one's own must do.

    Nothing that it does can harm a login: it slows and cuts before anything was sent.
    """

    grant: RefreshTokenGrant
    pause: float = 0.0
    """Seconds that the line is slower than it is."""
    cut: bool = False
    asked: int = attrs.field(default=0, init=False)
    """Requests that were sent to the token endpoint."""
    most_at_once: int = attrs.field(default=0, init=False)
    brought: int = attrs.field(default=0, init=False)
    """Tokens that it brought."""
    lost: int = attrs.field(default=0, init=False)
    """Answers that never came: nobody knows whether the refresh token was used."""
    repeated: int = attrs.field(default=0, init=False)
    """Refresh tokens that were presented again after such an answer."""
    reused: int = attrs.field(default=0, init=False)
    """Refresh tokens that were presented again after the server had replaced them."""
    failures: int = attrs.field(default=0, init=False)
    """How often in a row there was no usable answer."""
    newest: Tokens | None = attrs.field(default=None, init=False)
    """The last tokens that it brought."""
    _at_once: int = attrs.field(default=0, init=False)
    _spent: set[str] = attrs.field(factory=set[str], init=False)
    _unknown: set[str] = attrs.field(factory=set[str], init=False)

    needs_refresh_token: ClassVar[bool] = True
    unattended: ClassVar[bool] = False

    @property
    def rotates(self) -> bool:
        """Whether the server has replaced a refresh token."""
        return bool(self._spent)

    async def __call__(self, tokens: Tokens | None, endpoint: TokenEndpoint, /) -> Tokens:
        """Refresh.

        Cancellation:
          Unsafe, for a server that rotates, as of the grant.
        """
        await trio.sleep(self.pause)
        if self.cut:
            raise RefreshUnavailableError("the demo has cut the line", safe_to_repeat=True)
        presented = "" if tokens is None else tokens.refresh_token or ""
        self._note(presented)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            brought = await self.grant(tokens, endpoint)
        except BaseException as exc:
            self.failures += 1
            if isinstance(exc, GrantError) or getattr(exc, "safe_to_repeat", False):
                self._unknown.discard(presented)
            else:
                self.lost += 1
            raise
        finally:
            self._at_once -= 1
        self._unknown.discard(presented)
        self.brought, self.failures, self.newest = self.brought + 1, 0, brought
        if brought.refresh_token not in (None, presented):
            self._spent.add(presented)
        return brought

    def _note(self, presented: str) -> None:
        self.asked += 1
        self.reused += presented in self._spent
        self.repeated += presented in self._unknown
        self._unknown.add(presented)

    async def revoke(self, tokens: Tokens, endpoint: TokenEndpoint) -> bool:
        """Tell the server that the login is over.

        Cancellation:
          Unsafe, as of the grant.
        """
        return await self.grant.revoke(tokens, endpoint)
