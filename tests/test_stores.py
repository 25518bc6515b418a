"""MemoryStore and FileStore: the contract of a token store, and what a file adds to it."""

from __future__ import annotations

import errno
import fcntl
import gc
import os
import stat
import threading
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import attrs
import filelock
import pytest
import trio
import trio.testing

from trioauth._errors import StoreConflictError, StoreError
from trioauth._tokens import Tokens
from trioauth.stores import FileStore, MemoryStore, _disk
from trioauth.stores._contract import Record
from trioauth.stores._place import Desk

from .files import NEW, OLD, check_locked, check_unlocked, fail, put

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
    from types import ModuleType

AnyStore = MemoryStore | FileStore

SECRET = "s3cr3t-canary"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tokens.json"


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, path: Path) -> AnyStore:
    return MemoryStore() if request.param == "memory" else FileStore(path)


def leftovers(path: Path) -> list[str]:
    return sorted(file.name for file in path.parent.iterdir() if file.name.endswith(".tmp"))


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


# --- the contract -----------------------------------------------------------------------------


async def test_empty_store_loads_none(store: AnyStore) -> None:
    assert await store.load() is None
    async with store.lock():
        assert await store.load() is None


async def test_what_was_saved_is_loaded(store: AnyStore) -> None:
    await put(store, OLD)
    assert await store.load() == OLD
    await put(store, NEW, expected=1)
    assert await store.load() == NEW


async def test_logged_out_is_a_record_too(store: AnyStore) -> None:
    await put(store, Record(1, None, login="me"))
    assert await store.load() == Record(1, None, login="me")


@pytest.mark.parametrize(("stored", "expected"), [(None, 1), (OLD, 0), (OLD, 2)])
async def test_save_that_expected_another_generation_changes_nothing(
    store: AnyStore, stored: Record | None, expected: int
) -> None:
    if stored is not None:
        await put(store, stored)
    async with store.lock():
        with pytest.raises(
            StoreConflictError, match=f"not {expected}: another session saved first"
        ):
            await store.save(NEW, expected=expected)
        assert await store.load() == stored


async def test_save_without_the_lock_is_a_programming_error(store: AnyStore) -> None:
    with pytest.raises(RuntimeError, match="save.. needs the lock"):
        await store.save(OLD, expected=0)
    await put(store, OLD)
    with pytest.raises(RuntimeError, match="save.. needs the lock"):
        await store.save(NEW, expected=1)
    assert await store.load() == OLD


async def test_lock_admits_one_task_at_a_time_and_no_update_is_lost(store: AnyStore) -> None:
    inside = 0

    async def increment() -> None:
        nonlocal inside
        async with store.lock():
            inside += 1
            assert inside == 1
            record = await store.load()
            generation = 0 if record is None else record.generation
            await store.save(Record(generation + 1), expected=generation)
            inside -= 1

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(increment)
    assert await store.load() == Record(10)


async def test_lock_is_free_after_an_error_in_the_block(store: AnyStore) -> None:
    with pytest.raises(KeyError):
        async with store.lock():
            raise KeyError
    await check_unlocked(store)
    with pytest.raises(RuntimeError, match="needs the lock"):
        await store.save(OLD, expected=0)


async def test_all_methods_are_checkpoints(store: AnyStore) -> None:
    with trio.testing.assert_checkpoints():
        async with store.lock():
            with trio.testing.assert_checkpoints():
                await store.save(OLD, expected=0)
    with trio.testing.assert_checkpoints():
        await store.load()
    with trio.testing.assert_checkpoints(), pytest.raises(RuntimeError):
        await store.save(OLD, expected=0)


