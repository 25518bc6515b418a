"""RedisStore at a server that answers garbage, or late: one `StoreError`, and the store goes on."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Final

import attrs
import pytest
import trio

from trioauth import Record, RedisStore, StoreError, Tokens
from trioauth.stores.redis import listener as redis_listener

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

HELLO: Final = b"%3\r\n+version\r\n+7.0.15\r\n+proto\r\n:3\r\n+id\r\n:5\r\n"
SUBSCRIBED: Final = b">3\r\n+subscribe\r\n+trioauth:changed\r\n:1\r\n"
GRANTED: Final = b"*2\r\n:1\r\n+7\r\n"

# What a server may say that is none, or a proxy that cuts and mixes answers. All but the last ones
# are no answer to any request; those are none to the request that they come for.
GARBAGE: Final = [
    b":canary\r\n",
    b"$canary\r\n",
    b",canary\r\n",
    b"-canary\xff\r\n",
    b"-MOVED canary\r\n",
    b"HTTP/1.1 400 canary\r\n\r\n",
    b"\r\n",
    b"_\r\n",
    b"#t\r\n",
    b":1\r\n",
    b"+OK\r\n",
    b"*0\r\n",
    b"*1\r\n:5\r\n",
    b"*2\r\n:1\r\n:2\r\n",
    b"*2\r\n:0\r\n+canary\r\n",
    b"*1\r\n-ERR canary\r\n",
    b"%1\r\n+canary\r\n:1\r\n",
    b"*1\r\n+canary\r\n",
    b"*2\r\n+conflict\r\n+canary\r\n",
]


@attrs.define
class Server:
    """A server that shakes hands as Redis does; it answers each command of the script as told."""

    answers: dict[bytes, bytes]
    """By a word of the command. Without one, a command gets no answer."""
    asked: list[bytes] = attrs.field(factory=list)
    turn: trio.Semaphore = attrs.field(factory=lambda: trio.Semaphore(10**6))
    """How many commands it may still answer."""

    async def talk(self, stream: trio.SocketStream) -> None:
        answers = {b"HELLO": HELLO} | self.answers
        words = re.compile(b"|".join(answers))
        with suppress(trio.BrokenResourceError):  # the store gives up the connection
            async with stream:
                async for data in stream:
                    # It may be several commands.
                    for word in words.findall(data):
                        self.asked.append(word)
                        await self.turn.acquire()
                        await stream.send_all((answers | self.answers)[word])


@asynccontextmanager
async def opened(
    answers: dict[bytes, bytes], timeout: float = 10
) -> AsyncGenerator[tuple[RedisStore, Server], None]:
    server = Server(answers)
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            serve = partial(trio.serve_tcp, server.talk, 0, host="127.0.0.1")
            listeners: list[trio.SocketListener] = await nursery.start(serve)
            port = listeners[0].socket.getsockname()[1]
            async with RedisStore(f"redis://127.0.0.1:{port}", timeout=timeout) as store:
                yield store, server
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("garbage", GARBAGE)
async def test_p17_garbage_from_a_redis_server_is_one_store_error_that_does_not_quote_it(
    garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    record = Record(1, Tokens("access"), login="a login")
    errors: list[StoreError] = []
    answers = {b"HMGET": garbage, b"EVALSHA": garbage}
    async with opened(answers) as (store, _):
        login = store.at("user")
        with pytest.raises(StoreError) as caught:
            await login.load()
        errors.append(caught.value)
        # It is also the answer to what releases the lease, in a task of the store.
        with pytest.raises(StoreError) as caught:
            async with login.lock():
                pytest.fail("locked")
        errors.append(caught.value)
        answers[b"EVALSHA"] = GRANTED
        async with login.lock():
            answers[b"EVALSHA"] = garbage
            for call in (login.probe, partial(login.save, record, expected=0)):
                with pytest.raises(StoreError) as caught:
                    await call()
                errors.append(caught.value)
        answers[b"HMGET"] = b"*2\r\n_\r\n_\r\n"
        assert await login.load() is None, "it goes on"
    for error in errors:
        assert "canary" not in f"{error}"
        assert error.__context__ is error.__cause__ is None


async def test_what_a_redis_server_answers_that_can_not_be_read_is_said() -> None:
    async with opened({b"HMGET": b":1\r\n"}) as (store, _):
        with pytest.raises(StoreError, match=r"answered what no Redis server does \(TypeError\)"):
            await store.at("user").load()


async def test_garbage_instead_of_a_sign_of_life_lets_the_listener_subscribe_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(redis_listener, "_ALIVE_EVERY", 0.01)
    answers = {b"SUBSCRIBE": SUBSCRIBED, b"PING": b":canary\r\n"}
    async with opened(answers) as (store, server):
        for _ in range(3):
            # After each subscription something may have been missed.
            assert await store.changed() is None
        assert server.asked.count(b"SUBSCRIBE") >= 3


async def test_one_late_answer_does_not_take_the_connection_from_the_other_requests() -> None:
    told: list[str] = []

    async with opened({b"HMGET": b"*2\r\n_\r\n_\r\n"}, timeout=2) as (store, server):

        async def load(name: str) -> None:
            try:
                await store.at(name).load()
            except StoreError as exc:
                told.append(f"{name}{' was late' * ('no answer within 2 seconds' in str(exc))}")
            else:
                told.append(name)

        await load("first")
        server.turn = trio.Semaphore(0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(load, "second")
            await trio.sleep(0.1)
            nursery.start_soon(load, "third")
            await trio.sleep(1)
            server.turn.release()
            nursery.start_soon(load, "fourth")
            await trio.sleep(1.2)
            for _ in range(3):
                server.turn.release()
    assert told == ["first", "second", "third was late", "fourth"]
    assert server.asked.count(b"HELLO") == 1
