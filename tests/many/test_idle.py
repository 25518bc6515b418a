"""When a session is dropped from memory, and what is left of it: nothing but its record (P33)."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING

import httpx
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.both import FakeApi, stream_transport
from trioauth import RefreshPolicy, StoreError, open_sessions
from trioauth.testing import Victim, every_checkpoint

from .world import KeyedFakeStore, KeyedGrant, access_token, many

if TYPE_CHECKING:
    from trioauth import Sessions

pytestmark = pytest.mark.usefixtures("autojump_clock")


def in_memory(sessions: Sessions) -> int:
    return sessions.statistics().in_memory


async def test_p33_a_session_that_is_not_used_is_dropped_after_the_idle_time_and_not_before() -> (
    None
):
    async with many(idle=60) as sessions:
        await access_token(sessions, "ann")
        await trio.sleep(59.9)
        assert in_memory(sessions) == 1
        await trio.sleep(0.2)
        assert in_memory(sessions) == 0
        assert sessions.statistics().dropped == 1


async def test_by_default_a_session_is_dropped_after_five_minutes() -> None:
    async with many() as sessions:
        await access_token(sessions, "ann")
        await trio.sleep(299.9)
        assert in_memory(sessions) == 1
        await trio.sleep(0.2)
        assert in_memory(sessions) == 0


async def test_each_use_begins_the_idle_time_anew() -> None:
    async with many(idle=60) as sessions:
        for _ in range(5):
            await access_token(sessions, "ann")
            await trio.sleep(50)
        assert (in_memory(sessions), sessions.statistics().opened) == (1, 1)


async def test_sessions_are_dropped_in_the_order_in_which_they_became_idle() -> None:
    async with many(idle=60) as sessions:
        async with sessions.use("ann"):
            await access_token(sessions, "bob")
            await trio.sleep(50)
        await trio.sleep(20)
        assert list(sessions._members.table) == ["ann"]


async def test_a_session_in_use_is_never_dropped() -> None:
    async with many(idle=10) as sessions:
        async with sessions.use("ann") as session:
            await access_token(sessions, "ann")
            await trio.sleep(1000)
            assert await session.token()
        assert in_memory(sessions) == 1


async def test_no_idle_time_drops_a_session_at_once() -> None:
    async with many(idle=0) as sessions:
        await access_token(sessions, "ann")
        await wait_all_tasks_blocked()
        assert in_memory(sessions) == 0


async def test_an_infinite_idle_time_drops_none() -> None:
    async with many(idle=float("inf")) as sessions:
        await access_token(sessions, "ann")
        await trio.sleep(80_000)
        assert in_memory(sessions) == 1


@pytest.mark.parametrize("idle", [0, 3])
async def test_a_session_with_a_refresh_in_the_air_is_not_dropped(idle: float) -> None:
    store = KeyedFakeStore.with_logins("ann")
    grant = KeyedGrant(latency=20)
    async with many(grant, store=store, idle=idle) as sessions:
        with trio.move_on_after(1):
            async with sessions.use("ann") as session:
                await session.refresh()
        await trio.sleep(18.5)
        assert in_memory(sessions) == 1
        await trio.sleep(5)
        assert in_memory(sessions) == 0
        assert await access_token(sessions, "ann") == "access-ann-2"
    assert grant.presented == ["refresh-ann-1"]


async def test_p33_a_session_that_keeps_short_tokens_fresh_is_dropped_between_two_refreshes() -> (
    None
):
    # A refresh is in the air nine tenths of the time, and whenever it has rested once more.
    grant = KeyedGrant(latency=4.5, lifetime=0.1)
    store = KeyedFakeStore.with_logins("ann")
    policy = RefreshPolicy(keep_fresh=True)
    async with many(grant, store=store, idle=8, policy=policy) as sessions:
        async with sessions.use("ann") as session:
            await session.refresh()
        await trio.sleep(12)
        assert in_memory(sessions) == 0


async def test_a_session_is_not_dropped_before_everything_is_saved() -> None:
    store = KeyedFakeStore.with_logins("ann")
    async with many(store=store, idle=2) as sessions:
        async with sessions.use("ann") as session:
            store.of("ann").fail_save = StoreError("full")
            await session.refresh()
        await trio.sleep(600)
        assert in_memory(sessions) == 1
        store.of("ann").fail_save = None
        await trio.sleep(600)
        assert in_memory(sessions) == 0
        assert await access_token(sessions, "ann") == "access-ann-2"


async def test_a_session_is_not_dropped_while_the_task_that_saves_again_pauses() -> None:
    store = KeyedFakeStore.with_logins("ann")
    async with many(store=store, idle=2) as sessions:
        async with sessions.use("ann") as session:
            store.of("ann").fail_save = StoreError("full")
            await session.refresh()
            store.of("ann").fail_save = None
            await session.refresh()  # saved, and the task of the first failure still pauses
        await trio.sleep(2.5)
        assert in_memory(sessions) == 1
        await trio.sleep(10)
        assert in_memory(sessions) == 0


def tasks() -> int:
    return trio.lowlevel.current_statistics().tasks_living


@pytest.mark.slow
async def test_p33_an_idle_login_has_no_task_no_client_no_timer_and_no_object_left() -> None:
    keys = [f"user{n}" for n in range(100)]
    store = KeyedFakeStore.with_logins(*keys)
    left: weakref.WeakSet[object] = weakref.WeakSet()

    async def use(sessions: Sessions, key: str) -> None:
        async with sessions.use(key) as session:
            await session.get("/")
            await session.refresh()
            left.update([session, session.http, session._machine, session._flights])

    policy = RefreshPolicy(keep_fresh=True)
    async with many(KeyedGrant(latency=0), store=store, idle=10, policy=policy) as sessions:
        await wait_all_tasks_blocked()
        before = tasks()
        for key in keys:
            await use(sessions, key)
        await wait_all_tasks_blocked()
        # The timer of keep_fresh is one task for each.
        assert tasks() == before + 100
        assert len(left) == 400
        await trio.sleep(200)
        assert in_memory(sessions) == 0
        assert tasks() == before
        gc.collect()
        assert len(left) == 0


async def test_p33_all_idle_sessions_have_one_timer_together() -> None:
    keys = [f"user{n}" for n in range(100)]
    async with many(store=KeyedFakeStore.with_logins(*keys), idle=1000) as sessions:
        await wait_all_tasks_blocked()
        few = tasks()
        for key in keys:
            await access_token(sessions, key)
        await wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().seconds_to_next_deadline == 1000
        assert tasks() == few


async def test_a_dropped_session_says_that_its_block_was_left() -> None:
    async with many(idle=1) as sessions:
        async with sessions.use("ann") as session:
            client = session.http
        await trio.sleep(2)
        for use in (session.token, session.refresh, lambda: client.get("/")):
            with pytest.raises(trio.ClosedResourceError, match="was left"):
                await use()


async def test_a_request_that_runs_keeps_its_session_in_memory() -> None:
    api = FakeApi(latency=100)
    async with many(api=api, idle=1) as sessions, sessions.use("ann") as session:
        assert (await session.get("/")).status_code == 200
        assert sessions.statistics().dropped == 0


def test_a_cancellation_anywhere_in_use_and_rest_leaves_a_session_that_can_be_dropped() -> None:
    async def use(sessions: Sessions) -> None:
        for _ in range(2):
            async with sessions.use("ann") as session:
                await session.get("/")
            await trio.sleep(3)

    async def scenario(victim: Victim) -> None:
        grant = KeyedGrant(lifetime=0.5)
        store = KeyedFakeStore.with_logins("ann")
        async with many(grant, store=store, idle=2) as sessions:
            await victim(use, sessions)
            await trio.sleep(10)
            assert in_memory(sessions) == 0
            assert await access_token(sessions, "ann")
        assert len(set(grant.presented)) == len(grant.presented)

    every_checkpoint(scenario)


async def test_what_runs_in_the_background_does_not_inherit_the_context_of_a_request() -> None:
    import contextvars

    user = contextvars.ContextVar("user", default="none")
    seen: list[str] = []

    class Curious(KeyedFakeStore):
        def at(self, key: str):  # type: ignore[no-untyped-def]  # noqa: ANN202
            seen.append(user.get())
            return super().at(key)

    class Grant(KeyedGrant):
        async def __call__(self, tokens, endpoint):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN204
            seen.append(user.get())
            return await super().__call__(tokens, endpoint)

    store = Curious(KeyedFakeStore.with_logins("ann").stores)
    async with many(Grant(), store=store) as sessions:
        user.set("ann")
        async with sessions.use("ann") as session:
            await session.refresh()
    assert seen == ["none", "none"]


async def test_many_idle_sessions_are_dropped_without_keeping_other_tasks_waiting() -> None:
    keys = [f"user{n}" for n in range(300)]
    transport = stream_transport(httpx, FakeApi())
    store = KeyedFakeStore.with_logins(*keys)
    async with open_sessions(
        KeyedGrant(), base_url="https://api.test", transport=transport, store=store, idle=5
    ) as sessions:
        async with trio.open_nursery() as nursery:
            for key in keys:
                nursery.start_soon(access_token, sessions, key)
        await trio.sleep_until(5)
        turns = 0
        while in_memory(sessions):
            await trio.lowlevel.checkpoint()
            turns += 1
        assert turns > 100
