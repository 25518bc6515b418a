"""RedisStore, what of it needs no server: its URL, words for refusals, and the hints it keeps."""

from __future__ import annotations

import socket
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import coredis.exceptions as refusals
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trioauth import RedisStore
from trioauth.stores.redis.hints import KEPT, Hints
from trioauth.stores.redis.link import give_up
from trioauth.stores.redis.url import Account, Address, Target, read_url
from trioauth.stores.redis.words import code_of, meaning_of

from .test_interrupts import PACKAGE, Interruption

# --- the URL ----------------------------------------------------------------------------------

LOCAL = Address("localhost", 6379)
ACCOUNT = Account("user", "p@ss/word")


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("redis://localhost", Target("server", (LOCAL,), False, Account())),
        ("REDIS://localhost:6379/", Target("server", (LOCAL,), False, Account())),
        ("redis://h:1/12", Target("server", (Address("h", 1),), False, Account(), db=12)),
        ("redis://:pw@localhost", Target("server", (LOCAL,), False, Account(None, "pw"))),
        ("redis://user:p%40ss%2Fword@localhost", Target("server", (LOCAL,), False, ACCOUNT)),
        ("redis://user:p@ss@localhost", Target("server", (LOCAL,), False, Account("user", "p@ss"))),
        ("rediss://localhost", Target("server", (LOCAL,), True, Account())),
        ("redis://[::1]:7/3", Target("server", (Address("::1", 7),), False, Account(), db=3)),
        ("redis://[::1]", Target("server", (Address("::1", 6379),), False, Account())),
        ("unix:///run/r.sock", Target("server", (Address("/run/r.sock", 0),), False, Account())),
        (
            "unix:///run/r.sock?db=2",
            Target("server", (Address("/run/r.sock", 0),), False, Account(), db=2),
        ),
        (
            "redis+sentinel://a,b:2/main/4",
            Target(
                "sentinel",
                (Address("a", 26379), Address("b", 2)),
                False,
                Account(),
                db=4,
                service="main",
            ),
        ),
        (
            "rediss+sentinel://user:p%40ss%2Fword@a/main?sentinel_username=s&sentinel_password=%26",
            Target(
                "sentinel",
                (Address("a", 26379),),
                True,
                ACCOUNT,
                service="main",
                sentinel_account=Account("s", "&"),
            ),
        ),
        (
            "redis+cluster://a,b:2/0",
            Target("cluster", (Address("a", 6379), Address("b", 2)), False, Account()),
        ),
        ("rediss+cluster://a", Target("cluster", (Address("a", 6379),), True, Account())),
    ],
)
def test_redis_url_is_read(url: str, target: Target) -> None:
    assert read_url(url) == target


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "unknown scheme"),
        ("http://pw-canary@localhost", "unknown scheme"),
        ("localhost:6379", "unknown scheme"),
        ("redis://", "names no host"),
        ("redis://:6379", "names no host"),
        ("redis://user@localhost", "user without a password"),
        ("redis://user:pw-canary#1@localhost", '"#" in it'),
        ("redis://user:pw-canary?x=1@localhost", "option that is not known"),
        ("redis://localhost?db=1", "option that is not known"),
        ("redis://user:pw-canary/1@localhost", "port that is not"),
        ("redis://localhost:0", "port that is not"),
        ("redis://localhost:65536", "port that is not"),
        ("redis://localhost:६", "port that is not"),
        ("redis://::1", "without brackets"),
        ("redis://[pw-canary", "can't be read"),
        ("redis://localhost/pw-canary", "database that is not a number"),
        ("redis://localhost/1234567890", "database that is not a number"),
        ("redis://a,b", "several servers"),
        ("redis+cluster://a/1", "only database 0"),
        ("redis+sentinel://a", "does not name the service"),
        ("redis+sentinel://a//1", "does not name the service"),
        ("redis+sentinel://a/main/x", "database that is not a number"),
        ("redis://%2Ftmp", "names no host"),
        ("unix://localhost/run/r.sock", "whole path"),
        ("unix:///", "whole path"),
    ],
)
def test_wrong_redis_url_is_refused_and_not_quoted(url: str, why: str) -> None:
    with pytest.raises(ValueError, match="the Redis URL") as caught:
        RedisStore(url)
    assert why in str(caught.value)
    assert "redis+sentinel://host" in str(caught.value), "it must say what would be right"
    assert "canary" not in str(caught.value)
    assert caught.value.__context__ is None, "its context would quote the URL"


