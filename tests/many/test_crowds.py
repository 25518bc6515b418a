"""Many keys at once: turns at the authorization server, jitter, what grows with their number."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.fakes import FakeStore
from trioauth import LoggedOutError, RefreshPolicy, RefreshUnavailableError, Tokens
from trioauth._core.key import Key
from trioauth._core.queue import ServerQueue

from .world import KeyedFakeStore, KeyedGrant, access_token, many, record_of, tokens_of

if TYPE_CHECKING:
    from trioauth import Sessions
    from trioauth.events import Event

pytestmark = pytest.mark.usefixtures("autojump_clock")


def keys_of(count: int) -> list[str]:
    return [f"user{n}" for n in range(count)]


async def ask(sessions: Sessions, key: str, took: list[float] | None = None) -> None:
    began = trio.current_time()
    async with sessions.use(key) as session:
        await session.refresh()
    if took is not None:
        took.append(trio.current_time() - began)


async def test_no_more_than_max_asking_keys_are_at_the_server_at_once() -> None:
    grant = KeyedGrant(latency=1)
    keys = keys_of(30)
    async with many(grant, store=KeyedFakeStore.with_logins(*keys), max_asking=7) as sessions:
        async with trio.open_nursery() as nursery:
            for key in keys:
                nursery.start_soon(ask, sessions, key)
            await wait_all_tasks_blocked()
            assert (sessions.statistics().asking, sessions.statistics().queued) == (7, 23)
        assert (grant.most_in_flight, sessions.statistics().asked) == (7, 30)
        assert trio.current_time() == 5
        assert (sessions.statistics().asking, sessions.statistics().queued) == (0, 0)


async def test_keys_get_their_turns_in_the_order_in_which_they_came_so_that_none_starves() -> None:
    grant = KeyedGrant(latency=1)
    keys = keys_of(4)
    store = KeyedFakeStore.with_logins("greedy", *keys)

    async def ask_again_and_again() -> None:
        for _ in range(20):
            await ask(sessions, "greedy")

    async with many(grant, store=store, max_asking=1) as sessions, trio.open_nursery() as nursery:
        nursery.start_soon(ask_again_and_again)
        await wait_all_tasks_blocked()
        for key in keys:
            nursery.start_soon(ask, sessions, key)
            await wait_all_tasks_blocked()
        await trio.sleep(6.5)
        nursery.cancel_scope.cancel()
    served = [token.split("-")[1] for token in grant.presented]
    assert served[:6] == ["greedy", *keys, "greedy"]


@pytest.mark.slow
async def test_a_thousand_keys_that_expire_at_once_cost_a_refresh_each_and_wait_for_none() -> None:
    keys = keys_of(1000)
    store = KeyedFakeStore({key: FakeStore(record_of(key)) for key in keys})
    grant, took = KeyedGrant(latency=0.1), list[float]()

    async def arrive(number: int) -> None:
        await trio.sleep(number / 1000)
        await ask(sessions, keys[number], took)

    async with many(grant, store=store, max_asking=100) as sessions:
        async with trio.open_nursery() as nursery:
            for number in range(1000):
                nursery.start_soon(arrive, number)
    assert len(grant.presented) == len(set(grant.presented)) == 1000
    assert max(took) < 1.2 * 0.1


# Its turn comes before the log-out cancels it (after close_grace, five seconds), or would after.
@pytest.mark.parametrize("latency", [3, 10])
async def test_a_login_that_ends_while_it_queues_is_not_presented(latency: float) -> None:
    grant = KeyedGrant(latency=latency)
    async with many(grant, max_asking=1) as sessions, trio.open_nursery() as nursery:
        nursery.start_soon(ask, sessions, "ann")
        await wait_all_tasks_blocked()
        nursery.start_soon(_refresh_in_vain, sessions, "bob")
        await wait_all_tasks_blocked()
        await sessions.log_out("bob", revoke=False)
    assert grant.presented == ["refresh-ann-1"]


async def _refresh_in_vain(sessions: Sessions, key: str) -> None:
    with pytest.raises(LoggedOutError):
        await ask(sessions, key)


async def test_p05_a_refresh_that_has_no_time_left_after_its_turn_came_spends_no_token() -> None:
    grant = KeyedGrant(latency=9)
    policy = RefreshPolicy(timeout=10, cooldown=0)
    async with many(grant, max_asking=1, policy=policy) as sessions:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, sessions, "ann")
            await wait_all_tasks_blocked()
            with pytest.raises(RefreshUnavailableError, match="no time to ask"):
                await ask(sessions, "bob")
            assert trio.current_time() == 9
        assert grant.presented == ["refresh-ann-1"]
        await ask(sessions, "bob")
    assert grant.presented == ["refresh-ann-1", "refresh-bob-1"]


async def test_p05_a_refresh_that_is_cancelled_in_the_queue_loses_no_answer() -> None:
    grant = KeyedGrant(latency=1000)
    store = KeyedFakeStore.with_logins("ann", "bob")
    policy = RefreshPolicy(timeout=10, cooldown=0)
    async with many(grant, store=store, max_asking=1, policy=policy) as sessions:
        async with trio.open_nursery() as nursery:
            for key in "ann", "bob":
                nursery.start_soon(_fail, sessions, key)
                await wait_all_tasks_blocked()
    # Ann's refresh token was sent, Bob's was not.
    ann, bob = store.of("ann").record, store.of("bob").record
    assert ann is not None
    assert bob is not None
    assert (ann.unanswered, bob.unanswered) == (1, 0)


async def _fail(sessions: Sessions, key: str) -> None:
    with pytest.raises(RefreshUnavailableError):
        await ask(sessions, key)


async def test_while_one_key_pauses_before_it_asks_again_others_have_their_turns() -> None:
    down = RefreshUnavailableError("down", safe_to_repeat=True)
    down.retry_after = 5
    grant = KeyedGrant(latency=1, script=[down])
    took: list[float] = []
    async with many(grant, max_asking=1) as sessions, trio.open_nursery() as nursery:
        nursery.start_soon(ask, sessions, "ann")
        await wait_all_tasks_blocked()
        nursery.start_soon(ask, sessions, "bob", took)
    assert took == [2]


async def test_first_tokens_and_revocations_take_turns_too() -> None:
    class Unattended(KeyedGrant):
        unattended = True

        async def __call__(self, tokens: Tokens | None, endpoint: Any) -> Tokens:
            return await super().__call__(tokens or tokens_of("bot"), endpoint)

    grant = Unattended(latency=1)
    async with many(grant, store=None, max_asking=1) as sessions:
        async with trio.open_nursery() as nursery:
            for key in keys_of(3):
                nursery.start_soon(sessions.log_in, key)
        assert (trio.current_time(), grant.most_in_flight) == (3, 1)
        await sessions.log_out("user0")
        assert sessions.statistics().asked == 4
    assert grant.revoked == ["refresh-bot-1"]


async def test_a_queue_that_is_left_by_a_cancelled_task_goes_on() -> None:
    queue = ServerQueue(1)
    async with queue:
        with trio.move_on_after(1):
            async with queue:
                pytest.fail("there is one turn")
        assert (queue.asking, queue.queued) == (1, 0)
    async with queue:
        assert queue.asking == 1
    assert queue.asked == 2


# --- jitter ---------------------------------------------------------------------------------


def test_the_jitter_of_a_key_and_a_generation_is_always_the_same_share() -> None:
    assert Key("ann", "").jitter(1) == Key("ann", "other").jitter(1)
    assert Key("ann", "").jitter(1) == pytest.approx(0.10516463, abs=1)
    shares = [Key(key, "").jitter(number) for key in keys_of(200) for number in range(5)]
    assert len(set(shares)) == 1000
    assert all(0 <= share < 1 for share in shares)
    # Spread evenly: a tenth of them in each tenth.
    tenths = [sum(n / 10 <= share < (n + 1) / 10 for share in shares) for n in range(10)]
    assert all(60 < count < 140 for count in tenths)


async def test_keys_that_expire_together_are_refreshed_at_exact_and_different_times() -> None:
    grant = KeyedGrant(latency=0, lifetime=1000)
    keys, told = keys_of(5), list["Event"]()
    async with many(
        grant,
        store=KeyedFakeStore(),
        policy=RefreshPolicy(early=60, keep_fresh=True),
        observers=[told.append],
        idle=5000,
    ) as sessions:
        for key in keys:
            await sessions.log_in(key, tokens_of(key, 0, 1000))
        await trio.sleep(990)
    started = {event.key: event.time for event in told if "Started" in type(event).__name__}
    for key in keys:
        early = 60 * (1 - Key(key, "").jitter(1) / 5)
        assert started[key] == pytest.approx(1000 - early, abs=1e-3)
    assert len({round(time, 2) for time in started.values()}) == 5


# --- what grows -----------------------------------------------------------------------------


async def test_p34_a_use_asks_the_store_for_its_own_key_and_no_other() -> None:
    keys = keys_of(50)
    store = KeyedFakeStore.with_logins(*keys)
    async with many(store=store) as sessions:
        for key in keys:
            await access_token(sessions, key)
        assert store.asked == keys
        for key in keys:
            await access_token(sessions, key)
    assert store.asked == keys


async def test_p34_using_and_counting_run_as_many_lines_whatever_the_number_of_keys() -> None:
    few, many_more = [await lines_of_a_use(count) for count in (10, 1000)]
    assert few == many_more > 100


async def lines_of_a_use(count: int) -> int:
    """Count the lines of the package that run, which are the same on each machine."""
    keys, lines = keys_of(count), 0

    def trace(frame: Any, event: str, _: object) -> Any:
        nonlocal lines
        if frame.f_globals["__name__"].partition(".")[0] != "trioauth":
            return None
        lines += event == "line"
        return trace

    async with many(store=KeyedFakeStore.with_logins(*keys, "ann"), idle=50) as sessions:
        for key in keys:
            await access_token(sessions, key)
        before = sys.gettrace()
        sys.settrace(trace)
        try:
            for _ in range(2):
                await access_token(sessions, "ann")
            sessions.statistics()
        finally:
            sys.settrace(before)
        assert sessions.statistics().in_memory == count + 1
    return lines
