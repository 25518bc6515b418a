"""The personas of providers: data, with where each fact is from.

"Docs" is the provider's own documentation, "report" an issue or a patch of one of its users, and
"common" what is generally known and was not looked up. None of it was tried against the real one.
Names of hosts that belong to a customer are made up.
"""

from __future__ import annotations

import time

import attrs

from ._more_personas import (
    AUTHENTIK,
    COGNITO,
    DEX,
    DROPBOX,
    GITEA,
    KEYCLOAK,
    MCP,
    SALESFORCE,
    SLACK,
)
from ._persona import Persona, at

_OPENID = ("openid-configuration",)


_GOOGLE = Persona(
    name="google",
    source="docs, google-api-nodejs-client#750, cli/oauth device_flow.go; statuses: common",
    issuer="https://accounts.google.com",
    endpoints=at(
        "https://oauth2.googleapis.com",
        authorize="https://accounts.google.com/o/oauth2/v2/auth",
        token="/token",  # noqa: S106
        device="/device/code",
        verify="https://www.google.com/device",
        revoke="/revoke",
        userinfo="https://openidconnect.googleapis.com/v1/userinfo",
        jwks="https://www.googleapis.com/oauth2/v3/certs",
    ),
    well_known=_OPENID,
    offline_parameters={"access_type": "offline"},
    offline_consent=True,
    rotate=False,
    lifetime=3599,
    statuses={"authorization_pending": 428, "access_denied": 403},
    device_names={"verification_uri": "verification_url"},
    complete_uri=False,
    device_lifetime=1800,
    callback_iss=False,
)

_ENTRA_TENANT = "9188040d-6c67-4c5b-b112-36a304b66dad"
_ENTRA = Persona(
    name="entra",
    source="entra-docs reply-url.md, v2-oauth2-device-code.md, refresh-tokens.md; openid-client"
    " #893; AppAuth-iOS#106",
    issuer="https://login.microsoftonline.com/common/v2.0",
    endpoints=at(
        "https://login.microsoftonline.com/common",
        authorize="/oauth2/v2.0/authorize",
        token="/oauth2/v2.0/token",  # noqa: S106
        device="/oauth2/v2.0/devicecode",
        verify="https://microsoft.com/devicelogin",
        userinfo="https://graph.microsoft.com/oidc/userinfo",
        jwks="/discovery/v2.0/keys",
    ),
    well_known=_OPENID,
    redirects="localhost",
    offline_scope="offline_access",
    spends=False,
    errors={
        "access_denied": "authorization_declined",
        "device_code invalid_grant": "bad_verification_code",
    },
    device_lifetime=900,
    complete_uri=False,
    callback_iss=False,
    lies={
        "metadata": {
            "issuer": lambda issuer: issuer.replace("/common/", "/{tenantid}/"),
            "code_challenge_methods_supported": None,
            "authorization_response_iss_parameter_supported": None,
        },
        "id_token": {
            "iss": lambda issuer: issuer.replace("/common/", f"/{_ENTRA_TENANT}/"),
            "tid": _ENTRA_TENANT,
        },
        "device": {
            "interval": lambda seconds: str(int(seconds)),
            "message": "Öffnen Sie die Seite und geben Sie den Code ein.",
        },
    },
)

_GITHUB = Persona(
    name="github",
    source="github/docs authorizing-oauth-apps.md, refreshing-user-access-tokens.md; cli/oauth"
    " device_flow.go; charmbracelet/crush#3399. A GitHub App, whose tokens expire",
    issuer="https://github.com",
    endpoints=at(
        "https://github.com",
        authorize="/login/oauth/authorize",
        token="/login/oauth/access_token",  # noqa: S106
        device="/login/device/code",
        verify="/login/device",
    ),
    well_known=(),
    lifetime=28800,
    token_type="bearer",  # noqa: S106
    scope_separator=",",
    form_encoded=True,
    error_status=200,
    errors={
        "refresh_token invalid_grant": "bad_refresh_token",
        "authorization_code invalid_grant": "bad_verification_code",
        "device_code invalid_grant": "incorrect_device_code",
        "invalid_client": "incorrect_client_credentials",
    },
    device_public=True,
    replaces=True,
    device_lifetime=900,
    complete_uri=False,
    punishes_after_approval=True,
    tells_interval=True,
    callback_iss=False,
)

_GITLAB = Persona(
    name="gitlab",
    source="doorkeeper#1170, #1182; endpoints: common",
    issuer="https://gitlab.com",
    endpoints=at(
        "https://gitlab.com/oauth",
        authorize="/authorize",
        token="/token",  # noqa: S106
        revoke="/revoke",
        device="/authorize_device",
        userinfo="/userinfo",
        jwks="/discovery/keys",
    ),
    redirects="ip",
    lifetime=7200,
    callback_iss=False,
    lies={"token": {"created_at": lambda _: int(time.time())}},
)

_OKTA = Persona(
    name="okta",
    source="okta-developer-docs refresh-tokens; smallstep/cli#156; endpoints: common",
    issuer="https://dev-1.okta.com/oauth2/default",
    endpoints=at(
        "https://dev-1.okta.com/oauth2/default/v1",
        authorize="/authorize",
        token="/token",  # noqa: S106
        revoke="/revoke",
        device="/device/authorize",
        par="/par",
        userinfo="/userinfo",
        jwks="/keys",
    ),
    redirects="exact",
    offline_scope="offline_access",
    reuse_grace=30,
    callback_iss=False,
)

_AUTH0 = Persona(
    name="auth0",
    source="docs (Configure Refresh Token Rotation); nextjs-auth0#2693; mcp-remote#81;"
    " alpacon-cli#244; audience: common",
    issuer="https://tenant.auth0.com/",
    endpoints=at(
        "https://tenant.auth0.com",
        authorize="/authorize",
        token="/oauth/token",  # noqa: S106
        revoke="/oauth/revoke",
        device="/oauth/device/code",
        verify="/activate",
        par="/oauth/par",
        userinfo="/userinfo",
        jwks="/.well-known/jwks.json",
        register="/oidc/register",
    ),
    redirects="exact",
    offline_scope="offline_access",
    audience_parameter="audience",
    lifetime=86400,
    callback_iss=False,
)

_PERSONAS = {
    persona.name: persona
    for persona in (
        Persona(),
        _GOOGLE,
        _ENTRA,
        _GITHUB,
        attrs.evolve(_GITHUB, name="github-oauth-app", lifetime=None, refresh_tokens=False),
        _GITLAB,
        _OKTA,
        _AUTH0,
        KEYCLOAK,
        COGNITO,
        SLACK,
        DROPBOX,
        SALESFORCE,
        GITEA,
        AUTHENTIK,
        DEX,
        MCP,
    )
}
NAMES = tuple(_PERSONAS)


def find_persona(persona: Persona | str) -> Persona:
    """Return the persona of this name."""
    if isinstance(persona, Persona):
        return persona
    if persona not in _PERSONAS:
        raise ValueError(f"there is no persona {persona!r}, only {', '.join(NAMES)}")
    return _PERSONAS[persona]
