"""`trioauth.open_profile`: a program uses the login of the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trustme

import trioauth
from trioauth._profiles import places

if TYPE_CHECKING:
    from pathlib import Path

    from trioauth.testing import AuthServer

    from .conftest import Shell


async def test_a_program_uses_the_login_of_the_command_line(
    shell: Shell, auth_server: AuthServer
) -> None:
    await shell.take(expires_in=0.001)
    async with trioauth.open_profile("notes", base_url=auth_server.url) as session:
        response = await session.get("/notes")
        assert response.json()["generation"] == 2
    # And the command line what the program has renewed.
    token = await shell("token", "notes")
    assert auth_server.ledger.refreshes == 1
    assert token.out.strip() == (await shell.record()).tokens.access_token  # type: ignore[union-attr]


async def test_a_program_waits_for_the_log_in_on_the_command_line(
    shell: Shell, auth_server: AuthServer
) -> None:
    await shell.take()
    await shell("logout", "notes")
    async with trioauth.open_profile("notes", base_url=auth_server.url) as session:
        assert not session.logged_in
        await shell.take()
        await session.wait_logged_in()
        assert (await session.get("/notes")).status_code == 200


async def test_a_profile_that_there_is_not_is_an_error_that_says_what_to_do(
    shell: Shell,
) -> None:
    with pytest.raises(trioauth.ProfileError, match="trioauth login notes --issuer") as caught:
        trioauth.open_profile("notes", base_url="https://api.example.com")
    assert caught.value.path is None
    assert type(caught.value).__module__ == "trioauth"
    assert type(caught.value).__qualname__ == "ProfileError"


async def test_a_profile_that_is_broken_is_an_error_that_names_the_file(shell: Shell) -> None:
    await shell.take()
    path = places.profile_file("notes")
    path.write_text("client_id = ")
    with pytest.raises(trioauth.ProfileError, match="mend it, or log in anew") as caught:
        trioauth.open_profile("notes", base_url="https://api.example.com")
    assert caught.value.path == str(path)
    assert trioauth.ProfileError.__module__ == "trioauth"


async def test_the_program_says_where_the_token_may_go(shell: Shell) -> None:
    await shell.take()
    with pytest.raises(ValueError, match="nothing says where the token may go"):
        trioauth.open_profile("notes")


async def test_a_profile_may_say_whom_to_trust(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(file))
    await shell.take()
    for problem in (None, "no PEM", "not there"):
        assert (await shell("login", "notes", "--ca-file", str(file), "--with-token",
                            stdin="at-canary")).code == 0  # fmt: skip
        match problem:
            case None:
                trioauth.open_profile("notes", base_url="https://api.example.com")
                continue
            case "no PEM":
                file.write_text("no PEM")
            case _:
                file.unlink()
        with pytest.raises(trioauth.ProfileError, match="can't be read as PEM"):
            trioauth.open_profile("notes", base_url="https://api.example.com")
        assert (await shell("token", "notes")).code == 1
        # Unless the program says so itself.
        trioauth.open_profile("notes", base_url="https://api.example.com", verify=True)
        trustme.CA().cert_pem.write_to_path(str(file))
