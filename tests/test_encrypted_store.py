"""EncryptedStore: what is stored shows nothing, and what was not written with its key stays."""

from __future__ import annotations

import base64
import copy
import pickle
import re
import sys
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

import trioauth
from trioauth import (
    EncryptedStore,
    FileStore,
    KeyedEncryptedStore,
    KeyedMemoryStore,
    MemoryStore,
    Record,
    RedisStore,
    SQLiteStore,
    StoreConflictError,
    StoreError,
    Tokens,
)
from trioauth._identity import Identity
from trioauth.stores._contract import changed_of
from trioauth.testing import check_store

from .both import API
from .fakes import FakeGrant
from .files import NEW, OLD, put
from .oauth.world import frames
from .sessions import opened

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trioauth import TokenStore

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
EVERYTHING = Record(
    7,
    Tokens(
        "s3cr3t-canary-access",
        "s3cr3t-canary-refresh",
        3600.0,
        "s3cr3t-canary-scope",
        identity=Identity({"iss": "https://id.test", "sub": "s3cr3t-canary-sub"}),
    ),
    login="a random name",
    expires_at_unix=1.9e9,
    owner="s3cr3t-canary-owner",
    unanswered=2,
    quiet_until_unix=1.8e9,
)


async def load_raw(store: TokenStore) -> Record:
    record = await store.load()
    assert record is not None
    assert record.tokens is not None
    return record


async def why_not(store: TokenStore, record: Record = EVERYTHING) -> str:
    """Say why a record can't be decrypted; it must be there afterwards."""
    words = set()
    for call in (store.load, store.probe, lambda: store.save(NEW, expected=record.generation)):  # type: ignore[attr-defined]  # optional
        async with store.lock():
            with pytest.raises(StoreError) as caught:
                await call()
        assert type(caught.value) is StoreError
        words.add(str(caught.value))
    [said] = words
    assert "is left as it is" in said
    assert "or log in anew, with a store at another place" in said
    assert "s3cr3t" not in said
    assert not re.search("s3cr3t-canary-(access|refresh|sub)", "".join(frames(caught.value)))
    return said


# --- it is a store ----------------------------------------------------------------------------


@pytest.mark.usefixtures("autojump_clock")
async def test_encrypted_memory_store_passes_the_check() -> None:
    store = EncryptedStore(MemoryStore(), KEY)
    await check_store(lambda: store)


async def test_encrypted_file_store_passes_the_check(tmp_path: Path) -> None:
    await check_store(lambda: EncryptedStore(FileStore(tmp_path / "tokens.json"), KEY))
    assert not any(b"check-store" in path.read_bytes() for path in tmp_path.iterdir())


async def test_encrypted_sqlite_store_passes_the_check(tmp_path: Path) -> None:
    def make() -> TokenStore:
        return KeyedEncryptedStore(SQLiteStore(tmp_path / "logins.db"), KEY).at("a")

    await check_store(make)
    many: Any = KeyedEncryptedStore(SQLiteStore(tmp_path / "logins.db"), KEY)
    assert await many.keys() == ["a"]
    assert not any(b"check-store" in path.read_bytes() for path in tmp_path.iterdir())


@pytest.mark.usefixtures("autojump_clock")
async def test_each_login_of_an_encrypted_store_of_many_passes_the_check() -> None:
    store = KeyedEncryptedStore(KeyedMemoryStore(), KEY)
    for key in ("a", "A", "é" * 1_024):
        await check_store(lambda key=key: store.at(key))  # type: ignore[misc]  # mypy sees no type


