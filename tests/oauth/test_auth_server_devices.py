"""AuthServer and devices (RFC 8628): the codes, the polls, and who polls too early."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from trioauth.testing import AuthServer, Persona

from .program import Program, open_program

pytestmark = pytest.mark.usefixtures("autojump_clock")


async def start(program: Program, **more: str) -> dict[str, Any]:
    form = {"client_id": program.server.client_id, "scope": "notes", **more}
    response = await program.http.post(program.server.endpoint("device"), data=form)
    answer: dict[str, Any] = response.json()
    return answer


async def poll_after(program: Program, seconds: float, device: dict[str, Any]) -> dict[str, Any]:
    await trio.sleep(seconds)
    response = await program.poll(device["device_code"])
    answer: dict[str, Any] = {"status": response.status_code, **response.json()}
    return answer


async def test_a_device_polls_until_the_person_has_decided() -> None:
    server = AuthServer()
    program = open_program(server)
    device = await start(program)
    assert device["interval"] == 5
    assert device["expires_in"] == 600
    assert device["verification_uri_complete"].endswith(device["user_code"])
    pending = await poll_after(program, 5, device)
    assert (pending["status"], pending["error"]) == (400, "authorization_pending")
    server.approve()
    granted = await poll_after(program, 5, device)
    assert granted["status"] == 200
    assert granted["scope"] == "notes"
    assert "refresh_token" in granted
    server.check()
    again = await poll_after(program, 5, device)
    assert again["error"] == "invalid_grant"
    assert server.complaints == ["token: device_code is unknown, another client's, or was answered"]


async def test_a_person_may_say_no_to_a_device() -> None:
    server = AuthServer()
    server.deny()
    program = open_program(server)
    assert (await poll_after(program, 5, await start(program)))["error"] == "access_denied"
    server.check()


async def test_a_device_that_polls_too_early_is_slowed_down_for_good() -> None:
    server = AuthServer()
    program = open_program(server)
    device = await start(program)
    assert (await poll_after(program, 4.9, device))["error"] == "slow_down"
    assert (await poll_after(program, 9.9, device))["error"] == "slow_down"
    assert (await poll_after(program, 15, device))["error"] == "authorization_pending"
    assert server.complaints == ["token: the device polls too early"] * 2
    server.approve()
    assert (await poll_after(program, 1, device))["status"] == 200


async def test_a_device_without_an_interval_waits_five_seconds() -> None:
    server = AuthServer(persona=Persona(interval=None))
    program = open_program(server)
    device = await start(program)
    assert "interval" not in device
    assert (await poll_after(program, 4.9, device))["error"] == "slow_down"


async def test_the_codes_of_a_device_expire() -> None:
    server = AuthServer(persona=Persona(device_lifetime=60))
    server.approve()
    program = open_program(server)
    device = await start(program)
    assert (await poll_after(program, 60, device))["error"] == "expired_token"
    server.check()
    assert (await poll_after(program, 60, device))["error"] == "invalid_grant"


async def test_a_device_is_refused_what_any_client_is() -> None:
    server = AuthServer(scope="notes")
    program = open_program(server)
    assert (await start(program, client_id="another"))["error"] == "invalid_client"
    assert (await start(program, scope="admin"))["error"] == "invalid_scope"
    url = server.endpoint("device")
    assert (await program.http.post(url, json={})).json()["error"] == "invalid_request"
    assert (await program.get(url)).status_code == 405
    unknown = await program.poll("unknown")
    assert unknown.json()["error"] == "invalid_grant"


async def test_the_device_code_of_another_client_is_unknown() -> None:
    server = AuthServer()
    server.approve()
    server.publish_client({"client_id": "https://app.example/client", "redirect_uris": []})
    program = open_program(server)
    device = await start(program)
    await trio.sleep(5)
    theirs = await program.poll(device["device_code"], client_id="https://app.example/client")
    assert theirs.json()["error"] == "invalid_grant"


async def test_the_page_for_the_code_tells_an_unknown_one_apart() -> None:
    server = AuthServer()
    program = open_program(server)
    device = await start(program)
    url = device["verification_uri"]
    assert "Enter the code" in (await program.get(url)).text
    assert (await program.get(device["verification_uri_complete"])).status_code == 200
    server.check()
    assert (await program.get(f"{url}?user_code=AAAA-AAAA")).status_code == 404
    assert server.complaints == ["verify: user_code is unknown"]


class Shown:
    """An invitation to log in with a device."""

    kind = "device"

    def __init__(self, url: str, user_code: str | None) -> None:
        self.url, self.user_code = url, user_code


async def test_a_person_enters_the_code_of_a_device() -> None:
    server = AuthServer()
    device = await start(open_program(server))
    person = server.person()
    for url in (device["verification_uri"], device["verification_uri_complete"]):
        assert await person(Shown(url, device["user_code"])) is None
    assert person.page is not None
    assert "Let the device in" in person.page
    server.check()
    assert await person(Shown(device["verification_uri"], None)) is None
    assert "Enter the code" in person.page
    server.check()


async def test_what_a_device_is_told_can_be_a_lie() -> None:
    server = AuthServer()
    server.lie(device={"interval": "7", "expires_in": None})
    device = await start(open_program(server))
    assert device["interval"] == "7"
    assert "expires_in" not in device


@pytest.mark.parametrize("endpoint", ["device", "par", "register", "token"])
async def test_an_order_holds_for_the_endpoint_it_is_for(endpoint: Any) -> None:
    server = AuthServer()
    server.fail(503, at=endpoint)
    program = open_program(server)
    others = {"device", "par", "register", "token"} - {endpoint}
    for other in sorted(others):
        response = await program.http.post(server.endpoint(other))  # type: ignore[arg-type]
        assert response.status_code != 503
    assert (await program.http.post(server.endpoint(endpoint))).status_code == 503
    assert (await program.http.post(server.endpoint(endpoint))).status_code != 503
