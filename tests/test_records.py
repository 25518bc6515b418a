"""Whose record it is, and whether it was kept: the store and the logins of several programs."""

from __future__ import annotations

import contextlib
import logging
import time
from typing import Any

import attrs
import httpx
import pytest
import trio
import trio.testing

from trioauth import (
    GrantRefusedError,
    LoggedOut,
    LoggedOutError,
    Record,
    RefreshPolicy,
    RefreshUnavailableError,
    StoreConflictError,
    StoreError,
    TokenEndpoint,
    Tokens,
    events,
)
from trioauth._core.flight import Login
from trioauth._core.vault import Vault

from .both import API, FakeApi
from .fakes import FakeGrant, FakeStore, OwnedGrant, ProbedStore, first_tokens
from .sessions import only, opened

pytestmark = pytest.mark.usefixtures("autojump_clock")


BOB = Tokens("bob", "bob-refresh", 3600)


# --- another login in the same place (FAULTS 27) -----------------------------------------


async def refresh(session: Any) -> None:
    """Refresh; what waits is told if that finds another login."""
    with contextlib.suppress(LoggedOutError):
        await session.refresh()


async def log_out(session: Any) -> None:
    await session.log_out()


async def be_refused(session: Any) -> None:
    session._flights.renewal.grant.script.append(GrantRefusedError("invalid_grant"))
    with pytest.raises(LoggedOutError):
        await session.refresh()
        await session.refresh()


@pytest.mark.parametrize("act", [refresh, log_out, be_refused])
@pytest.mark.parametrize("older", [0, 5])
async def test_a_login_begun_in_a_new_file_is_never_overwritten_by_the_daemon_of_the_old_one(
    act: Any, older: int
) -> None:
    """The user deletes the file and logs in anew: the generation is lower than the daemon's."""
    store, grant = FakeStore(), FakeGrant()
    async with opened(grant, store=store) as daemon:
        for _ in range(older):
            await daemon.refresh()
        store.record = Record(1, BOB, login="bob", expires_at_unix=time.time() + 3600)
        presented = len(grant.presented)
        await act(daemon)
        if act is refresh:
            assert daemon.token_nowait() == "bob"
        assert grant.presented[presented:] in ([], ["bob-refresh"])
    assert store.record is not None
    assert store.record.login == "bob"
    if act is not be_refused:
        assert store.record.tokens == BOB


async def test_a_daemon_that_took_over_a_new_file_is_seen_by_all_others() -> None:
    store = FakeStore()
    async with opened(store=store) as first, opened(store=store, tokens=None) as second:
        for _ in range(3):
            await first.refresh()
        await second.refresh()
        store.record = Record(1, BOB, login="bob", expires_at_unix=time.time() + 3600)
        await refresh(first)  # adopts
        await first.refresh()  # renews
        renewed = first.token_nowait()
        await refresh(second)
        assert second.token_nowait() == renewed
        assert first._machine.login is not None
        assert second._machine.login is not None
        assert first._machine.login.id == second._machine.login.id == "bob"


@pytest.mark.parametrize("act", [refresh, log_out])
async def test_an_unsaved_new_login_outlives_what_a_neighbour_does_with_the_old_one(
    act: Any,
) -> None:
    """A disk is full while a person logs in; the neighbour has still the former login."""
    store = FakeStore()
    async with opened(store=store) as first, opened(store=store, tokens=None) as second:
        store.fail_save = StoreError("disk full")
        with pytest.raises(StoreError):
            await first.log_in(BOB)
        store.fail_save = None
        await act(second)
        assert store.record is not None
        assert store.record.tokens != BOB
        await trio.sleep(30)
        assert first.token_nowait() == "bob"
        assert store.record.tokens == BOB
        if act is refresh:
            await refresh(second)
            assert second.token_nowait() == "bob"


async def test_an_unsaved_new_login_outlives_a_neighbour_that_saves_in_spite_of_the_lock() -> None:
    store = FakeStore()
    async with opened(store=store) as session:
        assert store.record is not None
        old, store.fail_save = store.record, StoreConflictError("somebody was there")
        with pytest.raises(StoreError):
            await session.log_in(BOB)
        store.record = attrs.evolve(old, generation=9, tokens=Tokens("theirs", "x", 3600))
        store.fail_save = None
        await session.refresh()
        assert session.token_nowait() == "access-1"
        assert store.record.tokens == Tokens("access-1", "refresh-1", 3600)


# --- another client's record (FAULTS 28) -------------------------------------------------


