"""Tokens: one answer of an authorization server, and how it is read (pure)."""

from __future__ import annotations

import json
import math
import re
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, NoReturn, final

import attrs

from ._codes import OAUTH_CODES
from ._errors import Error, GrantMisconfiguredError, RefreshUnavailableError, TokenResponseError
from ._identity import Identity
from ._secrets import REFRESH_TOKEN, Secrets, printable

# RFC 6749 A.12 lets an access token be any visible text, but it has to travel in
# a header: these are the characters that every server and proxy lets through.
_ACCESS_TOKEN = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
# RFC 6749 3.3
_SCOPE_TOKEN = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")

# What servers call Bearer; the last two are Slack's.
_BEARER: Final = frozenset({"bearer", "bearertoken", "bot", "user"})
# Types that need more than we do with a token: RFC 9449 5, RFC 8693 2.2.1 and drafts.
_OTHER_TYPES: Final = frozenset({"dpop", "mac", "n_a", "pop"})

_PATTERNS = {"access_token": _ACCESS_TOKEN, "refresh_token": REFRESH_TOKEN}


def _check_token(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{attribute.name} must be a str, not {type(value).__name__}")
    if not _PATTERNS[attribute.name].fullmatch(value):
        raise ValueError(
            f"{attribute.name} must be visible ASCII characters without spaces, and at least one; "
            "pass the token exactly as the server gave it (a line break at its end?)"
        )


def _check_lifetime(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{attribute.name} must be seconds as a number, not {type(value).__name__}")
    # Not math.isfinite(): that raises OverflowError for a very large int.
    if not 0 <= value <= sys.float_info.max:
        raise ValueError(
            f"{attribute.name} must be zero or more seconds, and finite; "
            "pass None if the lifetime is not known"
        )


def no_tokens(value: object) -> str:
    """Name the type of what was passed instead of `Tokens`, and the remedy. Shows no content."""
    kind = f"a {type(value).__name__}"
    if isinstance(value, Mapping):
        return f"{kind}; trioauth.Tokens.from_response(...) reads what a server answered"
    if isinstance(value, Awaitable):
        return f"{kind}; pass the function itself, without calling it"
    return kind


def _to_scope(value: str | Iterable[str]) -> frozenset[str]:
    return frozenset(value.split() if isinstance(value, str) else value)


def _check_scope(_: object, attribute: attrs.Attribute[Any], value: frozenset[str]) -> None:
    for scope in value:
        if not isinstance(scope, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers
            raise TypeError(f"{attribute.name} must hold strings, not {type(scope).__name__}")
        if not _SCOPE_TOKEN.fullmatch(scope):
            raise ValueError(f"{attribute.name} has a value with characters RFC 6749 3.3 forbids")


def _check_type(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{attribute.name} must be a str, not {type(value).__name__}")
    if value.lower() != "bearer":
        raise ValueError(f"{attribute.name} must be 'Bearer': no other kind is understood")


def _check_identity(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None and not isinstance(value, Identity):
        raise TypeError(f"{attribute.name} must be an Identity or None, not {type(value).__name__}")


def _hidden(_: object) -> str:
    return "<hidden>"


@final
@attrs.frozen
class Tokens:
    """One answer of an authorization server. Secrets never show in its ``repr``.

    An immutable value, comparable and safe to log. It does not know whether the
    access token has expired, because that depends on a clock. It can't be
    pickled, because a pickle would show the secrets; a store keeps them.

    What a program passes in is checked strictly: a `ValueError` or `TypeError`
    names the parameter, and never quotes the secret.
    """

    access_token: str = attrs.field(repr=_hidden, validator=_check_token)
    """Goes into the header of each request (RFC 6749 1.4). Visible ASCII characters."""

    refresh_token: str | None = attrs.field(
        default=None, repr=_hidden, validator=attrs.validators.optional(_check_token)
    )
    """Gets the next access token (RFC 6749 1.5). None if the server gave none."""

    expires_in: float | None = attrs.field(default=None, validator=_check_lifetime)
    """Life of the access token in seconds, counted from when it was asked for; 0 if it has expired
    already. None if unknown: then it is used until a server refuses it."""

    scope: frozenset[str] = attrs.field(
        default=frozenset[str](), converter=_to_scope, validator=_check_scope
    )
    """What was granted; empty if the server didn't say. Accepts the form on the wire, too:
    ``scope="read write"`` (RFC 6749 3.3)."""

    token_type: str = attrs.field(default="Bearer", validator=_check_type)
    """Only ``"Bearer"`` (RFC 6750) is understood, in upper or lower case."""

    identity: Identity | None = attrs.field(
        default=None, repr=False, kw_only=True, validator=_check_identity
    )
    """Who has logged in, if an ID token said so and was validated; see `OAuthClient`."""

    @classmethod
    def from_response(
        cls, response: Mapping[str, object], *, secrets: Iterable[str] | None = None
    ) -> Tokens:
        """Read what a token endpoint sent (RFC 6749 5.1).

        The characters of tokens are checked strictly. The rest is read kindly: a ``token_type``
        that is missing or oddly spelled means ``Bearer``; an ``expires_in`` may be a string of
        digits; any other odd value means "unknown", and so does 0, which some servers send for
        "does not expire". Unknown members are ignored.

        An answer with an ``error`` and no access token is raised as the error class that fits. If
        the answer can't be used but has a new refresh token, the error carries it, without showing
        it. When a grant lets that error pass, the session saves the refresh token.

        Args:
          response: The JSON object of the answer, decoded.
          secrets: The secrets that were sent, to be cut out of an error's text if the server
              echoes them. Without this, only known error codes are quoted, and no
              ``error_description``.

        Raises:
          TokenResponseError: The answer holds no valid tokens. Says which member, not its value.
          GrantRefusedError: The server said no, with a code that is known (``invalid_grant``).
          GrantMisconfiguredError: It doesn't accept this client, or issues tokens of a type that
              needs more than a header (``DPoP``).
          RefreshUnavailableError: It said ``temporarily_unavailable`` or ``server_error``.
        """
        found = _read(response, None if secrets is None else Secrets(secrets))
        # The variables of this frame are shown by crash reporters.
        del response, secrets
        if isinstance(found, Tokens):
            return found
        raise found

    def carry_over(self, previous: Tokens | None) -> Tokens:
        """Fill in from the previous tokens what an answer left out (RFC 6749 5.1 and 6)."""
        if previous is None:
            return self
        return attrs.evolve(
            self,
            refresh_token=self.refresh_token or previous.refresh_token,
            scope=self.scope or previous.scope,
            identity=self.identity or previous.identity,
        )

    def __copy__(self) -> Tokens:
        return self

    def __deepcopy__(self, memo: object) -> Tokens:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("Tokens can't be pickled, a pickle would show them; use a token store")


def _read(response: Mapping[str, Any], secrets: Secrets | None) -> Tokens | Error:
    """Return tokens, or the error that an answer is."""
    if not isinstance(response, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        return TokenResponseError(f"not a JSON object but a {type(response).__name__}")
    if response.get("access_token") in (None, ""):
        error = _read_error(response, secrets)
    elif not _is_bearer(response.get("token_type")):
        error = _unusable_type(response["token_type"])
    else:
        made = _make(response)
        if isinstance(made, Tokens):
            return made
        error = made
    rotated = response.get("refresh_token")
    # Beside an `error`, this member may describe the refresh token that was sent.
    if isinstance(rotated, str) and not response.get("error"):
        error._rotated = rotated
    return error


def _make(response: Mapping[str, Any]) -> Tokens | TokenResponseError:
    spelled = response.get("token_type")
    if not isinstance(spelled, str) or spelled.lower() != "bearer":
        spelled = "Bearer"
    try:
        return Tokens(  # The fields validate what they are given.
            access_token=response["access_token"],
            refresh_token=response.get("refresh_token") or None,
            expires_in=_read_lifetime(response.get("expires_in")),
            scope=_read_scope(response.get("scope")),
            token_type=spelled,
        )
    except (TypeError, ValueError) as exc:
        problem = str(exc)
    # Raised by the caller, outside `except`: a `__context__` would lead to frames with the tokens.
    return TokenResponseError(problem)


def _is_bearer(token_type: object) -> bool:
    """Say whether the type means Bearer, other spellings and a missing one included."""
    if not isinstance(token_type, str):
        return True
    return token_type.strip().lower() in {"", *_BEARER}


def _unusable_type(token_type: str) -> GrantMisconfiguredError:
    # Only a known type is quoted: an unknown one may hold anything, a secret too.
    known = token_type.strip().lower() in _OTHER_TYPES
    kind = f'"{token_type.strip()}"' if known else "another type"
    return GrantMisconfiguredError(
        "unusable_token_type",
        f"the server issues tokens of {kind}, and only Bearer is understood; let it issue such "
        "to this client",
    )


def _read_error(response: Mapping[str, Any], secrets: Secrets | None) -> Error:
    """Return what an answer without an access token says."""
    missing = "there is no access_token in it"
    code, description = response.get("error"), response.get("error_description")
    if not isinstance(code, str) or not code:
        return TokenResponseError(f"{missing} (RFC 6749 5.1 requires one)")
    said = None
    if secrets is not None and isinstance(description, str) and description:
        said = printable(description, secrets=secrets)
    if code not in OAUTH_CODES:
        code = "an unknown error" if secrets is None else printable(code, secrets=secrets)
        return TokenResponseError(": ".join(filter(None, (f"{missing}, but {code}", said))))
    verdict = OAUTH_CODES[code]
    if verdict is not None:
        return verdict(code, said)
    return RefreshUnavailableError(
        ": ".join(filter(None, (f"the server said {code}", said))),
        safe_to_repeat=code == "temporarily_unavailable",
    )


def _read_lifetime(value: object) -> float | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        seconds = float(value)
    except OverflowError:
        return None
    return seconds if math.isfinite(seconds) and seconds > 0 else None


def _read_scope(value: object) -> frozenset[str]:
    # A scope that can't be read counts as not sent: no decision depends on it.
    if not isinstance(value, str):
        return frozenset()
    return frozenset(scope for scope in value.split() if _SCOPE_TOKEN.fullmatch(scope))


class NotJSONError(TokenResponseError):
    """The answer is not JSON: cut short, or sent by a proxy in between."""


_NOTHING = object()


def read_json_object(body: bytes) -> dict[str, object]:
    """Decode a JSON object in which no member occurs twice, at any depth.

    Two parsers may disagree about which of two ``access_token`` counts
    (RFC 8259 4), so an answer with two is no answer.

    Raises:
      NotJSONError: Not JSON.
      TokenResponseError: Not an object, or a member occurs twice.
    """
    value, problem = decode_object(body)
    if problem is None:
        return value
    # The variables of this frame are shown by crash reporters.
    del body, value
    raise problem


def decode_object(body: bytes) -> tuple[dict[str, object], TokenResponseError | None]:
    """Decode a JSON object; return it, and what is wrong with it.

    A member that occurs twice is left out of the result; the others can still be read.
    """
    twice = False

    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        nonlocal twice
        result = dict(pairs)
        if len(result) != len(pairs):
            twice = True
            times = Counter(name for name, _ in pairs)
            result = {name: value for name, value in pairs if times[name] == 1}
        return result

    value = _decode(body, once)
    if value is _NOTHING:
        return {}, NotJSONError("not JSON")
    if not isinstance(value, dict):
        return {}, TokenResponseError(f"not a JSON object but a {type(value).__name__}")
    problem = TokenResponseError("a member occurs twice in it") if twice else None
    return value, problem  # pyright: ignore[reportUnknownVariableType]  # keys are strings


def _decode(body: bytes, hook: Callable[[list[tuple[str, object]]], object]) -> object:
    try:
        return json.loads(body.decode("utf-8-sig"), object_pairs_hook=hook)
    except (ValueError, RecursionError):
        # Callers make their error outside `except`: this one holds the whole body, and would
        # be its `__context__` even with "from None".
        return _NOTHING
