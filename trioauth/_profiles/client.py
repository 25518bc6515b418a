"""From a profile to an `OAuthClient`, with the secret from where it is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from trioauth.oauth.authentication import (
    ClientSecretBasic,
    ClientSecretJWT,
    ClientSecretPost,
    PrivateKeyJWT,
)
from trioauth.oauth.client import OAuthClient
from trioauth.oauth.metadata import AuthorizationServer

from .errors import ProfileError
from .places import profile_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trioauth.oauth.authentication import ClientAuthentication

    from .profile import Profile

_BY_SECRET: Mapping[str, Callable[[str], ClientAuthentication]] = {
    "client_secret_basic": ClientSecretBasic,
    "client_secret_post": ClientSecretPost,
    "client_secret_jwt": ClientSecretJWT,
}
ENDPOINTS: Final = (
    "token_endpoint",
    "authorization_endpoint",
    "device_authorization_endpoint",
    "revocation_endpoint",
)
"""The settings of a profile that name an endpoint."""


def client_of(profile: Profile, *, secret: str | None = None) -> OAuthClient:
    """Make the client of a profile.

    Args:
      profile: Of which server.
      secret: The client's, if it is not yet where the profile says.

    Raises:
      ProfileError: The profile contradicts itself, or the client's secret is not where it says.
    """
    by_hand = {name: url for name in ENDPOINTS if (url := getattr(profile, name)) is not None}
    more: dict[str, Any] = {}
    if profile.redirect_uri is not None:
        more["redirect_uri"] = profile.redirect_uri
    auth = _auth_of(profile, secret)
    try:
        server = AuthorizationServer(issuer=profile.issuer, **by_hand) if by_hand else None
        return OAuthClient(
            profile.id,
            issuer=profile.issuer,
            server=server,
            auth=auth,
            scope=profile.scope,
            resource=profile.resource,
            parameters=profile.parameters,
            ports=profile.ports,
            **more,
        )
    except (TypeError, ValueError) as exc:
        problem = str(exc)
    raise _unusable(profile, problem)


def _auth_of(profile: Profile, secret: str | None) -> ClientAuthentication | None:
    """Say how the client proves who it is.

    Raises:
      ProfileError: The secret is not where the profile says, or can't be one. Does not quote it.
    """
    if secret is None:
        secret = _secret_of(profile)
    if secret is None:
        return None
    try:
        if profile.key_file is not None:
            return PrivateKeyJWT(secret, kid=profile.key_id)
        return _BY_SECRET[profile.client_auth or "client_secret_basic"](secret.strip())
    except ModuleNotFoundError:
        problem = 'signing needs joserfc: pip install "trioauth[jose]"'
    except (TypeError, ValueError) as exc:
        problem = str(exc)
    finally:
        del secret
    raise _unusable(profile, problem)


def _secret_of(profile: Profile) -> str | None:
    variable, file = profile.client_secret_env, profile.client_secret_file or profile.key_file
    if variable is not None:
        found = os.environ.get(variable)
        if not found:
            raise _unusable(
                profile, f"the environment variable {variable} should hold the client's secret"
            )
        return found
    if file is None:
        return None
    try:
        return Path(file).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8"
    raise _unusable(profile, f"the client's secret can't be read from {file}: {reason}")


def _unusable(profile: Profile, problem: str) -> ProfileError:
    path = profile_file(profile.name)
    return ProfileError(f"the profile {profile.name!r} can't be used: {problem}", path=path)
