"""What docs/howto/operating.md tells operators, tried."""

from __future__ import annotations

import shutil
import sqlite3
import stat
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio

import trioauth
from trioauth import SQLiteStore
from trioauth.testing import AuthServer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from trioauth import KeyedStore, Sessions

USERS = ("left alone", "renewed", "logged out", "logged out, not revoked")


@asynccontextmanager
async def opened(server: AuthServer, store: KeyedStore) -> AsyncGenerator[Sessions]:
    async with trioauth.open_sessions(
        server.grant(), store=store, base_url=server.url, transport=server.transport()
    ) as sessions:
        yield sessions


async def see(sessions: Sessions, user: str) -> str:
    """Return what becomes of a request of a user."""
    try:
        async with sessions.use(user) as session:
            return str((await session.get("/notes")).status_code)
    except trioauth.LoggedOutError as exc:
        return exc.reason


async def back_up(path: Path, copy: Path) -> None:
    """Do what the page says, in a process of its own, while the store is in use."""
    if (program := shutil.which("sqlite3")) is None:
        pytest.skip("sqlite3 is not here; on Debian: apt-get install sqlite3")
    script = f'umask 077; "{program}" "{path}" ".backup {copy}"'
    await trio.run_process(["sh", "-c", script], capture_stderr=True)


def restore(path: Path, copy: Path) -> None:
    """Do what the page says, while no program uses the store."""
    for name in ("-wal", "-shm"):
        path.with_name(path.name + name).unlink(missing_ok=True)
    shutil.move(copy, path)


async def test_backup_of_a_store_in_use_is_whole_and_private(tmp_path: Path) -> None:
    server, store = AuthServer(), SQLiteStore(tmp_path / "logins.db")
    copy = tmp_path / "copy.db"
    async with opened(server, store) as sessions:
        # Not checkpointed yet: the newest records are in the log beside the file.
        for user in USERS:
            await sessions.log_in(user, server.log_in())
        await back_up(store.path, copy)
    assert await SQLiteStore(copy).keys() == sorted(USERS)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600


async def test_restored_backup_costs_the_logins_that_were_renewed_since_and_no_others(
    tmp_path: Path,
) -> None:
    server, store = AuthServer(), SQLiteStore(tmp_path / "logins.db")
    copy = tmp_path / "copy.db"
    async with opened(server, store) as sessions:
        for user in USERS:
            await sessions.log_in(user, server.log_in())
        await back_up(store.path, copy)
        async with sessions.use("renewed") as session:
            await session.refresh()
        await sessions.log_out("logged out")
        await sessions.log_out("logged out, not revoked", revoke=False)
        await sessions.log_in("new", server.log_in())
    restore(store.path, copy)

    async with opened(server, store) as sessions:
        assert await see(sessions, "renewed") == "200"
        server.expire()
        seen = {user: await see(sessions, user) for user in (*USERS, "new")}
        assert seen == {
            "left alone": "200",
            # Its refresh token was spent: the server refuses it, once.
            "renewed": "refused",
            "logged out": "refused",
            # The server was never told, so it is a login again.
            "logged out, not revoked": "200",
            "new": "never_logged_in",
        }
        presented = len(server.ledger.presented)
        assert await see(sessions, "renewed") == "refused"
        assert len(server.ledger.presented) == presented
        # One clean log-out: the person logs in again.
        await sessions.log_in("renewed", server.log_in())
        assert await see(sessions, "renewed") == "200"
    assert server.ledger.reused == 1


async def test_record_that_was_deleted_is_no_login_any_more(tmp_path: Path) -> None:
    server, store = AuthServer(), SQLiteStore(tmp_path / "logins.db")
    async with opened(server, store) as sessions:
        for user in USERS:
            await sessions.log_in(user, server.log_in())
    with sqlite3.connect(store.path) as connection:
        connection.execute("DELETE FROM logins WHERE key = 'renewed'")
    connection.close()
    async with opened(server, store) as sessions:
        assert await see(sessions, "renewed") == "never_logged_in"
        assert await see(sessions, "left alone") == "200"


async def test_restored_backup_costs_nothing_with_a_server_that_does_not_rotate(
    tmp_path: Path,
) -> None:
    server, store = AuthServer(rotate=False), SQLiteStore(tmp_path / "logins.db")
    copy = tmp_path / "copy.db"
    async with opened(server, store) as sessions:
        await sessions.log_in("renewed", server.log_in())
        await back_up(store.path, copy)
        async with sessions.use("renewed") as session:
            await session.refresh()
    restore(store.path, copy)
    server.expire()
    async with opened(server, store) as sessions:
        assert await see(sessions, "renewed") == "200"


async def test_file_of_one_login_is_copied_whole_at_any_time(tmp_path: Path) -> None:
    server, store = AuthServer(), trioauth.FileStore(tmp_path / "tokens.json")
    generations = []
    async with server.open_session(store=store) as session:
        for number in range(3):
            await session.refresh()
            copy = tmp_path / f"copy {number}.json"
            await trio.run_process(["cp", "-p", str(store.path), str(copy)])
            record = await trioauth.FileStore(copy).load()
            assert record is not None
            generations.append(record.generation)
            assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert generations == [2, 3, 4]


async def test_all_records_have_the_new_key_when_each_login_was_renewed(tmp_path: Path) -> None:
    server, store = AuthServer(), SQLiteStore(tmp_path / "logins.db")
    old, new = (trioauth.EncryptedStore.new_key() for _ in range(2))
    async with opened(server, trioauth.KeyedEncryptedStore(store, old)) as sessions:
        for user in USERS:
            await sessions.log_in(user, server.log_in())
    both = trioauth.KeyedEncryptedStore(store, new, old_keys=[old])
    only_new = trioauth.KeyedEncryptedStore(store, new)
    async with opened(server, both) as sessions:
        for user in USERS:
            with pytest.raises(trioauth.StoreError, match="another key"):
                await only_new.at(user).load()
            async with sessions.use(user) as session:
                await session.refresh()
            assert await only_new.at(user).load() is not None


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_signal_leaves_the_block_of_open_sessions_in_good_order(name: str, tmp_path: Path) -> None:
    program = f"""
import os, signal, trio, trioauth

async def main():
    store = trioauth.KeyedMemoryStore()
    with trioauth.cancel_on_sigterm():
        async with trioauth.open_sessions(
            trioauth.RefreshTokenGrant("https://id.test/token", client_id="c"),
            store=store, base_url="https://api.test",
        ) as sessions:
            await sessions.log_in("user-17", trioauth.Tokens("a", "r"))
            try:
                os.kill(os.getpid(), signal.{name})
                await trio.sleep(60)
            finally:
                print("left", flush=True)
    print("after", flush=True)

trio.run(main)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    if name == "SIGTERM":
        assert (done.returncode, done.stdout.split()) == (0, ["left", "after"])
    else:
        assert done.stdout.split() == ["left"]
        assert done.stderr.rstrip().endswith("KeyboardInterrupt")