async def test_a_session_finds_its_login_again(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    async with opened(FakeGrant(latency=0), store=EncryptedStore(FileStore(path), KEY)) as session:
        await session.refresh()
    async with opened(store=EncryptedStore(FileStore(path), KEY), tokens=None) as session:
        assert session.token_nowait() == "access-1"


async def test_what_the_other_store_has_beside_the_contract_is_there_too(tmp_path: Path) -> None:
    @attrs.define(eq=False)
    class Hinting:
        """A keyed store that can say what has changed, and list its keys."""

        async def changed(self) -> str:
            return "a"

        async def keys(self) -> list[str]:
            return ["a", "b"]

        def at(self, key: str) -> Any:
            return Hinting()

        lock = load = save = None

    for store in (KeyedEncryptedStore(Hinting(), KEY), EncryptedStore(Hinting(), KEY)):  # type: ignore[arg-type]  # not whole
        changed = changed_of(store)
        assert changed is not None
        assert await changed() == "a"
    many: Any = KeyedEncryptedStore(Hinting(), KEY)
    assert await many.keys() == ["a", "b"]
    assert changed_of(many.at("a")) is not None
    file: Any = EncryptedStore(FileStore(tmp_path / "tokens.json"), KEY)
    assert await file.load() is None
    assert file.waits_for is None
    async with file.lock():
        with trio.move_on_after(0.05):
            async with EncryptedStore(FileStore(file.store.path), KEY).lock():
                raise AssertionError("got a lock that was taken")


def test_what_the_other_store_lacks_is_missing() -> None:
    store: Any = EncryptedStore(MemoryStore(), KEY)
    many: Any = KeyedEncryptedStore(KeyedMemoryStore(), KEY)
    for each in (store, many, many.at("a")):
        assert changed_of(each) is None
        assert not hasattr(each, "waits_for")
        assert not hasattr(each, "typo")
    assert not hasattr(store, "at")
    assert not hasattr(many, "load")


# --- what is stored ---------------------------------------------------------------------------


async def test_what_is_stored_shows_nothing_but_generation_and_login() -> None:
    inner = MemoryStore()
    ended = Record(8, login="a random name", ended="refused")
    for record, expected in ((EVERYTHING, 0), (ended, 7)):
        await put(EncryptedStore(inner, KEY), record, expected=expected)
        raw = await load_raw(inner)
        assert (raw.generation, raw.login) == (record.generation, "a random name")
        assert not re.search("s3cr3t|refused", raw.to_text())
        assert attrs.evolve(raw, tokens=None, owner="") == Record(
            record.generation, login="a random name"
        )
        assert raw.tokens == Tokens(raw.tokens.access_token)  # type: ignore[union-attr]  # see above
        assert await EncryptedStore(inner, KEY).load() == record


async def test_the_same_record_is_never_encrypted_alike_twice() -> None:
    texts = set()
    for _ in range(10):
        inner = MemoryStore()
        await put(EncryptedStore(inner, KEY), EVERYTHING)
        texts.add((await load_raw(inner)).to_text())
    assert len(texts) == 10


async def test_a_session_without_the_key_does_not_take_it_for_a_token() -> None:
    inner = MemoryStore()
    await put(EncryptedStore(inner, KEY), EVERYTHING)

    class Grant(FakeGrant):
        owner = "https://id.test as notes"

    for grant in (Grant(), FakeGrant()):  # a plain function has no owner
        with pytest.raises(StoreError, match=r"the login in the token store is encrypted: open it"):
            async with opened(grant, store=inner, tokens=None):
                pass
    assert await EncryptedStore(inner, KEY).load() == EVERYTHING


async def test_an_error_about_an_encrypted_login_names_the_file_and_not_the_key_of_the_login(
    tmp_path: Path,
) -> None:
    logins = SQLiteStore(tmp_path / "logins.db")
    await put(KeyedEncryptedStore(logins, KEY).at("ann@example.com"), EVERYTHING)
    said = await why_not(KeyedEncryptedStore(logins, OTHER).at("ann@example.com"))
    assert said.startswith(f"the record in {logins.path} is left as it is: it was encrypted with")
    async with trioauth.open_sessions(FakeGrant(), store=logins, base_url=API) as sessions:
        with pytest.raises(StoreError) as caught:
            async with sessions.use("ann@example.com"):
                pass
    assert f"the login in {logins.path} is encrypted: open it with" in str(caught.value)
    assert caught.value.path == str(logins.path)
    assert repr(logins.at("ann@example.com")) == f"<a login in {logins.path}>"


async def test_sessions_with_a_redis_store_that_is_not_open_say_so_when_they_are_opened() -> None:
    store = RedisStore("redis://127.0.0.1:1/0")
    for each in (store, KeyedEncryptedStore(store, KEY)):
        with pytest.raises(RuntimeError, match=r"async with RedisStore\(...\) as store"):
            async with trioauth.open_sessions(FakeGrant(), store=each, base_url=API):
                pass


# --- what does not fit ------------------------------------------------------------------------


async def test_a_record_of_another_key_says_which_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    await put(EncryptedStore(FileStore(path), KEY), EVERYTHING)
    before = path.read_bytes()
    said = await why_not(EncryptedStore(FileStore(path), OTHER))
    mark = re.search(r"trioauth-encrypted\.1\.(\w+)\.", before.decode())
    assert mark is not None
    assert str(path) in said
    assert f"encrypted with another key (mark {mark[1]}; given: " in said
    assert "give that key, too, in old_keys" in said
    with pytest.raises(StoreError) as caught:
        await EncryptedStore(FileStore(path), OTHER).load()
    assert caught.value.path == str(path)
    assert path.read_bytes() == before


async def test_a_record_that_is_not_encrypted_is_refused_and_stays() -> None:
    for record in (EVERYTHING, Record(7, login="me")):
        inner = MemoryStore(record)
        assert "it is not encrypted" in await why_not(EncryptedStore(inner, KEY))
        assert await inner.load() == record


def changed_text(text: str) -> list[str]:
    start, version, mark, data = text.split(".")
    raw = base64.urlsafe_b64decode(data + "=" * (-len(data) % 4))
    flipped = [
        raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :] for place in (0, 12, len(raw) - 1)
    ]
    encoded = [base64.urlsafe_b64encode(each).decode().rstrip("=") for each in flipped]
    datas = [*encoded, data[:-4], data[:20], data[:16], data[:1], "A"]
    return [f"{start}.{version}.{mark}.{each}" for each in datas]


