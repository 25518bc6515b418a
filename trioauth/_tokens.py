"""Tokens: one answer of an authorization server, and how it is read (pure)."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Awaitable, Iterable, Mapping
from typing import Any, NoReturn, final

import attrs

from ._errors import TokenResponseError

# RFC 6749 A.12 lets an access token be any visible text, but it has to travel in
# a header: these are the characters that every server and proxy lets through.
_ACCESS_TOKEN = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
# RFC 6749 A.17, less the space, which none is known to use.
_REFRESH_TOKEN = re.compile(r"[\x21-\x7e]+")
# RFC 6749 3.3
_SCOPE_TOKEN = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")

_PATTERNS = {"access_token": _ACCESS_TOKEN, "refresh_token": _REFRESH_TOKEN}


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
    def from_response(cls, response: Mapping[str, object]) -> Tokens:
        """Read what a token endpoint sent (RFC 6749 5.1).

        Strictly where something is at stake: the tokens' characters and the
        ``token_type``. Kindly where nothing is: an ``expires_in`` in a string of
        digits is taken; any other odd one means "unknown", and so does 0, which
        some servers send for "does not expire". Unknown members are ignored.

        Args:
          response: The JSON object of the answer, decoded.

        Raises:
          TokenResponseError: The answer holds no valid tokens. Says which member, not its value.
        """
        if not isinstance(response, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TokenResponseError(f"not a JSON object but a {type(response).__name__}")
        for name in ("access_token", "token_type"):
            if name not in response:
                raise TokenResponseError(f"there is no {name} in it (RFC 6749 5.1 requires one)")
        members: Mapping[str, Any] = response  # The fields validate what they are given.
        try:
            return cls(
                access_token=members["access_token"],
                refresh_token=members.get("refresh_token") or None,
                expires_in=_read_lifetime(members.get("expires_in")),
                scope=_read_scope(members.get("scope")),
                token_type=members["token_type"],
            )
        except (TypeError, ValueError) as exc:
            problem = str(exc)
        # Out here, so that no `__context__` leads to the frames in which the values were checked.
        raise TokenResponseError(problem)

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
    value = _decode(body)
    if value is _NOTHING:
        raise NotJSONError("not JSON")
    if not isinstance(value, dict):
        raise TokenResponseError(f"not a JSON object but a {type(value).__name__}")
    return value  # pyright: ignore[reportUnknownVariableType]  # keys of JSON objects are strings


def _decode(body: bytes) -> object:
    try:
        return json.loads(body.decode("utf-8-sig"), object_pairs_hook=_once)
    except TokenResponseError:
        raise
    except (ValueError, RecursionError):
        # Raised about only after this block: such an error carries the whole body, and even
        # with "from None" it would go along as the context.
        return _NOTHING


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise TokenResponseError("a member occurs twice in it")
    return result
