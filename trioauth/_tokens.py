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
    # Compared, not math.isfinite(), which can't take an int of any size.
    if not 0 <= value <= sys.float_info.max:
        raise ValueError(
            f"{attribute.name} must be zero or more seconds, and finite; "
            "pass None if the lifetime is not known"
        )


def no_tokens(value: object) -> str:
    """Say what was passed for `Tokens`, and how to make them of it. Never shows what is in it."""
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


def _hidden(_: object) -> str:
    return "<hidden>"


@final
@attrs.frozen
class Tokens:
    """One answer of an authorization server. Secrets never show in its ``repr``.

    A plain value: immutable, comparable, safe to log. It does not know whether
    it has expired: that depends on a clock, and values have none. It can't be
    pickled, because a pickle would show the secrets; a store keeps them.

    What a program passes in is checked strictly: `ValueError` or `TypeError`
    names the parameter, and never quotes the secret.
    """

    access_token: str = attrs.field(repr=_hidden, validator=_check_token)

    refresh_token: str | None = attrs.field(
        default=None, repr=_hidden, validator=attrs.validators.optional(_check_token)
    )

    expires_in: float | None = attrs.field(default=None, validator=_check_lifetime)
    """Seconds of life from the moment of asking for it; 0 for "expired already". None if unknown:
    the access token is used until a server refuses it."""

    scope: frozenset[str] = attrs.field(
        default=frozenset[str](), converter=_to_scope, validator=_check_scope
    )
    """What was granted; empty if the server didn't say. Accepts the form on the wire, too:
    ``scope="read write"`` (RFC 6749 3.3)."""

    token_type: str = attrs.field(default="Bearer", validator=_check_type)

    @classmethod
    def from_response(
        cls, response: Mapping[str, object], *, secrets: Iterable[str] | None = None
    ) -> Tokens:
        """Read what a token endpoint sent (RFC 6749 5.1).

        Strictly where something is at stake: the tokens' characters. Kindly where nothing is: a
        ``token_type`` that is missing or oddly spelled is ``Bearer``; an ``expires_in`` in a
        string of digits is taken; any other odd one means "unknown", and so does 0, which some
        servers send for "does not expire". Unknown members are ignored.

        An ``error`` in an answer without an access token is raised as what it is. Whatever is
        raised has the new refresh token with it, if there is one in the answer, and shows it
        nowhere: raised by a grant, the session saves it.

        Args:
          response: The JSON object of the answer, decoded.
          secrets: What was sent, and must not be seen in an error, even if the server echoes it.
              Without this only the codes that are known are quoted, and no ``error_description``.

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
        """Fill in what an answer leaves out because it did not change (RFC 6749 5.1 and 6)."""
        if previous is None:
            return self
        return attrs.evolve(
            self,
            refresh_token=self.refresh_token or previous.refresh_token,
            scope=self.scope or previous.scope,
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
    # Beside an error it may be a word about the one that was sent.
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
    # Out here, so that no `__context__` leads to the frames in which the values were checked.
    return TokenResponseError(problem)


def _is_bearer(token_type: object) -> bool:
    """Say whether tokens of this type are used as Bearer: also those of a server that errs."""
    if not isinstance(token_type, str):
        return True
    return token_type.strip().lower() in {"", *_BEARER}


def _unusable_type(token_type: str) -> GrantMisconfiguredError:
    # Only what is known is quoted: it may be anything that a server puts there.
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
    # Nothing is at stake: a scope we can't read is one the server did not say.
    if not isinstance(value, str):
        return frozenset()
    return frozenset(scope for scope in value.split() if _SCOPE_TOKEN.fullmatch(scope))


class NotJSONError(TokenResponseError):
    """It isn't even JSON: cut short, or somebody else's answer."""


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

    Of a member that occurs twice there is none in it: what the others say still counts.
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
        # Raised about only after this block: such an error carries the whole body, and even
        # with "from None" it would go along as the context.
        return _NOTHING