async def test_nothing_happens_in_a_cancelled_scope(store: AnyStore) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        async with store.lock():
            raise AssertionError("locked in a cancelled scope")
    assert scope.cancelled_caught
    async with store.lock():
        with trio.CancelScope() as scope:
            scope.cancel()
            await store.save(OLD, expected=0)
        assert scope.cancelled_caught
        with trio.CancelScope() as scope:
            scope.cancel()
            await store.load()
        assert scope.cancelled_caught
        with trio.CancelScope() as scope:
            scope.cancel()
            await store.probe()
        assert scope.cancelled_caught
    assert await store.load() is None


@attrs.define(eq=False)
class CancelAt(trio.abc.Instrument):
    """Cancels ``scope`` at the ``step``-th step of its task.

    Before the step, the task was woken already, and learns of it at its next checkpoint;
    after it, the task has gone to sleep, and learns of it in there.
    """

    task: trio.lowlevel.Task
    scope: trio.CancelScope
    step: int
    phase: str

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._count("before", task)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self._count("after", task)

    def _count(self, phase: str, task: trio.lowlevel.Task) -> None:
        if task is self.task and phase == self.phase:
            self.step -= 1
            if self.step == 0:
                self.scope.cancel()


@asynccontextmanager
async def cancelled_at(step: int, phase: str) -> AsyncGenerator[trio.CancelScope, None]:
    with trio.CancelScope() as scope:  # noqa: ASYNC100  # the block has them
        saboteur = CancelAt(trio.lowlevel.current_task(), scope, step, phase)
        trio.lowlevel.add_instrument(saboteur)
        try:
            yield scope
        finally:
            trio.lowlevel.remove_instrument(saboteur)


@pytest.mark.parametrize("phase", ["before", "after"])
@pytest.mark.parametrize("kind", ["memory", "file"])
async def test_save_cancelled_at_any_checkpoint_is_all_or_nothing(
    kind: str, phase: str, tmp_path: Path
) -> None:
    outcomes = []
    for step in range(1, 100):
        path = tmp_path / f"{step}.json"
        store = MemoryStore() if kind == "memory" else FileStore(path)
        await put(store, OLD)
        async with cancelled_at(step, phase) as scope, store.lock():
            assert await store.load() == OLD
            await store.save(NEW, expected=1)
        # Once we have the lock, whatever was left behind has ended.
        async with store.lock():
            record = await store.load()
            assert record is not None
            outcomes.append((scope.cancelled_caught, record.generation))
            await store.save(Record(3), expected=record.generation)
        assert await store.load() == Record(3)
        assert leftovers(tmp_path / "any") == []
        if not scope.cancelled_caught:
            break
    assert outcomes[0] == (True, 1)
    assert outcomes[-1] == (False, 2)
    assert len(outcomes) > 3


# --- MemoryStore ------------------------------------------------------------------------------


async def test_memory_store_may_start_with_a_record() -> None:
    store = MemoryStore(OLD)
    assert await store.load() == OLD
    assert "old-access" not in repr(store)


def test_memory_store_may_be_used_in_one_run_after_another() -> None:
    store = MemoryStore()
    trio.run(put, store, OLD)
    assert trio.run(store.load) == OLD


def test_package_has_no_other_names() -> None:
    import trioauth.stores

    with pytest.raises(AttributeError, match="no attribute 'PostgresStore'"):
        trioauth.stores.PostgresStore  # type: ignore[attr-defined]  # noqa: B018


# --- FileStore: its path ----------------------------------------------------------------------


def test_file_store_does_nothing_when_it_is_made(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "none" / "tokens.json")
    assert list(tmp_path.iterdir()) == []
    assert str(tmp_path / "none" / "tokens.json") in repr(store)


def test_file_store_takes_a_str_or_a_path_and_expands_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert FileStore("~/t.json").path == tmp_path / "t.json"
    assert FileStore(Path("~/t.json")).path == tmp_path / "t.json"


async def test_relative_path_counts_from_where_the_store_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = FileStore("tokens.json")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    await put(store, OLD)
    assert (tmp_path / "tokens.json").exists()


