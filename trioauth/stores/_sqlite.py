"""SQLiteStore: many logins in one file that the processes of one machine share."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeVar, final
from weakref import WeakKeyDictionary

import attrs
import trio

from trioauth._errors import StoreError

from ._contract import check_key
from ._database import BusyError, Database
from ._disk import explained, make_folder
from ._file import to_path
from ._forget import A_DAY, forget
from ._key_locks import KeyLocks, Locked, key_locks
from ._turns import Turns
from ._workers import Workers

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from ._contract import Record, TokenStore

T = TypeVar("T")

# How often to try for a lock that another process holds, in seconds; as `FileStore`.
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.005, 0.1
# Seconds after which a database that another program keeps locked is an error.
_PATIENCE = 5.0
# How many keys `SQLiteStore.keys` returns at once, at most.
_LONGEST_PAGE = 10_000


@final
@attrs.define(eq=False)
class _Hold:
    """The lock of one key, and who works under it."""

    path: Path
    locks: KeyLocks
    slot: int
    workers: Workers = attrs.field(init=False)
    _locked: Locked | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.workers = Workers(self._unlock)

    @property
    def lock_path(self) -> Path:
        return self.locks.path_of(self.slot)

    def _unlock(self) -> None:
        if self._locked is not None:
            with explained("unlock", self.lock_path, store=self.path):
                self._locked.unlock()

    def try_acquire(self) -> bool:
        """Lock the key; return False if it is locked already. Make a missing folder."""
        with explained("lock", self.lock_path, store=self.path):
            make_folder(self.path.parent)
            self._locked = self.locks.try_lock(self.slot)
        return self._locked is not None

    def check(self) -> None:
        """Raise `StoreError` if the lock does not keep other processes out any more."""
        if self._locked is None or not self._locked.in_place():
            raise StoreError(
                f"lost the lock of a login in {self.path}: {self.lock_path} was removed or replaced"
                " while it was locked; try again, and leave that file alone",
                path=self.path,
            )


@final
@attrs.define(eq=False)
class _Line:
    """One connection, and the one thread at a time that uses it.

    So a thread that a cancelled task left behind ends before the next begins, and a disk that hangs
    does not use up the threads of the program.
    """

    database: Database
    limiter: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1))


@final
@attrs.define(eq=False)
class _Desk:
    """What is shared by all tasks of one trio run that use one store."""

    reading: _Line
    """Of its own, so that no reader waits for a writer."""
    writing: _Line
    locks: KeyLocks
    locking: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1))
    turns: Turns = attrs.field(factory=Turns)
    """Tasks of this run wait here, in order; only the first for a key polls the lock file."""
    holds: dict[str, _Hold] = attrs.field(factory=dict[str, _Hold], repr=False)
    """The keys that are locked now."""


# As for `FileStore`: a desk for each run, which goes with its store.
_desks: trio.lowlevel.RunVar[WeakKeyDictionary[SQLiteStore, _Desk]] = trio.lowlevel.RunVar(
    "trioauth.SQLiteStore"
)


@final
@attrs.define(eq=False)
class SQLiteStore:
    """Keep many logins in one file, a database of SQLite, that the processes of one machine share.

    ``store.at(key)`` is the store of one login. Each key has a lock of its own, so logins do not
    wait for each other. Each operation on one login costs the same with ten logins and with many.

    The file holds the tokens in the clear. Its permissions (0600) are all that protects them. A
    save is flushed to the disk: after a crash or a power cut the file holds the old record or the
    new one. Beside it are SQLite's files (its name + "-wal", "-shm") and a lock file (".lock", or
    on other systems than Linux up to 256 of them); leave those alone. Missing folders are made,
    private too, when a lock is first taken, and the file with the first save.

    A file that is not ours is never overwritten, nor is a record that is damaged: the call raises a
    `StoreError` that says what to do. It must be on a local disk: a network file system is refused
    on Linux, and should not be used elsewhere. There is nothing to close.

    Args:
      path: The file. ``~`` is expanded. A relative path is made absolute at once.
    """

    path: Path = attrs.field(converter=to_path, on_setattr=attrs.setters.frozen)

    def at(self, key: str) -> TokenStore:
        """Return the store of one login. Not a checkpoint.

        Args:
          key: Which login, such as the number of a user: 1 to 1,024 characters.

        Raises:
          ValueError: The key is empty, too long, or has characters that can't be stored.
          TypeError: The key is no str.
        """
        return _SQLiteLogin(self, check_key(key))

    async def keys(self, after: str = "", limit: int = 100) -> list[str]:
        """Return keys that have a record, in order, a page at a time.

        Those of logins that have ended are among them.

        Args:
          after: The last key of the page before; "" for the first page.
          limit: How many keys, at most; from 1 to 10,000.

        Cancellation:
          Safe. Nothing is changed.

        Raises:
          StoreError: There is a file, but it can't be read, or is not ours.
          ValueError: ``limit`` is out of range.
        """
        if not 1 <= limit <= _LONGEST_PAGE:
            raise ValueError(f"limit must be from 1 to {_LONGEST_PAGE:,}")
        login = _SQLiteLogin(self, "keys")
        line = self._desk().reading
        return await login._patiently(line, partial(line.database.keys, after, limit))

    async def forget(self, key: str, *, ended_for: float = A_DAY) -> bool:
        """Delete the record of a login that has ended; say whether there is none any more.

        A login that lasts is left alone, and so is one that has ended only now: False. Let it end
        first, with `Sessions.log_out`, which removes the tokens at once.

        Args:
          key: Whose login.
          ended_for: How many seconds ago it must have ended, at least. Default a day. It must be
              longer than an access token lives: a session of another process that has not yet seen
              that the login ended would save it anew.

        Cancellation:
          All or nothing.

        Raises:
          StoreError: The record can't be read or deleted. A damaged one is left as it is.
          ValueError: It is no key, or ``ended_for`` is negative or not finite.
          TypeError: The key is no str, or ``ended_for`` is no number.
        """
        return await forget(self.at(key), ended_for)

    def _desk(self) -> _Desk:
        try:
            desks = _desks.get()
        except LookupError:
            desks = WeakKeyDictionary[SQLiteStore, _Desk]()
            _desks.set(desks)
        if self not in desks:
            reading, writing = _Line(Database(self.path)), _Line(Database(self.path))
            desks[self] = _Desk(reading, writing, key_locks(self.path))
        return desks[self]


@final
@attrs.define(eq=False, repr=False)
class _SQLiteLogin:
    """The login of one key in a `SQLiteStore`: a `TokenStore`. It holds nothing to be closed."""

    _store: SQLiteStore
    _key: str

    waits_for: str | None = attrs.field(default=None, init=False)
    """What the last unfinished wait is for, in words for an error message; see
    `FileStore.waits_for`."""

    def __repr__(self) -> str:
        # Without the key, which may be personal.
        return f"<a login in {self._store.path}>"

    @property
    def path(self) -> Path:
        return self._store.path

    @asynccontextmanager
    async def lock(self) -> AsyncGenerator[None, None]:
        desk = self._store._desk()
        slot = desk.locks.slot(self._key)
        async with desk.turns.take(slot):
            hold = _Hold(self._store.path, desk.locks, slot)
            try:
                pause, attempt = _SHORTEST_PAUSE, partial(hold.workers.run, hold.try_acquire)
                while not await self._in_thread(desk.locking, attempt):
                    self.waits_for = f"another process to unlock a login in {hold.lock_path}"
                    await trio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  # no secret
                    pause = min(2 * pause, _LONGEST_PAUSE)
                desk.holds[self._key] = hold
                yield
            finally:
                desk.holds.pop(self._key, None)
                hold.workers.leave()

    async def load(self) -> Record | None:
        line = self._store._desk().reading
        return await self._patiently(line, partial(line.database.load, self._key))

    async def save(self, record: Record, *, expected: int) -> None:
        await self._with_lock("save", lambda database: database.save(self._key, record, expected))

    async def probe(self) -> None:
        await self._with_lock("probe", lambda database: database.probe(self._key))

    async def delete(self, *, expected: int) -> None:
        await self._with_lock("delete", lambda database: database.delete(self._key, expected))

    async def _with_lock(self, name: str, work: Callable[[Database], None]) -> None:
        desk = self._store._desk()
        hold = desk.holds.get(self._key)
        if hold is None:
            await trio.lowlevel.checkpoint()
            raise RuntimeError(
                f"{name}() needs the lock: call it inside `async with store.lock():`"
            )

        def checked() -> None:
            hold.check()
            work(desk.writing.database)

        await self._patiently(desk.writing, partial(hold.workers.run, checked))

    async def _patiently(self, line: _Line, work: Callable[[], T]) -> T:
        """Do something in a thread, again and again while another program locks the database."""
        deadline = trio.current_time() + _PATIENCE
        while True:  # noqa: ASYNC913  # a thread is a cancel point, whether it raises or not
            try:
                return await self._in_thread(line.limiter, work)
            except BusyError:
                path = self._store.path
                self.waits_for = f"another program to end its transaction in {path}"
            if trio.current_time() > deadline:
                self.waits_for = None
                raise StoreError(
                    f"can't use {path}: another program has kept it locked for {_PATIENCE:.0f}"
                    " seconds; end its transaction, or that program",
                    path=path,
                )

    async def _in_thread(self, limiter: trio.CapacityLimiter, work: Callable[[], T]) -> T:
        # After a first attempt, what was in the way is the likelier reason: keep those words.
        self.waits_for = self.waits_for or f"the disk of {self._store.path}"
        try:
            result = await trio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=limiter)
        except Exception:
            self.waits_for = None
            raise
        self.waits_for = None
        return result
