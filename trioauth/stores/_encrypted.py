"""EncryptedStore and KeyedEncryptedStore: any store, with what is in it encrypted."""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING, final

import attrs

from trioauth._errors import StoreError

from ._cipher import KEY_BYTES, Cipher
from ._contract import check_key, probe_store
from ._forget import A_DAY, forget

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractAsyncContextManager

    from ._contract import KeyedStore, Record, TokenStore


@final
@attrs.define(eq=False)
class _Sealed:
    """A store for one login, around another store."""

    _store: TokenStore
    _cipher: Cipher = attrs.field(repr=False)
    _key: str = attrs.field(default="", repr=False)
    """The key of the login; "" in a store of one."""

    def lock(self) -> AbstractAsyncContextManager[None]:
        return self._store.lock()

    async def load(self) -> Record | None:
        return self._open(await self._store.load())

    async def save(self, record: Record, *, expected: int) -> None:
        # Never overwrite a record that can't be decrypted: its key may turn up.
        self._open(await self._store.load())
        await self._store.save(self._cipher.seal(record, self._key), expected=expected)

    async def probe(self) -> None:
        self._open(await self._store.load())
        await probe_store(self._store)

    def _open(self, sealed: Record | None) -> Record | None:
        if sealed is None:
            return None
        try:
            return self._cipher.unseal(sealed, self._key)
        except ValueError as exc:
            reason = str(exc)
        path = getattr(self._store, "path", None)
        raise StoreError(
            f"the record in {self._store if path is None else path} is left as it is: {reason}; or"
            " log in anew, with a store at another place",
            path=path,
        )

    if not TYPE_CHECKING:  # pragma: no branch  # or a typo would type-check

        def __getattr__(self, name: str) -> object:
            return _optional(self._store, name)


def _optional(store: object, name: str) -> object:
    """Return an optional attribute of the inner store; where it has none, neither have we."""
    if name in {"_check_open", "changed", "delete", "keys", "waits_for"}:
        return getattr(store, name)
    raise AttributeError(f"an EncryptedStore has no attribute {name!r}")


@final
@attrs.define(eq=False)
class EncryptedStore:
    """Encrypt what another store keeps, so that a copy of its file or database shows nothing.

    It needs the package cryptography: ``pip install "trioauth[encryption]"``. ::

        store = EncryptedStore(FileStore("tokens.json"), os.environ["TRIOAUTH_KEY"])

    AES-256-GCM encrypts all of a record but its generation and the random name of its login, and
    protects all of it against changes. Tokens, the person's identity, scope and owner can't be read
    without the key. The lock and the durability are those of the other store.

    A record that can't be decrypted is never overwritten: not one of another key, nor one that was
    changed or copied from another place, nor one that is not encrypted. The call raises a
    `StoreError` that says what to do. What can't be noticed: that the whole store was put back to
    what it held before.

    To change the key, give the new one as ``key`` and the one before in ``old_keys``. Each record
    is encrypted with the new key when it is next saved, which is at its next refresh.

    Args:
      store: The other store. For one that keeps many logins, use `KeyedEncryptedStore`.
      key: What to encrypt with, and to decrypt: 32 random bytes, or a str from `new_key`. Keep it
          where the store is not: in the environment, or in what your system has for secrets.
      old_keys: More keys to decrypt with.

    Raises:
      ModuleNotFoundError: cryptography is not installed.
      ValueError: A key has not 32 bytes; quotes nothing.
      TypeError: A key is neither str nor bytes, or the store keeps many logins.
    """

    store: TokenStore = attrs.field(on_setattr=attrs.setters.frozen)
    """The other store."""

    _key: str | bytes = attrs.field(alias="key", repr=False)
    _old_keys: Iterable[str | bytes] = attrs.field(
        alias="old_keys", default=(), kw_only=True, repr=False
    )
    _sealed: _Sealed = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if not hasattr(self.store, "lock"):
            raise TypeError(
                f"store must be a TokenStore, such as FileStore, not {type(self.store).__name__};"
                " use KeyedEncryptedStore for one with many logins"
            )
        self._sealed = _Sealed(self.store, Cipher.of(self._key, self._old_keys))

    @staticmethod
    def new_key() -> str:
        """Return a new, random key: 43 characters of URL-safe base64."""
        return base64.urlsafe_b64encode(os.urandom(KEY_BYTES)).decode().rstrip("=")

    def lock(self) -> AbstractAsyncContextManager[None]:
        """Keep out all other users of the other store: this is its lock.

        Cancellation:
          Safe. A cancelled wait for the lock leaves nothing locked.

        Raises:
          StoreError: The other store can't be locked.
        """
        return self._sealed.lock()

    async def load(self) -> Record | None:
        """Return the record last saved, or None if there never was one.

        Cancellation:
          Safe. Nothing is changed.

        Raises:
          StoreError: The other store can't be read, or what it holds can't be decrypted. It is not
              changed.
        """
        return await self._sealed.load()

    async def save(self, record: Record, *, expected: int) -> None:
        """Replace the record if the stored one is still generation ``expected`` (0: there is none).

        Cancellation:
          All or nothing, as in the other store.

        Raises:
          StoreConflictError: Another generation is stored. Nothing was written.
          StoreError: The other store can't be written, or what it holds can't be decrypted. Nothing
              was overwritten.
        """
        await self._sealed.save(record, expected=expected)

    async def probe(self) -> None:
        """Prove that `save` could write now, as far as the other store can tell.

        Cancellation:
          Safe. Nothing is changed.

        Raises:
          StoreError: `save` would fail. The message says why.
        """
        await self._sealed.probe()

    if not TYPE_CHECKING:  # pragma: no branch  # or a typo would type-check

        def __getattr__(self, name: str) -> object:
            return _optional(self.store, name)


