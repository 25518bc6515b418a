"""What a session writes into the log without being asked, and what events say in words."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

import attrs
import httpx
import pytest
import trio
import trio.testing

from trioauth import (
    GrantRefusedError,
    LoggedOutError,
    RefreshPolicy,
    RefreshUnavailableError,
    StoreError,
    events,
)
from trioauth.watch._log import Log

from .both import FakeApi
from .fakes import FakeGrant, FakeStore, first_tokens
from .sessions import down, log_in_unkept, only, opened

if TYPE_CHECKING:
    from trioauth import Record, TokenEndpoint, Tokens

pytestmark = pytest.mark.usefixtures("autojump_clock")


LOGGER = "trioauth.events"

LINES: list[tuple[events.Event, str, int]] = [
    (
        events.RefreshStarted(time=0, flight=3, cause="rejected", generation=7),
        "refresh 3 started, because a server refused the token",
        logging.DEBUG,
    ),
    (
        events.RefreshLanded(time=0, flight=3, generation=8, adopted=False, took=0.15234),
        "refresh 3 landed after 0.152 s: generation 8; no task waited",
        logging.INFO,
    ),
    (
        events.RefreshLanded(time=0, flight=3, generation=8, adopted=True, took=2, waited=2),
        "refresh 3 landed after 2 s: generation 8, found in the store; 2 tasks waited",
        logging.INFO,
    ),
    (
        events.RefreshFailed(time=0, flight=3, error="OSError", retry_at=0, took=1, waited=1),
        "refresh 3 failed after 1 s: OSError; 1 task waited",
        logging.WARNING,
    ),
    (
        events.RefreshFailed(
            time=2,
            flight=3,
            error="OSError",
            retry_at=7,
            took=1,
            waited=1000,
            tasks=("sync 1", "sync 2"),
            words="OSError: no route to host",
        ),
        (
            "refresh 3 failed after 1 s: OSError: no route to host; "
            "1000 tasks waited: sync 1, sync 2 and 998 more; not tried again for 5 s"
        ),
        logging.WARNING,
    ),
    (
        events.WaitStarted(time=0, flight=3, task="sync\n1"),
        "sync 1 waits for refresh 3",
        logging.DEBUG,
    ),
    (
        events.WaitEnded(time=0, flight=3, task="sync 1", cancelled=False),
        "sync 1 has waited for refresh 3",
        logging.DEBUG,
    ),
    (
        events.WaitEnded(time=0, flight=3, task="sync 1", cancelled=True),
        "sync 1 was cancelled while it waited for refresh 3, which goes on",
        logging.DEBUG,
    ),
    (
        events.RequestResent(time=0, task="sync 1", refused=7, generation=8),
        "sync 1 sends a request again, with generation 8: generation 7 was refused",
        logging.DEBUG,
    ),
    (events.LoggedIn(time=0, generation=8), "logged in: generation 8", logging.INFO),
    (
        events.LoggedOut(time=0, reason="asked"),
        "logged out: the session was logged out",
        logging.INFO,
    ),
    (
        events.LoggedOut(time=0, reason="replaced"),
        "logged out: a new login has taken the place of the one this began with",
        logging.INFO,
    ),
    (
        events.LoggedOut(time=0, reason="refused", words="GrantRefusedError: invalid_grant"),
        (
            "logged out: the authorization server refused to renew the login "
            "(GrantRefusedError: invalid_grant)"
        ),
        logging.WARNING,
    ),
    (
        events.LoggedOut(time=0, reason="elsewhere"),
        "logged out: the login was ended by another process that shares the token store",
        logging.WARNING,
    ),
    (events.Saved(time=0, generation=8), "saved as generation 8", logging.DEBUG),
    (
        events.NotSaved(time=0, generation=8, error="StoreError"),
        "generation 8 could not be saved: StoreError; it is kept in memory, and saved again later",
        logging.ERROR,
    ),
    (
        events.Revoked(time=0),
        "revoked: the authorization server knows that the login is over",
        logging.INFO,
    ),
    (
        events.NotRevoked(time=0, error="OSError", words="OSError: no route to host"),
        (
            "not revoked: the authorization server could not be told that the login is over "
            "(OSError: no route to host)"
        ),
        logging.WARNING,
    ),
]


@pytest.mark.parametrize(("event", "line", "level"), LINES)
def test_each_event_is_one_line_at_a_level_that_fits(
    event: events.Event, line: str, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    assert str(event) == line
    Log()(event)
    [record] = caplog.records
    assert (record.name, record.levelno, record.getMessage()) == (LOGGER, level, line)
    caplog.clear()
    with caplog.at_level(level + 1, LOGGER):
        Log()(event)
    assert caplog.records == []


def test_every_kind_of_event_has_a_line() -> None:
    kinds = {getattr(events, name) for name in events.__all__}
    kinds = {kind for kind in kinds if isinstance(kind, type) and attrs.has(kind)}
    assert {type(event) for event, _, _ in LINES} == kinds


def test_what_is_there_for_a_person_does_not_count_when_events_are_compared() -> None:
    one = events.RefreshFailed(time=0, flight=1, error="OSError", retry_at=5)
    other = attrs.evolve(one, took=1, waited=2, tasks=("a", "b"), words="OSError: no")
    assert one == other
    assert attrs.evolve(one, error="StoreError") != other


async def test_failures_and_the_end_of_a_login_are_in_the_log_unasked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "trioauth")
    store = FakeStore()
    grant = FakeGrant(0, script=[down(), GrantRefusedError("invalid_grant", "gone")])
    policy = RefreshPolicy(attempts=1, cooldown=0.5)
    async with opened(grant, store=store, policy=policy) as session:
        await session.token()
        store.fail_save = StoreError("the disk is full")
        session.reject(1)
        for _ in range(2):
            with pytest.raises(Exception, match=r"down|refused"):
                await session.token()
            await trio.sleep(1)
    lines = [(record.levelname, record.getMessage()) for record in caplog.records]
    task = trio.lowlevel.current_task().name
    assert lines[:3] == [
        (
            "WARNING",
            (
                "refresh 1 failed after 0 s: RefreshUnavailableError: down; "
                f"1 task waited: {task}; not tried again for 0.5 s"
            ),
        ),
        (
            "ERROR",
            (
                "generation 2 could not be saved: StoreError: the disk is full; "
                "it is kept in memory, and saved again later"
            ),
        ),
        # That refresh 2 failed, too, is a line below: the end of the login says why.
        (
            "WARNING",
            (
                "logged out: the authorization server refused to renew the login "
                "(GrantRefusedError: invalid_grant: gone)"
            ),
        ),
    ]


async def test_what_goes_as_it_should_is_not_in_the_log_unasked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "trioauth")
    transport = httpx.MockTransport(FakeApi(refused={"access-0"}))
    async with opened(transport=transport) as session:
        await session.get("/")
        await session.log_out()
    assert caplog.records == []


async def test_a_log_at_level_debug_says_which_tasks_wait(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "trioauth")
    async with opened(tokens=first_tokens(0)) as session:
        await session.token()
    task = trio.lowlevel.current_task().name
    lines = {record.getMessage() for record in caplog.records}
    assert {f"{task} waits for refresh 1", f"{task} has waited for refresh 1"} <= lines


async def test_no_event_is_made_for_a_wait_without_an_observer_or_a_debug_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "trioauth")
    monkeypatch.setattr(events, "WaitStarted", None)
    async with opened(tokens=first_tokens(0)) as session:
        assert await session.token() == "access-1"


async def test_a_handler_that_raises_does_not_end_the_session() -> None:
    class Broken(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            raise OSError("the disk of the log is full")

    handler = Broken()
    logging.getLogger("trioauth").addHandler(handler)
    told: list[events.Event] = []
    try:
        async with opened(tokens=first_tokens(0), observers=[told.append]) as session:
            assert await session.token() == "access-1"
    finally:
        logging.getLogger("trioauth").removeHandler(handler)
    assert len(only(events.RefreshLanded, told)) == 1


async def test_print_is_an_observer(capsys: pytest.CaptureFixture[str]) -> None:
    async with opened(observers=[print]) as session:
        await session.refresh()
    assert "\nrefresh 1 landed after 1 s: generation 2; 1 task waited: " in capsys.readouterr().out


async def test_the_log_shows_no_secret_that_an_exception_quotes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "trioauth")
    store = FakeStore()
    policy = RefreshPolicy(attempts=1)
    async with opened(FakeGrant(script=[KeyError("hunter2")]), store=store, policy=policy) as s:
        store.fail_save = ValueError("hunter2")
        with pytest.raises(Exception, match="no new token"):
            await s.refresh()
        await s.log_out()
        store.fail_lock = TypeError("hunter2")
        await log_in_unkept(s, first_tokens())
    # Where they came from instead, past contextlib.
    assert "KeyError in FakeGrant.__call__ (fakes.py:" in caplog.text
    assert "TypeError in FakeStore.lock (fakes.py:" in caplog.text
    assert "ValueError in FakeStore.save (fakes.py:" in caplog.text
    assert "hunter2" not in caplog.text


def not_async(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
    return first_tokens()


async def takes_too_little(tokens: Tokens | None) -> Tokens:
    raise AssertionError


@pytest.mark.parametrize("grant", [not_async, takes_too_little])
async def test_a_grant_that_can_not_be_called_like_one_is_asked_about_that(
    grant: Any, caplog: pytest.LogCaptureFixture
) -> None:
    question = "TypeError (is it async, and are its parameters right?)"
    async with opened(grant, policy=RefreshPolicy(attempts=1)) as session:
        with pytest.raises(RefreshUnavailableError, match=re.escape(f"now ({question}); still")):
            await session.refresh()
    assert f": {question}; 1 task waited" in caplog.text


async def test_an_error_does_not_repeat_its_own_name() -> None:
    grant = FakeGrant(script=[RefreshUnavailableError("status 503")])
    async with opened(grant, policy=RefreshPolicy(attempts=1)) as session:
        with pytest.raises(RefreshUnavailableError, match=r"now \(status 503\); still"):
            await session.refresh()


async def test_the_error_of_a_login_that_ended_by_itself_names_explain() -> None:
    async with opened(FakeGrant(script=[GrantRefusedError("invalid_grant")])) as session:
        with pytest.raises(LoggedOutError, match=r"log in again \(session.explain\(\) says"):
            await session.refresh()
    async with opened() as session:
        await session.log_out()
        with pytest.raises(LoggedOutError, match="log in again$"):
            await session.refresh()


async def test_a_refresh_that_leaving_cuts_short_names_the_grace_it_had(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with opened(FakeGrant(latency=10), policy=RefreshPolicy(close_grace=3)) as session:
        with trio.move_on_after(1):
            await session.refresh()
    words = "no end within 3 seconds of leaving the session, RefreshPolicy.close_grace"
    assert words in caplog.text


async def test_before_the_first_login_and_after_the_next_the_error_names_another_remedy() -> None:
    async with opened(tokens=None) as session:
        with pytest.raises(LoggedOutError, match=r"nobody .*; await session\.log_in.*tokens="):
            await session.get("/")
        await session.log_in(first_tokens())
        with pytest.raises(LoggedOutError, match="a new login has taken the place.*; ask again$"):
            async with session.open_nursery():
                await session.log_in(first_tokens())
                await trio.sleep_forever()


# --- what a person has to know of what went wrong ------------------------------------------------


async def test_waiting_for_the_lock_of_another_process_is_named_as_that(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = FakeStore()
    async with opened(store=store, policy=RefreshPolicy(timeout=5)) as session:
        async with store.lock():
            with pytest.raises(RefreshUnavailableError, match="lock, which another process may ho"):
                await session.refresh()
        assert "lock, which another process may hold" in session.explain()
    assert "no end within 5 seconds, RefreshPolicy.timeout: waiting for the token" in caplog.text


async def test_a_disk_that_hangs_is_named_as_that_and_not_as_a_cancellation(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Hanging(FakeStore):
        hangs = False

        async def save(self, record: Record, *, expected: int) -> None:
            if self.hangs:
                await trio.sleep_forever()
            await super().save(record, expected=expected)

    store, told = Hanging(), list[events.Event]()
    policy = RefreshPolicy(timeout=5, close_grace=2)
    async with opened(store=store, policy=policy, observers=[told.append]) as session:
        store.latency = 1e9
        with pytest.raises(RefreshUnavailableError, match="waiting for the token store"):
            await session.refresh()
        store.latency = 0
        await trio.sleep(10)
        store.hangs = True
        await session.refresh()
        assert session.generation == 2
    words = "generation 2 could not be saved: TooSlowError: the token store did not take it in time"
    assert words in caplog.text
    assert f"{words}; the session is closed, so it is lost" in caplog.text
    assert "Cancelled" not in caplog.text
    assert [event.lost for event in only(events.NotSaved, told)][-1]


async def test_a_closing_session_does_not_speak_of_trying_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with opened(FakeGrant(script=[down()]), policy=RefreshPolicy(attempts=1)) as session:
        with trio.move_on_after(0.1):
            await session.refresh()
    [line] = [r.getMessage() for r in caplog.records if "refresh 1 failed" in r.getMessage()]
    assert "not tried again" not in line


async def test_a_refresh_that_a_log_out_elsewhere_ended_names_the_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = FakeStore()
    async with opened(store=store) as session:
        async with opened(store=store, tokens=None) as other:
            await other.log_out()
        with pytest.raises(LoggedOutError):
            await session.refresh()
    assert "refresh 1 failed after 0 s: the login was ended by another process" in caplog.text


class Rude(RefreshUnavailableError):
    """Does not call `super().__init__`."""

    def __init__(self) -> None:
        pass


async def test_p5_an_error_that_was_not_initialized_counts_as_an_answer_that_was_lost() -> None:
    grant = FakeGrant(latency=0, script=[Rude() for _ in range(9)])
    policy = RefreshPolicy(cooldown=0, backoff=0, attempts=9)
    async with opened(grant, policy=policy) as session:
        for _ in range(20):
            with pytest.raises(RefreshUnavailableError):
                await session.refresh()
            await trio.sleep(0.4)
        assert session.logged_in
        # Once, twice more, and then it is left alone for ten seconds.
        assert len(grant.presented) == 3
        await trio.sleep(2.1)
        with pytest.raises(RefreshUnavailableError):
            await session.refresh()
        assert len(grant.presented) == 4


class _Broken(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise ValueError("the log is broken, too")


async def test_an_observer_that_raises_into_a_broken_log_does_not_end_the_session() -> None:
    def observe(event: events.Event) -> None:
        raise KeyError

    logger, handler = logging.getLogger("trioauth"), _Broken()
    async with opened(observers=[observe]) as session:
        logger.addHandler(handler)
        try:
            await session.refresh()
        finally:
            logger.removeHandler(handler)
        assert session.generation == 2


class _Exits(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if record.name == "trioauth":  # not the lines of events, which come by here as well
            logging.getLogger("trioauth").removeHandler(self)
            raise SystemExit


async def test_what_a_broken_log_raises_beyond_an_exception_comes_out_of_the_session() -> None:
    told: list[events.Event] = []

    def observe(event: events.Event) -> None:
        raise KeyError

    with pytest.raises(SystemExit):
        async with opened(observers=[observe, told.append]) as session:
            logging.getLogger("trioauth").addHandler(_Exits())
            await session.refresh()
    # Only after the bookkeeping: the next observer is told of what the first one raised at.
    assert [type(event) for event in told].count(events.RefreshStarted) == 1
