"""A session and its store: shared, slow, forgetful, broken."""

from __future__ import annotations

import time

import attrs
import pytest
import trio
import trio.testing

from trioauth import (
    GrantRefusedError,
    LoggedOut,
    LoggedOutError,
    MemoryStore,
    Record,
    RefreshUnavailableError,
    StoreConflictError,
    StoreError,
    TokenEndpoint,
    Tokens,
    events,
)
from trioauth._core.vault import Vault

from .fakes import FakeGrant, FakeStore, RevokingGrant, first_tokens
from .sessions import log_in_unkept, only, opened

pytestmark = pytest.mark.usefixtures("autojump_clock")


async def test_a_session_starts_as_the_store_says() -> None:
    store = FakeStore()
    async with opened(store=store) as session:
        await session.refresh()
    async with opened(store=store, tokens=None) as session:
        assert session.generation == 2
        assert session.token_nowait() == "access-1"
        await session.log_out()
    async with opened(store=store, tokens=None) as session:
        assert session.state == LoggedOut("asked")


async def test_tokens_given_win_over_the_store() -> None:
    store = FakeStore(Record(41, Tokens("theirs", "other"), login="l"))
    async with opened(store=store) as session:
        assert session.token_nowait() == "access-0"
        assert session.generation == 42
    assert store.tokens == first_tokens()


async def test_two_sessions_that_share_a_store_share_one_refresh() -> None:
    told: list[events.Event] = []
    store, grant = MemoryStore(), FakeGrant()
    async with opened(grant, store=store, tokens=first_tokens(0)) as first:
        async with opened(grant, store=store, tokens=None, observers=[told.append]) as second:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(first.token)
                nursery.start_soon(second.token)
            assert first.token_nowait() == second.token_nowait() == "access-1"
            assert first.generation == second.generation == 2
    assert grant.presented == ["refresh-0"]
    landed = only(events.RefreshLanded, told)
    assert len(landed) == 1
    assert grant.most_in_flight == 1


async def test_what_another_session_refreshed_is_adopted_without_the_network() -> None:
    told: list[events.Event] = []
    store, grant = MemoryStore(), FakeGrant(lifetime=100)
    async with opened(grant, store=store, tokens=first_tokens(100)) as first:
        async with opened(store=store, tokens=None, observers=[told.append]) as second:
            await first.refresh()
            async with second.open_nursery():
                second.reject(second.generation)
                assert await second.token() == "access-1"
    [landed] = only(events.RefreshLanded, told)
    assert landed.adopted
    # It is the same login: nothing ended.
    assert only(events.LoggedOut, told) == []


@pytest.mark.parametrize("late", [False, True])
async def test_a_session_that_waits_for_its_first_login_does_not_log_out_elsewhere(
    late: bool,
) -> None:
    store = FakeStore(None if late else Record(3, None))
    async with opened(FakeGrant(unattended=True), store=store, tokens=None) as session:
        store.record = Record(3, None)
        assert await session.token() == "access-1"
        assert session.generation == 4


