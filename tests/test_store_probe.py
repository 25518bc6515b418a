"""Stores: what can be tried before a refresh token is spent, and what an odd disk may refuse."""

from __future__ import annotations

import errno
import os
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from trioauth import FileStore, MemoryStore, Record, StoreError, Tokens
from trioauth.stores import _disk, _mounts
from trioauth.stores._contract import probe_store

from .files import NEW, OLD, fail, mount, put

if TYPE_CHECKING:
    from collections.abc import Callable, Generator


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tokens.json"


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, path: Path) -> MemoryStore | FileStore:
    return MemoryStore() if request.param == "memory" else FileStore(path)


async def why_not(store: FileStore) -> str:
    """What a probe says, which must leave everything as it was."""
    before = snapshot(store.path.parent)
    async with store.lock():
        with pytest.raises(StoreError) as caught:
            await store.probe()
    assert type(caught.value) is StoreError
    assert caught.value.path == str(store.path)
    assert str(store.path) in str(caught.value)
    after = snapshot(store.path.parent)
    assert after == before | {f"{store.path.name}.lock": after[f"{store.path.name}.lock"]}
    return str(caught.value)


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    return {file.name: (file.lstat().st_ino, file.lstat().st_mtime_ns) for file in folder.iterdir()}


# --- the contract -----------------------------------------------------------------------------


async def test_probe_changes_nothing_and_a_save_after_it_works(
    store: MemoryStore | FileStore,
) -> None:
    async with store.lock():
        await store.probe()
        assert await store.load() is None
        await store.save(OLD, expected=0)
        await store.probe()
        assert await store.load() == OLD
        await store.save(NEW, expected=1)
    assert await store.load() == NEW


async def test_probe_is_a_checkpoint_and_wants_the_lock(store: MemoryStore | FileStore) -> None:
    with (
        trio.testing.assert_checkpoints(),
        pytest.raises(RuntimeError, match="^probe.. needs the lock"),
    ):
        await store.probe()
    async with store.lock():
        with trio.testing.assert_checkpoints():
            await store.probe()


async def test_store_that_has_no_probe_is_not_probed(store: MemoryStore | FileStore) -> None:
    await probe_store(object())  # type: ignore[arg-type]  # the point
    with pytest.raises(RuntimeError, match="^probe.. needs the lock"):
        await probe_store(store)


# --- what a probe of a file costs, and leaves ---------------------------------------------------


async def test_probe_flushes_nothing_and_leaves_no_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushes, written = [], 0
    fsync, write = os.fsync, os.write

    def count(fd: int) -> None:
        flushes.append(fd)
        fsync(fd)

    def count_bytes(fd: int, data: bytes) -> int:
        nonlocal written
        written += len(data)
        return write(fd, data)

    store = FileStore(path)
    await put(store, OLD)
    async with store.lock():
        monkeypatch.setattr(os, "fsync", count)
        before = snapshot(path.parent)
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", count_bytes)
            await store.probe()
        assert flushes == []
        assert written >= 8192
        assert snapshot(path.parent) == before
        await store.save(NEW, expected=1)
    # The file, and its folder: as many as ever.
    assert len(flushes) == 2


