"""SQLiteStore: one file of many logins, what is refused, and what is in the way."""

from __future__ import annotations

import gc
import os
import sqlite3
import stat
import subprocess
import threading
import traceback
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
import trio.testing

from trioauth._errors import StoreConflictError, StoreError
from trioauth._tokens import Tokens
from trioauth.stores import SQLiteStore, _database, _disk, _key_locks, _mounts, _sqlite
from trioauth.stores._contract import Record
from trioauth.stores._pin import Pin

from .files import NEW, OLD, check_locked, check_unlocked, fail, mount, put

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

SECRET = "s3cr3t-canary"
TOLD = Record(1, Tokens(SECRET, SECRET, 60.0), login="me")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "logins.db"


@pytest.fixture
def store(path: Path) -> SQLiteStore:
    return SQLiteStore(path)


def execute(path: Path, statement: str, *values: object) -> list[Any]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(statement, values).fetchall()


def open_files(folder: Path) -> list[str]:
    links = Path("/proc/self/fd").iterdir()
    names = [str(link.readlink()) for link in links if link.is_symlink()]
    return sorted(name for name in names if name.startswith(str(folder)))


# --- the file -------------------------------------------------------------------------------------


async def test_making_a_store_or_reading_it_makes_no_file(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "folder" / "logins.db")
    assert await store.at("a").load() is None
    assert await store.keys() == []
    assert list(tmp_path.iterdir()) == []


def test_relative_path_counts_from_where_the_store_was_made() -> None:
    assert SQLiteStore("logins.db").path == Path.cwd() / "logins.db"
    with pytest.raises(ValueError, match="path must name a file"):
        SQLiteStore("")


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
async def test_files_and_folders_are_private_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    path = tmp_path / "folder" / "logins.db"
    before = os.umask(umask)
    try:
        login = SQLiteStore(path).at("a")
        async with login.lock():
            await login.save(OLD, expected=0)
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(
        ["logins.db", "logins.db-wal", "logins.db-shm", "logins.db.lock"], 0o600
    )
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_a_save_is_flushed_in_write_ahead_mode(store: SQLiteStore) -> None:
    await put(store.at("a"), OLD)
    for line in (store._desk().reading, store._desk().writing):
        line.database.load("a")
        connection = line.database._connection
        assert connection is not None
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,), "FULL"
        assert connection.execute("PRAGMA journal_mode").fetchone() == (b"wal",)


async def test_p34_a_record_is_found_by_the_primary_key_alone(store: SQLiteStore) -> None:
    await put(store.at("a"), OLD)
    statements: list[str] = []
    database = store._desk().writing.database
    assert database._connection is not None
    database._connection.set_trace_callback(statements.append)
    database.load("a")
    database.save("a", NEW, 1)
    database.probe("a")
    database.keys("", 10)
    rows = [each for each in statements if "logins" in each]
    assert len(rows) >= 5
    for statement in rows:
        for *_, plan in execute(store.path, f"EXPLAIN QUERY PLAN {statement}"):
            assert plan.startswith("SEARCH logins USING"), statement


async def test_keys_come_in_pages_in_order_with_those_of_ended_logins(store: SQLiteStore) -> None:
    names = [f"user-{number:03}" for number in range(25)] + ["ü", "🔑"]
    for name in reversed(names):
        await put(store.at(name), Record(1, None))
    found: list[str] = []
    while page := await store.keys(found[-1] if found else "", limit=10):
        assert len(page) <= 10
        found += page
    assert found == names


@pytest.mark.parametrize("limit", [0, -1, 10_001])
async def test_a_page_of_keys_has_a_largest_size(store: SQLiteStore, limit: int) -> None:
    with pytest.raises(ValueError, match="limit must be from 1 to 10,000"):
        await store.keys(limit=limit)


async def test_a_page_of_keys_that_is_cancelled_changes_nothing(store: SQLiteStore) -> None:
    await put(store.at("a"), OLD)
    with trio.CancelScope() as scope:
        scope.cancel()
        await store.keys()
    assert scope.cancelled_caught
    with trio.testing.assert_checkpoints():
        assert await store.keys() == ["a"]


