"""Providers: what Google, Entra, GitHub and others want: data. The code is in ``trioauth/oauth``.

A function each, whose result has a ``client``::

    from trioauth import providers

    client = providers.entra("contoso.com").client("...", scope="User.Read")

None of these has been run against the real ones; each says where its data is from, and when it was
read.
"""

from __future__ import annotations

from .oauth.offline import Offline
from .oauth.provider import Provider
from .oauth.providers import (
    BY_NAME,
    auth0,
    authentik,
    cognito,
    dex,
    dropbox,
    entra,
    gitea,
    github,
    gitlab,
    google,
    keycloak,
    okta,
    salesforce,
    slack,
)

__all__ = [
    "BY_NAME",
    "Offline",
    "Provider",
    "auth0",
    "authentik",
    "cognito",
    "dex",
    "dropbox",
    "entra",
    "gitea",
    "github",
    "gitlab",
    "google",
    "keycloak",
    "okta",
    "salesforce",
    "slack",
]
