"""P5: a refresh token is presented once; what happens when the answer to it is lost.

This file is also what the processes run that share a store: see the end.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
import trio.testing

import trioauth
from trioauth import (
    FileStore,
    GrantMisconfiguredError,
    GrantRefusedError,
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
from trioauth._core.clock import Clock
from trioauth._core.state import generation_of

from .fakes import FakeGrant, FakeStore, ShieldedGrant, first_tokens
from .sessions import only, opened
from .watches import Wall

if TYPE_CHECKING:
    from trioauth import Session

pytestmark = pytest.mark.usefixtures("autojump_clock")


@attrs.define
class LossyGrant:
    """A grant whose answers are lost, all of them, or the first few."""

    lost: float = float("inf")
    """How many answers are lost before one comes."""
    calls: list[tuple[float, str | None]] = attrs.field(factory=list)
    """When it was called, and with which refresh token."""

    async def __call__(self, tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
        self.calls.append((trio.current_time(), tokens and tokens.refresh_token))
        await trio.sleep(0.1)
        if len(self.calls) <= self.lost:
            raise OSError("connection reset")
        return Tokens("access-1", "refresh-1", 3600)

    @property
    def times(self) -> list[float]:
        return [at for at, _ in self.calls]


def rotating(**hints: Any) -> RefreshUnavailableError:
    """An answer that is of no use, but for the new refresh token in it."""
    return RefreshUnavailableError("no usable answer", rotated="refresh-new", **hints)


def misconfigured() -> GrantMisconfiguredError:
    error = GrantMisconfiguredError("invalid_client")
    error._rotated = "refresh-new"
    return error


async def ask_for_ever(session: Session, pause: float = 1.0) -> None:
    """Want a token all the time, as a busy program does."""
    while True:
        with trio.move_on_after(pause):
            try:
                await session.token()
            except RefreshUnavailableError:
                await trio.sleep_forever()


def pauses_after_burst(times: list[float]) -> list[float]:
    """Check that three came within ten seconds, and return the pauses after them."""
    assert times[2] - times[0] <= 10
    return [later - earlier for earlier, later in zip(times[2:], times[3:], strict=False)]


@pytest.fixture(autouse=True)
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    """A wall clock that goes with trio's mock clock, for all sessions of a test."""
    wall = Wall()

    def put_on(clock: Clock) -> None:
        clock._wall, clock._running, clock._ahead = wall.now, trio.current_time, wall.ahead

    monkeypatch.setattr(Clock, "__attrs_post_init__", put_on)
    return wall


# --- the pauses --------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("sessions", [1, 4])
async def test_p05_all_who_share_a_store_leave_the_token_alone_for_pauses_that_double(
    sessions: int,
) -> None:
    store, grant = MemoryStore(), LossyGrant()
    async with trio.open_nursery() as nursery, opened(grant, store=store, tokens=first_tokens(0)):

        async def member() -> None:
            async with opened(grant, store=store, tokens=None) as session:
                await ask_for_ever(session)

        for _ in range(sessions):
            nursery.start_soon(member)
        await trio.sleep(3600)
        nursery.cancel_scope.cancel()
    pauses = pauses_after_burst(grant.times)
    expected = [10, 20, 40, 80, 160, 300, 300]
    assert len(pauses) >= len(expected)
    for pause, quiet in zip(pauses, [*expected, *[300] * 20], strict=False):
        # The sessions ask once a second; an answer takes a tenth.
        assert quiet <= pause <= quiet + 2
    assert {token for _, token in grant.calls} == {"refresh-0"}


async def test_p05_a_session_that_opens_during_a_pause_keeps_it() -> None:
    store, grant = MemoryStore(), LossyGrant()
    async with opened(grant, store=store, tokens=first_tokens(0)) as session:
        with pytest.raises(RefreshUnavailableError):
            await session.token()
    assert len(grant.calls) == 3
    ended = trio.current_time()
    async with opened(grant, store=store, tokens=None) as session:
        with pytest.raises(RefreshUnavailableError, match="left alone for a while") as info:
            await session.token()
        assert info.value.retry_at == pytest.approx(ended + 10, abs=0.1)
        assert len(grant.calls) == 3
        await trio.sleep_until(info.value.retry_at or 0)
        with pytest.raises(RefreshUnavailableError):
            await session.token()
    assert len(grant.calls) == 4


