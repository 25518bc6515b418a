"""RedisStore where Redis is more than one process near by: Sentinel, Cluster, TLS, slow links."""

from __future__ import annotations

import binascii
import ssl
import time
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trustme

from trioauth import (
    GrantRefusedError,
    LoggedOut,
    LoggedOutError,
    Record,
    RedisStore,
    StoreError,
    Tokens,
)
from trioauth.testing import check_store

from .fakes import FakeGrant
from .redis_server import RedisServer, free_port, redis_server
from .test_redis_faults import host, in_thread, recovers, saved, stored

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator
    from pathlib import Path

pytestmark = pytest.mark.slow


# --- Sentinel ---------------------------------------------------------------------------------


@contextmanager
def watched(folder: Path) -> Generator[tuple[str, RedisServer, RedisServer, RedisServer]]:
    """A primary with a replica and a Sentinel: the URL, and the three."""
    with redis_server(folder / "one") as primary, redis_server(folder / "two") as replica:
        replica.cli("REPLICAOF", "127.0.0.1", str(primary.port))
        replica.wait_for(lambda: "master_link_status:up" in replica.cli("INFO"), "replication")
        watch = [
            f"sentinel monitor main 127.0.0.1 {primary.port} 1",
            "sentinel down-after-milliseconds main 300",
            "sentinel failover-timeout main 2000",
        ]
        with redis_server(folder / "sentinel", *watch, sentinel=True) as sentinel:
            sentinel.wait_for(
                lambda: str(replica.port) in sentinel.cli("SENTINEL", "replicas", "main"), "replica"
            )
            url = f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{sentinel.port}/main"
            yield url, primary, replica, sentinel


def fail_over_without_last_write(primary: RedisServer, replica: RedisServer) -> None:
    """Cut the replica off, so that what is saved from now on is on the primary only."""
    replica.wait_for(
        lambda: replica.cli("HGET", "trioauth:{user}", "generation") == "2", "replicated save"
    )
    replica.freeze()
    primary.cli("CLIENT", "KILL", "TYPE", "replica")


