"""What a server that sends too much costs in memory, measured from outside."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from . import says
from .server import open_server

if TYPE_CHECKING:
    from .server import Caller, Say

ROOT = Path(__file__).parents[2]
# What is read of a body, what is in buffers, and what the interpreter takes on its way.
ALLOWED = 16 * says.MEGABYTE

CHUNKS = says.flooding(says.OK + says.CHUNKED, says.chunk(says.BLOCK))
TOO_MUCH: dict[str, Say] = {
    "chunks for ever": CHUNKS,
    "100 MB": says.flooding(
        says.OK + b"Content-Length: 100000000\r\n\r\n", says.BLOCK, says.HUNDRED_MB
    ),
    "a gzip bomb": says.lazily(
        lambda: says.answering(says.whole(says.OK + b"Content-Encoding: gzip\r\n", says.bomb()))
    ),
    "headers for ever": says.flooding(says.OK, b"X-Flood: x\r\n" * 5_000),
}


async def grown(token_url: str, good_url: str, api_url: str, library: str) -> tuple[int, str, str]:
    """Run a session in a child; return its growth, how its request ended, and its state."""
    command = [sys.executable, "-m", f"{__package__}.child", token_url, good_url, api_url, library]
    with trio.fail_after(60):
        done = await trio.run_process(command, capture_stdout=True, cwd=ROOT)
    size, ending, state = done.stdout.decode().split()
    return int(size), ending, state


@pytest.mark.slow
@pytest.mark.parametrize("fault", TOO_MUCH)
async def test_too_much_from_a_token_endpoint_is_never_in_memory(fault: str) -> None:
    async with (
        open_server(says.rotate) as server,
        open_server(says.rotate) as good,
        open_server(refuse) as api,
    ):
        server.fault = TOO_MUCH[fault]
        size, ending, state = await grown(f"{server.url}/token", good.url, api.url, "httpx")
    assert (ending, state) == ("RefreshUnavailableError", "LoggedIn")
    assert size < ALLOWED


async def refuse(caller: Caller) -> None:
    while await caller.hear() is not None:
        await caller.say(says.whole(says.UNAUTHORIZED, b""))


@pytest.mark.slow
@pytest.mark.parametrize("library", ["httpx", "httpx2"])
async def test_too_much_of_a_refusal_is_never_in_memory(library: str) -> None:
    flood = says.flooding(says.UNAUTHORIZED + says.CHUNKED, says.chunk(says.BLOCK))

    async def behave(caller: Caller) -> None:
        head = await caller.hear_head()
        if head is not None and b"Bearer access" in head:
            caller.unread(head + b"\r\n\r\n")
            await flood(caller)
        elif head is not None:
            await caller.say(says.whole(says.OK, b"hello"))

    async with open_server(says.rotate) as good, open_server(behave) as api:
        size, ending, state = await grown(f"{good.url}/token", good.url, api.url, library)
    assert (ending, state) == ("200", "LoggedIn")
    assert size < ALLOWED


@pytest.mark.slow
async def test_the_measure_sees_what_is_in_memory() -> None:
    head = says.OK + b"Content-Length: %d\r\n\r\n" % says.HUNDRED_MB
    async with open_server(says.rotate) as good, open_server(says.welcome) as api:
        # An answer that a program asks for is read whole, however long.
        api.fault = says.flooding(head, b"x" * says.MEGABYTE, says.HUNDRED_MB)
        size, ending, state = await grown(f"{good.url}/token", good.url, api.url, "httpx")
    assert size > ALLOWED
    assert (ending, state) == ("200", "LoggedIn")
