"""``trioauth login --store keyring``: the tokens are in the keyring, and nowhere else.

With a backend that is a dict; and at the end with gnome-keyring, as tests/test_secret_service.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

import trioauth
from tests.canary import SECRET
from tests.test_keyring_store import Ring
from tests.test_secret_service import keyring_daemon, play
from trioauth import KeyringStore, Record
from trioauth._profiles import files, keeping, places
from trioauth._profiles.profile import Profile
from trioauth.testing import AuthServer

if TYPE_CHECKING:
    from .conftest import Shell

keyring: Any = pytest.importorskip("keyring")


@pytest.fixture
def ring(monkeypatch: pytest.MonkeyPatch) -> Ring:
    ring = Ring()
    monkeypatch.setattr(keyring.core, "_keyring_backend", ring)
    return ring


async def record_in_keyring() -> Record | None:
    store = keeping.store_of(files.load_profile("notes"))
    assert isinstance(store, KeyringStore)
    return await store.load()


def secrets_in_files(shell: Shell) -> list[str]:
    found = [path for path in shell.home.rglob("*") if path.is_file()]
    return [path.name for path in found if SECRET.search(path.read_text("utf-8", "replace"))]


# --- the tokens are there, and nowhere else ------------------------------------------------


async def test_the_tokens_are_in_the_keyring_and_in_no_file(
    shell: Shell, auth_server: AuthServer, ring: Ring
) -> None:
    auth_server.approve()
    assert (await shell.log_in("--browser", "--store", "keyring")).code == 0
    assert 'store = "keyring"\n' in places.profile_file("notes").read_text()
    [(service, user)] = ring.entries
    assert service == f"trioauth/{user}"
    assert user.startswith("server.test-")
    assert SECRET.search(ring.entries[service, user])
    assert secrets_in_files(shell) == []
    # The other commands find them there, and so does a program.
    done = await shell("token", "notes", "--refresh")
    assert SECRET.match(done.out)
    async with trioauth.open_profile("notes", base_url=auth_server.url) as session:
        assert (await session.get("/notes")).status_code == 200
    status = await shell("status", "notes")
    assert f"  kept in  the keyring, as trioauth/{user}\n" in status.err
    assert secrets_in_files(shell) == []
    assert (await shell("logout", "notes")).code == 0
    assert not SECRET.search(ring.entries[service, user])
    assert (await shell("token", "notes")).code == 3


async def test_a_new_log_in_moves_the_tokens_and_nothing_is_left_in_the_old_place(
    shell: Shell, auth_server: AuthServer, ring: Ring
) -> None:
    auth_server.approve()
    await shell.log_in("--browser")
    assert "store" not in places.profile_file("notes").read_text()
    assert secrets_in_files(shell) == [shell.store().path.name]
    assert (await shell("login", "notes", "--store", "keyring")).code == 0
    assert secrets_in_files(shell) == []
    record = await record_in_keyring()
    assert record is not None
    assert record.tokens is not None
    assert (await shell("login", "notes", "--store", "file")).code == 0
    assert secrets_in_files(shell) == [shell.store().path.name]
    assert not any(SECRET.search(text) for text in ring.entries.values())


def test_the_logins_of_two_folders_are_two_entries_of_the_one_keyring(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    profile = Profile(name="a", client_id="c", issuer="https://x.test", store="keyring")
    users = set[str]()
    for home in (str(tmp_path / "a"), str(tmp_path / "b"), ""):
        monkeypatch.setenv(places.HOME, home)
        user = places.keyring_user(profile)
        assert keeping.place_of(profile) == f"the keyring, as trioauth/{user}"
        store = keeping.store_of(profile)
        assert isinstance(store, KeyringStore)
        assert store.username == user
        assert store.lock_path == Path(f"{places.login_file(profile)}.lock")
        users.add(user)
    assert len(users) == 3


# --- when it can't be used -----------------------------------------------------------------


async def test_p23_no_person_is_asked_before_the_keyring_has_proven_that_it_keeps_tokens(
    shell: Shell, auth_server: AuthServer, ring: Ring
) -> None:
    auth_server.approve()
    ring.problem = keyring.errors.KeyringLocked()
    done = await shell.log_in("--browser", "--store", "keyring")
    assert done.code == 1
    assert "it is locked" in done.err
    assert shell.asked == []
    assert shell.files() == []


async def test_a_keyring_that_is_locked_is_said_and_hides_no_other_login(
    shell: Shell, ring: Ring
) -> None:
    await shell.take(name="mail")
    await shell.take()
    assert (await shell("login", "notes", "--store", "keyring", "--with-token",
                        stdin="at-canary")).code == 0  # fmt: skip
    ring.problem = keyring.errors.KeyringLocked()
    done = await shell("status", "--json")
    assert done.code == 1
    mail, notes = json.loads(done.out)["profiles"]
    assert (mail["logged_in"], mail["error"]) == (True, None)
    assert "it is locked" in notes["error"]
    assert notes["stored_in"].startswith("the keyring, as trioauth/")
    done = await shell("token", "notes")
    assert (done.code, done.out) == (1, "")
    assert "it is locked" in done.err


async def test_it_says_what_to_install_for_the_keyring(
    shell: Shell, auth_server: AuthServer, ring: Ring
) -> None:
    await shell.take()
    assert (await shell("login", "notes", "--store", "keyring", "--with-token",
                        stdin="at-canary")).code == 0  # fmt: skip
    shell.patch.setattr("trioauth.stores._entry.find_spec", lambda _: None)
    for command in (["login", "notes", "--browser"], ["token", "notes"], ["logout", "notes"]):
        done = await shell(*command)
        assert done.code == 2
        assert 'pip install "trioauth[keyring]"' in done.err
    assert shell.asked == []
    # Of all there are, the others are shown.
    done = await shell("status")
    assert done.code == 1
    assert 'pip install "trioauth[keyring]"' in done.err


def test_a_program_that_keeps_its_login_in_a_file_loads_no_keyring() -> None:
    code = "import sys, trioauth.cli.main; print('keyring' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# --- with a real one -----------------------------------------------------------------------


@pytest.mark.slow
async def test_p1_processes_share_a_login_in_a_real_keyring_and_refresh_once(
    tmp_path: Path,
) -> None:
    said = await play("share", tmp_path, module="tests.cli.test_keyring")
    assert said.splitlines() == ["1 token of 3, 1 refresh"]
    # The keyring has it only encrypted.
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.suffix == ".keyring" for path in files)
    assert not any(SECRET.search(path.read_text("latin-1")) for path in files)


async def command(*argv: str, stdin: str = "") -> tuple[int, str, str]:
    """Run a command in the D-Bus session."""
    done = await trio.run_process(
        [sys.executable, "-m", "trioauth", *argv],
        stdin=stdin.encode(), capture_stdout=True, capture_stderr=True, check=False,
        env={**os.environ, "BROWSER": ""},
    )  # fmt: skip
    return done.returncode, done.stdout.decode(), done.stderr.decode()


async def share() -> None:
    server, tokens = AuthServer(), set[str]()

    async def print_token() -> None:
        code, out, err = await command("token", "notes")
        assert code == 0, err
        tokens.add(out)

    with keyring_daemon():
        async with server.serve():
            taken = server.log_in()
            answer = {"access_token": taken.access_token, "refresh_token": taken.refresh_token}
            stdin = json.dumps({**answer, "expires_in": 0.001})
            who = ["--issuer", server.issuer, "--client-id", "client", "--store", "keyring"]
            code, _, err = await command("login", "notes", *who, "--with-token", stdin=stdin)
            assert code == 0, err
            server.delay(1)
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(print_token)
            print(f"{len(tokens)} token of 3, {server.ledger.refreshes} refresh")


if __name__ == "__main__":
    assert sys.argv[1] == "share"
    trio.run(share)
