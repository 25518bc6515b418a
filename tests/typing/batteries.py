"""What type checkers see of the grants, stores, testing kit and timeline. Never run, as `api`."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_type

import attrs
import httpx
import httpx2

from trioauth import (
    Answer,
    OAuthClient,
    Record,
    Session,
    TokenRequest,
    Tokens,
    open_session,
    providers,
)
from trioauth.grants import (
    BearerRefreshGrant,
    ClientAuth,
    ClientCredentialsGrant,
    RefreshTokenGrant,
)
from trioauth.stores import EncryptedStore, FileStore, KeyringStore, MemoryStore
from trioauth.testing import (
    AuthServer,
    CancelPoint,
    Exploration,
    GrantAnswers,
    Persona,
    Victim,
    check_grant,
    check_login,
    check_store,
    every_checkpoint,
)
from trioauth.timeline import Timeline

if TYPE_CHECKING:
    from pathlib import Path

    from trioauth import TokenEndpoint, TokenStore


def clients() -> None:
    assert_type(providers.entra("contoso.com"), providers.Provider)
    assert_type(providers.google().client("me", scope="openid", ports=(8000,)), OAuthClient)


async def grants(answer: Answer, tokens: Tokens, endpoint: TokenEndpoint) -> None:
    how: ClientAuth = "client_secret_post"
    grant = RefreshTokenGrant(
        "https://id.test/t", client_id="a", client_secret="b", client_auth=how
    )
    assert_type(grant.request(tokens), TokenRequest)
    assert_type(grant.read(answer, tokens), Tokens)
    assert_type(await grant(tokens, endpoint), Tokens)
    machine = ClientCredentialsGrant("https://id.test/t", client_id="a", client_secret="b")
    assert_type(await machine(None, endpoint), Tokens)
    own = BearerRefreshGrant("https://id.test/auth/refresh", headers={"X-A": "b"})
    assert_type(await own(tokens, endpoint), Tokens)


async def stores(path: Path, record: Record) -> None:
    both: list[TokenStore] = [MemoryStore(), FileStore("tokens.json"), FileStore(path)]
    both += [KeyringStore(username="me"), EncryptedStore(both[0], b"key")]
    for store in both:
        async with store.lock():
            assert_type(await store.load(), Record | None)
            await store.save(record, expected=0)


async def servers() -> None:
    server = AuthServer(client_id="me")
    assert_type(server.log_in(), Tokens)
    assert_type(server.transport(), httpx.AsyncBaseTransport)
    assert_type(server.transport2(), httpx2.AsyncBaseTransport)
    assert_type(server.ledger.refreshes, int)
    assert_type(server.ledger.max_in_flight, int)
    async with server.serve() as url:
        assert_type(url, str)
    assert_type(server.grant(), RefreshTokenGrant)
    async with server.open_session(server.grant(), logged_in=False, base_url="/") as session:
        assert_type(session, Session)


@attrs.frozen
class Shown:
    """An invitation, as a program's log-in may make one."""

    kind: str
    url: str
    user_code: str | None


async def people() -> None:
    own = attrs.evolve(AuthServer(persona="github").persona, name="own", interval=1)
    server = AuthServer(persona=own, redirect_uris=["http://127.0.0.1/callback"])
    assert_type(server.persona, Persona)
    server.approve("ann", email="ann@example.com")
    server.deny()
    server.fail(503, at="metadata")
    server.hang(at="authorize")
    server.lie(id_token={"iss": lambda iss: iss + "1", "sub": None}, callback={"state": "x"})
    server.lie(signature=lambda signature: signature[::-1])
    assert_type(server.complaints, list[str])
    assert_type(server.endpoint("device"), str)
    person = server.person(follows=True)
    assert_type(await person(Shown("browser", server.issuer, None)), str | None)
    assert_type(person.page, str | None)


async def checks() -> None:
    assert_type(await check_store(lambda: FileStore("tokens.json"), patience=1), None)
    answers = GrantAnswers(granted=lambda _: None, refused=[Answer(403)], misconfigured=())
    assert_type(answers.refused, tuple[Answer, ...])
    own = BearerRefreshGrant("https://id.test/auth/refresh")
    assert_type(await check_grant(own, answers=answers, server=AuthServer()), None)
    client = OAuthClient("a", issuer="https://id.test")
    login = check_login(client.device(), AuthServer().transport(), declines=AuthServer().deny)
    assert_type(await login, None)


async def checkout(victim: Victim) -> None:
    async with open_session(RefreshTokenGrant("https://id.test/t", client_id="a")) as session:
        assert_type(await victim(session.get, "/me"), httpx.Response | None)


def checkpoints() -> None:
    tried = every_checkpoint(checkout, seeds=range(5), keep_going=True)
    assert_type(tried, Exploration)
    assert_type(tried.points, tuple[CancelPoint, ...])


def timelines(path: Path) -> None:
    timeline = Timeline(rows=20)
    open_session(RefreshTokenGrant("https://id.test/t", client_id="a"), observers=[timeline])
    with timeline.request("GET /me") as request:
        request.outcome = 200
    assert_type(timeline.svg(), str)
    timeline.save(path)
