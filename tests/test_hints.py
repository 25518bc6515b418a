"""A store that hints at changes: they are taken in at once, and false hints do nothing."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import attrs
import pytest
import trio
import trio.testing

from trioauth import LoggedIn, LoggedOut, LoggedOutError, StoreError, Tokens, events

from .fakes import FakeGrant, FakeStore, OwnedGrant, first_tokens
from .sessions import opened

if TYPE_CHECKING:
    from trioauth import Record

pytestmark = pytest.mark.usefixtures("autojump_clock")


@attrs.define(eq=False)
class HintingStore(FakeStore):
    """Hints at each save. A hint that comes while no task waits is kept."""

    fail_changed: Exception | None = None
    asked: int = 0
    loads: int = 0
    kept: bool = False
    _hinted: trio.Event = attrs.field(factory=trio.Event)

    def hint(self) -> None:
        self.kept = not self._hinted.statistics().tasks_waiting
        self._hinted.set()
        self._hinted = trio.Event()

    async def changed(self) -> str | None:
        self.asked += 1
        await trio.lowlevel.checkpoint()
        if self.fail_changed is not None:
            raise self.fail_changed
        if not self.kept:
            await self._hinted.wait()
        self.kept = False
        return ""

    async def load(self) -> Record | None:
        self.loads += 1
        return await super().load()

    async def save(self, record: Record, *, expected: int) -> None:
        await super().save(record, expected=expected)
        self.hint()


async def settle() -> None:
    """Let each session look once: hints are looked at with pauses of a tenth of a second."""
    await trio.sleep(0.3)


async def test_p31_log_out_elsewhere_ends_the_login_at_the_hint() -> None:
    store = HintingStore()
    async with opened(store=store) as one, opened(store=store, tokens=None) as other:
        before = trio.current_time()
        with pytest.raises(LoggedOutError) as info:
            async with other.open_nursery():
                await one.log_out(revoke=False)
                await trio.sleep(60)
        assert info.value.reason == "elsewhere"
        assert trio.current_time() - before < 1
        assert isinstance(other.state, LoggedOut)


async def test_newer_generation_of_another_session_is_adopted_at_the_hint() -> None:
    store, grant = HintingStore(), FakeGrant()
    async with opened(grant, store=store) as one, opened(grant, store=store, tokens=None) as other:
        await one.refresh()
        await settle()
        assert other.generation == 2
        assert other.token_nowait() == "access-1"
    assert grant.presented == ["refresh-0"]


async def test_new_login_of_another_session_replaces_the_login_at_the_hint() -> None:
    store = HintingStore()
    async with opened(store=store) as one, opened(store=store, tokens=None) as other:
        with pytest.raises(LoggedOutError) as info:
            async with other.open_nursery():
                await one.log_in(Tokens("new", "new-refresh", 3600))
                await trio.sleep(60)
        assert info.value.reason == "replaced"
        assert other.token_nowait() == "new"


async def test_login_of_another_session_is_seen_at_the_hint_by_one_that_waits() -> None:
    store = HintingStore()
    times: list[float] = []

    async def wait() -> None:
        assert isinstance(await other.wait_logged_in(), LoggedIn)
        times.append(trio.current_time())

    async with opened(store=store, tokens=None) as one, opened(store=store, tokens=None) as other:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.sleep(0.5)  # polling comes half a second later
            before = trio.current_time()
            await one.log_in(first_tokens())
        assert times[0] - before < 0.2


async def test_login_is_taken_in_at_the_hint_although_no_task_asks() -> None:
    store = HintingStore()
    async with opened(store=store, tokens=None) as one, opened(store=store, tokens=None) as other:
        await one.log_in(first_tokens())
        await settle()
        assert other.logged_in


async def test_hints_without_a_change_do_nothing() -> None:
    told: list[events.Event] = []
    store = HintingStore()
    async with opened(store=store, observers=[told.append]) as session:
        await settle()
        before, loads = list(told), store.loads
        store.hint()
        await settle()
        assert store.loads == loads + 1
        assert told == before
        assert session.generation == 1


async def test_hints_without_end_cause_ten_looks_a_second_at_most() -> None:
    store = HintingStore()
    async with opened(store=store):
        await settle()
        loads = store.loads
        for _ in range(1000):
            store.hint()
            await trio.sleep(0.01)
        assert 50 < store.loads - loads <= 101


async def test_no_hint_is_lost_when_sessions_share_a_store_and_saves_follow_each_other() -> None:
    store, grant = HintingStore(), FakeGrant(latency=0)
    async with opened(grant, store=store) as one:
        async with (
            opened(store=store, tokens=None) as two,
            opened(store=store, tokens=None) as three,
        ):
            for pause in (0.0, 0.01, 0.099, 0.1, 0.101):
                await one.refresh()
                await trio.sleep(pause)
                await one.refresh()
                await settle()
                assert one.generation == two.generation == three.generation


async def test_hints_without_end_while_tokens_are_renewed_leave_time_for_others() -> None:
    store, grant = HintingStore(), FakeGrant(latency=10)
    async with opened(grant, store=store) as session, trio.open_nursery() as nursery:
        nursery.start_soon(session.refresh)
        await trio.sleep(1)
        asked = store.asked
        for _ in range(500):
            store.hint()
            await trio.sleep(0.01)
        assert store.asked - asked <= 51


async def test_hint_while_tokens_are_renewed_is_left_to_the_renewal() -> None:
    store, grant = HintingStore(), FakeGrant(latency=10)
    async with opened(grant, store=store) as session, trio.open_nursery() as nursery:
        await settle()
        nursery.start_soon(session.refresh)
        await trio.sleep(1)
        loads = store.loads
        store.hint()
        await trio.sleep(1)
        assert store.loads == loads


@pytest.mark.parametrize("why", [StoreError("gone"), TypeError("not async")])
async def test_store_that_fails_to_hint_is_asked_seldom_and_said_once(
    why: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "trioauth")
    store = HintingStore(fail_changed=why)
    async with opened(store=store) as one, opened(store=store, tokens=None) as other:
        await trio.sleep(3600)
        # Pauses of 1, 2, 4, ... 256, then 300 seconds, in each of the two sessions.
        assert store.asked <= 2 * 21
        said = [line for line in caplog.messages if "when others save" in line]
        assert len(said) == 2
        store.fail_changed = None
        await trio.sleep(301)
        store.hint()
        await one.log_out(revoke=False)
        await settle()
        assert not other.logged_in, "hints work again"
    assert sum("says again" in line for line in caplog.messages) == 2


async def test_store_that_cannot_be_read_at_a_hint_changes_nothing() -> None:
    store = HintingStore()
    async with opened(store=store) as session:
        await settle()
        store.fail_load = OSError("hangs")
        store.hint()
        await settle()
        assert session.logged_in
        store.fail_load = None


async def test_record_of_another_client_at_a_hint_changes_nothing() -> None:
    store = HintingStore()
    async with opened(OwnedGrant(), store=store) as session:
        assert store.record is not None
        store.record = attrs.evolve(store.record, generation=9, owner="https://other.test")
        store.hint()
        await settle()
        assert session.token_nowait() == "access-0"


async def test_log_out_while_a_look_waits_for_the_lock_is_not_undone() -> None:
    store = HintingStore()
    async with opened(store=store) as session:
        await settle()
        assert store.record is not None
        async with store.lock():
            store.record = attrs.evolve(
                store.record, generation=5, tokens=Tokens("theirs", "their-refresh", 3600)
            )
            store.hint()
            await settle()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(session.log_out)
                await settle()
                assert not session.logged_in
                nursery.cancel_scope.cancel()
        await trio.sleep(10)
        assert not session.logged_in
        assert store.record is not None
        assert store.record.tokens is None, "the tombstone was saved"


async def test_hint_just_before_closing_is_not_followed() -> None:
    store = HintingStore()
    async with opened(store=store):
        await settle()
    loads = store.loads
    store.hint()
    await trio.testing.wait_all_tasks_blocked()
    assert store.loads == loads


async def test_while_a_closing_session_waits_for_a_flight_hints_are_not_followed() -> None:
    store, grant = HintingStore(), FakeGrant(latency=4)

    async def hint() -> None:
        await trio.sleep(1)
        assert store.locked, "the flight is in the air"
        loads.append(store.loads)
        for _ in range(10):
            store.hint()
            await trio.sleep(0.2)
        loads.append(store.loads)

    loads: list[int] = []
    async with trio.open_nursery() as nursery:
        async with opened(grant, store=store) as session:
            await settle()
            session._flights.take_off("asked_for")
            nursery.start_soon(hint)
            await trio.testing.wait_all_tasks_blocked()
    assert loads[0] == loads[1]


async def test_store_of_the_sessions_own_is_not_asked_for_hints() -> None:
    async with opened() as session:
        assert session._source.vault.changed is None
