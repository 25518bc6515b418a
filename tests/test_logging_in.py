"""Beginning a login: who asks, who waits, what is proven before, and logins made elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
import trio.testing

from trioauth import (
    Error,
    LoggedIn,
    LoggedOut,
    LoggedOutError,
    MemoryStore,
    Record,
    RefreshPolicy,
    RefreshUnavailableError,
    StoreError,
    TokenEndpoint,
    Tokens,
    events,
)
from trioauth.testing import Victim, every_checkpoint

from .fakes import FakeGrant, FakeStore, ProbedStore, RevokingGrant, ShieldedGrant, first_tokens
from .sessions import only, opened

if TYPE_CHECKING:
    from collections.abc import Generator

pytestmark = pytest.mark.usefixtures("autojump_clock")


@attrs.define
class Person:
    """A person who logs in when asked, after a while."""

    takes: float = 10
    answers: list[Exception] = attrs.field(factory=list)
    """What becomes of the first few times."""
    asked: int = 0

    async def __call__(self, endpoint: TokenEndpoint) -> Tokens:
        self.asked += 1
        number = self.asked
        await trio.sleep(self.takes)
        if self.answers:
            raise self.answers.pop(0)
        return Tokens(f"person-{number}", f"consent-{number}", 3600)


# --- one asks, the others wait (FAULTS 11) -----------------------------------------------


async def test_of_ten_tasks_that_log_in_at_once_one_asks_and_the_others_wait_for_it() -> None:
    told: list[events.Event] = []
    person = Person()
    async with opened(tokens=None, observers=[told.append]) as session:
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(session.log_in, person)
        assert session.token_nowait() == "person-1"
    assert person.asked == 1
    assert len(only(events.LoggedIn, told)) == 1


async def test_what_obtains_the_tokens_may_return_anything_that_can_be_awaited() -> None:
    class Answer:
        def __await__(self) -> Generator[Any, Any, Tokens]:
            yield from trio.lowlevel.checkpoint().__await__()  # noqa: ASYNC105  # awaited here
            return first_tokens()

    async with opened(tokens=None) as session:
        await session.log_in(lambda _: Answer())
        assert session.logged_in


async def test_if_the_task_that_asks_is_cancelled_the_next_one_asks() -> None:
    person = Person()
    async with opened(tokens=None) as session:
        async with trio.open_nursery() as nursery:

            async def give_up() -> None:
                with trio.move_on_after(3):
                    await session.log_in(person)

            nursery.start_soon(give_up)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(session.log_in, person)
            nursery.start_soon(session.log_in, person)
        assert session.token_nowait() == "person-2"
        assert trio.current_time() == 13
    assert person.asked == 2


@pytest.mark.parametrize("logged_in", [False, True])
async def test_if_the_person_says_no_the_waiting_tasks_are_told_and_do_not_ask_again(
    logged_in: bool,
) -> None:
    person, caught = Person(answers=[KeyError("denied")]), list[Error]()
    async with opened(tokens=first_tokens() if logged_in else None) as session:

        async def wait() -> None:
            with pytest.raises(Error, match="another task had begun failed") as info:
                await session.log_in(person)
            caught.append(info.value)

        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                with pytest.raises(KeyError):
                    await session.log_in(person)

            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(wait)
            nursery.start_soon(wait)
        assert session.logged_in is logged_in
    assert person.asked == 1
    assert caught[0] is not caught[1]
    for error in caught:
        assert isinstance(error.__cause__, KeyError)
        assert isinstance(error, LoggedOutError) is not logged_in


async def test_others_wait_until_the_login_has_begun_even_if_the_asker_is_cancelled() -> None:
    """The store takes two seconds; the task that asked is cancelled in the middle of that."""
    store, person = FakeStore(), Person()
    async with opened(tokens=None, store=store) as session:
        store.latency = 1
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                with trio.move_on_after(12.5):
                    await session.log_in(person)

            async def wait() -> None:
                await session.log_in(person)
                assert session.logged_in
                assert session.token_nowait() == "person-1"

            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(wait)
            nursery.start_soon(wait)
    assert person.asked == 1


async def test_those_who_wait_are_told_that_the_login_could_not_be_kept() -> None:
    store, person, errors = FakeStore(), Person(), list[StoreError]()
    async with opened(tokens=None, store=store) as session:

        async def log_in() -> None:
            with pytest.raises(StoreError, match="lasts as long as this session") as info:
                await session.log_in(person)
            errors.append(info.value)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(log_in)
            nursery.start_soon(log_in)
            await trio.sleep(5)
            store.fail_save = StoreError("disk full")
        assert session.token_nowait() == "person-1"
        store.fail_save = None
    assert len(set(errors)) == 2
    assert person.asked == 1


async def test_others_are_told_if_a_log_out_comes_before_the_login_has_begun() -> None:
    store, person = FakeStore(), Person()
    async with opened(tokens=None, store=store) as session:
        store.latency = 1
        async with trio.open_nursery() as nursery:

            async def log_in() -> None:
                with pytest.raises(LoggedOutError) as info:
                    await session.log_in(person)
                assert info.value.reason == "asked"
                assert info.value.at_unix is not None

            nursery.start_soon(log_in)
            nursery.start_soon(log_in)
            await trio.sleep(11.5)
            await session.log_out()
        assert not session.logged_in
    assert store.record is None or store.record.tokens is None


async def test_p20_a_log_in_within_a_log_in_is_one_clear_error() -> None:
    person = Person()
    async with opened(tokens=None) as session:

        async def obtain(endpoint: TokenEndpoint) -> Tokens:
            with pytest.raises(RuntimeError, match="wait for itself"):
                await session.log_in(person)
            # Another session's is another matter.
            async with opened(tokens=None) as other:
                await other.log_in(person)
            return first_tokens()

        await session.log_in(obtain)
        assert session.token_nowait() == "access-0"
        await session.log_in(person)
    assert person.asked == 2


def test_cancelling_a_log_in_anywhere_leaves_the_old_login_or_the_new_one_and_the_next_works() -> (
    None
):
    async def scenario(victim: Victim) -> None:
        store, person = ProbedStore(latency=0.1), Person()
        async with opened(store=store) as session:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(victim, session.log_in, person)
                await trio.testing.wait_all_tasks_blocked(0.01)
                nursery.start_soon(session.log_in, person)
            assert session.token_nowait().startswith("person-")
            assert store.tokens is not None
            assert store.tokens.access_token == session.token_nowait()
            assert session.statistics().saved

    assert len(every_checkpoint(scenario, seeds=[0]).points) > 8


# --- P23: nothing is asked of a person that could not be kept ----------------------------


@pytest.mark.parametrize("error", [StoreError("read-only file system"), OSError(30, "secret")])
@pytest.mark.parametrize("place", ["lock", "load", "probe"])
async def test_p23_a_person_is_not_asked_if_the_store_can_not_be_written(
    place: str, error: Exception
) -> None:
    store, person = ProbedStore(Record(1, first_tokens(), login="l")), Person()
    async with opened(tokens=None, store=store) as session:
        before = session.state
        setattr(store, f"fail_{place}", error)
        with pytest.raises(StoreError, match=r"[Rr]ead-only file system"):
            await session.log_in(person)
        assert session.state == before
        assert person.asked == 0
        setattr(store, f"fail_{place}", None)
        await session.log_in(person)
        assert session.token_nowait() == "person-1"


async def test_p23_a_store_that_hangs_is_found_out_before_a_person_is_asked() -> None:
    store, person = FakeStore(), Person()
    async with opened(tokens=None, store=store, policy=RefreshPolicy(timeout=5)) as session:
        store.latency = 60
        with pytest.raises(StoreError, match=r"no answer within 5 seconds.*no login was begun"):
            await session.log_in(person)
        assert trio.current_time() == 5
    assert person.asked == 0


async def test_p23_no_store_and_no_lock_is_no_reason_to_ask_a_person() -> None:
    """A read-only container: what is kept in memory is gone with it."""
    store, person = FakeStore(fail_lock=OSError(30, "read-only")), Person()
    async with opened(tokens=None, store=store) as session:
        with pytest.raises(StoreError, match="Read-only file system"):
            await session.log_in(person)
        assert person.asked == 0
        # Another process mounts a volume, and logs in there: the session looks again.
        store.fail_lock = None
        store.record = Record(1, first_tokens(), login="elsewhere")
        await trio.sleep(1)
        assert await session.token() == "access-0"


async def test_p01_a_log_in_that_was_given_up_leaves_what_others_have_saved_to_be_adopted() -> None:
    """Trying whether the store can be written must not make news old."""
    store, grant, person = FakeStore(), FakeGrant(), Person(answers=[KeyError("denied")])
    async with (
        opened(grant, store=store) as session,
        opened(grant, store=store, tokens=None) as other,
    ):
        await other.refresh()
        with pytest.raises(KeyError):
            await session.log_in(person)
        await session.refresh()
        assert session.token_nowait() == "access-1"
    assert grant.presented == ["refresh-0"]


# --- was it kept (FAULTS 32) -------------------------------------------------------------


@pytest.mark.parametrize("place", ["lock", "load", "save"])
async def test_tokens_that_could_not_be_kept_are_an_error_and_the_login_lasts_as_the_session(
    place: str,
) -> None:
    told: list[events.Event] = []
    store = FakeStore()
    async with opened(tokens=None, store=store, observers=[told.append]) as session:
        setattr(store, f"fail_{place}", StoreError("disk full", path="/var/tokens.json"))
        with pytest.raises(StoreError, match=r"could not be saved \(StoreError: disk full\)") as e:
            await session.log_in(Tokens("access-5", "refresh-5", 3600))
        assert e.value.path == "/var/tokens.json"
        assert session.token_nowait() == "access-5"
        assert await session.token() == "access-5"
        assert only(events.NotSaved, told)
        setattr(store, f"fail_{place}", None)
        await trio.sleep(6)
        assert session.statistics().saved
    assert store.tokens == Tokens("access-5", "refresh-5", 3600)


async def test_a_login_that_the_store_takes_too_long_over_is_an_error_at_the_deadline() -> None:
    store = FakeStore()
    policy = RefreshPolicy(timeout=5, close_grace=1)
    async with opened(tokens=None, store=store, policy=policy) as session:
        store.latency = 60
        with pytest.raises(StoreError, match="did not take it in time"):
            await session.log_in(Tokens("access-5", "refresh-5", 3600))
        assert trio.current_time() == 5
        assert session.token_nowait() == "access-5"
        store.latency = 0


# --- a grant that needs no human (FAULTS 68) ---------------------------------------------


def shielded() -> ShieldedGrant:
    return ShieldedGrant(latency=500, unattended=True, revoking_takes=0.1)


async def test_if_the_grant_says_no_those_who_wait_are_told() -> None:
    grant, outcomes = FakeGrant(unattended=True, script=[KeyError("no")]), list[type]()
    async with opened(grant, tokens=None) as session:

        async def log_in() -> None:
            with pytest.raises((KeyError, LoggedOutError)) as info:
                await session.log_in()
            outcomes.append(info.type)

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(log_in)
        assert len(grant.presented) == 1
        assert outcomes == [KeyError, LoggedOutError, LoggedOutError]
        await session.log_in()
        assert session.logged_in


async def test_tokens_of_a_grant_begin_a_login_even_if_the_task_that_asked_is_cancelled() -> None:
    store, grant = FakeStore(), FakeGrant(unattended=True)
    async with opened(grant, tokens=None, store=store) as session:
        store.latency = 1
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                with trio.move_on_after(2.5):
                    await session.log_in()

            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            await session.log_in()
            assert session.token_nowait() == "access-1"
    assert len(grant.presented) == 1


async def test_a_grant_with_nothing_to_spend_that_meets_the_deadline_has_lost_no_answer() -> None:
    grant = FakeGrant(unattended=True, latency=60)
    policy = RefreshPolicy(timeout=5)
    async with opened(grant, tokens=Tokens("access-0", None, 0), policy=policy) as session:
        for _ in range(2):
            with pytest.raises(RefreshUnavailableError) as info:
                await session.token()
            assert info.value.retry_at == trio.current_time() + 5
            await trio.sleep(5)
    assert grant.presented == [None, None]


@pytest.mark.parametrize("logged_in", [False, True])
async def test_p20_a_log_in_with_a_grant_that_shields_itself_ends_at_the_deadline(
    logged_in: bool,
) -> None:
    grant, store = shielded(), FakeStore()
    policy = RefreshPolicy(timeout=5)
    tokens = first_tokens() if logged_in else None
    async with opened(grant, tokens=tokens, store=store, policy=policy) as session:
        before = store.record
        with pytest.raises(trio.TooSlowError):
            await session.log_in()
        assert trio.current_time() == 5
        assert session.logged_in is logged_in
        await trio.sleep(600)
        # What came late is of no use: it is not kept, and the server is told.
        assert store.record is before
        assert session.logged_in is logged_in
        assert grant.revoked == [Tokens("access-1", "refresh-1", 3600)]


async def test_a_cancelled_log_in_comes_to_nothing_even_if_its_grant_shields_itself() -> None:
    grant, store = shielded(), FakeStore()
    grant.latency = 10
    async with opened(grant, tokens=None, store=store) as session:
        with trio.move_on_after(1):
            await session.log_in()
        await trio.sleep(20)
        assert not session.logged_in
        assert store.record is None
        assert grant.revoked == [Tokens("access-1", "refresh-1", 3600)]


# --- logging out -------------------------------------------------------------------------


async def test_p17_after_a_log_out_and_its_revocation_the_login_holds_no_tokens() -> None:
    """FAULTS 56."""
    grant = shielded()
    async with opened(grant) as session:
        login = session._machine.login
        assert login is not None
        await session.log_out()
        assert grant.revoked == [first_tokens()]
        assert login.newest is None


async def test_a_log_out_during_a_late_log_in_ends_it_like_any_other() -> None:
    """A login that was landed at its deadline, while its task hangs in the store."""
    told: list[events.Event] = []

    class Stubborn(FakeStore):
        async def save(self, record: Record, *, expected: int) -> None:
            with trio.CancelScope(shield=True):
                await trio.sleep(hangs)
            await super().save(record, expected=expected)

    hangs = 0
    store = Stubborn()
    policy = RefreshPolicy(timeout=5)
    async with opened(tokens=None, store=store, policy=policy, observers=[told.append]) as session:
        hangs = 20
        with pytest.raises(StoreError, match="in time"):
            await session.log_in(Tokens("access-5", "refresh-5", 3600))
        assert session.logged_in
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.log_out)
            await trio.testing.wait_all_tasks_blocked()
            assert len(only(events.LoggedOut, told)) == 1
            hangs = 0
        # The store could not be told while it hung: it is told later, and that is said.
        assert only(events.NotSaved, told)
        await trio.sleep(60)
        assert session.statistics().saved
    assert store.tokens is None


# --- logged_in, wait_logged_in, at_unix --------------------------------------------------


async def test_wait_logged_in_returns_at_once_or_when_a_login_begins() -> None:
    async with opened(tokens=None) as session:
        assert not session.logged_in
        async with trio.open_nursery() as nursery:
            results: list[LoggedIn] = []

            async def wait() -> None:
                results.append(await session.wait_logged_in())

            nursery.start_soon(wait)
            nursery.start_soon(wait)
            await trio.sleep(1000)
            assert results == []
            await session.log_in(first_tokens())
        assert results == [LoggedIn(1), LoggedIn(1)]
        assert session.logged_in
        with trio.testing.assert_checkpoints():
            assert await session.wait_logged_in() == LoggedIn(1)
    assert session.logged_in
    with pytest.raises(trio.ClosedResourceError):
        await session.wait_logged_in()


@pytest.mark.parametrize("shared", [False, True])
async def test_wait_logged_in_ends_with_the_session(shared: bool) -> None:
    async with trio.open_nursery() as nursery:
        async with opened(tokens=None, store=FakeStore() if shared else None) as session:

            async def wait() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await session.wait_logged_in()

            nursery.start_soon(wait)
            await trio.sleep(3)


async def test_p11_a_login_made_elsewhere_is_found_by_a_session_without_one() -> None:
    """FAULTS 31: a daemon that is logged out, and `login` in another terminal."""
    store, grant = MemoryStore(), FakeGrant()
    async with opened(grant, tokens=None, store=store) as daemon:
        with pytest.raises(LoggedOutError):
            await daemon.token()
        async with opened(tokens=None, store=store) as terminal:
            await terminal.log_in(first_tokens())
        assert daemon.state == LoggedOut("never_logged_in")
        await trio.sleep(1)
        assert await daemon.token() == "access-0"
        # And again, after it was logged out.
        await daemon.log_out()
        async with opened(tokens=None, store=store) as terminal:
            await terminal.log_in(Tokens("access-9", "refresh-9", 3600))
        await trio.sleep(1)
        await daemon.refresh()
        assert daemon.logged_in
    assert grant.presented in ([], ["refresh-9"])


async def test_p11_wait_logged_in_finds_a_login_made_elsewhere_within_a_second() -> None:
    store = MemoryStore()
    async with (
        opened(tokens=None, store=store) as daemon,
        opened(tokens=None, store=store) as terminal,
        trio.open_nursery() as nursery,
    ):

        @nursery.start_soon
        async def _log_in() -> None:
            await trio.sleep(99.5)
            await terminal.log_in(first_tokens())

        assert await daemon.wait_logged_in() == LoggedIn(1)
        assert 99.5 <= trio.current_time() <= 100.6


@attrs.define
class CountingStore(FakeStore):
    looks: list[float] = attrs.field(factory=list)

    async def load(self) -> Record | None:
        self.looks.append(trio.current_time())
        return await super().load()


async def test_p11_the_store_is_looked_into_once_a_second_however_many_ask() -> None:
    store = CountingStore(latency=0.2)
    async with opened(tokens=None, store=store) as session:
        store.looks.clear()

        async def ask(every: float) -> None:
            while True:
                with pytest.raises(LoggedOutError):
                    await session.token()
                await trio.sleep(every)

        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(ask, 0.1 + number / 100)
            nursery.start_soon(session.wait_logged_in)
            await trio.sleep(20)
            nursery.cancel_scope.cancel()
    gaps = [b - a for a, b in zip(store.looks, store.looks[1:], strict=False)]
    assert min(gaps) >= 1 - 1e-9
    assert 15 <= len(store.looks) <= 21


async def test_p11_a_store_of_the_session_s_own_is_not_looked_into() -> None:
    async with opened(tokens=None) as session:
        with pytest.raises(LoggedOutError):
            await session.token()
        assert session._flights.running == set()


@pytest.mark.parametrize("error", [StoreError("no disk"), OSError("no disk")])
async def test_p11_a_store_that_can_not_be_looked_into_leaves_it_logged_out(
    error: Exception,
) -> None:
    store = FakeStore()
    async with opened(tokens=None, store=store) as session:
        store.fail_load = error
        with pytest.raises(LoggedOutError):
            await session.token()
        store.fail_load = None
        store.record = Record(1, first_tokens(), login="l")
        await trio.sleep(1)
        assert await session.token() == "access-0"


async def test_p11_a_look_never_brings_back_a_login_that_was_ended_here() -> None:
    """The log-out comes while the store takes the login, and a look waits for its turn."""
    store = FakeStore()
    async with opened(tokens=None, store=store) as session:
        store.latency = 2
        async with trio.open_nursery() as nursery:

            async def log_in() -> None:
                with pytest.raises(LoggedOutError):
                    await session.log_in(Tokens("access-5", "refresh-5", 3600))

            async def ask() -> None:
                with pytest.raises(LoggedOutError):
                    await session.token()

            nursery.start_soon(log_in)
            await trio.sleep(3)
            nursery.start_soon(ask)
            await trio.sleep(0.5)
            await session.log_out()
        assert not session.logged_in
    assert store.tokens is None


async def test_p11_a_look_never_brings_back_a_login_whose_end_is_unsaved() -> None:
    store = FakeStore()
    async with opened(store=store) as session:
        store.fail_save = OSError("disk full")
        await session.log_out()
        await trio.sleep(2)
        with pytest.raises(LoggedOutError) as info:
            await session.token()
        assert info.value.reason == "asked"
        store.fail_save = None


async def test_p11_a_look_takes_no_more_time_than_the_store() -> None:
    """While the server is told of a log-out, a request hears that there is no login."""
    grant = RevokingGrant(revoking_takes=4.5)
    async with opened(grant, store=FakeStore()) as session, trio.open_nursery() as nursery:
        nursery.start_soon(session.log_out)
        await trio.sleep(1.5)
        with pytest.raises(LoggedOutError):
            await session.token()
        assert trio.current_time() == 1.5


async def test_at_unix_says_when_a_login_ended() -> None:
    before = time.time()
    async with opened() as session:
        await session.log_out()
        state = session.state
        assert isinstance(state, LoggedOut)
        assert state.at_unix is not None
        assert before - 1 <= state.at_unix <= time.time() + 1
        # States are equal if they say the same, whenever it was.
        assert state == LoggedOut("asked")
        for ask in (session.token, session.refresh):
            with pytest.raises(LoggedOutError) as info:
                await ask()
            assert info.value.at_unix == state.at_unix
        with pytest.raises(LoggedOutError) as info:
            session.token_nowait()
        assert info.value.at_unix == state.at_unix
        assert await session.wait_logged_out() is state
    async with opened(tokens=None) as session:
        with pytest.raises(LoggedOutError) as info:
            await session.token()
        assert info.value.at_unix is None


# --- P13: a login's own --------------------------------------------------------------
