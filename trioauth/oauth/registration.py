"""How a program becomes a client of a server that has never heard of it.

By registering there (RFC 7591), or by a document at an address of its own, which is its client id
then, and which the server fetches (client id metadata documents).

What goes wrong in the field decides this: a server compares redirect URIs to the letter, the port
included. A client that was registered with one free port, and comes back with another, never
logs in again. So ports are drawn once, registered, and kept with the client.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast, final
from urllib.parse import urlsplit

import attrs

from trioauth._errors import GrantMisconfiguredError, RefreshUnavailableError, seconds_of
from trioauth._origins import is_loopback
from trioauth._secrets import Unpicklable
from trioauth._tokens import decode_object

from .answers import BARE_REFUSALS, Rules, failure
from .authentication import ClientSecretBasic, ClientSecretPost
from .channel import TokenRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .authentication import ClientAuthentication
    from .channel import Answer, BackChannel
    from .metadata import AuthorizationServer

_METHODS: Final = ("none", "client_secret_basic", "client_secret_post")
_DEVICE: Final = "urn:ietf:params:oauth:grant-type:device_code"
# Below what operating systems hand out by themselves, so that they are most likely free later.
_PORTS: Final = range(20_000, 32_000)
_COUNT: Final = 3
# A refusal with any 4xx is one, whatever its code.
_RULES: Final = Rules(statuses=BARE_REFUSALS, settings=True)


def check_metadata_url(url: str, name: str) -> None:
    """Let the address of a client id metadata document pass: https, with a path.

    Raises:
      ValueError: It is no such address; names the parameter.
    """
    parts = urlsplit(url)
    if parts.scheme != "https" or parts.path in ("", "/") or parts.fragment or "@" in parts.netloc:
        raise ValueError(
            f"{name} must be https with a path, such as "
            '"https://app.example.com/client.json", without user name and fragment'
        )


def draw_ports() -> tuple[int, ...]:
    """Draw the ports of a client that is to be registered."""
    return tuple(random.sample(_PORTS, _COUNT))


def redirect_uris(uri: str, ports: Iterable[int]) -> tuple[str, ...]:
    """Return the redirect URIs to register: one for each port; or the one that there is."""
    parts = urlsplit(uri)
    found = [parts._replace(netloc=f"{parts.netloc}:{port}").geturl() for port in ports]
    return tuple(found) or (uri,)


def wants_port(uri: str) -> bool:
    """Say whether a redirect URI is one of loopback that has no port yet."""
    parts = urlsplit(uri)
    return parts.scheme == "http" and is_loopback(parts.hostname or "") and parts.port is None


def client_document(
    uris: Iterable[str], *, name: str, scope: str = "", method: str = "none", device: bool = False
) -> dict[str, object]:
    """Say what a client is, by the names of RFC 7591 2.

    Args:
      uris: Its redirect URIs.
      name: What a person knows it by.
      scope: What it may ask for.
      method: How it proves who it is.
      device: Whether it may log in by device.
    """
    uris = list(uris)
    local = any(urlsplit(uri).scheme != "https" for uri in uris)
    document: dict[str, object] = {
        "client_name": name,
        "redirect_uris": uris,
        "grant_types": ["authorization_code", "refresh_token", *([_DEVICE] if device else [])],
        "response_types": ["code"],
        "token_endpoint_auth_method": method,
        # Without it a client is a web application, which must have https (OpenID Registration 2).
        "application_type": "native" if local else "web",
    }
    return {**document, "scope": scope} if scope else document


def choose_method(server: AuthorizationServer) -> str:
    """Choose how a client that registers will prove who it is."""
    offered = server.token_endpoint_auth_methods_supported or _METHODS
    return next((method for method in _METHODS if method in offered), "none")


@final
@attrs.frozen(kw_only=True)
class Registration(Unpicklable):
    """A client that a server has registered (RFC 7591 3.2.1)."""

    client_id: str
    secret: str | None = attrs.field(default=None, repr=False)
    method: str = "none"
    expires_at: float | None = None
    """When the secret does, on the wall clock; None: never."""

    @property
    def auth(self) -> ClientAuthentication | None:
        """How it proves who it is."""
        if self.secret is None or self.method == "none":
            return None
        kind = ClientSecretPost if self.method == "client_secret_post" else ClientSecretBasic
        return kind(self.secret)

    @property
    def has_expired(self) -> bool:
        """Whether its secret has."""
        return self.expires_at is not None and self.expires_at <= time.time()


def read_registration(answer: Answer, asked: Mapping[str, Any], url: str) -> Registration:
    """Read what a server has registered.

    Args:
      answer: What it sent.
      asked: What it was asked to register.
      url: Where.

    Raises:
      GrantMisconfiguredError: It refused, or has registered a client that is of no use.
      RefreshUnavailableError: No usable answer.
    """
    if not answer.is_success:
        problem = failure(answer, rules=_RULES)
        if isinstance(problem, RefreshUnavailableError):
            raise problem
        _refuse(f"{url} said {problem}", problem.error)
    body, _ = decode_object(answer.body)
    client_id, secret = body.get("client_id"), body.get("client_secret")
    if not isinstance(client_id, str) or not client_id or not client_id.isprintable():
        raise RefreshUnavailableError(f"{url} answered without a client_id (RFC 7591 3.2.1)")
    method = body.get("token_endpoint_auth_method", asked["token_endpoint_auth_method"])
    usable = isinstance(secret, str) and secret.isprintable() and secret != ""
    if method not in _METHODS or (method != "none" and not usable):
        _refuse(f"{url} wants the client to prove who it is in a way that it has no means for")
    uris = body.get("redirect_uris", asked["redirect_uris"])
    named = cast("list[object]", uris) if isinstance(uris, list) else []
    if not set(asked["redirect_uris"]) <= set(map(str, named)):
        _refuse(f"{url} has registered other redirect URIs than those that it was asked for")
    expires = seconds_of(body.get("client_secret_expires_at"))
    return Registration(
        client_id=client_id,
        secret=str(secret) if usable else None,
        method=str(method),
        # 0: never (RFC 7591 3.2.1).
        expires_at=expires or None,
    )


def _refuse(problem: str, code: str = "unusable_registration") -> NoReturn:
    raise GrantMisconfiguredError(code, f"{problem}; register it by hand, and pass client_id=")


async def register(
    server: AuthorizationServer, endpoint: BackChannel, document: Mapping[str, object]
) -> Registration:
    """Register a client (RFC 7591 3.1).

    Args:
      server: Where.
      endpoint: The session's way to it.
      document: What `client_document` returned.

    Cancellation:
      Unsafe. There may be a client that is never used.

    Raises:
      GrantMisconfiguredError: The server refused.
      RefreshUnavailableError: No usable answer.
    """
    url = server.endpoint("registration_endpoint")
    answer = await endpoint.send(TokenRequest(url, json=dict(document)))
    return read_registration(answer, document, url)
