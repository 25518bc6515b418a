"""Choosing the way to log in that fits where the program runs."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import trio

from trioauth import AuthorizationServer, Invitation, OAuthClient
from trioauth.oauth.logins import interactive
from trioauth.oauth.logins.interactive import choose
from trioauth.oauth.logins.opening import Surroundings

from .world import GOOD, ISSUER, TOKEN_URL, World

pytestmark = pytest.mark.usefixtures("autojump_clock")

BROWSER = Surroundings(commands=(("xdg-open",),))
CONTAINER = Surroundings(commands=(("xdg-open",),), container=True)
SSH = Surroundings(why_not="this is an SSH session", ssh=True)
SERVER = AuthorizationServer(
    issuer=ISSUER,
    token_endpoint=TOKEN_URL,
    authorization_endpoint=f"{ISSUER}/authorize",
    device_authorization_endpoint=f"{ISSUER}/device",
)
NO_DEVICE = attrs.evolve(SERVER, device_authorization_endpoint=None)
CODES = {"device_code": "dc", "user_code": "uc", "verification_uri": f"{ISSUER}/device"}


@pytest.mark.parametrize(
    ("surroundings", "has_device", "can_paste", "way"),
    [
        (BROWSER, True, True, "browser"),
        (BROWSER, False, False, "browser"),
        (CONTAINER, True, True, "device"),
        (CONTAINER, False, True, "paste"),
        (SSH, True, True, "device"),
        (SSH, True, False, "device"),
        (SSH, False, True, "paste"),
        (SSH, False, False, "browser"),
    ],
)
def test_the_way_is_chosen_by_what_is_there(
    surroundings: Surroundings, has_device: bool, can_paste: bool, way: str
) -> None:
    assert choose(surroundings, has_device=has_device, can_paste=can_paste) == way


async def kind_of(
    server: AuthorizationServer, surroundings: Surroundings | None = None, **options: Any
) -> str:
    """Log in, and return which way was chosen."""
    seen: list[Invitation] = []

    async def prompt(invitation: Invitation, /) -> str | None:
        seen.append(invitation)
        await trio.lowlevel.checkpoint()
        return None if invitation.kind == "device" else "a-code"

    client = OAuthClient("notes", server=server)
    login = client.interactive(prompt=prompt, program="Notes", **options)
    world = World({f"{ISSUER}/device": CODES, TOKEN_URL: GOOD})
    assert (await attrs.evolve(login, surroundings=surroundings)(world.open())).access_token
    [invitation] = seen
    assert invitation.client_id == "Notes"
    return invitation.kind


async def test_the_chosen_way_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await kind_of(SERVER, BROWSER) == "browser"
    assert await kind_of(SERVER, SSH) == "device"
    monkeypatch.setattr(interactive, "can_read", lambda _: True)
    assert await kind_of(NO_DEVICE, SSH) == "paste"
    monkeypatch.setattr(interactive, "can_read", lambda _: False)
    assert await kind_of(NO_DEVICE, SSH) == "browser"


async def test_the_program_may_know_better() -> None:
    for way in ("browser", "device", "paste"):
        assert await kind_of(SERVER, BROWSER, way=way) == way


async def test_without_being_told_it_looks_around(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interactive, "look_around", lambda: BROWSER)
    assert await kind_of(SERVER) == "browser"
