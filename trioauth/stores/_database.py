"""Database: logins in a file of SQLite. All of it blocks; for threads.

1. The file is made private before SQLite sees it; SQLite makes its two helper files (-wal, -shm)
   with the same permissions.
2. It is ours if its header has our number (``application_id``) and a version we know. A file
   without a table and without a number is new, or its maker was killed on the way.
3. Whatever else it is, it is left as it is.
4. Each save is one transaction, flushed to the disk (WAL, ``synchronous=FULL``). After a crash or a
   power cut the old record is there, or the new one.
5. No row is read but by its key, the primary key.
6. What is deleted or replaced is overwritten with zeros, so that no old token and no key stays.

No descriptor of an existing database is ever opened and closed here: closing one would give up the
locks that SQLite has on that file in this process (POSIX).
"""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NoReturn, final
from urllib.parse import quote

import attrs

from trioauth._errors import StoreConflictError, StoreError

from ._contract import Record
from ._disk import LARGEST, check_ours, create, explained, flush_folder, prove_room
from ._mounts import file_system_of, is_mount_point

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

_APPLICATION = 0x7472_6961  # "tria"
_VERSION = 1
_SCHEMA = (
    "CREATE TABLE logins"
    " (key TEXT NOT NULL PRIMARY KEY, generation INTEGER NOT NULL, record TEXT NOT NULL)"
)

# Seconds that a thread waits for another writer; the task then sends the next thread.
_BUSY = 0.1

# On these, processes of several hosts would share the file, and SQLite's log can't be shared so.
_NETWORK = {
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "ceph", "lustre", "gfs2", "ocfs2"),
    *("glusterfs", "fuse.glusterfs", "fuse.sshfs", "fuse.s3fs", "fuse.rclone", "9p"),
}

_DAMAGED = "stop all programs that use it and restore a backup, or move it away and log in anew"
_REMEDIES = {
    sqlite3.SQLITE_READONLY: "check who may write the file and its folder, or name another path",
    sqlite3.SQLITE_PERM: "check who may read and write the file and its folder",
    sqlite3.SQLITE_FULL: "make room on the disk",
    sqlite3.SQLITE_CANTOPEN: "check who may write its folder, where SQLite keeps two more files",
    sqlite3.SQLITE_IOERR: "see to the disk, or name another path",
}

# Within this process a new file is closed by its maker before another task opens it, see above.
_making = threading.Lock()

# Connections of a parent process: to close them in a forked child could harm the parent.
_inherited: list[sqlite3.Connection] = []


class _EmptyError(Exception):
    """There is nothing to read yet."""


class _UndoError(Exception):
    """Ends a transaction that only tries."""


class BusyError(Exception):
    """Another process keeps the database locked: try again."""


