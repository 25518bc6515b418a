"""``trioauth status --store``: the logins of a store that holds many."""

from __future__ import annotations

import json
import sqlite3
import time
from typing import TYPE_CHECKING, Any

import pytest

from trioauth import EncryptedStore, KeyedEncryptedStore, Record, SQLiteStore, Tokens
from trioauth._core.key import Key

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Shell


@pytest.fixture
def store(tmp_path: Path) -> SQLiteStore:
    return SQLiteStore(tmp_path / "logins.db")


def option(store: SQLiteStore) -> str:
    return f"sqlite:{store.path}"


async def put(store: SQLiteStore, key: str, **record: Any) -> None:
    login = store.at(key)
    async with login.lock():
        await login.save(Record(1, **record), expected=0)


async def put_three(store: SQLiteStore) -> None:
    hour = time.time() + 3700
    await put(store, "ann@x.test", tokens=Tokens("at-canary", "rt-canary"), expires_at_unix=hour)
    gone = time.time() - 200
    await put(store, "bob@x.test", tokens=None, ended="refused", ended_at_unix=gone)
    await put(store, "cat@x.test", tokens=Tokens("at-canary"), expires_at_unix=gone)


async def test_each_login_is_a_line_and_no_key_is_shown(shell: Shell, store: SQLiteStore) -> None:
    await put_three(store)
    done = await shell("status", "--store", option(store))
    lines = done.err.splitlines()
    assert lines[0] == (
        f"{Key.of('ann@x.test').shown}: logged in, good for 61 minutes, renewed when needed"
    )
    assert lines[1].endswith(
        "not logged in: the authorization server refused to renew the login, 3 minutes ago"
    )
    assert lines[2].endswith("not logged in: it expired 3 minutes ago, and can't be renewed")
    assert (done.code, done.out, len(lines)) == (0, "", 3)
    assert "x.test" not in done.err


async def test_keys_are_shown_to_a_person_who_asks_for_them(
    shell: Shell, store: SQLiteStore
) -> None:
    await put_three(store)
    done = await shell("status", "--store", option(store), "--show-keys")
    assert [line.split(":")[0] for line in done.err.splitlines()] == [
        "ann@x.test",
        "bob@x.test",
        "cat@x.test",
    ]


async def test_a_page_says_where_to_go_on(shell: Shell, store: SQLiteStore) -> None:
    await put_three(store)
    words = ["status", "--store", option(store), "--limit", "2"]
    done = await shell(*words)
    assert done.err.splitlines()[2:] == ["there are more: --show-keys, to go on"]
    done = await shell(*words, "--show-keys")
    assert done.err.splitlines()[2:] == ["there are more: --after bob@x.test"]
    done = await shell(*words, "--show-keys", "--after", "bob@x.test")
    assert done.err.startswith("cat@x.test: ")
    assert done.err.count("\n") == 1
    found = json.loads((await shell(*words, "--json")).out)
    assert (len(found["logins"]), found["more"], found["after"]) == (2, True, None)
    found = json.loads((await shell(*words, "--json", "--show-keys")).out)
    assert (found["store"], found["after"]) == (str(store.path), "bob@x.test")
    assert found["logins"][1]["key"] == "bob@x.test"
    assert found["logins"][1]["ended"] == "refused"


@pytest.mark.parametrize(("key", "code"), [("ann@x.test", 0), ("bob@x.test", 3), ("dan", 3)])
async def test_one_login_has_the_exit_code_of_a_profile(
    key: str, code: int, shell: Shell, store: SQLiteStore
) -> None:
    await put_three(store)
    done = await shell("status", "--store", option(store), "--key", key)
    assert done.code == code
    assert done.err.startswith(f"{Key.of(key).shown}: ")


async def test_a_damaged_record_does_not_hide_the_others(shell: Shell, store: SQLiteStore) -> None:
    await put_three(store)
    with sqlite3.connect(store.path) as connection:
        connection.execute("UPDATE logins SET record = 'x' WHERE key = 'bob@x.test'")
    connection.close()
    done = await shell("status", "--store", option(store))
    assert (done.code, done.err.count("problem: "), done.err.count("logged in, ")) == (1, 1, 1)


async def test_an_encrypted_login_is_shown_with_its_key_only(
    shell: Shell, store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = EncryptedStore.new_key()
    login = KeyedEncryptedStore(store, key).at("ann@x.test")
    async with login.lock():
        await login.save(Record(1, ended="refused"), expected=0)
    words = ["status", "--store", option(store)]
    done = await shell(*words)
    assert (done.code, "problem: it is encrypted; --store-key-env" in done.err) == (1, True)
    monkeypatch.setenv("STORE_KEY", key)
    done = await shell(*words, "--store-key-env", "STORE_KEY")
    assert (done.code, "not logged in: the authorization server refused" in done.err) == (0, True)
    monkeypatch.setenv("STORE_KEY", EncryptedStore.new_key())
    done = await shell(*words, "--store-key-env", "STORE_KEY")
    assert (done.code, "encrypted with another key" in done.err) == (1, True)
    for value, problem in (("", "is not set"), ("short", "--store-key-env: ")):
        monkeypatch.setenv("STORE_KEY", value)
        done = await shell(*words, "--store-key-env", "STORE_KEY")
        assert (done.code, problem in done.err) == (2, True)


async def test_a_store_that_is_empty_or_not_there_is_said(shell: Shell, store: SQLiteStore) -> None:
    done = await shell("status", "--store", option(store))
    assert (done.code, done.err) == (1, f"there is no {store.path}: no login was saved there")
    assert not store.path.exists()
    store.path.touch(mode=0o600)
    done = await shell("status", "--store", option(store))
    assert (done.code, done.err) == (3, f"there are no logins in {store.path}\n")
    store.path.write_text("of another program" * 100)
    done = await shell("status", "--store", option(store))
    assert (done.code, "not an SQLite database" in done.err) == (1, True)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["notes", "--store", "sqlite:x"], "--store: neither a NAME nor --check"),
        (["--check", "--store", "sqlite:x"], "--store: neither a NAME nor --check"),
        (["--store", "sqlite:x", "--key", "a", "--after", "b"], "one of them is enough"),
        (["--store", "sqlite:x", "--limit", "0"], "--limit: must be from 1 to 9,999"),
        (["--store", "redis://x"], "--store: must be sqlite:PATH"),
        (["--store", "sqlite:"], "--store: must be sqlite:PATH"),
    ],
)
async def test_options_that_make_no_sense_are_refused(
    words: list[str], problem: str, shell: Shell
) -> None:
    done = await shell("status", *words)
    assert (done.code, problem in done.err) == (2, True)


async def test_a_key_that_no_login_can_have_is_refused(shell: Shell, store: SQLiteStore) -> None:
    await put_three(store)
    done = await shell("status", "--store", option(store), "--key", "")
    assert (done.code, done.err.startswith("--key: ")) == (2, True)
