"""What two do at the same moment: a log-in, a refresh, a deadline, leaving. Each once went wrong.

The simulation found them; see `tests.simulation`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import attrs
import pytest
import trio
import trio.testing

from trioauth import (
    GrantMisconfiguredError,
    LoggedIn,
    LoggedOut,
    LoggedOutError,
    Record,
    RefreshPolicy,
    RefreshUnavailableError,
    Tokens,
    events,
)

from .fakes import FakeGrant, FakeStore, RevokingGrant, first_tokens
from .sessions import log_in_unkept, only, opened

if TYPE_CHECKING:
    from trioauth import TokenEndpoint

pytestmark = pytest.mark.usefixtures("autojump_clock")


SECOND = Tokens("access-2nd", "refresh-2nd", 3600)
THIRD = Tokens("access-3rd", "refresh-3rd", 3600)


def stored(tokens: Tokens | None = None, *, generation: int = 1, login: str = "before") -> Record:
    return Record(generation, tokens or first_tokens(0), login=login, expires_at_unix=1.0)


async def test_two_log_ins_on_one_store_get_different_generations() -> None:
    store = FakeStore(latency=1)
    async with opened(tokens=None, store=store) as one, opened(tokens=None, store=store) as two:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.log_in, SECOND)
            nursery.start_soon(two.log_in, THIRD)
        assert [record.generation for record in store.saved] == [1, 2]
        assert {one.generation, two.generation} == {1, 2}


async def test_a_timer_that_fires_as_another_task_takes_off_starts_no_second_flight() -> None:
    grant = FakeGrant()
    policy = RefreshPolicy(keep_fresh=True, early=0, leeway=10)
    async with opened(grant, tokens=first_tokens(100), policy=policy) as session:
        # In whatever order the two wake up.
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                await trio.sleep_until(session._machine.clock.to_trio(due))
                assert await session.token() == "access-1"

            timers = session._flights.renewal.records.save_later.__self__  # type: ignore[attr-defined]
            due = timers.until_refresh() + trio.current_time()
            for _ in range(20):
                nursery.start_soon(ask)
        assert grant.presented == ["refresh-0"]


async def test_a_timer_that_fires_while_the_session_is_left_does_nothing() -> None:
    store = FakeStore()
    policy = RefreshPolicy(keep_fresh=True, early=0, leeway=10)
    async with trio.open_nursery() as nursery:
        async with opened(store=store, tokens=first_tokens(100), policy=policy) as session:
            await trio.sleep(89)
            store.latency = 3
            nursery.start_soon(_log_in_in_vain, session)  # noqa: ASYNC111  # outlives it
            await trio.sleep(0.5)


async def _log_in_in_vain(session: object) -> None:
    with pytest.raises(trio.ClosedResourceError):
        await session.log_in(SECOND)  # type: ignore[attr-defined]


@attrs.define
class HangingGrant:
    """A grant that gives no answer in time, then one that says why not."""

    presented: list[float] = attrs.field(factory=list)
    script: list[Exception] = attrs.field(factory=list)
    needs_refresh_token: bool = True

    async def __call__(self, tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
        self.presented.append(trio.current_time())
        if self.script:
            raise self.script.pop(0)
        await trio.sleep_forever()
        raise AssertionError


async def test_an_answer_lost_at_the_deadline_counts_as_lost() -> None:
    grant = HangingGrant()
    policy = RefreshPolicy(timeout=1, cooldown=0, backoff=0.5)
    async with opened(grant, tokens=first_tokens(0), policy=policy) as session:
        while trio.current_time() < 12:
            with pytest.raises(RefreshUnavailableError):
                await session.token()
            await trio.sleep(0.5)
    assert grant.presented == [0, 11]


async def test_after_a_lost_answer_a_flight_that_is_cut_off_keeps_quiet_for_ten_seconds() -> None:
    grant = HangingGrant(script=[RefreshUnavailableError("reset")])
    policy = RefreshPolicy(timeout=1, cooldown=0, backoff=0)
    async with opened(grant, tokens=first_tokens(0), policy=policy) as session:
        while trio.current_time() < 12:
            with pytest.raises(RefreshUnavailableError):
                await session.token()
            await trio.sleep(0.5)
    # The second presentation is cut off at the deadline, one second later.
    assert grant.presented == [0, 0, 11]


async def test_a_server_that_knows_no_client_any_more_does_not_undo_a_loss() -> None:
    lost, unknown = RefreshUnavailableError("reset"), GrantMisconfiguredError("invalid_client")
    grant = HangingGrant(script=[lost, unknown])
    policy = RefreshPolicy(cooldown=0, backoff=0, timeout=1)
    async with opened(grant, tokens=first_tokens(0), policy=policy) as session:
        for _ in range(3):
            with pytest.raises(GrantMisconfiguredError):
                await session.token()
            await trio.sleep(1)
    assert len(grant.presented) == 2


async def test_a_log_out_in_the_store_is_believed_while_the_session_is_left() -> None:
    grant, store = FakeGrant(), FakeStore(stored())
    async with trio.open_nursery() as nursery:
        async with opened(grant, tokens=None, store=store) as session:
            async with store.lock():
                nursery.start_soon(_ask_in_vain, session)  # noqa: ASYNC111  # outlives it
                await trio.sleep(1)
                store.record = Record(2, None, login="before")
            # Let go as the session is left, without a checkpoint in between.
    assert grant.presented == []
    assert store.record.tokens is None


async def _ask_in_vain(session: object) -> None:
    with pytest.raises((LoggedOutError, trio.ClosedResourceError)):
        await session.token()  # type: ignore[attr-defined]


async def test_a_log_out_that_overtakes_an_answer_is_stored_before_the_next_flight_asks() -> None:
    grant, store = FakeGrant(), FakeStore(stored())
    options = {"tokens": None, "store": store}
    async with opened(grant, **options) as one, opened(grant, **options) as two:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_ask_in_vain, one)
            await trio.sleep(0.1)
            nursery.start_soon(_ask_in_vain, two)
            await trio.sleep(0.1)
            await one.log_out()
        assert two.state == LoggedOut("elsewhere")
    assert grant.spent_twice == []


async def test_waiters_of_a_login_that_was_replaced_elsewhere_are_told_at_once() -> None:
    grant, store = FakeGrant(), FakeStore(stored())
    told: list[events.Event] = []
    async with opened(grant, tokens=None, store=store, observers=[told.append]) as session:
        store.record = stored(Tokens("access-9", "refresh-9", 1), generation=2, login="after")
        with pytest.raises(LoggedOutError) as info:
            await session.token()
        assert info.value.reason == "replaced"
        assert trio.current_time() == 0
        assert session.state == LoggedIn(2)
        # It was stored long ago: who asks now waits for the refresh of the new login.
        assert await session.token() == "access-1"
        assert grant.presented == ["refresh-9"]
    assert [event.adopted for event in only(events.RefreshLanded, told)] == [False]


async def test_waiters_are_told_at_once_of_a_replacement_that_another_flight_noticed() -> None:
    """A refresh waits for its turn behind one that saves later, and that finds the new login."""
    store = FakeStore(stored(), fail_save=OSError("disk full"))
    async with opened(FakeGrant(), tokens=None, store=store) as session:
        await session.refresh()
        store.fail_save = None
        theirs = Tokens("access-9", "refresh-9", 1)
        store.record = stored(theirs, generation=9, login="after")
        # It is tried again after five seconds, and takes a second to look.
        await trio.sleep(4.5)
        store.latency = 1
        await trio.sleep(1)
        with pytest.raises(LoggedOutError) as info:
            await session.refresh()
        assert info.value.reason == "replaced"
        assert trio.current_time() == 7


async def test_the_very_tokens_that_were_refused_are_not_adopted_as_newer_ones() -> None:
    """Another program presented the same refresh token, and a server that forgives told it so."""
    grant, store = FakeGrant(), FakeStore()
    async with opened(grant, store=store) as session:
        assert store.record is not None
        store.record = attrs.evolve(store.record, generation=7)
        session.reject(1)
        assert await session.token() == "access-1"
        assert session.generation == 8
    assert grant.presented == ["refresh-0"]


async def test_a_log_out_leaves_a_login_that_a_refresh_has_just_found() -> None:
    """Another process has logged in. A refresh reads it; before it has, there is a log-out."""
    store = FakeStore(stored())
    async with opened(FakeGrant(), tokens=None, store=store) as session:
        theirs = stored(Tokens("access-9", "refresh-9", 3600), generation=2, login="after")
        store.record, store.latency = theirs, 1
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_ask_in_vain, session)
            await trio.sleep(0.5)
            await session.log_out()
        assert session.state == LoggedOut("asked")
        assert store.record is theirs


async def test_a_refresh_of_the_old_login_does_not_overwrite_the_new_one_while_leaving() -> None:
    grant, store = FakeGrant(), FakeStore(stored())
    async with trio.open_nursery() as nursery:
        async with opened(grant, tokens=None, store=store) as session:
            store.latency = 1
            nursery.start_soon(_log_in_in_vain, session)  # noqa: ASYNC111  # outlives it
            await trio.sleep(0.5)
            nursery.start_soon(_ask_in_vain, session)  # noqa: ASYNC111  # outlives it
            await trio.sleep(0.1)
    assert grant.presented == []
    assert store.tokens == SECOND


async def test_the_generation_never_goes_back_even_if_a_log_in_is_cut_short() -> None:
    store = FakeStore()
    policy = RefreshPolicy(timeout=3, cooldown=1)
    async with opened(FakeGrant(latency=2), store=store, policy=policy) as session:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.refresh)
            await trio.sleep(1)
            store.fail_lock = OSError("gone")
            await log_in_unkept(session, SECOND)
        assert session.generation > 3  # which the refresh got
        store.fail_lock = None
        await trio.sleep(2)
        numbers = [record.generation for record in store.saved]
        assert numbers == sorted(set(numbers))
        assert store.tokens == SECOND
        assert session.statistics().saved


async def test_a_refresh_that_fails_as_its_login_is_replaced_says_replaced() -> None:
    policy = RefreshPolicy(timeout=1)
    # Both deadlines are the same moment, and which comes first is up to chance.
    for _ in range(20):
        async with opened(HangingGrant(), tokens=first_tokens(0), policy=policy) as session:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_ask_and_be_told_replaced, session)
                nursery.start_soon(session.log_in, SECOND)
            assert await session.token() == "access-2nd"


async def _ask_and_be_told_replaced(session: object) -> None:
    with pytest.raises(LoggedOutError) as info:
        await session.token()  # type: ignore[attr-defined]
    assert info.value.reason == "replaced"


async def test_a_slow_store_does_not_make_the_first_tokens_live_longer() -> None:
    async with opened(tokens=first_tokens(60), store=FakeStore(latency=10)) as session:
        assert session.statistics().seconds_until_expiry == 30  # two looks and a save later


async def test_a_refresh_presents_what_was_adopted_while_it_waited_for_its_turn() -> None:
    grant, store = FakeGrant(), FakeStore(fail_save=OSError("full"))
    policy = RefreshPolicy(cooldown=1)
    async with opened(grant, tokens=first_tokens(0), store=store, policy=policy) as session:
        # Not saved; it will be tried again after one second, and find what others have saved.
        store.fail_save, store.latency = None, 0.5
        store.record = stored(Tokens("access-9", "refresh-9", 0), generation=5, login="other")
        await trio.sleep(1.2)
        with pytest.raises(LoggedOutError):
            await session.token()
        assert await session.token() == "access-1"
    assert grant.presented == ["refresh-9"]


async def test_what_a_refresh_could_not_save_is_forgotten_once_its_login_is_over() -> None:
    store, told = FakeStore(), list[events.Event]()
    policy = RefreshPolicy(timeout=3)
    async with opened(store=store, policy=policy, observers=[told.append]) as session:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_ask_for_a_new_one_in_vain, session)
            await trio.sleep(0.9)
            store.latency = 100
            await trio.sleep(1)
            await session.log_out(revoke=False)
        store.latency = 0
        await trio.sleep(20)
        assert store.tokens is None
        assert session.statistics().saved
    # The tokens that it brought belong to no login: no task is told that they are current.
    assert only(events.RefreshLanded, told) == []


async def _ask_for_a_new_one_in_vain(session: object) -> None:
    with pytest.raises(LoggedOutError):
        await session.refresh()  # type: ignore[attr-defined]


# --- a login that another one overtakes ----------------------------------------------------


@pytest.mark.parametrize("refused", [False, True])
async def test_what_saving_again_finds_is_refreshed_only_if_it_is_refused(refused: bool) -> None:
    store, grant = FakeStore(), FakeGrant()
    async with opened(grant, store=store) as session:
        store.fail_save = OSError("disk full")
        await session.refresh()
        store.fail_save = None
        assert not session.statistics().saved
        async with trio.open_nursery() as nursery:
            async with store._lock:
                # By then it waits to save again, and a refresh waits behind it.
                await trio.sleep(RefreshPolicy().cooldown + 1)
                nursery.start_soon(session.refresh)
                await trio.testing.wait_all_tasks_blocked()
                login = session._machine.login
                assert login is not None
                theirs = Tokens("theirs", "their-refresh", 3600)
                store.record = Record(3, theirs, login=login.id, expires_at_unix=time.time() + 3600)
            async with store._lock:
                # Its turn is after ours.
                assert session.generation == 3
                if refused:
                    session.reject(3)
        assert session.token_nowait() == ("access-2" if refused else "theirs")
    assert grant.presented == (["refresh-0", "their-refresh"] if refused else ["refresh-0"])


@attrs.define
class SavesInSpite(FakeStore):
    """It saves, and says that it did not."""

    in_spite: bool = False

    async def save(self, record: Record, *, expected: int) -> None:
        await super().save(record, expected=expected)
        if self.in_spite:
            raise OSError("saved, and yet an error")


async def test_a_log_out_that_was_saved_in_spite_of_an_error_does_not_end_the_next_login() -> None:
    store = SavesInSpite()
    async with opened(store=store) as session:
        store.in_spite = True
        await session.log_out()
        store.in_spite, store.fail_lock = False, OSError("no lock")
        await log_in_unkept(session, Tokens("access-5", "refresh-5", 3600))
        store.fail_lock = None
        await session.refresh()
        assert session.token_nowait() == "access-1"
        assert store.tokens == Tokens("access-1", "refresh-1", 3600)


async def test_a_log_out_that_is_still_revoking_does_not_end_the_next_login() -> None:
    async with opened(RevokingGrant(revoking_takes=2)) as session:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.log_out)
            await trio.sleep(1)
            await session.log_in(SECOND)
        assert trio.current_time() == 2
        assert await session.token() == "access-2nd"


@pytest.mark.parametrize("then", ["nothing", "log_in"])
async def test_a_log_in_that_a_log_out_overtook_never_gets_into_the_store(then: str) -> None:
    store, overtaken = FakeStore(), Tokens("access-5", "refresh-5", 3600)
    async with opened(store=store) as session:

        async def log_in() -> None:
            with pytest.raises(LoggedOutError):
                await session.log_in(overtaken)

        async with trio.open_nursery() as nursery:
            session._flights.take_off("asked_for")
            await trio.sleep(0.5)
            nursery.start_soon(log_in)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(session.log_out)
            await trio.testing.wait_all_tasks_blocked()
            if then == "log_in":
                await session.log_in(Tokens("access-6", "refresh-6", 3600))
        await trio.sleep(100)
        assert store.record is not None
        kept = Tokens("access-6", "refresh-6", 3600) if then == "log_in" else None
        assert store.record.tokens == kept
        assert session.statistics().saved
    assert overtaken not in [record.tokens for record in store.saved]


async def test_a_log_in_that_could_not_be_saved_is_not_saved_once_it_is_logged_out() -> None:
    store = FakeStore()
    async with opened(store=store) as session:
        session._flights.take_off("asked_for")
        await trio.sleep(0.5)
        # It gets its number before the refresh does, and finds no store after it.
        store.fail_load = OSError("gone")
        await log_in_unkept(session, Tokens("access-5", "refresh-5", 3600))
        store.fail_load = None
        assert not session.statistics().saved
        await session.log_out()
        await trio.sleep(100)
        assert session.statistics().saved
    assert store.tokens is None


async def test_a_log_out_that_could_not_be_saved_is_given_up_when_others_have_logged_in() -> None:
    store = FakeStore()
    theirs = Record(3, Tokens("theirs", "their-refresh", 3600), login="another")
    async with opened(store=store) as session:
        store.fail_save = OSError("disk full")
        await session.log_out()
        store.fail_save, store.latency, store.record = None, 1, theirs

        async def log_in() -> None:
            with pytest.raises(LoggedOutError):
                await session.log_in(Tokens("access-5", "refresh-5", 3600))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(log_in)
            await trio.sleep(0.5)
            await session.log_out()
        await trio.sleep(100)
        assert session.statistics().saved
    assert store.record == theirs


async def test_unsaved_tokens_are_not_replaced_by_those_of_an_earlier_renewal() -> None:
    store = FakeStore()
    async with opened(store=store) as session:
        store.fail_save = OSError("disk full")
        await session.refresh()
        await session.refresh()
        assert session.token_nowait() == "access-2"
        # A neighbour, whose store failed as well, saves the first renewal, which a server that
        # forgives has given to both.
        assert store.record is not None
        earlier = Tokens("access-1", "refresh-1", 3600)
        store.record = Record(2, earlier, login=store.record.login)
        store.fail_save = None
        await trio.sleep(30)
        assert session.token_nowait() == "access-2"
        assert store.record.tokens == Tokens("access-2", "refresh-2", 3600)
