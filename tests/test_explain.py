"""What a session says of itself to a person."""

from __future__ import annotations

import re
import time
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import attrs
import httpx
import pytest
import trio
import trio.testing

from trioauth import (
    GrantMisconfiguredError,
    GrantRefusedError,
    LoggedOutError,
    RefreshPolicy,
    RefreshTokenGrant,
    RefreshUnavailableError,
    Session,
    StoreError,
    Tokens,
    events,
)
from trioauth._core.explain import Explanation, Scene, explain
from trioauth._core.state import Vacant
from trioauth.watch._journal import Journal

from .both import FakeApi
from .fakes import FakeGrant, FakeStore, first_tokens
from .sessions import down, opened
from .watches import Wall

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.usefixtures("autojump_clock")


# When the machines of these tests start, their clock on the wall shows this.
EPOCH = 1_000_000_000.0  # 2001-09-09 01:46:40 UTC


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let this machine stand in Greenwich."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def told(session: Session) -> dict[str, str]:
    """Return the lines of an explanation by their names; those of the history as one."""
    lines: dict[str, str] = {}
    name = ""
    for line in session.explain().splitlines()[1:]:
        text = line
        if not line.startswith(" "):
            name, _, text = line.partition(":")
        lines[name] = f"{lines.get(name, '')} {text.strip()}".strip()
    return lines


async def refused(session: Session, *, tasks: int = 1) -> None:
    """Let so many tasks find out that their token was refused."""
    session.reject(session.generation)

    async def ask() -> None:
        with pytest.raises((LoggedOutError, RefreshUnavailableError)):
            await session.token()

    async with trio.open_nursery() as nursery:
        for number in range(tasks):
            nursery.start_soon(ask, name=f"sync {number}")
            await trio.testing.wait_all_tasks_blocked()


# --- the whole text ------------------------------------------------------------------------


async def test_an_explanation_after_a_night_says_why_the_login_ended() -> None:
    grant = FakeGrant(script=[GrantRefusedError("invalid_grant", "the user has left")])
    async with Wall(EPOCH).opened(grant) as session:
        await trio.sleep(600)
        await refused(session, tasks=7)
        await trio.sleep(12)
        text = session.explain()
    assert str(text) == dedent(
        """\
        trioauth, 2001-09-09 01:56:52 +0000
        Session:      logged out 12 s ago (01:56:40): the authorization server refused
                      to renew the login (GrantRefusedError: invalid_grant: the user has
                      left)
        Last refresh: number 1, 12 s ago (01:56:40), because a server refused the token;
                      failed after 0.5 s: GrantRefusedError: invalid_grant: the user has
                      left; 7 tasks waited: sync 0, sync 1, sync 2, sync 3, sync 4 and 2
                      more
        Store:        has the newest news
        Next:         nothing, until there is a log-in: await session.log_in(...)
        What happened lately:
          01:46:40  10 min ago  logged in: generation 1
          01:56:40    12 s ago  refresh 1 started, because a server refused the token
          01:56:40    12 s ago  refresh 1 failed after 0.5 s: GrantRefusedError:
                                invalid_grant: the user has left; 7 tasks waited: sync
                                0, sync 1, sync 2, sync 3, sync 4 and 2 more
          01:56:40    12 s ago  logged out: the authorization server refused to renew
                                the login (GrantRefusedError: invalid_grant: the user
                                has left)"""
    )


# --- line by line --------------------------------------------------------------------------


async def test_it_says_when_the_token_expires_and_when_the_next_refresh_is_due() -> None:
    async with Wall(EPOCH).opened() as session:
        await session.refresh()
        await trio.sleep(9)
        says = told(session)
        assert says["Session"] == "logged in 10 s ago (01:46:40), with generation 2"
        assert says["Token"] == "expires in 60 min (02:46:40)"
        assert says["Last refresh"] == (
            "number 1, 10 s ago (01:46:40), because the program asked for it; "
            "landed after 1 s with generation 2; 1 task waited: "
            + trio.lowlevel.current_task().name
        )
        # Some seconds of it are left to chance, so that many processes do not refresh at once.
        due = (
            r"a refresh is due in 59 min \(02:45:[45]\d\), started by the first request after that"
        )
        assert re.fullmatch(due, says["Next"])
        await trio.sleep(3599)
        assert told(session)["Token"] == "expired 9 s ago (02:46:40)"
        assert told(session)["Next"] == "a refresh, started by the next request that needs a token"


