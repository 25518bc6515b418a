"""The authorization server: a request in, an answer out. No I/O, no clock."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, final
from urllib.parse import parse_qsl, unquote_plus

import attrs

from ._ledger import Presented
from ._messages import in_json, whole

if TYPE_CHECKING:
    from ._book import Book, Issued
    from ._ledger import Ledger, Outcome
    from ._messages import Answer, Request

TOKEN_PATH = "/oauth/token"  # noqa: S105  # a path
REVOCATION_PATH = "/oauth/revoke"
BEARER_REFRESH_PATH = "/auth/refresh"

_FORM = "application/x-www-form-urlencoded"
# RFC 6749 5.1: on every answer that may hold a secret.
_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


@final
@attrs.define(eq=False)
class Authorization:
    """The endpoints where tokens are issued and revoked."""

    book: Book
    ledger: Ledger
    client_id: str
    client_secret: str | None = attrs.field(repr=False)
    scope: str

    def handle(self, request: Request, now: float) -> Answer:
        """Process a request."""
        if request.method != "POST":
            return whole(405, b"", {"Allow": "POST"})
        if request.path == BEARER_REFRESH_PATH:
            return self._refresh_by_bearer(request, now)
        form = _read_form(request)
        if form is None:
            return _error("invalid_request", "not a form, or a parameter occurs twice")
        if (problem := self._check_client(request, form)) is not None:
            return problem
        if request.path == REVOCATION_PATH:
            return self._revoke(form)
        return self._issue(form, now)

    def note(self, request: Request, now: float, outcome: Outcome) -> None:
        """Note a refresh token of a request that is not processed."""
        secret: str | None = None
        if request.path == BEARER_REFRESH_PATH:
            secret = request.bearer_token
        elif request.path == TOKEN_PATH:
            secret = (_read_form(request) or {}).get("refresh_token")
        if secret is not None:
            self._note(secret, now, outcome)

    def _issue(self, form: dict[str, str], now: float) -> Answer:
        match form.get("grant_type"):
            case "refresh_token":
                return self._refresh(form, now)
            case "client_credentials":
                return self._serve_client(form, now)
            case None:
                return _error("invalid_request", "grant_type is missing")
            case _:
                return _error("unsupported_grant_type", "refresh_token and client_credentials are")

    def _refresh(self, form: dict[str, str], now: float) -> Answer:
        """Serve the grant of RFC 6749 6."""
        if "refresh_token" not in form:
            return _error("invalid_request", "refresh_token is missing")
        if not self._may_have(form):
            return _error("invalid_scope", "more than was granted")
        issued = self._redeem(form["refresh_token"], now)
        if issued is None:
            return _error("invalid_grant", "the refresh token is not, or no longer, valid")
        return self._tokens(issued)

    def _serve_client(self, form: dict[str, str], now: float) -> Answer:
        """Serve the grant of RFC 6749 4.4, which is for clients with a secret only."""
        if self.client_secret is None:
            return _error("unauthorized_client", "this client has no secret")
        if not self._may_have(form):
            return _error("invalid_scope", "more than this client may have")
        self.ledger.refreshes += 1
        return self._tokens(self.book.issue_to_client(now))

    def _refresh_by_bearer(self, request: Request, now: float) -> Answer:
        """Serve the endpoint that is not of any standard."""
        secret = request.bearer_token
        issued = None if secret is None else self._redeem(secret, now)
        if issued is None:
            headers = {**_NO_STORE, "WWW-Authenticate": 'Bearer error="invalid_token"'}
            return in_json(401, {"error": "invalid_token"}, headers)
        body: dict[str, object] = {
            "accessToken": issued.access_token,
            "refreshToken": issued.refresh_token or secret,
        }
        if self.book.lifetime is not None:
            body["expiresIn"] = self.book.lifetime
        return in_json(200, body, _NO_STORE)

    def _revoke(self, form: dict[str, str]) -> Answer:
        """Serve RFC 7009: a token nobody knows is as good as revoked."""
        if "token" not in form:
            return _error("invalid_request", "token is missing")
        self.book.revoke(form["token"])
        self.ledger.revocations += 1
        return whole(200, b"", _NO_STORE)

    def _redeem(self, secret: str, now: float) -> Issued | None:
        outcome, issued = self.book.redeem(self.book.find_refresh(secret), now)
        self._note(secret, now, outcome)
        if outcome in {"rotated", "kept"}:
            self.ledger.refreshes += 1
        return issued

    def _note(self, secret: str, now: float, outcome: Outcome) -> None:
        token = self.book.find_refresh(secret)
        number, login = (None, None) if token is None else (token.number, token.login.number)
        self.ledger.presented.append(Presented(now, number, login, outcome))

    def _tokens(self, issued: Issued) -> Answer:
        """Answer with tokens (RFC 6749 5.1)."""
        body: dict[str, object] = {"access_token": issued.access_token, "token_type": "Bearer"}
        if issued.refresh_token is not None:
            body["refresh_token"] = issued.refresh_token
        if self.book.lifetime is not None:
            body["expires_in"] = self.book.lifetime
        if self.scope:
            body["scope"] = self.scope
        return in_json(200, body, _NO_STORE)

    def _may_have(self, form: dict[str, str]) -> bool:
        # A server without scopes does not look at them.
        return not self.scope or set(form.get("scope", "").split()) <= set(self.scope.split())

    def _check_client(self, request: Request, form: dict[str, str]) -> Answer | None:
        """Authenticate the client (RFC 6749 2.3.1); None if it is the one we know."""
        by_header = request.authorization is not None
        client_id, client_secret = form.get("client_id"), form.get("client_secret")
        if by_header:
            credentials = _read_basic(request.authorization or "")
            if client_secret is not None or (
                credentials and client_id not in {None, credentials[0]}
            ):
                return _error("invalid_request", "more than one way of client authentication")
            client_id, client_secret = credentials or (None, None)
        if (client_id, client_secret or "") == (self.client_id, self.client_secret or ""):
            return None
        challenge = {"WWW-Authenticate": "Basic"} if by_header else {}
        return _error("invalid_client", "unknown client or wrong secret", 401, challenge)


def _error(
    code: str, description: str, status: int = 400, headers: dict[str, str] | None = None
) -> Answer:
    """Answer with an error (RFC 6749 5.2)."""
    body = {"error": code, "error_description": description}
    return in_json(status, body, {**_NO_STORE, **(headers or {})})


def _read_form(request: Request) -> dict[str, str] | None:
    """Read the parameters (RFC 6749 3.2): one without a value is none, and none may come twice."""
    if request.content_type.partition(";")[0].strip().lower() != _FORM:
        return None
    try:
        pairs = parse_qsl(request.body.decode("ascii"), errors="strict")
    except ValueError:
        return None
    form = dict(pairs)
    return form if len(form) == len(pairs) else None


def _read_basic(authorization: str) -> tuple[str, str] | None:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        decoded = base64.b64decode(encoded, validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        return None
    client_id, colon, client_secret = decoded.partition(":")
    return (unquote_plus(client_id), unquote_plus(client_secret)) if colon else None
