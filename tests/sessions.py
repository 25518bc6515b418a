"""Short names for what most tests of a session begin with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from trioauth import RefreshUnavailableError, StoreError, events, open_session

from .both import API
from .fakes import FakeGrant, first_tokens

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from trioauth import Session, Tokens


def opened(grant: Any = None, **options: Any) -> AbstractAsyncContextManager[Session]:
    """Open a session that is logged in, with a fake grant."""
    options.setdefault("tokens", first_tokens())
    options.setdefault("base_url", API)
    return open_session(grant or FakeGrant(), **options)


def down() -> RefreshUnavailableError:
    """The server can't be reached; the refresh token was certainly not used."""
    return RefreshUnavailableError("down", safe_to_repeat=True)


async def log_in_unkept(session: Session, tokens: Tokens) -> None:
    """Log in while the store can't take the login: it has begun all the same."""
    with pytest.raises(StoreError, match="as long as this session"):
        await session.log_in(tokens)
    assert session.logged_in


def only(kind: type, told: list[events.Event]) -> list[Any]:
    return [event for event in told if isinstance(event, kind)]
