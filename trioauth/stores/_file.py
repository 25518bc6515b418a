"""FileStore: tokens in a private file that several processes share."""

from __future__ import annotations

import os
import random
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, final
from weakref import WeakKeyDictionary

import attrs
import trio

from trioauth._errors import StoreConflictError

from ._contract import Record
from ._disk import LONGEST_NAME, prove_replaceable, read, refused, replace
from ._hold import Hold

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

T = TypeVar("T")

# How often to try for a lock that another process holds, in seconds. A refresh takes
# some tenths of a second, so a waiter need not be much faster.
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.005, 0.1


def to_path(path: str | os.PathLike[str]) -> Path:
    """Return the absolute path of a file; raise an exception if it can't be one."""
    text = os.fspath(path)
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers
        raise TypeError(f"path must be a str or a path of str, not {type(text).__name__}")
    if not text or "\0" in text:
        raise ValueError("path must name a file; it is empty, or has a null character in it")
    # Absolute from the start: the lock and the file must stay together after a chdir().
    path = Path(text).expanduser().absolute()
    if (length := len(os.fsencode(path.name))) > LONGEST_NAME:
        # A file system would say so only when the lock file is made.
        raise ValueError(
            f"path must name a file with a shorter name: {path} has one of {length} bytes, and"
            f" {LONGEST_NAME} is the most"
        )
    return path


@final
@attrs.define(eq=False)
class _Desk:
    """What is shared by all tasks of one trio run that use one store."""

    turn: trio.Lock = attrs.field(factory=trio.Lock)
    """Tasks of this run wait here, in order; only the first of them polls the file lock."""

    limiter: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1))
    """One thread at a time. So a thread that a cancelled task left behind ends before the next
    begins, and a disk that hangs does not use up the threads of the program."""

    hold: Hold | None = None

    waits_for: str | None = None
    """What the last unfinished wait is for; see `FileStore.waits_for`."""


# One desk for each run, because trio's locks know only the tasks of one run. Held weakly, because a
# program may have a store for each of its users: the desk goes with its store.
_desks: trio.lowlevel.RunVar[WeakKeyDictionary[FileStore, _Desk]] = trio.lowlevel.RunVar(
    "trioauth.FileStore"
)


