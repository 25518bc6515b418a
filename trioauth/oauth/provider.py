"""Provider: what a program must know of an authorization server before it has a client there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final
from urllib.parse import urlsplit, urlunsplit

import attrs

from .client import OAuthClient
from .fields import copied
from .offline import ALWAYS, Offline

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .authentication import ClientAuthentication
    from .metadata import AuthorizationServer

_PORT: Final = 8765


@final
@attrs.frozen(kw_only=True)
class Provider:
    """What is known of a provider; made by the functions of `trioauth.providers`.

    ::

        client = providers.google().client("123.apps.googleusercontent.com", scope="openid email")
    """

    name: str
    """Which one it is, such as ``"google"``."""
    issuer: str | None = None
    """What it calls itself: its endpoints are found out. None for one without metadata."""
    server: AuthorizationServer | None = None
    """Its endpoints, where they can't be found out."""
    offline: Offline = ALWAYS
    """What it takes to get a refresh token."""
    parameters: Mapping[str, str] = attrs.field(
        factory=dict[str, str], converter=copied, hash=False
    )
    """What it must be told besides when a person logs in, such as Auth0's ``audience``."""
    redirect_uri: str = "http://127.0.0.1/callback"
    """Where it lets a browser come back to, on this machine."""
    ports: tuple[int, ...] = ()
    """The port that a client has there unless you say another; none if the provider lets it be
    any port."""
    source: str
    """Where all of this is from. "Common" is what is generally known and was not looked up."""
    date: str
    """The day that it was read, as ``YYYY-MM-DD``."""

    @property
    def redirect_uris(self) -> tuple[str, ...]:
        """What to register with the provider, as it wants it to be written."""
        parts = urlsplit(self.redirect_uri)
        places = [f"{parts.netloc}:{port}" for port in self.ports] or [parts.netloc]
        return tuple(urlunsplit(parts._replace(netloc=place)) for place in places)

    def client(
        self,
        client_id: str,
        *,
        auth: ClientAuthentication | None = None,
        scope: str = "",
        resource: str | Iterable[str] = (),
        parameters: Mapping[str, str] | None = None,
        redirect_uri: str | None = None,
        ports: Iterable[int] = (),
        offline: bool = True,
    ) -> OAuthClient:
        """Return a client that is registered with this provider.

        Args:
          client_id: What the provider knows this program as.
          auth: How the client proves who it is; see `trioauth.OAuthClient`.
          scope: What the program wants to do. What it takes to get a refresh token is added.
          resource: As for `trioauth.OAuthClient`.
          parameters: More, of the provider's own. They go before those that are known here.
          redirect_uri: If you have registered another one than `redirect_uris` says.
          ports: If you have registered others.
          offline: Whether the login is to outlive its first access token.

        Raises:
          ValueError: As `trioauth.OAuthClient`.
          TypeError: As `trioauth.OAuthClient`.
        """
        wanted = self.offline if offline else Offline()
        scopes = dict.fromkeys([*scope.split(), *wanted.scope.split()])
        own_ports = self.ports if redirect_uri is None else ()
        return OAuthClient(
            client_id,
            issuer=self.issuer,
            server=self.server,
            auth=auth,
            scope=" ".join(scopes),
            resource=resource,
            parameters={**self.parameters, **wanted.parameters, **(parameters or {})},
            redirect_uri=self.redirect_uri if redirect_uri is None else redirect_uri,
            ports=tuple(ports) or own_ports,
        )


ONE_PORT: Final = (_PORT,)
"""For those that compare redirect URIs to the letter: a port must be chosen, so it is this one."""