async def test_it_says_that_a_timer_refreshes() -> None:
    policy = RefreshPolicy(keep_fresh=True)
    async with opened(FakeGrant(latency=0), policy=policy) as session:
        assert told(session)["Next"].endswith(", by a timer")
        session.reject(1)
        assert told(session)["Next"] == "a refresh, by a timer"


async def test_it_says_that_a_token_of_unknown_life_is_used_until_it_is_refused() -> None:
    async with opened(tokens=first_tokens(None)) as session:
        assert "used until it is refused" in told(session)["Token"]
        assert told(session)["Next"].startswith("a refresh, when a server refuses the token")
        session.reject(1)
        assert told(session)["Token"] == "refused by a server, so it is not used any more"
        session._flights.take_off("rejected")
        assert told(session)["Token"] == "refused by a server, so it is not used any more"


async def test_it_says_that_nothing_can_renew_a_login_without_a_refresh_token() -> None:
    grant = RefreshTokenGrant("https://id.test/token", client_id="notes")
    async with Wall(EPOCH).opened(grant, tokens=Tokens("access-0", None, 600)) as session:
        assert told(session)["Next"] == (
            "the login ends in 10 min (01:56:40): there is no refresh token to renew it with"
        )


async def test_it_says_who_waits_for_the_refresh_in_the_air_and_until_when() -> None:
    async with Wall(EPOCH).opened(tokens=first_tokens(0)) as session:
        session._flights.take_off("clock")
        assert told(session)["Next"] == (
            "refresh 1 ends in 30 s (01:47:10) at the latest; no tasks wait for it"
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.token)
            await trio.testing.wait_all_tasks_blocked()
            assert told(session)["Next"].endswith("; 1 task waits for it")
            nursery.start_soon(session.token)
            await trio.testing.wait_all_tasks_blocked()
            assert told(session)["Next"].endswith("; 2 tasks wait for it")
            assert told(session)["Last refresh"] == (
                "number 1, just now (01:46:40), because the token was old; still in the air"
            )
        assert told(session)["Last refresh"].endswith(f"; 2 tasks waited: {', '.join(2 * [TOKEN])}")


TOKEN = "trioauth._session.Session.token"


async def test_it_says_since_when_refreshes_fail_and_when_the_next_may_be_tried() -> None:
    grant = FakeGrant(0, script=[down() for _ in range(4)])
    policy = RefreshPolicy(attempts=1, cooldown=60)
    async with Wall(EPOCH).opened(grant, policy=policy) as session:
        for _ in range(3):
            with pytest.raises(RefreshUnavailableError):
                await session.refresh()
            await trio.sleep(50)
            says = told(session)
            await trio.sleep(10)
        assert says["Last refresh"].endswith(
            "; 3 have failed in a row, since 3 min ago (01:46:40)"
        ), says
        assert says["Next"] == (
            "a refresh may be tried again in 10 s (01:49:40); "
            "until then requests go on with the token as it is"
        )
        await refused(session)
        assert told(session)["Next"].endswith(
            "until then each request that needs a token gets this failure at once"
        )
        await trio.sleep(60)
        await session.refresh()
        assert "in a row" not in told(session)["Last refresh"]


async def test_it_says_that_401s_are_handed_back_because_refreshing_was_of_no_use() -> None:
    api = FakeApi(answer=lambda request: httpx.Response(401))
    async with opened(FakeGrant(0), transport=httpx.MockTransport(api)) as session:
        assert "401s" not in told(session)
        for _ in range(3):
            await session.get("/")
        assert told(session)["401s"].startswith("handed back for a while")


async def test_it_says_what_the_store_lacks_and_since_when() -> None:
    store = FakeStore()
    policy = RefreshPolicy(close_grace=0)
    async with Wall(EPOCH).opened(FakeGrant(0), store=store, policy=policy) as session:
        assert told(session)["Store"] == "has the newest news"
        store.fail_save = StoreError("the disk is full")
        await session.refresh()
        await trio.sleep(59)
        lacks = "lacks the newest news, since 59 s ago (01:46:40): StoreError: the disk is full; "
        kept = "they are kept in memory, and saved again until that works"
        assert told(session)["Store"] == f"{lacks}{kept}"
        # What is tried every few seconds does not push out how it began.
        assert len(only_kind(session, events.NotSaved)) == 1
    assert told(session)["Store"] == f"{lacks}lost"


