"""The providers that are known here: data, each with where it is from and when it was read.

"Docs" is the provider's own documentation, "report" an issue or a patch of one of its users, and
"common" what is generally known and was not looked up. None of this has been run against the real
ones: `trioauth.testing.AuthServer` plays each of them (``persona="google"``), as far as it is
known, and the tests log in there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .metadata import AuthorizationServer
from .offline import ALWAYS, AUTH0, BY_SCOPE, DROPBOX, GITHUB, GOOGLE, OKTA, SALESFORCE, SLACK
from .provider import ONE_PORT, Provider

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_READ: Final = "2026-11-27"
_LOCALHOST: Final = "http://localhost/callback"


def _base(place: str) -> str:
    """Return the URL of a host, or of a URL, without a slash at its end."""
    return (place if "://" in place else f"https://{place}").rstrip("/")


def google() -> Provider:
    """Google. Its device flow needs a client of another type, a secret, and allows few scopes."""
    return Provider(
        name="google",
        issuer="https://accounts.google.com",
        offline=GOOGLE,
        source="docs (Using OAuth 2.0 for Web Server Applications; Loopback IP Address flow "
        "Migration Guide); google-api-nodejs-client#750. Devices: cli/oauth device_flow.go, common",
        date=_READ,
    )


def entra(tenant: str = "common", *, host: str = "login.microsoftonline.com") -> Provider:
    """Microsoft Entra ID.

    Args:
      tenant: Its number or domain; or ``common``, ``organizations``, ``consumers``.
      host: That of a national cloud, such as ``login.microsoftonline.us``.
    """
    return Provider(
        name="entra",
        issuer=f"{_base(host)}/{tenant}/v2.0",
        offline=BY_SCOPE,
        # Without a path: MSAL has it so, and paths are compared.
        redirect_uri="http://localhost",
        source="docs (entra-docs reply-url.md, refresh-tokens.md, v2-oauth2-device-code.md); "
        "microsoft-authentication-library-for-dotnet#4688",
        date=_READ,
    )


def github(url: str = "https://github.com") -> Provider:
    """GitHub, or GitHub Enterprise Server. It has no metadata.

    Args:
      url: Where it is.
    """
    base = _base(url)
    return Provider(
        name="github",
        server=AuthorizationServer(
            authorization_endpoint=f"{base}/login/oauth/authorize",
            token_endpoint=f"{base}/login/oauth/access_token",
            device_authorization_endpoint=f"{base}/login/device/code",
        ),
        offline=GITHUB,
        source="docs (authorizing-oauth-apps.md, refreshing-user-access-tokens.md)",
        date=_READ,
    )


def gitlab(url: str = "https://gitlab.com") -> Provider:
    """GitLab.

    Args:
      url: Where it is.
    """
    return Provider(
        name="gitlab",
        issuer=_base(url),
        offline=ALWAYS,
        source="reports (doorkeeper#1170, #1182); the rest: common",
        date=_READ,
    )


def okta(domain: str, server: str | None = "default") -> Provider:
    """Okta.

    Args:
      domain: Yours, such as ``dev-1.okta.com``.
      server: The authorization server; None for that of the organization.
    """
    base = _base(domain)
    return Provider(
        name="okta",
        issuer=base if server is None else f"{base}/oauth2/{server}",
        offline=OKTA,
        ports=ONE_PORT,
        source="docs (refresh-tokens); ports: report (smallstep/cli#156); the rest: common",
        date=_READ,
    )


def auth0(domain: str, *, audience: str | None = None) -> Provider:
    """Auth0.

    Args:
      domain: Yours, such as ``tenant.eu.auth0.com``.
      audience: The API that the token is for. Without one Auth0 gives a token that only its own
          userinfo endpoint takes.
    """
    return Provider(
        name="auth0",
        # With the slash: its issuer has it, and is compared to the letter.
        issuer=f"{_base(domain)}/",
        offline=AUTH0,
        parameters={} if audience is None else {"audience": audience},
        ports=ONE_PORT,
        source="docs (Configure Refresh Token Rotation; Non-Verifiable Callback URI End-User "
        "Confirmation); reports (nextjs-auth0#2693, mcp-remote#81); audience: common",
        date=_READ,
    )


def keycloak(url: str, realm: str) -> Provider:
    """Keycloak. The scope ``offline_access`` gives a login that outlives the person's session.

    Args:
      url: Where it is; with ``/auth`` at its end if it is an old one.
      realm: The name of the realm.
    """
    return Provider(
        name="keycloak",
        issuer=f"{_base(url)}/realms/{realm}",
        offline=ALWAYS,
        redirect_uri=_LOCALHOST,
        source="docs (Red Hat build of Keycloak 26, Offline access); RedirectUtils.java (an older "
        "one); the rest: common",
        date=_READ,
    )


def cognito(pool: str) -> Provider:
    """Amazon Cognito.

    Args:
      pool: The user pool, such as ``eu-west-1_Example``.
    """
    return Provider(
        name="cognito",
        issuer=f"https://cognito-idp.{pool.partition('_')[0]}.amazonaws.com/{pool}",
        offline=ALWAYS,
        redirect_uri=_LOCALHOST,
        ports=ONE_PORT,
        source="docs (RefreshTokenRotationType); redirect URIs: report (logseq#12771); the rest: "
        "common",
        date=_READ,
    )


def slack() -> Provider:
    """Slack. It has no metadata. Apps with PKCE get no scopes of bots on this machine's ports."""
    return Provider(
        name="slack",
        server=AuthorizationServer(
            authorization_endpoint="https://slack.com/oauth/v2/authorize",
            token_endpoint="https://slack.com/api/oauth.v2.access",  # noqa: S106  # a URL
        ),
        offline=SLACK,
        redirect_uri=_LOCALHOST,
        ports=ONE_PORT,
        source="docs (Using token rotation; changelog of 2026-03-30, PKCE); the rest: common",
        date=_READ,
    )


