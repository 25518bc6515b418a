"""Short names for what most tests of a session begin with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trioauth import RefreshUnavailableError, events, open_session

from .both import API
from .fakes import FakeGrant, first_tokens

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from trioauth import Session


def opened(grant: Any = None, **options: Any) -> AbstractAsyncContextManager[Session]:
    """Open a session that is logged in, with a fake grant."""
    options.setdefault("tokens", first_tokens())
    options.setdefault("base_url", API)
    return open_session(grant or FakeGrant(), **options)


def down() -> RefreshUnavailableError:
    """The server can't be reached; the refresh token was certainly not used."""
    return RefreshUnavailableError("down", safe_to_repeat=True)


def only(kind: type, told: list[events.Event]) -> list[Any]:
    return [event for event in told if isinstance(event, kind)]
