"""An authorization server made of Authlib's classes, for the grants that oidc-provider has not.

Authlib reads the requests, proves the clients, and judges assertions (RFC 7523). For token exchange
(RFC 8693) it has no class yet: what is judged there is judged here.
"""

from __future__ import annotations

import json
import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, ClassVar, final
from urllib.parse import parse_qs

import hypercorn.config
import hypercorn.trio
import trio
from authlib.oauth2.rfc6749 import (
    AuthorizationServer,
    BaseGrant,
    ClientMixin,
    InvalidGrantError,
    InvalidRequestError,
    OAuth2Request,
    TokenEndpointMixin,
    UnauthorizedClientError,
)
from authlib.oauth2.rfc6749.requests import OAuth2Payload
from authlib.oauth2.rfc6750 import BearerTokenGenerator
from authlib.oauth2.rfc7523 import JWTBearerGrant

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from joserfc.jwk import Key

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
_TYPE = "urn:ietf:params:oauth:token-type:"


@final
class Client(ClientMixin):  # type: ignore[misc]  # Authlib has no types
    """The one client that it knows."""

    def __init__(self, client_id: str, client_secret: str) -> None:
        self.client_id = client_id
        self.client_secret = client_secret

    def get_client_id(self) -> str:
        return self.client_id

    def get_allowed_scope(self, scope: str | None) -> str:
        return scope or ""

    def check_client_secret(self, client_secret: str) -> bool:
        return secrets.compare_digest(client_secret, self.client_secret)

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:  # noqa: ARG002
        return method == "client_secret_basic"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type in {EXCHANGE, JWTBearerGrant.GRANT_TYPE}


class _Payload(OAuth2Payload):  # type: ignore[misc]  # as above
    def __init__(self, body: bytes) -> None:
        self.datalist = parse_qs(body.decode(), strict_parsing=True, keep_blank_values=True)
        self.data = {name: values[0] for name, values in self.datalist.items()}

    datalist: Any = None
    data: Any = None


@final
class _Request(OAuth2Request):  # type: ignore[misc]  # as above
    def __init__(self, url: str, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__("POST", url, headers=headers)
        self.payload = _Payload(body)

    @property
    def args(self) -> dict[str, str]:
        return {}

    @property
    def form(self) -> dict[str, str]:
        form: dict[str, str] = self.payload.data
        return form


@final
class _Assertion(JWTBearerGrant):  # type: ignore[misc]  # as above
    """A JWT as a grant: Authlib judges its signature, its times and whom it is for."""

    server: Server

    def resolve_issuer_client(self, issuer: str) -> Client | None:
        return self.server.client if issuer == self.server.client.client_id else None

    def resolve_client_public_key(self, client: Client) -> Key:  # noqa: ARG002
        return self.server.key

    def authenticate_user(self, subject: str) -> str | None:
        return subject if subject == "ann" else None

    def has_granted_permission(self, client: Client, user: str) -> bool:  # noqa: ARG002
        return True

    def get_audiences(self) -> list[str]:
        return [self.server.token_url]

    def validate_token_request(self) -> None:
        super().validate_token_request()
        # "jti": each once (RFC 7523 3).
        _, claims = self.extract_assertion(self.request.form["assertion"])
        if claims["jti"] in self.server.seen:
            raise InvalidGrantError("this assertion was here before")
        self.server.seen.add(claims["jti"])


@final
class _Exchange(BaseGrant, TokenEndpointMixin):  # type: ignore[misc]  # as above
    """A token for a token."""

    server: Server
    GRANT_TYPE: ClassVar[str] = EXCHANGE

    def validate_token_request(self) -> None:
        client = self.authenticate_token_endpoint_client()
        if not client.check_grant_type(self.GRANT_TYPE):
            raise UnauthorizedClientError
        self.request.client = client
        self.validate_requested_scope()
        said = self.request.form
        for name in ("subject_token", "subject_token_type"):
            if name not in said:
                raise InvalidRequestError(f"there is no {name}")
        if ("actor_token" in said) != ("actor_token_type" in said):
            raise InvalidRequestError("actor_token and actor_token_type go together")
        if said["subject_token_type"] != f"{_TYPE}access_token":
            raise InvalidRequestError("not such a subject_token_type")
        if said["subject_token"] not in self.server.subjects:
            raise InvalidGrantError("the subject_token is not known")

    def create_token_response(self) -> tuple[int, dict[str, Any], Any]:
        token = self.generate_token(scope=self.request.payload.scope, include_refresh_token=False)
        self.save_token(token)
        # RFC 8693 2.2.1 demands it.
        token["issued_token_type"] = f"{_TYPE}access_token"
        return 200, token, self.TOKEN_RESPONSE_HEADER


@final
class Server(AuthorizationServer):  # type: ignore[misc]  # as above
    """The server, and an API below ``/api/`` for the tokens it has issued."""

    def __init__(self, client: Client, key: Key, subjects: set[str]) -> None:
        super().__init__()
        self.client, self.key, self.subjects = client, key, subjects
        self.url = ""
        self.seen: set[str] = set()
        self.live: list[str] = []
        self.requests: list[dict[str, list[str]]] = []
        """The form of each request for a token."""
        self.errors: list[str] = []
        generator = BearerTokenGenerator(lambda **_: secrets.token_urlsafe())
        self.register_token_generator("default", generator)
        self.register_grant(_Assertion)
        self.register_grant(_Exchange)

    @property
    def token_url(self) -> str:
        return f"{self.url}/token"

    @property
    def api_url(self) -> str:
        return f"{self.url}/api/"

    def expire(self) -> None:
        self.live.clear()

    # --- what Authlib asks for -----------------------------------------------------------------

    def query_client(self, client_id: str) -> Client | None:
        return self.client if client_id == self.client.client_id else None

    def save_token(self, token: dict[str, Any], request: Any) -> None:  # noqa: ARG002
        self.live.append(token["access_token"])

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        pass

    def create_oauth2_request(self, request: _Request) -> _Request:
        return request

    def handle_response(self, status: int, body: Any, headers: Any) -> tuple[int, Any, Any]:
        return status, body, headers

    # --- ASGI ----------------------------------------------------------------------------------

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for what in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{what}.complete"})
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        headers = {name.decode().title(): value.decode() for name, value in scope["headers"]}
        status, answer, extra = self._answer(scope["path"], headers, body)
        fields = [("Content-Type", "application/json"), *extra]
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [(name.encode(), value.encode()) for name, value in fields],
            }
        )
        await send({"type": "http.response.body", "body": json.dumps(answer).encode()})

    def _answer(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, Any, Any]:
        if path == "/token":
            request = _Request(self.token_url, headers, body)
            self.requests.append(request.payload.datalist)
            status, answer, extra = self.create_token_response(request)
            if status != 200:
                self.errors.append(dict(answer)["error"])
            return status, dict(answer), [pair for pair in extra if pair[0] != "Content-Type"]
        token = headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in self.live:
            return 401, {}, [("WWW-Authenticate", 'Bearer error="invalid_token"')]
        return 200, {"generation": self.live.index(token) + 1}, []


@asynccontextmanager
async def serving(server: Server) -> AsyncGenerator[Server]:
    """Serve on a free port of the loopback interface."""
    config = hypercorn.config.Config()
    config.bind = ["127.0.0.1:0"]
    config.errorlog = None
    over = trio.Event()
    async with trio.open_nursery() as nursery:
        urls = await nursery.start(
            lambda *, task_status: hypercorn.trio.serve(
                server, config, shutdown_trigger=over.wait, task_status=task_status
            )
        )
        server.url = urls[0]
        yield server
        over.set()