def test_redis_url_must_be_text() -> None:
    url: Any = b"redis://localhost"
    with pytest.raises(TypeError, match="url must be a str, not bytes"):
        RedisStore(url)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis://u:pw-canary@h:1/2", "Redis at h:1/2"),
        ("rediss://u:pw-canary@[::1]", "Redis at [::1]:6379/0"),
        ("unix:///run/r.sock?db=2", "Redis at /run/r.sock db 2"),
        (
            "redis+sentinel://u:pw-canary@a,b:2/main?sentinel_password=pw-canary",
            "'main' of the Redis Sentinel at a:26379, b:2",
        ),
        ("redis+cluster://u:pw-canary@a,b:2", "the Redis Cluster at a:6379, b:2"),
    ],
)
def test_redis_store_shows_its_server_and_no_password(url: str, words: str) -> None:
    store = RedisStore(url)
    assert repr(store) == f"<RedisStore of {words}>"
    assert "canary" not in f"{store._target!r} {store.at('k')!r}"
    assert "user-17" not in repr(store.at("user-17")), "a key may be personal"


@pytest.mark.parametrize(
    ("options", "kind", "why"),
    [
        ({"prefix": 1}, TypeError, "prefix must be a str"),
        ({"prefix": "a{b}"}, ValueError, "prefix must be printable"),
        ({"prefix": "a\n"}, ValueError, "prefix must be printable"),
        ({"prefix": "*"}, ValueError, "prefix must be printable"),
        ({"lease": "1"}, TypeError, "lease must be seconds"),
        ({"lease": True}, TypeError, "lease must be seconds"),
        ({"lease": 0}, ValueError, "lease must be seconds"),
        ({"lease": float("nan")}, ValueError, "lease must be seconds"),
        ({"timeout": 86401}, ValueError, "timeout must be seconds"),
        ({"timeout": None}, TypeError, "timeout must be seconds"),
        ({"replicas": -1}, ValueError, "replicas must be a whole number"),
        ({"replicas": True}, ValueError, "replicas must be a whole number"),
        ({"replicas": 1.0}, ValueError, "replicas must be a whole number"),
        ({"replicas": 101}, ValueError, "replicas must be a whole number"),
    ],
)
def test_wrong_argument_of_a_redis_store_is_named(
    options: dict[str, Any], kind: type[Exception], why: str
) -> None:
    with pytest.raises(kind, match=why):
        RedisStore("redis://localhost", **options)


@pytest.mark.parametrize("key", ["", "x" * 1025, "a\0b", "\ud800"])
def test_redis_store_refuses_a_key_that_is_none(key: str) -> None:
    with pytest.raises(ValueError, match="key must"):
        RedisStore("redis://localhost").at(key)


# --- words ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (refusals.AuthenticationRequiredError("Authentication required."), "NOAUTH"),
        (refusals.AuthenticationFailureError("invalid username-password pair"), "WRONGPASS"),
        (refusals.AuthorizationError("this user has no permissions"), "NOPERM"),
        (refusals.ReadOnlyError("You can't write against a read only replica."), "READONLY"),
        (refusals.BusyLoadingError("Redis is loading the dataset in memory"), "LOADING"),
        (refusals.ClusterDownError("The cluster is down"), "CLUSTERDOWN"),
        (refusals.MovedError("1 127.0.0.1:7000"), "MOVED"),
        (refusals.AskError("1 127.0.0.1:7000"), "MOVED"),
        (refusals.WrongTypeError("Operation against a key"), "WRONGTYPE"),
        (refusals.ProtocolError("unsupported protocol version"), "NOPROTO"),
        (refusals.UnknownCommandError("unknown command 'HELLO'"), "NOPROTO"),
        (refusals.PrimaryNotFoundError(), "PRIMARY"),
        (refusals.StalePrimaryError(), "STALE"),
        (refusals.ResponseError("OOM command not allowed when used memory > 'maxmemory'."), "OOM"),
        (refusals.ResponseError("MISCONF Redis is configured to save RDB snapshots"), "MISCONF"),
        (refusals.ResponseError("NOREPLICAS Not enough good replicas to write."), "NOREPLICAS"),
        (refusals.ResponseError("DB index is out of range"), "DB"),
        (refusals.ConnectionError("max number of clients reached"), "CLIENTS"),
        # As Redis 6 says it for a command in a script.
        (
            refusals.ResponseError(
                "Error running script (call to f_1): @user_script:3: -OOM command not allowed"
            ),
            "OOM",
        ),
        (refusals.ResponseError("something new"), "ERR"),
        (refusals.ResponseError("NEWCODE something new"), "ERR"),
        (refusals.ConnectionError("Connection lost"), ""),
        (TimeoutError(), ""),
    ],
)
def test_refusal_of_a_redis_server_is_known(error: BaseException, code: str) -> None:
    assert code_of(error) == code
    if code:
        assert meaning_of(code)


# --- hints ------------------------------------------------------------------------------------


def test_hints_are_told_in_their_order_and_once_for_each_key() -> None:
    hints = Hints()
    assert hints.after(0) is None
    for key in ("a", "b", "a", "c"):
        hints.give(key)
    assert hints.after(0) == ("b", 2)
    assert hints.after(2) == ("a", 3)
    assert hints.after(3) == ("c", 4)
    assert hints.after(4) is None
    assert hints.of("a", 2)
    assert not hints.of("a", 3)
    assert not hints.of("d", 0)


