"""From the answer of a token endpoint to who has logged in (OpenID Connect Core 3.1.3, 12)."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

import attrs
import trio

from trioauth._errors import (
    GrantMisconfiguredError,
    GrantRefusedError,
    IdentityError,
    MetadataError,
    RefreshUnavailableError,
    seconds_of,
)
from trioauth._secrets import Hidden
from trioauth._tokens import decode_object

from .id_token import Expected, judge, parse, wrong

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trioauth._identity import Identity
    from trioauth._tokens import Tokens

    from .channel import Answer, BackChannel
    from .form import Parameters
    from .id_token import IDToken
    from .metadata import AuthorizationServer

# For so many seconds the keys of the server are waited for at a refresh. When its answer is here
# already, the refresh token in it is not saved before; this is less than `close_grace`.
_PATIENCE: Final = 3.0


class Asker(Protocol):
    """What is used of an `OAuthClient`: so that this file need not know it."""

    @property
    def client_id(self) -> str: ...  # noqa: D102  # see there, as for those below
    @property
    def scope(self) -> str: ...  # noqa: D102
    async def server_of(self, endpoint: BackChannel) -> AuthorizationServer: ...  # noqa: D102


class _Keys(Protocol):
    """What is used of ``jwks``, which is imported when it is needed: it needs joserfc."""

    async def know_keys(self, url: str, endpoint: BackChannel) -> None: ...
    async def check_signature(
        self, token: IDToken, url: str, endpoint: BackChannel
    ) -> IdentityError | None: ...


async def check_id_token(
    answer: Answer,
    client: Asker,
    endpoint: BackChannel,
    *,
    nonce: str | None = None,
    max_age: float | None = None,
    acr: Iterable[str] = (),
    previous: Identity | None = None,
) -> Identity | None:
    """Validate the ID token in an answer that has tokens; return who it says has logged in.

    None if the scope of the client is without ``openid``, or joserfc is not installed (the extra
    ``jose``): then an ID token is not looked at. And if there is none in the answer, unless one was
    asked for.

    Args:
      answer: What the token endpoint sent.
      client: Who asked.
      endpoint: The session's way to the server.
      nonce: What was sent as such when the log-in began: then there must be an ID token.
      max_age: Ditto.
      acr: The ``acr_values`` that were asked for: ditto.
      previous: Who it was before a refresh: then the scope doesn't matter.

    Cancellation:
      Safe. At most the keys of the server are remembered.

    Raises:
      IdentityError: It was refused; names the claim.
      GrantMisconfiguredError: It can't be validated: joserfc is missing and needed, or the
          metadata of the server or its keys can't be used.
      RefreshUnavailableError: The keys are not to be had now; ``safe_to_repeat``.
    """
    expected = Expected(
        issuer="",
        client_id=client.client_id,
        nonce=nonce,
        max_age=max_age,
        acr=tuple(acr),
        previous=previous,
    )
    # The variables of this frame are shown by crash reporters.
    del nonce
    await trio.lowlevel.checkpoint()
    if previous is None and "openid" not in client.scope.split():
        return None
    text = _id_token_in(answer)
    jwks = _import_jwks(needed=_needs_joserfc(expected, text))
    if jwks is None:
        return None
    if text.value is None:
        if _is_due(expected):
            raise wrong(None, "there is none in the answer, though openid is in the scope")
        return None
    server = await client.server_of(endpoint)
    known = attrs.evolve(
        expected,
        issuer=_issuer_of(server),
        algorithms=server.id_token_signing_alg_values_supported,
    )
    parsed = parse(text.value, known)
    if isinstance(parsed, IdentityError):
        raise parsed
    problem = await jwks.check_signature(parsed, server.endpoint("jwks_uri"), endpoint)
    found = problem or judge(parsed, known, now=time.time())
    if isinstance(found, IdentityError):
        raise found
    return found


async def identify(
    tokens: Tokens,
    answer: Answer,
    client: Asker,
    endpoint: BackChannel,
    *,
    nonce: str | None = None,
    parameters: Parameters | None = None,
) -> Tokens:
    """Return the tokens of a log-in with the identity that came with them.

    Args:
      tokens: What was read from the answer.
      answer: The same, as it came.
      client: Who asked.
      endpoint: The session's way to the server.
      nonce: What was sent as such when the log-in began; None for a log-in that has none.
      parameters: What else was sent then: ``max_age`` and ``acr_values`` are held against the
          answer.

    Cancellation:
      Unsafe. The server has issued tokens that are never used.

    Raises:
      IdentityError: The ID token was refused; names the claim.
      GrantMisconfiguredError: It can't be validated.
      RefreshUnavailableError: It can't be validated now.
    """
    said = parameters or {}
    identity = await check_id_token(
        answer,
        client,
        endpoint,
        nonce=nonce,
        max_age=seconds_of(_number(said.get("max_age"))),
        acr=str(said.get("acr_values", "")).split(),
    )
    return attrs.evolve(tokens, identity=identity)


def _number(text: object) -> float | None:
    try:
        return float(str(text))
    except ValueError:
        # None was said. Or the server has taken it for something; we can't know for what.
        return None


async def prepare(client: Asker, endpoint: BackChannel, previous: Tokens | None) -> None:
    """Fetch the keys of the server before a refresh, if an ID token may come.

    So that, when its answer is here, nothing stands between the new refresh token and the store.
    If they don't come, that is no error: perhaps no ID token does.

    Args:
      client: Who asks.
      endpoint: The session's way to the server.
      previous: The tokens that are to be renewed.

    Cancellation:
      Safe. Nothing has been asked for yet.
    """
    await trio.lowlevel.checkpoint()
    if previous is None or previous.identity is None:
        return
    jwks = _import_jwks(needed=False)
    if jwks is None:
        return
    # Asked again when there is an ID token, and raised then.
    with trio.move_on_after(_PATIENCE), suppress(RefreshUnavailableError, MetadataError):
        server = await client.server_of(endpoint)
        if server.jwks_uri is not None:
            await jwks.know_keys(server.jwks_uri, endpoint)


async def identify_again(
    tokens: Tokens, answer: Answer, client: Asker, endpoint: BackChannel, previous: Tokens | None
) -> Tokens:
    """Return the tokens of a refresh with the identity that came with them.

    What is raised has the new refresh token with it, hidden, so that the session saves it. Except
    if the ID token names another person: that refresh token would keep their login.

    Args:
      tokens: What was read from the answer.
      answer: The same, as it came.
      client: Who asked.
      endpoint: The session's way to the server.
      previous: The tokens that were renewed.

    Cancellation:
      Delayed, for up to three seconds: the new tokens are not saved yet.

    Raises:
      IdentityError: The ID token was refused; names the claim.
      GrantRefusedError: It names another person than before: the login is over. The cause is the
          `IdentityError`.
      GrantMisconfiguredError: It can't be validated.
      RefreshUnavailableError: It can't be validated now.
    """
    problem: IdentityError | GrantMisconfiguredError | RefreshUnavailableError
    before = None if previous is None else previous.identity
    try:
        with trio.move_on_after(_PATIENCE, shield=True):
            identity = await check_id_token(answer, client, endpoint, previous=before)
            return attrs.evolve(tokens, identity=identity)
        problem = RefreshUnavailableError(
            f"the keys of the server did not come within {_PATIENCE:g} seconds, so the ID token "
            "can't be validated",
            safe_to_repeat=True,
        )
    except (IdentityError, GrantMisconfiguredError, RefreshUnavailableError) as exc:
        problem = exc
    # Raised outside `except`, so that it is not its own context.
    if isinstance(problem, IdentityError) and problem._names_another:
        raise GrantRefusedError(
            "another_person",
            f"{problem}; what the server gives for this refresh token is not for the person who "
            "logged in",
        ) from problem
    if previous is None or tokens.refresh_token != previous.refresh_token:
        problem._rotated = tokens.refresh_token
    raise problem


def _id_token_in(answer: Answer) -> Hidden:
    members, _ = decode_object(answer.body)
    return Hidden(members.get("id_token"))


def _is_due(expected: Expected) -> bool:
    """Say whether there must be an ID token: after a log-in, and not after a refresh (12.2)."""
    return expected.nonce is not None or expected.max_age is not None or expected.acr != ()


def _needs_joserfc(expected: Expected, text: Hidden) -> bool:
    """Say whether to go on without validating would ignore what was asked for."""
    compares = expected.previous is not None and text.value is not None
    return compares or expected.max_age is not None or expected.acr != ()


def _import_jwks(*, needed: bool) -> _Keys | None:
    """Return what has to do with keys; None if joserfc is not there and not needed.

    Raises:
      GrantMisconfiguredError: It is not there, and needed.
    """
    try:
        from . import jwks
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.partition(".")[0] != "joserfc":
            raise
    else:
        return jwks
    if needed:
        raise GrantMisconfiguredError(
            "joserfc_missing", "the ID token can't be validated; install trioauth[jose]"
        )
    return None


def _issuer_of(server: AuthorizationServer) -> str:
    """Return whom an ID token must be from.

    Raises:
      MetadataError: That is not known.
    """
    if server.issuer is None:
        raise MetadataError(
            "an ID token can't be validated without the issuer; pass issuer=, or take openid out "
            "of the scope",
            member="issuer",
        )
    return server.issuer
