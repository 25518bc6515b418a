"""What travels between a client and the test server: values, no I/O."""

from __future__ import annotations

import enum
import json
from typing import TYPE_CHECKING, final

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

# An answer of this status has no body, whatever is said (RFC 9110 6.4.1).
_BODILESS = frozenset({204, 304})


@final
@attrs.frozen
class Request:
    """A whole request. Secrets don't show in its ``repr``."""

    method: str
    path: str
    query: str = attrs.field(default="", repr=False)
    authorization: str | None = attrs.field(default=None, repr=False)
    content_type: str = ""
    body: bytes = attrs.field(default=b"", repr=False)
    accept: str = ""
    origin: str = ""
    """Which server it is meant for, such as ``https://api.example.com``."""

    @property
    def bearer_token(self) -> str | None:
        """The token of ``Authorization: Bearer``, if there is one (RFC 6750 2.1)."""
        scheme, _, token = (self.authorization or "").partition(" ")
        return token.strip() or None if scheme.lower() == "bearer" else None


@final
@attrs.frozen
class Answer:
    """A whole answer, and how long it takes."""

    status: int
    headers: tuple[tuple[str, str], ...] = attrs.field(default=(), repr=False)
    parts: tuple[bytes, ...] = attrs.field(default=(), repr=False)
    wait: float = 0.0
    """Seconds before the answer starts."""
    pause: float = 0.0
    """Seconds before each part of the body."""


class NoAnswer(enum.Enum):
    """What a client can get instead of an answer."""

    LOST = "the connection broke before the answer came"
    UNREACHABLE = "the server can't be reached"


def whole(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
    """Build an answer whose body has a length."""
    fields = tuple((headers or {}).items())
    if status in _BODILESS:
        return Answer(status, fields)
    if not any(name.lower() == "content-length" for name, _ in fields):
        fields = (*fields, ("Content-Length", str(len(body))))
    return Answer(status, fields, (body,))


def in_json(status: int, value: object, headers: Mapping[str, str] | None = None) -> Answer:
    """Build an answer with a JSON body."""
    fields = {"Content-Type": "application/json", **(headers or {})}
    return whole(status, json.dumps(value).encode(), fields)
