"""BrowserLogin: a person logs in with the browser of this machine, or pastes where it ended."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, final
from urllib.parse import urlsplit

import attrs
import trio

from trioauth._secrets import Unpicklable
from trioauth.oauth.fields import copied
from trioauth.oauth.options import check_parameters

from .authorization import Stray, read_pasted
from .halves import FirstHalf, exchange
from .listener import PATIENCE, Inbox, receive
from .ports import Redirect, bind
from .prompt import Invitation, default_prompt
from .steps import with_prompt

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trioauth._tokens import Tokens
    from trioauth.oauth.channel import BackChannel

    from .halves import Begun
    from .prompt import Prompt
    from .steps import LoginClient


def check_patience(_: object, attribute: attrs.Attribute[float], value: float) -> None:
    """Let a number of seconds pass that is more than none, and not without end (P20)."""
    if not 0 < value < math.inf:
        raise ValueError(f"{attribute.name} must be a number of seconds, more than 0")


@final
@attrs.frozen(kw_only=True)
class BrowserLogin(Unpicklable):
    """A log-in by a redirect to a port of this machine (RFC 8252): `OAuthClient.browser`."""

    client: LoginClient
    redirect: Redirect
    prompt: Prompt | None = None
    paste: bool = False
    """Whether the browser is expected to be on another machine."""
    form_post: bool = False
    parameters: Mapping[str, str] = attrs.field(
        factory=dict[str, str],
        converter=copied,
        validator=check_parameters,
        repr=False,
        hash=False,
    )
    program: str | None = None
    patience: float = attrs.field(default=PATIENCE, validator=check_patience)

    async def __call__(self, endpoint: BackChannel, /) -> Tokens:
        """Ask the person to log in, and return the tokens.

        Everything that can go wrong without the person does so before the prompt appears (P23).

        Cancellation:
          Safe until the person's answer is here; then the server may have issued tokens that
          are never used. In any case the port is closed and no task is left (P24).

        Raises:
          LoginDeclinedError: The person said no.
          LoginTimeoutError: The person did not answer in time.
          LoginError: The server refused; or no port is free.
          GrantMisconfiguredError: The server does not accept this client, or its metadata can't be
              used.
          RefreshUnavailableError: No usable answer.
        """
        await trio.lowlevel.checkpoint()
        with bind(self.redirect) as port:
            first = FirstHalf(
                client=self.client,
                redirect_uri=port.redirect_uri,
                parameters=self.parameters,
                form_post=self.form_post,
            )
            begun = await first(endpoint)
            inbox = Inbox(begun.expected, self.form_post)
            finish = partial(exchange, self.client, endpoint, begun)
            program = self.program or self.client.client_id
            return await with_prompt(
                self.prompt or default_prompt(),
                self._invitation(begun),
                partial(receive, port, inbox, finish, program=program, patience=self.patience),
                pasted=lambda text: inbox.offer(read_pasted(text, begun.expected)),
                undecided=lambda: not inbox.decided,
            )

    def _invitation(self, begun: Begun) -> Invitation:
        def check(text: str) -> str | None:
            callback = read_pasted(text, begun.expected)
            return callback.why if isinstance(callback, Stray) else None

        return Invitation(
            kind="paste" if self.paste else "browser",
            url=begun.url,
            expires_at=trio.current_time() + self.patience,
            client_id=self.program or self.client.client_id,
            where=urlsplit(begun.url).hostname or "",
            check=check,
        )