async def test_probe_wants_room_for_twice_what_is_stored(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, written = FileStore(path), 0
    write = os.write

    def count_bytes(fd: int, data: bytes) -> int:
        nonlocal written
        written += len(data)
        return write(fd, data)

    await put(store, Record(1, Tokens("x" * 100_000)))
    async with store.lock():
        monkeypatch.setattr(os, "write", count_bytes)
        await store.probe()
    assert written > 200_000


async def test_cancelled_probe_leaves_at_once_and_no_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, other = FileStore(path), FileStore(path)
    begun, go, write = trio.Event(), threading.Event(), os.write
    trio_token = trio.lowlevel.current_trio_token()

    def hang(fd: int, data: bytes) -> int:
        trio_token.run_sync_soon(begun.set)
        assert go.wait(10)
        return write(fd, data)

    await put(store, OLD)
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def probe() -> None:
                async with store.lock():
                    monkeypatch.setattr(os, "write", hang)
                    await store.probe()

            await begun.wait()
            nursery.cancel_scope.cancel()
    # The disk still hangs. The others are kept out until that has ended.
    with trio.move_on_after(0.1) as scope:
        async with other.lock():
            raise AssertionError("got a lock that was taken")
    assert scope.cancelled_caught
    go.set()
    with trio.fail_after(5):
        await put(other, NEW, expected=1)
    assert sorted(file.name for file in path.parent.iterdir()) == [path.name, f"{path.name}.lock"]


# --- what a probe finds out before the token is spent -------------------------------------------


@pytest.mark.parametrize(
    ("step", "number", "remedy"),
    [
        ("write", errno.ENOSPC, "make room on the disk"),
        ("write", errno.EDQUOT, "make room within the quota"),
        ("close", errno.ENOSPC, "make room on the disk"),
        ("write", errno.EIO, "see to it, or name another path"),
    ],
)
async def test_probe_says_what_a_save_would_say_of_the_disk(
    path: Path, monkeypatch: pytest.MonkeyPatch, step: str, number: int, remedy: str
) -> None:
    store = FileStore(path)
    prove = _disk.prove_replaceable
    close = os.close

    def close_and_fail(fd: int) -> None:
        is_new = os.fstat(fd).st_size >= 8192
        close(fd)
        if is_new:
            fail(number)()

    def prove_on_bad_disk(path: Path, size: int) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(os, step, fail(number) if step == "write" else close_and_fail)
            prove(path, size)

    await put(store, OLD)
    monkeypatch.setattr("trioauth.stores._file.prove_replaceable", prove_on_bad_disk)
    assert f"{os.strerror(number)}; {remedy}" in await why_not(store)
    assert await store.load() == OLD


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
async def test_probe_finds_a_folder_in_which_no_file_can_be_made(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    store, os_open = FileStore(path), os.open
    await put(store, OLD)

    def refuse_new_files(name: Any, flags: int, *args: Any) -> int:
        if flags & os.O_CREAT and str(name).endswith(".tmp"):
            fail(number)()
        return os_open(name, flags, *args)

    monkeypatch.setattr(os, "open", refuse_new_files)
    assert os.strerror(number) in await why_not(store)


async def test_probe_finds_a_folder_in_which_no_file_can_be_replaced(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Append-only (chattr +a): files can be made, but neither removed nor renamed.
    store, unlinked = FileStore(path), []
    unlink = os.unlink

    def refuse_once(name: Any, **kwargs: Any) -> None:
        unlinked.append(name)
        if len(unlinked) == 1:
            fail(errno.EPERM)()
        unlink(name, **kwargs)

    await put(store, OLD)
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refuse_once)
        assert "Operation not permitted; check who may" in await why_not(store)
    assert len(unlinked) == 2


async def test_probe_finds_a_file_that_is_immutable(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, os_open = FileStore(path), os.open
    await put(store, OLD)

    def refuse_writing(name: Any, flags: int, *args: Any) -> int:
        if name == path and flags & os.O_WRONLY:
            fail(number)()
        return os_open(name, flags, *args)

    monkeypatch.setattr(os, "open", refuse_writing)
    number = errno.EPERM
    assert "can't write" in await why_not(store)
    # One that can't be written can still be replaced.
    number = errno.EACCES
    async with store.lock():
        await store.probe()
        await store.save(NEW, expected=1)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.write_text("{}"), "written by something else"),
        (lambda path: path.symlink_to("elsewhere"), "is a symbolic link"),
        (lambda path: path.mkdir(), "not a regular file"),
        (os.mkfifo, "not a regular file"),
    ],
)
async def test_probe_finds_what_is_not_ours(
    path: Path, make: Callable[[Path], object], reason: str
) -> None:
    make(path)
    with trio.fail_after(5):
        assert reason in await why_not(FileStore(path))


