"""Mistakes in using the public API, all found before the program runs. Never run itself.

The comments of a line name the error that each type checker must report there: one that silences
nothing is an error of its own. Lines without one for ty hold what ty does not see yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trioauth
from trioauth import RefreshPolicy, Session, TokenEndpoint, Tokens, open_session, stores, testing

if TYPE_CHECKING:
    import httpx

    from trioauth import events


async def grant(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
    return Tokens("access")


async def careless_grant(tokens: Tokens | None, endpoint: TokenEndpoint) -> str:
    return "access"


def synchronous_grant(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
    return Tokens("access")


async def demanding_grant(tokens: Tokens, endpoint: TokenEndpoint) -> Tokens:
    return tokens


class ForgetfulStore:
    """A store that can't be locked."""

    async def load(self) -> trioauth.Record | None:
        return None

    async def save(self, record: trioauth.Record, *, expected: int) -> None:
        pass


def picky_observer(event: events.LoggedOut) -> None:
    pass


async def opening() -> None:
    open_session()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]  # ty: ignore[missing-argument]
    open_session(careless_grant)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # ty: ignore[invalid-argument-type]
    open_session(synchronous_grant)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # ty: ignore[invalid-argument-type]
    open_session(demanding_grant)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # ty: ignore[invalid-argument-type]
    open_session(grant, tiemout=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    open_session(grant, auth=("a", "b"))  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    open_session(grant, timeout="5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # ty: ignore[invalid-argument-type]
    open_session(grant, transport=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # ty: ignore[invalid-argument-type]
    open_session(grant, tokens="access")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # ty: ignore[invalid-argument-type]
    open_session(grant, store="tokens.json")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # ty: ignore[invalid-argument-type]
    open_session(grant, store=ForgetfulStore())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # ty: ignore[invalid-argument-type]
    open_session(grant, observers=[picky_observer])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]  # ty: ignore[invalid-argument-type]
    open_session(grant, policy={"early": 60})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # ty: ignore[invalid-argument-type]
    open_session(grant, "https://api.example.com")  # type: ignore[arg-type, call-arg]  # pyright: ignore[reportCallIssue]  # ty: ignore[too-many-positional-arguments]
    with open_session(grant):  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]  # ty: ignore[invalid-context-manager]
        pass
    await open_session(grant)  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]  # ty: ignore[invalid-await]


def values() -> None:
    RefreshPolicy(when_unavailable="panic")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # ty: ignore[invalid-argument-type]
    RefreshPolicy(30)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]  # ty: ignore[too-many-positional-arguments]
    Tokens()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]  # ty: ignore[missing-argument]
    Tokens("access", expires_in="60")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # ty: ignore[invalid-argument-type]
    Tokens("access").access_token = "other"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]  # ty: ignore[invalid-assignment]
    trioauth.RefreshTokenGrant("https://id.example.com/t", client_id=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # ty: ignore[invalid-argument-type]
    trioauth.FileStore()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]  # ty: ignore[missing-argument]
    trioauth.LoggedOutError("over", "bored")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # ty: ignore[invalid-argument-type]
    trioauth.RefreshTokenGrnat("https://id.example.com/t", client_id="me")  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]  # ty: ignore[missing-attribute]
    stores.FlieStore("tokens.json")  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]  # ty: ignore[missing-attribute]


async def requests(session: Session, request: httpx.Request) -> None:
    await session.get("/", jsno={})  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]  # ty: ignore[unknown-argument]
    await session.get()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]  # ty: ignore[missing-argument]
    await session.post("/", timeout="5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # ty: ignore[invalid-argument-type]
    await session.send("/")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # ty: ignore[invalid-argument-type]
    async with session.stream("/"):  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]  # ty: ignore[missing-argument]
        pass
    async with session.get("/"):  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]  # ty: ignore[invalid-context-manager]
        pass
    session.http = None  # type: ignore[assignment, misc]  # pyright: ignore[reportAttributeAccessIssue]  # ty: ignore[invalid-assignment]
    session.attach("client")  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]  # ty: ignore[invalid-argument-type]
    session.attach(request)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]  # ty: ignore[invalid-argument-type]


async def tokens(session: Session) -> None:
    await session.token("60")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # ty: ignore[invalid-argument-type]
    await session.log_in("access")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # ty: ignore[invalid-argument-type]
    await session.log_out(False)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]  # ty: ignore[too-many-positional-arguments]
    session.reject()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]  # ty: ignore[missing-argument]
    session.generation = 5  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]  # ty: ignore[invalid-assignment]


async def checks() -> None:
    await testing.check_store(object)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # ty: ignore[invalid-argument-type]
    await testing.check_grant(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # ty: ignore[invalid-argument-type]
    await testing.check_grant(synchronous_grant)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # ty: ignore[invalid-argument-type]
    testing.every_checkpoint(testing.AuthServer)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # ty: ignore[invalid-argument-type]
