"""RedisStore on a real server that works: its promises as a store of many logins."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trioauth import (
    Identity,
    Record,
    RedisStore,
    StoreConflictError,
    StoreError,
    Tokens,
    open_session,
)
from trioauth.testing import check_store

from .both import API
from .fakes import FakeGrant
from .redis_server import RedisServer, redis_server

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator

    from trioauth.stores.redis.login import RedisLogin

pytestmark = pytest.mark.slow

ODD_KEYS = ["user", "User", "user ", "us/er", "{user}", "user}", "}", "%7D", "ü", "x" * 1024, "a:b"]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Generator[RedisServer, None, None]:
    folder = tmp_path_factory.mktemp("redis")
    with redis_server(folder, f"unixsocket {folder}/r.sock") as server:
        yield server


@pytest.fixture
def server(running: RedisServer) -> Generator[RedisServer, None, None]:
    running.flush()
    yield running
    running.thaw()


@asynccontextmanager
async def two(server: RedisServer, **options: Any) -> AsyncGenerator[tuple[Any, Any], None]:
    """One login, as two hosts see it."""
    async with RedisStore(server.url, **options) as one, RedisStore(server.url, **options) as other:
        yield one.at("user"), other.at("user")


def record(generation: int) -> Record:
    number = f"{generation}"
    return Record(generation, Tokens(f"access-{number}", f"refresh-{number}"), login="a login")


async def put(login: RedisLogin, generation: int) -> None:
    async with login.lock():
        await login.save(record(generation), expected=generation - 1)


def lock_of(server: RedisServer) -> str:
    return server.cli("GET", "trioauth:{user}:lock")


async def unlocked(server: RedisServer) -> None:
    """Wait until the lease has been released, which happens in the background."""
    with trio.fail_after(10):
        while lock_of(server):  # noqa: ASYNC110  # in another process
            await trio.sleep(0.01)


# --- the contract -----------------------------------------------------------------------------


async def test_redis_store_keeps_the_promises_of_a_store(server: RedisServer) -> None:
    async with two(server) as logins:
        stores = iter(logins)
        await check_store(lambda: next(stores))
    async with RedisStore(server.url) as store:
        await check_store(lambda: store.at("the same store"))


async def test_redis_store_that_waits_for_replicas_keeps_the_promises_of_a_store(
    server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with redis_server(tmp_path_factory.mktemp("replica")) as replica:
        replica.cli("REPLICAOF", "127.0.0.1", str(server.port))
        replica.wait_for(lambda: "master_link_status:up" in replica.cli("INFO"), "replication")
        async with two(server, replicas=1) as logins:
            stores = iter(logins)
            await check_store(lambda: next(stores))
        assert "generation" in replica.cli("HKEYS", "trioauth:{user}")


async def test_redis_store_works_over_a_unix_socket(server: RedisServer) -> None:
    async with RedisStore(f"unix://{server.folder}/r.sock?db=3") as store:
        await put(store.at("user"), 1)
        assert await store.at("user").load() == record(1)
    assert server.cli("-n", "3", "EXISTS", "trioauth:{user}") == "1"


async def test_p30_keys_of_a_redis_store_are_isolated_however_odd(server: RedisServer) -> None:
    async with RedisStore(server.url) as store:
        for number, key in enumerate(ODD_KEYS):
            async with store.at(key).lock():
                tokens = Tokens(f"access-{number}")
                login = store.at(key)
                # The lock of one key does not lock another.
                await put(store.at(f"beside {number}"), 1)
                assert await login.load() is None
            async with login.lock():
                await login.save(Record(1, tokens, login=key), expected=0)
        for number, key in enumerate(ODD_KEYS):
            loaded = await store.at(key).load()
            assert loaded is not None
            assert (loaded.login, loaded.tokens) == (key, Tokens(f"access-{number}"))


async def test_redis_stores_with_other_prefixes_share_nothing(server: RedisServer) -> None:
    async with RedisStore(server.url, prefix="a:") as a, RedisStore(server.url, prefix="b:") as b:
        await put(a.at("user"), 1)
        assert await b.at("user").load() is None
        async with a.at("user").lock(), b.at("user").lock():
            pass
    assert server.cli("EXISTS", "a:{user}") == "1"


async def test_p34_idle_login_in_a_redis_store_costs_only_its_record(server: RedisServer) -> None:
    async with RedisStore(server.url) as store:
        for number in range(20):
            await put(store.at(f"{number}"), 1)
            await store.at(f"unknown {number}").load()
            async with store.at(f"never saved {number}").lock():
                pass
    assert server.cli("DBSIZE") == "20", "one key for each record, and none for other logins"
    assert "connected_clients:1\n" in server.cli("INFO", "clients").replace("\r", ""), "redis-cli's"
    assert not store._terms.turns._turns


async def test_redis_store_sends_its_scripts_again_after_they_were_flushed(
    server: RedisServer,
) -> None:
    async with RedisStore(server.url) as store:
        await put(store.at("user"), 1)
        server.cli("SCRIPT", "FLUSH")
        await put(store.at("user"), 2)
        assert await store.at("user").load() == record(2)


# --- being open -------------------------------------------------------------------------------


async def test_redis_store_that_is_not_open_says_how_to_open_it(server: RedisServer) -> None:
    store = RedisStore(server.url)
    with pytest.raises(RuntimeError, match=r"async with RedisStore\(...\) as store"):
        await store.at("user").load()
    with pytest.raises(RuntimeError, match="is not open"):
        await store.changed()
    await store.aclose()
    async with store:
        assert await store.at("user").load() is None
    with pytest.raises(trio.ClosedResourceError, match="is closed"):
        await store.at("user").load()
    with pytest.raises(RuntimeError, match="opened once"):
        await store.__aenter__()


async def test_redis_store_can_be_closed_early(server: RedisServer) -> None:
    async with RedisStore(server.url) as store:
        await store.at("user").load()
        await store.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await store.at("user").load()
        await store.aclose()


async def test_p22_redis_store_of_another_run_is_one_clear_error(server: RedisServer) -> None:
    async with RedisStore(server.url) as store:

        async def elsewhere() -> None:
            await store.at("user").load()

        with pytest.raises(RuntimeError, match="opened in another run of trio"):
            await trio.to_thread.run_sync(trio.run, elsewhere)
        with pytest.raises(RuntimeError, match="opened in another run of trio"):
            await trio.to_thread.run_sync(store._connected)


@pytest.mark.parametrize("way", ["left", "aclose"])
@pytest.mark.parametrize("frozen", [False, True])
async def test_what_still_uses_a_redis_store_that_is_closed_is_told_at_once(
    server: RedisServer, way: str, *, frozen: bool
) -> None:
    told: dict[str, str] = {}
    server.cli("SET", "trioauth:{other}:lock", "other:1", "PX", "60000")

    async def tell(name: str, function: Callable[[], Awaitable[object]]) -> None:
        try:
            told[name] = "nothing"
            await function()
        except trio.ClosedResourceError as exc:
            told[name] = str(exc)

    async def hold(login: Any, function: Callable[[], Awaitable[object]]) -> None:
        async with login.lock():
            await function()

    async def wait_twice(login: Any) -> None:
        await login.changed()
        await login.changed()

    async def load(login: Any) -> None:
        while True:
            await login.load()

    async with trio.open_nursery() as nursery:
        async with RedisStore(server.url, timeout=60) as store:
            login, left = store.at("user"), trio.Event()
            users: dict[str, Callable[[], Awaitable[object]]] = {
                "leaves the lock": partial(hold, login, left.wait),
                "waits for a lock": partial(hold, login, left.wait),
                "waits for a lease": partial(hold, store.at("other"), left.wait),
                "waits for a hint": partial(wait_twice, store),
                "waits for a hint of a key": partial(wait_twice, login),
                "loads": partial(load, login),
            }
            for name, function in users.items():
                nursery.start_soon(tell, name, function)
                await trio.sleep(0.05)
            if frozen:
                server.freeze()
            await trio.sleep(0.05)
            began = trio.current_time()
            if way == "aclose":
                await store.aclose()
                # A task that uses it now must not keep the block open.
                await wait_all_tasks_blocked()
        assert trio.current_time() - began < 2, "closing is delayed by a second at most"
        if frozen:
            server.thaw()
        left.set()
        with trio.fail_after(10):
            while nursery.child_tasks:  # noqa: ASYNC110  # they see it when they ask next
                await trio.sleep(0.01)
    assert told.pop("leaves the lock") == "nothing", "its lease ends by itself"
    assert set(told.values()) == {"this RedisStore is closed"}, told
    assert len(told) == 5


async def test_a_hint_is_for_each_of_the_tasks_that_wait(server: RedisServer) -> None:
    told: list[str | None] = []

    async with RedisStore(server.url) as store, RedisStore(server.url) as other:

        async def wait() -> None:
            told.append(await store.changed())

        with trio.fail_after(10):
            assert await store.changed() is None, "it listens"
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait)
                nursery.start_soon(wait)
                await wait_all_tasks_blocked()
                await put(other.at("user"), 1)
    assert told == ["user", "user"]


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, ExceptionGroup])
async def test_p19_exception_from_the_block_of_a_redis_store_comes_out_as_itself(
    server: RedisServer, kind: type[BaseException]
) -> None:
    crash = ExceptionGroup("mine", [ValueError()]) if kind is ExceptionGroup else kind("mine")
    with pytest.raises(kind) as caught:
        async with RedisStore(server.url) as store:
            await store.at("user").load()
            raise crash
    assert caught.value is crash
    assert caught.value.__context__ is None


async def test_cancellation_passes_through_the_block_of_a_redis_store(server: RedisServer) -> None:
    with trio.move_on_after(0.05) as scope:
        async with RedisStore(server.url):
            await trio.sleep_forever()
    assert scope.cancelled_caught


# --- the lock ---------------------------------------------------------------------------------


async def test_save_and_probe_of_a_redis_store_need_the_lock(server: RedisServer) -> None:
    async with two(server) as (login, other), other.lock():
        with pytest.raises(RuntimeError, match=r"save\(\) needs the lock"):
            await login.save(record(1), expected=0)
        with pytest.raises(RuntimeError, match=r"probe\(\) needs the lock"):
            await login.probe()


async def test_task_that_waits_for_a_lease_can_say_so(server: RedisServer) -> None:
    async with two(server) as (login, other):
        async with login.lock():
            assert other.waits_for is None
            with trio.move_on_after(0.2):
                async with other.lock():
                    pytest.fail("locked twice")
            assert "another session to unlock the login on Redis at 127.0.0.1" in str(
                other.waits_for
            )
            assert "60 seconds" in str(other.waits_for)
        async with other.lock():
            assert other.waits_for is None


async def test_fencing_number_rises_with_each_lease_even_if_all_data_is_lost(
    server: RedisServer,
) -> None:
    fences: list[int] = []
    async with RedisStore(server.url) as store:
        for number in range(6):
            if number == 3:
                server.flush()
            async with store.at("user").lock():
                fences.append(int(lock_of(server).rpartition(":")[2]))
                await store.at("user").load()
            await unlocked(server)
        assert fences == sorted(set(fences))
        await put(store.at("user"), 1)
        # Higher than the last one, also if the server's clock has gone back.
        server.cli("HSET", "trioauth:{user}", "fence", "9000000000000000")
        async with store.at("user").lock():
            assert lock_of(server).endswith(":9000000000000001")


async def test_lease_of_a_holder_that_died_ends_by_itself(server: RedisServer) -> None:
    async with two(server, lease=0.2) as (login, other):
        with trio.fail_after(10):
            async with login.lock(), other.lock():
                assert lock_of(server)


async def test_p31_former_holder_can_not_save_while_another_session_has_the_lock(
    server: RedisServer,
) -> None:
    async with two(server) as (login, other):
        await put(login, 1)
        async with login.lock():
            server.cli("DEL", "trioauth:{user}:lock")
            async with other.lock():
                with pytest.raises(StoreError, match="given the lock to another session") as caught:
                    await login.save(record(2), expected=1)
                assert not isinstance(caught.value, StoreConflictError), "nothing newer is stored"
                assert caught.value.key == "user"
                with pytest.raises(StoreError, match="given the lock to another session"):
                    await login.probe()
                with pytest.raises(StoreError, match="given the lock to another session"):
                    await login.delete(expected=1)
                await other.probe()
                await other.save(record(2), expected=1)
        assert await login.load() == record(2)


async def test_p31_former_holder_does_not_unlock_what_another_session_has_locked(
    server: RedisServer,
) -> None:
    async with RedisStore(server.url) as one, RedisStore(server.url) as other:
        first = one.at("user").lock()
        await first.__aenter__()
        server.cli("DEL", "trioauth:{user}:lock")
        async with other.at("user").lock():
            held = lock_of(server)
            await first.__aexit__(None, None, None)
            # Closing waits until what was to be released has been.
            await one.aclose()
            assert lock_of(server) == held


async def test_p31_former_holder_can_not_save_after_another_session_had_the_lock(
    server: RedisServer,
) -> None:
    async with two(server) as (login, other):
        await put(login, 1)
        async with login.lock():
            server.cli("DEL", "trioauth:{user}:lock")
            async with other.lock():
                pass
            await unlocked(server)
            with pytest.raises(StoreError, match="given the lock to another session"):
                await login.save(record(2), expected=1)
            with pytest.raises(StoreError, match="given the lock to another session"):
                await login.probe()
            with pytest.raises(StoreError, match="given the lock to another session"):
                await login.delete(expected=1)


@pytest.mark.parametrize("stored", [0, 1])
async def test_lease_that_lapsed_unnoticed_is_no_reason_to_lose_a_token(
    server: RedisServer, stored: int
) -> None:
    async with RedisStore(server.url) as store:
        login = store.at("user")
        if stored:
            await put(login, 1)
        async with login.lock():
            server.cli("DEL", "trioauth:{user}:lock")
            await login.save(record(stored + 1), expected=stored)
        async with login.lock():
            server.cli("DEL", "trioauth:{user}:lock")
            await login.probe()
            assert lock_of(server), "probe takes the lease anew"


async def test_probe_of_a_redis_store_renews_the_lease(server: RedisServer) -> None:
    async with RedisStore(server.url, lease=30) as store:
        login = store.at("user")
        async with login.lock():
            server.cli("PEXPIRE", "trioauth:{user}:lock", "1000")
            await login.probe()
            assert int(server.cli("PTTL", "trioauth:{user}:lock")) > 20000


@pytest.mark.parametrize("after", [0, 0.0005, 0.001, 0.002, 0.004])
async def test_lock_of_a_redis_store_that_is_cancelled_leaves_nothing_locked(
    server: RedisServer, after: float
) -> None:
    async with two(server) as (login, other):
        for _ in range(10):
            with trio.move_on_after(after):
                async with login.lock():
                    pass
            with trio.fail_after(10):
                async with other.lock():
                    pass
    assert not lock_of(server)


async def test_closing_a_redis_store_releases_its_leases(server: RedisServer) -> None:
    with pytest.raises(ZeroDivisionError):
        async with RedisStore(server.url) as store, store.at("user").lock():
            _ = 1 / 0
    assert not lock_of(server)


# --- records ----------------------------------------------------------------------------------


async def test_save_that_is_sent_twice_is_saved_once(server: RedisServer) -> None:
    async with RedisStore(server.url) as store:
        login = store.at("user")
        async with login.lock():
            await login.save(record(1), expected=0)
            # As after an answer that was lost.
            await login.save(record(1), expected=0)
            with pytest.raises(StoreConflictError, match="holds generation 1, not 0") as caught:
                await login.save(record(2), expected=0)
            assert caught.value.key == "user"


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (("SET", "trioauth:{user}", "x"), "holds something else under the key"),
        (("HSET", "trioauth:{user}", "record", "{"), "not a token record"),
        (("HSET", "trioauth:{user}", "record", "{}", "generation", "1"), "not a token record"),
        (
            ("HSET", "trioauth:{user}", "generation", "1", "record", '"pw-canary"'),
            "not a token record",
        ),
        (
            (
                "HSET",
                "trioauth:{user}",
                "generation",
                "1",
                "record",
                json.dumps({"format": "trioauth tokens", "version": 2}),
            ),
            "newer",
        ),
    ],
)
async def test_what_is_not_a_record_of_ours_is_refused_and_never_overwritten(
    server: RedisServer, command: tuple[str, ...], why: str
) -> None:
    server.cli(*command)
    before = server.cli("DUMP", "trioauth:{user}")
    async with RedisStore(server.url) as store:
        login = store.at("user")
        with pytest.raises(StoreError, match=why) as caught:
            await login.load()
        assert caught.value.key == "user"
        assert "127.0.0.1" in str(caught.value)
        assert "canary" not in str(caught.value)
        if command[0] == "SET":
            with pytest.raises(StoreError, match=why):
                async with login.lock():
                    pytest.fail("locked")
        else:
            async with login.lock():
                with pytest.raises(StoreError, match="was not touched"):
                    await login.probe()
                with pytest.raises(StoreError, match="was not touched"):
                    await login.save(record(2), expected=1)
    # The fence of one of a newer version may rise.
    assert why == "newer" or server.cli("DUMP", "trioauth:{user}") == before
    assert server.cli("TYPE", "trioauth:{user}") in ("string", "hash")


# --- hints ------------------------------------------------------------------------------------


async def test_hint_of_a_save_reaches_the_other_hosts(server: RedisServer) -> None:
    async with RedisStore(server.url) as one, RedisStore(server.url) as other:
        login = other.at("user")
        with trio.fail_after(10):
            # The first says that the subscription has begun: what came before is not known.
            assert await other.changed() is None
            assert await login.changed() == ""
            await put(one.at("other"), 1)
            await put(one.at("user"), 1)
            assert await other.changed() == "other"
            assert await other.changed() == "user"
            assert await login.changed() == ""
        with trio.move_on_after(0.1) as scope:
            await login.changed()
        assert scope.cancelled_caught, "a hint of another key is none"


async def test_several_tasks_that_wait_for_a_hint_are_all_told(server: RedisServer) -> None:
    async with RedisStore(server.url) as store:
        login = store.at("user")
        with trio.fail_after(10):
            await login.changed()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(login.changed)
                nursery.start_soon(login.changed)
                await wait_all_tasks_blocked(0.01)
                await put(login, 1)


async def test_hints_go_on_after_the_subscription_was_lost(server: RedisServer) -> None:
    async with RedisStore(server.url) as one, RedisStore(server.url) as other:
        with trio.fail_after(20):
            assert await other.changed() is None
            server.cli("CLIENT", "KILL", "TYPE", "pubsub")
            assert await other.changed() is None, "what was lost in between is not known"
            await put(one.at("user"), 1)
            assert await other.changed() == "user"


async def test_wait_for_a_hint_that_is_cancelled_loses_no_hint(server: RedisServer) -> None:
    async with RedisStore(server.url) as one, RedisStore(server.url) as other:
        login = other.at("user")
        with trio.fail_after(10):
            assert await other.changed() is None
            await login.changed()
            for wait in (other.changed, login.changed):
                with trio.CancelScope() as scope:
                    scope.cancel()
                    await wait()
                assert scope.cancelled_caught
            await put(one.at("user"), 1)
            assert await other.changed() == "user"
            with trio.CancelScope() as scope:
                scope.cancel()
                await login.changed()
            assert await login.changed() == ""


async def test_closing_a_redis_store_that_hangs_takes_a_second(server: RedisServer) -> None:
    async with RedisStore(server.url, timeout=30) as store:
        async with store.at("user").lock():
            server.freeze()
        try:
            with trio.fail_after(10), trio.CancelScope() as scope:
                scope.cancel()
                await store.aclose()
        finally:
            server.thaw()


async def test_forged_hints_do_no_harm(server: RedisServer) -> None:
    async with RedisStore(server.url) as store:
        with trio.fail_after(10):
            await store.changed()
            server.cli("PUBLISH", "trioauth:changed", "no such key")
            assert await store.changed() == "no such key"
            assert await store.at("no such key").load() is None


# --- sessions ---------------------------------------------------------------------------------


async def test_p01_sessions_on_two_hosts_refresh_once_for_each_generation(
    server: RedisServer,
) -> None:
    grant = FakeGrant(latency=0.05)
    async with two(server) as (one, other):
        async with (
            open_session(grant, base_url=API, store=one, tokens=Tokens("a", "r", 0.0)) as first,
            open_session(grant, base_url=API, store=other) as second,
        ):
            for number in range(3):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(first.refresh)
                    nursery.start_soon(second.refresh)
                assert first.generation >= number + 2
        assert grant.spent_twice == []
        assert grant.most_in_flight == 1


# --- records that a person has edited, and odd ones ---------------------------------------------


@pytest.mark.parametrize("generation", ["2", "canary", "", "1.5", "nan", "-1"])
async def test_record_whose_generation_is_not_the_one_beside_it_is_left_as_it_is(
    server: RedisServer, generation: str
) -> None:
    async with RedisStore(server.url) as store:
        login = store.at("user")
        await put(login, 1)
        server.cli("HSET", "trioauth:{user}", "generation", generation)
        with pytest.raises(StoreError, match="its generation is not the one beside it") as caught:
            await login.load()
        assert "canary" not in str(caught.value)
        async with login.lock():
            for call in (login.probe, partial(login.save, record(2), expected=1)):
                with pytest.raises(StoreError, match="not a record") as caught:
                    await call()
                assert not isinstance(caught.value, StoreConflictError)
    assert server.cli("HGET", "trioauth:{user}", "generation") == generation


@pytest.mark.parametrize("name", ["\ud83d", "a\udc00b", "\\ud83d", "\\\ud83d", '\\"', "\U0001f600"])
async def test_login_of_a_person_whose_name_was_cut_in_an_emoji_can_be_renewed(
    server: RedisServer, name: str
) -> None:
    claims = {"iss": "https://id.test", "sub": "7", "name": name, name: [name]}
    tokens = Tokens("access", "refresh", identity=Identity(claims))
    async with RedisStore(server.url) as store:
        login = store.at("user")
        for generation in (1, 2, 3):
            async with login.lock():
                await login.probe()
                saved = Record(generation, tokens, login="a login")
                await login.save(saved, expected=generation - 1)
            assert await login.load() == saved


@pytest.mark.parametrize("generation", [2**53 + 1, 2**63 - 2])
async def test_generations_of_a_redis_store_are_compared_exactly(
    server: RedisServer, generation: int
) -> None:
    async with RedisStore(server.url) as store:
        login = store.at("user")
        async with login.lock():
            await login.save(record(generation), expected=0)
            with pytest.raises(StoreConflictError):
                await login.save(record(generation + 1), expected=generation - 1)
            await login.save(record(generation + 1), expected=generation)
        assert await login.load() == record(generation + 1)
