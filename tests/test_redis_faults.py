"""RedisStore on real servers that fail: what is still promised (P31, P32), and what is said."""

from __future__ import annotations

import shutil
import sys
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio

from trioauth import (
    GrantRefusedError,
    LoggedOut,
    LoggedOutError,
    Record,
    RedisStore,
    RefreshPolicy,
    RefreshUnavailableError,
    StoreError,
    Tokens,
    events,
)
from trioauth.stores.redis import listener as redis_listener
from trioauth.stores.redis.hints import Hints
from trioauth.testing import check_store

from .fakes import FakeGrant, first_tokens
from .redis_server import RedisServer, redis_server
from .sessions import only, opened

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
    from pathlib import Path

    from trioauth import Session, TokenEndpoint

pytestmark = pytest.mark.slow

POLICY = RefreshPolicy(cooldown=0)


@pytest.fixture
def server(tmp_path: Path) -> Generator[RedisServer, None, None]:
    with redis_server(tmp_path / "redis") as server:
        yield server


class HookedGrant(FakeGrant):
    """A grant whose server does something to the world just before it answers."""

    hook: Callable[[], Awaitable[object]] | None = None

    async def __call__(self, tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
        hook, self.hook = self.hook, None
        if hook is not None:
            await hook()
        return await FakeGrant.__call__(self, tokens, endpoint)


@asynccontextmanager
async def host(
    url: str, grant: Any, told: list[events.Event] | None = None, **options: Any
) -> AsyncGenerator[tuple[Session, RedisStore], None]:
    """A session on a host of its own."""
    tokens = options.pop("tokens", first_tokens())
    options = {"timeout": 0.5} | options
    observers = [] if told is None else [told.append]
    async with RedisStore(url, **options) as store:
        async with opened(
            grant,
            store=store.at("user"),
            tokens=tokens,
            policy=POLICY,
            observers=observers,
        ) as session:
            yield session, store


async def in_thread(work: Callable[[], object]) -> None:
    await trio.to_thread.run_sync(work)


async def recovers(session: Session) -> None:
    """Refresh until it works, as requests would."""
    with trio.fail_after(20):
        while True:
            try:
                await session.refresh()
            except RefreshUnavailableError:
                await trio.sleep(0.05)
            else:
                return


def words_of(told: list[events.Event]) -> str:
    """Why a session could not save, as its observers were told."""
    return "\n".join(each.words for each in only(events.NotSaved, told))


async def stored(url: str) -> Record | None:
    async with RedisStore(url) as store:
        return await store.at("user").load()


async def saved(url: str, token: str) -> None:
    """Wait until the store has these tokens."""
    with trio.fail_after(20):
        while True:
            record = await stored(url)
            if record is not None and record.tokens and record.tokens.access_token == token:
                return
            await trio.sleep(0.05)


# --- faults that come while a session is open ---------------------------------------------------


def nothing(_: RedisServer) -> None:
    pass


def break_disk(server: RedisServer) -> None:
    server.cli("CONFIG", "SET", "save", "3600 1")
    shutil.rmtree(server.folder)
    server.cli("BGSAVE")
    server.wait_for(lambda: "bgsave_status:err" in server.cli("INFO", "persistence"), "failed save")


def want_password(server: RedisServer) -> None:
    server.cli("CONFIG", "SET", "requirepass", "pw-canary")
    server.password = "pw-canary"  # noqa: S105
    server.cli("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def want_none(server: RedisServer) -> None:
    server.cli("CONFIG", "SET", "requirepass", "")
    server.password = None


def run(*commands: str) -> Callable[[RedisServer], None]:
    def run_them(server: RedisServer) -> None:
        for command in commands:
            server.cli(*command.split(" "))

    return run_them


FAULTS: dict[str, tuple[Callable[[RedisServer], None], Callable[[RedisServer], None], str]] = {
    "gone": (RedisServer.stop, RedisServer.start, r"can't be reached \(Connection refused\)"),
    "frozen": (RedisServer.freeze, RedisServer.thaw, "gave no answer within 0.5 seconds"),
    "a read-only replica": (
        run("REPLICAOF 127.0.0.1 1"),
        run("REPLICAOF NO ONE"),
        "is a read-only replica",
    ),
    "out of memory": (
        run("CONFIG SET maxmemory 1"),
        run("CONFIG SET maxmemory 0"),
        "is out of memory: raise its maxmemory",
    ),
    "unable to write its disk": (break_disk, run("CONFIG SET save "), "can't save its data"),
    "without enough replicas": (
        run("CONFIG SET min-replicas-to-write 1"),
        run("CONFIG SET min-replicas-to-write 0"),
        "has too few replicas",
    ),
    "asking for a password": (want_password, want_none, "wants a password"),
    "refusing scripts": (
        run("ACL SETUSER default -eval -evalsha"),
        run("ACL SETUSER default +@all"),
        "does not let this user do that",
    ),
    "refusing the keys": (
        run("ACL SETUSER default resetkeys ~other:*"),
        run("ACL SETUSER default allkeys"),
        "does not let this user do that",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_p32_session_goes_on_without_refreshing_while_redis_is(
    fault: str, server: RedisServer
) -> None:
    break_it, mend_it, words = FAULTS[fault]
    told: list[events.Event] = []
    grant = FakeGrant(latency=0)
    async with host(server.url, grant, told) as (session, store):
        await session.refresh()
        await in_thread(partial(break_it, server))
        with trio.fail_after(10), pytest.raises(RefreshUnavailableError) as caught:
            await session.refresh()
        assert session.logged_in
        assert await session.token() == "access-1", "it goes on with the token that it has"
        assert grant.presented == ["refresh-0"], "it refreshes nothing that it could not lock for"
        said = caught.value.__cause__
        assert isinstance(said, StoreError)
        with pytest.raises(StoreError, match=words):
            raise said
        assert f"127.0.0.1:{server.port}/0" in str(said)
        assert "canary" not in str(said)
        assert said.__cause__ is said.__context__ is None, "its frames would hold the password"
        assert only(events.RefreshFailed, told), "it is reported"
        await in_thread(partial(mend_it, server))
        await recovers(session)
        assert await session.token() == "access-2"
    assert grant.spent_twice == []
    record = await stored(server.url)
    assert record is not None
    assert record.tokens == Tokens("access-2", "refresh-2", 3600)


@pytest.mark.parametrize("fault", ["gone", "frozen", "out of memory", "a read-only replica"])
async def test_p32_session_goes_on_with_what_it_renewed_when_redis_in_mid_refresh_is(
    fault: str, server: RedisServer
) -> None:
    break_it, mend_it, words = FAULTS[fault]
    told: list[events.Event] = []
    grant = HookedGrant(latency=0)
    async with host(server.url, grant, told) as (session, _):
        grant.hook = partial(in_thread, partial(break_it, server))
        with trio.fail_after(10):
            await session.refresh()
        assert await session.token() == "access-1"
        assert words.split(r" \(")[0] in words_of(told)
        await in_thread(partial(mend_it, server))
        await recovers(session)
        assert await session.token() == "access-2"
    assert grant.spent_twice == []
    await saved(server.url, "access-2")


async def test_session_is_not_opened_while_redis_is_gone(server: RedisServer) -> None:
    server.stop()
    # There may be a newer login on it than the one that was passed.
    for tokens in (None, first_tokens()):
        with pytest.raises(StoreError, match="can't be reached"):
            async with host(server.url, FakeGrant(), tokens=tokens):
                pytest.fail("opened")


async def test_p31_redis_that_is_restarted_empty_gets_the_login_from_a_session(
    server: RedisServer,
) -> None:
    grant = FakeGrant(latency=0)
    async with host(server.url, grant) as (session, _):
        await session.refresh()
        await in_thread(server.stop)
        await in_thread(server.start)
        assert await stored(server.url) is None
        await recovers(session)
        async with host(server.url, grant, tokens=None) as (other, _):
            assert await other.token() == "access-2"
            await other.refresh()
        await session.refresh()
    assert grant.spent_twice == []


def take_lock(server: RedisServer) -> None:
    """Lock the login as another session that got the next lease."""
    server.cli("SET", "trioauth:{user}:lock", "other:9000000000000000", "PX", "60000")
    server.cli("HSET", "trioauth:{user}", "fence", "9000000000000000")


# --- a lease that is lost in mid-refresh ----------------------------------------------------------


async def test_p31_refresh_whose_lease_lapsed_unnoticed_is_saved(server: RedisServer) -> None:
    grant = HookedGrant(latency=0)
    async with host(server.url, grant) as (session, _):

        async def lose() -> None:
            server.cli("DEL", "trioauth:{user}:lock")

        grant.hook = lose
        await session.refresh()
    record = await stored(server.url)
    assert record is not None
    assert record.tokens == Tokens("access-1", "refresh-1", 3600)


async def test_p31_refresh_that_lost_its_lease_to_another_session_is_saved_after_it(
    server: RedisServer,
) -> None:
    told: list[events.Event] = []
    grant = HookedGrant(latency=0)
    async with host(server.url, grant, told) as (session, _):
        grant.hook = partial(in_thread, partial(take_lock, server))
        await session.refresh()
        assert await session.token() == "access-1"
        assert "given the lock to another session" in words_of(told)
        record = await stored(server.url)
        assert record is not None
        assert record.tokens == first_tokens(), "the other session may be saving something newer"
        server.cli("DEL", "trioauth:{user}:lock")
    await saved(server.url, "access-1")
    assert grant.spent_twice == []


async def test_p31_two_sessions_that_both_believed_to_hold_the_lock_end_in_one_clean_log_out(
    server: RedisServer,
) -> None:
    grant, late = HookedGrant(latency=0), FakeGrant(latency=0)
    late.script.append(GrantRefusedError("invalid_grant"))
    async with (
        host(server.url, grant) as (session, _),
        host(server.url, late, tokens=None) as (other, _),
    ):

        async def lose() -> None:
            # The other session gets the lock, and presents the token that was just spent.
            server.cli("DEL", "trioauth:{user}:lock")
            with pytest.raises(LoggedOutError):
                await other.refresh()

        grant.hook = lose
        with pytest.raises(LoggedOutError, match="ended by another process"):
            await session.refresh()
        assert isinstance(session.state, LoggedOut)
        for each in (session, other):
            with pytest.raises(LoggedOutError):
                await each.token()
    assert len(grant.presented) == len(late.presented) == 1, "no loop"


async def test_p31_lease_is_looked_at_again_just_before_the_token_is_spent(
    server: RedisServer,
) -> None:
    grant = FakeGrant(latency=0)
    async with host(server.url, grant) as (session, store):
        login = type(store.at("user"))
        probe = login.probe

        async def lose_first(self: Any) -> None:
            take_lock(server)
            await probe(self)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(login, "probe", lose_first)
            with pytest.raises(RefreshUnavailableError) as caught:
                await session.refresh()
        assert "given the lock to another session" in str(caught.value.__cause__)
        assert grant.presented == []
        server.cli("DEL", "trioauth:{user}:lock")


# --- opening ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis://127.0.0.1:{port}/99", "has no database of that number"),
        ("redis://user:pw-canary@127.0.0.1:{port}", "refused the user name or the password"),
        ("redis://host.invalid:{port}", "can't be reached"),
        ("rediss://127.0.0.1:{port}", "wants no TLS"),
        ("unix:///nowhere/redis.sock", "No such file or directory"),
        ("redis+sentinel://127.0.0.1:{port}/main", "refused the command|too old"),
    ],
)
async def test_redis_url_that_leads_nowhere_is_one_clear_error(
    url: str, words: str, server: RedisServer
) -> None:
    async with RedisStore(url.format(port=server.port), timeout=2) as store:
        with pytest.raises(StoreError, match=words) as caught:
            await store.at("user").load()
    assert "canary" not in str(caught.value)
    assert caught.value.__context__ is None


async def test_redis_that_loads_its_data_says_so(server: RedisServer) -> None:
    for number in range(20):
        server.cli("SET", f"k{number}", "x" * 5000)
    server.cli("CONFIG", "SET", "rdbcompression", "no")
    server.cli("SAVE")
    server.stop()
    server.options += ["key-load-delay 50000", "loading-process-events-interval-bytes 1024"]
    (server.folder / f"{server.port}.conf").write_text(
        f"dir {server.folder}\nport {server.port}\nbind 127.0.0.1\n" + "\n".join(server.options)
    )
    server.wait_until = "LOADING"
    server.start()
    async with RedisStore(server.url) as store:
        with pytest.raises(StoreError, match="is still loading its data: wait until it has"):
            await store.at("user").load()


async def test_redis_store_without_coredis_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in list(sys.modules):
        if name.startswith("trioauth.stores.redis."):
            monkeypatch.delitem(sys.modules, name)
        if name.partition(".")[0] == "coredis":
            monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "trioauth\[redis\]"'):
        await RedisStore("redis://localhost").__aenter__()


async def test_sentinel_that_hangs_is_not_waited_for_without_end(server: RedisServer) -> None:
    server.freeze()
    url = f"redis+sentinel://127.0.0.1:{server.port}/main"
    with trio.fail_after(10):
        async with RedisStore(url, timeout=1) as store:
            with pytest.raises(StoreError, match="gave no answer within 1 seconds"):
                await store.at("user").load()


# --- the program is told to stop ----------------------------------------------------------------


async def test_p08_refresh_in_the_air_is_saved_and_unlocked_when_all_around_the_store_is_cancelled(
    server: RedisServer,
) -> None:
    grant = HookedGrant(latency=0)
    with trio.CancelScope() as program:

        async def sigterm() -> None:
            program.cancel(reason="SIGTERM")
            # Whatever is cancelled with the program is gone before the answer comes.
            with trio.CancelScope(shield=True):
                await trio.sleep(0.1)

        async with host(server.url, grant, timeout=5) as (session, store):
            async with store.at("user").lock():
                pass
            grant.hook = sigterm
            await session.refresh()
    assert program.cancelled_caught
    record = await stored(server.url)
    assert record is not None
    assert record.tokens is not None
    assert record.tokens.access_token == "access-1"
    assert server.cli("EXISTS", "trioauth:{user}:lock") == "0"


# --- leases that are left behind ----------------------------------------------------------------


async def test_lease_that_a_server_grants_after_its_sender_has_gone_is_released(
    server: RedisServer,
) -> None:
    async with RedisStore(server.url, timeout=0.3) as store:
        login = store.at("user")
        async with login.lock():
            pass  # the server knows the scripts
        with trio.fail_after(20):
            while server.cli("EXISTS", "trioauth:{user}:lock") != "0":  # noqa: ASYNC110  # the server is another process
                await trio.sleep(0.01)
        server.freeze()
        with pytest.raises(StoreError, match="gave no answer"):
            async with login.lock():
                pytest.fail("locked by a server that hangs")
        await trio.sleep(0.5)  # the first attempt to release it has failed, too
        server.thaw()
        async with RedisStore(server.url, timeout=5) as other:
            with trio.fail_after(20):
                async with other.at("user").lock():
                    pass


async def test_p31_lease_is_kept_after_a_save_that_failed_until_the_same_session_has_saved(
    server: RedisServer,
) -> None:
    async with RedisStore(server.url) as store, RedisStore(server.url) as other:
        mine, theirs = store.at("user"), other.at("user")
        async with mine.lock():
            await mine.save(Record(1), expected=0)
            server.cli("CONFIG", "SET", "maxmemory", "1")
            with pytest.raises(StoreError, match="memory"):
                await mine.save(Record(2), expected=1)
        server.cli("CONFIG", "SET", "maxmemory", "0")
        with trio.move_on_after(0.5) as waiting:
            async with theirs.lock():
                pytest.fail("another session would find a refresh token that is spent")
        assert waiting.cancelled_caught
        with trio.fail_after(20):
            async with mine.lock():
                await mine.save(Record(2), expected=1)
            async with theirs.lock():
                assert await theirs.load() == Record(2)


# --- hints ------------------------------------------------------------------------------------


async def test_hints_go_on_after_redis_was_gone(server: RedisServer) -> None:
    async with RedisStore(server.url, timeout=1) as store:
        with trio.fail_after(30):
            assert await store.changed() is None
            server.stop()
            await trio.sleep(0.5)
            server.start()
            assert await store.changed() is None
            server.cli("PUBLISH", "trioauth:changed", "user")
            assert await store.changed() == "user"


async def test_subscription_that_hangs_is_noticed_and_made_anew(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_listener, "_ALIVE_EVERY", 0.05)
    async with RedisStore(server.url, timeout=0.3) as store:
        with trio.fail_after(30):
            assert await store.changed() is None
            await trio.sleep(0.3)
            server.freeze()
            await trio.sleep(1)
            server.thaw()
            assert await store.changed() is None


def test_other_messages_on_the_channel_are_no_hints() -> None:
    hints = Hints()
    routes: Any = None
    listener = redis_listener.Listener(routes, hints, "channel", 1)
    listener._take([b"pmessage", b"x"], trio.Event())
    assert hints.number == 0


# --- replicas ---------------------------------------------------------------------------------


async def test_save_that_too_few_replicas_confirm_is_reported_and_kept(
    server: RedisServer,
) -> None:
    told: list[events.Event] = []
    async with host(server.url, FakeGrant(latency=0), told, replicas=1) as (session, _):
        await session.refresh()
        assert await session.token() == "access-1"
    assert "0 replicas of 1 have confirmed it" in words_of(told)
    await saved(server.url, "access-1")


# --- access lists, TLS, clocks ----------------------------------------------------------------


async def test_redis_user_with_the_rights_that_are_documented_is_enough(
    server: RedisServer,
) -> None:
    # As docs/howto/redis.md has it.
    rights = "~trioauth:* &trioauth:* +@read +@write +@scripting +@pubsub +@connection +time"
    server.cli("ACL", "SETUSER", "app", "on", ">pw-canary", *rights.split())
    url = f"redis://app:pw-canary@127.0.0.1:{server.port}"
    async with RedisStore(url) as store:
        await check_store(lambda: store.at("user"))
        with trio.fail_after(10):
            assert await store.changed() is None


async def test_redis_user_without_a_right_to_the_channel_saves_without_hints(
    server: RedisServer,
) -> None:
    server.cli("ACL", "SETUSER", "default", "resetchannels")
    async with RedisStore(server.url, timeout=0.2) as store:
        login = store.at("user")
        async with login.lock():
            await login.save(Record(1), expected=0)
        assert await login.load() == Record(1)
        with trio.move_on_after(1) as scope:
            await store.changed()
        assert scope.cancelled_caught
