"""What observers are told, and when; and what the timer of keep_fresh does."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import httpx
import pytest
import trio
import trio.testing

from trioauth import (
    GrantRefusedError,
    LoggedOutError,
    Record,
    RefreshPolicy,
    RefreshUnavailableError,
    TokenEndpoint,
    Tokens,
    events,
)

from .both import FakeApi
from .fakes import FakeGrant, FakeStore, first_tokens
from .sessions import down, only, opened

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = pytest.mark.usefixtures("autojump_clock")


# --- events and observers ------------------------------------------------------------------


async def test_events_come_in_order() -> None:
    told: list[events.Event] = []
    api = FakeApi(latency=0, refused={"access-0"})
    grant = FakeGrant()
    async with opened(
        grant, transport=httpx.MockTransport(api), observers=[told.append]
    ) as session:
        task = trio.lowlevel.current_task().name
        await session.get("/")
        await session.log_out(revoke=False)
        assert told == [
            events.Saved(time=0, generation=1),
            events.LoggedIn(time=0, generation=1),
            events.RefreshStarted(time=0, flight=1, cause="rejected", generation=1),
            events.WaitStarted(time=0, flight=1, task=task),
            events.Saved(time=1, generation=2),
            events.RefreshLanded(time=1, flight=1, generation=2, adopted=False),
            events.WaitEnded(time=1, flight=1, task=task, cancelled=False),
            events.RequestResent(time=1, task=task, refused=1, generation=2),
            events.LoggedOut(time=1, reason="asked"),
            events.Saved(time=1, generation=3),
        ]
        assert only(events.Saved, told)[-1].generation == 3


async def test_events_of_a_refusal_come_in_order() -> None:
    told: list[events.Event] = []
    grant = FakeGrant(script=[GrantRefusedError("invalid_grant")])
    async with opened(grant, observers=[told.append]) as session:
        del told[:]
        with pytest.raises(LoggedOutError):
            await session.refresh()
        task = trio.lowlevel.current_task().name
        assert told == [
            events.RefreshStarted(time=0, flight=1, cause="asked_for", generation=1),
            events.WaitStarted(time=0, flight=1, task=task),
            events.Saved(time=0.5, generation=2),
            events.RefreshFailed(time=0.5, flight=1, error="GrantRefusedError", retry_at=0.5),
            events.LoggedOut(time=0.5, reason="refused"),
            events.WaitEnded(time=0.5, flight=1, task=task, cancelled=False),
        ]


async def test_a_failed_refresh_is_told_with_when_the_next_may_start() -> None:
    told: list[events.Event] = []
    policy = RefreshPolicy(attempts=1, cooldown=9)
    async with opened(
        FakeGrant(script=[down()]), policy=policy, observers=[told.append]
    ) as session:
        with pytest.raises(RefreshUnavailableError):
            session.reject(1)
            await session.token()
    assert only(events.RefreshFailed, told) == [
        events.RefreshFailed(time=0.5, flight=1, error="RefreshUnavailableError", retry_at=9.5)
    ]


@pytest.mark.parametrize("how", ["log_out", "elsewhere"])
async def test_a_flight_that_the_log_out_overtook_names_no_class_that_is_none(how: str) -> None:
    told: list[events.Event] = []
    store = FakeStore()
    async with opened(store=store, observers=[told.append]) as session:
        if how == "elsewhere":
            assert store.record is not None
            store.record = Record(9, None)
            with pytest.raises(LoggedOutError):
                await session.refresh()
        else:
            session._flights.take_off("asked_for")
            await trio.sleep(0.1)
            await session.log_out()
    for event in only(events.RefreshFailed, told):
        assert event.error != "NoneType"


async def test_a_cancelled_wait_is_told_as_such() -> None:
    told: list[events.Event] = []
    async with opened(tokens=first_tokens(0), observers=[told.append]) as session:
        with trio.move_on_after(0.25):
            await session.token()
    [ended] = only(events.WaitEnded, told)
    assert ended.cancelled
    assert ended.time == 0.25


async def test_observers_that_raise_are_logged_and_the_session_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: list[events.Event] = []

    def raising(event: events.Event) -> None:
        raise KeyError("a mistake")

    async with opened(tokens=first_tokens(0), observers=[raising, told.append, raising]) as session:
        assert await session.token() == "access-1"
        await session.log_out()
    assert only(events.LoggedOut, told)
    records = [record for record in caplog.records if record.name == "trioauth"]
    assert len(records) == 2 * len(told)
    assert {record.levelno for record in records} == {logging.ERROR}
    assert all(record.exc_info for record in records)


async def test_an_observer_may_use_the_session_without_waiting() -> None:
    seen: list[int] = []

    def observe(event: events.Event) -> None:
        if isinstance(event, events.RefreshLanded):
            assert session.token_nowait() == f"access-{event.flight}"
            session.reject(event.generation - 1)
            seen.append(session.statistics().generation)

    async with opened(observers=[observe]) as session:
        await session.refresh()
        await session.refresh()
    assert seen == [2, 3]


async def test_an_observer_that_rejects_what_just_landed_lets_no_task_hang() -> None:
    def observe(event: events.Event) -> None:
        if isinstance(event, events.RefreshLanded) and event.flight == 1:
            session.reject(event.generation)

    async with opened(tokens=first_tokens(0), observers=[observe]) as session:
        with trio.fail_after(10):
            assert await session.token() == "access-2"


async def test_a_task_that_an_observer_starts_may_wait_for_the_session(
    nursery: trio.Nursery,
) -> None:
    got: list[str] = []

    async def reload() -> None:
        session.reject(session.generation)
        got.append(await session.token())

    def observe(event: events.Event) -> None:
        if isinstance(event, events.Saved) and event.generation == 2:
            nursery.start_soon(reload)

    async with opened(observers=[observe]) as session:
        await session.refresh()
        await trio.sleep(10)
    assert got == ["access-2"]


# --- keep_fresh ----------------------------------------------------------------------------


async def test_keep_fresh_refreshes_by_a_timer_so_that_no_task_waits() -> None:
    grant = FakeGrant(lifetime=100)
    policy = RefreshPolicy(keep_fresh=True)
    async with opened(grant, tokens=first_tokens(100), policy=policy) as session:
        for _ in range(100):
            await trio.sleep(10)
            session.token_nowait()
            assert session.statistics().tasks_waiting == 0
    # A lifetime of 100 is early after 75 to 80.
    assert 12 <= len(grant.presented) <= 13
    assert grant.spent_twice == []


async def test_without_keep_fresh_nothing_happens_by_itself() -> None:
    grant = FakeGrant(lifetime=100)
    async with opened(grant, tokens=first_tokens(100)):
        await trio.sleep(1000)
    assert grant.presented == []


async def test_keep_fresh_honours_the_cool_down_and_a_rejection_and_a_new_login() -> None:
    grant = FakeGrant(0, script=[down() for _ in range(3)])
    policy = RefreshPolicy(keep_fresh=True, attempts=1, cooldown=7)
    async with opened(grant, policy=policy) as session:
        session.reject(1)
        await trio.sleep(6)
        assert len(grant.presented) == 1
        await trio.sleep(100)
        assert len(grant.presented) == 4
        assert session.token_nowait() == "access-1"
        await session.log_out()
        await trio.sleep(10000)
        assert len(grant.presented) == 4
        await session.log_in(first_tokens(100))
        await trio.sleep(99)
        assert len(grant.presented) == 5


async def test_keep_fresh_doubles_its_pauses_while_the_server_is_down() -> None:
    asked: list[float] = []

    class Grant(FakeGrant):
        async def __call__(self, tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
            asked.append(trio.current_time())
            return await super().__call__(tokens, endpoint)

    grant = Grant(0, script=[down() for _ in range(3)])
    policy = RefreshPolicy(keep_fresh=True, attempts=1, cooldown=7)
    async with opened(grant, policy=policy) as session:
        session.reject(1)
        await trio.sleep(100)
    assert asked == pytest.approx([0.5, 7.5, 21.5, 49.5], abs=0.6)


async def test_keep_fresh_does_not_spin_on_tokens_that_are_born_old() -> None:
    grant = FakeGrant(0, lifetime=0)
    policy = RefreshPolicy(keep_fresh=True)
    async with opened(grant, tokens=first_tokens(0), policy=policy):
        await trio.sleep(10)
    assert 1 <= len(grant.presented) <= 21


@pytest.mark.parametrize("expires_in", [30, 0])
async def test_a_refresh_by_the_clock_is_told_as_such(expires_in: float) -> None:
    told: list[events.Event] = []
    async with opened(
        tokens=first_tokens(3600 if expires_in else 0), observers=[told.append]
    ) as session:
        if expires_in:
            await trio.sleep(3600 - expires_in)
        await session.token()
        assert [each.cause for each in only(events.RefreshStarted, told)] == ["clock"]


async def test_the_timer_tells_a_refused_token_from_an_old_one() -> None:
    told: list[events.Event] = []
    policy = RefreshPolicy(keep_fresh=True)
    async with opened(FakeGrant(0), policy=policy, observers=[told.append]) as session:
        session.reject(1)
        await trio.sleep(1)
        await trio.sleep(3600)
        causes = [each.cause for each in only(events.RefreshStarted, told)]
        assert causes == ["rejected", "clock"]


async def test_a_body_that_can_not_be_sent_again_starts_a_refresh_because_of_its_refusal() -> None:
    async def body() -> AsyncGenerator[bytes, None]:
        yield b"once"

    told: list[events.Event] = []
    transport = httpx.MockTransport(FakeApi(refused={"access-0"}))
    async with opened(transport=transport, observers=[told.append]) as session:
        assert (await session.post("/", content=body())).status_code == 401
        assert [each.cause for each in only(events.RefreshStarted, told)] == ["rejected"]


def test_the_repr_of_an_event_has_each_of_its_values() -> None:
    started = events.RefreshStarted(time=1.5, flight=1, cause="clock", generation=2)
    assert repr(started) == "RefreshStarted(time=1.5, flight=1, cause='clock', generation=2)"
