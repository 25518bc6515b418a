"""SQLiteStore between processes: they exclude each other by key, and may be killed at any moment.

This file is also what the child processes run: see the end.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
import trio

import trioauth
from trioauth.stores import SQLiteStore
from trioauth.stores._contract import Record

from .files import check_unlocked

ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(trioauth.__file__).parents[1])}
PROCESSES, INCREMENTS, KEYS = 4, 15, ("a", "b")
KILLS = 12


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "tests.test_sqlite_processes", *map(str, arguments)]


@pytest.mark.slow
async def test_processes_that_share_a_file_lose_no_update(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "logins.db"
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for _ in range(PROCESSES):
                run = partial(trio.run_process, command("increment", path), env=ENVIRONMENT)
                nursery.start_soon(run)
    for key in KEYS:
        assert await SQLiteStore(path).at(key).load() == Record(PROCESSES * INCREMENTS)


@pytest.mark.slow
async def test_process_that_is_killed_at_any_moment_leaves_the_old_record_or_the_new(
    tmp_path: Path,
) -> None:
    path = tmp_path / "logins.db"
    saved = 0
    for number in range(KILLS):
        options = {"stdout": subprocess.PIPE, "env": ENVIRONMENT}
        async with trio.open_nursery() as nursery:
            child: trio.Process = await nursery.start(
                partial(trio.run_process, command("save", path), check=False, **options)
            )
            assert child.stdout is not None
            text = b""
            with trio.fail_after(30):
                # At another moment each time: so many saves are begun first.
                while text.count(b"\n") <= number:
                    text += await child.stdout.receive_some()
                child.send_signal(signal.SIGKILL)
                while more := await child.stdout.receive_some():
                    text += more
        # What was said to be saved is there, or the save after it.
        saved = max([saved, *map(int, text.split()[:-1])])
        whole = int(text.split()[-1]) if text.endswith(b"\n") else saved
        login = SQLiteStore(path).at("a")
        record = await login.load()
        assert record is not None
        assert max(saved, whole) <= record.generation <= max(saved, whole) + 1
        assert record.expires_at_unix == record.generation
        await check_unlocked(login)
        saved = record.generation
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.slow
async def test_lock_of_a_key_dies_with_its_process_and_no_sooner(tmp_path: Path) -> None:
    path = tmp_path / "logins.db"
    async with trio.open_nursery() as nursery:
        hold = partial(
            trio.run_process,
            command("hold", path),
            check=False,
            stdout=subprocess.PIPE,
            env=ENVIRONMENT,
        )
        child: trio.Process = await nursery.start(hold)
        assert child.stdout is not None
        with trio.fail_after(30):
            assert await child.stdout.receive_some() == b"held"
        login = SQLiteStore(path).at("a")
        with trio.move_on_after(0.2) as waiting:
            async with login.lock():
                pytest.fail("let in a second process")
        assert waiting.cancelled_caught
        await check_unlocked(SQLiteStore(path).at("b"))
        child.send_signal(signal.SIGKILL)
        await check_unlocked(login)


# --- the child processes --------------------------------------------------------------------------


async def increment(path: str) -> None:
    store = SQLiteStore(path)

    async def often(key: str) -> None:
        login = store.at(key)
        for _ in range(INCREMENTS):
            async with login.lock():
                record = await login.load()
                before = 0 if record is None else record.generation
                await login.save(Record(before + 1), expected=before)

    async with trio.open_nursery() as nursery:
        for key in KEYS:
            nursery.start_soon(often, key)


async def save(path: str) -> None:
    login = SQLiteStore(path).at("a")
    async with login.lock():
        record = await login.load()
        number = 0 if record is None else record.generation
        while True:
            number += 1
            record = Record(number, expires_at_unix=number)
            await login.save(record, expected=number - 1)
            print(number, flush=True)


async def hold(path: str) -> None:
    async with SQLiteStore(path).at("a").lock():
        print("held", end="", flush=True)
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run({"increment": increment, "save": save, "hold": hold}[sys.argv[1]], sys.argv[2])
