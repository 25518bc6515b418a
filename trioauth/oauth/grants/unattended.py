"""The grants of an `OAuthClient` that need no human: values, called as any `Grant`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeAlias, final

import attrs
import trio

from trioauth._errors import GrantError, RefreshUnavailableError, careful
from trioauth._secrets import Secrets, Unpicklable

from .client_credentials import credentials_form, read_obtained
from .exchange import exchange_form
from .jwt_bearer import jwt_bearer_form

if TYPE_CHECKING:
    from trioauth._tokens import Tokens
    from trioauth.oauth.answers import Rules
    from trioauth.oauth.channel import Answer, BackChannel
    from trioauth.oauth.form import Form, Parameters

Text: TypeAlias = str | Callable[[], Awaitable[str]]
"""A token or an assertion, or an async function that is asked for it anew each time."""


class Sender(Protocol):
    """What is used of an `OAuthClient`: so that this file need not know it."""

    @property
    def owner(self) -> str: ...  # noqa: D102  # see there, as for those below
    @property
    def scope(self) -> str: ...  # noqa: D102
    @property
    def more(self) -> Parameters: ...  # noqa: D102
    @property
    def rules(self) -> Rules: ...  # noqa: D102
    async def ask_for_tokens(  # noqa: D102
        self, endpoint: BackChannel, form: Form, *, secrets: Iterable[str] = ()
    ) -> Answer: ...
    async def revoke(self, tokens: Tokens, endpoint: BackChannel) -> bool: ...  # noqa: D102


@attrs.frozen
class _Unattended(ABC, Unpicklable):
    """A grant that needs no human, not even once: the session logs in when first asked."""

    client: Sender

    needs_refresh_token: ClassVar[bool] = False
    unattended: ClassVar[bool] = True

    @property
    def owner(self) -> str:
        """Whose tokens these are: those of the client."""
        return self.client.owner

    async def __call__(self, tokens: Tokens | None, endpoint: BackChannel, /) -> Tokens:  # noqa: ARG002  # as all grants
        """Obtain new tokens, whatever the previous ones.

        Cancellation:
          Safe. The server may have issued a token that is never used.

        Raises:
          GrantRefusedError: The server said no.
          GrantMisconfiguredError: The server does not accept this client.
          RefreshUnavailableError: No usable answer, or a function of the program failed.
        """
        form, secrets = await self._form()
        answer = await self.client.ask_for_tokens(endpoint, form, secrets=secrets)
        return read_obtained(answer, scope=self.client.scope, rules=self.client.rules)

    @abstractmethod
    async def _form(self) -> tuple[Form, Secrets]:
        """Return what is to be sent, and what of it is secret.

        Cancellation:
          Safe: nothing has been sent.
        """

    async def revoke(self, tokens: Tokens, endpoint: BackChannel) -> bool:
        """Revoke the token; return False if there is nowhere to do it.

        Cancellation:
          Unsafe. The server may or may not have revoked it.

        Raises:
          GrantError: The server did not accept the request: it still works.
          RefreshUnavailableError: No usable answer; it may still work.
        """
        return await self.client.revoke(tokens, endpoint)


@final
@attrs.frozen
class ClientCredentials(_Unattended):
    """Tokens for the program itself (RFC 6749 4.4): `OAuthClient.credentials`."""

    async def _form(self) -> tuple[Form, Secrets]:
        await trio.lowlevel.checkpoint()
        return credentials_form(scope=self.client.scope, more=self.client.more), Secrets()


@final
@attrs.frozen
class JWTBearer(_Unattended):
    """Tokens for an assertion (RFC 7523 2.1): `OAuthClient.jwt_bearer`."""

    assertion: Text = attrs.field(repr=False)

    async def _form(self) -> tuple[Form, Secrets]:
        assertion = await text_of(self.assertion, "assertion")
        form = jwt_bearer_form(assertion, scope=self.client.scope, more=self.client.more)
        return form, Secrets((assertion,))


@final
@attrs.frozen
class TokenExchange(_Unattended):
    """Tokens for another token (RFC 8693): `OAuthClient.exchange`."""

    subject: Text = attrs.field(repr=False)
    subject_type: str
    actor: Text | None = attrs.field(repr=False)
    actor_type: str | None
    audience: tuple[str, ...]
    requested_type: str | None

    async def _form(self) -> tuple[Form, Secrets]:
        subject = await text_of(self.subject, "subject")
        actor = None if self.actor is None else await text_of(self.actor, "actor")
        form = exchange_form(
            subject,
            self.subject_type,
            actor=actor,
            actor_type=self.actor_type,
            audience=self.audience,
            requested_type=self.requested_type,
            scope=self.client.scope,
            more=self.client.more,
        )
        return form, Secrets(filter(None, (subject, actor)))


def check_source(value: object, name: str) -> None:
    """Let a text pass that is not empty, or a function that may return one.

    Raises:
      TypeError: It is neither; names the parameter.
      ValueError: It is empty; names the parameter.
    """
    if value == "":
        raise ValueError(f"{name} must not be empty")
    if not isinstance(value, str) and not callable(value):
        kind = type(value).__name__
        raise TypeError(f"{name} must be a str, or an async function that returns one, not {kind}")


async def text_of(source: Text, name: str) -> str:
    """Return a text, asking for it if there is a function to ask.

    Cancellation:
      As the function.

    Raises:
      RefreshUnavailableError: The function failed, or returned something else.
      GrantError: Raised by the function.
    """
    if isinstance(source, str):
        await trio.lowlevel.checkpoint()
        return source
    found: object = await before_sending(source, f"the function {name}=")
    if isinstance(found, str) and found:
        return found
    kind = type(found).__name__
    # The variables of this frame are shown by crash reporters.
    del found
    raise RefreshUnavailableError(
        f"the function {name}= must return a str that is not empty, and returned a {kind}; "
        "nothing was sent",
        safe_to_repeat=True,
    )


async def before_sending(
    function: Callable[..., Awaitable[object]], what: str, *args: object
) -> object:
    """Await a function of the program whose result is to be sent; nothing is lost if it fails.

    Cancellation:
      As the function.

    Raises:
      RefreshUnavailableError: It failed; ``safe_to_repeat``.
      GrantError: Raised by the function.
    """
    cause: Exception
    try:
        return await function(*args)
    except GrantError:
        raise
    except Exception as exc:  # noqa: BLE001  # whatever it is, nothing has been sent
        cause = exc
    retry_after = cause.retry_after if isinstance(cause, RefreshUnavailableError) else None
    # Not in the block above, where what was caught would become the context, too.
    raise RefreshUnavailableError(
        f"{what} failed ({careful(cause)}); nothing was sent",
        retry_after=retry_after,
        safe_to_repeat=True,
    ) from cause
