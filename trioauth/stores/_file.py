"""FileStore: tokens in a private file that several processes share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, final

import attrs

from trioauth._errors import StoreConflictError

from ._contract import Record
from ._disk import LONGEST_NAME, prove_replaceable, read, refused, replace
from ._place import Place

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from ._hold import Hold


def to_path(path: str | os.PathLike[str]) -> Path:
    """Return the absolute path of a file that can have a lock file beside it.

    Raises:
      TypeError: It is no path of str.
      ValueError: It can't name a file, or the name is too long for that of a lock file.
    """
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

    _place: Place = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._place = Place(self.path, f"the disk of {self.path}")

    def lock(self) -> AbstractAsyncContextManager[None]:
        """Keep out all other users of this file, in this process and elsewhere.

        Waits until the lock is free; `waits_for` says what it waits for.

        Cancellation:
          Safe. A cancelled wait for the lock leaves nothing locked.

        Raises:
          StoreError: The file can't be locked. For example, its folder can't be made, or the file
              system is read-only or has no locks.
        """
        return self._place.lock()

    async def load(self) -> Record | None:
        """Return the record last saved, or None if there is no file.

        Cancellation:
          Safe. Nothing is changed.

        Raises:
          StoreError: There is a file, but it can't be read, or is not ours. It is not changed.
        """
        return await self._place.in_thread(self._load)

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
        await self._place.with_lock("save", lambda hold: self._save(hold, record, expected))

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
        await self._place.with_lock("probe", self._probe)

    @property
    def waits_for(self) -> str | None:
        """What this store waits for, in words for an error message; None if it does not wait.

        For example "another process to unlock /home/me/tokens.json.lock", or "the disk of
        /home/me/tokens.json". After a cancelled wait the words stay until another wait has
        finished, so that they can be read after a deadline. Only inside `trio.run`.
        """
        return self._place.waits_for

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
