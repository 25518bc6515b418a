"""The authorization endpoint and pushed requests: from what is asked to a code. Takes ``now``."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import attrs

from ._asking import Asked, read_parameters, read_request, redirect
from ._authenticating import authenticate
from ._book import Granted
from ._forms import challenge_of, read_form
from ._human import Approval
from ._messages import Answer, whole
from ._site import new_secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._book import Login
    from ._clients import Client
    from ._human import Decision
    from ._messages import Request
    from ._site import Site

# Seconds that a code, and a pushed request, is good for.
_LIFE = 60
_REQUEST_URI = "urn:ietf:params:oauth:request_uri:"
# RFC 7636 4.1.
_SHORTEST, _LONGEST = 43, 128


@final
@attrs.define(eq=False)
class Code:
    """What a code stands for."""

    asked: Asked
    granted: Granted
    since: float
    login: Login | None = None
    """The login that it was redeemed for."""


@final
@attrs.define(eq=False)
class Codes:
    """Authorization requests and the codes that come of them."""

    site: Site
    _codes: dict[str, Code] = attrs.field(factory=dict[str, Code], init=False, repr=False)
    _pushed: dict[str, tuple[Asked, float]] = attrs.field(
        factory=dict[str, tuple[Asked, float]], init=False, repr=False
    )

    # --- asking ----------------------------------------------------------------------------

    def push(self, request: Request, now: float) -> Answer:
        """Take an authorization request from the client itself (RFC 9126 2)."""
        site, form = self.site, read_form(request)
        if form is None or "request_uri" in form:
            site.complain("par: not a form, a parameter occurs twice, or request_uri is in it")
            return site.refuse(request, "invalid_request", "not a form, or with a request_uri")
        client = authenticate(site, request, form, "par")
        if isinstance(client, Answer):
            return client
        asked = read_request(site, {**form, "client_id": client.client_id})
        if isinstance(asked, Answer):
            return site.refuse(request, "invalid_request", "this would be refused")
        uri = _REQUEST_URI + new_secret("pr")
        self._pushed[uri] = (asked, now)
        return site.say(request, 201, {"request_uri": uri, "expires_in": _LIFE})

    def ask(self, request: Request, now: float) -> Asked | Answer:
        """Read what a browser brings; what makes sense waits for the person."""
        if request.method not in {"GET", "POST"}:
            return whole(405, b"", {"Allow": "GET, POST"})
        parameters = read_parameters(request)
        if parameters is None or "request_uri" not in parameters:
            if self.site.persona.requires_par:
                self.site.complain("authorize: the request must be pushed (RFC 9126)")
                return whole(400, b"the request must be pushed")
            return read_request(self.site, parameters)
        return self._pull(parameters, now)

    def _pull(self, parameters: Mapping[str, str], now: float) -> Asked | Answer:
        """Find what was pushed: once, in time, and by the same client."""
        site = self.site
        if set(parameters) != {"client_id", "request_uri"}:
            site.complain("authorize: with request_uri, client_id is all that may be sent")
        asked, since = self._pushed.pop(parameters["request_uri"], (None, now))
        if (
            asked is None
            or now >= since + _LIFE
            or asked.client.client_id != parameters.get("client_id")
        ):
            site.complain("authorize: request_uri is unknown, used, expired or another client's")
            return whole(400, b"request_uri is unknown, used, expired or another client's")
        return asked

    def decide(self, asked: Asked, decision: Decision | None, now: float) -> Answer:
        """Send the browser back with a code, or with what the person said instead."""
        if decision is None:
            return redirect(self.site, asked, {"error": "login_required"})
        if not isinstance(decision, Approval):
            text = {"error": "access_denied", "error_description": "the person said no"}
            return redirect(self.site, asked, text)
        granted = grant(self.site, asked.client, asked.parameters, decision, now)
        code = new_secret("ac")
        self._codes[code] = Code(asked, granted, now)
        return redirect(self.site, asked, {"code": code})

    # --- redeeming -------------------------------------------------------------------------

    def redeem(
        self, request: Request, client: Client, form: dict[str, str], now: float
    ) -> Code | Answer:
        """Check a code and what must come with it (RFC 6749 4.1.3; RFC 7636 4.6)."""
        site = self.site
        code = self._codes.get(form.get("code", ""))
        problem = "code is unknown" if code is None else self._problem(code, client, form, now)
        if code is not None and not problem:
            return code
        site.complain(f"token: {problem}")
        return site.refuse(request, "invalid_grant", problem, grant="authorization_code")

    def _problem(self, code: Code, client: Client, form: dict[str, str], now: float) -> str:
        verifier = form.get("code_verifier", "")
        if code.login is not None:
            # RFC 6749 4.1.2: what came of it is revoked.
            code.login.over = True
            return "code was used before"
        if now >= code.since + _LIFE:
            return "code has expired"
        if client.client_id != code.asked.client.client_id:
            return "code was given to another client"
        if form.get("redirect_uri") != code.asked.redirect_uri:
            return "redirect_uri must be the one of the authorization request"
        if not _SHORTEST <= len(verifier) <= _LONGEST:
            return "code_verifier must be 43 to 128 characters long"
        if challenge_of(verifier) != code.asked.parameters["code_challenge"]:
            return "code_verifier does not fit code_challenge"
        return ""


def grant(
    site: Site, client: Client, parameters: Mapping[str, str], approval: Approval, now: float
) -> Granted:
    """Return what the person grants to a client."""
    persona, human = site.persona, site.human
    key = (client.client_id, approval.subject)
    prompts = parameters.get("prompt", "").split()
    consent = key not in human.consented or "consent" in prompts
    human.consented.add(key)
    scopes = parameters.get("scope", site.scope).split()
    offline = (
        persona.refresh_tokens
        and (persona.offline_scope is None or persona.offline_scope in scopes)
        and all(parameters.get(name) == value for name, value in persona.offline_parameters.items())
        and (consent or not persona.offline_consent)
    )
    return Granted(
        client.client_id,
        approval.subject,
        tuple(scopes),
        offline,
        dict(approval.claims),
        parameters.get("nonce"),
        now if "max_age" in parameters else None,
        parameters.get("acr_values", "").partition(" ")[0] or None,
        parameters.get("resource", ""),
        persona.audience_parameter is None or persona.audience_parameter in parameters,
    )