@pytest.mark.parametrize("bad", ["", "a\0b"])
def test_file_store_refuses_a_path_that_can_be_none(bad: Any) -> None:
    with pytest.raises(ValueError, match="^path must name a file"):
        FileStore(bad)


@pytest.mark.parametrize("bad", [None, 3])
def test_file_store_refuses_what_is_no_path(bad: Any) -> None:
    with pytest.raises(TypeError):
        FileStore(bad)


def test_file_store_refuses_bytes() -> None:
    with pytest.raises(TypeError, match="^path must be a str or a path of str, not bytes"):
        FileStore(b"tokens.json")  # type: ignore[arg-type]  # the point


def test_path_cannot_be_changed(path: Path) -> None:
    store = FileStore(path)
    with pytest.raises(attrs.exceptions.FrozenAttributeError):
        store.path = path / "other"


# --- FileStore: private -----------------------------------------------------------------------


@pytest.fixture
def umask() -> Generator[Callable[[int], int], None, None]:
    before = os.umask(0)
    yield os.umask
    os.umask(before)


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o277])
async def test_files_are_private_whatever_the_umask(
    path: Path, umask: Callable[[int], int], mask: int
) -> None:
    umask(mask)
    await put(FileStore(path), OLD)
    assert mode_of(path) == 0o600
    assert mode_of(path.with_name("tokens.json.lock")) == 0o600


async def test_missing_folders_are_made_and_private(
    tmp_path: Path, umask: Callable[[int], int]
) -> None:
    (tmp_path / "there").mkdir(mode=0o755)
    store = FileStore(tmp_path / "there" / "a" / "b" / "tokens.json")
    assert await store.load() is None
    assert list(tmp_path.rglob("a")) == []
    async with store.lock():
        pass
    assert mode_of(tmp_path / "there") == 0o755
    assert mode_of(tmp_path / "there" / "a") == 0o700
    assert mode_of(tmp_path / "there" / "a" / "b") == 0o700


async def test_file_that_others_may_read_is_loaded_and_private_after_the_next_save(
    path: Path,
) -> None:
    path.write_text(OLD.to_text())
    path.chmod(0o644)
    store = FileStore(path)
    assert await store.load() == OLD
    await put(store, NEW, expected=1)
    assert mode_of(path) == 0o600


