"""What type checkers see of trioauth.testing. Never run: mypy and pyright read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_type

from trioauth import Answer, FileStore, MemoryStore, RefreshTokenGrant, Session, Tokens
from trioauth.testing import (
    AuthServer,
    Exploration,
    GrantAnswers,
    Victim,
    check_grant,
    check_store,
    every_checkpoint,
)

if TYPE_CHECKING:
    from trioauth import TokenEndpoint


async def grant(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
    return Tokens("access")


async def session_on_a_server() -> None:
    server = AuthServer()
    assert_type(server.grant(), RefreshTokenGrant)
    async with server.open_session() as session:
        assert_type(session, Session)
    async with server.open_session(grant, logged_in=False, store=MemoryStore()) as session:
        assert_type(await session.token(), str)


async def checks() -> None:
    assert_type(await check_store(lambda: FileStore("tokens.json")), None)
    assert_type(await check_store(MemoryStore, patience=1), None)
    answers = GrantAnswers(granted=lambda tokens: None, refused=[Answer(403)], misconfigured=())
    assert_type(answers.refused, tuple[Answer, ...])
    assert_type(await check_grant(grant, answers=answers, server=AuthServer()), None)
    await check_store(object)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await check_grant(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def scenario(victim: Victim) -> None:
    assert_type(await victim(grant, None, None), Tokens | None)


assert_type(every_checkpoint(scenario), Exploration)
