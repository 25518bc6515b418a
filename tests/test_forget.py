"""forget(): the record of a login that ended long ago goes; one that lasts, or ended now, stays."""

from __future__ import annotations

import sqlite3
import time
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
import trio.testing

import trioauth
from trioauth import (
    EncryptedStore,
    FileStore,
    KeyedEncryptedStore,
    KeyedMemoryStore,
    Record,
    RedisStore,
    SQLiteStore,
    StoreConflictError,
    StoreError,
    Tokens,
)
from trioauth.testing import AuthServer, check_store
from trioauth.testing._conformance import at_each_checkpoint

from .redis_server import redis_server

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from trioauth.stores._contract import TokenStore
    from trioauth.testing._checkpoints import Victim

KEY = EncryptedStore.new_key()
LASTS = Record(1, Tokens("access", "refresh"), login="a login")


@pytest.fixture(
    params=[
        "memory",
        "sqlite",
        "encrypted",
        pytest.param("redis", marks=pytest.mark.slow),
    ]
)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Any, None]:
    match request.param:
        case "memory":
            yield KeyedMemoryStore()
        case "sqlite":
            yield SQLiteStore(tmp_path / "logins.db")
        case "encrypted":
            yield KeyedEncryptedStore(SQLiteStore(tmp_path / "logins.db"), KEY)
        case _:
            with redis_server(tmp_path / "redis") as server:
                async with RedisStore(server.url) as redis:
                    yield redis


async def put(login: TokenStore, record: Record) -> None:
    async with login.lock():
        await login.save(record, expected=record.generation - 1)


def ended(seconds_ago: float, generation: int = 2) -> Record:
    at = time.time() - seconds_ago
    return Record(generation, login="a login", ended="asked", ended_at_unix=at)


async def test_a_login_that_ended_long_ago_is_forgotten_and_others_are_not(store: Any) -> None:
    for key in ("user-17", "user-18"):
        await put(store.at(key), LASTS)
        await put(store.at(key), ended(90_000))
    assert await store.forget("user-17")
    assert await store.at("user-17").load() is None
    assert await store.at("user-18").load() is not None
    # As if there had never been one: a new login can begin.
    await put(store.at("user-17"), attrs.evolve(LASTS, login="another"))
    assert await store.at("user-17").load() is not None


async def test_a_login_that_lasts_is_not_forgotten(store: Any) -> None:
    await put(store.at("user-17"), LASTS)
    assert not await store.forget("user-17", ended_for=0)
    assert await store.at("user-17").load() == LASTS


async def test_a_login_that_ended_only_now_is_not_forgotten_yet(store: Any) -> None:
    login = store.at("user-17")
    await put(login, LASTS)
    await put(login, ended(3600))
    assert not await store.forget("user-17")
    assert not await store.forget("user-17", ended_for=3700)
    assert await login.load() is not None
    assert await store.forget("user-17", ended_for=3500)
    assert await login.load() is None


async def test_a_login_that_ended_nobody_knows_when_is_forgotten(store: Any) -> None:
    await put(store.at("user-17"), Record(1))
    assert await store.forget("user-17")
    assert await store.at("user-17").load() is None


async def test_a_login_that_is_not_there_is_forgotten_already(store: Any) -> None:
    assert await store.forget("user-17")


async def test_a_login_that_is_being_renewed_is_not_waited_for(store: Any) -> None:
    await put(store.at("user-17"), LASTS)
    async with store.at("user-17").lock():
        with trio.fail_after(10):
            assert not await store.forget("user-17")


async def test_a_login_that_begins_while_forgetting_waits_for_the_lock_stays(store: Any) -> None:
    login, answers = store.at("user-17"), list[bool]()
    await put(login, ended(90_000, generation=1))

    async def forget() -> None:
        answers.append(await store.forget("user-17"))

    async with trio.open_nursery() as nursery:
        async with login.lock():
            nursery.start_soon(forget)
            await trio.testing.wait_all_tasks_blocked(0.3)
            assert answers == []
            await login.save(attrs.evolve(LASTS, generation=2, login="new"), expected=1)
    assert answers == [False]
    record = await login.load()
    assert record.login == "new"