@pytest.mark.parametrize("step", ["fchmod", "write"])
async def test_file_is_never_open_to_others_while_it_is_written(
    path: Path, umask: Callable[[int], int], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    store, modes = FileStore(path), []
    call = getattr(os, step)

    def note_and_call(fd: int, *args: Any) -> Any:
        modes.append(os.fstat(fd).st_mode & 0o777)
        return call(fd, *args)

    async with store.lock():
        monkeypatch.setattr(os, step, note_and_call)
        await store.save(OLD, expected=0)
    assert modes == [0o600]


# --- FileStore: what is not ours --------------------------------------------------------------


def contents(text: str | bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(text if isinstance(text, bytes) else text.encode())


def symlink(path: Path) -> None:
    target = path.with_name("target.json")
    target.write_text(OLD.to_text())
    path.symlink_to(target)


NOT_OURS: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (contents(""), "is empty; move it away"),
    "cut short": (contents(OLD.to_text()[:-20]), "damaged"),
    "not JSON": (contents(f"refresh_token = {SECRET}"), "damaged"),
    "not UTF-8": (contents(b"\xff" + SECRET.encode()), "damaged"),
    "something else": (contents(f'{{"refresh_token": "{SECRET}"}}'), "written by something else"),
    "newer": (contents(OLD.to_text().replace('"version": 1', '"version": 2')), "newer"),
    "too large": (contents(b" " * 1_000_001), "larger than 1000000 bytes"),
    "symbolic link": (symlink, "symbolic link, and none is followed: name the file it points to"),
    "dangling link": (lambda path: path.symlink_to("nowhere"), "symbolic link"),
    "folder": (lambda path: path.mkdir(), "not a regular file"),
    "pipe": (os.mkfifo, "not a regular file"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "symbolic link"),
}


@pytest.mark.parametrize("what", NOT_OURS)
async def test_what_is_not_ours_is_refused_and_left_as_it_is(path: Path, what: str) -> None:
    make, message = NOT_OURS[what]
    make(path)
    store = FileStore(path)
    before = path.lstat()
    with trio.fail_after(5):
        for expected in (None, 0, 1):
            with pytest.raises(StoreError, match=message) as caught:
                if expected is None:
                    await store.load()
                else:
                    await put(store, NEW, expected=expected)
            assert type(caught.value) is StoreError
            assert caught.value.path == str(path)
            assert str(path) in str(caught.value)
            check_no_secret(caught.value)
    after = path.lstat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert leftovers(path) == []


def check_no_secret(error: BaseException | None) -> None:
    while error is not None:
        assert SECRET not in repr(error)
        assert SECRET not in repr(vars(error))
        assert not isinstance(error, ValueError)
        error = error.__cause__ or error.__context__


async def test_file_of_another_user_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text(OLD.to_text())
    monkeypatch.setattr(_disk, "_uid", lambda: os.geteuid() + 1)
    store = FileStore(path)
    with pytest.raises(StoreError, match="is left as it is: it belongs to another user; move it"):
        await store.load()
    with pytest.raises(StoreError, match="belongs to another user"):
        await put(store, NEW, expected=1)
    assert path.read_text() == OLD.to_text()


async def test_link_put_in_place_between_look_and_open_is_not_followed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = path.with_name("target.json")
    target.write_text(OLD.to_text())
    path.write_text(OLD.to_text())
    os_open = os.open

    def swap_and_open(name: Path, *args: Any, **kwargs: Any) -> int:
        if name == path:
            path.unlink()
            path.symlink_to(target)
        return os_open(name, *args, **kwargs)

    monkeypatch.setattr(os, "open", swap_and_open)
    with pytest.raises(StoreError, match="symbolic link, and none is followed"):
        await FileStore(path).load()


async def test_file_replaced_between_look_and_open_is_looked_at_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_text(OLD.to_text())
    os_open = os.open

    def swap_and_open(name: Path, *args: Any, **kwargs: Any) -> int:
        if name == path:
            path.unlink()
            os.mkfifo(path)
        return os_open(name, *args, **kwargs)

    monkeypatch.setattr(os, "open", swap_and_open)
    with trio.fail_after(5), pytest.raises(StoreError, match="not a regular file"):
        await FileStore(path).load()


@pytest.mark.parametrize("target", ["target", "nowhere"])
async def test_lock_file_that_is_a_symbolic_link_is_refused(path: Path, target: str) -> None:
    victim = path.with_name("target")
    victim.write_text("precious")
    path.with_name("tokens.json.lock").symlink_to(path.with_name(target))
    with pytest.raises(
        StoreError, match="can't lock .*symbolic link, and none is followed"
    ) as caught:
        await put(FileStore(path), OLD)
    assert caught.value.path == str(path)
    assert victim.read_text() == "precious"
    assert sorted(file.name for file in path.parent.iterdir()) == ["target", "tokens.json.lock"]


async def test_record_that_could_not_be_read_back_is_not_written(path: Path) -> None:
    store = FileStore(path)
    await put(store, OLD)
    with pytest.raises(StoreError, match="more than 1000000 bytes"):
        await put(store, Record(2, Tokens("x" * 1_000_001)), expected=1)
    assert await store.load() == OLD


async def test_64_kb_of_token_are_fine(path: Path) -> None:
    record = Record(1, Tokens("x" * 65536, "y" * 65536))
    await put(FileStore(path), record)
    assert await FileStore(path).load() == record


# --- FileStore: when the disk fails -----------------------------------------------------------


@pytest.mark.parametrize("step", ["write", "fsync", "replace", "close"])
@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "make room on the disk"),
        (errno.EDQUOT, "make room within the quota"),
        (errno.EROFS, "the file system is read-only"),
        (errno.EACCES, "check who may read and write"),
        (errno.EIO, "see to it, or name another path"),
    ],
)
async def test_save_that_fails_at_any_step_leaves_the_old_record(
    path: Path, monkeypatch: pytest.MonkeyPatch, step: str, number: int, remedy: str
) -> None:
    store = FileStore(path)
    await put(store, OLD)
    async with store.lock():
        with monkeypatch.context() as patch:
            call = getattr(os, step)
            calls = 0

            def fail_when_writing(*args: Any) -> None:
                # The first close ends the reading of the old record.
                nonlocal calls
                calls += 1
                if step != "close":
                    fail(number)()
                call(*args)
                if calls == 2:
                    fail(number)()

            patch.setattr(os, step, fail_when_writing)
            with pytest.raises(StoreError, match=f"can't write .*; {remedy}") as caught:
                await store.save(NEW, expected=1)
        assert caught.value.path == str(path)
        assert isinstance(caught.value.__cause__, OSError)
        assert caught.value.__cause__.errno == number
        assert await store.load() == OLD
        assert leftovers(path) == []
        await store.save(NEW, expected=1)
    assert await store.load() == NEW


