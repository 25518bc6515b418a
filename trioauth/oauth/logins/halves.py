"""The browser's way in two halves, for a web application (RFC 6749 4.1): `Begun` is in between.

`BrowserLogin` is made of the same two.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any, Final, final
from urllib.parse import urlsplit

import attrs
import trio

from trioauth._errors import RefreshUnavailableError
from trioauth._secrets import Secrets, Unpicklable
from trioauth._tokens import decode_object
from trioauth.oauth.answers import failure
from trioauth.oauth.fields import check_strings, check_text, copied
from trioauth.oauth.form import Form, pairs_of
from trioauth.oauth.identity import identify
from trioauth.oauth.options import check_parameters

from .authorization import (
    Attempt,
    Code,
    Expected,
    Refusal,
    Stray,
    authorization_parameters,
    authorization_url,
    exchange_form,
    read_callback,
    refusal_error,
    stray_error,
)
from .obtained import read_first_tokens, tell_if_not_renewable
from .steps import bounded, find_server

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trioauth._tokens import Tokens
    from trioauth.oauth.channel import Answer, BackChannel
    from trioauth.oauth.metadata import AuthorizationServer

    from .steps import LoginClient

_VERSION: Final = 1
# In the issuer of Entra's metadata for all tenants: what a callback says there is one of many.
_ANY_TENANT: Final = "{tenantid}"


@final
@attrs.frozen(kw_only=True)
class Begun(Unpicklable):
    """A log-in that was begun: what must be remembered until the browser comes back.

    The text of `to_text` and the callback are enough to log in, so keep it where only this person's
    requests find it: in the session of your web framework, on the server, or encrypted.
    Use it once.
    """

    url: str = attrs.field(repr=False)
    """Where to send the browser."""
    redirect_uri: str
    """Where the server sends it back to."""
    owner: str
    """Which client this is, at which server."""
    issuer: str | None
    """What the server calls itself, if that is known."""
    iss_promised: bool
    """Whether its callback says ``iss`` (RFC 9207)."""
    state: str = attrs.field(repr=False)
    """What the callback must bring with it."""
    verifier: str = attrs.field(repr=False)
    """What proves to the server that we began this (RFC 7636)."""
    nonce: str = attrs.field(repr=False)
    """What an ID token must bring with it."""
    parameters: Mapping[str, str] = attrs.field(
        factory=dict[str, str],
        converter=copied,
        validator=check_strings,
        repr=False,
        hash=False,
    )
    """What was asked for besides: the ID token is held against ``max_age`` and ``acr_values``."""
    binding: str = attrs.field(default="", repr=False)
    """What a `ResourceClient` has found out, and who it is there. May hold a client's secret."""

    @property
    def attempt(self) -> Attempt:
        """The secrets of it."""
        return Attempt(verifier=self.verifier, state=self.state, nonce=self.nonce)

    @property
    def expected(self) -> Expected:
        """What the callback must have."""
        path = urlsplit(self.redirect_uri).path
        return Expected(path or "/", self.state, self.issuer, self.iss_promised)

    def to_text(self) -> str:
        """Return it as text; a secret."""
        return json.dumps({"version": _VERSION, **attrs.asdict(self)})

    @classmethod
    def from_text(cls, text: str) -> Begun:
        """Read what `to_text` returned.

        Raises:
          ValueError: It is not such a text. Does not quote it.
        """
        members = _members(text)
        if members is None:
            raise ValueError("this is not the text of a log-in that was begun")
        return cls(**members)


def _members(text: str) -> dict[str, Any] | None:
    body, problem = decode_object(text.encode("utf-8", "replace"))
    if problem is not None or body.get("version") != _VERSION:
        return None
    members: dict[str, Any] = {name: body[name] for name in body if name != "version"}
    if members.keys() != {field.name for field in attrs.fields(Begun)}:
        return None
    others: dict[str, Any] = {"iss_promised": bool, "issuer": str | None, "parameters": dict}
    if not all(isinstance(value, others.get(name, str)) for name, value in members.items()):
        return None
    said: dict[str, object] = members["parameters"]
    return members if all(isinstance(value, str) for value in said.values()) else None


def _check_redirect_uri(_: object, attribute: attrs.Attribute[str], value: str) -> None:
    check_text(_, attribute, value)
    if ":" not in value or "#" in value:
        raise ValueError(f"{attribute.name} must be an absolute URI without a fragment")


