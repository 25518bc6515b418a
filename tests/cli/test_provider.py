"""``trioauth login --provider``: what a profile gets from what is known of a provider."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.oauth.providers import KNOWN
from trioauth import ClientSecretPost
from trioauth._profiles import client, files, places
from trioauth.cli.main import main
from trioauth.providers import BY_NAME, auth0, entra, github, okta
from trioauth.testing import AuthServer

if TYPE_CHECKING:
    from .conftest import Shell

# As `tests.oauth.providers.KNOWN` has them.
SAID: dict[str, list[str]] = {
    "google": [],
    "entra": [],
    "github": [],
    "gitlab": [],
    "okta": ["--domain", "dev-1.okta.com"],
    "auth0": ["--domain", "tenant.auth0.com", "--audience", "https://api.example.com"],
    "keycloak": ["--url", "https://keycloak.example", "--realm", "main"],
    "cognito": ["--pool", "eu-west-1_Example"],
    "slack": [],
    "dropbox": [],
    "salesforce": [],
    "gitea": ["--url", "https://gitea.example"],
    "authentik": ["--url", "https://authentik.example", "--application", "notes"],
    "dex": ["--issuer", "https://dex.example/dex"],
}


async def take(shell: Shell, *more: str) -> Any:
    """Log in with a token from elsewhere: the server is asked nothing."""
    return await shell("login", "notes", "--with-token", *more, stdin="at-canary")


def client_there() -> Any:
    return client.client_of(files.load_profile("notes"))


@pytest.mark.parametrize("name", SAID)
async def test_a_profile_of_a_provider_is_the_same_client_as_in_a_program(
    name: str, shell: Shell
) -> None:
    assert SAID.keys() == BY_NAME.keys()
    done = await take(
        shell, "--provider", name, *SAID[name], "--client-id", "c", "--scope", "notes"
    )
    assert done.code == 0, done.err
    # `==` does not look into what is not hashed.
    ours, theirs = client_there(), KNOWN[name].client("c", scope="notes")
    assert (ours, dict(ours.parameters)) == (theirs, dict(theirs.parameters))
    assert (ours.scope, ours.ports) == (theirs.scope, theirs.ports)
    assert f"  provider {name}\n" in (await shell("status", "notes")).err


@pytest.mark.parametrize(
    ("said", "provider"),
    [
        (["entra", "--tenant", "contoso.com"], entra("contoso.com")),
        (["entra", "--host", "login.microsoftonline.us"], entra(host="login.microsoftonline.us")),
        (["github", "--url", "github.example"], github("github.example")),
        (["okta", "--domain", "a.okta.com", "--server", "b"], okta("a.okta.com", "b")),
        (["okta", "--domain", "a.okta.com", "--server", ""], okta("a.okta.com", None)),
        (["auth0", "--domain", "t.auth0.com"], auth0("t.auth0.com")),
    ],
)
async def test_what_a_provider_may_be_told_is_an_option(
    said: list[str], provider: Any, shell: Shell
) -> None:
    assert (await take(shell, "--provider", *said, "--client-id", "c")).code == 0
    assert client_there() == provider.client("c")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--provider", "goggle"],
         f"there is no provider 'goggle'; there are {', '.join(BY_NAME)}"),
        (["--provider", "auth0"], "auth0 needs --domain"),
        (["--provider", "keycloak"], "keycloak needs --realm and --url"),
        (["--provider", "keycloak", "--url", "https://x.test"], "keycloak needs --realm"),
        (["--provider", "dex"], "dex needs --issuer"),
        (["--provider", "google", "--tenant", "x", "--url", "y"],
         "google takes no --tenant and --url"),
        (["--provider", "google", "--server", ""], "google takes no --server"),
        (["--provider", "google", "--issuer", "https://x.test"], "google takes no --issuer"),
        (["--tenant", "x"], "--tenant: needs --provider, too"),
        (["--provider", "google"], "notes is a new profile: add --client-id"),
        (["--provider", "github"], "notes is a new profile: add --client-id"),
        (["--provider", "entra", "--tenant", "a?b", "--client-id", "c"], "issuer must not have"),
    ],
)  # fmt: skip
async def test_what_a_provider_is_not_told_is_one_line_and_nothing_is_done(
    arguments: list[str], said: str, shell: Shell
) -> None:
    done = await shell("login", "notes", *arguments)
    assert done.code == 2
    assert said in done.err
    assert "\n" not in done.err
    assert shell.files() == []


def test_help_lists_the_providers_and_what_each_needs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["login", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "auth0 (--domain), authentik (--url --application), cognito (--pool)" in text
    for name in BY_NAME:
        assert name in text
    assert "its number or domain (entra)" in text


async def test_what_the_command_line_says_goes_before_what_is_known(shell: Shell) -> None:
    done = await take(
        shell, "--provider", "slack", "--client-id", "c", "--parameter", "team=T1",
        "--redirect-uri", "http://127.0.0.1:9000/back", "--revocation-endpoint", "https://x.test/r",
    )  # fmt: skip
    assert done.code == 0, done.err
    profile = files.load_profile("notes")
    assert (profile.redirect_uri, profile.ports) == ("http://127.0.0.1:9000/back", ())
    assert profile.revocation_endpoint == "https://x.test/r"
    assert profile.token_endpoint == "https://slack.com/api/oauth.v2.access"
    await take(
        shell, "--provider", "google", "--client-id", "c", "--parameter", "prompt=select_account"
    )
    assert files.load_profile("notes").parameters == {
        "access_type": "offline",
        "prompt": "select_account",
    }
    await take(shell, "--provider", "auth0", "--domain", "t.auth0.com", "--client-id", "c",
               "--ports", "9000")  # fmt: skip
    assert files.load_profile("notes").ports == (9000,)


async def test_other_scopes_still_ask_for_what_gives_a_refresh_token(shell: Shell) -> None:
    await take(shell, "--provider", "okta", "--domain", "a.okta.com", "--client-id", "c")
    before = files.load_profile("notes")
    assert before.scope == "offline_access"
    assert (await take(shell, "--scope", "notes mail")).code == 0
    after = files.load_profile("notes")
    assert after.scope == "notes mail offline_access"
    assert (await take(shell, "--account", "ann")).code == 0
    assert files.load_profile("notes").scope == after.scope
    assert files.load_profile("notes").provider == "okta"


async def test_another_server_is_no_provider_any_more(shell: Shell) -> None:
    await take(shell, "--provider", "google", "--client-id", "c")
    await take(shell, "--issuer", "https://x.test", "--client-id", "c")
    profile = files.load_profile("notes")
    assert (profile.provider, profile.parameters, profile.issuer) == (None, {}, "https://x.test")


async def test_a_provider_that_is_not_known_any_more_is_but_a_name(shell: Shell) -> None:
    await take(shell, "--issuer", "https://x.test", "--client-id", "c")
    path = places.profile_file("notes")
    path.write_text(path.read_text() + 'provider = "gone"\n')
    assert (await take(shell, "--scope", "notes")).code == 0
    assert files.load_profile("notes").scope == "notes"


@pytest.mark.parametrize("source", ["env", "file", "stdin"])
async def test_a_provider_gets_the_secret_in_the_form(
    source: str, shell: Shell, tmp_path: Any
) -> None:
    file = tmp_path / "secret"
    file.write_text("cs-canary")
    shell.patch.setenv("NOTES_SECRET", "cs-canary")
    where = {
        "env": ["--client-secret-env", "NOTES_SECRET"],
        "file": ["--client-secret-file", str(file)],
        "stdin": ["--client-secret-stdin"],
    }[source]
    server = AuthServer(persona="google", client_secret="cs-canary")
    server.approve()

    async def handle(transport: object, request: httpx.Request) -> httpx.Response:
        return await server.transport().handle_async_request(request)

    shell.patch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", handle)
    shell.patch.setattr("trioauth.cli.login.TerminalPrompt", lambda **_: server.person())
    who = ["--provider", "google", "--client-id", "client", "--scope", "notes", "--browser"]
    done = await shell("login", "notes", *who, *where, stdin="cs-canary")
    assert done.code == 0, done.err
    auth = client_there().auth
    assert isinstance(auth, ClientSecretPost)
    assert (await shell("token", "notes", "--refresh")).code == 0
    server.check()
    # Unless the command line says how.
    basic = ["--client-secret-env", "NOTES_SECRET", "--client-auth", "client_secret_basic"]
    assert (await take(shell, *basic)).code == 0
    assert files.load_profile("notes").client_auth == "client_secret_basic"