def only_kind(session: Session, kind: type) -> list[Any]:
    return [note for note in session._machine.journal.notes if isinstance(note.event, kind)]


async def test_it_says_that_the_store_is_being_told() -> None:
    store = FakeStore(latency=1)
    async with opened(FakeGrant(0), store=store) as session:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.refresh)
            await trio.sleep(1.5)
            assert told(session)["Store"] == "is being told the newest news"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.log_out)
            await trio.testing.wait_all_tasks_blocked()
            assert told(session)["Store"] == "is being told the newest news"


async def test_it_says_that_newer_tokens_were_found_in_the_store() -> None:
    store = FakeStore()
    async with opened(store=store) as session:
        assert store.record is not None
        store.record = attrs.evolve(store.record, generation=5, tokens=Tokens("access-5"))
        await session.refresh()
        assert (
            "with generation 5, found in the store; 1 task waited" in told(session)["Last refresh"]
        )


@pytest.mark.parametrize("state", ["vacant", "logging in", "failed"])
async def test_a_grant_that_needs_no_human_is_said_to_log_in_by_itself(state: str) -> None:
    grant = FakeGrant(unattended=True, script=[GrantMisconfiguredError("invalid_client")])
    async with opened(grant, tokens=None) as session:
        if state == "failed":
            with pytest.raises(GrantMisconfiguredError):
                await session.token()
        elif state == "logging in":
            session._flights.take_off("asked_for")
        says = told(session)
        assert says["Session"] == "not logged in yet; it logs in by itself"
        assert ("Last refresh" in says) == (state != "vacant")
        assert says["Next"].startswith(
            {
                "vacant": "a log-in, started by the next request that needs a token",
                "logging in": "refresh 1 ends in 30 s",
                "failed": "a refresh may be tried again in 5 s",
            }[state]
        )


async def test_an_explanation_before_the_first_login_says_so() -> None:
    async with opened(tokens=None) as session:
        assert told(session) == {
            "Session": "logged out: nobody has logged in yet",
            "Store": "has the newest news",
            "Next": "nothing, until there is a log-in: await session.log_in(...)",
        }


# --- at any time ---------------------------------------------------------------------------


def test_it_works_when_the_session_is_closed_and_trio_has_ended() -> None:
    async def main(*, log_out: bool) -> Session:
        async with opened() as session:
            if log_out:
                await session.log_out()
        return session

    says = told(trio.run(lambda: main(log_out=True)))
    assert says["Session"].startswith("closed; it was logged out ")
    assert says["Next"].startswith("nothing; ")
    says = told(trio.run(lambda: main(log_out=False)))
    assert says["Session"].startswith("closed; it was logged in ")
    assert "Token" not in says


async def test_the_time_that_the_machine_slept_counts() -> None:
    wall = Wall(EPOCH)
    async with wall.opened() as session:
        wall.sleep_machine(8 * 3600)
        assert told(session)["Session"].startswith("logged in 8 h ago (01:46:40)")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.001, "just now"),
        (0.25, "0.25 s ago"),
        (9.87, "9.9 s ago"),
        (119, "119 s ago"),
        (150, "2 min ago"),
        (3 * 3600, "3 h ago"),
        (50 * 3600, "2 days ago"),
        (1e10, "long ago"),
        (-3, "in 3 s"),
        (-1e300, "in many years"),
    ],
)
def test_times_have_no_more_digits_than_help(seconds: float, words: str) -> None:
    scene = scene_at(100)
    assert scene.when(100 - seconds).partition(" (")[0] == words


def test_another_day_has_its_date() -> None:
    scene = scene_at(100)
    assert scene.clock(100) == "01:46:40"
    assert scene.clock(100 - 7200) == "2001-09-08 23:46:40"


@pytest.mark.parametrize("seconds", [1e12, -1e12])
def test_a_clock_that_makes_no_sense_spoils_no_explanation(seconds: float) -> None:
    assert ":" in scene_at(0).clock(seconds)


