"""Challenges: reads WWW-Authenticate (RFC 9110 11.6.1); says what a refresh can cure (pure)."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, final

import attrs

from trioauth._errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

# A "token" in the sense of RFC 9110 5.6.2: a word.
#
# Every pattern is possessive ("++", "*+"): it never backtracks, so it reads any header in linear
# time.
_WORD = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
# What is between two commas. Commas in a quoted string don't count; its end quote may be missing.
_ELEMENT = re.compile(r'(?:[^",]++|"(?:[^"\\]++|\\.?)*+"?)++', re.DOTALL)
_NAME = re.compile(rf"{_WORD}[ \t]*+=")
_PARAMETER = re.compile(rf'({_WORD})[ \t]*+=[ \t]*+(?:({_WORD})|"((?:[^"\\]++|\\.)*+)")', re.DOTALL)
_SCHEME = re.compile(rf"({_WORD})(?:[ \t]++(.++))?+", re.DOTALL)
_TOKEN68 = re.compile(r"[A-Za-z0-9\-._~+/]++=*+")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)

_LONGEST = 65536

# Codes of RFC 6750 3.1, RFC 9470 3 and RFC 9449 9 that a new access token can't cure: the request,
# the login or the proof of possession is wrong.
_INCURABLE = frozenset(
    {
        "invalid_request",
        "insufficient_scope",
        "insufficient_user_authentication",
        "use_dpop_nonce",
    }
)


class HeadersLike(Protocol):
    """The part of headers that is used, of httpx or httpx2."""

    def get_list(self, key: str, /) -> list[str]:
        """Return the values of all fields of this name, one per line."""
        ...


class ChallengedResponse(Protocol):
    """The part of a response that is used, of httpx or httpx2."""

    @property
    def status_code(self) -> int: ...
    @property
    def headers(self) -> HeadersLike: ...


def _to_parameters(parameters: Mapping[str, str]) -> Mapping[str, str]:
    return MappingProxyType({name.lower(): value for name, value in parameters.items()})


def _items(parameters: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    return frozenset(parameters.items())


def _names(parameters: Mapping[str, str]) -> str:
    return f"<{', '.join(parameters)}>"


def _hidden(token68: str | None) -> str:
    return "None" if token68 is None else "<hidden>"


@final
@attrs.frozen
class Challenge:
    """One challenge of a ``WWW-Authenticate`` header (RFC 9110 11.3).

    Its ``repr`` shows the names of the parameters only: some servers quote the
    token they refuse.
    """

    scheme: str
    """As it was sent; compare it without regard to case."""

    parameters: Mapping[str, str] = attrs.field(
        factory=dict[str, str], converter=_to_parameters, eq=_items, repr=_names
    )
    """By name in lower case; if a name occurs several times, its first value."""

    token68: str | None = attrs.field(default=None, repr=_hidden)
    """What some schemes, such as Negotiate, send instead of parameters."""

    @property
    def realm(self) -> str | None:
        """The protection space (RFC 9110 11.5)."""
        return self.parameters.get("realm")

    @property
    def error(self) -> str | None:
        """The error code (RFC 6750 3.1), such as ``invalid_token``."""
        return self.parameters.get("error")

    @property
    def error_description(self) -> str | None:
        """The server's message for a person (RFC 6750 3), without control characters."""
        text = self.parameters.get("error_description")
        return None if text is None else printable(text)

    @property
    def scope(self) -> frozenset[str]:
        """The scope that would be needed (RFC 6750 3); empty if the server didn't say."""
        return frozenset(self.parameters.get("scope", "").split())

    @property
    def acr_values(self) -> tuple[str, ...]:
        """How the user should log in, best first (RFC 9470 3); empty if the server didn't say."""
        return tuple(self.parameters.get("acr_values", "").split())

    @property
    def max_age(self) -> float | None:
        """How many seconds ago the user may have logged in (RFC 9470 3); None if not said."""
        text = self.parameters.get("max_age", "")
        digits = text.isascii() and text.isdigit() and len(text) < 16
        return float(text) if digits else None


def challenges(response: ChallengedResponse) -> tuple[Challenge, ...]:
    """Return all challenges of a response, in the order they were sent.

    Never raises, whatever the header has. A malformed parameter is left out. After an element
    that is neither a scheme nor a parameter, all parameters up to the next scheme are left out. At
    most 64 kB are read.

    Args:
      response: Of httpx or httpx2.
    """
    return tuple(_parse(response.headers.get_list("www-authenticate")))


def challenge(response: ChallengedResponse, scheme: str = "Bearer") -> Challenge | None:
    """Return the challenge of a scheme: the first with an error code, else the first, else None.

    Args:
      response: Of httpx or httpx2.
      scheme: Compared without regard to case.
    """
    found = [each for each in challenges(response) if each.scheme.lower() == scheme.lower()]
    return next((each for each in found if each.error is not None), found[0] if found else None)


def is_rejected(response: ChallengedResponse) -> bool:
    """Say whether a refresh may cure this: the default of ``open_session(is_rejected=...)``.

    True for a 401, whatever scheme its challenges name (some servers name ``OAuth2``, ``JWT`` or
    ``Basic``), unless `asks_for_more`.
    """
    return response.status_code == 401 and not asks_for_more(response)


def asks_for_more(response: ChallengedResponse) -> bool:
    """Say whether the challenges ask for something that a refresh can't give.

    They do if all error codes in them are of that kind, and if there is no Bearer challenge without
    a code: that one is about the token.
    """
    found = challenges(response)
    errors = {each.error for each in found if each.error is not None}
    plain = any(each.error is None and each.scheme.lower() == "bearer" for each in found)
    return bool(errors) and errors <= _INCURABLE and not plain


@attrs.define
class _Draft:
    scheme: str
    parameters: dict[str, str] = attrs.field(factory=dict[str, str])
    token68: str | None = None

    def add(self, element: str) -> None:
        if match := _PARAMETER.fullmatch(element):
            name, token, quoted = match.groups()
            value = token if quoted is None else _ESCAPED.sub(r"\1", quoted)
            self.parameters.setdefault(name.lower(), value)


def _parse(lines: Iterable[str]) -> Iterator[Challenge]:
    draft: _Draft | None = None
    # Several lines are one list (RFC 9110 5.3), so a challenge may go on in the next.
    for element in _elements(lines):
        if _NAME.match(element):
            if draft is not None:
                draft.add(element)
            continue
        if draft is not None:
            yield _finish(draft)
        draft = _start(element)
    if draft is not None:
        yield _finish(draft)


def _elements(lines: Iterable[str]) -> Iterator[str]:
    left = _LONGEST
    for line in lines:
        for match in _ELEMENT.finditer(line[:left]):
            if element := match[0].strip(" \t"):
                yield element
        left = max(0, left - len(line))


def _start(element: str) -> _Draft | None:
    """Read "scheme", "scheme token68" or "scheme parameter"."""
    match = _SCHEME.fullmatch(element)
    if match is None:
        return None
    scheme, rest = match.groups(default="")
    if _TOKEN68.fullmatch(rest):
        return _Draft(scheme, token68=rest)
    draft = _Draft(scheme)
    draft.add(rest)
    return draft


def _finish(draft: _Draft) -> Challenge:
    return Challenge(draft.scheme, draft.parameters, draft.token68)
