"""check_login: our own log-ins pass, and each way of breaking a log-in's promises is told apart."""

from __future__ import annotations

import json
import os
import socket
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio

from trioauth import (
    BackChannel,
    LoginDeclinedError,
    LoginError,
    OAuthClient,
    RefreshUnavailableError,
    TokenRequest,
    Tokens,
)
from trioauth.testing import AuthServer, check_login
from trioauth.testing._login_call import count_sockets

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.usefixtures("autojump_clock")

URL = "https://id.test/auth/login"
# Some log-ins below show it, so it is none that the tests look for (tests/canary.py).
PASSWORD = "correct horse"


class Server:
    """Takes a password, and has a second address that confirms; the person may say no."""

    def __init__(self) -> None:
        self.logins = 0
        self.declined = False

    def transport(self) -> httpx.AsyncBaseTransport:
        return httpx.MockTransport(self._answer)

    def decline(self) -> None:
        self.declined = True

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/auth/confirm":
            return httpx.Response(200, json={"confirmed": True})
        assert json.loads(request.content) == {"password": PASSWORD}
        if self.declined:
            return httpx.Response(403, json={"error": "no"})
        self.logins += 1
        tokens = {"access_token": f"access-of-{self.logins}", "refresh_token": "refresh-1"}
        return httpx.Response(200, json=tokens)


async def good(channel: BackChannel) -> Tokens:
    """A log-in that keeps its promises. What follows breaks one of them each."""
    tokens = await ask(channel)
    await confirm(channel)
    return tokens


async def ask(channel: BackChannel) -> Tokens:
    answer = await channel.send(TokenRequest(URL, json={"password": PASSWORD}))
    if answer.status == 403:
        raise LoginDeclinedError("no")
    body: Any = None
    try:
        body = json.loads(answer.body)
    except ValueError:
        pass
    if not answer.is_success or not body:
        raise RefreshUnavailableError(f"status {answer.status}")
    return Tokens.from_response(body)


async def confirm(channel: BackChannel) -> None:
    await channel.send(TokenRequest("https://id.test/auth/confirm", json={}))


# --- those that pass --------------------------------------------------------------------------


async def test_a_log_in_that_keeps_its_promises_passes() -> None:
    server = Server()
    await check_login(good, server.transport(), declines=server.decline, secrets=[PASSWORD])
    assert server.logins > 10


async def test_what_comes_after_the_tokens_may_fail() -> None:
    async def ours(channel: BackChannel) -> Tokens:
        tokens = await ask(channel)
        try:
            await confirm(channel)
        except RefreshUnavailableError:
            pass
        return tokens

    await check_login(ours, Server().transport())


@pytest.mark.parametrize("way", ["browser", "device"])
async def test_the_log_ins_of_a_client_pass(way: str) -> None:
    server = AuthServer(scope="notes")
    server.approve("ann")
    client = OAuthClient(server.client_id, issuer=server.issuer, scope="notes")
    ours = getattr(client, way)(prompt=server.person())
    await check_login(ours, server.transport(), declines=server.deny)
    server.check()


# --- broken -----------------------------------------------------------------------------------


def is_synchronous(channel: BackChannel) -> Tokens:
    return Tokens("access")


async def returns_the_answer(channel: BackChannel) -> Any:
    await ask(channel)
    return {"access_token": "access"}


async def asks_elsewhere(channel: BackChannel) -> Tokens:
    await trio.lowlevel.checkpoint()
    return Tokens("access")


async def waits_for_ever(channel: BackChannel) -> Tokens:
    await trio.sleep_forever()
    raise AssertionError


async def is_not_let_in(channel: BackChannel) -> Tokens:
    await trio.lowlevel.checkpoint()
    raise LoginError("not_today")


class Remembers:
    tokens: Tokens | None = None

    async def __call__(self, channel: BackChannel) -> Tokens:
        found = await ask(channel)
        self.tokens = self.tokens or found
        return self.tokens


async def shows_a_traceback_of_json(channel: BackChannel) -> Tokens:
    answer = await channel.send(TokenRequest(URL, json={"password": PASSWORD}))
    return Tokens.from_response(json.loads(answer.body))


async def makes_up_tokens(channel: BackChannel) -> Tokens:
    try:
        return await ask(channel)
    except RefreshUnavailableError:
        return Tokens("access")


async def tries_for_ever(channel: BackChannel) -> Tokens:
    while True:
        try:
            return await ask(channel)
        except RefreshUnavailableError:
            await trio.sleep(5)


async def shows_what_it_sent(channel: BackChannel) -> Tokens:
    try:
        return await ask(channel)
    except RefreshUnavailableError:
        raise LoginError("failed", f"with {PASSWORD}") from None


async def shows_what_came(channel: BackChannel) -> Tokens:
    tokens = await ask(channel)
    try:
        await confirm(channel)
    except RefreshUnavailableError:
        raise LoginError("failed", f"after {tokens.access_token}") from None
    return tokens