async def test_p15_a_record_of_another_client_is_an_error_that_names_both() -> None:
    theirs = Record(3, first_tokens(), login="l", owner="https://b.test/token as client-b")
    store, grant = FakeStore(theirs), OwnedGrant()
    with pytest.raises(StoreError, match=r"client-b.*id.test/token notes"):
        async with opened(grant, store=store, tokens=None):
            pass
    store.record = None
    async with opened(grant, store=store, tokens=first_tokens(0)) as session:
        assert store.record is not None
        assert store.record.owner == grant.owner
        ours, store.record = store.record, theirs
        with pytest.raises(RefreshUnavailableError, match=r"client-b.*id.test/token notes"):
            await session.token()
        with pytest.raises(StoreError, match=r"client-b.*id.test/token notes"):
            await session.log_in(obtain_bob)
        with pytest.raises(StoreError, match=r"client-b.*id.test/token notes"):
            await session.log_in(BOB)
        await session.log_out()
        assert store.record is theirs
        store.record = ours
    assert grant.presented == []


async def obtain_bob(_: TokenEndpoint) -> Tokens:
    await trio.sleep(1)
    return BOB


async def test_p15_a_session_without_a_login_does_not_take_that_of_another_client() -> None:
    store = FakeStore()
    async with opened(OwnedGrant(), store=store, tokens=None) as session:
        store.record = Record(3, first_tokens(), login="l", owner="https://b.test/token as b")
        with pytest.raises(LoggedOutError):
            await session.token()


@pytest.mark.parametrize("owned_before", [False, True])
async def test_p15_a_record_without_an_owner_is_taken_and_owned_from_the_next_save_on(
    owned_before: bool,
) -> None:
    grant = OwnedGrant()
    owner = grant.owner if owned_before else ""
    store = FakeStore(Record(3, first_tokens(), login="l", owner=owner))
    async with opened(grant, store=store, tokens=None) as session:
        await session.refresh()
        assert store.record is not None
        assert store.record.owner == grant.owner
        # A plain function has no name, and leaves the one that there is.
        async with opened(FakeGrant(), store=store, tokens=None) as plain:
            await plain.refresh()
            assert store.record.owner == grant.owner


# --- leaving just after taking off (FAULTS 29) -------------------------------------------


async def test_p08_a_session_left_just_after_a_refresh_took_off_renews_what_it_had() -> None:
    grant, store, told = FakeGrant(), FakeStore(), list[events.Event]()
    async with opened(
        grant, store=store, tokens=first_tokens(0), observers=[told.append]
    ) as session:
        with pytest.raises(trio.WouldBlock):
            session.token_nowait()
    assert grant.presented == ["refresh-0"]
    assert store.tokens == Tokens("access-1", "refresh-1", 3600)
    assert only(events.LoggedOut, told) == []


async def test_p08_a_session_left_just_after_a_refresh_took_off_begins_no_login() -> None:
    grant, store = FakeGrant(unattended=True), FakeStore()
    async with opened(grant, store=store, tokens=Tokens("access-0", None, 0)) as session:
        assert store.record is not None
        login = store.record.login
        with pytest.raises(trio.WouldBlock):
            session.token_nowait()
    assert grant.presented == [None]
    assert store.record.login == login
    assert (store.record.generation, store.record.tokens) == (
        2,
        Tokens("access-1", "refresh-1", 3600),
    )


# --- why there is no login (FAULTS 30) ---------------------------------------------------


async def test_the_next_run_says_why_and_when_the_login_ended() -> None:
    store, before = FakeStore(), time.time()
    grant = FakeGrant(script=[GrantRefusedError("invalid_grant")])
    async with opened(grant, store=store) as session:
        with pytest.raises(LoggedOutError):
            await session.refresh()
    async with opened(store=store, tokens=None) as session:
        state = session.state
        assert isinstance(state, LoggedOut)
        assert state == LoggedOut("refused")
        assert state.at_unix is not None
        assert before - 1 <= state.at_unix <= time.time() + 2
        with pytest.raises(LoggedOutError, match="refused to renew") as info:
            await session.token()
        assert (info.value.reason, info.value.at_unix) == ("refused", state.at_unix)


async def test_a_session_that_sees_its_neighbour_log_out_says_elsewhere_and_when() -> None:
    store = FakeStore()
    async with opened(store=store) as first, opened(store=store, tokens=None) as second:
        await first.log_out()
        with pytest.raises(LoggedOutError) as info:
            await second.refresh()
        ended = first.state
        assert isinstance(ended, LoggedOut)
        assert (info.value.reason, info.value.at_unix) == ("elsewhere", ended.at_unix)
    # What version 0.1.0 saved does not say why, nor when.
    async with opened(store=FakeStore(Record(4, None, login="l")), tokens=None) as session:
        assert session.state == LoggedOut("elsewhere")
        assert isinstance(session.state, LoggedOut)
        assert session.state.at_unix is None


