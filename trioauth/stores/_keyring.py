"""KeyringStore: one person's login in the keyring of the system."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, final

import attrs
import trio

from trioauth._errors import StoreConflictError, StoreError

from ._contract import Record
from ._entry import Entry, require_keyring
from ._file import to_path
from ._place import Place

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from contextlib import AbstractAsyncContextManager

    from ._hold import Hold

T = TypeVar("T")

# How much longer than the stored record the next one may be, in characters. The server says how
# long tokens are, and rarely changes it; what we add are times and counts.
_GROWTH = 64

# How many characters to try before anything is known of the tokens: no keyring refuses so few.
_LEAST = 1_000


def _check_name(_: object, attribute: attrs.Attribute[str], value: object) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{attribute.name} must be a str, not {type(value).__name__}")
    if not value or "\0" in value:
        raise ValueError(f"{attribute.name} must not be empty, nor have a null character in it")


def _check_timeout(_: object, attribute: attrs.Attribute[float], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{attribute.name} must be seconds as a number, not {type(value).__name__}")
    if not value > 0:
        raise ValueError(f"{attribute.name} must be more than 0 seconds")


def _default_path(service: str, username: str) -> Path:
    """Name what is locked for an entry, the same for all programs of this user."""
    folder = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_STATE_HOME", "")
    # A relative path is to be ignored (XDG Base Directory Specification).
    base = folder if Path(folder).is_absolute() else "~/.local/state"
    # A hash, because a user name may be personal, or have characters that no file name has.
    digest = hashlib.sha256(json.dumps([service, username]).encode()).hexdigest()[:32]
    return Path(base) / "trioauth" / "keyring" / digest


@final
@attrs.define(eq=False)
class KeyringStore:
    """Keep one login in the keyring of the system, where a person's other passwords are.

    That is Secret Service (GNOME, KDE), KWallet, the Keychain of macOS, or the Credential Manager
    of Windows, through the package keyring: ``pip install "trioauth[keyring]"``. It is used only if
    it encrypts. A backend that keeps plain text, or nothing, is refused with a `StoreError`, and
    in a chain of backends it is left out.

    A keyring that is locked asks the person to unlock it, and each call waits for that, up to
    ``timeout`` seconds. Until then the session goes on with the token that it has.

    What can be kept is limited: on Windows to 1,280 characters, which long access tokens exceed.
    `probe` finds that out before a refresh token is spent.

    The lock is a file of its own, because keyrings have no locks. It keeps out the programs of
    one user on one machine, if they name the same ``lock_path``.

    An entry that is damaged, or that something else wrote, is never overwritten: the call raises a
    `StoreError` that says what to do.

    Args:
      service: What the login is for, as the keyring's own program shows it. The entry is called
          ``service/username``, so that each has a name of its own, also on Windows.
      username: Whose login it is.
      lock_path: The lock file. By default its name is derived from ``service`` and ``username``,
          in ``~/.local/state/trioauth/keyring`` (or below ``$XDG_STATE_HOME``; on Windows below
          ``%LOCALAPPDATA%``). ".lock" is added to the name if it is not there.
      timeout: How many seconds a call may wait for the keyring, and for the person who unlocks it;
          by default 60. The deadline of a refresh (``timeout`` of `RefreshPolicy`) ends it sooner.

    Raises:
      ModuleNotFoundError: keyring is not installed.
    """

    service: str = attrs.field(
        default="trioauth", validator=_check_name, on_setattr=attrs.setters.frozen
    )

    username: str = attrs.field(
        kw_only=True, validator=_check_name, on_setattr=attrs.setters.frozen
    )

    _lock_path: str | os.PathLike[str] | None = attrs.field(
        alias="lock_path", default=None, kw_only=True, repr=False
    )

    timeout: float = attrs.field(
        default=60.0, kw_only=True, validator=_check_timeout, on_setattr=attrs.setters.frozen
    )

    _entry: Entry = attrs.field(init=False, repr=False)
    _place: Place = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        require_keyring()
        self._entry = Entry(f"{self.service}/{self.username}", self.username)
        path = self._lock_path or _default_path(self.service, self.username)
        path = to_path(path)
        if path.suffix == ".lock":
            path = path.with_suffix("")  # `Place` adds it
        self._place = Place(path, f"{self._entry}, which may be locked")

    @property
    def lock_path(self) -> Path:
        """The lock file."""
        return self._place.lock_path

    def lock(self) -> AbstractAsyncContextManager[None]:
        """Keep out all other users of this entry who have the same `lock_path`.

        Waits until the lock is free; `waits_for` says what it waits for.

        Cancellation:
          Safe. A cancelled wait for the lock leaves nothing locked.

        Raises:
          StoreError: The lock file can't be made or locked. Give another ``lock_path``.
        """
        return self._place.lock()

    async def load(self) -> Record | None:
        """Return the record last saved, or None if there is no such entry.

        Cancellation:
          Safe. Nothing is changed. A cancelled call leaves at once, also while the keyring waits
          for a person.

        Raises:
          StoreError: The keyring can't be read or did not answer in time, or the entry is damaged.
              It is not changed.
        """
        return await self._in_time(self._place.in_thread(self._load))

    async def save(self, record: Record, *, expected: int) -> None:
        """Replace the record if the stored one is still generation ``expected`` (0: there is none).

        Cancellation:
          All or nothing. A cancelled call leaves at once, even if the keyring hangs. What has
          begun goes on in its thread, and keeps the lock until it has ended.

        Raises:
          StoreConflictError: Another generation is stored. Nothing was written.
          StoreError: The keyring can't be written or did not answer in time, the entry is damaged,
              or the lock was lost. If it did not answer, it may still write what it was given.
          RuntimeError: The lock is not held.
        """
        work = partial(self._save, record=record, expected=expected)
        await self._in_time(self._place.with_lock("save", work))

    async def probe(self) -> None:
        """Prove that `save` could write now, without changing what is stored.

        It writes a test entry (``service/username (test)``) that is a little longer than what is
        stored, reads it, and removes it.

        Cancellation:
          Safe. A cancelled call leaves at once. Its thread removes the test entry.

        Raises:
          StoreError: `save` would fail. The message says why, and what to do.
          RuntimeError: The lock is not held.
        """
        await self._in_time(self._place.with_lock("probe", self._probe))

    @property
    def waits_for(self) -> str | None:
        """What this store waits for, in words for an error message; None if it does not wait.

        For example "another process to unlock /home/me/.local/state/...". After a cancelled wait
        the words stay until another wait has finished, so that they can be read after a deadline.
        Only inside `trio.run`.
        """
        return self._place.waits_for

    async def _in_time(self, work: Coroutine[object, object, T]) -> T:
        with trio.move_on_after(self.timeout):
            return await work
        raise StoreError(
            f"{self._entry} did not answer within {self.timeout:g} seconds: the keyring may be"
            " locked, and ask for its password in a window; unlock it and try again"
        )

    def _load(self) -> Record | None:
        text = self._entry.read()
        if text is None:
            return None
        try:
            return Record.from_text(text)
        except ValueError as exc:
            reason = str(exc)
        # Raised outside `except`, and without `text` in the frame: both hold what was in the entry.
        del text
        raise StoreError(
            f"{self._entry} is left as it is: {reason}; delete it and log in anew, or give another"
            " user name"
        )

    def _save(self, hold: Hold, record: Record, expected: int) -> None:
        hold.check()
        stored = self._load()
        found = 0 if stored is None else stored.generation
        if found != expected:
            raise StoreConflictError(
                f"{self._entry} holds generation {found}, not {expected}: "
                "another session saved first; load again"
            )
        self._entry.write(_to_short_text(record))

    def _probe(self, hold: Hold) -> None:
        hold.check()
        stored = self._load()
        size = 0 if stored is None else len(_to_short_text(stored))
        self._entry.prove_writable(max(_LEAST, size + _GROWTH))


def _to_short_text(record: Record) -> str:
    """Return `Record.to_text` without the blanks, because room is scarce in some keyrings."""
    return json.dumps(json.loads(record.to_text()), separators=(",", ":"))
