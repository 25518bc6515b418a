"""Persona: how one authorization server differs from another, as data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, final

import attrs

from ._lies import Lie, Topic

if TYPE_CHECKING:
    from collections.abc import Mapping

Endpoint: TypeAlias = Literal[
    "metadata",
    "authorize",
    "token",
    "bearer",
    "revoke",
    "device",
    "verify",
    "par",
    "jwks",
    "userinfo",
    "register",
    "resource",
]
"""An endpoint: ``verify`` is where a person enters a user code, ``resource`` the metadata of the
API (RFC 9728), and ``bearer`` takes a refresh token as ``Authorization: Bearer``."""

Redirects: TypeAlias = Literal["loopback", "ip", "localhost", "exact"]
"""Which redirect URIs fit those that are registered:

``loopback``: on any port, if the host is an IP literal of loopback or ``localhost``. ``ip``: on any
port, if it is an IP literal (RFC 8252 7.3). ``localhost``: on any port, if it is ``localhost``.
``exact``: none but those.
"""

PATHS: Mapping[Endpoint, str] = {
    "authorize": "/oauth/authorize",
    "token": "/oauth/token",
    "bearer": "/auth/refresh",
    "revoke": "/oauth/revoke",
    "device": "/oauth/device",
    "verify": "/oauth/verify",
    "par": "/oauth/par",
    "jwks": "/oauth/jwks",
    "userinfo": "/oauth/userinfo",
    "register": "/oauth/register",
}


@final
@attrs.frozen(kw_only=True)
class Persona:
    """How a server differs from a plain one; ``attrs.evolve`` makes another of it.

    What ``AuthServer(persona="github")`` and the like say comes from the documentation of these
    providers and from reports of their users, as listed with each in ``source``; none of it was
    tried against the real ones.
    """

    name: str = "plain"
    """What it is called."""
    source: str = ""
    """Where its facts are from."""

    # Where it is
    issuer: str | None = None
    """Its issuer in memory; None: the server's own URL. On a socket, its path alone counts."""
    issuer_path: str = ""
    """Without an issuer, what follows the server's URL, such as ``/`` or ``/tenant/``."""
    endpoints: Mapping[Endpoint, str] = PATHS
    """Paths or URLs. On a socket, the path alone counts. What is not listed is not there."""
    well_known: tuple[str, ...] = ("oauth-authorization-server", "openid-configuration")
    """Under which names it has metadata (RFC 8414 3; OpenID Connect Discovery 4)."""
    resource_metadata: Literal["challenge", "path", "root", "none"] = "path"
    """Whether the API has metadata (RFC 9728) for each path or for the root alone, and whether
    its 401 says where."""

    # What it asks of a request
    redirects: Redirects = "loopback"
    """Which redirect URIs fit those that are registered."""
    requires_par: bool = False
    """It wants each authorization request to be pushed (RFC 9126 5)."""
    offline_scope: str | None = None
    """The scope without which there is no refresh token."""
    offline_parameters: Mapping[str, str] = attrs.field(factory=dict[str, str])
    """Parameters of the authorization request without which there is no refresh token."""
    offline_consent: bool = False
    """A person who is logged in again is not asked for consent, unless ``prompt=consent`` says
    so; and without that there is no refresh token."""
    refresh_tokens: bool = True
    """It has refresh tokens at all."""
    audience_parameter: str | None = None
    """The parameter of the authorization request without which the API takes no token."""
    device_public: bool = False
    """A client with a secret may leave it out where it logs in by device (GitHub)."""

    # How it answers
    lifetime: float | None = 3600.0
    """Of access tokens, in seconds; None: for ever, and ``expires_in`` isn't sent."""
    rotate: bool = True
    """Each refresh gives a new refresh token and spends the old one."""
    spends: bool = True
    """A refresh token that was replaced is no good any more."""
    replaces: bool = False
    """A refresh ends the older access tokens of the login."""
    reuse_grace: float = 0.0
    """For so many seconds the refresh token spent last gets the same answer again."""
    token_type: str = "Bearer"  # noqa: S105  # a word of RFC 6750
    """The ``token_type`` of its answers."""
    scope_separator: str = " "
    """What stands between the scopes in its answers."""
    form_encoded: bool = False
    """It answers in a form, to a request that does not say ``Accept: application/json``."""
    error_status: int = 400
    """The status of an error of its token and device endpoints."""
    statuses: Mapping[str, int] = attrs.field(factory=dict[str, int])
    """Other statuses, by the error's code of the standards."""
    errors: Mapping[str, str] = attrs.field(factory=dict[str, str])
    """Its own names of errors, by the code of the standards, such as ``access_denied``, or by grant
    and code, such as ``refresh_token invalid_grant``."""
    error_members: Mapping[str, object] = attrs.field(factory=dict[str, object])
    """What else its errors say."""
    signing_alg: str = "RS256"
    """How it signs ID tokens."""
    callback_iss: bool = True
    """Its callbacks say ``iss`` (RFC 9207)."""

    # Devices
    interval: float | None = 5
    """Seconds between two polls; None: it doesn't say, which means 5 (RFC 8628 3.2)."""
    device_lifetime: float = 600
    """Seconds that a user code is good for."""
    complete_uri: bool = True
    """It says ``verification_uri_complete``."""
    device_names: Mapping[str, str] = attrs.field(factory=dict[str, str])
    """Its own names of members of the answer to a device."""
    punishes_after_approval: bool = False
    """A poll that comes too early gets ``slow_down`` though the person has approved."""
    tells_interval: bool = False
    """``slow_down`` says the new ``interval``."""

    lies: Mapping[Topic, Lie] = attrs.field(factory=dict[Topic, Lie], repr=False)
    """What else it says otherwise, in the manner of `AuthServer.lie`."""


def at(base: str, **paths: str) -> dict[Endpoint, str]:
    """Return the URLs of endpoints below a base; each persona has ours for bearer and verify."""
    places: dict[Endpoint, str] = {"bearer": PATHS["bearer"], "verify": PATHS["verify"]}
    for endpoint in PATHS:
        if endpoint in paths:
            path = paths[endpoint]
            places[endpoint] = path if path.startswith("https:") else base + path
    return places
