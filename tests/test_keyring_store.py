"""KeyringStore over backends of keyring that fail in every way; in real time, because of threads.

tests/test_secret_service.py has a real keyring.
"""

from __future__ import annotations

import importlib.util
import re
import threading
from typing import TYPE_CHECKING, Any

import attrs
import keyring
import keyring.errors
import pytest
import trio
from keyring.backends import fail, null
from keyring.backends.chainer import ChainerBackend

from trioauth import (
    KeyringStore,
    Record,
    RefreshPolicy,
    RefreshUnavailableError,
    StoreError,
    Tokens,
)
from trioauth.testing import check_store

from .fakes import FakeGrant
from .files import NEW, OLD, check_locked, check_unlocked, put
from .oauth.world import frames
from .sessions import opened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# They are untyped.
CHAIN: Any = ChainerBackend
NONE: Any = fail.Keyring
NULL: Any = null.Keyring
QUICK = RefreshPolicy(cooldown=0)
SECRET = re.compile("s3cr3t-canary")
SECRETIVE = Record(1, Tokens("s3cr3t-canary-access", "s3cr3t-canary-refresh"), login="me")


@attrs.define(eq=False)
class Ring:
    """A backend: a dict. Not a subclass of keyring's, which would know it from then on."""

    priority: float = 5
    entries: dict[tuple[str, str], str] = attrs.field(factory=dict)
    largest: int = 10_000
    problem: Exception | None = None
    """What each call raises."""
    answers: threading.Event = attrs.field(factory=threading.Event)
    """Calls wait for it, as for a person who unlocks the keyring."""
    calls: list[tuple[str, str]] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.answers.set()

    def get_password(self, service: str, username: str) -> str | None:
        self._begin("get", service)
        return self.entries.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self._begin("set", service)
        if len(password) > self.largest:
            # The message is what a backend might say.
            raise ValueError(f"too large: {password}")
        self.entries[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        self._begin("delete", service)
        del self.entries[service, username]

    def _begin(self, call: str, service: str) -> None:
        self.calls.append((call, service))
        assert self.answers.wait(30)
        if self.problem is not None:
            raise self.problem


class PlaintextKeyring(Ring):
    """What keyrings.alt calls the one that writes a file that all can read."""


class Forgetful(Ring):
    """A backend that takes everything and keeps nothing."""

    def get_password(self, service: str, username: str) -> None:
        super().get_password(service, username)


class Undeletable(Ring):
    """A backend without a method to remove entries, as keyring allows."""

    def delete_password(self, service: str, username: str) -> None:
        raise keyring.errors.PasswordDeleteError


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[object], Any]:
    def use(backend: object) -> object:
        monkeypatch.setattr(keyring.core, "_keyring_backend", backend)
        return backend

    return use


@pytest.fixture
def ring(use: Callable[[object], Ring]) -> Iterator[Ring]:
    ring = use(Ring())
    yield ring
    # Or a thread that a test has left behind would wait on.
    ring.answers.set()


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., KeyringStore]:
    def make(**options: Any) -> KeyringStore:
        defaults: dict[str, Any] = {"username": "me", "lock_path": tmp_path / "login.lock"}
        return KeyringStore(**defaults | options)

    return make


async def why_not(store: KeyringStore, method: str = "load") -> str:
    with pytest.raises(StoreError) as caught:
        async with store.lock():
            await getattr(store, method)()
    assert type(caught.value) is StoreError
    assert "entry 'trioauth/me" in str(caught.value)
    return str(caught.value)


async def test_keyring_store_passes_the_check(ring: Ring, make: Callable[..., Any]) -> None:
    await check_store(make)


async def test_a_session_finds_its_login_in_the_keyring_again(
    ring: Ring, make: Callable[..., Any]
) -> None:
    async with opened(FakeGrant(latency=0), store=make()) as session:
        await session.refresh()
    async with opened(store=make(), tokens=None) as session:
        assert session.token_nowait() == "access-1"
    assert set(ring.entries) == {("trioauth/me", "me")}