async def test_delete_compares_generations_and_wants_the_lock(store: Any) -> None:
    login = store.at("user-17")
    with pytest.raises(RuntimeError, match=r"delete\(\) needs the lock"):
        await login.delete(expected=1)
    async with login.lock():
        await login.delete(expected=1)
    await put(login, LASTS)
    async with login.lock():
        with pytest.raises(StoreConflictError, match="holds generation 1, not 2"):
            await login.delete(expected=2)
    assert await login.load() == LASTS


async def test_forgetting_that_is_cancelled_anywhere_has_deleted_all_or_nothing(store: Any) -> None:
    login = store.at("user-17")

    async def attempt(victim: Victim) -> None:
        before = await login.load()
        if before is None:
            before = ended(90_000, generation=1)
            await put(login, before)
        await victim(lambda: store.forget("user-17"))
        # Once the lock is free, a thread that was left behind has ended.
        async with login.lock():
            assert await login.load() in (None, before)

    await at_each_checkpoint(attempt)


@pytest.mark.parametrize(
    ("ended_for", "error"), [(-1, ValueError), (float("nan"), ValueError), ("1", TypeError)]
)
async def test_a_wrong_time_is_told_at_once(ended_for: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="ended_for must be"):
        await KeyedMemoryStore().forget("user-17", ended_for=ended_for)
    with pytest.raises(ValueError, match="key must have 1 to 1,024"):
        await KeyedMemoryStore().forget("")


async def test_a_damaged_record_is_not_deleted(tmp_path: Path) -> None:
    plain = SQLiteStore(tmp_path / "logins.db")
    await put(plain.at("user-17"), Record(1))
    with pytest.raises(StoreError, match="it is not encrypted"):
        await KeyedEncryptedStore(plain, KEY).forget("user-17")
    assert await plain.at("user-17").load() is not None