async def swallows_cancellation(channel: BackChannel) -> Tokens:
    try:
        return await good(channel)
    except trio.Cancelled:
        return Tokens("access")


async def makes_an_error_of_cancellation(channel: BackChannel) -> Tokens:
    try:
        return await good(channel)
    except trio.Cancelled:
        raise LoginError("cancelled") from None


async def sleeps_and_makes_an_error_of_cancellation(channel: BackChannel) -> Tokens:
    tokens = await good(channel)
    try:
        await trio.sleep(1)
    except trio.Cancelled:
        raise LoginError("cancelled") from None
    return tokens


async def stays(channel: BackChannel) -> Tokens:
    with trio.CancelScope(shield=True):
        tokens = await good(channel)
    return tokens  # noqa: RET504  # to mypy a scope may swallow


class IsBusy:
    """Says no after one that was cancelled."""

    busy = False

    async def __call__(self, channel: BackChannel) -> Tokens:
        if self.busy:
            raise LoginError("busy")
        tokens = await good(channel)
        self.busy = True
        await trio.sleep(1)
        self.busy = False
        return tokens


async def leaves_a_task(channel: BackChannel) -> Tokens:
    tokens = await good(channel)
    trio.lowlevel.spawn_system_task(trio.sleep, 1e9)
    return tokens


class LeavesAPort:
    def __init__(self) -> None:
        self.ports: list[socket.socket] = []

    async def __call__(self, channel: BackChannel) -> Tokens:
        port = socket.create_server(("127.0.0.1", 0))
        self.ports.append(port)
        tokens = await good(channel)
        port.close()
        return tokens


async def calls_it_an_accident(channel: BackChannel) -> Tokens:
    try:
        return await good(channel)
    except LoginDeclinedError:
        raise RefreshUnavailableError("try later") from None


BROKEN: list[tuple[Any, str]] = [
    (is_synchronous, "must be async"),
    (returns_the_answer, "must return trioauth.Tokens, and returned a dict"),
    (asks_elsewhere, "must ask by the channel it is given"),
    (waits_for_ever, "must come to an end when all goes well"),
    (is_not_let_in, "of a person who says yes, and raised LoginError"),
    (Remembers, "must get new tokens each time"),
    (shows_a_traceback_of_json, r"raise a trioauth.Error when its server answers 503 .*JSONDecode"),
    (makes_up_tokens, "must not return tokens when its server can't be reached"),
    (tries_for_ever, r"come to an end when its server can't be reached \(from request 1 on\)"),
    (shows_what_it_sent, "show no secret, and its LoginError does when its server can't be"),
    (shows_what_came, "show no secret, and its LoginError does when its server can't be"),
    (swallows_cancellation, "let trio.Cancelled pass, and returned Tokens when it is cancelled"),
    (makes_an_error_of_cancellation, "let trio.Cancelled pass, and raised LoginError"),
    (sleeps_and_makes_an_error_of_cancellation, "must end with trio.Cancelled .* raised LoginErr"),
    (stays, "must leave at once when it is cancelled"),
    (IsBusy, "must work after one that was cancelled"),
    (leaves_a_task, "must leave no task running, and did when all goes well"),
    (calls_it_an_accident, "must raise LoginError when the person says no, and raised Refresh"),
]


@pytest.mark.parametrize(("broken", "says"), BROKEN, ids=lambda each: getattr(each, "__name__", ""))
async def test_a_broken_log_in_is_told_how(broken: Any, says: str) -> None:
    server = Server()
    ours = broken() if isinstance(broken, type) else broken
    with pytest.raises(AssertionError, match=says):
        await check_login(ours, server.transport(), declines=server.decline, secrets=[PASSWORD])


@pytest.fixture
def leaky() -> Iterator[LeavesAPort]:
    ours = LeavesAPort()
    yield ours
    for port in ours.ports:
        port.close()


@pytest.mark.skipif(os.name == "nt", reason="sockets are not counted there")
async def test_a_log_in_that_leaves_a_port_open_is_told_so(leaky: LeavesAPort) -> None:
    with pytest.raises(AssertionError, match="leave no port and no connection open, and did when"):
        await check_login(leaky, Server().transport())


async def test_a_secret_by_another_name_is_told_to_the_check() -> None:
    async def ours(channel: BackChannel) -> Tokens:
        answer = await channel.send(
            TokenRequest("https://id.test/auth/confirm", json={"pin": 4711})
        )
        if answer.status != 200 or b"confirmed" not in answer.body:
            raise LoginError("failed", "with 4711")
        return await ask(channel)

    # The check can't know that this one matters.
    await check_login(ours, Server().transport())
    with pytest.raises(AssertionError, match="show no secret"):
        await check_login(ours, Server().transport(), secrets=["4711"])


def test_where_sockets_can_not_be_counted_none_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def listdir(_: str) -> list[str]:
        raise FileNotFoundError

    monkeypatch.setattr(os, "listdir", listdir)
    assert count_sockets() == 0
