"""One entry of the system's keyring: read, written, tried. All of it blocks; for threads.

Exceptions of keyring and its backends are never chained: they, or the frames they come from, may
hold what was to be written. An error tells the name of their class, and nothing else of them.
"""

from __future__ import annotations

import re
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol, TypeVar, cast, final

import attrs

from trioauth._errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")

# Backends that keep nothing (fail, null), or keep it as plain text (those of keyrings.alt).
_UNFIT = re.compile(r"\.(fail|null)\.|plain", re.IGNORECASE)

# The least priority that keyring recommends. A backend below it may not encrypt, or may ask for a
# password on the terminal.
_RECOMMENDED = 1

# The classes of keyring and SecretStorage for a keyring that is locked. By name, because
# SecretStorage can't be imported everywhere.
_LOCKED = {"KeyringLocked", "LockedException", "PromptDismissedException"}

_ELSEWHERE = "or keep the login in EncryptedStore(FileStore(...), key)"


def require_keyring() -> None:
    """Check that keyring is installed, without importing it.

    Raises:
      ModuleNotFoundError: It is not.
    """
    if find_spec("keyring") is None:
        raise ModuleNotFoundError(
            'KeyringStore needs keyring: pip install "trioauth[keyring]"', name="keyring"
        )


class _Backend(Protocol):
    """What is used of a `keyring.backend.KeyringBackend`, which is typed in parts only."""

    @property
    def priority(self) -> float: ...

    def get_password(self, service: str, username: str, /) -> str | None: ...

    def set_password(self, service: str, username: str, password: str, /) -> None: ...

    def delete_password(self, service: str, username: str, /) -> None: ...


@final
@attrs.frozen
class _Failure:
    reason: str


class _UnfitError(Exception):
    """No backend keeps secrets. The message says which ones there are."""


@final
@attrs.define(eq=False)
class Entry:
    """An entry: a text (in keyring's words, a password) with a service and a user name."""

    service: str
    username: str
    _backend: _Backend | None = attrs.field(default=None, kw_only=True, repr=False)
    """The backend that was chosen when the entry was first used."""

    def __str__(self) -> str:
        return f"the entry {self.service!r} of {self.username!r} in the system's keyring"

    def read(self) -> str | None:
        """Return the text, or None if there is no such entry.

        Raises:
          StoreError: It can't be read.
        """
        found = self._try(lambda backend: backend.get_password(self.service, self.username))
        if isinstance(found, _Failure):
            raise StoreError(f"can't read {self}: {found.reason}")
        return found

    def write(self, text: str) -> None:
        """Replace the text. Make the entry if there is none.

        Raises:
          StoreError: It can't be written.
        """
        size = len(text)
        done = self._try(partial(self._set, text))
        # Crash reporters show the variables of this frame.
        del text
        if isinstance(done, _Failure):
            raise StoreError(f"can't write {size:,} characters into {self}: {done.reason}")

    def prove_writable(self, size: int) -> None:
        """Write ``size`` characters into another entry, read them, and remove that entry.

        Raises:
          StoreError: They can't be written, or do not come back.
        """
        # Not another user name of this service: on Windows, keyring would then move our entry.
        trial = attrs.evolve(self, service=f"{self.service} (test)")
        filler = "x" * size
        trial.write(filler)
        back = trial.read()
        # If it can't be removed: there is no secret in it, and the next one replaces it.
        trial._try(lambda backend: backend.delete_password(trial.service, trial.username))
        if back != filler:
            raise StoreError(
                f"can't write into {self}: of {size:,} characters {len(back or ''):,} came back;"
                f" use another backend of keyring, {_ELSEWHERE}"
            )

    def _set(self, text: str, backend: _Backend) -> None:
        backend.set_password(self.service, self.username, text)

    def _try(self, work: Callable[[_Backend], T]) -> T | _Failure:
        try:
            if self._backend is None:
                self._backend = _choose()
            return work(self._backend)
        except _UnfitError as exc:
            return _Failure(str(exc))
        except Exception as exc:  # noqa: BLE001  # backends raise what they like
            return _Failure(_explain(exc))


def _choose() -> _Backend:
    """Return the backend that keyring has chosen, or the first of a chain that is fit."""
    import keyring
    from keyring.backends.chainer import ChainerBackend

    chosen = keyring.get_keyring()
    # The chain itself might fall back on a backend that is not fit.
    found: object = chosen.backends if isinstance(chosen, ChainerBackend) else [chosen]
    backends = list(cast("Iterable[_Backend]", found))
    for backend in backends:
        if not _UNFIT.search(_name(backend)) and backend.priority >= _RECOMMENDED:
            return backend
    raise _UnfitError(
        f"keyring found no backend that keeps secrets (only {', '.join(map(_name, backends))});"
        " unlock or start the keyring of the desktop and start the program again,"
        f" {_ELSEWHERE}"
    )


def _explain(exc: Exception) -> str:
    if type(exc).__name__ in _LOCKED:
        return "it is locked, and was not unlocked; unlock it and try again"
    return (
        f"keyring raised {_name(exc)}; see whether the keyring runs and has room for so much"
        f" (Windows: 1,280 characters), {_ELSEWHERE}"
    )


def _name(thing: object) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}"
