"""The token endpoint and its neighbours: a request in, an answer out. No I/O."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, final

import attrs

from ._authenticating import authenticate
from ._book import Granted
from ._forms import read_form
from ._further_grants import ACCESS_TOKEN, exchange, serve_assertion
from ._identity import id_token
from ._ledger import Presented
from ._messages import Answer, in_json, whole
from ._metadata import GRANTS
from ._site import NO_STORE

if TYPE_CHECKING:
    from ._book import Issued
    from ._clients import Client
    from ._codes import Codes
    from ._devices import Devices
    from ._ledger import Outcome
    from ._messages import Request
    from ._persona import Endpoint
    from ._site import Site


@final
@attrs.define(eq=False)
class Authorization:
    """The endpoints where tokens are issued and revoked."""

    site: Site
    codes: Codes
    devices: Devices

    def handle(self, request: Request, now: float, endpoint: Endpoint) -> Answer:
        """Process a POST request."""
        if endpoint == "bearer":
            return self._refresh_by_bearer(request, now)
        form = read_form(request)
        if form is None:
            text = "not a form, or a parameter occurs twice"
            return self.site.refuse(request, "invalid_request", text)
        client = authenticate(self.site, request, form, endpoint, form.get("grant_type", ""))
        if isinstance(client, Answer):
            return client
        if endpoint == "revoke":
            return self._revoke(request, form)
        return self._issue(request, client, form, now)

    def note(self, request: Request, now: float, outcome: Outcome, endpoint: Endpoint) -> None:
        """Note a refresh token of a request that is not processed."""
        secret: str | None = None
        if endpoint == "bearer":
            secret = request.bearer_token
        elif endpoint == "token":
            secret = (read_form(request) or {}).get("refresh_token")
        if secret is not None:
            self._note(secret, now, outcome)

    def _issue(self, request: Request, client: Client, form: dict[str, str], now: float) -> Answer:
        match form.get("grant_type"):
            case "refresh_token":
                return self._refresh(request, form, now)
            case "client_credentials":
                return self._serve_client(request, client, form, now)
            case "authorization_code":
                return self._redeem_code(request, client, form, now)
            case grant if grant == GRANTS["device_code"]:
                granted = self.devices.poll(request, client, form, now)
            case grant if grant == GRANTS["jwt_bearer"]:
                granted = serve_assertion(self.site, request, client, form)
            case grant if grant == GRANTS["token_exchange"]:
                granted = exchange(self.site, request, client, form, now)
                if isinstance(granted, Granted):
                    issued_type = form.get("requested_token_type", ACCESS_TOKEN)
                    return self._start(request, granted, now, {"issued_token_type": issued_type})
            case None:
                return self.site.refuse(request, "invalid_request", "grant_type is missing")
            case _:
                text = "refresh_token and client_credentials are"
                return self.site.refuse(request, "unsupported_grant_type", text)
        return granted if isinstance(granted, Answer) else self._start(request, granted, now)

    def _refresh(self, request: Request, form: dict[str, str], now: float) -> Answer:
        """Serve the grant of RFC 6749 6."""
        if "refresh_token" not in form:
            return self.site.refuse(request, "invalid_request", "refresh_token is missing")
        if (problem := self._too_much(form)) is not None:
            return self.site.refuse(request, problem, "more than was granted")
        issued = self._redeem(form["refresh_token"], now)
        if issued is None:
            text = "the refresh token is not, or no longer, valid"
            return self.site.refuse(request, "invalid_grant", text, grant="refresh_token")
        return self._tokens(request, issued, now)

    def _redeem_code(
        self, request: Request, client: Client, form: dict[str, str], now: float
    ) -> Answer:
        """Serve the grant of RFC 6749 4.1."""
        code = self.codes.redeem(request, client, form, now)
        if isinstance(code, Answer):
            return code
        if not code.granted.covers(form.get("resource", "")):
            return self.site.refuse(request, "invalid_target", "more than was granted")
        issued = self.site.book.log_in(now, code.granted)
        code.login = issued.login
        return self._tokens(request, issued, now)

    def _serve_client(
        self, request: Request, client: Client, form: dict[str, str], now: float
    ) -> Answer:
        """Serve the grant of RFC 6749 4.4, which is for confidential clients only."""
        if client.is_public:
            return self.site.refuse(request, "unauthorized_client", "this client has no secret")
        if not self.site.may_have(form.get("scope", "")):
            return self.site.refuse(request, "invalid_scope", "more than this client may have")
        self.site.ledger.refreshes += 1
        return self._tokens(request, self.site.book.issue_to_client(now), now)

    def _refresh_by_bearer(self, request: Request, now: float) -> Answer:
        """Serve the endpoint that is not of any standard."""
        secret = request.bearer_token
        issued = None if secret is None else self._redeem(secret, now)
        if issued is None:
            headers = {**NO_STORE, "WWW-Authenticate": 'Bearer error="invalid_token"'}
            return in_json(401, {"error": "invalid_token"}, headers)
        body: dict[str, object] = {
            "accessToken": issued.access_token,
            "refreshToken": issued.refresh_token or secret,
        }
        if self.site.book.lifetime is not None:
            body["expiresIn"] = self.site.book.lifetime
        return in_json(200, body, NO_STORE)

    def _revoke(self, request: Request, form: dict[str, str]) -> Answer:
        """Serve RFC 7009: an unknown token is as good as revoked."""
        if "token" not in form:
            return self.site.refuse(request, "invalid_request", "token is missing")
        self.site.book.revoke(form["token"])
        self.site.ledger.revocations += 1
        return whole(200, b"", NO_STORE)

    def _start(
        self,
        request: Request,
        granted: Granted,
        now: float,
        more: dict[str, object] | None = None,
    ) -> Answer:
        """Answer with the first tokens of a login."""
        return self._tokens(request, self.site.book.log_in(now, granted), now, more)

    def _redeem(self, secret: str, now: float) -> Issued | None:
        book = self.site.book
        outcome, issued = book.redeem(book.find_refresh(secret), now)
        self._note(secret, now, outcome)
        if outcome in {"rotated", "kept"}:
            self.site.ledger.refreshes += 1
        return issued

    def _note(self, secret: str, now: float, outcome: Outcome) -> None:
        token = self.site.book.find_refresh(secret)
        number, login = (None, None) if token is None else (token.number, token.login.number)
        self.site.ledger.presented.append(Presented(now, number, login, outcome))

    def _tokens(
        self,
        request: Request,
        issued: Issued,
        now: float,
        more: dict[str, object] | None = None,
    ) -> Answer:
        """Answer with tokens (RFC 6749 5.1)."""
        site, granted = self.site, issued.login.granted
        body: dict[str, object] = {
            "access_token": issued.access_token,
            "token_type": site.persona.token_type,
            **(more or {}),
        }
        if issued.refresh_token is not None:
            body["refresh_token"] = issued.refresh_token
        if site.book.lifetime is not None:
            body["expires_in"] = site.book.lifetime
        scopes = site.scope.split() if granted is None else granted.scopes
        if scopes:
            body["scope"] = site.persona.scope_separator.join(scopes)
        if granted is not None and "openid" in granted.scopes and site.places.url("jwks"):
            body["id_token"] = id_token(site, issued.login, granted, now, time.time())
        return site.say(request, 200, site.lies.about("token", body))

    def _too_much(self, form: dict[str, str]) -> str | None:
        """Return the error if a refresh asks for more than was granted (RFC 6749 6)."""
        token = self.site.book.find_refresh(form["refresh_token"])
        granted = None if token is None else token.login.granted
        if granted is None:
            return None if self.site.may_have(form.get("scope", "")) else "invalid_scope"
        if not set(form.get("scope", "").split()) <= set(granted.scopes):
            return "invalid_scope"
        return None if granted.covers(form.get("resource", "")) else "invalid_target"