async def test_p05_a_good_answer_ends_the_pauses_for_all() -> None:
    store, grant = FakeStore(), LossyGrant(lost=4)
    async with opened(grant, store=store, tokens=first_tokens(0)) as session:
        async with opened(grant, store=store, tokens=None) as other:
            with pytest.raises(RefreshUnavailableError):
                await session.token()
            assert store.record is not None
            assert store.record.unanswered == 1
            await trio.sleep(10.1)
            with pytest.raises(RefreshUnavailableError):
                await other.token()
            assert store.record.unanswered == 2
            await trio.sleep(20.1)
            assert await session.token() == "access-1"
            await other.refresh()
            assert other.token_nowait() == "access-1"
            assert (store.record.unanswered, store.record.quiet_until_unix) == (0, None)
            # The next loss begins with the short pause again.
            grant.calls.clear()
            with pytest.raises(RefreshUnavailableError) as info:
                await other.refresh()
            assert info.value.retry_at == pytest.approx(trio.current_time() + 10, abs=0.1)


async def test_p05_a_pause_is_bounded_whatever_the_clock_of_the_other_machine_says(
    wall: Wall,
) -> None:
    """A machine whose clock is a day ahead has lost an answer: five minutes are five minutes."""
    day = wall.now() + 86400
    record = Record(
        3, first_tokens(0), login="l", expires_at_unix=1.0, unanswered=2, quiet_until_unix=day
    )
    grant = LossyGrant(lost=0)
    async with opened(grant, store=FakeStore(record), tokens=None) as session:
        with pytest.raises(RefreshUnavailableError) as info:
            await session.token()
        assert info.value.retry_at == pytest.approx(20, abs=0.1)
        await trio.sleep_until(info.value.retry_at or 0)
        assert await session.token() == "access-1"


# --- what counts as lost -----------------------------------------------------------------


