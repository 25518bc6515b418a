"""FileStore: a lock that is lost is noticed, and what a wait for one is for can be read."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

from trioauth import FileStore, Record, StoreConflictError, StoreError, Tokens
from trioauth.stores import _disk, _file
from trioauth.stores._hold import Hold
from trioauth.stores._pin import Pin

from .files import NEW, OLD, check_locked, check_unlocked, put

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "tokens.json"


@pytest.fixture
def lock_path(path: Path) -> Path:
    return path.with_name("tokens.json.lock")


def before_call(
    number: int, function: Callable[..., Any], action: Callable[[], object]
) -> Callable[..., Any]:
    """Do something before a function is called for the so-many-th time."""
    calls = 0

    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            action()
        return function(*args, **kwargs)

    return call


# --- the lock file is removed -------------------------------------------------------------------


async def test_p01_lock_file_removed_while_it_is_locked_lets_no_second_store_in(
    path: Path, lock_path: Path
) -> None:
    store, other = FileStore(path), FileStore(path)
    await put(store, OLD)
    async with store.lock():
        lock_path.unlink()
        await check_locked(other)
        lock_path.unlink()
        # This one is still alone, so it can go on.
        await store.probe()
        await store.save(NEW, expected=1)
    await check_unlocked(other)
    assert await other.load() == NEW


async def test_p01_lost_lock_is_noticed_before_the_grant_is_asked(
    path: Path, lock_path: Path
) -> None:
    store, other = FileStore(path), FileStore(path)
    async with store.lock():
        await store.probe()
        lock_path.unlink()
        # There are no tokens yet that could be locked.
        async with other.lock():
            with pytest.raises(StoreError, match="lost the lock of .* try again") as caught:
                await store.probe()
            assert caught.value.path == str(path)
            assert str(lock_path) in str(caught.value)
            with pytest.raises(StoreError, match="lost the lock of .* try again"):
                await store.save(NEW, expected=0)
            await other.save(OLD, expected=0)
    assert await store.load() == OLD
    await put(store, NEW, expected=1)


async def test_lock_is_lost_with_its_folder(path: Path) -> None:
    store = FileStore(path)
    await put(store, OLD)
    async with store.lock():
        shutil.rmtree(path.parent)
        with pytest.raises(StoreError, match="lost the lock"):
            await store.save(NEW, expected=1)
    await put(store, NEW)


async def test_lock_file_renamed_between_opening_and_locking_is_not_taken_for_the_lock(
    path: Path, lock_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileStore(path)
    await check_unlocked(store)
    moved = lock_path.with_name("moved")
    monkeypatch.setattr(
        fcntl, "flock", before_call(1, fcntl.flock, lambda: lock_path.rename(moved))
    )
    async with store.lock():
        assert moved.exists()
        await check_locked(FileStore(path))


async def test_tokens_replaced_between_opening_and_locking_are_locked_anew(
    path: Path, lock_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileStore(path)
    await put(store, OLD)

    def replace() -> None:
        new = path.with_name("new")
        new.write_text(NEW.to_text())
        new.replace(path)

    # The lock file first, then the tokens.
    monkeypatch.setattr(fcntl, "flock", before_call(2, fcntl.flock, replace))
    async with store.lock():
        assert await store.load() == NEW
        lock_path.unlink()
        await check_locked(FileStore(path))


async def test_lock_file_that_is_removed_as_soon_as_it_is_made_is_made_again(
    path: Path, lock_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.parent.mkdir()
    lexists, looks = os.path.lexists, []

    def look(name: Any) -> bool:
        looks.append(name)
        # Before the first opening, another process has it removed; before the second, made.
        return len(looks) == 1 or lexists(name)

    monkeypatch.setattr(os.path, "lexists", look)
    await check_unlocked(FileStore(path))
    assert looks[:2] == [lock_path, lock_path]


async def test_lock_file_that_another_process_makes_first_is_used(
    path: Path, lock_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.parent.mkdir()

    def make_first(name: Any) -> bool:
        lock_path.touch()
        return False

    monkeypatch.setattr(os.path, "lexists", make_first)
    await put(FileStore(path), OLD)


async def test_tokens_that_cannot_be_locked_leave_it_to_the_lock_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileStore(path)
    await put(store, OLD)
    flock, calls = fcntl.flock, 0

    def refuse_the_second(fd: int, operation: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", refuse_the_second)
    async with store.lock():
        await check_locked(FileStore(path))
        await store.probe()
        await store.save(NEW, expected=1)


async def test_what_is_not_a_regular_file_is_not_opened_to_lock_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.parent.mkdir()
    os.mkfifo(path)
    opened, os_open = [], os.open

    def note(name: Any, *args: Any) -> int:
        opened.append(Path(name))
        return os_open(name, *args)

    monkeypatch.setattr(os, "open", note)
    await check_unlocked(FileStore(path))
    assert opened
    assert path not in opened


async def test_lock_is_free_although_a_forked_process_has_its_files_open(path: Path) -> None:
    store = FileStore(path)
    await put(store, OLD)
    async with store.lock():
        # What a fork does to a descriptor.
        copies = [os.dup(fd) for fd in open_files(path)]
    assert copies
    await check_unlocked(FileStore(path))
    for fd in copies:
        os.close(fd)


def open_files(path: Path) -> list[int]:
    """The descriptors of this process that are open for a file."""
    found = []
    for fd in range(3, 256):
        try:
            info = os.fstat(fd)
        except OSError:
            continue
        if os.path.samestat(info, path.stat()):
            found.append(fd)
    return found


async def test_no_file_stays_open_whether_the_lock_was_had_or_not(
    path: Path, lock_path: Path
) -> None:
    store = FileStore(path)
    await put(store, OLD)
    await check_unlocked(store)
    async with FileStore(path).lock():
        before = len(open_files(path)), len(open_files(lock_path))
        await check_locked(store)
        # A thread that was left behind closes its file a moment later.
        with trio.fail_after(10):
            while (len(open_files(path)), len(open_files(lock_path))) != before:  # noqa: ASYNC110
                await trio.sleep(0.01)
    assert open_files(path) == open_files(lock_path) == []


async def test_file_made_anew_counts_whatever_the_store_has_seen_before(path: Path) -> None:
    store, login = FileStore(path), Record(1, Tokens("access"), login="somebody else")
    await put(store, OLD)
    await put(store, NEW, expected=1)
    async with store.lock():
        path.unlink()
        with pytest.raises(StoreConflictError, match="holds generation 0, not 2"):
            await store.save(NEW, expected=2)
        path.write_text(login.to_text())
        with pytest.raises(StoreConflictError, match="holds generation 1, not 2"):
            await store.save(NEW, expected=2)
    assert await store.load() == login


async def test_a_file_is_closed_even_if_it_can_not_be_unlocked(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network file system may have lost the lock."""
    await put(FileStore(path), OLD)
    pin = Pin.open(path, os.O_RDWR)
    assert pin.try_lock()

    def fail(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", fail)
        pin.close()
    assert open_files(path) == []


# --- what it waits for --------------------------------------------------------------------------


async def test_wait_for_another_process_says_whose_lock_it_waits_for(
    path: Path, lock_path: Path
) -> None:
    store = FileStore(path)
    assert store.waits_for is None
    async with FileStore(path).lock():
        await check_locked(store)
        # After the deadline, too.
        assert store.waits_for == f"another process to unlock {lock_path}"
    await check_unlocked(store)
    assert store.waits_for is None


async def test_a_wait_for_a_lock_says_so_while_it_tries_again_too(
    path: Path, lock_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, begun = FileStore(path), trio.Event()
    go, hang = trio.lowlevel.current_trio_token(), threading.Event()

    def wait() -> None:
        go.run_sync_soon(begun.set)
        hang.wait(10)

    async def wait_for_the_lock() -> None:
        async with store.lock():
            raise AssertionError("the lock is taken")

    async with FileStore(path).lock():
        with monkeypatch.context() as patch:
            patch.setattr(Hold, "try_acquire", before_call(2, Hold.try_acquire, wait))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait_for_the_lock)
                with trio.fail_after(5):
                    await begun.wait()
                assert store.waits_for == f"another process to unlock {lock_path}"
                nursery.cancel_scope.cancel()
            hang.set()
    await check_unlocked(store)


async def test_the_pauses_between_two_tries_for_a_lock_double_up_to_a_tenth_of_a_second(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await trio.lowlevel.checkpoint()
        if len(pauses) == 7:
            scope.cancel()

    async with FileStore(path).lock():
        with monkeypatch.context() as patch, trio.CancelScope() as scope:
            patch.setattr(random, "uniform", lambda _, __: 1)
            patch.setattr(trio, "sleep", sleep)
            async with FileStore(path).lock():
                raise AssertionError("the lock is taken")
    assert pauses == [0.005, 0.01, 0.02, 0.04, 0.08, 0.1, 0.1]


async def test_wait_for_a_disk_that_hangs_says_whose_disk_it_waits_for(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileStore(path)
    go = trio.lowlevel.current_trio_token()
    begun = trio.Event()
    read_end, write_end = os.pipe()

    def hang() -> None:
        go.run_sync_soon(begun.set)
        os.read(read_end, 1)

    with monkeypatch.context() as patch:
        patch.setattr(_file, "read", before_call(1, _disk.read, hang))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.load)
            with trio.fail_after(5):
                await begun.wait()
            nursery.cancel_scope.cancel()
        assert store.waits_for == f"the disk of {path}"
        os.write(write_end, b"x")
        with trio.fail_after(5):
            assert await store.load() is None
    assert store.waits_for is None
    os.close(read_end)
    os.close(write_end)


async def test_error_of_the_disk_is_the_end_of_the_wait(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    store = FileStore(path)
    with pytest.raises(StoreError, match="it is empty"):
        await store.load()
    assert store.waits_for is None
