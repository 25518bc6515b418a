"""The personas of more providers; `_personas` says how to read them."""

from __future__ import annotations

import time

from ._persona import Persona, at

_OPENID = ("openid-configuration",)

KEYCLOAK = Persona(
    name="keycloak",
    source="Red Hat build of Keycloak 26 (Offline access); RedirectUtils.java (an older one);"
    " endpoints: common. As it is unless told to revoke refresh tokens",
    issuer="https://keycloak.example/realms/main",
    endpoints=at(
        "https://keycloak.example/realms/main/protocol/openid-connect",
        authorize="/auth",
        token="/token",  # noqa: S106
        revoke="/revoke",
        device="/auth/device",
        verify="https://keycloak.example/realms/main/device",
        par="/ext/par/request",
        userinfo="/userinfo",
        jwks="/certs",
        register="https://keycloak.example/realms/main/clients-registrations/openid-connect",
    ),
    redirects="localhost",
    spends=False,
    lifetime=300,
)

COGNITO = Persona(
    name="cognito",
    source="docs (RefreshTokenRotationType); logseq#12771; endpoints: common",
    issuer="https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Example",
    endpoints=at(
        "https://example.auth.eu-west-1.amazoncognito.com/oauth2",
        authorize="/authorize",
        token="/token",  # noqa: S106
        revoke="/revoke",
        userinfo="/userInfo",
        jwks="https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Example/.well-known/jwks.json",
    ),
    well_known=_OPENID,
    redirects="exact",
    rotate=False,
    callback_iss=False,
)

SLACK = Persona(
    name="slack",
    source="docs (Using token rotation); members and names of errors: common",
    issuer="https://slack.com",
    endpoints=at(
        "https://slack.com",
        authorize="/oauth/v2/authorize",
        token="/api/oauth.v2.access",  # noqa: S106
    ),
    well_known=(),
    redirects="exact",
    lifetime=43200,
    token_type="bot",  # noqa: S106
    scope_separator=",",
    error_status=200,
    error_members={"ok": False},
    errors={
        "refresh_token invalid_grant": "invalid_refresh_token",
        "authorization_code invalid_grant": "invalid_code",
        "invalid_client": "bad_client_secret",
    },
    callback_iss=False,
    lies={"token": {"ok": True}},
)

DROPBOX = Persona(
    name="dropbox",
    source="remotestorage.js#1267 and clients; the rest: common",
    issuer="https://www.dropbox.com",
    endpoints=at(
        "https://www.dropbox.com",
        authorize="/oauth2/authorize",
        token="https://api.dropboxapi.com/oauth2/token",  # noqa: S106
    ),
    well_known=(),
    redirects="exact",
    offline_parameters={"token_access_type": "offline"},
    lifetime=14400,
    rotate=False,
    token_type="bearer",  # noqa: S106
    callback_iss=False,
)

SALESFORCE = Persona(
    name="salesforce",
    source="common",
    issuer="https://login.salesforce.com",
    endpoints=at(
        "https://login.salesforce.com",
        authorize="/services/oauth2/authorize",
        token="/services/oauth2/token",  # noqa: S106
        revoke="/services/oauth2/revoke",
        userinfo="/services/oauth2/userinfo",
        jwks="/id/keys",
    ),
    well_known=_OPENID,
    redirects="exact",
    offline_scope="refresh_token",
    lifetime=None,
    rotate=False,
    callback_iss=False,
    lies={
        "token": {
            "instance_url": "https://example.my.salesforce.com",
            "issued_at": lambda _: str(int(time.time() * 1000)),
        }
    },
)

GITEA = Persona(
    name="gitea",
    source="go-gitea#21285, #21293; endpoints: common. As it is unless told to invalidate"
    " refresh tokens",
    issuer="https://gitea.example",
    endpoints=at(
        "https://gitea.example/login/oauth",
        authorize="/authorize",
        token="/access_token",  # noqa: S106
        userinfo="/userinfo",
        jwks="/keys",
    ),
    well_known=_OPENID,
    redirects="ip",
    spends=False,
    token_type="bearer",  # noqa: S106
    callback_iss=False,
)

AUTHENTIK = Persona(
    name="authentik",
    source="maziggy/bambuddy#995; endpoints: common",
    issuer="https://authentik.example/application/o/notes/",
    endpoints=at(
        "https://authentik.example/application/o",
        authorize="/authorize/",
        token="/token/",  # noqa: S106
        revoke="/revoke/",
        device="/device/",
        verify="https://authentik.example/device",
        userinfo="/userinfo/",
        jwks="/notes/jwks/",
    ),
    well_known=_OPENID,
    redirects="exact",
    offline_scope="offline_access",
    lifetime=300,
    callback_iss=False,
)

DEX = Persona(
    name="dex",
    source="dexidp/dex authflow/request.go, device.go, #4836; endpoints: common",
    issuer="https://dex.example/dex",
    endpoints=at(
        "https://dex.example/dex",
        authorize="/auth",
        token="/token",  # noqa: S106
        device="/device/code",
        verify="/device",
        userinfo="/userinfo",
        jwks="/keys",
    ),
    well_known=_OPENID,
    offline_scope="offline_access",
    lifetime=86400,
    token_type="bearer",  # noqa: S106
    callback_iss=False,
)

MCP = Persona(
    name="mcp",
    source="MCP 2026-07-28 (authorization, client registration)",
    resource_metadata="challenge",
)