def dropbox() -> Provider:
    """Dropbox. It has no metadata."""
    return Provider(
        name="dropbox",
        server=AuthorizationServer(
            authorization_endpoint="https://www.dropbox.com/oauth2/authorize",
            token_endpoint="https://api.dropboxapi.com/oauth2/token",  # noqa: S106  # a URL
        ),
        offline=DROPBOX,
        redirect_uri=_LOCALHOST,
        ports=ONE_PORT,
        source="docs (OAuth Guide; Using OAuth 2.0 with offline access); the rest: common",
        date=_READ,
    )


def salesforce(domain: str = "login.salesforce.com") -> Provider:
    """Salesforce. It does not say how long its tokens live: a 401 does.

    Args:
      domain: Yours, such as ``example.my.salesforce.com``; or ``test.salesforce.com``.
    """
    return Provider(
        name="salesforce",
        issuer=_base(domain),
        offline=SALESFORCE,
        redirect_uri=_LOCALHOST,
        ports=ONE_PORT,
        source="common; the scope: its users' manuals, too",
        date=_READ,
    )


def gitea(url: str) -> Provider:
    """Gitea, or Forgejo.

    Args:
      url: Where it is.
    """
    return Provider(
        name="gitea",
        issuer=_base(url),
        offline=ALWAYS,
        source="reports (go-gitea#21285, #21293); the rest: common",
        date=_READ,
    )


def authentik(url: str, application: str) -> Provider:
    """Authentik.

    Args:
      url: Where it is.
      application: The slug of the application.
    """
    return Provider(
        name="authentik",
        # With the slash: its issuer has it, and is compared to the letter.
        issuer=f"{_base(url)}/application/o/{application}/",
        offline=BY_SCOPE,
        ports=ONE_PORT,
        source="report (maziggy/bambuddy#995); the rest: common",
        date=_READ,
    )


def dex(issuer: str) -> Provider:
    """Dex. Register the client as public and without redirect URIs: then any port will do.

    Args:
      issuer: As in its configuration.
    """
    return Provider(
        name="dex",
        issuer=_base(issuer),
        offline=BY_SCOPE,
        source="dexidp/dex authflow/request.go, device.go; report (dex#4836); the rest: common",
        date=_READ,
    )


BY_NAME: Final[Mapping[str, Callable[..., Provider]]] = {
    each.__name__: each
    for each in (
        auth0, authentik, cognito, dex, dropbox, entra, gitea, github, gitlab, google, keycloak,
        okta, salesforce, slack,
    )
}  # fmt: skip
"""The functions by their names, for a program that has the name from its user."""