@final
@attrs.define(eq=False)
class FileStore:
    """Keep tokens in a file that several processes may share.

    The file holds the tokens in the clear. Its permissions (0600) are all that protects them.
    It is replaced as a whole, so that after a crash or a power cut it holds the old record
    or the new one. Beside it is a lock file (its name + ".lock"); leave that alone. If it is
    removed while it is locked, a lock on the file itself keeps other processes out. Missing
    folders are made, private too, when the lock is first taken.

    A file that is not ours is never overwritten: if it is damaged, empty, too large,
    another user's, a link, or written by a newer version, the call raises a `StoreError`
    that says what to do. A file of ours that other users may read is read, and the next
    `save` makes it private again.

    The file must be where file locks work: on a local disk, or a network file system with
    locks. On Windows the file is as private as its folder.

    Args:
      path: The file. ``~`` is expanded. A relative path is made absolute at once.
    """

    path: Path = attrs.field(converter=to_path, on_setattr=attrs.setters.frozen)

    @asynccontextmanager
    async def lock(self) -> AsyncGenerator[None, None]:
        """Keep out all other users of this file, in this process and elsewhere.

        Waits until the lock is free; `waits_for` says what it waits for.

        Cancellation:
          Safe. A cancelled wait for the lock leaves nothing locked.

        Raises:
          StoreError: The file can't be locked. For example, its folder can't be made, or the file
              system is read-only or has no locks.
        """
        desk = self._desk()
        async with desk.turn:
            hold = Hold(self.path)
            try:
                pause, attempt = _SHORTEST_PAUSE, partial(hold.run, hold.try_acquire)
                while not await self._in_thread(attempt):
                    desk.waits_for = f"another process to unlock {hold.lock_path}"
                    await trio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  # no secret
                    pause = min(2 * pause, _LONGEST_PAUSE)
                desk.hold = hold
                yield
            finally:
                desk.hold = None
                hold.leave()

    async def load(self) -> Record | None:
        """Return the record last saved, or None if there is no file.

        Cancellation:
          Safe. Nothing is changed.

        Raises:
          StoreError: There is a file, but it can't be read, or is not ours. It is not changed.
        """
        return await self._in_thread(self._load)

    async def save(self, record: Record, *, expected: int) -> None:
        """Replace the record if the stored one is still generation ``expected`` (0: there is none).

        Cancellation:
          All or nothing. A cancelled call leaves at once, even if the disk hangs. What has
          begun goes on in its thread, and keeps the file locked until it has ended.

        Raises:
          StoreConflictError: Another generation is stored. Nothing was written.
          StoreError: The file can't be written or is not ours, or the lock was lost. Nothing was
              overwritten.
          RuntimeError: The lock is not held.
        """
        await self._with_lock("save", lambda hold: self._save(hold, record, expected))

    async def probe(self) -> None:
        """Prove that `save` could write now, without changing what is stored.

        It tries that the lock still keeps others out, that the file is ours and could be replaced,
        that a temporary file can be made beside it and removed, and that there is room on the
        disk. It does not wait for the disk (nothing is flushed).

        Cancellation:
          Safe. A cancelled call leaves at once. If the disk hangs, its thread ends later.

        Raises:
          StoreError: `save` would fail. The message says why, and what to do.
          RuntimeError: The lock is not held.
        """
        await self._with_lock("probe", self._probe)

    @property
    def waits_for(self) -> str | None:
        """What this store waits for, in words for an error message; None if it does not wait.

        For example "another process to unlock /home/me/tokens.json.lock", or "the disk of
        /home/me/tokens.json". After a cancelled wait the words stay until another wait has
        finished, so that they can be read after a deadline. Only inside `trio.run`.
        """
        return self._desk().waits_for

    async def _with_lock(self, name: str, work: Callable[[Hold], None]) -> None:
        hold = self._desk().hold
        if hold is None:
            await trio.lowlevel.checkpoint()
            raise RuntimeError(
                f"{name}() needs the lock: call it inside `async with store.lock():`"
            )
        await self._in_thread(partial(hold.run, partial(work, hold)))

    def _load(self) -> Record | None:
        data = read(self.path)
        if data is None:
            return None
        if not data:
            raise refused(self.path, "it is empty")
        try:
            return Record.from_text(data)
        except ValueError as exc:
            reason = str(exc)
        # Raised outside `except`, and without `data` in the frame: both hold what was in the file.
        del data
        raise refused(self.path, reason)

    def _save(self, hold: Hold, record: Record, expected: int) -> None:
        hold.check()
        stored = self._load()
        found = 0 if stored is None else stored.generation
        if found != expected:
            raise StoreConflictError(
                f"{self.path} holds generation {found}, not {expected}: "
                "another session saved first; load again",
                path=self.path,
            )
        replace(self.path, record.to_text().encode())

    def _probe(self, hold: Hold) -> None:
        hold.check()
        stored = self._load()
        prove_replaceable(self.path, 0 if stored is None else len(stored.to_text()))

    def _desk(self) -> _Desk:
        try:
            desks = _desks.get()
        except LookupError:
            desks = WeakKeyDictionary[FileStore, _Desk]()
            _desks.set(desks)
        if self not in desks:
            desks[self] = _Desk()
        return desks[self]

    async def _in_thread(self, work: Callable[[], T]) -> T:
        desk = self._desk()
        # After a first attempt at the lock, the lock is the likelier reason: keep those words.
        desk.waits_for = desk.waits_for or f"the disk of {self.path}"
        try:
            result = await trio.to_thread.run_sync(
                work, abandon_on_cancel=True, limiter=desk.limiter
            )
        except Exception:
            desk.waits_for = None
            raise
        desk.waits_for = None
        return result
