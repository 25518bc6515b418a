"""The authorization code flow with PKCE: what is sent, and what comes back (pure).

A callback is judged in this order (RFC 6749 4.1.2, RFC 9207 2.4). Only the last two end a log-in;
all others are `Stray`, and the log-in waits on:

1. another path than that of the redirect URI, compared exactly;
2. a query that can't be read, or a parameter of ours that occurs twice;
3. no ``state``, or another one, compared in constant time;
4. another ``iss`` than the server's, compared as strings; or none, though the server's metadata
   promised one. Errors have an ``iss``, too;
5. neither ``code`` nor ``error``, or both;
6. ``error``: `Refusal`;
7. ``code``: `Code`.

Why a wrong ``iss`` is no error that ends the log-in: it is the answer of another server, and the
right one may still come. A caller that gets one callback only (a web application) raises what
`stray_error` returns.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import attrs

from trioauth._errors import LoginDeclinedError, LoginError
from trioauth._secrets import Unpicklable, printable
from trioauth.oauth.fields import check_not_owned

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# 32 bytes are 43 characters: as many as a verifier must have at least (RFC 7636 4.1), and not more
# than some servers take for a nonce.
_ENTROPY: Final = 32
# What is read of a callback, and so must not occur twice (RFC 6749 3.1).
_READ: Final = frozenset({"code", "error", "error_description", "iss", "state"})
_MOST_PARAMETERS: Final = 50
# RFC 6749 A.11
_CODE: Final = re.compile(r"[\x20-\x7e]+")
_DECLINED: Final = frozenset({"access_denied", "authorization_declined"})
# Beside a code, what is copied from an address bar may have blanks and line breaks in it.
_BLANKS: Final = re.compile(r"\s+")

Parameters: TypeAlias = tuple[tuple[str, str], ...]


def _challenge(verifier: str) -> str:
    digest = hashlib.sha256(verifier.encode("ascii")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


@final
@attrs.frozen(kw_only=True)
class Attempt(Unpicklable):
    """What ties a callback to one attempt to log in. All of it is secret until it has been used."""

    verifier: str = attrs.field(repr=False)
    """Proves to the token endpoint that we began this (RFC 7636 4.1)."""
    state: str = attrs.field(repr=False)
    """Proves to us that a callback belongs to this (RFC 6749 10.12)."""
    nonce: str = attrs.field(repr=False)
    """Proves to us that an ID token belongs to this (OpenID Connect Core 3.1.2.1)."""

    @classmethod
    def new(cls) -> Attempt:
        """Draw all three."""
        return cls(
            verifier=secrets.token_urlsafe(_ENTROPY),
            state=secrets.token_urlsafe(_ENTROPY),
            nonce=secrets.token_urlsafe(_ENTROPY),
        )

    @property
    def challenge(self) -> str:
        """What the server gets to see of the verifier: its S256 (RFC 7636 4.2)."""
        return _challenge(self.verifier)


def authorization_parameters(
    attempt: Attempt,
    *,
    client_id: str,
    redirect_uri: str,
    scope: str | None = None,
    resource: Iterable[str] = (),
    parameters: Mapping[str, str] | None = None,
    form_post: bool = False,
) -> Parameters:
    """Return what the authorization endpoint, or the one for pushed requests, is sent.

    Args:
      attempt: Of this log-in, and of no other.
      client_id: As registered.
      redirect_uri: The very string that `exchange_form` gets later.
      scope: Sent as it is. With ``openid`` in it, the nonce is sent, too.
      resource: Sent once each, in this order (RFC 8707 2).
      parameters: More, of the server's own.
      form_post: Whether the callback is to be a form that is sent by POST.

    Raises:
      ValueError: ``parameters`` has one that the protocol owns; names it.
    """
    given = dict(parameters or {})
    check_not_owned("parameters", given)
    found = [
        ("response_type", "code"),
        ("client_id", client_id),
        ("redirect_uri", redirect_uri),
    ]
    if scope is not None:
        found.append(("scope", scope))
    found += [("resource", each) for each in resource]
    found += [
        ("state", attempt.state),
        ("code_challenge", attempt.challenge),
        ("code_challenge_method", "S256"),
    ]
    if scope is not None and "openid" in scope.split():
        found.append(("nonce", attempt.nonce))
    if form_post:
        found.append(("response_mode", "form_post"))
    return (*found, *given.items())


def authorization_url(endpoint: str, parameters: Iterable[tuple[str, str]]) -> str:
    """Return the address that a person opens.

    Args:
      endpoint: May have a query of its own, which is kept (RFC 6749 3.1), but for what we say.
      parameters: What `authorization_parameters` returned; or, if those were pushed,
          ``client_id`` and the ``request_uri`` that came back (RFC 9126 4).
    """
    ours = list(parameters)
    names = {name for name, _ in ours}
    parts = urlsplit(endpoint)
    kept = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] not in names]
    return urlunsplit(parts._replace(query=urlencode([*kept, *ours]), fragment=""))


def exchange_form(code: Code, attempt: Attempt, *, redirect_uri: str) -> Parameters:
    """Return the form that turns a code into tokens (RFC 6749 4.1.3, RFC 7636 4.5).

    The client adds what says who it is, and ``resource``.
    """
    return (
        ("grant_type", "authorization_code"),
        ("code", code.value),
        ("redirect_uri", redirect_uri),
        ("code_verifier", attempt.verifier),
    )


@final
@attrs.frozen
class Expected(Unpicklable):
    """What a callback must have so that it ends a log-in."""

    path: str
    """That of the redirect URI."""
    state: str = attrs.field(repr=False)
    issuer: str | None = None
    """What the server calls itself; None if that is not known: then ``iss`` is not looked at."""
    iss_promised: bool = False
    """``authorization_response_iss_parameter_supported`` in the server's metadata."""