async def test_a_record_that_was_changed_is_refused_and_stays() -> None:
    inner = MemoryStore()
    await put(EncryptedStore(inner, KEY), EVERYTHING)
    raw = await load_raw(inner)
    assert raw.tokens is not None
    changed = [attrs.evolve(raw, tokens=Tokens(t)) for t in changed_text(raw.tokens.access_token)]
    for each in (*changed, attrs.evolve(raw, login="another")):
        said = await why_not(EncryptedStore(MemoryStore(each), KEY), each)
        assert "it was changed, or copied from another login or another generation" in said


async def test_a_record_of_another_generation_or_login_is_refused() -> None:
    inner = KeyedMemoryStore()
    many = KeyedEncryptedStore(inner, KEY)
    for key in ("a", "b"):
        await put(many.at(key), EVERYTHING)
    raw = await load_raw(inner.at("a"))
    # Of another login: only "a" was encrypted for "a".
    async with inner.at("b").lock():
        await inner.at("b").save(attrs.evolve(raw, generation=8), expected=7)
    assert "copied from another login or another generation" in await why_not(
        many.at("b"), attrs.evolve(raw, generation=8)
    )
    for store in (inner.at("c"), MemoryStore()):
        await put(store, raw)
    assert "copied from another login" in await why_not(many.at("c"))
    # And of a store of one, which has no key.
    alone = MemoryStore(raw)
    assert "copied from another login" in await why_not(EncryptedStore(alone, KEY))
    # An earlier text under a later number.
    again = MemoryStore()
    await put(EncryptedStore(again, KEY), EVERYTHING)
    later = attrs.evolve(await load_raw(again), generation=8)
    assert "another generation" in await why_not(EncryptedStore(MemoryStore(later), KEY), later)


async def test_a_text_of_a_newer_version_is_refused() -> None:
    inner = MemoryStore()
    await put(EncryptedStore(inner, KEY), EVERYTHING)
    raw = await load_raw(inner)
    assert raw.tokens is not None
    newer = raw.tokens.access_token.replace(".1.", ".2.")
    store = EncryptedStore(MemoryStore(attrs.evolve(raw, tokens=Tokens(newer))), KEY)
    assert "encrypted by a newer version of trioauth: upgrade" in await why_not(store)


async def test_a_record_of_a_newer_version_inside_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inner = MemoryStore()
    with monkeypatch.context() as patch:
        patch.setattr("trioauth.stores._contract._VERSION", 2)
        await put(EncryptedStore(inner, KEY), EVERYTHING)
    said = await why_not(EncryptedStore(inner, KEY))
    assert "written by another version of trioauth, a newer one perhaps: upgrade" in said


async def test_a_conflict_is_a_conflict() -> None:
    store = EncryptedStore(MemoryStore(), KEY)
    await put(store, EVERYTHING)
    with pytest.raises(StoreConflictError, match="holds generation 7, not 6"):
        await put(store, attrs.evolve(NEW, generation=8), expected=6)


# --- keys -------------------------------------------------------------------------------------


async def test_after_a_change_of_keys_old_records_are_read_and_new_ones_have_the_new_key() -> None:
    inner = MemoryStore()
    await put(EncryptedStore(inner, KEY), OLD)
    both = EncryptedStore(inner, OTHER, old_keys=[KEY])
    assert await both.load() == OLD
    assert await EncryptedStore(inner, KEY).load() == OLD
    await put(both, NEW, expected=1)
    assert await EncryptedStore(inner, OTHER).load() == NEW
    assert "another key" in await why_not(EncryptedStore(inner, KEY), NEW)


