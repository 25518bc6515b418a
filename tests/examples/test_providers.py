"""docs/howto/providers.md: its programs log in at the personas, and its table is what they do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import pytest

import trioauth
from tests.oauth.providers import WITH_DEVICES, free_ports
from tests.test_docs import ROOT, Block, blocks
from tests.test_docs_complete import page, table_rows
from trioauth import ClientSecretPost, OAuthClient, providers
from trioauth.testing import AuthServer
from trioauth.testing._personas import find_persona

if TYPE_CHECKING:
    from trio.testing import MockClock

    from trioauth.providers import Provider

PAGE = ROOT / "docs" / "howto" / "providers.md"
# Servers that a customer runs: the page's have another host than the personas'.
ELSEWHERE = {"gitlab": ("gitlab.example.com", "gitlab.com"),
             "entra": ("contoso.onmicrosoft.com", "common")}  # fmt: skip


def name_in(block: Block) -> str:
    return block.code.partition("providers.")[2].partition("(")[0]


# The first one is the whole program.
PROGRAM, *CLIENTS = blocks(PAGE)
BY_NAME = {name_in(block): block for block in CLIENTS}


def client_in(block: Block) -> OAuthClient:
    names: dict[str, Any] = {"trioauth": trioauth}
    there, here = ELSEWHERE.get(name_in(block), ("", ""))
    exec(compile(block.code.replace(there, here), str(PAGE), "exec"), names)
    client: OAuthClient = names["client"]
    # Tests run side by side: not the port that the page says.
    return attrs.evolve(client, ports=free_ports()) if client.ports else client


def server_for(name: str, client: OAuthClient) -> AuthServer:
    if "openid" in client.scope:
        pytest.importorskip("joserfc")  # the server signs ID tokens with it
    # As registered: on any port, or on those.
    uri = client.redirect_uri
    uris = [uri.replace("localhost", f"localhost:{port}").replace("0.1/", f"0.1:{port}/")
            for port in client.ports] or [uri]  # fmt: skip
    secret = client.auth.client_secret if isinstance(client.auth, ClientSecretPost) else None
    server = AuthServer(
        persona=name, client_id=client.client_id, client_secret=secret, redirect_uris=uris
    )
    server.approve("ann")
    return server


def test_each_provider_has_a_program() -> None:
    assert BY_NAME.keys() == providers.BY_NAME.keys()


@pytest.mark.parametrize("name", BY_NAME)
async def test_the_program_of_a_provider_logs_in_and_stays_logged_in(name: str) -> None:
    client = client_in(BY_NAME[name])
    server = server_for(name, client)
    async with server.open_session(client, logged_in=False) as session:
        await session.log_in(client.browser(prompt=server.person()))
        server.expire()
        assert (await session.get("/notes")).status_code == 200
        assert session.generation == 2
    server.check()


@pytest.mark.parametrize("name", WITH_DEVICES)
async def test_the_program_of_a_provider_logs_in_by_device(
    name: str, autojump_clock: MockClock
) -> None:
    client = client_in(BY_NAME[name])
    server = server_for(name, client)
    async with server.open_session(client, logged_in=False) as session:
        await session.log_in(client.device(prompt=server.person()))
        assert session.logged_in
    server.check()


async def test_the_whole_program_logs_in_once(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server = AuthServer(persona="gitlab", client_id="your-client-id")
    server.approve("ann")
    server.api_answer("/api/v4/user", {"username": "ann"})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "httpx.AsyncHTTPTransport.handle_async_request",
        lambda _, request: server.transport().handle_async_request(request),
    )
    # Where there is a browser here: asked by our person.
    monkeypatch.setattr(
        OAuthClient, "interactive", lambda client: client.browser(prompt=server.person())
    )
    names: dict[str, Any] = {"trioauth": trioauth}
    exec(compile(PROGRAM.code, str(PAGE), "exec"), names)
    await names["main"]()
    server.deny()
    await names["main"]()
    assert capsys.readouterr().out == "{'username': 'ann'}\n" * 2


def asked_for(provider: Provider) -> list[str]:
    """What gives a refresh token, as the table has it."""
    wanted = provider.offline
    pairs = [f"`{key}={value}`" for key, value in wanted.parameters.items()]
    return [*pairs, *(f"`{scope}`" for scope in wanted.scope.split())]


def test_the_table_says_what_the_data_says() -> None:
    rows = {
        row[0].partition("(#")[2].rstrip(")"): row for row in table_rows(page("howto/providers.md"))
    }
    for name, make in providers.BY_NAME.items():
        row = rows[name]
        arguments = {"okta": ["a.okta.com"], "auth0": ["a.auth0.com"], "cognito": ["a_b"],
                     "keycloak": ["a", "b"], "gitea": ["a"], "authentik": ["a", "b"],
                     "dex": ["a"]}.get(name, [])  # fmt: skip
        provider = make(*arguments)
        if name != "dex":
            assert f"`{provider.redirect_uris[0]}`" in row[1], name
            assert ("any port" in row[1]) == (not provider.ports), name
        for each in asked_for(provider):
            assert each in row[2], name
        assert (row[3] == "yes") == ("device" in find_persona(name).endpoints), name
        assert provider.date in row[4], name
