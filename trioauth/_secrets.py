"""Keeping secrets out of what is shown: in texts of servers, in reprs and in pickles (P17)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NoReturn, Self, final
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterable

# RFC 6749 A.17, less the space, which none is known to use.
REFRESH_TOKEN = re.compile(r"[\x21-\x7e]+")

_REDACTED = "[redacted]"
_LONGEST_SHOWN = 200
# What lies beyond is not shown anyway; a server may send a megabyte.
_LONGEST_READ = 4096
# A text that has so many characters in a row in common with a secret shows a part of it.
_TELLING_RUN = 8
# How often a text is decoded: an echo of an echo is encoded twice.
_LAYERS = 3
# Stands for a secret that was cut out while a text is looked at; not printable, so never shown.
_HOLE = "\0"

_JSON_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})|\\([\"\\/])")


def printable(text: str, *, secrets: Iterable[str] = ()) -> str:
    """Make a server's text fit for a log line: no control characters, no secrets, not too long.

    Secrets that stand there as they are get cut out. A server may also echo one encoded (in URLs,
    forms, HTML or JSON) or cut short: a text with a part of a secret is dropped as a whole.
    """
    text = text[:_LONGEST_READ]
    known = sorted(filter(None, secrets), key=len, reverse=True)
    if known:
        text = text.replace(_HOLE, " ")
        # The longest first: one may be a part of another.
        for secret in known:
            text = text.replace(secret, _HOLE)
        if _tells(text, known):
            return _REDACTED
        text = text.replace(_HOLE, _REDACTED)
    text = "".join(char if char.isprintable() else " " for char in text)
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "..."


def _tells(text: str, secrets: Iterable[str]) -> bool:
    """Say whether a text has a part of a secret, or a short one as a whole, in any encoding."""
    parts = {part for secret in secrets for view in _views(secret) for part in _parts(view)}
    sizes = {len(part) for part in parts}
    return any(
        view[at : at + size] in parts
        for view in _views(text)
        for size in sizes
        for at in range(len(view) - size + 1)
    )


def _parts(secret: str) -> Iterable[str]:
    size = min(_TELLING_RUN, len(secret))
    return (secret[at : at + size] for at in range(len(secret) - size + 1))


def _views(text: str) -> set[str]:
    """Return a text as it is, and as it may be meant: decoded, in one case, ``+`` for a space."""
    # Its tables of names take a millisecond, and few programs ever get here.
    import html

    views = set[str]()
    for _ in range(_LAYERS + 1):
        views.add(text.casefold().replace("+", " "))
        text = _JSON_ESCAPE.sub(_unescape, html.unescape(unquote(text)))
    return views


def _unescape(match: re.Match[str]) -> str:
    code, char = match.groups()
    return char if code is None else chr(int(code, 16))


class Unpicklable:
    """The base of values that hold a secret: a pickle would show it. Copies are the value itself.

    They are immutable, so a copy is as good as the original.
    """

    __slots__ = ()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} can't be pickled: the pickle would show its secrets"
        )


@final
class Secrets(Unpicklable, tuple[str, ...]):
    """What must not be seen in an error, nor in the variables of a frame that it was raised in.

    Those are what crash reporters send along.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "<hidden>"


@final
class Hidden:
    """A secret in a place that may be shown; a pickle of it holds nothing."""

    __slots__ = ("value",)

    def __init__(self, value: object = None) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "<hidden>"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[type[Hidden], tuple[()]]:
        # An exception has to survive its way out of a process; the secret stays.
        return Hidden, ()
