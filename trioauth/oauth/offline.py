"""What it takes to get a refresh token, by provider: data, with its sources.

Used twice: by the providers, to ask for it, and when a log-in has brought none, to say what was
missing. "Common" marks what is generally known and was not looked up.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, final

import attrs

from .fields import copied

if TYPE_CHECKING:
    from collections.abc import Mapping

_SETTINGS: Final = (
    "It was asked for: see whether the server's settings allow this client to have one"
)


@final
@attrs.frozen(kw_only=True)
class Offline:
    """What a client must ask for, or have switched on, so that it gets a refresh token."""

    scope: str = ""
    """The scope that it takes."""
    parameters: Mapping[str, str] = attrs.field(
        factory=dict[str, str], converter=copied, hash=False
    )
    """The parameters of the authorization request that it takes."""
    otherwise: str = _SETTINGS
    """A sentence on what to look at if none comes though all of that was asked for."""


ALWAYS: Final = Offline(
    otherwise="This server gives one without being asked: see whether its settings allow this "
    "client to have one"
)
BY_SCOPE: Final = Offline(scope="offline_access")
"""As OpenID Connect Core 11 has it."""

# Docs: "Using OAuth 2.0 for Web Server Applications". Without prompt=consent a person who has
# agreed before is not asked, and then there is none (google-api-nodejs-client#750).
GOOGLE: Final = Offline(parameters={"access_type": "offline", "prompt": "consent"})
# Docs: "OAuth Guide".
DROPBOX: Final = Offline(parameters={"token_access_type": "offline"})
# Common; the scope is also known as offline_access.
SALESFORCE: Final = Offline(
    scope="refresh_token",
    otherwise="See whether the connected app has the scope refresh_token, and its refresh policy",
)
# Docs: okta-developer-docs, refresh-tokens.
OKTA: Final = Offline(
    scope="offline_access",
    otherwise="See whether the application has the grant type Refresh Token, and the authorization "
    "server's policy the scope offline_access",
)
# Common.
AUTH0: Final = Offline(
    scope="offline_access",
    otherwise='See whether the API has "Allow Offline Access", and the application the grant type '
    "Refresh Token",
)
# Docs: refreshing-user-access-tokens.md; of OAuth apps: common.
GITHUB: Final = Offline(
    otherwise="A GitHub App gives one if its user tokens are set to expire; an OAuth app gives "
    "none, and its tokens do not expire",
)
# Docs: "Using token rotation".
SLACK: Final = Offline(
    otherwise="Switch on token rotation in the settings of the app; without it tokens do not expire"
)

# By the host of the authorization endpoint. Servers under names of their customers are not found.
_HOSTS: Final = (
    (r"accounts\.google\.com", GOOGLE),
    (r"www\.dropbox\.com", DROPBOX),
    (r"login\.microsoftonline\.(com|us)|login\.partner\.microsoftonline\.cn", BY_SCOPE),
    (r"(.+\.)?salesforce\.com", SALESFORCE),
    (r".+\.okta(preview|-emea)?\.com", OKTA),
    (r".+\.auth0\.com", AUTH0),
    (r"github\.com", GITHUB),
    (r"slack\.com", SLACK),
    (r"gitlab\.com|.+\.amazoncognito\.com", ALWAYS),
)


def offline_at(host: str) -> Offline | None:
    """Return what it takes at a host; None if that is not known."""
    return next((found for name, found in _HOSTS if re.fullmatch(name, host)), None)
