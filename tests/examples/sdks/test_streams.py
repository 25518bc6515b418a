"""WebSockets and server-sent events: docs/howto/sdks.md."""

from __future__ import annotations

import gc
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route, WebSocketRoute

import trioauth
from tests.examples import load
from trioauth.testing import AuthServer

from .loopback import Gate, log_in, serve

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from starlette.requests import Request
    from starlette.websockets import WebSocket

NOTES = ["milk", "eggs", "bread"]
LISTENERS = pytest.mark.parametrize(
    "program",
    [
        # trio-websocket 0.12 leaves the socket of a connection that the server closes or refuses
        # to the garbage collector.
        pytest.param(
            "trio_websocket_listener",
            marks=pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
        ),
        "httpx2_websocket",
    ],
)


def sockets(auth: AuthServer, *, patience: int, notes: int = 1) -> Starlette:
    """Send so many notes to each WebSocket; then all tokens expire, and it is closed with 4401.

    After the last note with 1000. After so many WebSockets, no token is good enough any more.
    """
    opened = 0

    async def send_note(socket: WebSocket) -> None:
        nonlocal opened
        opened += 1
        await socket.accept()
        if opened > patience:
            await socket.close(4401)
            return
        for note in NOTES[(opened - 1) * notes : opened * notes]:
            await socket.send_text(note)
        if opened * notes >= len(NOTES):
            await socket.close(1000)
        else:
            auth.expire()
            await socket.close(4401)

    return Starlette(routes=[WebSocketRoute("/notes", send_note)])


@asynccontextmanager
async def logged_in(auth: AuthServer, app: Starlette) -> AsyncGenerator[str, None]:
    async with auth.serve(), serve(Gate(app, auth)) as url:
        await log_in(auth, url)
        yield url


@pytest.fixture(autouse=True)
def _collect_in_time() -> Iterator[None]:
    """Let the garbage collector warn while this very test's filter of warnings is in force."""
    yield
    gc.collect()


@LISTENERS
async def test_a_web_socket_closed_with_4401_is_opened_again_with_a_new_token(
    program: str, capsys: pytest.CaptureFixture[str]
) -> None:
    auth = AuthServer()
    async with logged_in(auth, sockets(auth, patience=3)) as url:
        await load(program).main(auth.token_url, url)
    assert capsys.readouterr().out.splitlines() == NOTES
    assert auth.ledger.refreshes == 2  # one for each 4401
    assert auth.ledger.reused == 0
    assert auth.ledger.unauthorized == 0  # the old token was not tried again
    assert auth.ledger.requests == {1: 1, 2: 1, 3: 1}


@LISTENERS
async def test_a_web_socket_whose_handshake_meets_a_401_is_opened_with_a_new_token(
    program: str, capsys: pytest.CaptureFixture[str]
) -> None:
    auth = AuthServer()
    async with logged_in(auth, sockets(auth, patience=3, notes=2)) as url:
        auth.expire()
        await load(program).main(auth.token_url, url)
    assert capsys.readouterr().out.splitlines() == NOTES
    assert auth.ledger.refreshes == 2  # for the 401, and for the 4401
    assert auth.ledger.unauthorized == 1


@LISTENERS
async def test_a_server_that_closes_each_web_socket_with_4401_is_left_alone_in_the_end(
    program: str,
) -> None:
    auth = AuthServer()
    async with logged_in(auth, sockets(auth, patience=1)) as url:
        with pytest.raises(ConnectionError, match="refuses each new token"):
            await load(program).main(auth.token_url, url)
    assert auth.ledger.refreshes == 2


async def test_a_web_socket_url_of_httpx2_may_begin_with_ws() -> None:
    auth = AuthServer()
    async with logged_in(auth, sockets(auth, patience=3)) as url:
        grant = trioauth.RefreshTokenGrant(auth.token_url, client_id="client")
        async with (
            trioauth.open_session(grant, tokens=auth.log_in(), base_url=url) as session,
            session.attach(httpx2.AsyncClient()) as http,
            http.websocket(url.replace("http", "ws") + "/notes") as socket,
        ):
            assert await socket.receive_text() == "milk"


async def test_events_go_on_where_the_stream_of_an_expired_token_ended(
    capsys: pytest.CaptureFixture[str],
) -> None:
    auth = AuthServer()
    asked_for: list[int] = []

    async def events(request: Request) -> StreamingResponse:
        first = int(request.headers.get("Last-Event-ID", "-1")) + 1
        asked_for.append(first)

        async def body() -> AsyncGenerator[str, None]:
            yield f"id: {first}\ndata: {NOTES[first]}\n\n"
            if len(asked_for) == len(NOTES):
                yield "event: end\ndata: that was all\n\n"
            elif len(asked_for) == 1:
                auth.expire()

        return StreamingResponse(body(), media_type="text/event-stream")

    async with logged_in(auth, Starlette(routes=[Route("/notes", events)])) as url:
        await load("httpx2_events").main(auth.token_url, url)
    assert capsys.readouterr().out.splitlines() == [*NOTES, "that was all"]
    assert auth.ledger.refreshes == 1
    assert auth.ledger.reused == 0
    assert auth.ledger.requests == {1: 1, 2: 2}
    assert asked_for == [0, 1, 2]
