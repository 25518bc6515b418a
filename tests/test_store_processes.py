"""FileStore between processes: they exclude each other, and may be killed at any moment.

This file is also what the child processes run: see the end.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

import trioauth
from trioauth._tokens import Tokens
from trioauth.stores import FileStore
from trioauth.stores._contract import Record
from trioauth.testing import AuthServer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

OLD = Record(1, Tokens("old-access", "old-refresh", 60.0), login="me", expires_at_unix=1e9)
NEW = Record(2, Tokens("new-access", "new-refresh", 60.0), login="me", expires_at_unix=2e9)

PROCESSES, INCREMENTS = 4, 15
FLEET, REQUESTS = 8, 8
KILLED = 77


ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(trioauth.__file__).parents[1])}


async def run_child(*arguments: object) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, __file__, *map(str, arguments)]
    with trio.fail_after(60):
        return await trio.run_process(command, env=ENVIRONMENT, capture_stdout=True, check=False)


@pytest.mark.slow
async def test_processes_that_share_a_file_lose_no_update(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "tokens.json"

    async def increment() -> None:
        child = await run_child("increment", path)
        assert child.returncode == 0

    async with trio.open_nursery() as nursery:
        for _ in range(PROCESSES):
            nursery.start_soon(increment)
    assert await FileStore(path).load() == Record(PROCESSES * INCREMENTS)
    assert sorted(file.name for file in path.parent.iterdir()) == [path.name, f"{path.name}.lock"]


@pytest.mark.slow
async def test_process_that_is_killed_at_any_system_call_leaves_the_old_record_or_the_new(
    tmp_path: Path,
) -> None:
    paths = [tmp_path / str(number) / "tokens.json" for number in range(100)]
    for path in paths:
        path.parent.mkdir()
        path.write_text(OLD.to_text())
    calls = (await run_child("save", paths.pop(), 0)).stdout.decode().split()
    assert [call for call in calls if call in ("write", "fsync", "replace")] == [
        "write",
        "fsync",
        "replace",
        "fsync",
    ]
    found = []
    limiter = trio.CapacityLimiter(os.cpu_count() or 1)

    async def kill_and_look(path: Path, number: int) -> None:
        async with limiter:
            child = await run_child("save", path, number)
        assert child.returncode == KILLED
        store = FileStore(path)
        with trio.fail_after(5):
            async with store.lock():
                record = await store.load()
                assert record in (OLD, NEW)
                found.append((number, record.generation))
                await store.save(Record(3), expected=record.generation)
        assert await store.load() == Record(3)

    async with trio.open_nursery() as nursery:
        for number, path in zip(range(1, len(calls) + 1), paths, strict=False):
            nursery.start_soon(kill_and_look, path, number)
    # Killed before the replacing, there is the old one; after it, the new one.
    replaced = calls.index("replace") + 1
    assert dict(found) == {
        number: 1 if number <= replaced else 2 for number in range(1, len(calls) + 1)
    }


async def test_lock_of_a_process_that_is_killed_is_free(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    hold = partial(trio.run_process, env=ENVIRONMENT, stdout=subprocess.PIPE, check=False)
    async with trio.open_nursery() as nursery:
        child = await nursery.start(hold, [sys.executable, __file__, "hold", str(path)])
        with trio.fail_after(30):
            assert (await child.stdout.receive_some()).startswith(b"locked")
        store = FileStore(path)
        with trio.move_on_after(0.1) as scope:
            async with store.lock():
                pytest.fail("got a lock that another process has")
        assert scope.cancelled_caught
        child.kill()
        with trio.fail_after(5):
            async with store.lock():
                assert await store.load() is None


@pytest.mark.slow
async def test_p01_processes_whose_lock_file_is_removed_again_and_again_send_no_token_twice(
    tmp_path: Path,
) -> None:
    path = tmp_path / "tokens.json"
    server = AuthServer()
    server.delay(0.1)  # for that long, one process has the lock and the others want it
    hold = partial(trio.run_process, env=ENVIRONMENT, stdout=subprocess.PIPE, check=False)

    async def work() -> None:
        assert (await run_child("work", path, server.token_url, server.url)).returncode == 0

    async def disturb() -> None:
        # Not shorter: a process must have time to look for the lock file, and to lock it.
        while True:
            await trio.sleep(0.03)
            server.expire()
            path.with_name("tokens.json.lock").unlink(missing_ok=True)

    async with server.serve(), trio.open_nursery() as disturbing:
        store = FileStore(path)
        async with trioauth.open_session(server.grant(), store=store, base_url=server.url) as first:
            await first.log_in(server.log_in())
        async with trio.open_nursery() as nursery:
            for _ in range(FLEET):
                nursery.start_soon(work)
            killed = await nursery.start(hold, [sys.executable, __file__, "hold", str(path)])
            disturbing.start_soon(disturb)
            with trio.fail_after(30):
                assert (await killed.stdout.receive_some()).startswith(b"locked")
            killed.kill()
        disturbing.cancel_scope.cancel()
    record = await store.load()
    assert record is not None
    assert server.ledger.reused == 0
    assert server.ledger.refreshes == record.generation - 1
    assert server.ledger.refreshes >= 3


# --- what the children do ---------------------------------------------------------------------


async def increment(path: Path) -> None:
    store = FileStore(path)
    for _ in range(INCREMENTS):
        async with store.lock():
            # Fails if another process is in here.
            alone = path.with_name("alone")
            alone.touch(exist_ok=False)
            record = await store.load()
            generation = 0 if record is None else record.generation
            await store.save(Record(generation + 1), expected=generation)
            alone.unlink()


async def save(path: Path, killed_at: int) -> None:
    """Save, and die at that system call; in the middle of it, if it writes. 0: print them all."""
    calls: list[str] = []

    def watch(name: str) -> None:
        function = getattr(os, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            if len(calls) == killed_at:
                if name == "write":
                    function(args[0], args[1][: len(args[1]) // 2])
                os._exit(KILLED)
            return function(*args, **kwargs)

        setattr(os, name, call)

    store = FileStore(path)
    async with store.lock():
        for name in ("open", "fchmod", "write", "fsync", "close", "replace"):
            watch(name)
        await store.save(NEW, expected=1)
    if killed_at == 0:
        print(*calls)


async def work(path: Path, token_url: str, url: str) -> None:
    grant = trioauth.RefreshTokenGrant(token_url, client_id="client")
    async with trioauth.open_session(grant, store=FileStore(path), base_url=url) as session:
        for _ in range(REQUESTS):
            await session.get("/notes")


async def hold(path: Path) -> None:
    async with FileStore(path).lock():
        print("locked", flush=True)
        await trio.sleep_forever()


if __name__ == "__main__":
    command, where, *rest = sys.argv[1:]
    jobs: dict[str, Callable[..., Awaitable[None]]] = {
        "increment": increment,
        "save": save,
        "work": work,
        "hold": hold,
    }
    trio.run(jobs[command], Path(where), *(int(each) if each.isdigit() else each for each in rest))