def test_hint_of_any_key_stands_for_all_before_it() -> None:
    hints = Hints()
    hints.give("a")
    hints.give(None)
    assert hints.after(0) == (None, 2)
    assert hints.after(2) is None
    assert hints.of("never named", 1)
    assert not hints.of("a", 2)


def test_more_hints_than_are_kept_become_one_of_any_key() -> None:
    hints = Hints()
    for number in range(KEPT):
        hints.give(f"{number}")
    assert hints.after(0) == ("0", 1)
    hints.give("one more")
    assert hints.after(0) == (None, KEPT + 1)
    assert hints.of("0", 0), "forgotten, so any may have changed"
    assert hints.after(1) == ("1", 2)
    assert len(hints._latest) == KEPT


async def test_waiting_for_a_hint_leaves_nothing_behind(autojump_clock: object) -> None:
    hints, woken = Hints(), list[str | None]()

    async def wait(key: str | None) -> None:
        await hints.wait(key)
        woken.append(key)

    async with trio.open_nursery() as nursery:
        for key in ("a", "a", "b", None):
            nursery.start_soon(wait, key)
        await wait_all_tasks_blocked()
        hints.give("a")
        await wait_all_tasks_blocked()
        assert sorted(woken, key=str) == [None, "a", "a"]
        hints.give(None)
    assert woken[-1] == "b"
    with trio.move_on_after(1):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, "c")
            nursery.start_soon(wait, "c")
            await wait_all_tasks_blocked()
            with trio.move_on_after(0.5):
                await wait("c")
            assert len(hints._waiting) == 1, "two of three still wait"
    assert not hints._waiting


# --- connections ------------------------------------------------------------------------------


def test_a_connection_whose_socket_is_closed_already_can_be_given_up() -> None:
    raw, given_up = socket.socket(), list[str]()
    raw.close()
    connection: Any = SimpleNamespace(
        stream=SimpleNamespace(extra=lambda _: raw), invalidate=lambda: given_up.append("yes")
    )
    give_up(connection)
    assert given_up == ["yes"]


# --- opening ----------------------------------------------------------------------------------

OPENED_AFTER_SIGTERM = """
import trio
from trioauth import RedisStore

async def main():
    with trio.CancelScope() as scope:
        scope.cancel()
        async with RedisStore("redis://localhost"):
            print("opened")
            await trio.lowlevel.checkpoint()
            print("went on")

trio.run(main)
"""


async def test_redis_store_that_is_opened_when_the_program_was_told_to_end_ends_with_it() -> None:
    # In a process of its own: a store that does not end could not be cancelled here, either.
    with trio.fail_after(60):
        done = await trio.run_process(
            [sys.executable, "-c", OPENED_AFTER_SIGTERM], capture_stdout=True
        )
    assert done.stdout.split() == [b"opened"]


async def open_and_close() -> None:
    async with RedisStore("redis://localhost") as store:
        # Something that closing waits for.
        store._connected().start(partial(trio.sleep, 0.5))


def press_control_c_before_each_line() -> None:
    """For a process of its own: a store that does not end could not be cancelled here, either."""
    files = frozenset(str(PACKAGE / "stores/redis" / name) for name in ("connected.py", "store.py"))
    Interruption(frozenset()).run(open_and_close)  # it imports coredis
    quiet = Interruption(files)
    quiet.run(open_and_close)
    for at, where in enumerate(quiet.lines):
        print(where, flush=True)
        with pytest.raises(KeyboardInterrupt):
            Interruption(files, at).run(open_and_close)
    print("done")


async def test_p21_control_c_on_any_line_of_opening_or_closing_a_redis_store_ends_it() -> None:
    code = f"from {__name__} import *; press_control_c_before_each_line()"
    said = b""
    with trio.move_on_after(60):
        done = await trio.run_process(
            [sys.executable, "-W", "error", "-c", code],
            cwd=Path(__file__).parents[1],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
        said = done.stdout + done.stderr
    assert said.endswith(b"done\n"), said.decode()
    assert said.count(b"connected.py") > 30


async def test_p21_control_c_in_a_task_of_a_redis_store_ends_its_block_at_once(
    autojump_clock: object,
) -> None:
    async def interrupt() -> None:
        raise KeyboardInterrupt

    began = trio.current_time()
    with trio.move_on_after(60), pytest.raises(KeyboardInterrupt):
        async with RedisStore("redis://localhost") as store:
            connected = store._connected()
            connected.start(interrupt)
            try:
                await trio.sleep_forever()
            finally:
                # Nothing begins any more.
                connected.listen()
                connected.start(interrupt)
    assert trio.current_time() == began


@pytest.mark.parametrize("kind", [KeyboardInterrupt, ValueError])
async def test_p19_group_from_the_block_of_a_redis_store_comes_out_as_itself(
    kind: type[BaseException],
) -> None:
    crash = BaseExceptionGroup("mine", [kind(), ValueError("another")])
    with pytest.raises(type(crash)) as caught:
        async with RedisStore("redis://localhost"):
            raise crash
    assert caught.value is crash
