"""A grant and a store of one's own: docs/howto/own-server.md."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio

import trioauth

from . import load

if TYPE_CHECKING:
    from trio.testing import MockClock

API = "https://api.example.com"


class Server:
    """A server that renews sessions in a way of its own."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.renewals: list[object] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/session/renew":
            self.renewals.append(json.loads(request.content))
            number = len(self.renewals)
            return httpx.Response(
                self.status,
                json={"key": f"key-{number}", "session": f"session-{number}", "minutes": 10},
            )
        expected = f"Bearer key-{len(self.renewals)}"
        return httpx.Response(200 if request.headers["Authorization"] == expected else 401)

    def open(self) -> Any:
        return trioauth.open_session(
            load("own_grant").renew,
            tokens=trioauth.Tokens("key-old", "session-0"),
            base_url=API,
            transport=httpx.MockTransport(self),
        )


async def test_the_grant_renews_with_what_the_answer_before_brought() -> None:
    server = Server()
    async with server.open() as session:
        assert (await session.get("/me")).status_code == 200
        await session.refresh()
        assert (await session.get("/me")).status_code == 200
        seconds = session.statistics().seconds_until_expiry
        assert 599 < seconds <= 600
    assert server.renewals == [{"session": "session-0"}, {"session": "session-1"}]


@pytest.mark.parametrize("status", [401, 403, 410])
async def test_where_the_grant_says_no_the_login_is_over(status: int) -> None:
    async with Server(status).open() as session:
        with pytest.raises(trioauth.LoggedOutError, match="refused"):
            await session.get("/me")


@pytest.mark.parametrize("status", [404, 429, 500, 503])
async def test_any_other_answer_ends_no_login(status: int, autojump_clock: MockClock) -> None:
    async with Server(status).open() as session:
        with pytest.raises(trioauth.RefreshUnavailableError):
            await session.get("/me")
        assert isinstance(session.state, trioauth.LoggedIn)


async def test_without_a_refresh_token_the_grant_refuses() -> None:
    renew = load("own_grant").renew
    for tokens in (None, trioauth.Tokens("key")):
        with pytest.raises(trioauth.GrantRefusedError, match="log in again"):
            await renew(tokens, None)


# --- the store ------------------------------------------------------------------------------------


class Place:
    """Somewhere to keep a text."""

    text: str | None = None

    async def read(self) -> str | None:
        await trio.lowlevel.checkpoint()
        return self.text

    async def write(self, text: str) -> None:
        await trio.lowlevel.checkpoint()
        self.text = text

    def store(self) -> Any:
        return load("text_store").TextStore(self.read, self.write)


RECORD = trioauth.Record(1, trioauth.Tokens("access", "refresh"), login="one")


async def test_the_store_keeps_a_login_from_one_session_to_the_next() -> None:
    server, place = Server(), Place()
    options: Any = {"base_url": API, "transport": httpx.MockTransport(server)}
    renew = load("own_grant").renew
    async with trioauth.open_session(renew, store=place.store(), **options) as session:
        await session.log_in(trioauth.Tokens("key-old", "session-0"))
        assert (await session.get("/me")).status_code == 200
    async with trioauth.open_session(renew, store=place.store(), **options) as session:
        assert session.generation == 2
        assert (await session.get("/me")).status_code == 200
    assert len(server.renewals) == 1


async def test_a_loser_does_not_overwrite_a_winner() -> None:
    place = Place()
    store = place.store()
    async with store.lock():
        assert await store.load() is None
        await store.save(RECORD, expected=0)
        with pytest.raises(trioauth.StoreConflictError, match="generation 1 is stored, not 0"):
            await store.save(trioauth.Record(2), expected=0)
        assert await store.load() == RECORD


async def test_what_is_no_record_is_an_error_with_a_remedy_and_without_its_text() -> None:
    place = Place()
    place.text = "something of somebody"
    with pytest.raises(trioauth.StoreError, match="remove it and log in again") as caught:
        await place.store().load()
    assert "somebody" not in str(caught.value)
    assert caught.value.__context__ is None
