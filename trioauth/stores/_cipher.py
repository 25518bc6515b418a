"""Cipher: records that only those can read who have a key (pure, but for random numbers).

What is stored is a `Record` again, so that any store can keep it:

1. Its generation is that of the record inside, because the store compares it. The name of the
   login is the same, too; it is random and says nothing.
2. Its access token is the whole record as text, encrypted: ``trioauth-encrypted.1.MARK.DATA``.
   ``1`` is the version of this format. ``MARK`` tells which key fits; it can't be turned back into
   the key. ``DATA`` is a random nonce and the output of AES-256-GCM, in base64.
3. Its owner is a sentence. It keeps a session that lacks the key from taking the encrypted text for
   an access token.

Version, key of the login, generation and name of the login are authenticated (the associated data
of AES-GCM). So a text that is copied to another login or another generation is not accepted.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from typing import TYPE_CHECKING, Final, NoReturn, final

import attrs

from trioauth._tokens import Tokens

from ._contract import ENCRYPTED, Record

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES: Final = 32

# SP 800-38D 5.2.1.1: 96 bits. 8.3: chosen at random, one key is good for 2**32 records.
_NONCE_BYTES: Final = 12
_PREFIX: Final = "trioauth-encrypted."
_VERSION: Final = "1"
_FORM: Final = re.compile(rf"{re.escape(_PREFIX)}{_VERSION}\.([0-9a-f]{{8}})\.([A-Za-z0-9_-]+)")


@final
@attrs.frozen(repr=False, eq=False)
class Cipher:
    """Encrypts with the first key, and decrypts with each of them."""

    _keys: dict[str, AESGCM]
    """By their marks, in order."""

    @classmethod
    def of(cls, key: str | bytes, old_keys: Iterable[str | bytes]) -> Cipher:
        """Make one of keys, each as bytes or in base64.

        Raises:
          ModuleNotFoundError: cryptography is not installed.
          ValueError: A key has a wrong form. The message says which one, and quotes nothing.
          TypeError: A key is neither str nor bytes.
        """
        aes_gcm = _load_aes_gcm()
        if isinstance(old_keys, str | bytes):
            raise TypeError("old_keys must be a list of keys, not one key")
        keys = [_to_bytes("key", key), *(_to_bytes("old_keys", each) for each in old_keys)]
        return cls({_mark(each): aes_gcm(each) for each in keys})

    def seal(self, record: Record, place: str) -> Record:
        """Encrypt a record. ``place`` is the key of its login; "" in a store of one."""
        mark, aes_gcm = next(iter(self._keys.items()))
        nonce = os.urandom(_NONCE_BYTES)
        text = record.to_text().encode()
        data = nonce + aes_gcm.encrypt(nonce, text, _context(record, place))
        encoded = base64.urlsafe_b64encode(data).decode().rstrip("=")
        sealed = Tokens(f"{_PREFIX}{_VERSION}.{mark}.{encoded}")
        return Record(record.generation, sealed, login=record.login, owner=ENCRYPTED)

    def unseal(self, sealed: Record, place: str) -> Record:
        """Decrypt a record.

        Raises:
          ValueError: It can't be decrypted. The message says why, and quotes nothing.
        """
        opened = self._unseal(sealed, place)
        # Raised here: the frames below have the text in them.
        if isinstance(opened, str):
            raise ValueError(opened)  # noqa: TRY004  # a reason, not a wrong type
        return opened

    def _unseal(self, sealed: Record, place: str) -> Record | str:
        """Return the record, or why it can't be decrypted."""
        from cryptography.exceptions import InvalidTag

        text = "" if sealed.tokens is None else sealed.tokens.access_token
        if not text.startswith(_PREFIX):
            return "it is not encrypted"
        form = _FORM.fullmatch(text)
        if form is None:
            return "it is damaged, or was encrypted by a newer version of trioauth: upgrade"
        mark, encoded = form.groups()
        if mark not in self._keys:
            return (
                f"it was encrypted with another key (mark {mark}; given: {', '.join(self._keys)});"
                " give that key, too, in old_keys"
            )
        try:
            data = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
            nonce, rest = data[:_NONCE_BYTES], data[_NONCE_BYTES:]
            plain = self._keys[mark].decrypt(nonce, rest, _context(sealed, place))
        except (InvalidTag, ValueError):  # ValueError: not base64, or too short
            return "it was changed, or copied from another login or another generation"
        try:
            return Record.from_text(plain)
        except ValueError as exc:
            return str(exc)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a store with keys can't be pickled, a pickle would show the keys")


def _load_aes_gcm() -> type[AESGCM]:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ModuleNotFoundError:
        pass
    else:
        return AESGCM
    raise ModuleNotFoundError(
        'EncryptedStore needs cryptography: pip install "trioauth[encryption]"', name="cryptography"
    )


def _to_bytes(name: str, key: object) -> bytes:
    if not isinstance(key, str | bytes):
        raise TypeError(f"{name} must be a str or bytes, not {type(key).__name__}")
    found = _decode(key) if isinstance(key, str) else key
    if len(found) != KEY_BYTES:
        # Not the key itself, nor the exception of its decoding, which quotes it.
        del key, found
        raise ValueError(
            f"{name} must be {KEY_BYTES} bytes, or a str that EncryptedStore.new_key() has made"
        )
    return found


def _decode(key: str) -> bytes:
    """Decode URL-safe base64 with or without padding; return nothing if it is something else."""
    if re.fullmatch(r"[A-Za-z0-9_-]{43}=?", key) is None:
        return b""
    return base64.urlsafe_b64decode(key[:43] + "=")


def _mark(key: bytes) -> str:
    return hashlib.sha256(b"trioauth encryption key: " + key).hexdigest()[:8]


def _context(record: Record, place: str) -> bytes:
    return json.dumps([_PREFIX, _VERSION, place, record.generation, record.login]).encode()
