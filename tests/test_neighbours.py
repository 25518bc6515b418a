"""Misuse across sessions, threads and runs of trio is one clear error (P22); so is a bad observer.

And a session that is not open yet, or was open before, says what to write.
"""

from __future__ import annotations

import asyncio
import gc
from contextlib import AsyncExitStack
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

import httpx
import outcome
import pytest
import trio
import trio.testing

from trioauth import LoggedIn, Session, events

from .both import API, FakeApi
from .fakes import FakeGrant, first_tokens
from .sessions import only, opened

if TYPE_CHECKING:
    from collections.abc import Callable

    from trioauth import TokenEndpoint, Tokens


async def enter_nursery(session: Session) -> None:
    async with session.open_nursery():
        pass


async def stream(session: Session) -> None:
    async with session.stream("GET", "/"):
        pass


# Everything public that does something.
CALLS: dict[str, Callable[[Session], Any]] = {
    "get": lambda session: session.get("/"),
    "stream": stream,
    "build_request": lambda session: session.build_request("GET", "/"),
    "http": lambda session: session.http,
    "attach": lambda session: session.attach(httpx.AsyncClient()),
    "token": lambda session: session.token(),
    "token_nowait": lambda session: session.token_nowait(),
    "refresh": lambda session: session.refresh(),
    "reject": lambda session: session.reject(1),
    "wait_logged_out": lambda session: session.wait_logged_out(),
    "wait_logged_in": lambda session: session.wait_logged_in(),
    "open_nursery": enter_nursery,
    "log_in": lambda session: session.log_in(first_tokens()),
    "log_out": lambda session: session.log_out(),
}


async def do(call: Callable[[Session], Any], session: Session) -> None:
    answer = call(session)
    if isawaitable(answer):
        await answer


def check_untouched(session: Session) -> None:
    assert session.statistics().refreshes == 0
    assert session.statistics().rejections == 0
    assert session.generation == 1


@pytest.mark.parametrize("name", CALLS)
async def test_p22_a_session_used_from_a_thread_with_its_own_run_of_trio_is_one_clear_error(
    name: str,
) -> None:
    async with opened(transport=httpx.MockTransport(FakeApi())) as session:

        def elsewhere() -> None:
            with pytest.raises(RuntimeError, match="belongs to another thread; from this one use"):
                trio.run(do, CALLS[name], session)

        await trio.to_thread.run_sync(elsewhere)
        check_untouched(session)


@pytest.mark.parametrize("name", CALLS)
async def test_p22_a_session_used_from_asyncio_in_a_thread_is_the_same_error(name: str) -> None:
    async with opened(transport=httpx.MockTransport(FakeApi())) as session:

        def elsewhere() -> None:
            with pytest.raises(RuntimeError, match="belongs to another thread; from this one use"):
                asyncio.run(do(CALLS[name], session))

        await trio.to_thread.run_sync(elsewhere)
        check_untouched(session)


@pytest.mark.parametrize("name", CALLS)
def test_p22_a_session_kept_for_the_next_run_of_trio_is_one_clear_error(name: str) -> None:
    kept: list[Session] = []

    async def first() -> None:
        stack = AsyncExitStack()
        kept.append(await stack.enter_async_context(opened()))
        await stack.aclose()

    async def second() -> None:
        with pytest.raises(RuntimeError, match="belongs to another run of trio; open one in each"):
            await do(CALLS[name], kept[0])

    trio.run(first)
    trio.run(second)


async def test_p22_an_attached_client_used_from_another_run_is_the_same_error(library: Any) -> None:
    api = FakeApi()
    async with opened() as session:

        async def send() -> None:
            async with api.client(session, library) as client:
                await client.get(API)

        async def send_with(client: Any) -> None:
            with pytest.raises(RuntimeError, match="belongs to another thread"):
                await client.get(API)

        await send()
        async with api.client(session, library) as client:
            await trio.to_thread.run_sync(trio.run, send_with, client)
    assert len(api.seen) == 1


async def test_p22_looking_at_the_state_from_another_thread_is_fine() -> None:
    async with opened() as session:

        def look() -> tuple[object, ...]:
            statistics = session.statistics()
            assert "logged in" in session.explain()
            return session.state, session.logged_in, session.generation, statistics.generation

        state, *others = await trio.to_thread.run_sync(look)
        assert isinstance(state, LoggedIn)
        assert others == [True, 1, 1]


