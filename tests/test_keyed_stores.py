"""Stores of many logins: what is a key, and that keys have nothing in common."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

import trioauth
from trioauth._errors import StoreConflictError
from trioauth.stores import KeyedMemoryStore, SQLiteStore
from trioauth.stores._contract import check_key

from .files import NEW, OLD, check_unlocked

if TYPE_CHECKING:
    from pathlib import Path

    from trioauth.stores._contract import KeyedStore


@pytest.fixture(params=["memory", "sqlite"])
def keyed(request: pytest.FixtureRequest, tmp_path: Path) -> KeyedStore:
    return KeyedMemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "logins.db")


# Keys that a careless store would take for one another, or could not keep.
KEYS = [
    *("a", "A", "a ", " a", "a/b", "a\\b", "..", "%61", "a\n", "é", "e\u0301", "🔑"),
    *("x" * 1024, "x" * 1023 + "y", "'; drop table logins; --"),
]


async def test_p30_what_one_key_has_shows_under_no_other(keyed: KeyedStore) -> None:
    for key in KEYS:
        store = keyed.at(key)
        assert await store.load() is None
        async with store.lock():
            await store.save(OLD, expected=0)
    async with keyed.at(KEYS[0]).lock():
        await keyed.at(KEYS[0]).save(NEW, expected=1)
    assert await keyed.at(KEYS[0]).load() == NEW
    assert [await keyed.at(key).load() for key in KEYS[1:]] == [OLD] * (len(KEYS) - 1)


async def test_stores_of_one_key_share_one_record_and_one_lock(keyed: KeyedStore) -> None:
    one, other = keyed.at("a"), keyed.at("a")
    async with one.lock():
        with trio.move_on_after(0.2) as waiting:
            async with trio.open_nursery() as nursery:  # noqa: ASYNC112  # another task
                nursery.start_soon(check_unlocked, other)
        assert waiting.cancelled_caught
        await one.save(OLD, expected=0)
    assert await other.load() == OLD
    async with other.lock():
        with pytest.raises(StoreConflictError):
            await other.save(NEW, expected=0)


async def test_save_and_probe_want_the_lock_of_their_key(keyed: KeyedStore) -> None:
    store: Any = keyed.at("a")
    async with keyed.at("b").lock():
        with pytest.raises(RuntimeError, match="save.. needs the lock"):
            await store.save(OLD, expected=0)
        with pytest.raises(RuntimeError, match="probe.. needs the lock"):
            await store.probe()
    async with store.lock():
        await store.probe()
    assert await store.load() is None


async def test_p34_locks_are_forgotten_when_no_task_needs_them() -> None:
    keyed = KeyedMemoryStore()

    async def wait(scope: trio.CancelScope) -> None:
        with scope:
            async with keyed.at("a").lock():
                pytest.fail("let in a second")

    async with trio.open_nursery() as nursery, keyed.at("a").lock():
        scope = trio.CancelScope()
        nursery.start_soon(wait, scope)
        await trio.testing.wait_all_tasks_blocked()
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert len(keyed._turns._turns) == 1, "it is held"
        nursery.start_soon(check_unlocked, keyed.at("a"))
        await trio.testing.wait_all_tasks_blocked()
    assert not keyed._turns._turns


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("", "1 to 1,024 characters, and this one has 0"),
        ("alice@example.com" * 100, "1 to 1,024 characters, and this one has 1,700"),
        ("alice\0", "no null character"),
        ("alice\ud800", "character 5 is half of a surrogate pair"),
    ],
    ids=["empty", "long", "null", "surrogate"],
)
def test_bad_key_is_one_error_that_does_not_quote_it(
    keyed: KeyedStore, key: str, says: str
) -> None:
    with pytest.raises(ValueError, match=says) as info:
        keyed.at(key)
    assert "alice" not in "".join(traceback.format_exception(info.value)).replace('"alice', "")
    assert info.value.__context__ is None


@pytest.mark.parametrize("key", [None, 17, b"a"])
def test_key_that_is_no_str_is_a_type_error(keyed: KeyedStore, key: Any) -> None:
    with pytest.raises(TypeError, match="key must be a str, not "):
        keyed.at(key)


@pytest.mark.parametrize("key", KEYS)
def test_any_other_text_is_a_key(key: str) -> None:
    assert check_key(key) == key


def test_no_repr_shows_a_key(keyed: KeyedStore) -> None:
    assert "alice" not in repr(keyed.at("alice"))


def test_store_of_many_logins_is_refused_where_one_is_wanted(keyed: Any) -> None:
    with pytest.raises(TypeError, match=r"Store keeps many logins: give store=store.at\(key\)"):
        trioauth.open_session(lambda *_: None, store=keyed, base_url="https://api.test")  # type: ignore[arg-type]  # never called