@final
@attrs.define(eq=False)
class KeyedEncryptedStore:
    """Encrypt what another store for many logins keeps, as `EncryptedStore` does for one.

    ::

        store = KeyedEncryptedStore(SQLiteStore("logins.db"), os.environ["TRIOAUTH_KEY"])

    Each record is bound to the key of its login: a record that is copied to the key of another
    login is not accepted. The keys of the logins themselves are not encrypted.

    Args:
      store: The other store.
      key: What to encrypt with, and to decrypt: 32 random bytes, or a str from
          `EncryptedStore.new_key`.
      old_keys: More keys to decrypt with.

    Raises:
      ModuleNotFoundError: cryptography is not installed.
      ValueError: A key has not 32 bytes; quotes nothing.
      TypeError: A key is neither str nor bytes, or the store keeps one login.
    """

    store: KeyedStore = attrs.field(on_setattr=attrs.setters.frozen)
    """The other store."""

    _key: str | bytes = attrs.field(alias="key", repr=False)
    _old_keys: Iterable[str | bytes] = attrs.field(
        alias="old_keys", default=(), kw_only=True, repr=False
    )
    _cipher: Cipher = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if not hasattr(self.store, "at"):
            raise TypeError(
                f"store must be a KeyedStore, such as SQLiteStore, not {type(self.store).__name__};"
                " use EncryptedStore for one with one login"
            )
        self._cipher = Cipher.of(self._key, self._old_keys)

    def at(self, key: str) -> TokenStore:
        """Return the store of one login. Not a checkpoint.

        Args:
          key: Which login: 1 to 1,024 characters.

        Raises:
          ValueError: The key is empty, too long, or has characters that can't be stored.
          TypeError: The key is no str.
        """
        return _Sealed(self.store.at(key), self._cipher, check_key(key))

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
          StoreError: The record can't be read, decrypted or deleted. It is left as it is.
          ValueError: It is no key, or ``ended_for`` is negative or not finite.
          TypeError: The key is no str, or ``ended_for`` is no number; or the logins of the other
              store have no method ``delete``.
        """
        return await forget(self.at(key), ended_for)

    if not TYPE_CHECKING:  # pragma: no branch  # or a typo would type-check

        def __getattr__(self, name: str) -> object:
            return _optional(self.store, name)