@final
@attrs.frozen(kw_only=True)
class FirstHalf(Unpicklable):
    """The first half, which begins a log-in when it is called: `OAuthClient.begin`."""

    client: LoginClient
    redirect_uri: str = attrs.field(validator=_check_redirect_uri)
    parameters: Mapping[str, str] = attrs.field(
        factory=dict[str, str],
        converter=copied,
        validator=check_parameters,
        repr=False,
        hash=False,
    )
    form_post: bool = False

    async def __call__(self, endpoint: BackChannel, /) -> Begun:
        """Begin: pushed to the server where that asks for it, or offers it (RFC 9126).

        Cancellation:
          Safe. The server may remember a request that is never used.

        Raises:
          GrantMisconfiguredError: The server does not accept this client, or what it asks for; or
              its metadata can't be used, or lack an endpoint.
          RefreshUnavailableError: No usable answer.
        """
        client = self.client
        server = await find_server(client, endpoint)
        at = server.endpoint("authorization_endpoint")
        # There must be one, or the person would log in for nothing (P23).
        server.endpoint("token_endpoint")
        attempt = Attempt.new()
        # Hidden in the variables of this frame, for it holds the state.
        asked = Form(
            authorization_parameters(
                attempt,
                client_id=client.client_id,
                redirect_uri=self.redirect_uri,
                scope=client.scope or None,
                form_post=self.form_post,
            )
        )
        asked.update({**client.more, **self.parameters})
        if _is_pushed(server):
            asked = await _push(client, endpoint, server, asked)
        issuer = server.issuer
        return Begun(
            url=authorization_url(at, pairs_of(asked)),
            redirect_uri=self.redirect_uri,
            owner=client.owner,
            issuer=None if issuer is None or _ANY_TENANT in issuer else issuer,
            iss_promised=server.authorization_response_iss_parameter_supported,
            state=attempt.state,
            verifier=attempt.verifier,
            nonce=attempt.nonce,
            parameters=self.parameters,
        )


def _is_pushed(server: AuthorizationServer) -> bool:
    offered = server.pushed_authorization_request_endpoint is not None
    return offered or server.require_pushed_authorization_requests


async def _push(
    client: LoginClient,
    endpoint: BackChannel,
    server: AuthorizationServer,
    asked: Form,
) -> Form:
    """Push the request, and return what is left for the address (RFC 9126 2 and 4)."""
    url = server.endpoint("pushed_authorization_request_endpoint")
    secrets = Secrets(value for name, value in pairs_of(asked) if name in ("state", "nonce"))
    ask = partial(client.ask, endpoint, url, asked, secrets=secrets)
    answer = await bounded(ask, "pushing the request")
    if not answer.is_success:
        raise failure(answer, rules=client.rules)
    request_uri = _request_uri_in(answer)
    if request_uri is None:
        # Not where the members of the answer are among the variables.
        raise RefreshUnavailableError(f"{url} answered without a request_uri (RFC 9126 2.2)")
    return Form({"client_id": client.client_id, "request_uri": request_uri})


def _request_uri_in(answer: Answer) -> str | None:
    body, _ = decode_object(answer.body)
    found = body.get("request_uri")
    return found if isinstance(found, str) and found else None


async def exchange(
    client: LoginClient,
    endpoint: BackChannel,
    begun: Begun,
    code: Code,
) -> Tokens:
    """Turn a code into tokens (RFC 6749 4.1.3).

    Args:
      client: Who has begun the log-in.
      endpoint: The session's way to the server.
      begun: The first half.
      code: From the callback.

    Cancellation:
      Unsafe. The server may have issued tokens that are never used.

    Raises:
      LoginError: The server did not take the code.
      IdentityError: The ID token was refused.
      GrantMisconfiguredError: The server does not accept this client.
      RefreshUnavailableError: No usable answer.
    """
    server = await find_server(client, endpoint)
    form = Form(exchange_form(code, begun.attempt, redirect_uri=begun.redirect_uri))
    form.update(client.resources)
    secrets = Secrets((code.value, begun.verifier))
    ask = partial(client.ask, endpoint, server.endpoint("token_endpoint"), form, secrets=secrets)
    answer = await bounded(ask, "exchanging the code for tokens")
    came = read_first_tokens(answer, scope=client.scope, rules=client.rules)
    told = {**client.more, **begun.parameters}
    # Bounded, because it may have to fetch the keys of the server. No partial: its repr would show
    # the nonce.
    tokens = await bounded(
        lambda: identify(
            came, answer, client, endpoint, nonce=begun.attempt.nonce, parameters=told
        ),
        "validating the ID token",
    )
    tell_if_not_renewable(tokens, server, scope=client.scope, parameters=told)
    return tokens


@final
@attrs.frozen
class FinishedLogin(Unpicklable):
    """The second half, as a log-in: `OAuthClient.finish`."""

    client: LoginClient
    begun: Begun
    callback: Code | Refusal | Stray = attrs.field(repr=False)

    @classmethod
    def read(cls, client: LoginClient, begun: Begun, callback_url: str) -> FinishedLogin:
        """Judge a callback.

        Raises:
          ValueError: Another client has begun this.
        """
        if begun.owner != client.owner:
            raise ValueError(f"this log-in was begun by {begun.owner}, not by {client.owner}")
        return cls(client, begun, read_callback(callback_url, begun.expected))

    async def __call__(self, endpoint: BackChannel, /) -> Tokens:
        """Turn the code of the callback into tokens.

        Cancellation:
          Unsafe. The server may have issued tokens that are never used.

        Raises:
          LoginDeclinedError: The person said no.
          LoginError: The server did; or it is not the callback of this log-in.
          GrantMisconfiguredError: The server does not accept this client.
          RefreshUnavailableError: No usable answer.
        """
        await trio.lowlevel.checkpoint()
        callback = self.callback
        if isinstance(callback, Stray):
            raise stray_error(callback)
        if isinstance(callback, Refusal):
            raise refusal_error(callback)
        return await exchange(self.client, endpoint, self.begun, callback)
