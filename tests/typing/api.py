"""What type checkers see of the public API. Never run: mypy and pyright read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_type

import httpx
import httpx2
import trio

import trioauth
from trioauth import (
    Authentication,
    LoggedIn,
    LoggedOut,
    LogoutReason,
    Record,
    RefreshPolicy,
    Session,
    Statistics,
    TokenEndpoint,
    Tokens,
    TokenStore,
    events,
    open_session,
)

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager


async def function_grant(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
    return Tokens("access", None if tokens is None else tokens.refresh_token)


async def other_names(old: Tokens | None, client: TokenEndpoint) -> Tokens:
    return Tokens("access")


class ClassGrant:
    unattended = True

    async def __call__(self, tokens: Tokens | None, endpoint: TokenEndpoint, /) -> Tokens:
        return Tokens("access")


async def careless_grant(tokens: Tokens | None, endpoint: TokenEndpoint) -> str:
    return "access"


def synchronous_grant(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
    return Tokens("access")


async def demanding_grant(tokens: Tokens, endpoint: TokenEndpoint) -> Tokens:
    return tokens


class OwnStore:
    """A store needs three methods, and no base class."""

    def lock(self) -> AbstractAsyncContextManager[None]:
        return trio.Lock()

    async def load(self) -> Record | None:
        return None

    async def save(self, record: Record, *, expected: int) -> None:
        pass


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
    async with opened as session:
        assert_type(session, Session)
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


def mistakes() -> None:
    open_session(careless_grant)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    open_session(synchronous_grant)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    open_session(demanding_grant)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    open_session(function_grant, tiemout=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    open_session(function_grant, auth=("a", "b"))  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    open_session(function_grant, timeout="5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    open_session(function_grant, tokens="access")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    open_session(function_grant, store="tokens.json")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    RefreshPolicy(when_unavailable="panic")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    RefreshPolicy(30)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Tokens("access").access_token = "other"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


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
    await session.get("/", jsno={})  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await session.get()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def clients(session: Session) -> None:
    assert_type(session.http, httpx.AsyncClient)
    assert_type(session.attach(httpx.AsyncClient()), httpx.AsyncClient)
    assert_type(session.attach(httpx2.AsyncClient()), httpx2.AsyncClient)
    assert_type(session.attach(Mine()), Mine)
    async with session.attach(httpx2.AsyncClient()) as http:
        assert_type(await http.get("/"), httpx2.Response)
    session.attach("client")  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]


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
    async with session.open_nursery() as nursery:
        assert_type(nursery, trio.Nursery)
    match session.state:
        case LoggedIn(generation, scope):
            assert_type(generation, int)
            assert_type(scope, frozenset[str])
        case LoggedOut(reason, cause):
            assert_type(reason, LogoutReason)
            assert_type(cause, Exception | None)


async def logging_in(session: Session) -> None:
    async def obtain(endpoint: TokenEndpoint) -> Tokens:
        return Tokens("access")

    await session.log_in(Tokens("access"))
    await session.log_in(obtain)
    await session.log_in()
    await session.log_out(revoke=False)
    await session.log_in("access")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await session.log_out(False)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def responses(one: httpx.Response, other: httpx2.Response) -> None:
    assert_type(trioauth.challenge(one), trioauth.Challenge | None)
    assert_type(trioauth.challenge(other), trioauth.Challenge | None)
    assert_type(trioauth.challenges(other), tuple[trioauth.Challenge, ...])
    authentication: Authentication = one.extensions["trioauth"]
    assert_type(authentication.generation, int)
    assert_type(authentication.attempts, int)


def errors(
    logged_out: trioauth.LoggedOutError,
    unavailable: trioauth.RefreshUnavailableError,
    refused: trioauth.GrantRefusedError,
    store: trioauth.StoreError,
) -> None:
    assert_type(logged_out.reason, LogoutReason)
    assert_type(unavailable.retry_at, float | None)
    assert_type(refused.error, str)
    assert_type(refused.description, str | None)
    assert_type(store.path, str | None)
    assert_type(store.key, str | None)


def tokens_from_a_server(answer: dict[str, object]) -> None:
    assert_type(Tokens.from_response(answer), Tokens)