async def test_a_refusal_looks_into_the_store_once_more() -> None:
    """A store whose lock does not exclude: the loser adopts, and is not logged out."""
    store = FakeStore()

    async def grant(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
        assert store.record is not None
        await trio.sleep(1)
        store.record = attrs.evolve(
            store.record, generation=store.record.generation + 1, tokens=Tokens("theirs", "x", None)
        )
        raise GrantRefusedError("invalid_grant")

    async with opened(grant, store=store) as session:
        async with session.open_nursery():
            await session.refresh()
            assert session.token_nowait() == "theirs"


async def test_a_loser_adopts_what_the_winner_saved_and_overwrites_nothing() -> None:
    told: list[events.Event] = []
    store = FakeStore()

    async def grant(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
        assert store.record is not None
        await trio.sleep(1)
        number = store.record.generation + 5
        theirs = Tokens("theirs", "x", None)
        store.record = attrs.evolve(
            store.record, generation=number, tokens=theirs, expires_at_unix=None
        )
        return Tokens("ours", "y", 3600)

    async with opened(grant, store=store, observers=[told.append]) as session:
        await session.refresh()
        assert session.token_nowait() == "theirs"
        assert session.generation == 6
        assert session.statistics().saved
    assert store.tokens == Tokens("theirs", "x", None)


async def test_a_store_that_lost_its_content_gets_it_back() -> None:
    store = FakeStore()
    async with opened(store=store) as session:
        await session.refresh()
        # Lost, or put back to an older state, as from a backup: ours is newer.
        for old in (None, Record(1, Tokens("ancient", "old"), login=store.saved[0].login)):
            store.record = old
            await session.refresh()
        assert session.generation == 4
        assert session.token_nowait() == "access-3"
        assert store.record == store.saved[-1]
    assert [record.tokens for record in store.saved[2:]] == [
        Tokens("access-2", "refresh-2", 3600),
        Tokens("access-3", "refresh-3", 3600),
    ]


@pytest.mark.parametrize("place", ["load", "lock"])
async def test_a_store_that_fails_before_the_rotation_means_unavailable(place: str) -> None:
    grant, store = FakeGrant(), FakeStore()
    async with opened(grant, store=store, tokens=first_tokens(100)) as session:
        setattr(store, f"fail_{place}", StoreError("no disk"))
        with pytest.raises(RefreshUnavailableError, match="no disk"):
            session.reject(1)
            await session.token()
        # No session refreshes what it can't lock.
        assert grant.presented == []
        setattr(store, f"fail_{place}", None)
        await trio.sleep(5)
        assert await session.token() == "access-1"


async def test_a_store_that_fails_after_the_rotation_leaves_it_in_memory_and_is_tried_again() -> (
    None
):
    told: list[events.Event] = []
    grant, store = FakeGrant(), FakeStore()
    async with opened(grant, store=store, observers=[told.append]) as session:
        store.fail_save = OSError("disk full")
        await session.refresh()
        assert session.token_nowait() == "access-1"
        assert not session.statistics().saved
        assert only(events.NotSaved, told) == [
            events.NotSaved(time=1, generation=2, error="OSError")
        ]
        await session.refresh()
        assert session.token_nowait() == "access-2"
        store.fail_save = None
        await trio.sleep(6)
        assert session.statistics().saved
        assert store.tokens == Tokens("access-2", "refresh-2", 3600)
        assert store.record is not None
        assert store.record.generation == session.generation == 3
    assert grant.spent_twice == []


async def test_what_could_not_be_saved_and_was_overtaken_is_dropped() -> None:
    store = FakeStore()
    async with opened(store=store) as session:
        store.fail_save = OSError("disk full")
        await session.refresh()
        assert store.record is not None
        theirs = Record(9, Tokens("theirs", "x", None), login=store.record.login)
        store.record, store.fail_save = theirs, None
        await trio.sleep(6)
        assert session.statistics().saved
        assert store.record is theirs
        assert session.token_nowait() == "theirs"


@pytest.mark.parametrize("place", ["lock", "load", "save"])
async def test_a_log_out_holds_whatever_the_store_does_and_the_store_is_told_later(
    place: str,
) -> None:
    told: list[events.Event] = []
    store = FakeStore()
    async with opened(store=store, observers=[told.append]) as session:
        setattr(store, f"fail_{place}", OSError("no disk"))
        await session.log_out()
        assert session.state == LoggedOut("asked")
        assert only(events.NotSaved, told)
        assert not session.statistics().saved
        setattr(store, f"fail_{place}", None)
        await trio.sleep(6)
        assert session.statistics().saved
        assert store.tokens is None


@pytest.mark.parametrize("place", ["lock", "save"])
async def test_tokens_given_to_a_session_whose_store_can_not_be_written_work_anyway(
    place: str,
) -> None:
    store = FakeStore()
    setattr(store, f"fail_{place}", OSError("read-only file system"))
    async with opened(store=store) as session:
        assert session.token_nowait() == "access-0"
        assert not session.statistics().saved


async def test_a_conflict_every_time_does_not_go_on_for_ever() -> None:
    told: list[events.Event] = []
    store = FakeStore()
    async with opened(store=store, observers=[told.append]) as session:
        store.fail_save = StoreConflictError("somebody was there")
        await session.refresh()
        assert session.token_nowait() == "access-1"
        assert only(events.NotSaved, told)
        await log_in_unkept(session, Tokens("access-5", "refresh-5"))
        assert session.token_nowait() == "access-5"
        await session.log_out()
        assert session.state == LoggedOut("asked")
        assert trio.current_time() < 30


async def test_an_unsaved_log_out_ends_what_others_have_refreshed_since() -> None:
    store = FakeStore()
    async with opened(store=store) as first, opened(store=store, tokens=None) as second:
        store.fail_save = OSError("disk full")
        await first.log_out()
        store.fail_save = None
        # The other session does not know yet.
        await second.refresh()
        await trio.sleep(30)
        assert first.state == LoggedOut("asked")
        assert store.tokens is None
        with pytest.raises(LoggedOutError):
            await second.refresh()


async def test_tokens_of_others_that_are_old_already_are_renewed_not_their_predecessors() -> None:
    """A process that refreshed and then stopped leaves a newer token, which has expired too."""
    grant, store = FakeGrant(), FakeStore()
    async with opened(grant, store=store) as session:
        assert store.record is not None
        theirs = Tokens("theirs", "refresh-theirs", 100)
        store.record = attrs.evolve(
            store.record, generation=2, tokens=theirs, expires_at_unix=time.time() - 5
        )
        session.reject(1)
        assert await session.token() == "access-1"
        assert session.generation == 3
    assert grant.presented == ["refresh-theirs"]


@pytest.mark.parametrize("place", ["load", "save"])
async def test_a_refusal_holds_whatever_the_store_does(place: str) -> None:
    store = FakeStore()

    async def grant(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
        setattr(store, f"fail_{place}", OSError("no disk"))
        raise GrantRefusedError("invalid_grant")

    async with opened(grant, store=store) as session:
        with pytest.raises(LoggedOutError) as info:
            await session.refresh()
        assert info.value.reason == "refused"
        setattr(store, f"fail_{place}", None)
        await trio.sleep(6)
        assert store.tokens is None


async def test_a_log_out_leaves_another_login_in_the_store() -> None:
    store = FakeStore()
    async with opened(store=store) as first, opened(store=store, tokens=None) as second:
        await first.log_in(Tokens("newcomer", "other", 3600))
        await second.log_out()
        assert second.state == LoggedOut("asked")
        assert await first.token() == "newcomer"
    assert store.tokens == Tokens("newcomer", "other", 3600)


async def test_what_the_next_refresh_has_saved_is_not_saved_again() -> None:
    told: list[events.Event] = []
    grant, store = FakeGrant(), FakeStore()
    async with opened(grant, store=store, observers=[told.append]) as session:
        store.fail_save = OSError("disk full")
        await session.refresh()
        store.fail_save = None
        grant.latency = 10
        # In the air when it would be tried again.
        await session.refresh()
        await trio.sleep(10)
        assert session.statistics().saved
        saved = [event.generation for event in only(events.Saved, told)]
    assert saved == [1, 3]


async def test_a_store_that_was_never_looked_into_is_all_news() -> None:
    record = Record(1, first_tokens(), login="other")
    vault = Vault(FakeStore(record))
    assert vault.pending is None
    assert await vault.news() == record
    assert await vault.news() is None


async def test_a_record_is_pending_from_a_save_that_failed_to_one_that_did_not() -> None:
    store, record = FakeStore(fail_save=OSError("disk full")), Record(1, first_tokens())
    vault = Vault(store)
    async with vault.lock():
        with pytest.raises(OSError, match="disk full"):
            await vault.save(record)
        assert vault.pending == record
        store.fail_save = None
        await vault.save(record)
    assert vault.pending is None
    assert vault.synced == 1


async def test_a_record_that_lost_to_another_is_not_pending() -> None:
    vault = Vault(FakeStore(Record(7, first_tokens())))
    async with vault.lock():
        with pytest.raises(StoreConflictError):
            await vault.save(Record(1, first_tokens()))
    assert vault.pending is None


async def test_a_log_out_elsewhere_that_is_found_while_saving_ends_the_login() -> None:
    store = FakeStore()
    async with opened(store=store) as session:
        store.fail_save = OSError("disk full")
        await session.refresh()
        assert store.record is not None
        store.record = Record(9, None, login=store.record.login)
        store.fail_save = None
        await trio.sleep(6)
        assert session.state == LoggedOut("elsewhere")
        assert session.statistics().saved


async def test_a_second_failure_to_save_is_made_good_like_the_first() -> None:
    store = FakeStore()
    async with opened(store=store) as session:
        for _ in range(2):
            store.fail_save = OSError("disk full")
            await session.refresh()
            assert not session.statistics().saved
            store.fail_save = None
            await trio.sleep(6)
            assert session.statistics().saved


async def test_the_record_of_a_log_out_is_newer_than_what_others_have_saved() -> None:
    store = FakeStore()
    async with opened(store=store) as session:
        assert store.record is not None
        store.record = Record(9, Tokens("theirs", "x"), login=store.record.login)
        await session.log_out()
        assert (store.record.generation, store.record.tokens) == (10, None)


async def test_a_log_out_revokes_what_others_have_refreshed() -> None:
    grant, store = RevokingGrant(), FakeStore()
    async with opened(grant, store=store) as session:
        assert store.record is not None
        store.record = Record(9, Tokens("theirs", "x"), login=store.record.login)
        await session.log_out()
    assert grant.revoked == [Tokens("theirs", "x")]


async def test_of_two_records_that_could_not_be_saved_the_newer_one_is_saved_later() -> None:
    store = FakeStore()
    async with opened(store=store) as session:
        store.fail_save = OSError("disk full")
        await session.refresh()
        store.fail_save, store.fail_lock = None, OSError("no lock")
        await log_in_unkept(session, Tokens("access-7", "refresh-7"))
        store.fail_lock = None
        await trio.sleep(6)
        assert store.tokens == Tokens("access-7", "refresh-7")


@pytest.mark.parametrize(
    ("needs", "refresh_token", "asked"),
    [(True, None, 0), (True, "refresh-0", 1), (False, None, 1), (None, None, 1)],
)
async def test_an_early_token_is_renewed_only_if_that_is_possible(
    *, needs: bool | None, refresh_token: str | None, asked: int
) -> None:
    class Grant(FakeGrant):
        pass

    if needs is not None:
        Grant.needs_refresh_token = needs  # type: ignore[attr-defined]  # what grants may say
    grant = Grant()
    async with opened(grant, tokens=Tokens("access-0", refresh_token, 100)) as session:
        await trio.sleep(90)
        assert await session.token() == "access-0"
        await trio.sleep(1)
        assert len(grant.presented) == asked


async def test_however_much_could_not_be_saved_it_is_tried_once_a_pause_that_grows() -> None:
    tried: list[float] = []

    class Store(FakeStore):
        async def save(self, record: Record, *, expected: int) -> None:
            tried.append(trio.current_time())
            await FakeStore.save(self, record, expected=expected)

    store = Store()
    async with opened(store=store) as session:
        store.fail_save = OSError("disk full")
        for _ in range(3):
            await session.refresh()
        await trio.sleep(14)
    # The login; a refresh a second; five seconds after the first failure, then ten; at the end.
    assert tried == [0, 1, 2, 3, 6, 16, 17]