# --- no store at all, and one that is lost (P32; FAULTS 33, 35) --------------------------


async def test_p32_where_no_lock_can_be_made_and_no_record_exists_it_goes_on_in_memory(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A read-only container, without the folder."""
    grant, told = FakeGrant(lifetime=100), list[events.Event]()
    store = FakeStore(fail_lock=StoreError("no such folder"))
    async with opened(
        grant, store=store, tokens=first_tokens(100), observers=[told.append]
    ) as session:
        for number in (1, 2, 3):
            await trio.sleep(100)
            assert await session.token() == f"access-{number}"
        assert session.logged_in
        assert not session.statistics().saved
        assert "StoreError: no such folder" in " ".join(session.explain().split())
        await session.log_out()
    assert grant.presented == ["refresh-0", "refresh-1", "refresh-2"]
    assert only(events.NotSaved, told)
    assert [r for r in caplog.records if r.levelno == logging.ERROR]


async def test_p32_a_login_in_memory_is_saved_once_there_is_a_store() -> None:
    store = FakeStore(fail_lock=StoreError("no such folder"))
    async with opened(store=store) as session:
        await session.refresh()
        store.fail_lock = None
        await trio.sleep(30)
        assert session.statistics().saved
        assert store.tokens == Tokens("access-1", "refresh-1", 3600)


async def test_p32_a_record_that_can_not_be_locked_is_not_refreshed_and_the_token_goes_on() -> None:
    grant, store = FakeGrant(), FakeStore(Record(3, first_tokens(), login="l"))
    async with opened(grant, store=store, tokens=None) as session:
        store.fail_lock = StoreError("no lock")
        with pytest.raises(RefreshUnavailableError, match="no lock"):
            await session.refresh()
        assert await session.token() == "access-0"
    # Neither by one that has not looked before.
    async with opened(grant, store=store, tokens=first_tokens(0)) as session:
        store.record = Record(9, first_tokens(), login="l")
        with pytest.raises(RefreshUnavailableError, match="no lock"):
            await session.token()
    assert grant.presented == []


async def test_p07_a_token_is_not_spent_if_what_comes_for_it_could_not_be_saved() -> None:
    grant, store = FakeGrant(), ProbedStore()
    async with opened(grant, store=store, tokens=first_tokens(0)) as session:
        store.fail_probe = StoreError("the disk is full")
        with pytest.raises(RefreshUnavailableError, match="the disk is full"):
            await session.token()
        assert grant.presented == []
        assert "the disk is full" in session.explain()
        store.fail_probe = None
        await trio.sleep(5)
        assert await session.token() == "access-1"
        assert store.probed == 2


@pytest.mark.parametrize("tokens", [first_tokens(0), Tokens("access-0", None, 0)])
async def test_p07_the_store_is_not_probed_without_a_shared_record_or_a_token_to_spend(
    tokens: Tokens,
) -> None:
    grant, store = FakeGrant(), ProbedStore()
    async with opened(grant, store=store, tokens=tokens) as session:
        if tokens.refresh_token is not None:
            store.record, session._source.vault.stored = None, None
        store.fail_probe = StoreError("the disk is full")
        assert await session.token() == "access-1"
        assert store.probed == 0


# --- the last save (FAULTS 36) -----------------------------------------------------------


@pytest.mark.parametrize("place", ["lock", "save", "hang"])
async def test_p08_what_could_not_be_saved_at_the_end_is_said_in_the_log_and_as_an_event(
    place: str, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[events.Event] = []
    store = FakeStore()
    policy = RefreshPolicy(close_grace=3)
    async with opened(store=store, policy=policy, observers=[told.append]) as session:
        store.fail_save = OSError(28, "secret")
        await session.refresh()
        if place == "hang":
            store.latency = 100
        elif place == "lock":
            store.fail_lock = OSError(28, "secret")
        left = trio.current_time()
        caplog.clear()
    assert trio.current_time() - left == (3 if place == "hang" else 0)
    *_, last = only(events.NotSaved, told)
    assert last.lost
    assert last.generation == 2
    [line] = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert "the session is closed, so it is lost" in line.getMessage()


# --- adopted is not renewed (FAULTS 38, 25) ----------------------------------------------


async def test_p04_a_refused_token_is_renewed_if_its_machine_s_clock_is_a_day_off() -> None:
    """Its neighbour says that the token lives for another day; the API knows better."""
    store = FakeStore()
    api = FakeApi(accepts=lambda token: token == "access-1", latency=0.1)

    async def answer(request: Any) -> Any:
        return await api(request)

    async with opened(store=store, base_url=API, transport=httpx.MockTransport(answer)) as session:
        assert store.record is not None
        store.record = attrs.evolve(
            store.record,
            generation=2,
            tokens=Tokens("theirs", "refresh-theirs", 3600),
            expires_at_unix=time.time() + 86400,
        )
        response = await session.get("/")
        assert response.status_code == 200
    assert api.tokens == ["access-0", "theirs", "access-1"]


# --- the same strings and a new lifetime (FAULTS 39) -------------------------------------


async def test_p01_a_server_that_only_prolongs_tokens_is_asked_once_by_all_processes() -> None:
    asked: list[float] = []
    now = time.time()

    async def grant(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
        asked.append(trio.current_time())
        await trio.sleep(0.1)
        return Tokens("access-0", "refresh-0", 3600)

    store = FakeStore(Record(1, first_tokens(), login="l", expires_at_unix=now))
    async with trio.open_nursery() as nursery:

        async def member() -> None:
            async with opened(grant, store=store, tokens=None) as session:
                assert await session.token() == "access-0"
                assert (session.statistics().seconds_until_expiry or 0) > 3500
                assert session.generation == 2

        for _ in range(8):
            nursery.start_soon(member)
    assert len(asked) == 1


async def test_p03_refused_tokens_that_a_server_prolongs_are_renewed() -> None:
    grant = FakeGrant()
    store = FakeStore(Record(1, first_tokens(), login="l", expires_at_unix=time.time() + 60))
    async with opened(grant, store=store, tokens=None) as session:
        session.reject(1)
        assert store.record is not None
        store.record = attrs.evolve(store.record, generation=2, expires_at_unix=time.time() + 3600)
        assert await session.token() == "access-1"
    assert grant.presented == ["refresh-0"]


@pytest.mark.parametrize(("later", "presented"), [(0.5, ["refresh-0"]), (None, ["refresh-0"])])
async def test_p01_the_same_tokens_with_the_same_end_are_no_news(
    later: float | None, presented: list[str]
) -> None:
    expires_at = time.time() + 1
    grant = FakeGrant()
    store = FakeStore(Record(1, first_tokens(), login="l", expires_at_unix=expires_at))
    async with opened(grant, store=store, tokens=None) as session:
        assert store.record is not None
        store.record = attrs.evolve(
            store.record,
            generation=2,
            expires_at_unix=None if later is None else expires_at + later,
        )
        assert await session.token() == "access-1"
    assert grant.presented == presented


# --- the vault ---------------------------------------------------------------------------


class SavesInSpite(FakeStore):
    """A store that saves, and fails all the same."""

    async def save(self, record: Record, *, expected: int) -> None:
        await super().save(record, expected=expected)
        raise OSError("gone")


async def test_what_was_saved_in_spite_of_an_error_leaves_what_is_pending_since() -> None:
    vault = Vault(SavesInSpite())
    ours, later = Record(1, first_tokens(), login="l"), Record(2, None, login="l")
    async with vault.lock():
        with pytest.raises(OSError, match="gone"):
            await vault.save(ours)
        vault.pending = later
        assert await vault.news() is None
        assert vault.pending is later
        vault.pending = ours
        vault.stored = None
        assert await vault.news() is None
        assert vault.pending is None


async def test_what_is_pending_about_a_login_is_forgotten_with_it() -> None:
    vault = Vault(FakeStore())
    vault.pending = pending = Record(2, None, login="l")
    vault.forget(Login("another"))
    assert vault.pending is pending
    vault.forget(Login("l"))
    assert vault.pending is None


async def test_what_was_only_peeked_at_stays_news() -> None:
    vault = Vault(FakeStore(Record(1, first_tokens(), login="l")))
    assert await vault.peek() == Record(1, first_tokens(), login="l")
    assert (vault.synced, await vault.news()) == (0, Record(1, first_tokens(), login="l"))
    assert vault.synced == 1


async def test_what_others_save_about_a_login_that_has_ended_here_is_no_news() -> None:
    store = FakeStore(Record(1, first_tokens(), login="l"))
    vault = Vault(store)
    assert await vault.news({"l"}) is None
    # It is what the next save is compared with, all the same.
    assert vault.synced == 1
    store.record = Record(2, BOB, login="m")
    assert await vault.news({"l"}) == store.record
