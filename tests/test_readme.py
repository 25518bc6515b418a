"""What the README shows, run as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2

import trioauth
from trioauth.testing import AuthServer, prompting

if TYPE_CHECKING:
    import pytest

README = Path(__file__).parent.parent / "README.md"
BLOCKS: list[str] = re.findall(
    r"^```python\n(.*?)^```", README.read_text("utf-8"), re.MULTILINE | re.DOTALL
)


def block_with(text: str) -> str:
    [block] = [block for block in BLOCKS if text in block]
    return block


def at(server: AuthServer, block: str) -> str:
    return block.replace("https://id.example.com", server.url).replace(
        "https://api.example.com", server.url
    )


async def test_the_first_program_logs_in_and_stays_logged_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    server = AuthServer(client_id="notes", scope="offline_access")
    server.approve("ann")
    asked: list[trioauth.Invitation] = []
    person = server.person(follows=True)

    async def ask(invitation: trioauth.Invitation, /) -> str | None:
        asked.append(invitation)
        return await person(invitation)

    async with server.serve():
        names: dict[str, Any] = {}
        exec(at(server, block_with("trio.run(main)")).replace("trio.run(main)", ""), names)
        with prompting(ask):
            await names["main"]()
            server.expire()
            await names["main"]()
    assert capsys.readouterr().out.count("'path': '/me'") == 2
    assert len(asked) == 1
    assert server.ledger.refreshes == 1
    server.check()


async def test_the_blocks_about_nursery_and_httpx2_work() -> None:
    server = AuthServer()
    grant = trioauth.RefreshTokenGrant(server.token_url, client_id="client")
    synced: list[int] = []

    async def sync_notes(session: trioauth.Session) -> None:
        synced.append((await session.get("/notes")).status_code)

    async with trioauth.open_session(
        grant, tokens=server.log_in(), base_url=server.url, transport=server.transport()
    ) as session:

        def client(base_url: str) -> httpx2.AsyncClient:
            return httpx2.AsyncClient(base_url=base_url, transport=server.transport2())

        class Library:
            AsyncClient = staticmethod(client)

        names: dict[str, Any] = {
            "session": session,
            "sync_notes": sync_notes,
            "listen": sync_notes,
            "httpx2": Library,
        }
        for block in (block_with("open_nursery"), at(server, block_with("httpx2.AsyncClient"))):
            body = "".join(f"    {line}\n" for line in block.splitlines())
            exec(f"async def run():\n{body}    return locals()", names)
            seen = await names["run"]()
    assert synced == [200, 200]
    assert seen["response"].status_code == 200


async def test_the_test_for_users_passes(
    auth_server: AuthServer, auth_session: trioauth.Session
) -> None:
    names: dict[str, Any] = {}
    exec(block_with("test_checkout"), names)
    await names["test_checkout_survives_an_expired_token"](auth_server, auth_session)


async def test_the_block_about_many_logins_uses_the_login_of_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    server = AuthServer()
    client = trioauth.RefreshTokenGrant(server.token_url, client_id="client")
    store = trioauth.SQLiteStore("logins.db")
    async with server.serve():
        async with trioauth.open_sessions(client, store=store, base_url=server.url) as sessions:
            await sessions.log_in("user-17", server.log_in())
        names: dict[str, Any] = {"trioauth": trioauth, "client": client}
        body = "".join(
            f"    {line}\n" for line in at(server, block_with("open_sessions(")).splitlines()
        )
        exec(f"async def run():\n{body}    return response", names)
        response = await names["run"]()
    assert response.status_code == 200


def test_every_block_of_the_readme_is_run_here() -> None:
    assert len(BLOCKS) == 5
