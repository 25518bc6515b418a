"""What a server may say: to behave, and to fail in every way that bytes allow."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .server import Caller, Say

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
UNAUTHORIZED = b'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer error="invalid_token"\r\n'
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
BLOCK = b"x" * 65_536
MEGABYTE = 1_000_000
HUNDRED_MB = 100 * MEGABYTE


def body_of(number: int) -> bytes:
    """The tokens of a refresh, as RFC 6749 5.1 has them."""
    return json.dumps(
        {
            "access_token": f"at-canary-{number}",
            "refresh_token": f"rt-canary-{number}",
            "token_type": "Bearer",
            "expires_in": 3600,
        }
    ).encode()


def whole(head: bytes, body: bytes) -> bytes:
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


TOKENS = whole(OK, body_of(1))


async def rotate(caller: Caller) -> None:
    """Behave as a token endpoint: new tokens for each request."""
    while await caller.hear() is not None:
        await caller.say(whole(OK, body_of(len(caller.server.heard))))


async def welcome(caller: Caller) -> None:
    """Behave as an API: 200 for the tokens of a refresh, 401 for the first one."""
    while (request := await caller.hear()) is not None:
        await caller.say(whole(UNAUTHORIZED if request.has("at-canary-0") else OK, b"hello"))


# --- Faults: each of these makes one --------------------------------------------------------


def answering(said: bytes) -> Say:
    """Read the request, say this, and close."""

    async def say(caller: Caller) -> None:
        await caller.hear()
        await caller.say(said)

    return say


def resetting(said: bytes = b"") -> Say:
    """Read the request, say this, and break the connection."""

    async def say(caller: Caller) -> None:
        await caller.hear()
        if said:
            await caller.say(said)
            # A RST overtakes what was sent before it, unless the other side has read that.
            await trio.sleep(0.02)
        await caller.reset()

    return say


async def reset_on_accept(caller: Caller) -> None:
    await caller.reset()


async def reset_after_head(caller: Caller) -> None:
    await caller.hear_head()
    await caller.reset()


async def hang_on_accept(caller: Caller) -> None:
    del caller
    await trio.sleep_forever()


def hanging(said: bytes = b"") -> Say:
    """Read the request, say this, and nothing more."""

    async def say(caller: Caller) -> None:
        await caller.hear()
        if said:
            await caller.say(said)
        await trio.sleep_forever()

    return say


def dribbling(head: bytes, byte: bytes, pause: float = 0.2) -> Say:
    """Read the request, say this, then a little at a time for ever."""

    async def say(caller: Caller) -> None:
        await caller.hear()
        await caller.say(head)
        while True:
            await trio.sleep(pause)
            await caller.say(byte)

    return say


def flooding(head: bytes, block: bytes, size: float = float("inf")) -> Say:
    """Read the request, say this, then as much as one will take."""

    async def say(caller: Caller) -> None:
        await caller.hear()
        await caller.say(head)
        rest = size
        while rest > 0:
            await caller.say(block)
            caller.server.said += len(block)
            rest -= len(block)

    return say


def chunk(block: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(block), block)


async def answer_first(caller: Caller) -> None:
    """Answer before the request was read, then read it."""
    await caller.say(TOKENS)
    await caller.hear()


def bomb() -> bytes:
    """A body of 100 MB in 100 kB."""
    return gzip.compress(b"\0" * HUNDRED_MB, 1)


def lazily(make: Callable[[], Say]) -> Say:
    """Make a fault only when it is needed."""

    def say(caller: Caller) -> Awaitable[None]:
        return make()(caller)

    return say
