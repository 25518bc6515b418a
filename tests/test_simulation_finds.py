"""What the simulation has found, each as small as it can be made."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import attrs
import httpx
import pytest
import trio
import trio.testing

from trioauth import (
    LoggedOutError,
    Record,
    RefreshPolicy,
    RefreshUnavailableError,
    TokenEndpoint,
    TokenRequest,
    Tokens,
    events,
)

from .fakes import FakeGrant, FakeStore, RevokingGrant, ShieldedGrant, first_tokens
from .sessions import log_in_unkept, only, opened

if TYPE_CHECKING:
    from trioauth import Session

pytestmark = pytest.mark.usefixtures("autojump_clock")


async def person(_: TokenEndpoint) -> Tokens:
    await trio.sleep(5)
    return Tokens("mine", "mine-too", 3600)


async def test_proving_that_a_login_can_be_saved_does_not_hide_what_others_have_saved() -> None:
    grant, store = FakeGrant(), FakeStore()
    async with opened(grant, store=store) as session, trio.open_nursery() as nursery:
        assert store.record is not None
        ended = Record(9, None, login=store.record.login, ended="asked")
        async with store.lock():
            nursery.start_soon(session.log_in, person)
            await trio.testing.wait_all_tasks_blocked()
            session.reject(1)
            with pytest.raises(trio.WouldBlock):
                session.token_nowait()
            store.record = ended
        await trio.sleep(1)
        assert grant.presented == []
        assert not session.logged_in


async def test_news_that_comes_while_the_session_closes_reaches_a_waiting_refresh() -> None:
    grant, store = FakeGrant(), FakeStore()

    async def save_elsewhere(login: str) -> None:
        async with store.lock():
            await trio.sleep(2)
            store.record = Record(5, Tokens("theirs", "theirs-too", 3600), login=login)

    async with (
        trio.open_nursery() as nursery,
        opened(grant, store=store, policy=RefreshPolicy(cooldown=0)) as session,
    ):
        store.fail_save = OSError("no space")
        await session.refresh()
        store.fail_save = None
        assert store.record is not None
        nursery.start_soon(save_elsewhere, store.record.login)
        await trio.sleep(0.6)  # What could not be saved waits for the store's lock,
        session.reject(2)
        with pytest.raises(trio.WouldBlock):
            session.token_nowait()  # and behind it a refresh.
    assert grant.presented == ["refresh-0"]


async def test_a_mark_on_old_tokens_does_not_replace_newer_ones_that_are_unsaved() -> None:
    store = FakeStore()
    async with opened(store=store) as session:
        store.fail_save = OSError("no space")
        await session.refresh()
        assert store.record is not None
        store.record = attrs.evolve(
            store.record, generation=2, unanswered=1, quiet_until_unix=time.time() + 10
        )
        store.fail_save = None
        await trio.sleep(6)
        assert session.token_nowait() == "access-1"
        assert store.record.tokens == Tokens("access-1", "refresh-1", 3600)
        assert store.record.generation == 3


async def test_tokens_that_a_mark_came_before_are_saved_under_a_higher_number() -> None:
    store = FakeStore()
    grant = FakeGrant()
    async with opened(grant, store=store) as session, trio.open_nursery() as nursery:
        nursery.start_soon(session.refresh)
        await trio.sleep(0.7)
        # In spite of the lock: a lease that ran out.
        assert store.record is not None
        store.record = attrs.evolve(
            store.record, generation=2, unanswered=1, quiet_until_unix=time.time() + 10
        )
        await trio.sleep(1)
        assert store.record.tokens == Tokens("access-1", "refresh-1", 3600)
        assert store.record.generation == 3


async def test_a_log_in_that_waits_for_the_lock_leaves_the_store_alone_once_closed() -> None:
    store = FakeStore()
    async with trio.open_nursery() as nursery:
        async with opened(FakeGrant(latency=3), store=store) as session:

            async def log_in() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await session.log_in(person)

            session.reject(1)
            with pytest.raises(trio.WouldBlock):
                session.token_nowait()
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(log_in)
            await trio.testing.wait_all_tasks_blocked()
        locked = store.locked
    assert not locked
    assert trio.current_time() == 3


async def test_tokens_that_are_being_saved_at_the_deadline_are_stored_and_told_once() -> None:
    store, told = FakeStore(), list[events.Event]()
    policy = RefreshPolicy(timeout=1)
    grant = FakeGrant(latency=0.92)
    async with opened(grant, store=store, policy=policy, observers=[told.append]) as session:
        store.latency = 0.05  # To look takes so long, and to save.
        await session.refresh()
        assert trio.current_time() == 1
        await trio.sleep(1)
        assert store.tokens == Tokens("access-1", "refresh-1", 3600)
    assert len(only(events.RefreshLanded, told)) == 1


async def log_in_in_vain(session: Session, name: str) -> None:
    with pytest.raises(LoggedOutError):
        await session.log_in(Tokens(name, f"{name}-too", 3600))


async def test_a_log_out_spares_a_login_that_others_began_while_several_log_ins_waited() -> None:
    store = FakeStore()
    theirs = Record(2, Tokens("theirs", "theirs-too", 3600), login="theirs")
    async with opened(store=store) as session, trio.open_nursery() as nursery:
        async with store.lock():
            # These get the generations 2 and 3, and never get as far as the store.
            nursery.start_soon(log_in_in_vain, session, "one")
            nursery.start_soon(log_in_in_vain, session, "two")
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(session.log_out)
            await trio.testing.wait_all_tasks_blocked()
            store.record = theirs
        await trio.testing.wait_all_tasks_blocked()
        assert store.record == theirs


async def test_a_log_out_ends_a_stored_login_that_an_unsaved_one_has_replaced() -> None:
    before = Record(1, Tokens("old", "old-too", 3600), login="before")
    store = FakeStore(before, fail_lock=OSError("no locks"))
    async with opened(store=store) as session:
        store.fail_lock = None
        assert store.record == before
        await session.log_out()
        assert store.record.tokens is None


async def test_logins_that_end_together_are_revoked_in_the_order_in_which_they_began() -> None:
    grant, store = RevokingGrant(), FakeStore()
    names = [f"access-{number}" for number in range(8)]
    async with opened(grant, store=store) as session, trio.open_nursery() as nursery:
        async with store.lock():
            for name in names[1:]:
                nursery.start_soon(log_in_in_vain, session, name)
                await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(session.log_out)
            await trio.testing.wait_all_tasks_blocked()
        await trio.testing.wait_all_tasks_blocked()
        assert [tokens.access_token for tokens in grant.revoked] == names


async def test_an_unsaved_log_out_spares_the_login_that_is_then_found_in_the_store() -> None:
    store = FakeStore()
    theirs = Record(2, Tokens("theirs", "theirs-too", 3600), login="theirs")
    async with opened(store=store) as session:
        store.fail_save = OSError("no space")
        await session.log_out()
        assert not session.statistics().saved
        store.fail_save, store.record = None, theirs
        await trio.sleep(1.5)  # It looks once a second at most.
        assert await session.token() == "theirs"
        assert session.statistics().saved
        await trio.sleep(600)
    assert store.record == theirs


async def test_a_mark_on_old_tokens_does_not_replace_those_that_come_after_the_deadline() -> None:
    store, grant = FakeStore(), ShieldedGrant(latency=4)
    # Without an end, which two clocks would have to agree on.
    tokens, policy = first_tokens(None), RefreshPolicy(timeout=1)
    async with opened(grant, tokens=tokens, store=store, policy=policy) as session:
        with pytest.raises(RefreshUnavailableError):
            await session.refresh()
        # In spite of the lock: a lease that ran out.
        assert store.record is not None
        store.record = attrs.evolve(
            store.record, generation=5, unanswered=1, quiet_until_unix=time.time() + 10
        )
        await trio.sleep(4)
        assert session.token_nowait() == "access-1"
        assert store.record.tokens == Tokens("access-1", "refresh-1", 3600)


async def test_tokens_that_come_after_the_deadline_leave_a_newer_login_alone() -> None:
    store, grant = FakeStore(), ShieldedGrant(latency=4)
    policy = RefreshPolicy(timeout=1, close_grace=5)
    async with opened(grant, store=store, policy=policy) as session:
        with pytest.raises(RefreshUnavailableError):
            await session.refresh()
        await trio.sleep(2.9)
        store.latency = 2
        # It ends after a second, in which the store is busy with the tokens that came.
        await log_in_unkept(session, Tokens("new", "new-too", 3600))
        await trio.sleep(0.2)
        assert grant.completed == 1
        assert session.token_nowait() == "new"


async def test_late_tokens_of_an_ended_login_do_not_keep_the_next_one_out_of_the_store() -> None:
    store, grant = FakeStore(), ShieldedGrant(latency=4)
    policy = RefreshPolicy(timeout=1, close_grace=0.5)
    new = Tokens("new", "new-too", 3600)
    async with opened(grant, store=store, policy=policy) as session:
        with pytest.raises(RefreshUnavailableError):
            await session.refresh()
        await log_in_unkept(session, new)  # The grant has the lock.
        await trio.sleep(3)
        assert grant.completed == 1
        assert store.tokens == new
        assert session.statistics().saved


async def test_a_mark_that_could_not_be_saved_replaces_no_tokens_that_others_have_got_since() -> (
    None
):
    lost = RefreshUnavailableError("no whole answer")
    store = FakeStore()
    policy = RefreshPolicy(attempts=1, when_unavailable="log_out")
    grant = FakeGrant(script=[lost])
    async with opened(grant, store=store, tokens=first_tokens(0), policy=policy) as session:
        store.fail_save = OSError("disk full")
        with pytest.raises(LoggedOutError):
            await session.token()
        store.fail_save = None
        # The login goes on elsewhere.
        assert store.record is not None
        number = store.record.generation + 1
        theirs = Tokens("theirs", "theirs-too", 3600)
        store.record = attrs.evolve(store.record, generation=number, tokens=theirs)
        await trio.sleep(120)
        assert store.tokens == theirs


async def test_the_life_of_a_persons_tokens_does_not_count_from_a_refresh_meanwhile() -> None:
    async def refresh(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
        await endpoint.send(TokenRequest("https://id.test/token"))
        return Tokens("access-1", "refresh-1", 3600)

    async def person(_: TokenEndpoint) -> Tokens:
        await session.refresh()
        await trio.sleep(600)
        return Tokens("mine", "mine-too", 300)

    transport = httpx.MockTransport(lambda _: httpx.Response(200))
    async with opened(refresh, transport=transport) as session:
        await session.log_in(person)
        assert session.token_nowait() == "mine"
        assert session.statistics().seconds_until_expiry == 300


async def test_the_life_of_tokens_counts_from_their_own_request_though_a_refresh_came_later() -> (
    None
):
    async def ask(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
        await endpoint.send(TokenRequest("https://id.test/token"))
        return Tokens("mine", "mine-too", 300)

    async def person(endpoint: TokenEndpoint) -> Tokens:
        tokens = await ask(None, endpoint)
        await trio.sleep(100)
        await session.refresh()
        return tokens

    transport = httpx.MockTransport(lambda _: httpx.Response(200))
    async with opened(ask, transport=transport) as session:
        await session.log_in(person)
        assert session.statistics().seconds_until_expiry == 200


async def test_the_endpoint_that_a_person_was_asked_with_is_closed_with_the_session() -> None:
    seen = list[TokenEndpoint]()

    async def person(endpoint: TokenEndpoint) -> Tokens:
        seen.append(endpoint)
        return first_tokens()

    async with opened() as session:
        await session.log_in(person)
    with pytest.raises(trio.ClosedResourceError):
        await seen[0].send(TokenRequest("https://id.test/token"))


async def test_a_log_out_gives_a_refresh_its_grace_in_time_awake(
    autojump_clock: trio.testing.MockClock,
) -> None:
    grant, store = RevokingGrant(latency=3), FakeStore()
    policy = RefreshPolicy(close_grace=4)
    async with opened(grant, store=store, policy=policy) as session, trio.open_nursery() as nursery:
        session.reject(1)
        with pytest.raises(trio.WouldBlock):
            session.token_nowait()
        await trio.sleep(1)
        nursery.start_soon(session.log_out)
        await trio.testing.wait_all_tasks_blocked()
        autojump_clock.jump(60)  # The process was stopped.
    # What the server has rotated to is revoked, not what it has replaced.
    assert grant.completed == 1
    assert grant.revoked == [Tokens("access-1", "refresh-1", 3600)]


async def test_of_two_log_ins_that_wait_for_a_refresh_the_later_one_wins() -> None:
    store = FakeStore()
    policy = RefreshPolicy(close_grace=0.5)
    one, two = Tokens("one", "one-too", 3600), Tokens("two", "two-too", 3600)
    async with opened(FakeGrant(latency=5), store=store, policy=policy) as session:
        session.reject(1)
        with pytest.raises(trio.WouldBlock):
            session.token_nowait()
        async with trio.open_nursery() as nursery:
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(session.log_in, one)
            await trio.sleep(0.3)
            nursery.start_soon(session.log_in, two)
        assert session.token_nowait() == "two"
        assert store.tokens == two


async def test_a_lost_answer_is_noted_once_though_an_observer_raises_system_exit() -> None:
    told = list[events.NotSaved]()

    def observe(event: events.Event) -> None:
        if isinstance(event, events.NotSaved) and not event.lost:
            told.append(event)
            raise SystemExit

    grant = FakeGrant(latency=0, script=[RefreshUnavailableError("no whole answer")])
    store, policy = FakeStore(), RefreshPolicy(attempts=1, close_grace=0)
    with pytest.raises(SystemExit):
        async with opened(grant, store=store, policy=policy, observers=[observe]) as session:
            store.latency = 3
            session.reject(1)
            with pytest.raises(trio.WouldBlock):
                session.token_nowait()
            await trio.sleep(3.5)  # It has looked, and asked, and tries to save a mark.
    assert len(told) == 1
    assert trio.current_time() == 4