def test_in_guest_mode_the_host_may_report_a_rejection_since_it_is_the_same_thread() -> None:
    problems: list[BaseException] = []

    async def guest(reject: Callable[[Session], object]) -> None:
        async with opened(FakeGrant(latency=0)) as session:
            reject(session)
            with trio.fail_after(5):
                while session.generation == 1:
                    await session.token()
            assert await session.token() == "access-1"

    async def host() -> None:
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def ended(result: outcome.Outcome[None]) -> None:
            problems.extend([result.error] if isinstance(result, outcome.Error) else [])
            done.set()

        trio.lowlevel.start_guest_run(
            guest,
            lambda session: loop.call_soon(session.reject, 1),
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            done_callback=ended,
        )
        await done.wait()

    asyncio.run(host())
    assert problems == []


# --- observers --------------------------------------------------------------------------------


async def observe(event: events.Event) -> None:
    raise AssertionError


class Observes:
    async def __call__(self, event: events.Event) -> None:
        raise AssertionError


@pytest.mark.parametrize("observer", [observe, Observes()])
def test_an_async_observer_is_refused_when_the_session_is_opened(observer: Any) -> None:
    with pytest.raises(TypeError, match="observers must not be async: they are called, and not"):
        opened(observers=[observer])
    with pytest.raises(TypeError, match="^is_rejected must say True or False at once"):
        opened(is_rejected=observer)


def returns_a_coroutine(event: events.Event) -> Any:
    return observe(event)


class LaterOn:
    """An awaitable that is no coroutine."""

    def __await__(self) -> Any:
        raise AssertionError


@pytest.mark.parametrize("observer", [returns_a_coroutine, lambda _: LaterOn()])
async def test_an_observer_that_returns_an_awaitable_is_logged_and_the_session_goes_on(
    observer: Any, caplog: pytest.LogCaptureFixture, autojump_clock: trio.testing.MockClock
) -> None:
    told: list[events.Event] = []
    async with opened(tokens=first_tokens(0), observers=[observer, told.append]) as session:
        assert await session.token() == "access-1"
    gc.collect()  # A coroutine that was never awaited would be a warning, and so an error.
    assert "an observer must not be async: it is called, and not awaited" in caplog.text
    assert only(events.RefreshLanded, told)


# --- a session that is not open -----------------------------------------------------------------


@pytest.mark.parametrize("name", ["get", "http", "token", "state", "log_in", "open_nursery"])
def test_a_session_that_is_not_open_yet_says_what_to_write(name: str) -> None:
    session: Any = opened()
    with pytest.raises(
        AttributeError,
        match=rf"not open yet; write: async with .*open_session\(\.\.\.\) as session, .*\.{name}$",
    ):
        getattr(session, name)


@pytest.mark.parametrize("name", ["gte", "_machine", "_forget_cookies", "__len__"])
def test_a_name_that_no_session_has_is_an_attribute_error_like_any_other(name: str) -> None:
    with pytest.raises(AttributeError, match=f"has no attribute '{name}'"):
        getattr(opened(), name)


async def test_a_session_is_opened_once() -> None:
    opening = opened()
    async with opening as session:
        with pytest.raises(RuntimeError, match=r"opened before.*open_session\(\.\.\.\) again"):
            async with opening:
                raise AssertionError
        assert await session.token() == "access-0"
    with pytest.raises(RuntimeError, match=r"opened before.*open_session\(\.\.\.\) again"):
        async with opening:
            raise AssertionError


async def test_a_log_in_that_waited_for_another_task_does_not_begin_on_a_closed_session(
    autojump_clock: trio.testing.MockClock,
) -> None:
    asked: list[str] = []
    first = trio.CancelScope()

    async def person(endpoint: TokenEndpoint) -> Tokens:
        asked.append(trio.lowlevel.current_task().name)
        assert len(asked) == 1
        await trio.sleep_forever()
        raise AssertionError

    async def ask(session: Session) -> None:
        with first:
            await session.log_in(person)

    async def wait(session: Session) -> None:
        with pytest.raises(trio.ClosedResourceError):
            await session.log_in(person)

    async with trio.open_nursery() as nursery:
        async with opened(FakeGrant()) as session:
            nursery.start_soon(ask, session)  # noqa: ASYNC111  # outlives it
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(wait, session)  # noqa: ASYNC111  # outlives it
            await trio.testing.wait_all_tasks_blocked()
        first.cancel()
    assert len(asked) == 1