def end_primary(primary: RedisServer, replica: RedisServer, sentinel: RedisServer) -> None:
    """End the primary, and wait until the Sentinel names the replica."""
    primary.stop()
    replica.thaw()
    named = partial(sentinel.cli, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main", check=False)
    sentinel.wait_for(lambda: str(replica.port) in named(), "failover")


async def test_redis_store_finds_the_primary_by_the_sentinels(tmp_path: Path) -> None:
    with watched(tmp_path) as (url, _, replica, _):
        async with RedisStore(url, replicas=1) as store:
            await check_store(lambda: store.at("user"))
            with trio.fail_after(10):
                assert await store.changed() is None
        assert "generation" in replica.cli("HKEYS", "trioauth:{user}")
        async with RedisStore(url.replace("/main", "/other")) as store:
            with pytest.raises(StoreError, match="is not known to the Sentinels"):
                await store.at("user").load()


async def test_redis_store_that_may_not_ask_a_primary_for_its_role_leaves_no_connection_open(
    tmp_path: Path,
) -> None:
    with watched(tmp_path) as (url, primary, _, _):
        primary.cli("ACL", "SETUSER", "default", "-role")
        async with RedisStore(url) as store:
            for _ in range(3):
                with pytest.raises(StoreError, match="must allow .* for .* a Sentinel .*role"):
                    await store.at("user").load()

            def left() -> int:
                clients = primary.cli("CLIENT", "LIST", "TYPE", "normal").splitlines()
                # Not those of the Sentinel, nor of redis-cli.
                return len([each for each in clients if "cmd=role" in each])

            await in_thread(partial(primary.wait_for, lambda: not left(), "connection is closed"))


async def test_p31_session_lives_through_a_failover_that_loses_its_last_write(
    tmp_path: Path,
) -> None:
    grant = FakeGrant(latency=0)
    with watched(tmp_path) as (url, primary, replica, sentinel):
        async with host(url, grant, timeout=2, lease=2) as (session, _):
            await session.refresh()
            fail_over_without_last_write(primary, replica)
            await session.refresh()
            assert await session.token() == "access-2"
            await in_thread(partial(end_primary, primary, replica, sentinel))
            record = await stored(url)
            assert record is not None
            assert record.tokens == Tokens("access-1", "refresh-1", 3600), "the write is lost"
            await recovers(session)
        assert grant.presented == ["refresh-0", "refresh-1", "refresh-2"]
        await saved(url, "access-3")


async def test_p31_failover_that_loses_a_write_costs_a_new_session_one_clean_log_out(
    tmp_path: Path,
) -> None:
    grant, late = FakeGrant(latency=0), FakeGrant(latency=0)
    late.script.append(GrantRefusedError("invalid_grant"))
    with watched(tmp_path) as (url, primary, replica, sentinel):
        async with host(url, grant, timeout=2, lease=2) as (session, _):
            await session.refresh()
            fail_over_without_last_write(primary, replica)
            await session.refresh()
            await in_thread(partial(end_primary, primary, replica, sentinel))
            async with host(url, late, tokens=None, timeout=2, lease=2) as (other, _):
                # It reads the record before the lost one, with a token that is spent.
                with pytest.raises(LoggedOutError):
                    await other.refresh()
                assert isinstance(other.state, LoggedOut)
                with pytest.raises(LoggedOutError):
                    await other.token()
            assert late.presented == ["refresh-1"], "no loop"
            # The session that has the newer token in memory goes on.
            await recovers(session)
            assert await session.token() == "access-3"
        assert grant.spent_twice == []


async def test_redis_that_a_sentinel_still_takes_for_the_primary_is_looked_at(
    tmp_path: Path,
) -> None:
    with watched(tmp_path) as (url, primary, replica, sentinel):
        async with RedisStore(url) as store:
            assert await store.at("user").load() is None
            # Sentinel would need some time to notice; meanwhile it names the wrong one.
            sentinel.cli("SENTINEL", "SET", "main", "down-after-milliseconds", "60000")
            sentinel.freeze()
            primary.cli("REPLICAOF", "127.0.0.1", str(replica.port))
            primary.cli("CLIENT", "KILL", "TYPE", "normal")
            sentinel.thaw()
            with pytest.raises(StoreError, match="not the primary any more|read-only replica"):
                async with store.at("user").lock():
                    pytest.fail("locked on a replica")


# --- Cluster ----------------------------------------------------------------------------------


@contextmanager
def clustered(folder: Path) -> Generator[tuple[RedisServer, RedisServer]]:
    options = ["cluster-enabled yes", "cluster-node-timeout 2000"]
    with redis_server(folder / "a", *options) as one, redis_server(folder / "b", *options) as other:
        one.cli("CLUSTER", "ADDSLOTSRANGE", "0", "8191")
        other.cli("CLUSTER", "ADDSLOTSRANGE", "8192", "16383")
        # So that they don't wait for a clash of epochs to be settled.
        other.cli("CLUSTER", "SET-CONFIG-EPOCH", "2")
        one.cli("CLUSTER", "MEET", "127.0.0.1", str(other.port))
        for each in (one, other):
            each.wait_for(partial(is_whole, each), "Cluster")
        yield one, other


def is_whole(server: RedisServer) -> bool:
    info = server.cli("CLUSTER", "INFO")
    return "cluster_state:ok" in info and "cluster_known_nodes:2" in info


def slot_of(key: str) -> int:
    return binascii.crc_hqx(key.encode(), 0) % 16384


LOW = next(f"low-{n}" for n in range(99) if slot_of(f"low-{n}") < 8192)
HIGH = next(f"high-{n}" for n in range(99) if slot_of(f"high-{n}") >= 8192)


async def put(store: RedisStore, key: str, generation: int = 1) -> None:
    login = store.at(key)
    async with login.lock():
        await login.save(Record(generation, Tokens("a", "r")), expected=generation - 1)


async def test_redis_store_works_on_a_cluster(tmp_path: Path) -> None:
    with clustered(tmp_path) as (one, other):
        async with RedisStore(f"redis+cluster://127.0.0.1:{one.port}") as store:
            await check_store(lambda: store.at(LOW))
            await check_store(lambda: store.at(HIGH))
            for key in ("}", "{x}", "%", "ü"):
                await put(store, key)
                assert await store.at(key).load() is not None
            with trio.fail_after(10):
                assert await store.changed() is None
                # Hints of what the other node has come, too.
                async with RedisStore(f"redis+cluster://127.0.0.1:{other.port}") as elsewhere:
                    await put(elsewhere, HIGH + "-")
                assert await store.changed() == HIGH + "-"
        assert one.cli("EXISTS", f"trioauth:{{{LOW}}}") == "1"
        assert other.cli("EXISTS", f"trioauth:{{{HIGH}}}") == "1"


async def test_redis_store_follows_a_login_that_moves_to_another_node_of_the_cluster(
    tmp_path: Path,
) -> None:
    with clustered(tmp_path) as (one, other):
        slot, name = str(slot_of(LOW)), f"trioauth:{{{LOW}}}"
        ids = [each.cli("CLUSTER", "MYID") for each in (one, other)]
        async with RedisStore(f"redis+cluster://127.0.0.1:{one.port}", timeout=2) as store:
            login = store.at(LOW)
            await put(store, LOW)
            other.cli("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0])
            one.cli("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1])
            # One of its two keys is there and the other is not: the node can't say yet.
            with pytest.raises(StoreError, match="just moving this login to another node"):
                async with login.lock():
                    pytest.fail("locked")
            one.cli("MIGRATE", "127.0.0.1", str(other.port), name, "0", "5000")
            other.cli("SCRIPT", "FLUSH")
            assert await login.load() is not None, "it is asked at the other node"
            other.cli("CLUSTER", "SETSLOT", slot, "NODE", ids[1])
            one.cli("CLUSTER", "SETSLOT", slot, "NODE", ids[1])
            await put(store, LOW, 2)
            loaded = await login.load()
            assert loaded is not None
            assert loaded.generation == 2
        assert other.cli("EXISTS", name) == "1"


async def test_redis_cluster_that_is_down_says_so(tmp_path: Path) -> None:
    with clustered(tmp_path) as (one, other):
        url = f"redis+cluster://127.0.0.1:{other.port},127.0.0.1:{one.port}"
        async with RedisStore(url, timeout=2) as store:
            await put(store, LOW)
            one.stop()
            with pytest.raises(StoreError, match="can't be reached|Cluster that is down"):
                await store.at(LOW).load()
            other.wait_for(lambda: "cluster_state:fail" in other.cli("CLUSTER", "INFO"), "failure")
            # The node may send us to the one that is gone for a moment longer.
            said = ""
            with trio.fail_after(20):
                while "belongs to a Cluster that is down" not in said:
                    with pytest.raises(StoreError) as caught:
                        await store.at(LOW).load()
                    said = str(caught.value)


async def test_redis_cluster_named_as_a_single_server_says_what_to_write(tmp_path: Path) -> None:
    with clustered(tmp_path) as (one, _):
        async with RedisStore(one.url) as store:
            with pytest.raises(StoreError, match=r"use redis\+cluster://"):
                await store.at(HIGH).load()


# --- TLS --------------------------------------------------------------------------------------


async def test_redis_store_over_tls_trusts_the_authority_it_is_given_and_no_other(
    tmp_path: Path,
) -> None:
    ours, theirs = trustme.CA(), trustme.CA()
    certificate = ours.issue_cert("localhost", "127.0.0.1")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    ours.cert_pem.write_to_path(tmp_path / "ca.pem")
    port = free_port()
    options = [
        "port 0",
        f"tls-port {port}",
        f"tls-cert-file {tmp_path}/cert.pem",
        f"tls-key-file {tmp_path}/key.pem",
        f"tls-ca-cert-file {tmp_path}/ca.pem",
        "tls-auth-clients no",
    ]
    trusting, strange = ssl.create_default_context(), ssl.create_default_context()
    ours.configure_trust(trusting)
    theirs.configure_trust(strange)
    with redis_server(tmp_path / "r", *options, port=port, tls_ca=str(tmp_path / "ca.pem")):
        async with RedisStore(f"rediss://localhost:{port}", tls=trusting) as store:
            await check_store(lambda: store.at("user"))
        for context in (strange, None):
            async with RedisStore(f"rediss://localhost:{port}", tls=context) as store:
                with pytest.raises(StoreError, match="certificate verify failed"):
                    await store.at("user").load()
        ours.configure_trust(strange)
        certificate_for_another_name = f"rediss://127.0.0.2:{port}"
        async with RedisStore(certificate_for_another_name, tls=strange, timeout=2) as store:
            with pytest.raises(StoreError, match="can't be reached"):
                await store.at("user").load()
        async with RedisStore(f"redis://localhost:{port}", timeout=2) as store:
            with pytest.raises(StoreError, match=r"does it want TLS \(rediss://\)"):
                await store.at("user").load()


# --- links ------------------------------------------------------------------------------------


@asynccontextmanager
async def proxied(server: RedisServer, spoil: Callable[[bytes], Any]) -> AsyncGenerator[str, None]:
    """A proxy before a server; ``spoil`` gets each answer, and returns what is done with it:

    a number of seconds by which it is late, or None: the connection is closed instead.
    """

    async def pump(source: trio.SocketStream, sink: trio.SocketStream, *, back: bool) -> None:
        try:
            async for data in source:
                delay = spoil(bytes(data)) if back else 0
                if delay is None:
                    break
                await trio.sleep(delay)
                await sink.send_all(data)
        except trio.BrokenResourceError:
            pass
        await source.aclose()
        await sink.aclose()

    async def handle(client: trio.SocketStream) -> None:
        try:
            upstream = await trio.open_tcp_stream("127.0.0.1", server.port)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(pump, client, upstream, back=False))
                nursery.start_soon(partial(pump, upstream, client, back=True))
        except* trio.ClosedResourceError:
            pass

    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, handle, 0, host="127.0.0.1")
        [listener] = await nursery.start(serve)
        yield f"redis://127.0.0.1:{listener.socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


@pytest.fixture
def server(tmp_path: Path) -> Generator[RedisServer, None, None]:
    with redis_server(tmp_path / "redis") as server:
        yield server


async def test_slow_redis_is_waited_for_and_one_that_is_too_slow_is_not(
    server: RedisServer,
) -> None:
    async with proxied(server, lambda _: 0.1) as url:
        grant = FakeGrant(latency=0)
        async with host(url, grant, timeout=2) as (session, _):
            await session.refresh()
            assert await session.token() == "access-1"
        async with RedisStore(url, timeout=0.05) as store:
            with pytest.raises(StoreError, match=r"gave no answer within 0\.05 seconds"):
                await store.at("user").load()
        await saved(url, "access-1")


@pytest.mark.parametrize("lost", range(4))
async def test_answer_of_redis_that_is_lost_changes_nothing(server: RedisServer, lost: int) -> None:
    answers = 0

    def lose_one(data: bytes) -> int | None:
        nonlocal answers
        if b"proto" in data:
            return 0
        answers += 1
        return None if answers == lost + 1 else 0

    async with proxied(server, lose_one) as url, RedisStore(url) as store:
        login = store.at("user")
        async with login.lock():
            await login.probe()
            await login.save(Record(1, Tokens("a", "r")), expected=0)
        loaded = await login.load()
        assert loaded is not None
        assert loaded.generation == 1
    assert answers > lost


async def test_redis_that_hangs_up_each_time_is_asked_twice_and_no_more(
    server: RedisServer,
) -> None:
    asked = 0

    def hang_up(data: bytes) -> int | None:
        nonlocal asked
        if b"proto" in data:
            return 0
        asked += 1
        return None

    async with proxied(server, hang_up) as url, RedisStore(url) as store:
        with pytest.raises(StoreError, match="closed the connection"):
            await store.at("user").load()
        assert asked == 2


# --- clocks -----------------------------------------------------------------------------------


async def test_lease_goes_by_the_clock_of_the_server_whatever_the_hosts_say(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = time.time
    async with RedisStore(server.url, lease=0.5) as one, RedisStore(server.url) as other:
        for apart in (0, 86400, -86400):
            async with one.at("user").lock():
                start = trio.current_time()
                # The clock of the next host.
                monkeypatch.setattr(time, "time", lambda apart=apart: real() + apart)
                with trio.fail_after(10):
                    async with other.at("user").lock():
                        assert 0.2 < trio.current_time() - start < 5