async def test_folder_that_cannot_be_flushed_is_no_error(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileStore(path)
    fsync = os.fsync
    flushed = []

    def fail_on_folders(fd: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(fd).st_mode)
        flushed.append(is_folder)
        if is_folder:
            fail(errno.EINVAL)()
        fsync(fd)

    monkeypatch.setattr(os, "fsync", fail_on_folders)
    await put(store, OLD)
    assert flushed == [False, True]
    assert await store.load() == OLD


async def test_write_that_takes_only_a_part_goes_on(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:7]))
    await put(FileStore(path), OLD)
    assert await FileStore(path).load() == OLD


async def test_file_that_cannot_be_read_is_an_error_with_a_remedy(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_text(OLD.to_text())
    monkeypatch.setattr(os, "open", fail(errno.EACCES))
    with pytest.raises(StoreError, match="can't read .*: Permission denied; check who may"):
        await FileStore(path).load()


async def test_folder_that_cannot_be_made_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = FileStore(tmp_path / "file" / "folder" / "tokens.json")
    with pytest.raises(StoreError, match="can't read .*a part of the path is not a folder"):
        await store.load()
    with pytest.raises(StoreError, match="can't lock .*a part of the path is not a folder"):
        await put(store, OLD)


async def test_leftovers_of_writers_that_died_are_removed_when_old(path: Path) -> None:
    old = path.with_name(".tokens.json.0123456789abcdef.tmp")
    young = path.with_name(".tokens.json.fedcba9876543210.tmp")
    other = path.with_name(".tokens.json.bak.0123456789abcdef.tmp")
    for file in (old, young, other):
        file.touch()
    for file in (old, other):
        os.utime(file, (time.time() - 61, time.time() - 61))
    await put(FileStore(path), OLD)
    assert leftovers(path) == sorted([young.name, other.name])


# --- FileStore: the lock ----------------------------------------------------------------------


async def wait_for_attempts(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Wait until others have tried for a lock so many times more."""
    tried = trio.Event()
    token = trio.lowlevel.current_trio_token()
    acquire = filelock.BaseFileLock.acquire

    def count_and_acquire(self: filelock.BaseFileLock, *args: Any, **kwargs: Any) -> object:
        nonlocal count
        count -= 1
        if count == 0:
            token.run_sync_soon(tried.set)
        return acquire(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(filelock.BaseFileLock, "acquire", count_and_acquire)
        with trio.fail_after(5):
            await tried.wait()


async def test_two_stores_on_one_path_exclude_each_other(
    path: Path, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = FileStore(path), FileStore(path.parent / "." / path.name)
    got = trio.Event()

    async def lock_second() -> None:
        async with second.lock():
            got.set()

    async with first.lock():
        nursery.start_soon(lock_second)
        await wait_for_attempts(monkeypatch, 3)
        assert not got.is_set()
    with trio.fail_after(5):
        await got.wait()


async def test_holding_the_lock_of_one_store_is_not_holding_that_of_another(path: Path) -> None:
    async with FileStore(path).lock():
        with pytest.raises(RuntimeError, match="needs the lock"):
            await FileStore(path).save(OLD, expected=0)


async def test_cancelled_wait_for_the_lock_leaves_nothing_locked(
    path: Path, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = FileStore(path), FileStore(path)
    scope = trio.CancelScope()

    async def lock_second() -> None:
        with scope:
            async with second.lock():
                raise AssertionError("got a lock that was taken")

    async with first.lock():
        nursery.start_soon(lock_second)
        await wait_for_attempts(monkeypatch, 2)
        scope.cancel()
    await check_unlocked(FileStore(path))


async def test_tasks_get_the_lock_of_a_store_in_the_order_they_came(path: Path) -> None:
    store, order = FileStore(path), []

    async def lock(number: int) -> None:
        async with store.lock():
            order.append(number)

    async with trio.open_nursery() as nursery:
        async with store.lock():
            for number in range(5):
                nursery.start_soon(lock, number)
                await trio.testing.wait_all_tasks_blocked()
    assert order == [0, 1, 2, 3, 4]


@attrs.define(eq=False)
class Stall:
    """Makes the next call of a system call hang until `go` is set."""

    function: Callable[..., Any]
    armed: bool
    begun: threading.Event = attrs.field(factory=threading.Event)
    go: threading.Event = attrs.field(factory=threading.Event)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.armed:
            self.armed = False
            self.begun.set()
            assert self.go.wait(10)
        return self.function(*args, **kwargs)

    async def wait_begun(self) -> None:
        with trio.fail_after(5):
            while not self.begun.is_set():  # noqa: ASYNC110  # a thread sets it
                await trio.sleep(0.001)


class MakeStall(Protocol):
    def __call__(self, module: ModuleType, name: str, *, armed: bool = True) -> Stall: ...


@pytest.fixture
def stall(monkeypatch: pytest.MonkeyPatch) -> Generator[MakeStall, None, None]:
    made: list[Stall] = []

    def make(module: ModuleType, name: str, *, armed: bool = True) -> Stall:
        made.append(Stall(getattr(module, name), armed))
        monkeypatch.setattr(module, name, made[-1])
        return made[-1]

    yield make
    for each in made:
        each.go.set()


async def cancel_when_begun(stall: Stall, function: Callable[[], Awaitable[object]]) -> None:
    """Call an async function, and cancel it once it hangs. It must leave at once."""
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def cancel() -> None:
            await stall.wait_begun()
            nursery.cancel_scope.cancel()

        with trio.fail_after(5):
            await function()
            raise AssertionError("it did not hang")


@pytest.mark.parametrize("step", ["fsync", "replace", "open"])
async def test_file_stays_locked_until_an_abandoned_save_has_ended(
    path: Path, stall: MakeStall, step: str
) -> None:
    store, other = FileStore(path), FileStore(path)
    await put(store, OLD)

    hanging = stall(os, step, armed=False)

    async def save() -> None:
        async with store.lock():
            hanging.armed = True
            await store.save(NEW, expected=1)

    await cancel_when_begun(hanging, save)
    assert await other.load() == OLD
    await check_locked(other)
    await check_locked(store)
    hanging.go.set()
    # What we save now, the abandoned one can't overwrite.
    with trio.fail_after(5):
        async with other.lock():
            assert await other.load() == NEW
            await other.save(Record(3), expected=2)
    assert await store.load() == Record(3)
    assert leftovers(path) == []


async def test_abandoned_save_ends_before_the_next_under_the_same_lock(
    path: Path, stall: MakeStall
) -> None:
    store = FileStore(path)
    async with store.lock():
        hanging = stall(os, "fsync")
        await cancel_when_begun(hanging, lambda: store.save(OLD, expected=0))
        with trio.move_on_after(0.05) as scope:
            await store.save(NEW, expected=0)
        assert scope.cancelled_caught
        hanging.go.set()
        with trio.fail_after(5):
            assert await store.load() == OLD
        with pytest.raises(StoreConflictError):
            await store.save(NEW, expected=0)
        await store.save(NEW, expected=1)
    assert await store.load() == NEW


async def test_lock_that_an_abandoned_attempt_gets_is_given_back(
    path: Path, stall: MakeStall, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The garbage collector would give it back, too, if later.
    monkeypatch.delattr(filelock.BaseFileLock, "__del__")
    store = FileStore(path)
    hanging = stall(fcntl, "flock")

    async def lock() -> None:
        async with store.lock():
            raise AssertionError("locked after it was cancelled")

    await cancel_when_begun(hanging, lock)
    hanging.go.set()
    await check_unlocked(store)
    await check_unlocked(FileStore(path))


async def test_hanging_disk_does_not_use_up_threads(path: Path, stall: MakeStall) -> None:
    path.write_text(OLD.to_text())
    store = FileStore(path)
    hanging = stall(os, "open")
    await cancel_when_begun(hanging, store.load)
    before = threading.active_count()
    for _ in range(5):
        with trio.move_on_after(0.01) as scope:
            await store.load()
        assert scope.cancelled_caught
    assert threading.active_count() == before
    hanging.go.set()
    with trio.fail_after(5):
        assert await store.load() == OLD


def test_store_works_in_the_next_run_after_a_thread_outlived_one(
    path: Path, stall: MakeStall
) -> None:
    store = FileStore(path)
    hanging = stall(os, "fsync")

    async def leave_a_thread_behind() -> None:
        async with store.lock():
            await cancel_when_begun(hanging, lambda: store.save(OLD, expected=0))

    async def use() -> Record | None:
        await check_locked(store)
        hanging.go.set()
        with trio.fail_after(5):
            await put(store, NEW, expected=1)
        return await store.load()

    trio.run(leave_a_thread_behind)
    assert trio.run(use) == NEW


async def test_thread_that_begins_after_its_task_has_left_does_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # How a thread can be so late: its task is cancelled between starting it and its first line.
    store = FileStore(path)
    late = []

    async def hang(work: Callable[[], object], **kwargs: object) -> None:
        late.append(work)
        await trio.sleep_forever()

    async with store.lock():
        with monkeypatch.context() as patch, trio.CancelScope() as scope:
            patch.setattr(trio.to_thread, "run_sync", hang)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: store.save(OLD, expected=0))
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
    with pytest.raises(RuntimeError, match="has left"):
        late[0]()
    assert await store.load() is None
    await check_unlocked(store)


async def test_file_system_without_locks_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", fail(errno.ENOSYS))
    for _ in range(2):
        with trio.fail_after(5), pytest.raises(StoreError, match="the file system can't lock"):
            await put(FileStore(path), OLD)
    assert not path.exists()


async def test_lock_file_that_is_a_folder_is_an_error(path: Path) -> None:
    path.with_name("tokens.json.lock").mkdir()
    with pytest.raises(StoreError, match=r"can't lock .*tokens.json.lock: Is a directory"):
        await put(FileStore(path), OLD)


@pytest.mark.slow
async def test_file_stores_that_were_dropped_leave_nothing_behind(tmp_path: Path) -> None:
    # One for each user of a program that runs for months, say.
    before = desks()
    for number in range(20):
        await put(FileStore(tmp_path / f"{number}.json"), OLD)
    assert desks() <= before + 1


def desks() -> int:
    gc.collect()
    return sum(isinstance(each, Desk) for each in gc.get_objects())
