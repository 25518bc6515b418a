"""Keeping secrets out of what is shown: in texts of servers, in reprs and in pickles (P17)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NoReturn, Self, final
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterable

# RFC 6749 A.17 without the space: no known server puts one into a refresh token.
REFRESH_TOKEN = re.compile(r"[\x21-\x7e]+")

_REDACTED = "[redacted]"
_LONGEST_SHOWN = 200
# The rest is not read: a server may send a megabyte, and only the beginning is shown.
_LONGEST_READ = 4096
# So many characters in a row that are also in a secret count as a part of it.
_TELLING_RUN = 8
# How often a text is decoded: what one server echoes to another is encoded twice.
_LAYERS = 3
# Marks the place of a secret that was cut out. Not printable, so it never remains in a result.
_HOLE = "\0"

_JSON_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})|\\([\"\\/])")


def printable(text: str, *, secrets: Iterable[str] = ()) -> str:
    """Make a server's text fit for a log line: no control characters, no secrets, not too long.

    A secret that is echoed literally is cut out. A server may also echo it encoded (as in URLs,
    forms, HTML or JSON) or cut short: if the text has any such part, the whole text is dropped.
    """
    text = text[:_LONGEST_READ]
    known = sorted(filter(None, secrets), key=len, reverse=True)
    if known:
        text = text.replace(_HOLE, " ")
        # The longest first, because one secret may be a part of another.
        for secret in known:
            text = text.replace(secret, _HOLE)
        if _tells(text, known):
            return _REDACTED
        text = text.replace(_HOLE, _REDACTED)
    text = "".join(char if char.isprintable() else " " for char in text)
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "..."


def _tells(text: str, secrets: Iterable[str]) -> bool:
    """Say whether a text has eight characters in a row of a secret, or all of a shorter one."""
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
    """Return a text in all forms to compare: decoded or not, lower case, ``+`` as a space."""
    # Imported here: loading its tables takes a millisecond, and few programs need them.
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
    """The base of immutable values that hold a secret.

    They can't be pickled, because a pickle would show the secret. A copy is the value itself.
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
    """Strings that must be in no error and in no ``repr`` of a frame's variables.

    Crash reporters send the variables of frames along.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "<hidden>"


@final
class Hidden:
    """A secret that an exception or a value carries. A pickle of it does not hold the secret."""

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
        # An exception must be picklable, to leave a worker process. The secret stays behind.
        return Hidden, ()