def scene_at(now: float) -> Scene:
    return Scene(
        now=now,
        wall=EPOCH,
        state=Vacant(),
        journal=Journal(),
        saved=True,
        telling=False,
        renewable=True,
        by_timer=False,
        timeout=30,
        futile=False,
    )


def test_it_shows_itself_line_by_line_in_a_notebook() -> None:
    text = explain(scene_at(0))
    assert isinstance(text, str)
    assert repr(text) == str(text) == text
    assert len(repr(text).splitlines()) == 4
    assert type(text) is Explanation


async def test_it_costs_nothing_before_it_is_asked_for() -> None:
    transport = httpx.MockTransport(FakeApi(latency=0))
    async with opened(transport=transport) as session:
        journal = session._machine.journal
        for _ in range(10):
            await session.get("/")
        assert session._machine.journal is journal


# --- the journal ---------------------------------------------------------------------------


async def test_the_journal_forgets_what_is_old() -> None:
    async with opened(FakeGrant(0)) as session:
        for _ in range(100):
            await session.refresh()
        notes = session._machine.journal.notes
        assert len(notes) == 24
        assert notes[-1].event == events.RefreshLanded(
            time=trio.current_time(), flight=100, generation=101, adopted=False
        )
        assert told(session)["Session"] == "logged in, with generation 101"


def test_a_refresh_that_ends_when_the_next_has_begun_is_not_taken_for_it() -> None:
    journal = Journal()
    for event in (
        events.RefreshStarted(time=0, flight=1, cause="clock", generation=1),
        events.RefreshStarted(time=0, flight=2, cause="clock", generation=1),
        events.RefreshFailed(time=0, flight=1, error="TooSlowError", retry_at=0),
    ):
        journal = journal.noting(event, at=0)
    last = journal.last_refresh
    assert last is not None
    assert (last[1].flight, last[2]) == (2, None)


# --- secrets -------------------------------------------------------------------------------


async def test_it_never_shows_a_secret_that_a_grant_of_ones_own_quotes() -> None:
    grant = FakeGrant(script=[ValueError("no lifetime in {'access_token': 'hunter2'}")])
    async with opened(grant, policy=RefreshPolicy(attempts=1)) as session:
        with pytest.raises(RefreshUnavailableError):
            await session.refresh()
        text = " ".join(session.explain().split())
        assert "failed after 0.5 s: ValueError in FakeGrant.__call__ (fakes.py:" in text
        assert "hunter2" not in text


class _Speechless(Exception):
    words: str

    def __str__(self) -> str:
        return self.words  # There are none yet.


async def test_an_error_that_can_not_say_what_it_is_fails_the_refresh_and_nothing_else() -> None:
    error = _Speechless()
    policy = RefreshPolicy(attempts=1)
    async with opened(FakeGrant(script=[error]), tokens=first_tokens(0), policy=policy) as session:
        with pytest.raises(RefreshUnavailableError, match="_Speechless"):
            await session.token()
        said = session.statistics().last_failure
        assert said is not None
        assert said.startswith("_Speechless in FakeGrant.__call__ (")
    error.words = "for the canary"


def test_how_the_last_refresh_ended_is_found_behind_what_came_after_it() -> None:
    journal = Journal()
    for event in (
        events.RefreshStarted(time=0, flight=1, cause="clock", generation=1),
        events.RefreshFailed(time=0, flight=1, error="GrantRefusedError", retry_at=0),
        events.LoggedOut(time=0, reason="refused"),
    ):
        journal = journal.noting(event, at=0)
    last = journal.last_refresh
    assert last is not None
    assert last[2] == journal.notes[1].event


def test_a_journal_without_a_refresh_has_no_last_one() -> None:
    assert Journal().last_refresh is None


def test_the_same_kind_of_trouble_is_told_anew_once_the_store_was_well() -> None:
    journal = Journal()
    for at in range(3):
        trouble = events.NotSaved(time=at, generation=at, error="StoreError")
        journal = journal.noting(trouble, at=at)
    assert (journal.unsaved, journal.unsaved_since) == (trouble, 0)
    journal = journal.noting(events.Saved(time=3, generation=3), at=3).noting(trouble, at=4)
    assert journal.unsaved_since == 4
    assert [note.at for note in journal.notes] == [0, 4]
