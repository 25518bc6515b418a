"""A log-in of one's own, for a server that takes a name and a password at an address of its own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import trioauth

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

URL = "https://api.example.com/auth/login"


def by_password(
    name: str, password: str
) -> Callable[[trioauth.BackChannel], Awaitable[trioauth.Tokens]]:
    """Return a log-in: await session.log_in(by_password(name, password))"""

    async def log_in(channel: trioauth.BackChannel) -> trioauth.Tokens:
        form = {"name": name, "password": password}
        answer = await channel.send(trioauth.TokenRequest(URL, json=form))
        if answer.status == 401:
            raise trioauth.LoginError("wrong_password", "the name or the password is wrong")
        body = read_json(answer.body) if answer.is_success else None
        if body is None:
            raise trioauth.RefreshUnavailableError(f"{URL} answered with status {answer.status}")
        return trioauth.Tokens.from_response(body)

    return log_in


def read_json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:  # of a proxy, or a page that wants a click first
        return None
