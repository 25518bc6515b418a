"""The limiter alone, over a pool in memory, on a virtual clock: what takes and frees a slot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import attrs
import httpx
import pytest
import trio
import trio.testing
from trio.testing import wait_all_tasks_blocked

from trioauth import LoggedOut, LoggedOutError
from trioauth._core.flight import Login
from trioauth._http.belonging import LOGIN, Belonging
from trioauth._http.limiter import Limiter

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = pytest.mark.usefixtures("autojump_clock")


class FakePool:
    """A pool whose transport is a function; made on first use, as the real one."""

    def __init__(self, handler: Any) -> None:
        self.transport: httpx.AsyncBaseTransport | None = None
        self.handler = handler
        self.closed = False

    async def open(self) -> httpx.AsyncBaseTransport:
        await trio.sleep(0.01)
        self.transport = httpx.MockTransport(self.handler)
        return self.transport

    async def aclose(self) -> None:
        self.closed = True


class NoTokens:
    """The inside of a session that never has a token."""

    state = LoggedOut("asked")
    login = None
    clock: Any = None

    async def obtain(self, login: Login | None = None) -> NoReturn:
        raise NotImplementedError

    def raise_failure(self, why: Any) -> NoReturn:
        assert isinstance(why, LoggedOut)
        raise LoggedOutError("the login is over", why.reason)


def limiter_of(handler: Any, size: int) -> Limiter:
    pool: Any = FakePool(handler)
    return Limiter(pool, size, Belonging(NoTokens()))


def client_of(handler: Any, size: int, **options: Any) -> httpx.AsyncClient:
    transport = limiter_of(handler, size)
    return httpx.AsyncClient(base_url="https://api.test", transport=transport, **options)


async def sleepy(_: httpx.Request) -> httpx.Response:
    await trio.sleep(1)
    return httpx.Response(204)


@attrs.define
class Body(httpx.AsyncByteStream):
    """A body in two parts, which counts how often it is closed."""

    closed: int = 0
    fails: bool = False

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        yield b"one"
        yield b"two"

    async def aclose(self) -> None:
        self.closed += 1
        if self.fails:
            raise httpx.CloseError("reset")


async def test_requests_queue_for_a_slot_and_get_it_in_turn() -> None:
    order: list[str] = []

    async def handler(request: httpx.Request) -> httpx.Response:
        order.append(request.url.path)
        return await sleepy(request)

    async with client_of(handler, 2, timeout=None) as client, trio.open_nursery() as nursery:
        await client.get("/first")
        for number in range(6):
            nursery.start_soon(client.get, f"/{number}")
            await wait_all_tasks_blocked()
        assert len(order) == 3
    # In pairs: which of two runs first is trio's choice.
    assert [set(order[at : at + 2]) for at in (1, 3, 5)] == [
        {"/0", "/1"},
        {"/2", "/3"},
        {"/4", "/5"},
    ]
    assert trio.current_time() == pytest.approx(4.01)


async def test_a_stream_keeps_its_slot_until_it_is_closed() -> None:
    async with client_of(lambda _: httpx.Response(200, stream=Body()), 1) as client:
        async with client.stream("GET", "/long") as response:
            with pytest.raises(httpx.PoolTimeout, match=r"all 1 are busy, 1 of them with"):
                await client.get("/next")
            assert [part async for part in response.aiter_raw()] == [b"one", b"two"]
        # A stream may be closed more than once; its slot is given back once.
        await response.aclose()
        await response.stream.aclose()  # type: ignore[union-attr]  # as httpx does inside
        assert (await client.get("/next")).content == b"onetwo"
        # One that has no body to wait for has given it back already.
        sent = await client.send(client.build_request("GET", "/read"), stream=True)
        await sent.aread()
        await client.get("/next")


async def test_a_busy_connection_that_waits_for_its_answer_is_no_stream() -> None:
    async with (
        client_of(sleepy, 1, timeout=0.1) as client,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(client.get, "/")
        await trio.sleep(0.5)
        with pytest.raises(httpx.PoolTimeout, match=r"within 0\.1 .* 1 are busy, 0 of them with"):
            await client.get("/next")


@pytest.mark.parametrize("fails", [False, True])
async def test_a_response_that_is_left_early_closes_its_connection_and_gives_its_slot_back(
    fails: bool,
) -> None:
    body = Body(fails=fails)
    async with client_of(lambda _: httpx.Response(200, stream=body), 1) as client:
        for _ in range(2):
            response = await client.send(client.build_request("GET", "/"), stream=True)
            # Generators that are left early warn of it: there shall be none of ours among them.
            generator: Any = aiter(response.stream)  # type: ignore[arg-type]  # as httpx does inside
            assert generator.ag_frame.f_globals["__name__"] == "httpx._client"
            if fails:
                with pytest.raises(httpx.CloseError):
                    await response.aclose()
            else:
                await response.aclose()
    assert body.closed == 2


async def test_a_request_that_fails_gives_its_slot_back() -> None:
    async def handler(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no route")

    async with client_of(handler, 1) as client:
        for _ in range(3):
            with pytest.raises(httpx.ConnectError):
                await client.get("/")


@pytest.mark.parametrize("after", [0.5, 1.5], ids=["sending", "queueing"])
async def test_a_request_that_is_cancelled_gives_its_slot_back_or_its_place_in_the_queue(
    after: float,
) -> None:
    async with client_of(sleepy, 1) as client:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(client.get, "/")
            await trio.sleep(after)
            nursery.cancel_scope.cancel("the test says so")
        with trio.fail_after(1.1):
            await client.get("/")


async def test_one_request_object_may_be_sent_by_two_tasks() -> None:
    async with client_of(sleepy, 2) as client:
        request = client.build_request("GET", "/")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send, request)
            nursery.start_soon(client.send, request)
    assert trio.current_time() == pytest.approx(1.01)


async def test_a_response_that_a_hook_closes_gives_its_slot_back() -> None:
    async def close(response: httpx.Response) -> None:
        await response.aclose()

    async with client_of(
        lambda _: httpx.Response(204), 1, event_hooks={"response": [close]}
    ) as client:
        for _ in range(3):
            with trio.fail_after(5):
                await client.send(client.build_request("GET", "/"), stream=True)


async def test_without_contention_a_slot_costs_no_checkpoint() -> None:
    limiter = limiter_of(lambda _: httpx.Response(200), 1)
    await limiter._pool.open()
    with trio.testing.assert_no_checkpoints():
        await limiter.handle_async_request(httpx.Request("GET", "https://api.test"))


@pytest.mark.parametrize("timeouts", [{}, {"timeout": {"connect": 5}}])
async def test_p20_a_request_without_a_timeout_for_the_pool_queues_for_thirty_seconds(
    timeouts: dict[str, Any],
) -> None:
    limiter = limiter_of(lambda _: httpx.Response(200, stream=Body()), 1)
    await limiter.handle_async_request(httpx.Request("GET", "https://api.test"))
    before = trio.current_time()
    with pytest.raises(httpx.PoolTimeout):
        await limiter.handle_async_request(
            httpx.Request("GET", "https://api.test", extensions=timeouts)
        )
    assert trio.current_time() - before == 30


async def test_p20_a_request_queues_without_end_only_if_the_program_says_so() -> None:
    limiter = limiter_of(lambda _: httpx.Response(200, stream=Body()), 1)
    await limiter.handle_async_request(httpx.Request("GET", "https://api.test"))
    with trio.move_on_after(100_000) as patience:
        await limiter.handle_async_request(
            httpx.Request("GET", "https://api.test", extensions={"timeout": {"pool": None}})
        )
    assert patience.cancelled_caught


def signed(login: Login | None) -> httpx.Request:
    headers = {"Authorization": "Bearer access-canary"}
    return httpx.Request("GET", "https://api.test", headers=headers, extensions={LOGIN: login})


async def test_p13_a_slot_that_comes_free_as_the_login_ends_is_not_used_for_it() -> None:
    limiter, login = limiter_of(lambda _: httpx.Response(200, stream=Body()), 1), Login()
    first: Any = await limiter.handle_async_request(signed(login))

    async def queue() -> None:
        with pytest.raises(LoggedOutError):
            await limiter.handle_async_request(signed(login))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(queue)
        await wait_all_tasks_blocked()
        # The slot is handed over, and before its new holder runs the login ends.
        await first.stream.aclose()
        login.end(LoggedOut("asked"))
    assert limiter._slots.value == 1
    assert login.scopes == set()


async def test_p13_a_request_of_an_ended_login_does_not_even_queue() -> None:
    limiter, login = limiter_of(lambda _: httpx.Response(200, stream=Body()), 1), Login()
    await limiter.handle_async_request(signed(None))
    login.end(LoggedOut("asked"))
    with pytest.raises(LoggedOutError):
        await limiter.handle_async_request(signed(login))
    assert limiter._slots.value == 0


async def test_a_request_that_queues_when_the_client_is_closed_is_told_and_later_ones_too() -> None:
    limiter = limiter_of(lambda _: httpx.Response(200, stream=Body()), 1)
    pool: Any = limiter._pool
    await limiter.handle_async_request(signed(None))

    async def queue() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await limiter.handle_async_request(signed(None))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(queue)
        await wait_all_tasks_blocked()
        await limiter.aclose()
    assert pool.closed
    await queue()
