"""check_store of hints and of many logins: ours pass, and each broken one is told which promise."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

from trioauth import (
    KeyedMemoryStore,
    Record,
    SQLiteStore,
    StoreConflictError,
    StoreError,
)
from trioauth.stores import _key_locks
from trioauth.stores._contract import check_key
from trioauth.testing import check_store

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("autojump_clock")


@attrs.define(eq=False)
class Place:
    """What the stores below share."""

    texts: dict[str, str] = attrs.field(factory=dict[str, str], repr=False)
    locks: dict[str, trio.Lock] = attrs.field(factory=dict[str, trio.Lock], repr=False)
    hints: list[str | None] = attrs.field(factory=list, repr=False)
    hinted: trio.Event = attrs.field(factory=trio.Event)

    def hint(self, key: str | None) -> None:
        if key not in self.hints:
            self.hints.append(key)
        self.hinted.set()
        self.hinted = trio.Event()

    async def next_hint(self) -> str | None:
        await trio.lowlevel.checkpoint()
        while not self.hints:
            await self.hinted.wait()
        return self.hints.pop(0)


@attrs.define(eq=False)
class One:
    """The login of one key."""

    place: Place
    key: str = attrs.field(default="", repr=False)

    def lock(self) -> Any:
        return self.place.locks.setdefault(self.key, trio.Lock())

    async def load(self) -> Any:
        await trio.lowlevel.checkpoint()
        text = self.place.texts.get(self.key)
        return None if text is None else Record.from_text(text)

    async def save(self, record: Record, *, expected: int) -> None:
        before = await self.load()
        if expected != (0 if before is None else before.generation):
            raise StoreConflictError("another generation is stored")
        self.place.texts[self.key] = record.to_text()
        self.place.hint(self.key)


@attrs.define(eq=False)
class Many:
    """A store that keeps its promises. What follows breaks one of them each."""

    place: Place

    def at(self, key: str) -> Any:
        return One(self.place, check_key(key))


# --- the stores of the library --------------------------------------------------------------------


async def test_a_store_of_many_logins_that_keeps_its_promises_passes() -> None:
    place = Place()
    await check_store(lambda: Many(place))


async def test_keyed_memory_store_passes() -> None:
    store = KeyedMemoryStore()
    await check_store(lambda: store)


@pytest.mark.slow
@pytest.mark.trio(run=trio.run)  # in real time: it works in threads
@pytest.mark.parametrize("has_bytes", [True, False], ids=["bytes", "files"])
async def test_sqlite_store_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_bytes: bool
) -> None:
    monkeypatch.setattr(_key_locks, "has_bytes", has_bytes)
    await check_store(lambda: SQLiteStore(tmp_path / "logins.db"))


async def test_one_login_of_a_store_passes_by_itself() -> None:
    store = KeyedMemoryStore()
    await check_store(lambda: store.at("a"))


# --- hints ----------------------------------------------------------------------------------------


class Hints(One):
    """A store of one login that keeps its promises."""

    async def changed(self) -> Any:
        return await self.place.next_hint()


class HintsAlways(Hints):
    """It keeps them, too: hints may be wrong."""

    async def changed(self) -> Any:
        await trio.lowlevel.checkpoint()


class HintsOfManyLogins(Many):
    async def changed(self) -> Any:
        return await self.place.next_hint()


class HintsOfAny(Many):
    async def changed(self) -> Any:
        await self.place.next_hint()


@pytest.mark.parametrize("kind", [Hints, HintsAlways, HintsOfManyLogins, HintsOfAny])
async def test_stores_that_hint_pass(kind: type) -> None:
    place = Place()
    await check_store(lambda: kind(place))


class HintsSynchronously(Hints):
    def changed(self) -> Any:
        return ""


class HintsNever(Hints):
    async def changed(self) -> Any:
        await trio.sleep_forever()


class HintsWithTheRecord(Hints):
    async def changed(self) -> Any:
        await super().changed()
        return await self.load()


class ForgetsWhatComesBetweenCalls(Hints):
    async def changed(self) -> Any:
        self.place.hints.clear()
        return await super().changed()


class HintsWithoutCheckpoint(Hints):
    async def changed(self) -> Any:
        if not self.place.hints:
            return await super().changed()
        return self.place.hints.pop(0)


class WrapsCancellationOfHints(Hints):
    async def changed(self) -> Any:
        try:
            return await super().changed()
        except trio.Cancelled as exc:
            if not self.place.hints:
                raise
            raise StoreError("connection lost") from exc


class HintsOfAnotherKey(Many):
    async def changed(self) -> Any:
        return f"{await self.place.next_hint()}?"


# --- keys -----------------------------------------------------------------------------------------


class OneForAll(Many):
    def at(self, key: str) -> Any:
        return One(self.place, check_key(key)[:0])


class FoldsCase(Many):
    def at(self, key: str) -> Any:
        return One(self.place, check_key(key).casefold())


class StripsBlanks(Many):
    def at(self, key: str) -> Any:
        return One(self.place, check_key(key).rstrip(" "))


class StripsLineBreaks(Many):
    def at(self, key: str) -> Any:
        return One(self.place, check_key(key).removesuffix("\n"))


class MakesFileNames(Many):
    def at(self, key: str) -> Any:
        return One(self.place, check_key(key).replace("/", "_"))


class NormalizesAccents(Many):
    def at(self, key: str) -> Any:
        return One(self.place, unicodedata.normalize("NFC", check_key(key)))


class CutsKeys(Many):
    def at(self, key: str) -> Any:
        return One(self.place, check_key(key)[:255])


class RefusesLongKeys(Many):
    def at(self, key: str) -> Any:
        if len(check_key(key).encode()) > 2048:
            raise StoreError("too long")
        return One(self.place, key)


class CannotSaveQuotes(Many):
    @attrs.define(eq=False)
    class Login(One):
        async def save(self, record: Record, *, expected: int) -> None:
            if "'" in self.key:
                raise StoreError("syntax error")
            await super().save(record, expected=expected)

    def at(self, key: str) -> Any:
        return self.Login(self.place, check_key(key))


class CannotLoadQuotes(Many):
    @attrs.define(eq=False)
    class Login(One):
        async def load(self) -> Any:
            if "'" in self.key:
                raise StoreError("syntax error")
            return await super().load()

    def at(self, key: str) -> Any:
        return self.Login(self.place, check_key(key))


class AtIsAsync(Many):
    async def at(self, key: str) -> Any:
        await trio.lowlevel.checkpoint()
        return One(self.place, key)


class ReturnsARecord(Many):
    def at(self, key: str) -> Any:
        return None


class ShowsTheKey(Many):
    @attrs.define(eq=False)
    class Login(One):
        def __repr__(self) -> str:
            return f"<login of {self.key}>"

    def at(self, key: str) -> Any:
        return self.Login(self.place, check_key(key))


class TakesAnyKey(Many):
    def at(self, key: str) -> Any:
        return One(self.place, key)


class RefusesWithAnotherError(Many):
    def at(self, key: str) -> Any:
        try:
            return One(self.place, check_key(key))
        except ValueError:
            raise StoreError("bad key") from None


class RefusesSurrogatesByChance(Many):
    def at(self, key: str) -> Any:
        key.encode()
        return One(self.place, check_key(key))


class QuotesTheKey(Many):
    def at(self, key: str) -> Any:
        if len(key) > 1024:
            raise ValueError(f"{key} is too long")
        return One(self.place, check_key(key))


class LocksTheViewOnly(Many):
    """Each store has a file lock of its own, as processes do, but one store may lock twice."""

    @attrs.define(eq=False)
    class Login(One):
        own: trio.Lock = attrs.field(factory=trio.Lock)

        def lock(self) -> Any:
            return self.own

    views: dict[str, Any] = {}  # noqa: RUF012  # two places are never mixed up here

    def at(self, key: str) -> Any:
        login = self.Login(self.place, check_key(key))
        first = self.views.setdefault(f"{id(self.place)} {key}", login)
        # The first two, which everything else is checked with, share a lock.
        self.views["count"] = self.views.get("count", 0) + (key == "check-store")
        if self.views["count"] <= 3:
            login.own = first.own
        return login


BROKEN = {
    HintsSynchronously: "changed.. must wait for a hint, and raised TypeError: let it be async",
    HintsNever: "changed.. must return after a save of another store while it waits, and did not",
    HintsWithTheRecord: "changed.. must return a str or None, and returned a Record: the key",
    ForgetsWhatComesBetweenCalls: "changed.. must return after a save .* between two calls, and",
    HintsWithoutCheckpoint: "^changed.. must be a checkpoint",
    WrapsCancellationOfHints: "^changed.. must .* and raised StoreError",
    HintsOfAnotherKey: "changed.. must return after a save of another store while it waits, and",
    OneForAll: "of two keys that differ in case one got the record of the other",
    FoldsCase: "of two keys that differ in case one got the record of the other",
    StripsBlanks: "of two keys that differ in a blank at the end one got",
    StripsLineBreaks: "of two keys that differ in a line break at the end one got",
    MakesFileNames: "of two keys of which one has a slash one got",
    NormalizesAccents: "of two keys that differ in the form of an accent one got",
    CutsKeys: "of two keys of 1,024 characters that differ in the last one got",
    RefusesLongKeys: "at.. must take any key .* and raised StoreError for one of those of 1,024",
    CannotSaveQuotes: "save.. must save under any key, and raised StoreError for .* with quotes",
    CannotLoadQuotes: "load.. must load from under any key, and raised StoreError for .*quotes",
    AtIsAsync: "at.. must return a TokenStore at once, and returned a coroutine: let it not be",
    ReturnsARecord: "at.. must return a TokenStore at once, and returned a NoneType",
    ShowsTheKey: "repr.. of what at.. returns must not show the key",
    TakesAnyKey: "at.. must raise ValueError for a key that is empty, and took it",
    RefusesWithAnotherError: "for a key that is empty, and raised StoreError: check the key",
    RefusesSurrogatesByChance: "half of a surrogate pair, and raised UnicodeEncodeError",
    QuotesTheKey: "ValueError for a key of 1,025 characters that does not quote it",
    LocksTheViewOnly: "lock.. must exclude all others, and let in another store of that place",
}


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
async def test_a_broken_store_is_told_which_promise_it_breaks(broken: type[Any]) -> None:
    place = Place()
    with pytest.raises(AssertionError, match=BROKEN[broken]) as info:
        await check_store(lambda: broken(place))
    sentence = str(info.value)
    assert "\n" not in sentence
    assert ":" in sentence or ";" in sentence, "it says how to mend it, too"


def test_every_broken_store_is_tried() -> None:
    stores = {
        kind
        for kind in globals().values()
        if isinstance(kind, type) and issubclass(kind, Many | One)
    }
    assert stores - BROKEN.keys() == {Many, One, Hints, HintsAlways, HintsOfManyLogins, HintsOfAny}