async def test_a_key_may_be_bytes_or_text() -> None:
    inner = MemoryStore()
    await put(EncryptedStore(inner, KEY), OLD)
    padded = base64.urlsafe_b64encode(KEY).decode()
    for key in (padded, padded.rstrip("=")):
        assert await EncryptedStore(inner, key).load() == OLD
        assert await EncryptedStore(inner, OTHER, old_keys=(key,)).load() == OLD


def test_a_new_key_is_32_random_bytes_as_text() -> None:
    keys = {EncryptedStore.new_key() for _ in range(10)}
    assert len(keys) == 10
    for key in keys:
        assert re.fullmatch(r"[\w-]{43}", key)
        EncryptedStore(MemoryStore(), key)


BAD_KEYS: list[tuple[Any, Any, type[Exception], str]] = [
    (b"s3cr3t", (), ValueError, "key must be 32 bytes, or a str that EncryptedStore.new_key"),
    (KEY + b"x", (), ValueError, "key must be 32 bytes"),
    ("", (), ValueError, "key must be 32 bytes"),
    ("s3cr3t", (), ValueError, "key must be 32 bytes"),
    ("s3cr3t-ü" + 35 * "x", (), ValueError, "key must be 32 bytes"),
    (KEY.hex(), (), ValueError, "key must be 32 bytes"),
    (None, (), TypeError, "key must be a str or bytes, not NoneType"),
    (KEY, [b"s3cr3t"], ValueError, "old_keys must be 32 bytes"),
    (KEY, [None], TypeError, "old_keys must be a str or bytes, not NoneType"),
    (KEY, KEY, TypeError, "old_keys must be a list of keys, not one key"),
    (KEY, "s3cr3t", TypeError, "old_keys must be a list of keys, not one key"),
]


@pytest.mark.parametrize(("key", "old_keys", "error", "words"), BAD_KEYS, ids=range(len(BAD_KEYS)))
def test_a_key_that_does_not_fit_is_told_at_once_and_not_quoted(
    key: Any, old_keys: Any, error: type[Exception], words: str
) -> None:
    for make in (
        lambda: EncryptedStore(MemoryStore(), key, old_keys=old_keys),
        lambda: KeyedEncryptedStore(KeyedMemoryStore(), key, old_keys=old_keys),
    ):
        with pytest.raises(error, match=words) as caught:
            make()
        assert "s3cr3t" not in str(caught.value)
        assert (caught.value.__cause__, caught.value.__context__) == (None, None)


def test_no_repr_pickle_or_copy_shows_a_key() -> None:
    key = EncryptedStore.new_key()
    store = EncryptedStore(MemoryStore(), key, old_keys=[KEY])
    many = KeyedEncryptedStore(KeyedMemoryStore(), key)
    for each in (store, many, many.at("personal")):
        assert not re.search(rf"{re.escape(key)}|personal|x01", f"{each!r} {each}")
        with pytest.raises(TypeError, match="can't be pickled"):
            pickle.dumps(each)
        with pytest.raises(TypeError, match="can't be pickled"):
            copy.deepcopy(each)
    assert repr(many) == "KeyedEncryptedStore(store=KeyedMemoryStore())"


def test_a_store_of_the_wrong_kind_is_told_at_once() -> None:
    one: Any = MemoryStore()
    many: Any = KeyedMemoryStore()
    with pytest.raises(TypeError, match="not KeyedMemoryStore; use KeyedEncryptedStore for one"):
        EncryptedStore(many, KEY)
    with pytest.raises(TypeError, match="not MemoryStore; use EncryptedStore for one with one"):
        KeyedEncryptedStore(one, KEY)
    with pytest.raises(ValueError, match="key must have 1 to 1,024 characters"):
        KeyedEncryptedStore(many, KEY).at("")


@pytest.mark.parametrize(
    "make",
    [
        lambda: EncryptedStore(MemoryStore(), KEY),
        lambda: KeyedEncryptedStore(KeyedMemoryStore(), KEY),
    ],
    ids=["one", "many"],
)
def test_without_the_extra_it_says_what_to_install(
    make: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    with pytest.raises(
        ModuleNotFoundError, match=r'pip install "trioauth\[encryption\]"'
    ) as caught:
        make()
    assert caught.value.name == "cryptography"
