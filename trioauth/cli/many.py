"""``trioauth status --store``: the logins of a store that holds many, a page at a time."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

import attrs
import trio

from trioauth._core.key import Key
from trioauth._errors import StoreError, printable
from trioauth.stores import KeyedEncryptedStore, SQLiteStore
from trioauth.stores._contract import ENCRYPTED

from .exits import DONE, FAILED, NOT_LOGGED_IN, UsageError
from .shown import Shown, expiry_words, state_words, with_record

if TYPE_CHECKING:
    import argparse

    from trioauth.stores._contract import KeyedStore

_SCHEME = "sqlite:"
_LONGEST = 10_000
# What is said of a profile, and not of a login in a store.
_LEFT_OUT = {"name", "issuer", "client_id", "account", "stored_in", "check"}


async def show_many(options: argparse.Namespace) -> int:
    """Show the logins of a store, one line each. Nothing is changed, and no server is asked.

    Cancellation:
      Safe.

    Raises:
      StoreError: The store can't be read.
      UsageError: The options contradict each other.
    """
    from .speaking import hand_out, say

    store = _store_of(options)
    logins = _decrypted(store, options.store_key_env)
    keys, more = await _page(store, options)
    shown = [await _look_at(logins, key, options) for key in keys]
    if options.json:
        after = keys[-1] if more and options.show_keys else None
        found: dict[str, Any] = {
            "store": str(store.path),
            "logins": [_in_json(each) for each in shown],
        }
        found |= {"more": more, "after": after}
        hand_out(json.dumps(found, indent=1))
    else:
        now = time.time()
        lines = [_line(each, now) for each in shown]
        if more:
            how = f"--after {printable(keys[-1])}" if options.show_keys else "--show-keys, to go on"
            lines.append(f"there are more: {how}")
        say("\n".join(lines) or f"there are no logins in {store.path}")
    return _code(shown, one=options.key is not None)


def _store_of(options: argparse.Namespace) -> SQLiteStore:
    if options.name is not None or options.check:
        raise UsageError("--store: neither a NAME nor --check goes with it")
    if options.key is not None and options.after:
        raise UsageError("--key and --after: one of them is enough")
    if not 1 <= options.limit < _LONGEST:
        raise UsageError(f"--limit: must be from 1 to {_LONGEST - 1:,}")
    scheme, path = options.store[: len(_SCHEME)], options.store[len(_SCHEME) :]
    if scheme != _SCHEME or not path:
        raise UsageError("--store: must be sqlite:PATH, such as sqlite:logins.db")
    store = SQLiteStore(path)
    if not store.path.exists():
        raise StoreError(f"there is no {store.path}: no login was saved there", path=store.path)
    return store


def _decrypted(store: SQLiteStore, variable: str | None) -> KeyedStore:
    """Return the store, or what decrypts it."""
    if variable is None:
        return store
    if not (key := os.environ.get(variable)):
        raise UsageError(f"--store-key-env: the variable {variable} is not set")
    try:
        return KeyedEncryptedStore(store, key)
    except ValueError as exc:
        raise UsageError(f"--store-key-env: {exc}") from None


async def _page(store: SQLiteStore, options: argparse.Namespace) -> tuple[list[str], bool]:
    """Return the keys to show, and whether there are more.

    Cancellation:
      Safe.

    Raises:
      StoreError: The store can't be read.
    """
    if options.key is not None:
        await trio.lowlevel.checkpoint()
        return [options.key], False
    keys = await store.keys(options.after, options.limit + 1)
    return keys[: options.limit], len(keys) > options.limit


async def _look_at(store: KeyedStore, key: str, options: argparse.Namespace) -> Shown:
    """Find out about one login; a record that is damaged does not hide the others.

    Cancellation:
      Safe.

    Raises:
      UsageError: There is no such key.
    """
    await trio.lowlevel.checkpoint()
    try:
        login = store.at(key)
    except ValueError as exc:
        raise UsageError(f"--key: {exc}") from None
    shown = Shown(name=key if options.show_keys else Key.of(key).shown)
    try:
        record = await login.load()
    except StoreError as exc:
        return attrs.evolve(shown, error=str(exc))
    if record is not None and record.owner == ENCRYPTED:
        # Its tokens are not what they seem: it may have ended.
        return attrs.evolve(shown, error="it is encrypted; --store-key-env VARIABLE decrypts it")
    return with_record(shown, record)


def _line(shown: Shown, now: float) -> str:
    if shown.error is not None:
        words = f"problem: {shown.error}"
    elif shown.logged_in:
        words = f"logged in, {expiry_words(shown, now)}"
    else:
        words = state_words(shown, now)
    return f"{printable(shown.name)}: {words}"


def _in_json(shown: Shown) -> dict[str, Any]:
    rest = {name: each for name, each in attrs.asdict(shown).items() if name not in _LEFT_OUT}
    return {"key": shown.name, **rest}


def _code(shown: list[Shown], *, one: bool) -> int:
    """Return the exit code. Among many, a login that has ended is nothing unusual."""
    if not shown:
        return NOT_LOGGED_IN
    if one:
        return shown[0].code
    return FAILED if any(each.error is not None for each in shown) else DONE
