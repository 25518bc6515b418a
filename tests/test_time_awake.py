"""P20: passengers are landed at the deadline, whatever the grant does; it counts time awake."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import textwrap
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
import trio.testing

from trioauth import RefreshPolicy, RefreshUnavailableError, StoreError, Tokens, events
from trioauth._core.clock import wait_awake

from .fakes import FakeGrant, FakeStore, first_tokens
from .sessions import down, only, opened

if TYPE_CHECKING:
    from pathlib import Path

    from trioauth import TokenEndpoint


@attrs.define
class Shielded:
    """A grant that can't be cancelled, as one in a thread, and takes its time."""

    latency: float = 8
    unattended: bool = False
    began: list[float] = attrs.field(factory=list)
    revoked: list[Tokens] = attrs.field(factory=list)

    async def __call__(self, tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
        number = len(self.began) + 1
        self.began.append(trio.current_time())
        with trio.CancelScope(shield=True):
            await trio.sleep(self.latency)
        return Tokens(f"access-{number}", f"refresh-{number}", 3600)

    async def revoke(self, tokens: Tokens, endpoint: TokenEndpoint) -> bool:
        await trio.sleep(0.1)
        self.revoked.append(tokens)
        return True


async def test_p20_waiters_are_landed_at_the_deadline_and_what_comes_late_is_saved(
    autojump_clock: trio.testing.MockClock,
) -> None:
    grant, store = Shielded(8), FakeStore()
    policy = RefreshPolicy(timeout=1, cooldown=1)
    async with opened(grant, store=store, tokens=first_tokens(0), policy=policy) as session:
        with pytest.raises(RefreshUnavailableError, match="no end within 1 seconds"):
            await session.token()
        assert trio.current_time() == 1
        await trio.sleep(0.5)
        # The token is left alone until it is known what became of it.
        with pytest.raises(RefreshUnavailableError):
            await session.token()
        await trio.sleep(8)
        assert await session.token() == "access-1"
    assert grant.began == [0]
    assert store.tokens == Tokens("access-1", "refresh-1", 3600)


async def test_p20_the_next_flight_waits_for_the_late_one_and_is_bounded_too(
    autojump_clock: trio.testing.MockClock,
) -> None:
    grant, policy = Shielded(30), RefreshPolicy(timeout=1, cooldown=1)
    async with opened(grant, tokens=first_tokens(0), policy=policy) as session:
        with pytest.raises(RefreshUnavailableError):
            await session.token()
        await trio.sleep(12)
        began = trio.current_time()
        with pytest.raises(RefreshUnavailableError, match="waiting for its turn"):
            await session.token()
        assert trio.current_time() == began + 1
        assert session.statistics().refreshes == 2
    # Leaving waits for what can't be cancelled.
    assert trio.current_time() == 30
    assert grant.began == [0]


async def test_p20_a_late_first_token_that_a_request_asked_for_is_revoked(
    autojump_clock: trio.testing.MockClock,
) -> None:
    grant, store = Shielded(8, unattended=True), FakeStore()
    policy = RefreshPolicy(timeout=1)
    async with opened(grant, tokens=None, store=store, policy=policy) as session:
        with pytest.raises(RefreshUnavailableError):
            await session.token()
        assert trio.current_time() == 1
        await trio.sleep(10)
    assert store.record is None
    assert [tokens.access_token for tokens in grant.revoked] == ["access-1"]


# --- a process that was stopped ------------------------------------------------------------------


async def test_a_wait_ends_at_its_deadline_if_the_process_is_awake(
    autojump_clock: trio.testing.MockClock,
) -> None:
    assert not await wait_awake(trio.sleep_forever, lambda: 7.5)
    assert trio.current_time() == 7.5
    assert await wait_awake(trio.lowlevel.checkpoint, lambda: math.inf)


async def test_the_time_in_which_the_process_was_stopped_does_not_count(
    mock_clock: trio.testing.MockClock,
) -> None:
    came = trio.Event()
    ended: list[tuple[bool, float]] = []

    async def wait() -> None:
        ended.append((await wait_awake(came.wait, lambda: 5), trio.current_time()))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(100)
        await trio.testing.wait_all_tasks_blocked()
        assert ended == []
        came.set()
    assert ended == [(True, 100)]


async def test_p20_a_stop_before_a_refresh_has_taken_its_first_step_does_not_count(
    mock_clock: trio.testing.MockClock,
) -> None:
    answered = trio.Event()

    async def grant(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
        await answered.wait()
        return Tokens("access-1", "refresh-1", 3600)

    async with opened(grant, tokens=first_tokens(0)) as session:
        with pytest.raises(trio.WouldBlock):
            session.token_nowait()
        mock_clock.jump(100)
        await trio.testing.wait_all_tasks_blocked()
        answered.set()
        assert await session.token() == "access-1"


async def test_a_process_that_is_stopped_again_and_again_does_not_wait_for_ever(
    mock_clock: trio.testing.MockClock,
) -> None:
    ended: list[bool] = []

    async def wait() -> None:
        ended.append(await wait_awake(trio.sleep_forever, lambda: 5))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        for _ in range(20):
            await trio.testing.wait_all_tasks_blocked()
            mock_clock.jump(100)
    assert ended == [False]


async def test_p8_a_stop_during_close_grace_does_not_cut_off_what_is_in_the_air(
    mock_clock: trio.testing.MockClock,
) -> None:
    answered = trio.Event()

    async def grant(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
        await answered.wait()
        return Tokens("access-1", "refresh-1", 3600)

    store = FakeStore()
    async with trio.open_nursery() as nursery:

        async def session() -> None:
            async with opened(grant, store=store, policy=RefreshPolicy(close_grace=3)) as session:
                session.reject(1)
                with pytest.raises(trio.WouldBlock):
                    session.token_nowait()

        nursery.start_soon(session)
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(20)
        await trio.testing.wait_all_tasks_blocked()
        answered.set()
    assert store.tokens == Tokens("access-1", "refresh-1", 3600)


PROGRAM = """
import sys, trio, trioauth

async def main():
    port, path = int(sys.argv[1]), sys.argv[2]
    grant = trioauth.RefreshTokenGrant(f"http://127.0.0.1:{port}/token", client_id="c")
    async with trioauth.open_session(
        grant, tokens=trioauth.Tokens("a", "r", 0), store=trioauth.FileStore(path),
        base_url="http://127.0.0.1:1", policy=trioauth.RefreshPolicy(timeout=1.5, attempts=1),
    ) as session:
        print(await session.token(), flush=True)

trio.run(main)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGSTOP")
async def test_p20_an_answer_that_came_while_the_process_was_stopped_is_taken(
    tmp_path: Path,
) -> None:
    asked = trio.Event()
    answer = b'{"access_token": "a2", "refresh_token": "r2", "expires_in": 3600}'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    process: trio.Process | None = None

    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some(65536)
        assert process is not None
        os.kill(process.pid, signal.SIGSTOP)
        await stream.send_all(head % len(answer) + answer)
        await trio.sleep(2.5)
        os.kill(process.pid, signal.SIGCONT)
        asked.set()

    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        program = textwrap.dedent(PROGRAM)
        process = await trio.lowlevel.open_process(
            [sys.executable, "-c", program, str(port), str(tmp_path / "tokens.json")],
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        with trio.fail_after(60):
            said = b"".join([part async for part in process.stdout])
            await process.wait()
        nursery.cancel_scope.cancel()
    assert asked.is_set()
    assert said == b"a2\n"
    assert b'"r2"' in (tmp_path / "tokens.json").read_bytes()


# --- what goes wrong for a day -------------------------------------------------------------------

DAY = 86400.0


async def test_with_keep_fresh_a_server_that_is_down_for_a_day_is_asked_every_five_minutes(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Down(FakeGrant):
        async def __call__(self, tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
            if trio.current_time() < DAY:
                self.script = [down()]
            return await super().__call__(tokens, endpoint)

    grant, policy = Down(), RefreshPolicy(keep_fresh=True, attempts=1)
    async with opened(grant, tokens=first_tokens(60), policy=policy) as session:
        await trio.sleep(DAY)
        assert 288 <= len(grant.presented) <= 300
        assert [r.levelname for r in caplog.records].count("WARNING") == 1
        await trio.sleep(320)
        assert session.generation == 2
    assert [r.levelname for r in caplog.records].count("WARNING") == 2


async def test_a_store_that_is_broken_for_a_day_is_tried_every_five_minutes_and_told_of_once(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Counting(FakeStore):
        tries = 0

        async def save(self, record: Any, *, expected: int) -> None:
            self.tries += 1
            await super().save(record, expected=expected)

    store, told = Counting(), list[events.Event]()
    async with opened(store=store, observers=[told.append]) as session:
        store.fail_save = StoreError("the disk is full")
        await session.refresh()
        await trio.sleep(DAY)
        assert 288 <= store.tries <= 300
        loud = [r.getMessage() for r in caplog.records if r.levelname in ("WARNING", "ERROR")]
        assert len(loud) == 1
        assert loud[0].startswith("generation 2 could not be saved: StoreError: the disk is full")
        store.fail_save = None
        await trio.sleep(301)
    loud = [r.getMessage() for r in caplog.records if r.levelname in ("WARNING", "ERROR")]
    assert loud[1:] == ["saved as generation 2"]
    assert store.record is not None
    assert store.record.generation == 2
    assert only(events.NotSaved, told)
