"""Hints of the store: what another program saves is taken in at once, by one task for all keys."""

from __future__ import annotations

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.fakes import FakeStore
from trioauth import LoggedOut, Record

from .world import HintingStore, KeyedGrant, many, record_of

pytestmark = pytest.mark.usefixtures("autojump_clock")


def logged_out(key: str) -> Record:
    return Record(2, login=f"login-{key}", ended="asked", ended_at_unix=1.0)


def store_of(*keys: str) -> HintingStore:
    return HintingStore(HintingStore.with_logins(*keys).stores)


async def test_a_log_out_elsewhere_ends_the_session_in_memory_at_once() -> None:
    store = store_of("ann", "bob")
    async with (
        many(store=store) as sessions,
        sessions.use("ann") as ann,
        sessions.use("bob") as bob,
    ):
        for key in "ann", "bob":
            store.save_elsewhere(logged_out(key), key)
        store.hint("ann")
        await ann.wait_logged_out()
        assert trio.current_time() == pytest.approx(0.1)
        assert bob.logged_in, "there was no hint about bob"


async def test_a_newer_generation_of_another_program_is_adopted_at_once() -> None:
    store, grant = store_of("ann"), KeyedGrant()
    async with many(grant, store=store) as sessions, sessions.use("ann") as ann:
        store.save_elsewhere(record_of("ann", 2), "ann")
        store.hint("ann")
        await trio.sleep(0.2)
        assert await ann.token() == "access-ann-2"
    assert grant.presented == []


async def test_a_login_begun_elsewhere_is_adopted_at_once() -> None:
    store = store_of()
    async with many(store=store) as sessions, sessions.use("cat") as cat:
        assert isinstance(cat.state, LoggedOut)
        store.save_elsewhere(record_of("cat"), "cat")
        store.hint("cat")
        await trio.sleep(0.2)
        assert cat.logged_in


async def test_p34_a_hint_about_any_record_lets_a_session_look_when_it_is_used_next() -> None:
    store = store_of("ann", "bob")
    async with (
        many(store=store) as sessions,
        sessions.use("ann") as ann,
        sessions.use("bob") as bob,
    ):
        for key in "ann", "bob":
            store.save_elsewhere(logged_out(key), key)
        await trio.sleep(1)
        store.hint(None)
        await trio.sleep(1)
        assert ann.logged_in
        async with sessions.use("ann"):
            await wait_all_tasks_blocked()
        assert not ann.logged_in
        assert bob.logged_in
        # One look is enough.
        store.save_elsewhere(attrs.evolve(record_of("ann", 7), login="new"), "ann")
        async with sessions.use("ann"):
            await wait_all_tasks_blocked()
        assert not ann.logged_in


async def test_hints_about_keys_that_are_not_in_memory_or_are_opening_do_nothing() -> None:
    store = store_of("ann", "bob")
    store.of("bob").latency = 5
    async with many(store=store) as sessions, trio.open_nursery() as nursery:
        nursery.start_soon(sessions.use("bob").__aenter__)
        for key in "ann", "nobody", "bob":
            store.hint(key)
        await trio.sleep(1)
        assert store.asked == ["bob"]


class CountingStore(FakeStore):
    loads = 0

    async def load(self) -> Record | None:
        CountingStore.loads += 1
        return await FakeStore.load(self)


async def test_hints_without_end_cause_ten_looks_a_second_at_most() -> None:
    store = HintingStore({"ann": CountingStore(record_of("ann"))})

    async def forge() -> None:
        while True:
            store.hint("ann")
            await trio.sleep(0.001)

    async with many(store=store) as sessions, sessions.use("ann"):
        CountingStore.loads = 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(forge)
            await trio.sleep(10)
            nursery.cancel_scope.cancel()
    assert 50 < CountingStore.loads <= 102


async def test_a_hint_while_a_session_looks_lets_it_look_once_more() -> None:
    store = store_of("ann")
    async with many(store=store) as sessions, sessions.use("ann") as ann:
        store.of("ann").latency = 1
        store.hint("ann")
        await trio.sleep(0.5)  # it has begun to read the old record
        store.hint("ann")
        await trio.sleep(0.7)
        store.save_elsewhere(logged_out("ann"), "ann")
        await trio.sleep(5)
        assert not ann.logged_in


async def test_no_session_looks_while_it_renews() -> None:
    store, grant = store_of("ann"), KeyedGrant(latency=3)
    async with many(grant, store=store) as sessions, sessions.use("ann") as ann:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ann.refresh)
            await wait_all_tasks_blocked()
            store.hint("ann")
            await trio.sleep(1)
            running = {flight.kind for flight in ann._flights.running}
        assert running == {"renewal"}


async def test_a_store_that_fails_to_give_hints_is_asked_again_and_costs_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = store_of("ann")
    store.fail_changed = OSError("broken")
    async with many(store=store) as sessions, sessions.use("ann") as ann:
        await trio.sleep(3600)
        assert store.calls < 25
        store.fail_changed = None
        store.save_elsewhere(logged_out("ann"), "ann")
        store.hint("ann")
        await trio.sleep(301)
        assert not ann.logged_in
    lines = [line for line in caplog.messages if "others save" in line]
    assert len(lines) == 2


async def test_while_the_sessions_are_being_closed_hints_are_not_followed() -> None:
    store, grant = store_of("ann"), KeyedGrant(latency=3)

    async def refresh() -> None:
        async with sessions.use("ann") as session:
            with pytest.raises(trio.ClosedResourceError):
                await session.refresh()

    async def hint_soon() -> None:
        await trio.sleep(1)
        store.hint("ann")

    async with trio.open_nursery() as nursery:
        async with many(grant, store=store) as sessions:
            nursery.start_soon(refresh)
            await wait_all_tasks_blocked()
            nursery.start_soon(hint_soon)
        assert trio.current_time() == 3
    assert store.of("ann").record == store.of("ann").saved[-1]


async def test_a_session_that_only_looks_is_dropped_when_idle() -> None:
    store = store_of("ann")
    async with many(store=store, idle=5) as sessions:
        async with sessions.use("ann"):
            pass
        for _ in range(10):
            store.hint("ann")
            await trio.sleep(1)
        assert sessions.statistics().in_memory == 0