async def test_sqlite_overwrites_what_is_deleted_whatever_its_default_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = sqlite3.connect

    def connect_as_elsewhere(*args: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*args, **options)
        connection.execute("PRAGMA secure_delete = OFF")
        return connection

    monkeypatch.setattr(sqlite3, "connect", connect_as_elsewhere)
    path = tmp_path / "logins.db"
    # A page with nothing else in it, so that there is no other reason to write it.
    await put(SQLiteStore(path).at("user-17"), Record(1, login=20_000 * "canary"))
    assert await SQLiteStore(path).forget("user-17")
    with closing(connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert b"canary" not in path.read_bytes()


@attrs.define(eq=False)
class OnlyThree:
    """A store of many logins without `delete`."""

    kept: KeyedMemoryStore = attrs.field(factory=KeyedMemoryStore)

    def at(self, key: str) -> Any:
        inner = self.kept.at(key)

        @attrs.define(eq=False)
        class Login:
            lock = staticmethod(inner.lock)
            load = staticmethod(inner.load)
            save = staticmethod(inner.save)

        return Login()


async def test_an_encrypted_store_of_one_that_cannot_delete_says_so(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"no method delete\(\)"):
        await KeyedEncryptedStore(OnlyThree(), KEY).forget("user-17")
    assert not hasattr(EncryptedStore(FileStore(tmp_path / "tokens.json"), KEY), "delete")


# --- with sessions ----------------------------------------------------------------------------


@asynccontextmanager
async def opened(server: AuthServer, store: Any) -> AsyncGenerator[trioauth.Sessions, None]:
    async with trioauth.open_sessions(
        server.grant(), store=store, base_url=server.url, transport=server.transport()
    ) as sessions:
        yield sessions


async def test_a_forgotten_user_can_log_in_again_in_a_program_that_still_knows_the_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    server, store = AuthServer(), KeyedMemoryStore()
    async with opened(server, store) as one, opened(server, store) as other:
        await one.log_in("user-17", server.log_in())
        async with one.use("user-17") as session, other.use("user-17") as elsewhere:
            await other.log_out("user-17")
            with pytest.raises(trioauth.LoggedOutError):
                await session.refresh()
            assert await store.forget("user-17", ended_for=0)
            await other.log_in("user-17", server.log_in())
            await trio.sleep(2)
            # Both use the new login, and the old one has not come back.
            assert (await session.get("/me")).status_code == 200
            assert (await elsewhere.get("/me")).status_code == 200
    record = await store.at("user-17").load()
    assert record is not None
    assert record.tokens is not None
    assert server.ledger.reused == 0


# --- check_store ------------------------------------------------------------------------------


@attrs.define(eq=False)
class Forgetful:
    """A store of many logins with `delete`. What follows breaks it."""

    records: dict[str, Record] = attrs.field(factory=dict[str, Record], repr=False)
    locks: dict[str, trio.Lock] = attrs.field(factory=dict[str, trio.Lock], repr=False)

    def at(self, key: str) -> Any:
        return Login(self, trioauth.stores._contract.check_key(key))


@attrs.define(eq=False)
class Login:
    many: Forgetful
    key: str = attrs.field(repr=False)

    def lock(self) -> Any:
        return self.many.locks.setdefault(self.key, trio.Lock())

    async def load(self) -> Record | None:
        await trio.lowlevel.checkpoint()
        return self.many.records.get(self.key)

    async def save(self, record: Record, *, expected: int) -> None:
        self.compare(await self.load(), expected)
        self.many.records[self.key] = record

    async def delete(self, *, expected: int) -> None:
        await self.many.delete(self, expected)  # type: ignore[attr-defined]  # see below

    def compare(self, stored: Record | None, expected: int) -> None:
        if expected != (0 if stored is None else stored.generation):
            raise StoreConflictError("another generation is stored")


class Good(Forgetful):
    async def delete(self, login: Login, expected: int) -> None:
        if (stored := await login.load()) is not None:
            login.compare(stored, expected)
            del self.records[login.key]


class DoesNotCompare(Forgetful):
    async def delete(self, login: Login, expected: int) -> None:
        await trio.lowlevel.checkpoint()
        self.records.pop(login.key, None)


class DeletesAndRaises(Forgetful):
    async def delete(self, login: Login, expected: int) -> None:
        stored = await login.load()
        self.records.pop(login.key, None)
        if stored is not None:
            login.compare(stored, expected)


class DeletesNothing(Good):
    async def delete(self, login: Login, expected: int) -> None:
        if (stored := await login.load()) is not None:
            login.compare(stored, expected)


class WantsARecord(Good):
    async def delete(self, login: Login, expected: int) -> None:
        login.compare(await login.load(), expected)
        del self.records[login.key]


class RaisesSomethingElse(Good):
    async def delete(self, login: Login, expected: int) -> None:
        await super().delete(login, expected)
        raise OSError("no")


class HasNoCheckpoint(Good):
    async def delete(self, login: Login, expected: int) -> None:
        if (stored := self.records.get(login.key)) is not None:
            login.compare(stored, expected)
            del self.records[login.key]


class LeavesATombstone(Good):
    async def delete(self, login: Login, expected: int) -> None:
        if (stored := await login.load()) is not None:
            login.compare(stored, expected)
            self.records[login.key] = Record(stored.generation)
            await trio.lowlevel.checkpoint()
            del self.records[login.key]


class IgnoresCase(Good):
    async def delete(self, login: Login, expected: int) -> None:
        await super().delete(login, expected)
        for key in [each for each in self.records if each.casefold() == login.key.casefold()]:
            del self.records[key]


BROKEN = {
    DoesNotCompare: r"StoreConflictError if another generation is stored, and raised nothing",
    DeletesAndRaises: r"it raised, and deleted all the same: compare before you delete",
    DeletesNothing: r"afterwards load\(\) must return None, and did not",
    WantsARecord: r"delete\(\) must do nothing if there is no record, and raised StoreConflict",
    RaisesSomethingElse: r"is generation `expected`, and raised OSError",
    HasNoCheckpoint: r"delete\(\) must be a checkpoint",
    LeavesATombstone: r"delete\(\) must be all or nothing when it is cancelled",
    IgnoresCase: r"delete\(\) must delete the record of its key, and not of others",
}


async def test_check_store_passes_a_store_that_deletes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    many = Good()
    await check_store(lambda: many)
    many = Good()
    await check_store(lambda: many.at("a"))


@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: kind.__name__)
async def test_check_store_says_what_is_wrong_with_a_delete(
    kind: type[Forgetful], autojump_clock: trio.testing.MockClock
) -> None:
    many = kind()
    with pytest.raises(AssertionError, match=BROKEN[kind]):
        await check_store(lambda: many)
