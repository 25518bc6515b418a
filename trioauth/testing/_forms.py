"""Reading what a client sends: parameters and credentials. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl, unquote_plus

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._messages import Request

_FORM = "application/x-www-form-urlencoded"
# RFC 8707 2, RFC 8693 2.1: these two may be repeated. No URL has a space in it.
_REPEATED = ("resource", "audience")


def read_form(request: Request) -> dict[str, str] | None:
    """Read the body (RFC 6749 3.2): a parameter without a value is none, and none may come twice.

    But for ``resource`` and ``audience``, whose values are joined by spaces.
    """
    if request.content_type.partition(";")[0].strip().lower() != _FORM:
        return None
    try:
        return _once(parse_qsl(request.body.decode("ascii"), errors="strict"))
    except ValueError:
        return None


def read_query(request: Request) -> dict[str, str] | None:
    """Read the query, in the same manner."""
    try:
        return _once(parse_qsl(request.query, errors="strict"))
    except ValueError:
        return None


def read_basic(authorization: str) -> tuple[str, str] | None:
    """Read ``Authorization: Basic`` (RFC 6749 2.3.1): form-encoded, then base64."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        decoded = base64.b64decode(encoded, validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        return None
    client_id, colon, client_secret = decoded.partition(":")
    return (unquote_plus(client_id), unquote_plus(client_secret)) if colon else None


def read_json_object(body: bytes) -> dict[str, Any] | None:
    """Read a JSON object."""
    try:
        value = json.loads(body)
    except ValueError:
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def listed(value: object) -> list[object]:
    """Return the values of a claim that may be one or several, such as ``aud``."""
    return cast("list[object]", value) if isinstance(value, list) else [value]


def challenge_of(verifier: str) -> str:
    """Return the code challenge of a code verifier (RFC 7636 4.2, S256)."""
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _once(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    read: dict[str, str] = {}
    for name, value in pairs:
        if name in read and name not in _REPEATED:
            raise ValueError(f"{name} occurs twice")
        read[name] = f"{read[name]} {value}" if name in read else value
    return read