async def test_p05_a_store_that_fails_after_a_lost_answer_does_not_make_it_forgotten() -> None:
    store = FakeStore()
    grant = LossyGrant()

    async def lossy(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
        store.fail_load = StoreError("no disk")
        return await grant(tokens, endpoint)

    async with opened(lossy, store=store, tokens=first_tokens(0)) as session:
        with pytest.raises(RefreshUnavailableError, match="no disk"):
            await session.token()
        store.fail_load = None
        await trio.sleep(6)
        with pytest.raises(RefreshUnavailableError):
            await session.token()
        assert len(grant.calls) == 1
        await trio.sleep(6)
        with pytest.raises(RefreshUnavailableError):
            await session.token()
        assert len(grant.calls) == 2


async def test_p05_a_session_that_is_left_in_the_pause_after_a_lost_answer_says_so_in_the_store(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(random, "random", lambda: 1.0)
    store, grant = FakeStore(), LossyGrant()
    policy = RefreshPolicy(backoff=8, close_grace=1)
    async with opened(grant, store=store, tokens=first_tokens(0), policy=policy) as session:
        with trio.move_on_after(2):
            await session.token()
    assert len(grant.calls) == 1
    assert store.record is not None
    assert store.record.unanswered == 1
    async with opened(grant, store=store, tokens=None) as session:
        with pytest.raises(RefreshUnavailableError, match="left alone"):
            await session.token()
    assert len(grant.calls) == 1


async def test_p05_a_deadline_that_comes_after_a_lost_answer_counts_it_once() -> None:
    store = FakeStore()
    grant = LossyGrant()

    async def lossy(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
        store.latency = 60
        return await grant(tokens, endpoint)

    async with opened(lossy, store=store, tokens=first_tokens(0)) as session:
        with pytest.raises(RefreshUnavailableError):
            await session.token()
        store.latency = 0
        assert session._machine.login is not None
        assert session._machine.login.loss.flights == 1
        await trio.sleep(8)
        assert store.record is not None
        assert store.record.unanswered == 1


async def test_p05_a_loss_that_the_store_can_not_take_is_known_here_and_noted_later() -> None:
    told: list[events.Event] = []
    store, grant = FakeStore(), LossyGrant()
    async with opened(
        grant, store=store, tokens=first_tokens(0), observers=[told.append]
    ) as session:
        store.fail_save = OSError("disk full")
        with pytest.raises(RefreshUnavailableError):
            await session.token()
        assert len(only(events.NotSaved, told)) == 1
        assert not session.statistics().saved
        store.fail_save = None
        await trio.sleep(9)
        with pytest.raises(RefreshUnavailableError):
            await session.token()
        assert len(grant.calls) == 3
        # It has been saved again by now.
        assert store.record is not None
        assert store.record.unanswered == 1


async def test_p05_of_what_two_sessions_know_of_a_loss_the_longer_pause_counts() -> None:
    """One could not note its losses in the store; the other has noted one there."""
    store, grant = FakeStore(), LossyGrant()
    async with opened(grant, store=store, tokens=first_tokens(0)) as first:
        async with opened(grant, store=store, tokens=None) as second:
            store.fail_save = OSError("disk full")
            for pause in (10, 20):
                with pytest.raises(RefreshUnavailableError):
                    await first.token()
                await trio.sleep(pause)
            with pytest.raises(RefreshUnavailableError):
                await first.token()  # 40 seconds from here
            store.fail_save = None
            with pytest.raises(RefreshUnavailableError):
                await second.token()
            presented = len(grant.calls)
            await trio.sleep(15)
            with pytest.raises(RefreshUnavailableError):
                await first.token()
            assert len(grant.calls) == presented


async def test_p05_a_grant_that_needs_no_refresh_token_has_none_to_lose() -> None:
    store, grant = FakeStore(), LossyGrant()
    async with opened(grant, store=store, tokens=Tokens("access-0", None, 0)) as session:
        with pytest.raises(RefreshUnavailableError) as info:
            await session.token()
        assert info.value.retry_at == pytest.approx(trio.current_time() + 5, abs=0.1)
    assert len(grant.calls) == 4
    assert store.record is not None
    assert store.record.unanswered == 0


async def test_p05_a_loss_is_noted_only_where_others_have_a_record_of_the_token() -> None:
    """A user has removed the file: a token in doubt does not bring it back."""
    store, grant = FakeStore(), LossyGrant()
    async with opened(grant, store=store, tokens=first_tokens(0)) as session:
        store.record = None
        with pytest.raises(RefreshUnavailableError):
            await session.token()
        assert store.record is None
        login = session._machine.login
        assert login is not None
        assert login.loss.flights == 1


async def test_p05_a_loss_does_not_take_the_place_of_a_new_login_that_waits_to_be_saved() -> None:
    store = FakeStore()
    async with opened(store=store) as session:
        before, records = store.record, session._flights.renewal.records
        base = generation_of(session._machine.state)
        assert base is not None
        pending = records.vault.pending = Record(7, first_tokens(), login="new")
        await records.mark_loss(base)
        assert records.vault.pending is pending
        assert store.record is before
        # Nor is anything noted about a login that is over.
        records.vault.pending = None
        base.login.end(LoggedOut("asked"))
        await records.mark_loss(base)
        assert store.record is before


@pytest.mark.parametrize("fails", [False, True])
async def test_p07_what_comes_after_the_deadline_is_saved_all_the_same(fails: bool) -> None:
    store, grant = FakeStore(), ShieldedGrant(latency=60, script=[rotating()] if fails else [])
    policy = RefreshPolicy(timeout=5)
    async with opened(grant, store=store, tokens=first_tokens(0), policy=policy) as session:
        with pytest.raises(RefreshUnavailableError):
            await session.token()
        assert trio.current_time() == 5
        await trio.sleep(100)
        assert store.tokens is not None
        latest = "refresh-new" if fails else "refresh-1"
        assert store.tokens.refresh_token == latest
        if not fails:
            assert await session.token() == "access-1"
    assert grant.presented == ["refresh-0"]


async def test_p07_a_log_out_ends_what_comes_after_the_deadline() -> None:
    store, grant = FakeStore(), ShieldedGrant(latency=60)
    policy = RefreshPolicy(timeout=5)
    async with opened(grant, store=store, tokens=first_tokens(0), policy=policy) as session:
        with pytest.raises(RefreshUnavailableError):
            await session.token()
        with trio.move_on_after(0.1):
            await session.log_out()
        await trio.sleep(100)
        assert not session.logged_in
        assert store.tokens is None


async def test_p07_a_rotated_refresh_token_of_a_token_without_an_end_is_kept() -> None:
    store = FakeStore()
    grant = FakeGrant(script=[rotating()])
    async with opened(grant, store=store, tokens=first_tokens(None)) as session:
        session.reject(1)
        assert await session.token() == "access-1"
    assert grant.presented == ["refresh-0", "refresh-new"]


# --- answers of no other use (FAULTS 42) -------------------------------------------------


@pytest.mark.parametrize("attempts", [1, 2])
@pytest.mark.parametrize("make", [rotating, lambda: rotating(safe_to_repeat=True), misconfigured])
async def test_p07_a_refresh_token_in_an_answer_of_no_other_use_is_saved_before_anything_fails(
    make: Any, attempts: int
) -> None:
    store = FakeStore()
    presented: list[str | None] = []
    kept: list[str | None] = []

    async def grant(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
        presented.append(tokens and tokens.refresh_token)
        assert store.record is not None
        kept.append(store.tokens and store.tokens.refresh_token)
        if len(presented) == 1:
            raise make()
        return Tokens("access-1", "refresh-1", 3600)

    policy = RefreshPolicy(attempts=attempts)
    async with opened(grant, store=store, tokens=first_tokens(0), policy=policy) as session:
        try:
            await session.token()
        except (RefreshUnavailableError, GrantMisconfiguredError):
            assert store.tokens is not None
            assert store.tokens.refresh_token == "refresh-new"
            # It was never presented: there is no answer to it that could be lost.
            assert store.record is not None
            assert store.record.unanswered == 0
            await trio.sleep(5)
            assert await session.token() == "access-1"
    assert presented == kept == ["refresh-0", "refresh-new"]


async def test_p05_a_server_that_rotates_without_end_is_asked_as_often_as_the_policy_says() -> None:
    presented: list[str | None] = []

    async def grant(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
        presented.append(tokens and tokens.refresh_token)
        raise RefreshUnavailableError("no", rotated=f"refresh-{len(presented)}")

    async with opened(grant, store=FakeStore(), tokens=first_tokens(0)) as session:
        with pytest.raises(RefreshUnavailableError):
            await session.token()
        assert presented == ["refresh-0", "refresh-1", "refresh-2", "refresh-3"]


async def test_p07_a_rotated_refresh_token_that_can_not_be_saved_is_kept_and_saved_later() -> None:
    store = FakeStore()

    async def grant(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
        raise rotating()

    policy = RefreshPolicy(attempts=1)
    async with opened(grant, store=store, tokens=first_tokens(0), policy=policy) as session:
        store.fail_save = OSError("disk full")
        with pytest.raises(RefreshUnavailableError):
            await session.token()
        assert not session.statistics().saved
        store.fail_save = None
        await trio.sleep(6)
        assert session.statistics().saved
    assert store.tokens is not None
    assert store.tokens.refresh_token == "refresh-new"


@pytest.mark.parametrize("brings", ["tokens", "a refresh token"])
@pytest.mark.parametrize(
    ("answers_at", "saving_takes", "left_at", "kept"),
    [
        # The grace ends at 3.5. What came less than a second ago is saved once more.
        (3.2, 0.6, 4.1, True),
        # That second is over before it is saved.
        (3.2, 0.9, 4.2, False),
        # What came earlier had its time.
        (2.0, 5.0, 3.5, False),
    ],
)
async def test_p07_what_came_just_before_a_flight_is_cancelled_is_saved_within_a_second(
    brings: str, answers_at: float, saving_takes: float, left_at: float, kept: bool
) -> None:
    store = FakeStore()

    async def grant(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
        await trio.sleep_until(answers_at)
        store.latency = saving_takes
        if brings == "tokens":
            return Tokens("access-1", "refresh-new", 3600)
        raise rotating()

    policy = RefreshPolicy(close_grace=3)
    async with opened(grant, store=store, tokens=first_tokens(0), policy=policy) as session:
        with trio.move_on_after(0.5):
            await session.token()
    assert trio.current_time() == pytest.approx(left_at)
    assert store.tokens is not None
    assert store.tokens.refresh_token == ("refresh-new" if kept else "refresh-0")


# --- refused after an answer was lost (FAULTS 44) ----------------------------------------


@pytest.mark.parametrize("when", ["the same flight", "a later flight", "another session"])
async def test_p05_a_refusal_after_a_lost_answer_says_that_an_answer_was_lost(
    when: str, caplog: pytest.LogCaptureFixture
) -> None:
    store, lost = FakeStore(), 1 if when == "the same flight" else 3
    refusal = GrantRefusedError("invalid_grant", "the refresh token is not known")
    grant = FakeGrant(script=[OSError("reset")] * lost + [refusal])
    async with opened(grant, store=store, tokens=first_tokens(0)) as session:
        async with opened(grant, store=store, tokens=None) as other:
            if lost == 3:
                with pytest.raises(RefreshUnavailableError):
                    await session.token()
                await trio.sleep(11)
            asks = other if when == "another session" else session
            with pytest.raises(LoggedOutError) as info:
                await asks.token()
            cause = info.value.__cause__
            assert isinstance(cause, GrantRefusedError)
            assert cause.error == "invalid_grant"
            assert "an answer to this refresh token was lost before" in str(cause)
            assert "the refresh token is not known" in str(cause)
            assert cause.__cause__ is refusal
            assert "an answer to this refresh token was lost" in caplog.text
            assert "an answer to this refresh token was lost" in " ".join(asks.explain().split())


async def test_p05_a_refusal_without_a_description_says_it_too() -> None:
    grant = FakeGrant(script=[OSError("reset"), GrantRefusedError("invalid_grant")])
    async with opened(grant, tokens=first_tokens(0)) as session:
        with pytest.raises(LoggedOutError) as info:
            await session.token()
        assert str(info.value.__cause__) == (
            "invalid_grant: an answer to this refresh token was lost before it was refused"
        )


async def test_p05_a_refusal_with_no_answer_lost_does_not_say_so() -> None:
    refusal = GrantRefusedError("invalid_grant")
    # What certainly was not used is not lost, and an answer with a new token is an answer.
    safe = RefreshUnavailableError("busy", safe_to_repeat=True)
    grant = FakeGrant(script=[safe, rotating(), refusal])
    async with opened(grant, tokens=first_tokens(0)) as session:
        with pytest.raises(LoggedOutError) as info:
            await session.token()
        assert info.value.__cause__ is refusal
    assert grant.presented == ["refresh-0", "refresh-0", "refresh-new"]


# --- what it costs where nothing is lost -------------------------------------------------


@pytest.mark.trio(run=trio.run)  # in real time: the store works in threads
async def test_p05_nothing_more_is_written_where_no_answer_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync, synced = os.fsync, list[int]()

    def count(fd: int) -> None:
        synced.append(fd)
        fsync(fd)

    monkeypatch.setattr(os, "fsync", count)
    told: list[events.Event] = []
    store = FileStore(tmp_path / "tokens.json")
    async with opened(FakeGrant(latency=0), store=store, observers=[told.append]) as session:
        for _ in range(3):
            await session.refresh()
        assert len(only(events.Saved, told)) == 1 + 3
        record = await store.load()
        assert record is not None
        assert (record.unanswered, record.quiet_until_unix) == (0, None)
        # As many as one save takes by itself.
        synced.clear()
        async with store.lock():
            next_one = attrs.evolve(record, generation=record.generation + 1)
            await store.save(next_one, expected=record.generation)
        one_save = len(synced)
        synced.clear()
        await session.refresh()
    assert len(synced) == one_save


# --- processes ---------------------------------------------------------------------------

# In real time, so all pauses are a twentieth of what they are.
SCALE = 0.05
PROCESSES = 4


@pytest.mark.slow
@pytest.mark.trio(run=trio.run)
async def test_p05_processes_that_share_a_file_keep_the_pauses_together(tmp_path: Path) -> None:
    store, log = tmp_path / "tokens.json", tmp_path / "presented"
    async with opened(store=FileStore(store), tokens=first_tokens(0)):
        pass
    environment = os.environ | {"PYTHONPATH": str(Path(trioauth.__file__).parents[1])}
    command = [sys.executable, "-m", "tests.test_lost_answers", str(store), str(log)]
    run = partial(trio.run_process, command, env=environment, cwd=Path(__file__).parents[1])
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for _ in range(PROCESSES):
                nursery.start_soon(run)
    times = sorted(float(line) for line in log.read_text().split())
    assert times[2] - times[0] <= 10 * SCALE
    pauses = [later - earlier for earlier, later in zip(times[2:], times[3:], strict=False)]
    assert len(pauses) >= 3
    for pause, least in zip(pauses, [10, 20, 40, 80, 160], strict=False):
        assert pause >= least * SCALE


async def present_for_ever(store: str, log: str) -> None:
    """Be one of the processes: want a token all the time, and write down each presentation."""

    async def grant(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
        with Path(log).open("a") as file:
            file.write(f"{time.time()}\n")
        raise OSError("connection reset")

    policy = RefreshPolicy(backoff=0.05, cooldown=0.01)
    logging.getLogger("trioauth").setLevel(logging.CRITICAL)
    with trio.move_on_after((10 + 20 + 40 + 20) * SCALE):
        async with opened(grant, store=FileStore(store), tokens=None, policy=policy) as session:
            while True:
                with contextlib.suppress(RefreshUnavailableError):
                    await session.token()
                await trio.sleep(0.01)


if __name__ == "__main__":
    from trioauth._core import retry as _retry

    _retry.FIRST_QUIET *= SCALE
    _retry.REPEAT_WITHIN *= SCALE
    trio.run(present_for_ever, sys.argv[1], sys.argv[2])
