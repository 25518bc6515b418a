"""Log-ins on devices without a browser (RFC 8628). Takes ``now``."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, final
from urllib.parse import urlencode

import attrs

from ._authenticating import authenticate
from ._codes import grant
from ._forms import read_form, read_query
from ._human import Approval
from ._messages import Answer, whole
from ._site import new_secret

if TYPE_CHECKING:
    from ._book import Granted
    from ._clients import Client
    from ._messages import Request
    from ._site import Site

# RFC 8628 3.2, 3.5.
_DEFAULT_INTERVAL = 5
_SLOWER_BY = 5
# RFC 8628 6.1: without vowels there are no words, and no two look alike.
_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"


@final
@attrs.define(eq=False)
class Device:
    """A device whose person is to enter a code elsewhere."""

    client: Client
    parameters: dict[str, str] = attrs.field(repr=False)
    since: float
    interval: float
    polled_at: float
    over: bool = False
    """It has got its tokens, or a refusal."""


@final
@attrs.define(eq=False)
class Devices:
    """Every device, by its device code."""

    site: Site
    _devices: dict[str, Device] = attrs.field(factory=dict[str, Device], init=False, repr=False)
    _user_codes: set[str] = attrs.field(factory=set[str], init=False, repr=False)

    def start(self, request: Request, now: float) -> Answer:
        """Give a device its codes (RFC 8628 3.1)."""
        site, form, persona = self.site, read_form(request), self.site.persona
        if form is None:
            return site.refuse(request, "invalid_request", "not a form, or a parameter twice")
        client = authenticate(site, request, form, "device", ":device_code")
        if isinstance(client, Answer):
            return client
        if not site.may_have(form.get("scope", "")):
            return site.refuse(request, "invalid_scope", "more than this server has")
        letters = "".join(secrets.choice(_LETTERS) for _ in range(8))
        user_code, device_code = f"{letters[:4]}-{letters[4:]}", new_secret("dc")
        interval = _DEFAULT_INTERVAL if persona.interval is None else persona.interval
        self._devices[device_code] = Device(client, form, now, interval, now)
        self._user_codes.add(user_code)
        verify = site.places.url("verify") or ""
        body: dict[str, object] = {
            "device_code": device_code,
            "user_code": user_code,
            "verification_uri": verify,
            "expires_in": persona.device_lifetime,
        }
        if persona.interval is not None:
            body["interval"] = persona.interval
        if persona.complete_uri:
            body["verification_uri_complete"] = f"{verify}?{urlencode({'user_code': user_code})}"
        named = {persona.device_names.get(name, name): value for name, value in body.items()}
        return site.say(request, 200, site.lies.about("device", named))

    def enter(self, request: Request) -> Answer:
        """Show the page where a person enters the code."""
        user_code = (read_query(request) or {}).get("user_code")
        if user_code is None:
            return _page(200, "Enter the code that your device shows.")
        if user_code not in self._user_codes:
            self.site.complain("verify: user_code is unknown")
            return _page(404, "No device has this code.")
        return _page(200, "Let the device in, or not: approve() or deny() in your test.")

    def poll(
        self, request: Request, client: Client, form: dict[str, str], now: float
    ) -> Granted | Answer:
        """Say what the person has decided (RFC 8628 3.5)."""
        site, device = self.site, self._devices.get(form.get("device_code", ""))
        if device is None or device.client.client_id != client.client_id or device.over:
            site.complain("token: device_code is unknown, another client's, or was answered")
            return self._refuse(request, "invalid_grant", "device_code is unknown or used")
        if now >= device.since + site.persona.device_lifetime:
            device.over = True
            return self._refuse(request, "expired_token", "the codes have expired")
        early = now < device.polled_at + device.interval
        device.polled_at = now
        decision = site.human.decision
        if early and (decision is None or site.persona.punishes_after_approval):
            return self._slow_down(request, device)
        if decision is None:
            return self._refuse(request, "authorization_pending", "the person has not decided")
        device.over = True
        if not isinstance(decision, Approval):
            return self._refuse(request, "access_denied", "the person said no")
        return grant(site, device.client, device.parameters, decision, now)

    def _slow_down(self, request: Request, device: Device) -> Answer:
        site = self.site
        site.complain("token: the device polls too early")
        device.interval += _SLOWER_BY
        more: dict[str, object] = (
            {"interval": device.interval} if site.persona.tells_interval else {}
        )
        return self._refuse(request, "slow_down", "polled too early", more)

    def _refuse(
        self, request: Request, code: str, text: str, more: dict[str, object] | None = None
    ) -> Answer:
        return self.site.refuse(request, code, text, grant="device_code", more=more)


def _page(status: int, text: str) -> Answer:
    body = f"<!doctype html><title>Device</title><p>{text}</p>".encode()
    return whole(status, body, {"Content-Type": "text/html; charset=utf-8"})
