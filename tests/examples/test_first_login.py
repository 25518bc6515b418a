"""A first login by the device flow: docs/howto/first-login.md."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import httpx
import pytest
import trio

import trioauth

from . import load

if TYPE_CHECKING:
    from pathlib import Path

    from trio.testing import MockClock

DEVICE = {
    "device_code": "device-1",
    "user_code": "WDJB-MJHT",
    "verification_uri": "https://id.example.com/device",
    "expires_in": 600,
    "interval": 2,
}
TOKENS = {"access_token": "at-1", "refresh_token": "rt-1", "token_type": "bearer"}


class Server:
    """Gives a code, and answers as it is told when it is asked what became of it."""

    def __init__(self, *answers: str, device: dict[str, Any] = DEVICE) -> None:
        self.answers = list(answers)
        self.device = device
        self.asked: list[tuple[float, dict[str, str]]] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/me":
            return httpx.Response(200 if request.headers["Authorization"] == "Bearer at-1" else 401)
        form = dict(parse_qsl(request.content.decode()))
        if not self.device:
            return httpx.Response(404, text="<html>Not Found</html>")
        if request.url.path == "/device":
            assert form == {"client_id": "notes", "scope": "notes offline_access"}
            return httpx.Response(400 if "error" in self.device else 200, json=self.device)
        self.asked.append((trio.current_time(), form))
        error = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if error == "lost":
            raise httpx.ReadError("the connection broke")
        if error.isdigit():
            return httpx.Response(int(error), text="<html>not JSON</html>")
        if error:
            return httpx.Response(400, json={"error": error})
        return httpx.Response(200, json=TOKENS)

    def open(self) -> Any:
        example = load("device_login")
        return trioauth.open_session(
            trioauth.RefreshTokenGrant(example.TOKEN_URL, client_id=example.CLIENT_ID),
            base_url="https://api.example.com",
            transport=httpx.MockTransport(self),
        )


async def test_the_program_shows_the_code_and_asks_until_a_person_has_typed_it(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    server = Server("authorization_pending", "slow_down", "authorization_pending", "")
    async with server.open() as session:
        await session.log_in(load("device_login").human)
        assert await session.token() == "at-1"
    assert capsys.readouterr().out == "Go to https://id.example.com/device and type WDJB-MJHT\n"
    assert [time for time, _ in server.asked] == [2, 4, 11, 18]
    assert server.asked[0][1] == {
        "client_id": "notes",
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "device_code": "device-1",
    }


async def test_who_says_no_and_who_does_not_come_leave_the_session_as_it_was(
    autojump_clock: MockClock,
) -> None:
    for answer, error in (
        ("access_denied", trioauth.GrantRefusedError),
        ("authorization_pending", trio.TooSlowError),
    ):
        async with Server(answer).open() as session:
            with pytest.raises(error):
                await session.log_in(load("device_login").human)
            assert session.state == trioauth.LoggedOut("never_logged_in")


async def test_a_client_that_the_server_does_not_know_is_told(autojump_clock: MockClock) -> None:
    async with Server("", device={"error": "invalid_client"}).open() as session:
        with pytest.raises(trioauth.GrantMisconfiguredError, match="invalid_client"):
            await session.log_in(load("device_login").human)


async def test_a_poll_that_is_lost_does_not_end_the_login(autojump_clock: MockClock) -> None:
    server = Server("lost", "503", "429", "authorization_pending", "")
    async with server.open() as session:
        await session.log_in(load("device_login").human)
        assert await session.token() == "at-1"
    # Each time half as often (RFC 8628 3.5).
    assert [time for time, _ in server.asked] == [2, 6, 14, 30, 46]


async def test_a_wrong_url_is_told_and_nobody_has_to_read_a_traceback_of_json(
    autojump_clock: MockClock,
) -> None:
    for server, url in (
        (Server("", device={}), "https://id.example.com/device"),
        (Server("404"), "https://id.example.com/oauth/token"),
    ):
        async with server.open() as session:
            with pytest.raises(trioauth.TokenResponseError) as caught:
                await session.log_in(load("device_login").human)
            assert str(caught.value) == (
                f"{url} answered with status 404, and not in JSON: is the URL right?"
            )
            assert not session.logged_in


async def test_a_url_that_answers_with_other_json_is_told(autojump_clock: MockClock) -> None:
    async with Server("", device={"message": "no such thing"}).open() as session:
        with pytest.raises(
            trioauth.TokenResponseError,
            match=r"sent no device_code, expires_in, user_code, verification_uri$",
        ):
            await session.log_in(load("device_login").human)


async def test_the_program_asks_for_a_login_in_its_first_run_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server = Server("", device={**DEVICE, "interval": 0})
    transport = httpx.MockTransport(server)
    opens = partial(trioauth.open_session, transport=transport)
    monkeypatch.setattr(trioauth, "open_session", opens)
    monkeypatch.chdir(tmp_path)
    await load("device_login").main()
    await load("device_login").main()
    assert capsys.readouterr().out.splitlines()[1:] == ["200", "200"]
    assert len(server.asked) == 1
