"""What all endpoints of the authorization server share."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, final
from urllib.parse import urlencode

import attrs

from ._messages import in_json, whole

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._book import Book
    from ._clients import Clients
    from ._human import Human
    from ._keys import Keys
    from ._ledger import Ledger
    from ._lies import Lies
    from ._messages import Answer, Request
    from ._persona import Persona
    from ._places import Places

# RFC 6749 5.1: on every answer that may hold a secret.
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
# What must not be in a URL, which ends up in logs and histories (RFC 9700 4.3.1).
_SECRETS = frozenset(
    {
        "client_secret",
        "client_assertion",
        "code_verifier",
        "access_token",
        "refresh_token",
        "id_token",
        "device_code",
        "code",
        "assertion",
        "subject_token",
    }
)


@final
@attrs.define(eq=False)
class Site:
    """The state of the authorization server, and how it answers."""

    book: Book
    ledger: Ledger
    places: Places
    clients: Clients
    human: Human
    keys: Keys
    lies: Lies
    scope: str
    complaints: list[str] = attrs.field(factory=list[str], init=False)
    """What clients did wrong, in the server's eyes."""
    seen: set[str] = attrs.field(factory=set[str], init=False, repr=False)
    """What may be used once: values of ``state``, ``code_challenge``, ``jti`` ..."""

    @property
    def persona(self) -> Persona:
        """How this server differs from others."""
        return self.places.persona

    def complain(self, text: str) -> None:
        """Note that a client did something wrong. Says which parameter, and never its value."""
        self.complaints.append(text)

    def once(self, what: str, value: str) -> bool:
        """Say whether this value is seen for the first time, and complain if it is not."""
        key = f"{what} {value}"
        if key in self.seen:
            self.complain(f"{what} was used before; it must be new each time")
            return False
        self.seen.add(key)
        return True

    def check_url(self, endpoint: str | None, query: Mapping[str, str]) -> None:
        """Complain about secrets in a URL. What the API's parameters mean, only it knows."""
        secret = {"access_token"} if endpoint is None else _SECRETS
        for name in sorted(secret & query.keys()):
            where = endpoint or "the API"
            self.complain(f"{where}: {name} is in the URL; it must be in the body or a header")

    def may_have(self, scope: str) -> bool:
        """Say whether a client may have these scopes. A server without any does not look."""
        offered = {*self.scope.split(), "openid", "offline_access"}
        return not self.scope or set(scope.split()) <= offered

    def refuse(
        self,
        request: Request,
        code: str,
        description: str,
        status: int | None = None,
        *,
        grant: str = "",
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, object] | None = None,
    ) -> Answer:
        """Answer with an error (RFC 6749 5.2), in the persona's own words."""
        persona = self.persona
        name = persona.errors.get(f"{grant} {code}", persona.errors.get(code, code))
        if persona.error_status != 400:
            status = persona.error_status
        status = persona.statuses.get(code, status or 400)
        body: dict[str, object] = {"error": name, "error_description": description}
        body |= {**persona.error_members, **(more or {})}
        return self.say(request, status, body, headers)

    def say(
        self,
        request: Request,
        status: int,
        body: Mapping[str, object],
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Answer in JSON, or in a form, if the persona does so."""
        fields = {**NO_STORE, **(headers or {})}
        if self.persona.form_encoded and "application/json" not in request.accept:
            fields["Content-Type"] = "application/x-www-form-urlencoded; charset=utf-8"
            return whole(status, urlencode(body).encode(), fields)
        return in_json(status, body, fields)


def new_secret(kind: str) -> str:
    """Return a secret. The canary in it lets a test look for leaks without knowing it."""
    return f"{kind}-canary-{secrets.token_hex(12)}"