async def test_probe_finds_a_file_of_another_user(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileStore(path)
    await put(store, OLD)
    monkeypatch.setattr(_disk, "_uid", lambda: os.geteuid() + 1)
    assert "it belongs to another user" in await why_not(store)


# --- mounts -------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Generator[Path, None, None]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=64k", "tmpfs", folder)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


async def test_probe_finds_a_full_disk_and_is_content_once_there_is_room(small_disk: Path) -> None:
    store = FileStore(small_disk / "tokens.json")
    await put(store, OLD)
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space left"):
        ballast.write_bytes(b"x" * 65536)
    assert "No space left on device; make room on the disk" in await why_not(store)
    ballast.unlink()
    async with store.lock():
        await store.probe()


async def test_read_only_disk_is_empty_to_load_and_says_why_it_cannot_be_locked(
    small_disk: Path,
) -> None:
    mount("-o", "remount,ro", small_disk)
    for store in (FileStore(small_disk / "tokens.json"), FileStore(small_disk / "a/b/tokens.json")):
        assert await store.load() is None
        with pytest.raises(StoreError, match="read-only, name a path on another") as caught:
            await put(store, OLD)
        assert caught.value.path == str(store.path)


async def test_record_on_a_disk_that_became_read_only_is_loaded(small_disk: Path) -> None:
    store = FileStore(small_disk / "tokens.json")
    await put(store, OLD)
    mount("-o", "remount,ro", small_disk)
    assert await store.load() == OLD
    with pytest.raises(StoreError, match="read-only"):
        await put(store, NEW, expected=1)


@pytest.fixture
def mounted_file(tmp_path: Path) -> Generator[Path, None, None]:
    source, target = tmp_path / "outside.json", tmp_path / "a container" / "tokens.json"
    target.parent.mkdir()
    source.write_text(OLD.to_text())
    target.touch()
    mount("--bind", source, target)
    yield target
    subprocess.run(["umount", target], check=True)


async def test_probe_finds_a_file_that_is_mounted_by_itself(mounted_file: Path) -> None:
    assert not mounted_file.is_mount(), "that would be too easy: it is the same disk"
    store = FileStore(mounted_file)
    assert await store.load() == OLD
    assert "mount its folder instead" in await why_not(store)
    with pytest.raises(StoreError, match="mount its folder instead"):
        await put(store, NEW, expected=1)
    # By another way to the same folder, too.
    link = mounted_file.parent.with_name("link")
    link.symlink_to(mounted_file.parent)
    assert "mount its folder instead" in await why_not(FileStore(link / "tokens.json"))


async def test_mounts_are_read_as_the_kernel_writes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, mounts = FileStore(tmp_path / "a b\\c" / "tokens.json"), tmp_path / "mountinfo"
    await put(store, OLD)
    monkeypatch.setattr(_mounts, "_MOUNTS", mounts)
    line = "43 42 254:0 /a {} rw,relatime - ext4 /dev/vda rw\n"
    name = str(store.path).replace("\\", "\\134").replace(" ", "\\040")
    mounts.write_text(line.format("/") + line.format(name))
    assert "it is mounted by itself" in await why_not(store)
    mounts.write_text(line.format("/") + line.format(name + ".bak"))
    async with store.lock():
        await store.probe()
        # Where there is no such list, nothing is known.
        mounts.unlink()
        await store.probe()


# --- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["n" * 240, "ü" * 125, "n" * 250])
async def test_file_with_a_name_of_250_bytes_can_be_probed_and_saved(
    tmp_path: Path, name: str
) -> None:
    store = FileStore(tmp_path / name)
    async with store.lock():
        await store.probe()
        await store.save(OLD, expected=0)
    assert await FileStore(tmp_path / name).load() == OLD
    assert sorted(file.name for file in tmp_path.iterdir()) == [name, f"{name}.lock"]


@pytest.mark.parametrize("name", ["n" * 251, "ü" * 126, "n" * 300])
def test_name_that_leaves_no_room_for_that_of_the_lock_file_is_refused(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(ValueError, match="^path must name a file with a shorter name: .*250"):
        FileStore(tmp_path / name)


async def test_names_of_temporary_files_are_short_enough_for_file_systems_that_allow_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, os_open = [], os.open

    def note(name: Any, *args: Any) -> int:
        names.append(Path(name).name)
        return os_open(name, *args)

    monkeypatch.setattr(os, "open", note)
    await put(FileStore(tmp_path / ("ü" * 69)), OLD)
    assert any(name.endswith(".tmp") for name in names)
    # eCryptfs.
    assert max(len(name.encode()) for name in names) <= 143


# --- what an odd disk may refuse ----------------------------------------------------------------


async def test_file_system_that_sets_no_permissions_is_good_enough(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fchmod", fail(errno.EPERM))
    store = FileStore(path)
    await put(store, OLD)
    assert await store.load() == OLD
    # It was made private.
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP])
async def test_file_system_that_flushes_nothing_is_good_enough(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "fsync", fail(number))
    store = FileStore(path.parent / "new folder" / "tokens.json")
    async with store.lock():
        await store.probe()
        await store.save(OLD, expected=0)
    assert await store.load() == OLD


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
async def test_flush_that_lost_data_is_an_error(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    store = FileStore(path)
    await put(store, OLD)
    monkeypatch.setattr(os, "fsync", fail(number))
    with pytest.raises(StoreError, match=os.strerror(number)):
        await put(store, NEW, expected=1)
    assert await store.load() == OLD


async def test_missing_folder_is_empty_to_load_and_an_error_to_lock_where_it_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileStore(tmp_path / "none" / "at all" / "tokens.json")
    monkeypatch.setattr(os, "mkdir", fail(errno.EROFS))
    assert await store.load() is None
    with pytest.raises(StoreError, match="can't lock .* read-only, name a path") as caught:
        await put(store, OLD)
    assert caught.value.path == str(store.path)
    assert list(tmp_path.iterdir()) == []