@final
@attrs.define(eq=False)
class Database:
    """One connection to the file, for one thread at a time. It is made when first needed."""

    path: Path
    _connection: sqlite3.Connection | None = attrs.field(default=None, init=False, repr=False)
    _file: tuple[int, int] | None = attrs.field(default=None, init=False)
    """Device and inode of the file that it is connected to."""
    _pid: int = attrs.field(factory=os.getpid, init=False)

    def load(self, key: str) -> Record | None:
        """Return the record of a key, or None if there is none, or no file."""
        with self._explained("read"), suppress(_EmptyError):
            return self._read(self._connect(make=False), key)
        return None

    def save(self, key: str, record: Record, expected: int) -> None:
        """Replace the record of a key if the stored one is still generation ``expected``."""
        if len(record.to_text()) > LARGEST:
            raise StoreError(f"can't write {self.path}: more than {LARGEST} bytes of tokens")
        with self._explained("write"), self._writing() as connection:
            # A row that can't be read is not overwritten.
            stored = self._read(connection, key)
            # The text is not in a variable: a traceback would show it.
            if expected == 0:
                done = connection.execute(
                    "INSERT INTO logins VALUES (?, ?, ?) ON CONFLICT (key) DO NOTHING",
                    (key, record.generation, record.to_text()),
                )
            else:
                done = connection.execute(
                    "UPDATE logins SET generation = ?, record = ? WHERE key = ? AND generation = ?",
                    (record.generation, record.to_text(), key, expected),
                )
            if done.rowcount != 1:
                self._conflict(0 if stored is None else stored.generation, expected)

    def delete(self, key: str, expected: int) -> None:
        """Delete the record of a key, if there is one, and it is generation ``expected``."""
        with self._explained("write"), suppress(_EmptyError), self._writing(make=False) as writing:
            # A row that can't be read is not deleted.
            stored = self._read(writing, key)
            if stored is not None and stored.generation != expected:
                self._conflict(stored.generation, expected)
            writing.execute("DELETE FROM logins WHERE key = ?", (key,))

    def probe(self, key: str) -> None:
        """Take all steps of `save` but the last, and undo them."""
        with self._explained("write"):
            size = 0
            with suppress(_UndoError), self._writing() as connection:
                stored = self._read(connection, key)
                size = 0 if stored is None else len(stored.to_text())
                connection.execute(
                    "UPDATE logins SET generation = generation WHERE key = ?", (key,)
                )
                raise _UndoError
            prove_room(self.path, size)

    def keys(self, after: str, limit: int) -> list[str]:
        """Return the keys after another one, in order."""
        with self._explained("read"), suppress(_EmptyError):
            rows = self._connect(make=False).execute(
                "SELECT key FROM logins WHERE key > ? ORDER BY key LIMIT ?", (after, limit)
            )
            return [key.decode(errors="replace") for (key,) in rows]
        return []

    def close(self) -> None:
        """Close the connection, if there is one. A later call makes another."""
        connection, self._connection, self._file = self._connection, None, None
        if connection is not None:
            if os.getpid() == self._pid:
                connection.close()
            else:
                _inherited.append(connection)

    def __del__(self) -> None:
        # With its store and the run; so there is nothing to close for the program.
        self.close()

    # --- rows ------------------------------------------------------------------------------

    def _read(self, connection: sqlite3.Connection, key: str) -> Record | None:
        row = connection.execute(
            "SELECT generation, record FROM logins WHERE key = ?", (key,)
        ).fetchone()
        if row is None:
            return None
        record: Record | None = None
        try:
            record = Record.from_text(row[1])
        except ValueError as exc:
            reason = str(exc)
        else:
            if record.generation == row[0]:
                return record
            reason = "not a token record: its generation is not that of its row"
        # Raised outside `except`, and without the row in the frame: both hold what was in it.
        row = record = None
        raise StoreError(
            f"the login in {self.path} is left as it is: {reason}; {_DAMAGED}", path=self.path
        )

    def _conflict(self, found: int, expected: int) -> NoReturn:
        raise StoreConflictError(
            f"{self.path} holds generation {found}, not {expected}: "
            "another session saved first; load again",
            path=self.path,
        )

    @contextmanager
    def _writing(self, *, make: bool = True) -> Generator[sqlite3.Connection, None, None]:
        """Run a block in a transaction; undo it if the block raises."""
        connection = self._connect(make=make)
        # Not "BEGIN": then two processes could both read, and one would fail to write.
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    # --- the file --------------------------------------------------------------------------

    def _connect(self, *, make: bool) -> sqlite3.Connection:
        """Return a connection to the file that is there now.

        Raises:
          _EmptyError: There is no file, or nothing in it, and ``make`` is false.
        """
        file = self._look()
        if self._connection is not None and file == self._file:
            return self._connection
        # There is no connection yet; or the file was removed, or replaced: then begin anew.
        self.close()
        if file is None:
            if not make:
                raise _EmptyError
            self._make_file()
            file = self._look()
        self._refuse_place()
        connection = sqlite3.connect(
            f"file:{quote(os.fsencode(self.path))}?mode=rw",
            uri=True,
            timeout=_BUSY,
            isolation_level=None,
            check_same_thread=False,
        )
        # Else an error about text that is not UTF-8 would quote it.
        connection.text_factory = bytes
        try:
            self._prepare(connection, make=make)
            if self._look() != file:
                raise BusyError  # it was replaced just now: try again
        except BaseException:
            connection.close()
            raise
        self._connection, self._file, self._pid = connection, file, os.getpid()
        return connection

    def _look(self) -> tuple[int, int] | None:
        """Return what identifies the file, or None; refuse one that is not ours."""
        try:
            info = self.path.lstat()
        except FileNotFoundError:
            return None
        check_ours(self.path, info)
        return info.st_dev, info.st_ino

    def _make_file(self) -> None:
        with _making:
            with suppress(FileExistsError):
                os.close(create(self.path))
            flush_folder(self.path.parent)

    def _refuse_place(self) -> None:
        if is_mount_point(self.path):
            raise StoreError(
                f"can't use {self.path}: it is mounted by itself, as a single file of a container"
                " is, and SQLite keeps two more files beside it; mount its folder instead",
                path=self.path,
            )
        if (system := file_system_of(self.path.parent)) in _NETWORK:
            raise StoreError(
                f"can't use {self.path}: it is on a network file system ({system}), where SQLite's"
                " log does not work; name a path on a local disk, or use a store for several hosts",
                path=self.path,
            )

    def _prepare(self, connection: sqlite3.Connection, *, make: bool) -> None:
        """Set a connection up, and make the table if the file is new and ``make`` is true."""
        for pragma in (
            "trusted_schema = OFF",
            "synchronous = FULL",
            "fullfsync = ON",  # for macOS, where fsync alone does not reach the disk
            "secure_delete = ON",  # the default with Debian, and not with all others
        ):
            connection.execute(f"PRAGMA {pragma}")
        new = self._is_new(connection)
        if new and not make:
            raise _EmptyError
        [mode] = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != b"wal":
            self._refuse("its file system has no shared memory; name a path on another")
        if new:
            connection.execute("BEGIN IMMEDIATE")
            # Another process may have been faster.
            if self._is_new(connection):
                connection.execute(_SCHEMA)
                connection.execute(f"PRAGMA application_id = {_APPLICATION}")
                connection.execute(f"PRAGMA user_version = {_VERSION}")
            connection.execute("COMMIT")

    def _is_new(self, connection: sqlite3.Connection) -> bool:
        """Say whether there is nothing in the file yet; refuse what is not ours."""
        [application] = connection.execute("PRAGMA application_id").fetchone()
        [version] = connection.execute("PRAGMA user_version").fetchone()
        [tables] = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if (application, version, tables) == (0, 0, 0):
            return True
        if application != _APPLICATION:
            self._refuse("it is the database of another program; name another path")
        if version != _VERSION:
            self._refuse("it was written by a newer version of trioauth; upgrade")
        return False

    def _refuse(self, reason: str) -> NoReturn:
        raise StoreError(f"{self.path} is left as it is: {reason}", path=self.path)

    @contextmanager
    def _explained(self, action: str) -> Generator[None, None, None]:
        """Turn the errors of SQLite and of the system into a `StoreError` that says what to do."""
        try:
            with explained(action, self.path):
                yield
        except sqlite3.Error as exc:
            name = getattr(exc, "sqlite_errorname", type(exc).__name__)
            code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
            if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise BusyError from None
            # A broken connection may stay broken.
            self.close()
            if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
                what = "not an SQLite database" if code == sqlite3.SQLITE_NOTADB else "damaged"
                raise StoreError(
                    f"{self.path} is left as it is: it is {what} ({name}); {_DAMAGED}",
                    path=self.path,
                ) from exc
            remedy = _REMEDIES.get(code, "see to it, or name another path")
            raise StoreError(
                f"can't {action} {self.path}: {name}; {remedy}", path=self.path
            ) from exc
