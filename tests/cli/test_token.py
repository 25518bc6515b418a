"""``trioauth token``: what it prints, when it renews, and why there is none."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import attrs
import pytest

from tests.canary import SECRET
from trioauth import Record, Tokens
from trioauth._profiles import places
from trioauth.cli.main import main
from trioauth.cli.token import FORMATS, write

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trioauth.testing import AuthServer

    from .conftest import Shell


@pytest.mark.parametrize("how", FORMATS)
async def test_p29_stdout_has_the_token_and_nothing_else(how: str, shell: Shell) -> None:
    await shell.take()
    tokens = (await shell.record()).tokens
    assert tokens is not None
    done = await shell("token", "notes", "--format", how)
    assert (done.code, done.err) == (0, "")
    assert done.out.count(tokens.access_token) == 1
    assert done.out.count("\n") == 1
    assert done.out.endswith("\n")
    assert str(tokens.refresh_token) not in done.out


def test_each_format_is_what_its_readers_want() -> None:
    scope = frozenset({"b", "a"})
    assert write("t", "raw") == "t"
    assert write("t", "header", scope=scope) == "Authorization: Bearer t"
    full = {"access_token": "t", "token_type": "Bearer", "expires_at": 1795795448, "scope": "a b"}
    assert json.loads(write("t", "json", expires_at=1795795448.9, scope=scope)) == full
    unknown = {**full, "expires_at": None, "scope": ""}
    assert json.loads(write("t", "json")) == unknown


KUBERNETES = "client.authentication.k8s.io"


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        (None, "v1"),
        ("", "v1"),
        ("not JSON", "v1"),
        ("[]", "v1"),
        ("{}", "v1"),
        ('{"apiVersion": []}', "v1"),
        (f'{{"apiVersion": "{KUBERNETES}/v1"}}', "v1"),
        (f'{{"apiVersion": "{KUBERNETES}/v1beta1"}}', "v1beta1"),
        (f'{{"apiVersion": "{KUBERNETES}/v1alpha1"}}', "v1"),
    ],
)
def test_kubectl_gets_the_version_that_it_asked_for(
    asked: str | None, answered: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBERNETES_EXEC_INFO", raising=False)
    if asked is not None:
        monkeypatch.setenv("KUBERNETES_EXEC_INFO", asked)
    # As in the schema of "Client Authentication (v1)": apiVersion, kind, status.token and
    # status.expirationTimestamp, in RFC 3339.
    assert json.loads(write("t", "exec-credential", expires_at=1795795448.9)) == {
        "apiVersion": f"{KUBERNETES}/{answered}",
        "kind": "ExecCredential",
        "status": {"token": "t", "expirationTimestamp": "2026-11-27T16:04:08Z"},
    }
    assert json.loads(write("t", "exec-credential"))["status"] == {"token": "t"}


async def test_an_expired_token_is_renewed_and_a_fresh_one_is_not(
    shell: Shell, auth_server: AuthServer
) -> None:
    await shell.take(expires_in=0.001)
    first = await shell("token", "notes")
    assert first.code == 0
    assert (await shell("token", "notes")).out == first.out
    assert auth_server.ledger.refreshes == 1


@pytest.mark.parametrize(
    ("options", "refreshes"),
    [
        ([], 1),
        (["--min-validity", "10"], 0),
        (["--min-validity", "300"], 1),
        (["--min-validity", "0", "--refresh"], 1),
    ],
)
async def test_the_token_is_good_for_as_long_as_was_asked_for(
    options: list[str], refreshes: int, shell: Shell, auth_server: AuthServer
) -> None:
    await shell.take()
    tokens = attrs.evolve(auth_server.log_in(), expires_in=3600)
    await shell.replace(tokens=tokens, expires_at_unix=time.time() + 25)
    assert (await shell("token", "notes", *options)).code == 0
    assert auth_server.ledger.refreshes == refreshes


@pytest.mark.parametrize("text", ["-1", "nan", "inf"])
def test_a_validity_is_a_number_of_seconds(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["token", "notes", f"--min-validity={text}"])
    assert caught.value.code == 2
    assert "must be 0 or more" in capsys.readouterr().err


async def test_a_login_that_can_t_be_renewed_is_used_to_its_end_and_not_ended_before(
    shell: Shell, auth_server: AuthServer
) -> None:
    token = auth_server.log_in().access_token
    answer = json.dumps({"access_token": token, "expires_in": 20})
    await shell.log_in("--with-token", stdin=answer)
    assert (await shell("token", "notes", "--min-validity", "3600")).out == f"{token}\n"
    done = await shell("token", "notes", "--refresh")
    assert (done.code, done.out) == (1, "")
    assert "this login can't be renewed" in done.err
    assert (await shell("token", "notes")).code == 0


# --- exit codes ----------------------------------------------------------------------------


async def test_3_says_that_there_is_no_login_and_how_to_get_one(
    shell: Shell, auth_server: AuthServer
) -> None:
    for name in ("notes", "Nötes"):
        done = await shell("token", name)
        assert (done.code, done.out) == (3, "")
    assert (
        "there is no profile 'notes' (there are: none at all)"
        in (await shell("token", "notes")).err
    )
    await shell.take()
    assert "(there are: notes); trioauth login mail" in (await shell("token", "mail")).err
    # There is a profile and no login.
    shell.store().path.unlink()
    done = await shell("token", "notes")
    assert (done.code, done.err) == (3, "not logged in; to log in: trioauth login notes")
    await shell.take()
    await shell("logout", "notes")
    done = await shell("token", "notes")
    assert done.code == 3
    assert "not logged in (the session was logged out)" in done.err


async def test_3_says_that_the_server_has_ended_the_login(
    shell: Shell, auth_server: AuthServer
) -> None:
    await shell.take(expires_in=0.001)
    auth_server.revoke()
    done = await shell("token", "notes")
    assert (done.code, done.out) == (3, "")
    assert "refused to renew the login" in done.err
    assert "invalid_grant" in done.err
    done = await shell("token", "notes")
    assert (done.code, done.out) == (3, "")
    assert "refused to renew the login" in done.err


async def test_4_says_that_the_server_can_t_be_asked_now(
    shell: Shell, auth_server: AuthServer
) -> None:
    await shell.take()
    auth_server.down(None)
    assert (await shell("token", "notes")).code == 0
    done = await shell("token", "notes", "--refresh")
    assert (done.code, done.out) == (4, "")
    assert "try later" in done.err
    assert done.err.count("can't be reached") == 1
    auth_server.recover()
    assert (await shell("token", "notes", "--refresh")).code == 0


async def test_1_says_that_the_client_is_not_accepted(
    shell: Shell, auth_server: AuthServer
) -> None:
    await shell.take()
    auth_server.fail(401, error="invalid_client")
    done = await shell("token", "notes", "--refresh")
    assert (done.code, done.out) == (1, "")
    assert "invalid_client" in done.err


async def test_1_says_that_the_store_can_t_be_read(shell: Shell) -> None:
    await shell.take()
    path = shell.store().path
    path.write_text("{}")
    done = await shell("token", "notes")
    assert (done.code, done.out) == (1, "")
    assert str(path) in done.err


async def test_a_store_that_can_t_be_written_spends_no_refresh_token(
    shell: Shell, auth_server: AuthServer
) -> None:
    await shell.take()
    path = shell.store().path
    lock = path.with_name(f"{path.name}.lock")
    lock.unlink()
    lock.mkdir()
    # What is fresh can be had from what can only be read.
    assert (await shell("token", "notes")).code == 0
    done = await shell("token", "notes", "--refresh")
    assert (done.code, done.out) == (1, "")
    assert str(lock) in done.err
    assert auth_server.ledger.refreshes == 0


async def test_1_says_what_is_wrong_with_a_profile(shell: Shell) -> None:
    await shell.take()
    path = places.profile_file("notes")
    text = path.read_text()
    for broken, said in (
        ("client_id = ", "Invalid value"),
        (f"{text}scpoe = 'notes'\n", "unknown: 'scpoe'; there are account, "),
        (text.replace('"client"', "5"), "client_id must be a printable text"),
        (text.replace("client_id", "scope"), "client_id is missing"),
        (text.replace("issuer", "scope"), "issuer is missing"),
        (f"{text}scope = 5", "scope must be"),
        (f"{text}resource = 'x'", "resource must be a list"),
        (f"{text}ports = [true]", "ports must be a list"),
        (f"{text}way = 'fax'", "way must be one of browser, device, paste"),
        (f"{text}store = 'fax'", "store must be one of file, keyring"),
        (f"{text}client_auth = 'fax'", "client_auth must be one of"),
        (f"{text}parameters = 5", "parameters must be a table"),
        (f"{text}[parameters]\naudience = 5", "parameters must be a table"),
        (f"{text}account = ''", "account must be"),
        (f"{text}issuer = 'https://x.test'", "Cannot overwrite a value"),
        (text.replace("https:", "http:"), "issuer"),
        (f"{text}{'#' * 100_000}", "too large"),
    ):  # fmt: skip
        path.write_text(broken)
        done = await shell("token", "notes")
        assert (done.code, done.out) == (1, "")
        assert said in done.err, broken
        assert "notes" in done.err
        assert (await shell("status")).code == 1
    path.write_bytes(b"\xff")
    assert "is not UTF-8" in (await shell("token", "notes")).err
    path.unlink()
    path.mkdir()
    assert "can't be read: Is a directory" in (await shell("token", "notes")).err


async def test_a_token_of_which_the_store_has_a_newer_one_has_no_known_expiry(
    shell: Shell, auth_server: AuthServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shell.take()
    store = shell.store()
    record = await shell.record()
    newer = Record(9, Tokens("at-canary-newer"), expires_at_unix=9e9)
    for newest in (newer, Record(9, None), None):
        answers = iter([record, record, newest])

        async def load(_: object, answers: Iterator[Record | None] = answers) -> Record | None:
            return next(answers)

        monkeypatch.setattr(type(store), "load", load)
        done = await shell("token", "notes", "--format", "json", "--min-validity", "0")
        assert json.loads(done.out)["expires_at"] is None
        assert SECRET.match(json.loads(done.out)["access_token"])


async def test_the_expiry_is_that_of_the_token(shell: Shell) -> None:
    await shell.take(expires_in=500)
    answer = json.loads((await shell("token", "notes", "--format", "json")).out)
    assert answer["expires_at"] - time.time() == pytest.approx(500, abs=20)
