"""Sessions on machines that sleep, with clocks that are set, and servers that misjudge time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio
import trio.testing

from trioauth import Record, RefreshPolicy, RefreshUnavailableError
from trioauth._core.state import Current

from .both import FakeApi
from .fakes import FakeGrant, FakeStore
from .sessions import down
from .watches import YEAR, Server, Wall, ask

if TYPE_CHECKING:
    from trioauth import Session

pytestmark = pytest.mark.usefixtures("autojump_clock")


KEEP_FRESH = pytest.mark.parametrize("keep_fresh", [False, True])


def lost() -> RefreshUnavailableError:
    """The request was sent, and no answer came."""
    return RefreshUnavailableError("lost")


# --- the machine sleeps -----------------------------------------------------------------------


@KEEP_FRESH
async def test_token_that_expired_while_the_machine_slept_is_renewed_before_it_is_used(
    keep_fresh: bool,
) -> None:
    wall, api = Wall(), FakeApi()
    policy = RefreshPolicy(keep_fresh=keep_fresh)
    async with wall.opened(policy=policy, transport=httpx.MockTransport(api)) as session:
        await session.get("/")
        wall.sleep_machine(7200)
        await session.get("/")
        await session.get("/")
        assert session.statistics().refreshes == 1
    assert api.tokens == ["access-0", "access-1", "access-1"]


@KEEP_FRESH
async def test_token_that_did_not_expire_while_the_machine_slept_is_used(keep_fresh: bool) -> None:
    wall, api = Wall(), FakeApi()
    policy = RefreshPolicy(keep_fresh=keep_fresh)
    async with wall.opened(policy=policy, transport=httpx.MockTransport(api)) as session:
        wall.sleep_machine(1800)
        await session.get("/")
        assert session.statistics().seconds_until_expiry == pytest.approx(1800, abs=1)
        await trio.sleep(1730)
        await session.get("/")
        assert session.statistics().refreshes == 0
        await trio.sleep(30)
        await session.get("/")
        assert session.statistics().refreshes == 1
    assert api.tokens[:2] == ["access-0", "access-0"]


async def test_keep_fresh_notices_within_half_a_minute_that_the_machine_slept() -> None:
    wall = Wall()
    async with wall.opened(policy=RefreshPolicy(keep_fresh=True)) as session:
        await trio.sleep(100)
        wall.sleep_machine(7200)
        await trio.sleep(32)
        # No task asked for it, and none will have to wait.
        assert session.generation == 2


async def test_keep_fresh_is_exact_while_the_machine_is_awake() -> None:
    async with Wall().opened(policy=RefreshPolicy(keep_fresh=True)) as session:
        state = session._machine.state
        assert isinstance(state, Current)
        await trio.sleep_until(state.generation.early_at - 0.01)
        assert session.statistics().refreshes == 0
        await trio.sleep(0.02)
        assert session.statistics().refreshes == 1


async def test_keep_fresh_is_not_late_if_less_than_the_shortest_nap_is_left_after_the_longest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("random.random", lambda: 0.5)
    for attempt in ("first", "second"):
        began = trio.current_time()
        async with Wall().opened(policy=RefreshPolicy(keep_fresh=True)) as session:
            state = session._machine.state
            assert isinstance(state, Current)
            early_at = state.generation.early_at
            await trio.sleep_until(early_at + 0.01)
            assert session.statistics().refreshes == 1, attempt
        # In the second, 0.3 seconds are left after the longest nap.
        monkeypatch.setattr("trioauth._core.timers._LONGEST_NAP", early_at - began - 0.3)


@pytest.mark.parametrize("attempt", range(8))
async def test_keep_fresh_and_a_request_at_the_same_moment_make_one_refresh(
    attempt: int, mock_clock: trio.testing.MockClock
) -> None:
    server = Server()
    options: Any = {"transport": server.transport, "policy": RefreshPolicy(keep_fresh=True)}
    async with Wall().opened(server, tokens=server.issue(), **options) as session:

        async def ask_when_due() -> None:
            await trio.sleep(3580)
            session.token_nowait()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_when_due)
            await trio.testing.wait_all_tasks_blocked()
            # Both wake up in one turn of trio's, which chooses the order at random.
            mock_clock.jump(3590)
            mock_clock.autojump_threshold = 0
        await trio.sleep(1)
        assert server.refreshes == 1


async def test_failure_from_before_the_machine_slept_is_forgotten_after() -> None:
    wall, grant = Wall(), FakeGrant(script=[down() for _ in range(4)])
    async with wall.opened(grant) as session:
        for _ in range(2):
            with pytest.raises(RefreshUnavailableError):
                await session.refresh()
        asked = len(grant.presented)
        assert asked == 4
        wall.sleep_machine(3600)
        await session.refresh()
        assert len(grant.presented) == asked + 1
        assert session.generation == 2


@pytest.mark.parametrize("asleep_at", [0.25, 0.6], ids=["in the air", "in the pause"])
async def test_answer_lost_before_the_machine_slept_is_not_asked_for_an_hour_later(
    asleep_at: float,
) -> None:
    wall, grant = Wall(), FakeGrant(script=[lost()])
    async with wall.opened(grant) as session:

        async def sleep_machine() -> None:
            await trio.sleep(asleep_at)
            wall.sleep_machine(3600)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(sleep_machine)
            with pytest.raises(RefreshUnavailableError, match="lost"):
                await session.refresh()
        assert grant.presented == ["refresh-0"]
        with pytest.raises(RefreshUnavailableError):
            await session.refresh()
        assert grant.presented == ["refresh-0"]
        # Later a task has to ask, or it would never be known.
        await trio.sleep(12)
        await session.refresh()
        assert grant.presented == ["refresh-0", "refresh-0"]


async def test_answer_lost_while_awake_is_asked_for_again_at_once() -> None:
    grant = FakeGrant(script=[lost()])
    async with Wall().opened(grant) as session:
        await session.refresh()
        assert grant.presented == ["refresh-0", "refresh-0"]


# --- the wall clock is set --------------------------------------------------------------------


@KEEP_FRESH
async def test_wall_clock_that_is_set_back_makes_no_token_live_longer(keep_fresh: bool) -> None:
    wall, server = Wall(), Server()
    options: Any = {"transport": server.transport, "policy": RefreshPolicy(keep_fresh=keep_fresh)}
    async with wall.opened(server, tokens=server.issue(), **options) as session:
        wall.set(-86400)
        responses = await ask(session, 70, every=60)
        assert session.statistics().retries == 0
    assert {response.status_code for response in responses} == {200}
    assert server.refreshes == 1


@KEEP_FRESH
async def test_wall_clock_that_is_set_forward_by_a_year_costs_one_refresh(keep_fresh: bool) -> None:
    wall, server = Wall(), Server()
    options: Any = {"transport": server.transport, "policy": RefreshPolicy(keep_fresh=keep_fresh)}
    async with wall.opened(server, tokens=server.issue(), **options) as session:
        await ask(session, 10, every=6)
        wall.set(YEAR)
        await ask(session, 100, every=6)
        assert server.refreshes == 1
        wall.set(-YEAR)
        await ask(session, 100, every=6)
    assert server.refreshes == 1


async def test_wall_clock_that_goes_to_and_fro_costs_one_refresh_each_time() -> None:
    wall, server = Wall(), Server()
    async with wall.opened(server, tokens=server.issue(), transport=server.transport) as session:
        for _ in range(10):
            wall.set(86400)
            await ask(session, 5, every=1)
            wall.set(-86400)
            await ask(session, 5, every=1)
    assert server.refreshes == 10


@pytest.mark.slow
@pytest.mark.parametrize("expires_at_unix", [1e9 + YEAR, 1e300])
async def test_record_from_the_future_lives_no_longer_than_its_token_was_given(
    expires_at_unix: float,
) -> None:
    server = Server()
    record = Record(5, server.issue(), login="l", expires_at_unix=expires_at_unix)
    store = FakeStore(record)
    options: Any = {"tokens": None, "store": store, "transport": server.transport}
    async with Wall().opened(server, **options) as session:
        responses = await ask(session, 3500, every=1)
        assert server.refreshes == 0
        responses += await ask(session, 200, every=1)
        assert server.refreshes == 1
        assert session.statistics().retries == 0
    assert {response.status_code for response in responses} == {200}
    # And what is saved now is right again.
    assert store.record is not None
    assert store.record.expires_at_unix is not None
    assert store.record.expires_at_unix == pytest.approx(1e9 + 2 * 3600, abs=120)


@pytest.mark.parametrize("expires_at_unix", [0.0, -1e300, 1e9 - 1])
async def test_record_from_the_past_costs_one_refresh(expires_at_unix: float) -> None:
    server = Server()
    record = Record(5, server.issue(), login="l", expires_at_unix=expires_at_unix)
    options: Any = {"tokens": None, "store": FakeStore(record), "transport": server.transport}
    async with Wall().opened(server, **options) as session:
        await ask(session, 100, every=1)
        assert session.generation == 6
    assert server.refreshes == 1


# --- the server misjudges time ----------------------------------------------------------------


@pytest.mark.slow
@KEEP_FRESH
async def test_tokens_that_die_long_before_their_time_cost_one_refresh_each(
    keep_fresh: bool,
) -> None:
    server = Server(says=3600, lives=5)
    responses: list[Any] = []
    options: Any = {"transport": server.transport, "policy": RefreshPolicy(keep_fresh=keep_fresh)}
    async with Wall().opened(server, tokens=server.issue(), **options) as session:

        async def task(number: int) -> None:
            await trio.sleep(number * 0.025)
            responses.extend(await ask(session, 120, every=0.49))

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(task, number)
    # A minute; neither a storm, nor a working session that is given up as futile.
    assert 11 <= server.refreshes <= 13
    assert {response.status_code for response in responses} == {200}
    assert all(response.extensions["trioauth"].not_resent is None for response in responses)


@pytest.mark.slow
@KEEP_FRESH
async def test_tokens_that_live_longer_than_said_are_renewed_no_faster_than_the_clock(
    keep_fresh: bool,
) -> None:
    server = Server(says=1, lives=3600)
    options: Any = {"transport": server.transport, "policy": RefreshPolicy(keep_fresh=keep_fresh)}
    async with Wall().opened(server, tokens=server.issue(), **options) as session:
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(lambda: ask(session, 550, every=0.1))
        assert session.statistics().retries == 0
    assert server.refreshes <= 60 / 0.7


# --- machines that disagree -------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("only_the_newest", [False, True])
@pytest.mark.parametrize("lifetime", [300, 3600])
@pytest.mark.parametrize("skew", [-600, 0, 600])
async def test_sessions_whose_clocks_differ_share_a_store_without_ping_pong(
    skew: float, lifetime: int, only_the_newest: bool
) -> None:
    server = Server(says=lifetime, lives=lifetime, only_the_newest=only_the_newest)
    store = FakeStore()
    responses: list[Any] = []
    options: Any = {"tokens": None, "store": store, "transport": server.transport}
    async with Wall().opened(server, **options) as here:
        await here.log_in(server.issue())
        async with Wall(1e9 + skew).opened(server, **options) as there, trio.open_nursery() as both:

            async def work(session: Session) -> None:
                responses.extend(await ask(session, 6 * lifetime // 10, every=10))

            both.start_soon(work, here)
            both.start_soon(work, there)
    # In six lifetimes from six to twice as many, for each session has its own idea of the time. If
    # they undid what the other did, it would be one for each of the hundreds of requests.
    assert 6 <= server.refreshes <= 12 < len(responses) / 10
    assert {response.status_code for response in responses} == {200}