@final
@attrs.frozen
class Code(Unpicklable):
    """A callback that ends a log-in well."""

    value: str = attrs.field(repr=False)


@final
@attrs.frozen
class Refusal:
    """A callback with the server's ``error`` (RFC 6749 4.1.2.1). It ends a log-in, too."""

    error: str
    description: str | None = None


@final
@attrs.frozen
class Stray:
    """Not the callback of this log-in, which waits on."""

    what: Literal["path", "query", "state", "iss", "code"]
    """What is wrong with it."""
    why: str
    """The same in words, fit to be shown."""


Callback: TypeAlias = Code | Refusal | Stray


def read_callback(target: str, expected: Expected) -> Callback:
    """Judge a request by its target: path and query, or a whole URL."""
    # What a browser sends is a path, and "//other/callback" is one, too: not for urlsplit.
    path, _, query = target.partition("#")[0].partition("?")
    if not target.startswith("/"):
        try:
            parts = urlsplit(target)
        except ValueError:
            return Stray("path", "an address that can't be read")
        # Not the host: behind it is our own port, whatever a browser calls it.
        # A URL without a path means "/" (RFC 9110 4.2.3), and some servers send it like that.
        path, query = parts.path or "/", parts.query
    if path != expected.path:
        return Stray("path", "another path than that of the redirect URI")
    return read_parameters(query, expected)


def read_parameters(query: str, expected: Expected) -> Callback:
    """Judge the query of a callback, or its form (``response_mode=form_post``)."""
    try:
        pairs = parse_qsl(
            query, keep_blank_values=True, errors="strict", max_num_fields=_MOST_PARAMETERS
        )
    except ValueError:
        return Stray("query", "a query that can't be read")
    names = [name for name, _ in pairs if name in _READ]
    if len(names) != len(set(names)):
        twice = sorted({name for name in names if names.count(name) > 1})
        return Stray("query", f"the same parameter more than once: {', '.join(twice)}")
    said = dict(pairs)
    return _stray(said, expected) or _judge(said, expected)


def _stray(said: Mapping[str, str], expected: Expected) -> Stray | None:
    """Say why a callback is not of this log-in, or not of its server; None if it is."""
    state, iss = said.get("state"), said.get("iss")
    if not state:
        return Stray("state", "no state, so it belongs to no log-in")
    # "surrogatepass": what can't be encoded is another state, not an exception.
    given = state.encode("utf-8", "surrogatepass")
    if not hmac.compare_digest(given, expected.state.encode()):
        return Stray("state", "the state of another log-in")
    if iss is None:
        if expected.iss_promised:
            return Stray("iss", "no iss, though the server's metadata promises one (RFC 9207)")
        return None
    if expected.issuer is not None and iss != expected.issuer:
        raw = printable(iss, secrets=[expected.state, said.get("code", "")])
        return Stray("iss", f"it comes from {raw!r}, not from {expected.issuer!r} (RFC 9207)")
    return None


def _judge(said: Mapping[str, str], expected: Expected) -> Callback:
    code, error = said.get("code"), said.get("error")
    if error and code is None:
        description = said.get("error_description")
        return Refusal(
            printable(error, secrets=[expected.state]),
            None if description is None else printable(description, secrets=[expected.state]),
        )
    if code is None or error is not None:
        return Stray("code", "it must have a code or an error, and not both")
    return Code(code) if _CODE.fullmatch(code) else Stray("code", "a code with odd characters")


def read_pasted(text: str, expected: Expected) -> Callback:
    """Judge what a person pasted: the address that the browser ended at, its query, or the code.

    A bare code has no state. It is as safe without: only the verifier of this log-in makes it work.
    But if the server promised an ``iss``, the whole address is needed.
    """
    text = _BLANKS.sub("", text)
    if re.match(r"https?://", text, re.IGNORECASE):
        return read_callback(text, expected)
    if re.search(r"(?:^|[?&])(?:code|state|error)=", text):
        return read_parameters(text.rpartition("?")[2], expected)
    if not _CODE.fullmatch(text):
        return Stray("code", "neither an address nor a code")
    if expected.iss_promised:
        return Stray("iss", "only a code; this server's answers are known by the whole address")
    return Code(text)


def refusal_error(refusal: Refusal) -> LoginError:
    """Return the error that a refusal is."""
    kind = LoginDeclinedError if refusal.error in _DECLINED else LoginError
    return kind(refusal.error, refusal.description)


def stray_error(stray: Stray) -> LoginError:
    """Return the error that a stray callback is to a caller that gets only this one."""
    return LoginError(f"invalid_{stray.what}", f"this is not the callback expected: {stray.why}")
