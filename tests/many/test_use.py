"""Using sessions by key: opening, sharing, closing; what is wrong with a key or an argument."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.both import API, FakeApi, stream_transport
from tests.fakes import FakeStore
from trioauth import RefreshPolicy, Sessions, StoreError, open_sessions
from trioauth.testing import Victim, every_checkpoint

from .world import KeyedFakeStore, KeyedGrant, access_token, many, record_of, tokens_of

if TYPE_CHECKING:
    from trioauth import Session

pytestmark = pytest.mark.usefixtures("autojump_clock")


async def test_all_who_use_a_key_at_once_share_one_session_and_one_opening() -> None:
    store = KeyedFakeStore.with_logins("ann")
    store.of("ann").latency = 1
    found: list[Session] = []

    async def use() -> None:
        async with sessions.use("ann") as session:
            found.append(session)
            assert await session.token() == "access-ann-1"

    async with many(store=store) as sessions:
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(use)
            await wait_all_tasks_blocked()
            assert sessions.statistics().opening == 1
        assert len(set(found)) == 1
        assert store.asked == ["ann"]
        assert trio.current_time() == 1
        assert sessions.statistics().opened == 1


async def test_using_a_session_in_memory_waits_for_nothing() -> None:
    ran = []

    async def other() -> None:
        ran.append(True)

    async with many() as sessions, sessions.use("ann") as session, trio.open_nursery() as nursery:
        nursery.start_soon(other)
        async with sessions.use("ann") as again:
            assert again is session
        assert not ran, "no other task had its turn"


async def test_a_cancelled_task_is_told_when_it_uses_a_session_in_memory() -> None:
    async with many() as sessions, sessions.use("ann"):
        with trio.CancelScope() as scope:
            scope.cancel()
            await sessions.use("ann").__aenter__()
        assert scope.cancelled_caught
        assert sessions.statistics().idle == 0
    assert scope.cancelled_caught


async def test_p34_the_opening_of_one_key_waits_for_no_other_store() -> None:
    store = KeyedFakeStore.with_logins("ann", "bob")
    store.of("ann").latency = 20
    async with many(store=store) as sessions, trio.open_nursery() as nursery:
        nursery.start_soon(access_token, sessions, "ann")
        await wait_all_tasks_blocked()
        assert await access_token(sessions, "bob") == "access-bob-1"
        assert trio.current_time() == 0


async def test_a_failed_opening_raises_to_all_who_wait_and_leaves_nothing() -> None:
    store = KeyedFakeStore.with_logins("ann")
    store.of("ann").fail_load = StoreError("no such disk", path="/disk")
    errors: list[StoreError] = []

    async def use() -> None:
        with pytest.raises(StoreError, match="can't be opened: no such disk") as info:
            await access_token(sessions, "ann")
        errors.append(info.value)

    async with many(store=store) as sessions:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(use)
        assert len({id(error) for error in errors}) == 3
        assert {error.__cause__ for error in errors} == {store.of("ann").fail_load}
        assert {error.path for error in errors} == {"/disk"}
        statistics = sessions.statistics()
        assert (statistics.in_memory, statistics.failed, statistics.opened) == (0, 1, 0)
        store.of("ann").fail_load = None
        assert await access_token(sessions, "ann") == "access-ann-1"


async def test_what_a_store_of_the_program_raises_is_a_store_error_without_its_words() -> None:
    store = KeyedFakeStore.with_logins("ann")
    store.of("ann").fail_load = OSError("canary in a URL")
    async with many(store=store) as sessions:
        with pytest.raises(StoreError, match="can't be opened: OSError") as info:
            await access_token(sessions, "ann")
        assert "canary" not in str(info.value)


async def test_an_opening_goes_on_for_the_others_when_the_first_task_is_cancelled() -> None:
    store = KeyedFakeStore.with_logins("ann")
    store.of("ann").latency = 2
    async with many(store=store) as sessions, trio.open_nursery() as nursery:
        with trio.move_on_after(1):
            async with trio.open_nursery() as first:
                first.start_soon(access_token, sessions, "ann")
                await wait_all_tasks_blocked()
                nursery.start_soon(access_token, sessions, "ann")
        assert sessions.statistics().opening == 1
    assert trio.current_time() == 2
    assert store.asked == ["ann"]


async def test_an_opening_that_no_task_waits_for_ends_in_an_idle_session() -> None:
    store = KeyedFakeStore.with_logins("ann")
    store.of("ann").latency = 2
    async with many(store=store, idle=10) as sessions:
        with trio.move_on_after(1):
            await access_token(sessions, "ann")
        await trio.sleep(1.5)
        assert sessions.statistics().idle == 1
        await trio.sleep(10)
        assert sessions.statistics().in_memory == 0


async def test_a_task_that_cleans_up_in_a_cancelled_program_can_open_the_session_of_a_key() -> None:
    store, grant = KeyedFakeStore.with_logins("ann"), KeyedGrant()
    with trio.CancelScope() as program:
        async with many(grant, store=store) as sessions:
            program.cancel()
            with trio.CancelScope(shield=True):
                await sessions.log_out("ann")
    assert store.of("ann").tokens is None
    assert grant.revoked == ["refresh-ann-1"]


async def test_a_store_that_hangs_fails_the_opening_at_the_deadline() -> None:
    store = KeyedFakeStore.with_logins("ann")
    store.of("ann").latency = 1000
    async with many(store=store, policy=RefreshPolicy(timeout=7)) as sessions:
        with pytest.raises(StoreError, match="no answer within 7 seconds"):
            await access_token(sessions, "ann")
        assert trio.current_time() == 7


def test_a_cancelled_use_leaves_the_session_to_be_used_and_dropped() -> None:
    async def scenario(victim: Victim) -> None:
        store = KeyedFakeStore.with_logins("ann")
        store.of("ann").latency = 1
        async with many(store=store, idle=10) as sessions:
            await victim(access_token, sessions, "ann")
            assert await access_token(sessions, "ann") == "access-ann-1"
            assert sessions.statistics().idle == 1
            await trio.sleep(11)
            assert sessions.statistics().in_memory == 0

    every_checkpoint(scenario)


def test_a_cancelled_block_of_sessions_leaves_nothing_running_and_loses_nothing() -> None:
    async def scenario(victim: Victim) -> None:
        store = KeyedFakeStore.with_logins("ann", "bob")
        grant = KeyedGrant(lifetime=0)
        store.of("bob").latency = 0.5

        async def program() -> None:
            async with many(grant, store=store, idle=2) as sessions:
                async with sessions.use("ann") as session:
                    await session.refresh()
                async with sessions.use("bob") as session:
                    await session.refresh()
                await trio.sleep(5)

        await victim(program)
        for key in "ann", "bob":
            presented = [token for token in grant.presented if f"-{key}-" in token]
            assert len(set(presented)) == len(presented)
            stored = store.of(key).tokens
            assert stored is not None
            # What was presented was answered within close_grace, and the answer was saved.
            assert stored.refresh_token == f"refresh-{key}-{1 + len(presented)}"

    every_checkpoint(scenario)


async def test_a_use_after_closing_is_one_clear_error() -> None:
    async with many() as sessions:
        async with sessions.use("ann") as session:
            pass
    for use in (
        sessions.use("ann").__aenter__,
        lambda: sessions.log_in("ann", tokens_of("ann")),
        lambda: sessions.log_out("ann"),
        session.token,
    ):
        with pytest.raises(trio.ClosedResourceError, match="was left"):
            await use()
    with pytest.raises(trio.ClosedResourceError, match="was left"):
        sessions.attach(httpx.AsyncClient())
    assert "closed" in repr(sessions)
    assert sessions.statistics().opened == 1


async def test_a_task_that_waits_for_an_opening_is_told_when_the_sessions_are_closed() -> None:
    store = KeyedFakeStore.with_logins("ann")
    store.of("ann").latency = 10
    told: list[float] = []

    async def use() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await access_token(sessions, "ann")
        told.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        async with many(store=store) as sessions:
            nursery.start_soon(use)
            await trio.sleep(1)
    assert told == [1]


async def test_an_opening_that_can_not_be_cancelled_opens_nothing_after_closing() -> None:
    class Stubborn(FakeStore):
        async def load(self) -> Any:
            with trio.CancelScope(shield=True):
                return await FakeStore.load(self)

    store = KeyedFakeStore({"ann": Stubborn(record_of("ann"), latency=3)})

    async def use() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await access_token(sessions, "ann")

    async with trio.open_nursery() as nursery:
        async with many(store=store, policy=RefreshPolicy(keep_fresh=True)) as sessions:
            nursery.start_soon(use)
            await trio.sleep(1)
    assert trio.current_time() == 3
    assert sessions.statistics().opened == 0


async def test_a_block_that_outlives_the_sessions_leaves_without_an_error() -> None:
    async def outlive() -> None:
        async with sessions.use("ann") as session:
            started.set()
            await trio.sleep(5)
            with pytest.raises(trio.ClosedResourceError):
                await session.get("/")

    started = trio.Event()
    async with trio.open_nursery() as nursery:
        async with many() as sessions:
            nursery.start_soon(outlive)
            await started.wait()


async def refresh_until_closed(sessions: Sessions, key: str) -> None:
    async with sessions.use(key) as session:
        with pytest.raises(trio.ClosedResourceError):
            await session.refresh()


async def test_leaving_gives_all_keys_together_one_grace_not_one_after_the_other() -> None:
    keys = [f"user{n}" for n in range(20)]
    store = KeyedFakeStore.with_logins(*keys)
    grant = KeyedGrant(latency=4)
    async with trio.open_nursery() as nursery:
        async with many(grant, store=store) as sessions:
            for key in keys:
                # Waits beyond the end of the sessions.
                nursery.start_soon(refresh_until_closed, sessions, key)  # noqa: ASYNC111
            await wait_all_tasks_blocked()
            left = trio.current_time()
        assert trio.current_time() - left == 4
    for key in keys:
        stored = store.of(key).tokens
        assert stored is not None
        assert stored.access_token == f"access-{key}-2"


async def test_leaving_cancels_what_takes_longer_than_the_grace() -> None:
    async with trio.open_nursery() as nursery:
        async with many(KeyedGrant(latency=100), policy=RefreshPolicy(close_grace=3)) as sessions:
            for key in "ann", "bob":
                # Waits beyond the end of the sessions.
                nursery.start_soon(refresh_until_closed, sessions, key)  # noqa: ASYNC111
            await wait_all_tasks_blocked()
        assert trio.current_time() == 3


async def test_an_exception_of_the_block_comes_out_as_itself() -> None:
    error = ValueError("mine")
    with pytest.raises(ValueError, match="mine") as info:
        async with many() as sessions, sessions.use("ann"):
            raise error
    assert info.value is error


@pytest.mark.parametrize(
    ("key", "says"),
    [("", "1 to 1,024"), ("x" * 10_000, "10,000"), ("a\0b", "null"), ("\ud800", "surrogate")],
    ids=["empty", "long", "null", "surrogate"],
)
async def test_a_text_that_is_no_key_is_one_clear_error_that_does_not_quote_it(
    key: str, says: str
) -> None:
    async with many() as sessions:
        with pytest.raises(ValueError, match=says) as info:
            await access_token(sessions, key)
        assert len(str(info.value)) < 200
        assert sessions.statistics().in_memory == 0


async def test_what_is_no_text_is_no_key() -> None:
    bad: Any = ["ann"]
    async with many() as sessions:
        with pytest.raises(TypeError, match="key must be a str"):
            await access_token(sessions, bad)


async def test_one_use_is_good_for_one_block() -> None:
    async with many() as sessions:
        use = sessions.use("ann")
        async with use:
            pass
        with pytest.raises(RuntimeError, match="again"):
            await use.__aenter__()


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"idle": -1}, ValueError, "idle"),
        ({"idle": float("nan")}, ValueError, "idle"),
        ({"idle": "300"}, TypeError, "idle"),
        ({"max_asking": 0}, ValueError, "max_asking"),
        ({"max_asking": 1.5}, TypeError, "max_asking"),
        ({"show_key": "yes"}, TypeError, "show_key"),
        ({"store": FakeStore()}, TypeError, "KeyedStore"),
        ({"auth": None}, TypeError, "auth="),
        ({"colour": "blue"}, TypeError, r"open_sessions\(\) has no option colour"),
        ({"observers": print}, TypeError, "observers"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_an_argument_of_the_wrong_kind_is_named(
    options: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        many(**options)


def test_sessions_are_opened_not_made() -> None:
    make: Any = Sessions
    with pytest.raises(TypeError, match="open_sessions"):
        make()
    not_open: Any = open_sessions(KeyedGrant(), base_url=API)
    with pytest.raises(AttributeError, match=r"as sessions, and then sessions\.use"):
        not_open.use("ann")


async def test_without_a_store_logins_are_kept_in_memory_and_outlast_their_sessions() -> None:
    transport = stream_transport(httpx, FakeApi())
    async with open_sessions(KeyedGrant(), base_url=API, transport=transport, idle=10) as sessions:
        await sessions.log_in("ann", tokens_of("ann"))
        await trio.sleep(20)
        assert sessions.statistics().in_memory == 0
        assert await access_token(sessions, "ann") == "access-ann-0"


async def test_sessions_of_another_run_or_thread_are_one_clear_error() -> None:
    async def elsewhere() -> None:
        with pytest.raises(RuntimeError, match="another thread"):
            await access_token(sessions, "ann")

    async with many() as sessions:
        await trio.to_thread.run_sync(trio.run, elsewhere)