# --- which backend ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "backend",
    [NONE(), NULL(), PlaintextKeyring(), Ring(priority=0.5)],
    ids=["none", "null", "plain text", "not recommended"],
)
async def test_a_backend_that_keeps_no_secret_is_refused_and_gets_nothing(
    backend: Any, use: Callable[[object], Any], make: Callable[..., Any]
) -> None:
    use(backend)
    for method in ("load", "probe"):
        words = await why_not(make(), method)
        kind = type(backend)
        assert f"(only {kind.__module__}.{kind.__qualname__})" in words
        assert "keep the login in EncryptedStore(FileStore(...), key)" in words
    with pytest.raises(StoreError, match="found no backend"):
        await put(make(), SECRETIVE)
    if isinstance(backend, Ring):
        assert backend.calls == []


async def test_in_a_chain_the_first_backend_that_encrypts_is_used(
    use: Callable[[object], Any], make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, lesser, good = PlaintextKeyring(9), Ring(0.9), Ring(1)
    monkeypatch.setattr(ChainerBackend, "backends", [plain, lesser, good])
    use(CHAIN())
    store = make()
    await put(store, OLD)
    assert await store.load() == OLD
    assert (plain.calls, lesser.calls) == ([], [])
    assert set(good.entries) == {("trioauth/me", "me")}


async def test_a_chain_without_a_backend_that_encrypts_is_refused(
    use: Callable[[object], Any], make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ChainerBackend, "backends", [PlaintextKeyring()])
    use(CHAIN())
    assert "PlaintextKeyring" in await why_not(make())


async def test_a_backend_that_is_set_in_the_environment_and_missing_is_one_clear_error(
    make: Callable[..., Any], use: Callable[[object], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    use(None)
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "no_such_package.Keyring")
    assert "keyring raised builtins.ModuleNotFoundError" in await why_not(make())


def test_without_the_extra_it_says_what_to_install(
    make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trioauth.stores._entry.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "trioauth\[keyring\]"') as caught:
        make()
    assert caught.value.name == "keyring"
    assert importlib.util.find_spec("keyring") is not None


# --- what a keyring refuses -------------------------------------------------------------------


@pytest.mark.parametrize(
    "problem",
    [
        keyring.errors.KeyringLocked("Failed to unlock the collection!"),
        type("PromptDismissedException", (Exception,), {})(),
    ],
    ids=["keyring", "SecretStorage"],
)
async def test_a_keyring_that_is_not_unlocked_says_what_to_do(
    ring: Ring, make: Callable[..., Any], problem: Exception
) -> None:
    ring.problem = problem
    assert "it is locked, and was not unlocked; unlock it and try again" in await why_not(make())


async def test_an_entry_that_is_not_ours_is_left_as_it_is(
    ring: Ring, make: Callable[..., Any]
) -> None:
    for text in ("", "s3cr3t-canary", OLD.to_text()[:-2], '{"format": "trioauth tokens"}'):
        ring.entries["trioauth/me", "me"] = text
        words = await why_not(make())
        assert "is left as it is: not a token record" in words
        assert "delete it and log in anew, or give another user name" in words
        await why_not(make(), "probe")
        with pytest.raises(StoreError, match="left as it is") as caught:
            await put(make(), NEW)
        assert not SECRET.search("".join([words, *frames(caught.value)]))
        assert ring.entries == {("trioauth/me", "me"): text}


@pytest.mark.parametrize("method", ["load", "probe", "save"])
async def test_no_error_shows_what_a_backend_said_or_was_given(
    ring: Ring, make: Callable[..., Any], method: str
) -> None:
    store = make()
    await put(store, SECRETIVE)
    if method == "save":
        # Its error quotes what was to be written; and this is after reading, which works.
        ring.largest = 100
    else:
        ring.problem = ValueError(SECRETIVE.to_text())
    with pytest.raises(StoreError) as caught:
        async with store.lock():
            if method == "save":
                await store.save(attrs.evolve(SECRETIVE, generation=2), expected=1)
            else:
                await getattr(store, method)()
    assert "keyring raised builtins.ValueError; see whether the keyring" in str(caught.value)
    assert not SECRET.search("".join([str(caught.value), *frames(caught.value)]))
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)


async def test_an_entry_that_would_be_too_large_is_found_out_before_the_token_is_spent(
    ring: Ring, make: Callable[..., Any]
) -> None:
    grant = FakeGrant(latency=0)
    async with opened(grant, store=make(), policy=QUICK) as session:
        ring.largest = 1_000 - 1
        with pytest.raises(RefreshUnavailableError) as caught:
            await session.refresh()
        assert isinstance(caught.value.__cause__, StoreError)
        assert "can't write 1,000 characters into the entry" in str(caught.value.__cause__)
        assert "(Windows: 1,280 characters)" in str(caught.value.__cause__)
        assert grant.presented == []
        assert session.token_nowait() == "access-0"
        ring.largest = 1_000
        await session.refresh()
    assert grant.presented == ["refresh-0"]


async def test_a_probe_tries_a_little_more_than_what_is_stored(
    ring: Ring, make: Callable[..., Any]
) -> None:
    store = make()
    await put(store, Record(1, Tokens("a" * 2_000), login="me"))
    stored = ring.entries["trioauth/me", "me"]
    ring.largest = len(stored) + 63
    assert f"can't write {len(stored) + 64:,} characters" in await why_not(store, "probe")
    ring.largest += 1
    async with store.lock():
        await store.probe()
    assert ring.entries == {("trioauth/me", "me"): stored}


async def test_a_backend_that_keeps_nothing_is_found_out_by_a_probe(
    use: Callable[[object], Any], make: Callable[..., Any]
) -> None:
    use(Forgetful())
    words = await why_not(make(), "probe")
    assert "of 1,000 characters 0 came back; use another backend of keyring" in words


async def test_a_backend_that_removes_nothing_will_do(
    use: Callable[[object], Any], make: Callable[..., Any]
) -> None:
    ring = use(Undeletable())
    async with make().lock():
        pass
    store = make()
    async with store.lock():
        await store.probe()
        await store.probe()
    assert set(ring.entries) == {("trioauth/me (test)", "me")}


async def test_what_is_stored_is_a_record_without_blanks(
    ring: Ring, make: Callable[..., Any]
) -> None:
    await put(make(), OLD)
    [text] = ring.entries.values()
    assert Record.from_text(text) == OLD
    assert not re.search(r"\s", text.replace("trioauth tokens", ""))


# --- a keyring that does not answer -----------------------------------------------------------


async def test_a_keyring_that_does_not_answer_is_given_up_in_time(
    ring: Ring, make: Callable[..., Any]
) -> None:
    ring.answers.clear()
    store = make(timeout=0.05)
    with pytest.raises(StoreError, match=r"did not answer within 0\.05 seconds") as caught:
        await store.load()
    assert "the keyring may be locked, and ask for its password in a window" in str(caught.value)
    assert store.waits_for == (
        "the entry 'trioauth/me' of 'me' in the system's keyring, which may be locked"
    )
    # The thread of the first is still there; the second neither joins it nor starts beside it.
    with pytest.raises(StoreError, match="did not answer"):
        await store.load()
    assert ring.calls == [("get", "trioauth/me")]
    ring.answers.set()
    assert await make(timeout=30).load() is None


async def test_a_session_survives_a_keyring_that_does_not_answer(
    ring: Ring, make: Callable[..., Any]
) -> None:
    grant = FakeGrant(latency=0)
    async with opened(grant, store=make(timeout=0.05), policy=QUICK) as session:
        ring.answers.clear()
        with pytest.raises(RefreshUnavailableError) as caught:
            await session.refresh()
        assert "did not answer within 0.05 seconds" in str(caught.value.__cause__)
        assert session.token_nowait() == "access-0"
        assert grant.presented == []
        ring.answers.set()
        await check_unlocked(make())
        await session.refresh()
    assert grant.presented == ["refresh-0"]


async def test_a_save_that_was_left_behind_keeps_the_lock_until_it_has_ended(
    ring: Ring, make: Callable[..., Any]
) -> None:
    store = make(timeout=0.05)
    ring.answers.clear()
    with pytest.raises(StoreError, match="did not answer"):
        await put(store, NEW)
    await check_locked(make())
    ring.answers.set()
    await check_unlocked(make())
    assert await make().load() == NEW


async def test_a_lock_file_that_is_removed_is_noticed_before_anything_is_written(
    ring: Ring, make: Callable[..., Any]
) -> None:
    store = make()
    for method in (store.probe, lambda: store.save(NEW, expected=0)):
        with pytest.raises(StoreError, match="lost the lock"):
            async with store.lock():
                store.lock_path.unlink()
                await method()
    assert ring.calls == []


async def test_a_lock_that_another_store_holds_is_what_it_waits_for(
    ring: Ring, make: Callable[..., Any]
) -> None:
    store = make()
    async with make().lock():
        with trio.move_on_after(0.05):
            async with store.lock():
                raise AssertionError("got a lock that was taken")
    assert store.waits_for == f"another process to unlock {store.lock_path}"


# --- where the lock is ------------------------------------------------------------------------


def test_the_lock_file_of_an_entry_is_the_same_for_all_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    folder = tmp_path / ".local/state/trioauth/keyring"
    path = KeyringStore(username="me").lock_path
    assert path.parent == folder
    assert re.fullmatch(r"[0-9a-f]{32}\.lock", path.name)
    assert KeyringStore("trioauth", username="me").lock_path == path
    others = [("trioauth", "you"), ("other", "me"), ("trioauth/me", "me"), ("trioautho", "me")]
    paths = {KeyringStore(service, username=name).lock_path for service, name in others}
    assert len(paths | {path}) == 5


def test_the_lock_file_is_where_the_system_keeps_such_things(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    store = KeyringStore(username="me")
    assert store.lock_path.parent == tmp_path / "state/trioauth/keyring"
    monkeypatch.setenv("XDG_STATE_HOME", "state")
    assert KeyringStore(username="me").lock_path.is_relative_to(tmp_path / ".local/state")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    monkeypatch.setattr("trioauth.stores._keyring.sys.platform", "win32")
    assert KeyringStore(username="me").lock_path.parent == tmp_path / "local/trioauth/keyring"


def test_a_lock_file_may_be_named(tmp_path: Path) -> None:
    for name in ("mine", "mine.lock"):
        store = KeyringStore(username="me", lock_path=tmp_path / name)
        assert store.lock_path == tmp_path / "mine.lock"
    hidden = KeyringStore(username="me", lock_path=str(tmp_path / ".lock"))
    assert hidden.lock_path == tmp_path / ".lock.lock"


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"username": ""}, ValueError, "username must not be empty"),
        ({"username": "a\0"}, ValueError, "username must not be empty, nor have a null"),
        ({"username": None}, TypeError, "username must be a str, not NoneType"),
        ({"service": 1}, TypeError, "service must be a str, not int"),
        ({"service": ""}, ValueError, "service must not be empty"),
        ({"timeout": 0}, ValueError, "timeout must be more than 0 seconds"),
        ({"timeout": float("nan")}, ValueError, "timeout must be more than 0 seconds"),
        ({"timeout": True}, TypeError, "timeout must be seconds as a number, not bool"),
        ({"timeout": "1"}, TypeError, "timeout must be seconds as a number, not str"),
        ({"lock_path": "a\0"}, ValueError, "must name a file"),
        ({"lock_path": 3}, TypeError, "int"),
    ],
)
def test_a_wrong_argument_is_told_at_once(
    make: Callable[..., Any], options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        make(**options)


def test_its_repr_shows_which_entry_it_is(make: Callable[..., Any]) -> None:
    assert repr(make()) == "KeyringStore(service='trioauth', username='me', timeout=60.0)"
