"""What type checkers see of the public API. Never run: mypy, pyright and ty read it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, assert_type

import httpx
import httpx2
import trio

import trioauth
from trioauth import (
    Answer,
    Authentication,
    Grant,
    KeyedStore,
    LoggedIn,
    LoggedOut,
    LogoutReason,
    Record,
    RefreshPolicy,
    Session,
    Sessions,
    Statistics,
    TokenEndpoint,
    TokenRequest,
    Tokens,
    TokenStore,
    events,
    open_session,
    open_sessions,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractAsyncContextManager


async def function_grant(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
    return Tokens("access", None if tokens is None else tokens.refresh_token)


async def other_names(old: Tokens | None, client: TokenEndpoint) -> Tokens:
    return Tokens("access")


class ClassGrant:
    unattended = True

    async def __call__(self, tokens: Tokens | None, endpoint: TokenEndpoint, /) -> Tokens:
        return Tokens("access")


grants: list[Grant] = [
    function_grant,
    other_names,
    ClassGrant(),
    trioauth.RefreshTokenGrant("https://id.example.com/t", client_id="me"),
]


class OwnStore:
    """A store needs three methods, and no base class."""

    def lock(self) -> AbstractAsyncContextManager[None]:
        return trio.Lock()

    async def load(self) -> Record | None:
        return None

    async def save(self, record: Record, *, expected: int) -> None:
        pass


class ProbingStore(OwnStore):
    """A fourth method is optional."""

    async def probe(self) -> None:
        pass


class HintingStore(OwnStore):
    """A fifth method is optional."""

    async def changed(self) -> str | None:
        return ""


class OwnKeyedStore:
    """A store of many logins needs one method, and no base class."""

    def at(self, key: str) -> OwnStore:
        return OwnStore()


keyed: list[KeyedStore] = [OwnKeyedStore(), trioauth.KeyedMemoryStore()]
keyed.append(trioauth.KeyedEncryptedStore(keyed[0], "key"))
keyed.append(trioauth.SQLiteStore(Path("logins.db")))
keyed.append(trioauth.RedisStore("redis://127.0.0.1:6379/0"))
one_of_many: TokenStore = keyed[0].at("user-17")


class Mine(httpx2.AsyncClient):
    """A subclass is given back as such."""


def observe(event: events.Event) -> None:
    match event:
        case events.LoggedOut(reason=reason):
            assert_type(reason, LogoutReason)
        case events.RefreshStarted(cause=cause):
            assert_type(cause, events.RefreshCause)
        case _:
            assert_type(event.time, float)


async def opening() -> None:
    opened = open_session(function_grant, base_url="https://api.example.com")
    anywhere: AbstractAsyncContextManager[Session] = opened
    assert_type(await anywhere.__aenter__(), Session)
    async with opened as session:
        assert_type(session, Session)
        assert_type(session.back_channel, trioauth.BackChannel)
    profile = trioauth.open_profile("notes", base_url="https://api.example.com", timeout=5)
    assert_type(await profile.__aenter__(), Session)
    open_session(other_names)
    open_session(ClassGrant())
    open_session(trioauth.RefreshTokenGrant("https://id.example.com/t", client_id="me"))
    open_session(
        trioauth.ClientCredentialsGrant(
            "https://id.example.com/t", client_id="me", client_secret="shh"
        )
    )
    open_session(trioauth.BearerRefreshGrant("https://id.example.com/t"))
    open_session(function_grant, store=trioauth.FileStore("tokens.json"))
    open_session(function_grant, store=trioauth.MemoryStore())
    open_session(function_grant, store=OwnStore())
    open_session(function_grant, store=ProbingStore())
    open_session(function_grant, store=None, tokens=None)
    store: TokenStore = OwnStore()
    open_session(
        function_grant,
        tokens=Tokens("access", "refresh", 60, scope="read write"),
        store=store,
        base_url="https://api.example.com",
        origins=["https://files.example.com"],
        policy=RefreshPolicy(early=30, keep_fresh=True, when_unavailable="log_out"),
        observers=[observe, print],
        is_rejected=lambda response: response.status_code == 403,
        headers={"X-A": "b"},
        timeout=5,
        http2=True,
        transport=httpx.AsyncHTTPTransport(),
        limits=httpx.Limits(max_connections=5),
    )


async def many_logins(tokens: Tokens, client: trioauth.OAuthClient) -> None:
    opened = open_sessions(
        function_grant,
        store=trioauth.KeyedMemoryStore(),
        base_url="https://api.example.com",
        origins=["https://files.example.com"],
        idle=60,
        max_asking=10,
        cookies=True,
        show_key=str.upper,
        policy=RefreshPolicy(keep_fresh=True),
        observers=[observe],
        is_rejected=lambda response: response.status_code == 403,
        timeout=5,
    )
    anywhere: AbstractAsyncContextManager[Sessions] = opened
    assert_type(await anywhere.__aenter__(), Sessions)
    async with opened as sessions:
        assert_type(sessions, Sessions)
        used: AbstractAsyncContextManager[Session] = sessions.use("user-17")
        assert_type(await used.__aenter__(), Session)
        await sessions.log_in("user-17", tokens)
        await sessions.log_in("user-17", client.device())
        await sessions.log_in("user-17")
        await sessions.log_out("user-17", revoke=False)
        assert_type(sessions.attach(httpx.AsyncClient()), httpx.AsyncClient)
        assert_type(sessions.attach(httpx2.AsyncClient()), httpx2.AsyncClient)
        assert_type(sessions.back_channel, trioauth.BackChannel)
        assert_type(sessions.statistics(), trioauth.SessionsStatistics)
        assert_type(sessions.statistics().in_memory, int)
    open_sessions(client, cookies={"region": "eu"})
    open_sessions(client, store=None, cookies=False)


async def stop_when_told_to() -> None:
    with trioauth.cancel_on_sigterm() as scope:
        assert_type(scope, trio.CancelScope)
    await trioauth.FileStore("tokens.json").probe()
    await trioauth.MemoryStore().probe()
    assert_type(await trioauth.KeyedMemoryStore().forget("user-17"), bool)
    assert_type(await trioauth.SQLiteStore("logins.db").forget("user-17", ended_for=60), bool)
    assert_type(await trioauth.RedisStore("redis://h").forget("user-17"), bool)
    many = trioauth.KeyedEncryptedStore(keyed[0], "key")
    assert_type(await many.forget("user-17"), bool)
    keyring = trioauth.KeyringStore("notes", username="me", lock_path="notes.lock", timeout=5)
    encrypted = trioauth.EncryptedStore(keyring, trioauth.EncryptedStore.new_key(), old_keys=[b""])
    open_session(function_grant, store=encrypted)
    await keyring.probe()
    assert_type(keyring.waits_for, str | None)
    assert_type(keyring.lock_path, Path)
    assert_type(encrypted.store, TokenStore)
    assert_type(trioauth.FileStore("tokens.json").waits_for, str | None)


async def requests(session: Session) -> None:
    assert_type(await session.get("/", params={"a": 1}, timeout=3), httpx.Response)
    assert_type(await session.post("/", json={}), httpx.Response)
    assert_type(await session.put("/", content=b""), httpx.Response)
    assert_type(await session.patch("/", data={"a": "b"}), httpx.Response)
    assert_type(await session.delete("/"), httpx.Response)
    assert_type(await session.head("/"), httpx.Response)
    assert_type(await session.options("/"), httpx.Response)
    assert_type(await session.request("GET", "/", auth=None), httpx.Response)
    request = session.build_request("GET", "/")
    assert_type(request, httpx.Request)
    assert_type(await session.send(request, stream=True), httpx.Response)
    async with session.stream("GET", "/") as response:
        assert_type(response, httpx.Response)


async def clients(session: Session) -> None:
    assert_type(session.http, httpx.AsyncClient)
    assert_type(session.attach(httpx.AsyncClient()), httpx.AsyncClient)
    assert_type(session.attach(httpx2.AsyncClient()), httpx2.AsyncClient)
    assert_type(session.attach(Mine()), Mine)
    async with session.attach(httpx2.AsyncClient()) as http:
        assert_type(await http.get("/"), httpx2.Response)


async def the_rest(session: Session) -> None:
    assert_type(await session.token(), str)
    assert_type(await session.token(valid_for=60), str)
    assert_type(session.token_nowait(), str)
    assert_type(session.state, LoggedIn | LoggedOut)
    assert_type(session.generation, int)
    assert_type(session.statistics(), Statistics)
    assert_type(session.explain(), str)
    assert_type(session.statistics().last_failure, str | None)
    assert_type(await session.wait_logged_out(), LoggedOut)
    assert_type(await session.wait_logged_in(), LoggedIn)
    assert_type(session.logged_in, bool)
    async with session.open_nursery() as nursery:
        assert_type(nursery, trio.Nursery)
    match session.state:
        case LoggedIn(generation, scope, identity):
            assert_type(identity, trioauth.Identity | None)
            assert_type(generation, int)
            assert_type(scope, frozenset[str])
        case LoggedOut(reason, cause):
            assert_type(reason, LogoutReason)
            assert_type(cause, Exception | None)


async def news(session: Session) -> None:
    await session.refresh()
    session.reject(session.generation)
    statistics = session.statistics()
    assert_type(statistics.state, LoggedIn | LoggedOut)
    assert_type(statistics.seconds_until_expiry, float | None)
    assert_type(statistics.saved, bool)


async def logging_in(session: Session) -> None:
    async def obtain(endpoint: TokenEndpoint) -> Tokens:
        return Tokens("access")

    await session.log_in(Tokens("access"))
    await session.log_in(obtain)
    await session.log_in()
    await session.log_out(revoke=False)


def responses(one: httpx.Response, other: httpx2.Response) -> None:
    assert_type(trioauth.challenge(one), trioauth.Challenge | None)
    assert_type(trioauth.challenge(other), trioauth.Challenge | None)
    assert_type(trioauth.challenges(other), tuple[trioauth.Challenge, ...])
    authentication: Authentication = one.extensions["trioauth"]
    assert_type(authentication.generation, int)
    assert_type(authentication.attempts, int)


def errors(
    base: trioauth.Error,
    logged_out: trioauth.LoggedOutError,
    unavailable: trioauth.RefreshUnavailableError,
    misconfigured: trioauth.GrantMisconfiguredError,
    store: trioauth.StoreConflictError,
) -> None:
    assert_type(logged_out.reason, LogoutReason)
    assert_type(unavailable.retry_at, float | None)
    assert_type(unavailable.retry_after, float | None)
    assert_type(unavailable.safe_to_repeat, bool)
    assert_type(misconfigured.error, str)
    assert_type(misconfigured.description, str | None)
    assert_type(store.path, str | None)
    assert_type(store.key, str | None)
    several: list[trioauth.Error] = [logged_out, unavailable, misconfigured, store]
    several += [trioauth.OriginError("no"), trioauth.TokenResponseError("what?"), base]
    refused: trioauth.GrantError = trioauth.GrantRefusedError("invalid_grant", "expired")
    damaged: trioauth.StoreError = store
    several += [refused, damaged]


def values(tokens: Tokens, record: Record, challenge: trioauth.Challenge) -> None:
    assert_type(tokens.access_token, str)
    assert_type(tokens.refresh_token, str | None)
    assert_type(tokens.expires_in, float | None)
    assert_type(tokens.scope, frozenset[str])
    assert_type(record.generation, int)
    assert_type(record.tokens, Tokens | None)
    assert_type(record.expires_at_unix, float | None)
    assert_type(Record.from_text(record.to_text()), Record)
    assert_type(challenge.scheme, str)
    assert_type(challenge.error, str | None)
    assert_type(challenge.scope, frozenset[str])
    assert_type(RefreshPolicy().early, float)
    assert_type(RefreshPolicy().keep_fresh, bool)
    version: str = trioauth.__version__
    assert_type(version.encode(), bytes)


async def asking(endpoint: TokenEndpoint, headers: Mapping[str, str]) -> None:
    request = TokenRequest("https://id.example.com/t", data={"a": "b"}, headers=headers)
    answer = await endpoint.send(request)
    assert_type(answer, Answer)
    assert_type(answer.is_success, bool)
    assert_type(answer.body, bytes)


def tokens_from_a_server(answer: dict[str, object]) -> None:
    assert_type(Tokens.from_response(answer), Tokens)


async def oauth_clients(
    tokens: Tokens, channel: trioauth.BackChannel, request: TokenRequest
) -> None:
    async def hsm(data: bytes) -> bytes:
        return data

    async def own(request: TokenRequest, client_id: str, audience: str) -> TokenRequest:
        return request

    async def assertion() -> str:
        return "..."

    proofs: list[trioauth.ClientAuthentication] = [
        trioauth.ClientSecretBasic("secret"),
        trioauth.ClientSecretPost("secret"),
        trioauth.ClientSecretJWT("secret", "HS512"),
        trioauth.PrivateKeyJWT(b"pem", kid="1"),
        trioauth.PrivateKeyJWT({"kty": "EC"}),
        trioauth.PrivateKeyJWT(sign=hsm, algorithm="ES256"),
        own,
    ]
    server = trioauth.AuthorizationServer(token_endpoint="https://id.example.com/t")
    client = trioauth.OAuthClient(
        "notes",
        issuer="https://id.example.com",
        server=server,
        auth=proofs[0],
        resource="https://api.example.com",  # ty: ignore[invalid-argument-type]  # a converter
        parameters={"audience": "notes"},
        ports=range(8000, 8003),  # ty: ignore[invalid-argument-type]  # a converter
    )
    several: list[Grant] = [
        client,
        client.credentials(),
        client.jwt_bearer(assertion),
        client.exchange("token", "id_token", audience=["a", "b"]),
    ]
    open_session(several[0], base_url="https://api.example.com")
    assert_type(client.resource, tuple[str, ...])
    assert_type(await client(tokens, channel), Tokens)
    assert_type(await client.server_of(channel), trioauth.AuthorizationServer)
    assert_type(await client.ask(channel, "https://id.example.com/par", {"a": ["b"]}), Answer)
    assert_type(await client.revoke(tokens, channel), bool)
    assert_type(await channel.fetch("https://id.example.com/jwks"), Answer)
    assert_type(await proofs[0](request, "notes", "https://id.example.com"), TokenRequest)


async def people(
    client: trioauth.OAuthClient, session: trioauth.Session, channel: trioauth.BackChannel
) -> None:
    async def chat(invitation: trioauth.Invitation, /) -> str | None:
        assert_type(invitation.url, str)
        assert_type(invitation.user_code, str | None)
        return None

    prompts: list[trioauth.Prompt] = [
        chat,
        trioauth.TerminalPrompt(open_browser=False),
        trioauth.NotebookPrompt(),
    ]
    await session.log_in(client.browser(prompt=prompts[0], parameters={"login_hint": "ann"}))
    await session.log_in(client.device(prompt=chat, program="Notes"))
    await session.log_in(client.interactive(way="paste", patience=60))
    begun = await client.begin(channel, redirect_uri="https://app.example.com/callback")
    assert_type(begun, trioauth.Begun)
    assert_type(begun.url, str)
    text: str = begun.to_text()
    await session.log_in(client.finish(trioauth.Begun.from_text(text), "/callback?code=x"))


async def resource_client(session: Session, tokens: Tokens, channel: trioauth.BackChannel) -> None:
    client = trioauth.OAuthClient.for_resource(
        "https://mcp.example.com/mcp",
        keep=Path("client.json"),
        name="Notes",
        challenge=trioauth.Challenge("Bearer"),
        issuer="https://id.example.com",
        scope="notes",
        ports=range(8000, 8003),
    )
    assert_type(client, trioauth.ResourceClient)
    open_session(client, base_url="https://mcp.example.com")
    await session.log_in(client.browser(paste=True))
    await session.log_in(client.device())
    await session.log_in(client.interactive(way="device"))
    begun = await client.begin(channel, redirect_uri="https://app.example.com/callback")
    assert_type(begun, trioauth.Begun)
    await session.log_in(client.finish(begun, "/callback?code=x"))
    assert_type(client.document(), dict[str, object])
    assert_type(await client(tokens, channel), Tokens)
    assert_type(await client.revoke(tokens, channel), bool)


def log_in_errors(error: trioauth.Error) -> None:
    if isinstance(error, trioauth.LoginDeclinedError | trioauth.LoginTimeoutError):
        known: trioauth.LoginError = error
        assert_type(known.code, str)
        assert_type(known.description, str | None)
    elif isinstance(error, trioauth.IdentityError):
        assert_type(error.claim, str | None)
    elif isinstance(error, trioauth.ProfileError):
        assert_type(error.path, str | None)
    elif isinstance(error, trioauth.MetadataError):
        misconfigured: trioauth.GrantMisconfiguredError = error
        assert_type(misconfigured.error, str)
        assert_type(error.member, str | None)
