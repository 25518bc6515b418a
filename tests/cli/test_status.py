"""``trioauth status``, ``logout`` and ``profiles``."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from trioauth import Identity, Tokens
from trioauth._profiles import files, places
from trioauth.cli.exits import DONE, FAILED, NOT_LOGGED_IN, TRY_LATER
from trioauth.cli.shown import Account, Shown
from trioauth.cli.status import _words

if TYPE_CHECKING:
    from trioauth.testing import AuthServer

    from .conftest import Shell


async def one(shell: Shell, *more: str) -> dict[str, Any]:
    done = await shell("status", "notes", "--json", *more)
    assert done.err == ""
    [shown] = json.loads(done.out)["profiles"]
    return {**shown, "code": done.code}


# --- status --------------------------------------------------------------------------------


async def test_status_is_for_people_on_stderr_and_for_programs_on_stdout(shell: Shell) -> None:
    done = await shell("status")
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith("there are no profiles; to log in: trioauth login NAME")
    await shell.take()
    done = await shell("status")
    assert (done.code, done.out) == (0, "")
    assert done.err.startswith("notes: logged in\n  server   https://server.test\n")
    assert str(shell.store().path) in done.err
    done = await shell("status", "--json")
    assert (done.code, done.err) == (0, "")
    assert [each["name"] for each in json.loads(done.out)["profiles"]] == ["notes"]


async def test_status_says_all_that_there_is_to_say(shell: Shell) -> None:
    await shell.take()
    await shell.replace(tokens=Tokens("at-canary", "rt-canary", scope="b a"), expires_at_unix=9e9)
    assert await one(shell) == {
        "code": 0,
        "name": "notes",
        "provider": None,
        "issuer": "https://server.test",
        "server": "https://server.test",
        "client_id": "client",
        "login_hint": None,
        "account": None,
        "logged_in": True,
        "scope": ["a", "b"],
        "expires_at": 9_000_000_000,
        "renewable": True,
        "ended": None,
        "ended_at": None,
        "stored_in": str(shell.store().path),
        "check": None,
        "error": None,
    }


async def test_status_says_who_has_logged_in_as_the_id_token_said_it(
    shell: Shell, auth_server: AuthServer
) -> None:
    pytest.importorskip("joserfc")
    auth_server.approve("248", name="Ann Example", email="ann@example.com", age=44)
    who = ["--browser", "--scope", "openid notes", "--account", "bob@example.com"]
    assert (await shell.log_in(*who)).code == 0
    ann = {"sub": "248", "name": "Ann Example", "email": "ann@example.com"}
    for _ in range(2):
        shown = await one(shell)
        assert (shown["account"], shown["login_hint"]) == (ann, "bob@example.com")
        text = (await shell("status", "notes")).err
        assert "\n  account  Ann Example <ann@example.com> (248)\n" in text
        # The refresh brings no other name, and it is still there.
        assert (await shell("token", "notes", "--refresh")).code == 0
    await shell("logout", "notes")
    assert (await one(shell))["account"] is None
    # There is no login; the profile says which person was to log in.
    assert "\n  account  bob@example.com\n" in (await shell("status", "notes")).err


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({}, "248"),
        ({"name": "Ann"}, "Ann (248)"),
        ({"email": "ann@example.com"}, "ann@example.com (248)"),
        ({"name": ["Ann"], "email": ""}, "248"),
        ({"name": "Ann\x1b[2J\r\nnotes: logged out"}, "Ann [2J  notes: logged out (248)"),
        ({"name": "A" * 9000}, f"{'A' * 200}"),
    ],
)
def test_what_a_server_calls_a_person_is_one_line(claims: dict[str, Any], words: str) -> None:
    identity = Identity({"iss": "https://id.example.com", "sub": "248", **claims})
    text = str(Account.of(identity))
    assert text.startswith(words)
    assert len(text) < 1000
    assert text.isprintable()


async def test_status_names_the_server_of_a_profile_without_an_issuer(shell: Shell) -> None:
    who = ["--client-id", "c", "--token-endpoint", "https://id.example.com/token"]
    await shell("login", "notes", *who, "--with-token", stdin="at-canary")
    shown = await one(shell)
    assert (shown["issuer"], shown["server"]) == (None, "https://id.example.com/token")
    assert "\n  server   https://id.example.com/token\n" in (await shell("status", "notes")).err


async def test_status_asks_nobody_and_shows_no_token(shell: Shell, auth_server: AuthServer) -> None:
    await shell.take(expires_in=0.001)
    auth_server.down(None)
    assert (await one(shell))["logged_in"] is True
    assert auth_server.ledger.refreshes == 0


async def test_a_login_without_a_refresh_token_ends_with_its_token(shell: Shell) -> None:
    await shell.take()
    for expires_at, there in ((None, True), (time.time() + 99, True), (time.time() - 9, False)):
        await shell.replace(tokens=Tokens("at-canary"), expires_at_unix=expires_at)
        shown = await one(shell)
        assert (shown["logged_in"], shown["code"]) == (there, 0 if there else 3)


async def test_status_says_why_and_when_a_login_ended(
    shell: Shell, auth_server: AuthServer
) -> None:
    await shell.take()
    await shell("logout", "notes")
    shown = await one(shell)
    assert (shown["code"], shown["ended"], shown["scope"]) == (3, "asked", [])
    assert shown["ended_at"] == pytest.approx(time.time(), abs=20)


async def test_a_profile_without_a_login_is_shown(shell: Shell) -> None:
    await shell.take()
    path = shell.store().path
    path.unlink()
    shown = await one(shell)
    assert (shown["code"], shown["ended"], shown["stored_in"]) == (3, None, str(path))
    assert "notes: not logged in\n" in (await shell("status")).err


async def test_one_that_is_broken_does_not_hide_the_others(shell: Shell) -> None:
    await shell.take()
    await shell.take(name="broken")
    places.profile_file("broken").write_text("client_id =")
    (places.config_folder() / "README").write_text("no profile")
    done = await shell("status", "--json")
    assert done.code == 1
    shown = {each["name"]: each for each in json.loads(done.out)["profiles"]}
    assert shown["notes"]["logged_in"] is True
    assert "mend it" in shown["broken"]["error"]
    assert "problem  " in (await shell("status")).err
    # And one that is gone before it is looked at.
    places.profile_file("broken").unlink()
    assert (await shell("status", "broken")).code == 3


async def test_a_profile_that_is_removed_meanwhile_is_said(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shell.take()
    monkeypatch.setattr(files, "profile_names", lambda: ["gone", "notes"])
    done = await shell("status", "--json")
    assert [each["error"] is None for each in json.loads(done.out)["profiles"]] == [False, True]


@pytest.mark.parametrize(
    ("happens", "check", "code"),
    [
        ("nothing", "ok", 0),
        ("revoked", "refused", 3),
        ("down", "unavailable", 4),
        ("unknown client", "failed", 1),
        ("no refresh token", "not renewable", 0),
    ],
)
async def test_check_asks_the_server(
    happens: str, check: str, code: int, shell: Shell, auth_server: AuthServer
) -> None:
    await shell.take()
    match happens:
        case "revoked":
            auth_server.revoke()
        case "down":
            auth_server.down(None)
        case "unknown client":
            auth_server.fail(401, error="invalid_client")
        case "no refresh token":
            await shell.replace(tokens=Tokens("at-canary"))
    shown = await one(shell, "--check")
    assert (shown["check"], shown["code"]) == (check, code)
    assert (shown["error"] is None) == (code in {0, 3})
    assert shown["logged_in"] == (code != 3)
    assert "checked  " in (await shell("status", "--check")).err or code == 3


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        (Shown(name="a"), "a: not logged in"),
        (Shown(name="a", ended="refused", ended_at=880), "refused to renew the login, 2 min"),
        (Shown(name="a", ended="elsewhere"), "another process that shares the token store"),
        (Shown(name="a", expires_at=990), "it expired 10 seconds ago, and can't be renewed"),
        (Shown(name="a", logged_in=True), "good until a server refuses it, can't be renewed"),
        (Shown(name="a", logged_in=True, renewable=True, expires_at=900),
         "expired 100 seconds ago, renewed when needed"),
        (Shown(name="a", logged_in=True, expires_at=8200), "good for 2 hours, can't be renewed"),
        (Shown(name="a", logged_in=True, expires_at=1119), "good for 119 seconds"),
        (Shown(name="a", logged_in=True, expires_at=1000 + 3 * 86400), "good for 3 days"),
    ],
)  # fmt: skip
def test_status_says_it_in_words(shown: Shown, words: str) -> None:
    assert words in _words(shown, 1000)


def test_the_exit_code_of_status_is_the_gravest() -> None:
    assert DONE < FAILED < NOT_LOGGED_IN < TRY_LATER
    assert Shown(name="a", error="x", logged_in=True).code == FAILED


# --- logout --------------------------------------------------------------------------------


async def test_logout_ends_a_login_here_and_at_the_server(
    shell: Shell, auth_server: AuthServer
) -> None:
    await shell.take()
    done = await shell("logout", "notes")
    assert (done.code, done.out, done.err) == (0, "", "notes: logged out\n")
    assert auth_server.ledger.revocations == 1
    assert (await shell.record()).tokens is None
    done = await shell("logout", "notes")
    assert (done.code, done.err) == (0, "notes: was not logged in\n")
    assert (await shell("logout", "mail")).code == 3


async def test_logout_tells_the_server_nothing_if_it_should_not(
    shell: Shell, auth_server: AuthServer
) -> None:
    await shell.take()
    done = await shell("logout", "notes", "--no-revoke")
    assert done.err == "notes: logged out here; the server was not told\n"
    assert auth_server.ledger.revocations == 0


async def test_logout_ends_a_login_of_a_server_that_is_down(
    shell: Shell, auth_server: AuthServer
) -> None:
    await shell.take()
    auth_server.down(None)
    done = await shell("logout", "notes")
    assert done.code == 0
    assert "trioauth: not revoked" in done.err
    assert done.err.endswith("logged out here; the server was not told\n")
    assert (await shell.record()).tokens is None


async def test_logout_says_if_the_tokens_could_not_be_removed(shell: Shell) -> None:
    await shell.take()
    path = shell.store().path
    lock = path.with_name(f"{path.name}.lock")
    lock.unlink()
    lock.mkdir()
    done = await shell("logout", "notes", "--no-revoke")
    assert done.code == 1
    assert "could not be removed from this machine" in done.err


# --- profiles ------------------------------------------------------------------------------


async def test_profiles_are_listed_shown_and_removed(shell: Shell, auth_server: AuthServer) -> None:
    assert (await shell("profiles")).err == "there are no profiles\n"
    await shell.take()
    await shell.take(name="mail")
    assert (await shell("profiles")).err == "mail\nnotes\n"
    listed = json.loads((await shell("profiles", "--json")).out)["profiles"]
    assert listed[1] == {"name": "notes", "file": str(places.profile_file("notes"))}
    assert 'client_id = "client"' in (await shell("profiles", "--show", "notes")).err
    done = await shell("profiles", "--remove", "notes")
    assert (done.code, done.err) == (0, "notes: logged out\nnotes: the profile is removed\n")
    assert auth_server.ledger.revocations == 1
    assert (await shell("profiles")).err == "mail\n"
    assert (await shell("profiles", "--remove", "notes")).code == 3


async def test_a_profile_whose_login_can_t_be_ended_stays(shell: Shell) -> None:
    await shell.take()
    path = shell.store().path
    lock = path.with_name(f"{path.name}.lock")
    lock.unlink()
    lock.mkdir()
    assert (await shell("profiles", "--remove", "notes")).code == 1
    assert (await shell("profiles")).err == "notes\n"
