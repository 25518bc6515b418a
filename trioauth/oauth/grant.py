"""What a grant is: how tokens are obtained without a human."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from trioauth._tokens import Tokens

    from .channel import TokenEndpoint


class Grant(Protocol):
    """How tokens are obtained without a human. Any async function of this shape will do.

    A grant may say more about itself with attributes, all optional:

    ``unattended = True``
        It can obtain the first tokens, too (``tokens=None``): the session logs in when first asked.
    ``needs_refresh_token = True``
        Without a refresh token it can only refuse: the session does not ask before it has to.
    ``owner = "https://id.example.com/token notes"``
        Whose tokens these are: the server and the client, without any secret. The session writes
        it into the record in the store, and a record with another owner is not taken.
    ``async def revoke(self, tokens, endpoint) -> None``
        Called by `Session.log_out`, bounded and best effort.

    A grant that works in a thread should do it with ``trio.to_thread.run_sync(...,
    abandon_on_cancel=True)``: a thread can't be cancelled, and otherwise leaving the session waits
    until it is done. Tasks that wait for its tokens are told at the deadline in either case. What
    it brings after that is lost if it was abandoned, and otherwise saved.
    """

    async def __call__(self, tokens: Tokens | None, endpoint: TokenEndpoint, /) -> Tokens:
        """Obtain the next tokens.

        Never called twice at once for one session, and in a task of the session's own: it is not
        cancelled with the request that needed it, only at the session's end or the deadline.

        Args:
          tokens: The ones to be renewed; None when there are none.
          endpoint: The client to do it with.

        Cancellation:
          Unsafe, for a server that rotates: the new tokens may be lost. The session cancels only
          at the deadline of the refresh, and at its end after ``close_grace``.

        Raises:
          GrantRefusedError: The server said no: the login is over.
          GrantMisconfiguredError: The server does not know this client; nothing is lost.
          Exception: Anything else counts as unavailable. Where an answer can't be used but has a
              new refresh token, `Tokens.from_response` and
              ``RefreshUnavailableError(..., rotated=...)`` let the session save it.
        """
        ...
