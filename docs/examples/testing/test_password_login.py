"""The log-in of one's own keeps the promises of a log-in."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import httpx
from password_login import by_password

from trioauth.testing import check_login

if TYPE_CHECKING:
    from trio.testing import MockClock

PASSWORD = "correct horse"


class Server:
    """Knows one name and one password."""

    def __init__(self) -> None:
        self.logins = 0
        self.password = PASSWORD

    def answer(self, request: httpx.Request) -> httpx.Response:
        if json.loads(request.content) != {"name": "ann", "password": self.password}:
            return httpx.Response(401)
        self.logins += 1
        return httpx.Response(200, json={"access_token": f"access-{self.logins}"})

    def change_password(self) -> None:
        self.password = "battery staple"


async def test_our_log_in_keeps_its_promises(autojump_clock: MockClock) -> None:
    server = Server()
    await check_login(
        by_password("ann", PASSWORD),
        httpx.MockTransport(server.answer),
        declines=server.change_password,
        secrets=[PASSWORD],
    )
