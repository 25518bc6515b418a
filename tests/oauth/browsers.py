"""A log-in that waits on a real port, and raw requests to it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import attrs
import outcome
import trio

from trioauth.oauth.logins.authorization import Code, Expected
from trioauth.oauth.logins.listener import PATIENCE, Inbox, receive
from trioauth.oauth.logins.ports import Port, Redirect, bind

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

# What the canary looks for: these must show nowhere.
STATE, CODE = "cs-canary-state", "at-canary-code"
EXPECTED = Expected("/callback", STATE, "https://id.test")


async def tokens_of(code: Code) -> str:
    return f"tokens for {code.value}"


def callback(path: str = "/callback", **parameters: str) -> str:
    return f"{path}?{urlencode({'code': CODE, 'state': STATE} | parameters)}"


def get(target: str, *headers: str, method: str = "GET") -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: 127.0.0.1", *headers, "", ""]
    return "\r\n".join(lines).encode()


def post(target: str, body: str, kind: str = "application/x-www-form-urlencoded") -> bytes:
    headers = (f"Content-Length: {len(body)}", f"Content-Type: {kind}")
    return get(target, *headers, method="POST") + body.encode()


async def read_all(stream: trio.SocketStream) -> bytes:
    data = b""
    try:
        async for part in stream:
            data += part
    except trio.BrokenResourceError:
        pass
    return data


@attrs.define(eq=False)
class Waiting:
    """A log-in that waits."""

    port: Port
    inbox: Inbox
    outcome: outcome.Outcome[Any] | None = None
    over: trio.Event = attrs.field(factory=trio.Event)

    async def result(self) -> Any:
        await self.over.wait()
        assert self.outcome is not None
        return self.outcome.unwrap()

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.port.number)

    async def ask(self, request: bytes) -> bytes:
        async with await self.connect() as stream:
            await stream.send_all(request)
            return await read_all(stream)


@asynccontextmanager
async def waiting(
    *,
    finish: Callable[[Code], Awaitable[object]] = tokens_of,
    uri: str = "http://127.0.0.1/callback",
    expected: Expected = EXPECTED,
    form_post: bool = False,
    patience: float = PATIENCE,
    program: str = "notes",
) -> AsyncGenerator[Waiting, None]:
    login = Waiting(bind(Redirect.read(uri)), Inbox(expected, form_post=form_post))

    async def run() -> None:
        login.outcome = await outcome.acapture(
            partial(receive, program=program, patience=patience), login.port, login.inbox, finish
        )
        login.over.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        yield login
        nursery.cancel_scope.cancel()