async def test_a_file_that_is_removed_or_replaced_is_noticed(store: SQLiteStore) -> None:
    login = store.at("a")
    await put(login, OLD)
    store.path.unlink()
    assert await login.load() is None
    async with login.lock():
        with pytest.raises(StoreConflictError, match="holds generation 0, not 1"):
            await login.save(NEW, expected=1)
        await login.save(OLD, expected=0)
    assert await login.load() == OLD
    other = SQLiteStore(store.path.with_name("other.db"))
    await put(other.at("a"), attrs.evolve(OLD, login="other"))
    execute(other.path, "PRAGMA wal_checkpoint(TRUNCATE)")
    for file in (store.path, Path(f"{store.path}-wal"), Path(f"{store.path}-shm")):
        file.unlink()
    other.path.rename(store.path)
    loaded = await login.load()
    assert loaded is not None
    assert loaded.login == "other"


async def test_a_file_that_is_replaced_while_it_is_opened_is_opened_again(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(store.at("a"), OLD)
    looks, look = iter([(1, 1), (2, 2)]), _database.Database._look
    monkeypatch.setattr(_database.Database, "_look", lambda self: next(looks, None) or look(self))
    assert await SQLiteStore(store.path).at("a").load() == OLD


async def test_a_file_whose_maker_was_killed_on_the_way_is_taken(store: SQLiteStore) -> None:
    store.path.touch(0o600)
    assert await store.at("a").load() is None
    execute(store.path, "PRAGMA journal_mode = WAL")
    assert await store.at("a").load() is None
    assert await store.keys() == []
    await put(store.at("a"), OLD)
    assert await store.at("a").load() == OLD


async def test_two_that_make_the_file_at_once_make_one(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first look of the second one finds nothing, the next one what the first has made.
    is_new, told = _database.Database._is_new, iter([True])
    await put(store.at("a"), OLD)
    monkeypatch.setattr(
        _database.Database, "_is_new", lambda *args: next(told, False) or is_new(*args)
    )
    await put(SQLiteStore(store.path).at("b"), OLD)
    assert await store.keys() == ["a", "b"]


@pytest.mark.slow
async def test_nothing_is_open_after_a_store_was_dropped(tmp_path: Path) -> None:
    for number in range(5):
        await put(SQLiteStore(tmp_path / f"{number}.db").at("a"), OLD)
    gc.collect()
    assert open_files(tmp_path) == []


@pytest.mark.slow
def test_nothing_is_open_after_the_run_and_the_store_works_in_the_next(store: SQLiteStore) -> None:
    trio.run(put, store.at("a"), OLD)
    gc.collect()
    assert open_files(store.path.parent) == []
    assert trio.run(store.at("a").load) == OLD


async def test_connections_of_a_parent_process_are_left_alone(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = _database.Database(store.path)
    database.save("a", OLD, 0)
    connection = database._connection
    assert connection is not None
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: -1)
        database.close()
    assert _database._inherited.pop() is connection
    connection.execute("SELECT 1")
    connection.close()


# --- what is refused ------------------------------------------------------------------------------


def contents(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


def foreign(path: Path) -> None:
    execute(path, f"CREATE TABLE {SECRET.replace('-', '_')} (a)")


def of_number(path: Path) -> None:
    execute(path, "PRAGMA application_id = 17")


def newer(path: Path) -> None:
    trio.run(put, SQLiteStore(path).at("a"), TOLD)
    execute(path, "PRAGMA user_version = 2")


def torn(path: Path) -> None:
    async def fill() -> None:
        for number in range(30):
            await put(SQLiteStore(path).at(f"user-{number}"), TOLD)

    trio.run(fill)
    execute(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))


def with_row(generation: object, record: object) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        trio.run(put, SQLiteStore(path).at("a"), TOLD)
        execute(path, "UPDATE logins SET generation = ?, record = ?", generation, record)

    return write


def link(path: Path) -> None:
    newer(path.with_name("elsewhere.db"))
    path.symlink_to(path.with_name("elsewhere.db"))


BAD = {
    "text": (contents(f"refresh_token = {SECRET}".encode() * 99), "not an SQLite database.*NOTADB"),
    "a database of another program": (foreign, "the database of another program; name another"),
    "a database with another number": (of_number, "the database of another program; name another"),
    "a newer version": (newer, "a newer version of trioauth; upgrade"),
    "a torn file": (torn, "it is damaged .SQLITE_CORRUPT.; stop all programs that use it and"),
    "a row that is no record": (
        with_row(1, SECRET),
        "the login in .*: not a token record",
    ),
    "a row of bytes": (with_row(1, b"\xff" + SECRET.encode()), "not a token record: damaged"),
    "a row of a number": (with_row(1, 17), "not a token record"),
    "a row that is not UTF-8": (
        lambda path: (
            with_row(1, SECRET)(path),
            execute(path, "UPDATE logins SET record = CAST(x'ff7b' || record AS TEXT)"),
        ),
        "not a token record: damaged",
    ),
    "a row of another generation": (with_row(7, TOLD.to_text()), "its generation is not that of"),
    "a symbolic link": (link, "is a symbolic link, and none is followed"),
    "a folder": (Path.mkdir, "not a regular file"),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", BAD)
def test_what_is_not_ours_is_refused_and_left_as_it_is(path: Path, what: str) -> None:
    make, says = BAD[what]
    make(path)
    gc.collect()
    before = path.read_bytes() if path.is_file() else b""

    async def check() -> None:
        login: Any = SQLiteStore(path).at("a")
        async with login.lock():
            for call in (
                login.load,
                lambda: login.save(NEW, expected=1),
                lambda: login.save(NEW, expected=0),
                login.probe,
            ):
                with pytest.raises(StoreError, match=says) as info:
                    await call()
                assert info.value.path == str(path)
                assert str(path) in str(info.value)
                check_no_secret(info.value)

    trio.run(check)
    gc.collect()
    assert (path.read_bytes() if path.is_file() else b"") == before


def check_no_secret(error: BaseException) -> None:
    """Neither in what is printed, nor in a variable of ours."""
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    frames = "".join(
        f"{frame.locals}"
        for frame in told.stack
        if frame.filename.startswith(str(Path(_database.__file__).parent)) and frame.locals
    )
    assert SECRET not in frames
    assert SECRET not in "".join(traceback.format_exception(error))


async def test_file_of_another_user_is_refused(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(store.at("a"), OLD)
    monkeypatch.setattr(_disk, "_uid", lambda: os.geteuid() + 1)
    with pytest.raises(StoreError, match="belongs to another user"):
        await store.at("a").load()


async def test_record_that_could_not_be_read_back_is_not_written(store: SQLiteStore) -> None:
    login = store.at("a")
    await put(login, OLD)
    with pytest.raises(StoreError, match="more than 1000000 bytes of tokens"):
        await put(login, Record(2, Tokens("a" * 1_000_000)), expected=1)
    assert await login.load() == OLD


# --- what is in the way ---------------------------------------------------------------------------


async def test_a_long_transaction_of_another_program_is_waited_for_and_then_an_error(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_sqlite, "_PATIENCE", 0.3)
    login: Any = store.at("a")
    await put(login, OLD)
    with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        async with login.lock():
            for call in (lambda: login.save(NEW, expected=1), login.probe):
                with pytest.raises(StoreError, match="kept it locked for .*; end its transaction"):
                    await call()
                assert login.waits_for is None
            assert await login.load() == OLD, "readers don't wait"
            with trio.move_on_after(0.2) as given_up:
                await login.save(NEW, expected=1)
            assert given_up.cancelled_caught
            assert login.waits_for == f"another program to end its transaction in {store.path}"
            assert await login.load() == OLD
            async with trio.open_nursery() as nursery:
                monkeypatch.setattr(_sqlite, "_PATIENCE", 30)
                nursery.start_soon(lambda: login.save(NEW, expected=1))
                await trio.sleep(0.15)
                other.execute("COMMIT")
    assert await login.load() == NEW
    assert login.waits_for is None


@pytest.fixture
def small_disk(tmp_path: Path) -> Generator[Path, None, None]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=256k", "tmpfs", folder)
    yield folder
    gc.collect()
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.slow
async def test_a_full_disk_is_found_by_probe_and_a_save_leaves_the_old_record(
    small_disk: Path,
) -> None:
    login: Any = SQLiteStore(small_disk / "logins.db").at("a")
    await put(login, OLD)
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space left"):
        ballast.write_bytes(b"x" * 262_144)
    async with login.lock():
        with pytest.raises(StoreError, match="No space left on device; make room on the disk"):
            await login.probe()
        with pytest.raises(StoreError, match="make room on the disk"):
            await login.save(Record(2, Tokens("a" * 100_000)), expected=1)
        assert await login.load() == OLD
        ballast.unlink()
        await login.probe()
        await login.save(NEW, expected=1)
    assert await login.load() == NEW


@pytest.mark.slow
async def test_a_read_only_disk_is_empty_to_load_and_one_clear_error_otherwise(
    small_disk: Path,
) -> None:
    with_file = SQLiteStore(small_disk / "logins.db").at("a")
    await put(with_file, OLD)
    del with_file
    gc.collect()
    mount("-o", "remount,ro", small_disk)
    assert await SQLiteStore(small_disk / "other.db").at("a").load() is None
    assert await SQLiteStore(small_disk / "folder/other.db").at("a").load() is None
    login = SQLiteStore(small_disk / "logins.db").at("a")
    with pytest.raises(StoreError, match="; check who may write") as info:
        await login.load()
    assert str(small_disk) in str(info.value)
    for name in ("other.db", "folder/other.db"):
        with pytest.raises(StoreError, match="read-only, name a path on another"):
            await put(SQLiteStore(small_disk / name).at("a"), OLD)


@pytest.mark.slow
async def test_a_file_that_is_mounted_by_itself_is_refused(tmp_path: Path) -> None:
    source, target = tmp_path / "outside.db", tmp_path / "a container" / "logins.db"
    target.parent.mkdir()
    await put(SQLiteStore(source).at("a"), OLD)
    gc.collect()
    target.touch()
    mount("--bind", source, target)
    try:
        with pytest.raises(StoreError, match="mount its folder instead"):
            await SQLiteStore(target).at("a").load()
    finally:
        subprocess.run(["umount", target], check=True)  # noqa: ASYNC221  # it takes no time


@pytest.mark.parametrize(
    ("mounts", "system"),
    [
        ([("/", "ext4"), ("{}", "nfs4")], "nfs4"),
        ([("{}", "ext4"), ("{}", "cifs")], "cifs"),
        ([("{}", "nfs4"), ("{}", "ext4")], "ext4"),
        ([("{}", "ext4"), ("/", "nfs4")], "ext4"),
        ([("{}/elsewhere", "nfs4")], ""),
        ([], ""),
    ],
)
async def test_a_network_file_system_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mounts: list[tuple[str, str]], system: str
) -> None:
    listed, folder = tmp_path / "mountinfo", tmp_path / "home"
    listed.write_text(
        "".join(
            f"43 42 254:0 / {place.format(folder)} rw - {kind} host:/disk rw\n"
            for place, kind in mounts
        )
    )
    monkeypatch.setattr(_mounts, "_MOUNTS", listed)
    assert _mounts.file_system_of(folder / "not there yet") == system
    login = SQLiteStore(folder / "logins.db").at("a")
    if system in ("ext4", ""):
        await put(login, OLD)
    else:
        with pytest.raises(StoreError, match=rf"network file system \({system}\).*a local disk"):
            await put(login, OLD)


async def test_a_file_system_without_shared_memory_is_refused(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoWal(sqlite3.Connection):
        def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
            return super().execute(statement.replace("= WAL", "= DELETE"), *values)

    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda *args, **options: connect(*args, **options, factory=NoWal)
    )
    with pytest.raises(StoreError, match="no shared memory; name a path on another"):
        await put(store.at("a"), OLD)


async def test_an_error_of_the_disk_says_which_and_the_next_call_begins_anew(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Breaks(sqlite3.Connection):
        broken = True

        def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
            if self.broken and statement == "COMMIT":
                error = sqlite3.OperationalError(f"disk I/O error at {SECRET}")
                error.sqlite_errorcode, error.sqlite_errorname = 778, "SQLITE_IOERR_WRITE"
                raise error
            return super().execute(statement, *values)

    await put(store.at("a"), OLD)
    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda *args, **options: connect(*args, **options, factory=Breaks)
    )
    login = SQLiteStore(store.path).at("a")
    with pytest.raises(StoreError, match=r"can't write .*: SQLITE_IOERR_WRITE; see to the disk"):
        await put(login, NEW, expected=1)
    assert await login.load() == OLD
    Breaks.broken = False
    await put(login, NEW, expected=1)
    assert await login.load() == NEW


# --- the locks ------------------------------------------------------------------------------------


@pytest.fixture(params=["bytes", "files"])
def locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    kind: str = request.param
    monkeypatch.setattr(_key_locks, "has_bytes", kind == "bytes")
    return kind


@pytest.mark.usefixtures("locks")
async def test_two_stores_of_one_path_exclude_each_other_by_key(path: Path) -> None:
    one, other = SQLiteStore(path), SQLiteStore(path)
    async with one.at("a").lock():
        await check_locked(other.at("a"))
        await check_unlocked(other.at("b"))
    await check_unlocked(other.at("a"))
    assert open_files(path.parent) == []


@pytest.mark.usefixtures("locks")
async def test_lock_is_held_against_another_thread_and_free_afterwards(path: Path) -> None:
    async with SQLiteStore(path).at("a").lock():
        await trio.to_thread.run_sync(lambda: trio.run(check_locked, SQLiteStore(path).at("a")))
    await trio.to_thread.run_sync(lambda: trio.run(check_unlocked, SQLiteStore(path).at("a")))


@pytest.mark.usefixtures("locks")
async def test_two_keys_whose_hashes_meet_only_wait_for_each_other(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_key_locks, "hash_of", lambda _: 5)
    a, b = store.at("a"), store.at("b")
    async with a.lock():
        await check_locked(SQLiteStore(store.path).at("b"))
        with trio.move_on_after(0.1) as waiting:
            async with trio.open_nursery() as nursery:  # noqa: ASYNC112  # another task
                nursery.start_soon(check_unlocked, b)
        assert waiting.cancelled_caught
        with pytest.raises(RuntimeError, match="needs the lock"):
            await b.save(OLD, expected=0)
        await a.save(OLD, expected=0)
    await put(b, NEW)
    assert await a.load() == OLD


async def test_many_locks_at_once_need_one_open_file(store: SQLiteStore) -> None:
    async def hold(key: str) -> None:
        async with store.at(key).lock():
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(hold, f"user-{number}")
        with trio.fail_after(10):
            while len(store._desk().holds) < 100:  # noqa: ASYNC110  # threads lock
                await trio.sleep(0.001)
        assert open_files(store.path.parent) == [f"{store.path}.lock"]
        nursery.cancel_scope.cancel()
    assert open_files(store.path.parent) == []
    assert not store._desk().turns._turns
    assert not store._desk().holds


async def test_lock_file_that_is_removed_while_it_is_locked_is_noticed(store: SQLiteStore) -> None:
    login: Any = store.at("a")
    await put(login, OLD)
    async with login.lock():
        Path(f"{store.path}.lock").unlink()
        for call in (login.probe, lambda: login.save(NEW, expected=1)):
            with pytest.raises(StoreError, match="lost the lock of a login .*leave that"):
                await call()
        await check_unlocked(store.at("b"))
    assert await login.load() == OLD
    await put(login, NEW, expected=1)
    assert not [name for name in open_files(store.path.parent) if ".lock" in name]


async def test_lock_file_that_is_removed_as_it_is_locked_is_made_again(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[Path] = []
    try_lock = Pin.try_lock_byte

    def remove_first(pin: Any, offset: int) -> bool:
        if not removed:
            removed.append(pin.path)
            pin.path.unlink()
        return try_lock(pin, offset)

    monkeypatch.setattr(Pin, "try_lock_byte", remove_first)
    await put(store.at("a"), OLD)
    assert await store.at("a").load() == OLD
    assert removed


async def test_lock_that_cannot_be_made_is_an_error_with_a_remedy(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(f"{store.path}.lock").mkdir()
    with pytest.raises(StoreError, match=r"can't lock .*\.lock: .*name another path"):
        async with store.at("a").lock():
            pytest.fail("got a lock")
    Path(f"{store.path}.lock").rmdir()
    monkeypatch.setattr(_key_locks, "create", fail(38))
    with pytest.raises(StoreError, match="the file system can't lock files"):
        async with store.at("a").lock():
            pytest.fail("got a lock")


async def test_wait_for_another_process_says_whose_lock_it_waits_for(path: Path) -> None:
    one, other = SQLiteStore(path).at("a"), SQLiteStore(path).at("a")
    async with one.lock():
        await check_locked(other)
    assert getattr(other, "waits_for", "") == (f"another process to unlock a login in {path}.lock")
    await check_unlocked(other)
    assert getattr(other, "waits_for", "") is None


async def test_key_stays_locked_until_an_abandoned_save_has_ended(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go = threading.Event(), threading.Event()
    flush = _disk.flush_folder

    def hang(folder: Path) -> None:
        begun.set()
        assert go.wait(10)
        flush(folder)

    monkeypatch.setattr(_database, "flush_folder", hang)
    login, other = store.at("a"), SQLiteStore(store.path).at("a")
    async with login.lock():
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def cancel() -> None:
                while not begun.is_set():  # noqa: ASYNC110  # a thread sets it
                    await trio.sleep(0.001)
                nursery.cancel_scope.cancel()

            with trio.fail_after(5):
                await login.save(OLD, expected=0)
                pytest.fail("it did not hang")
    await check_locked(other)
    await check_locked(login)
    go.set()
    async with other.lock():
        assert await other.load() == OLD


async def test_thread_that_begins_after_its_task_has_left_does_nothing(store: SQLiteStore) -> None:
    hold = _sqlite._Hold(store.path, store._desk().locks, 5)
    hold.workers.leave()
    with pytest.raises(RuntimeError, match="has left"):
        hold.workers.run(lambda: None)
