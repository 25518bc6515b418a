"""The part of check_store that is about keys: stores of many logins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

import attrs

from trioauth._tokens import Tokens
from trioauth.stores._contract import Record

from ._check_lock import LockCheck
from ._conformance import broken, kind, shows

if TYPE_CHECKING:
    from trioauth.stores._contract import KeyedStore, TokenStore

KEY = "check-store"
"""The key under which everything else is checked."""

_REMEDY = (
    "keep the key as it is, or a hash of it, or its bytes in hexadecimal; compare it byte by byte"
)

# Pairs that a careless store takes for one another, or can't keep. What they have in common is
# said, not the keys.
_ODD = {
    "that differ in case": ("user", "User"),
    "that differ in a blank at the end": ("user", "user "),
    "that differ in a blank at the beginning": ("user", " user"),
    "that differ in a line break at the end": ("user", "user\n"),
    "of which one has a slash": ("a/b", "a_b"),
    "of which one climbs up": ("../b", "b"),
    "of which one is encoded as in an address": ("a b", "a%20b"),
    "with placeholders of a query": ("a*", "a%"),
    "with quotes": ("'; drop table logins; --", '"'),
    "that differ in the form of an accent": ("\u00e9", "e\u0301"),
    "outside the basic plane": ("\U0001f511", "\U0001f512"),
    "of 1,024 characters that differ in the last": (1023 * "k" + "1", 1023 * "k" + "2"),
    "of 1,024 characters of four bytes each": (1024 * "\U0001f511", 1023 * "\U0001f511" + "k"),
    "that differ in a colon": ("a:b", "ab"),
}
_MARK = "check-store-key"
_BAD = {
    "that is empty": "",
    "of 1,025 characters": _MARK + (1025 - len(_MARK)) * "k",
    "with a null character": f"{_MARK}\0",
    "with half of a surrogate pair": f"{_MARK}\ud800",
}


@final
@attrs.define(eq=False)
class KeyCheck:
    """The checks of keys, with two stores that share a place."""

    store: KeyedStore
    other: KeyedStore
    patience: float

    def shape(self) -> None:
        """Check that `at` returns a store at once, and shows no key."""
        one: Any = self.at(self.store, KEY, "that is plain")
        if not all(callable(getattr(one, name, None)) for name in ("lock", "load", "save")):
            close = getattr(one, "close", None)
            if close is not None:
                close()  # a coroutine: else Python warns that it was never awaited
            broken(
                f"at() must return a TokenStore at once, and returned a {kind(one)}: let it not be"
                " async, and open what has to be opened when the store is used"
            )
        if KEY in f"{one!r} {one}":
            broken(
                "repr() of what at() returns must not show the key, which may be personal: hide it"
                " (attrs.field(repr=False))"
            )

    async def isolation(self) -> None:
        """Save a record under each of the odd keys, and look whether each is still there."""
        for what, keys in _ODD.items():
            saved: dict[str, Record] = {}
            for key in keys:
                store = self.at(self.store, key, f"of those {what}")
                # The keys of one pair may be in another, too.
                before = await self._load(store, what)
                number = 1 if before is None else before.generation + 1
                saved[key] = Record(number, Tokens(f"{_MARK}-token"), login=f"{what}: {key!a}"[:99])
                await self._save(store, saved[key], what)
            for key, record in saved.items():
                found = await self._load(self.at(self.other, key, what), what)
                if found != record:
                    broken(
                        "at() must keep each key's record apart from all others, and of two keys"
                        f" {what} one got the record of the other, or none: {_REMEDY}"
                    )

    async def deletion(self) -> None:
        """Delete the record of one of two keys that are alike, if the store can."""
        one, other = (self.at(self.store, key, "that is plain") for key in ("user", "User"))
        delete: Any = getattr(one, "delete", None)
        if delete is None:
            return
        async with one.lock():
            record = await one.load()
            await delete(expected=0 if record is None else record.generation)
        if await other.load() is None:
            broken(f"delete() must delete the record of its key, and not of others: {_REMEDY}")

    async def exclusion(self) -> None:
        """Try to get past a lock by another store that `at` returns for the same key."""
        one, other = (self.at(self.store, KEY, "that is plain") for _ in range(2))
        await LockCheck(one, other, self.patience).exclusion()

    def refusals(self) -> None:
        """Use keys that are none."""
        for what, key in _BAD.items():
            rule = f"at() must raise ValueError for a key {what}"
            problem: Exception | None = None
            try:
                self.store.at(key)
            except Exception as exc:  # noqa: BLE001  # looked at below
                problem = exc
            if problem is None:
                broken(f"{rule}, and took it: check the key in at(), before anything happens")
            if not isinstance(problem, ValueError) or isinstance(problem, UnicodeError):
                broken(f"{rule}, and raised {kind(problem)}: check the key in at()", problem)
            if shows(problem, (_MARK,)):
                broken(
                    f"{rule} that does not quote it, since it may be personal: say what is wrong"
                )

    def at(self, store: KeyedStore, key: str, what: str) -> TokenStore:
        """Call `at` with a key that it must take."""
        try:
            return store.at(key)
        except Exception as exc:  # noqa: BLE001  # whatever it is
            broken(
                f"at() must take any key of 1 to 1,024 characters, and raised {kind(exc)} for one"
                f" {what}: {_REMEDY}",
                exc,
            )

    async def _save(self, store: TokenStore, record: Record, what: str) -> None:
        try:
            async with store.lock():
                await store.save(record, expected=record.generation - 1)
        except Exception as exc:  # noqa: BLE001  # whatever it is
            broken(
                f"save() must save under any key, and raised {kind(exc)} for one of those {what}:"
                f" {_REMEDY}",
                exc,
            )

    async def _load(self, store: TokenStore, what: str) -> Record | None:
        try:
            return await store.load()
        except Exception as exc:  # noqa: BLE001  # whatever it is
            broken(
                f"load() must load from under any key, and raised {kind(exc)} for one of those"
                f" {what}: {_REMEDY}",
                exc,
            )
