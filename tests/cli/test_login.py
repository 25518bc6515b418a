"""``trioauth login``: what it asks of a person, what it keeps, and what is left if it fails."""

from __future__ import annotations

import getpass
import json
import stat
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import trio

from tests.canary import SECRET
from trioauth._profiles import files, places
from trioauth._profiles.profile import Profile
from trioauth.cli import login
from trioauth.cli.main import main
from trioauth.testing import AuthServer

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Shell

SECRET_VALUE = "cs-canary-of-this-client"


def query_of(invitation: Any) -> dict[str, list[str]]:
    return parse_qs(urlsplit(invitation.url).query)


# --- with a person -------------------------------------------------------------------------


async def test_a_person_logs_in_and_other_commands_have_the_token(
    shell: Shell, auth_server: AuthServer
) -> None:
    auth_server.approve()
    done = await shell.log_in("--browser", "--scope", "notes")
    assert (done.code, done.out) == (0, "")
    assert done.err == "notes: logged in at https://server.test\n"
    token = await shell("token", "notes")
    assert token.code == 0
    assert token.err == ""
    assert SECRET.match(token.out)
    assert files.load_profile("notes").way == "browser"


async def test_the_next_log_in_needs_nothing_but_the_name(
    shell: Shell, auth_server: AuthServer
) -> None:
    auth_server.approve()
    await shell.log_in("--browser", "--scope", "notes")
    before = files.load_profile("notes")
    assert (await shell("login", "notes")).code == 0
    assert files.load_profile("notes") == before
    assert [query_of(invitation)["scope"] for invitation, _ in shell.asked] == [["notes"]] * 2
    assert (await shell.record()).generation == 2


async def test_a_person_logs_in_with_a_code(shell: Shell, auth_server: AuthServer) -> None:
    auth_server.lie(device={"interval": 0.05})
    auth_server.approve()
    assert (await shell.log_in("--device")).code == 0
    [(invitation, _)] = shell.asked
    assert invitation.kind == "device"
    assert (await shell("token", "notes")).code == 0


@pytest.mark.parametrize(("option", "opens"), [([], None), (["--no-open"], False)])
async def test_no_browser_is_opened_if_that_was_asked_for(
    option: list[str], opens: bool | None, shell: Shell, auth_server: AuthServer
) -> None:
    auth_server.approve()
    await shell.log_in("--paste", *option)
    [(invitation, options)] = shell.asked
    assert invitation.kind == "paste"
    assert options["open_browser"] is opens


async def test_p24_of_a_log_in_that_is_declined_nothing_is_left(
    shell: Shell, auth_server: AuthServer
) -> None:
    auth_server.deny()
    done = await shell.log_in("--browser")
    assert done.code == 1
    assert "access_denied" in done.err
    assert shell.files() == []
    assert (await shell("token", "notes")).code == 3


async def test_p24_of_a_log_in_that_is_cancelled_nothing_is_left(
    shell: Shell, auth_server: AuthServer
) -> None:
    with trio.move_on_after(0.3) as scope:
        await shell.log_in("--browser")
    assert scope.cancelled_caught
    assert len(shell.asked) == 1
    assert shell.files() == []


async def test_a_log_in_that_fails_leaves_the_one_before_as_it_was(
    shell: Shell, auth_server: AuthServer
) -> None:
    await shell.take()
    before = await shell.record(), files.load_profile("notes")
    auth_server.deny()
    assert (await shell("login", "notes", "--browser", "--account", "ann")).code == 1
    assert (await shell.record(), files.load_profile("notes")) == before


@pytest.mark.parametrize("blocked", ["config", "state/logins", "state"])
async def test_p23_no_person_is_asked_before_profile_and_tokens_can_be_written(
    blocked: str, shell: Shell, auth_server: AuthServer
) -> None:
    auth_server.approve()
    path = shell.home / blocked
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("in the way")
    done = await shell.log_in("--browser")
    assert done.code == 1
    assert str(path) in done.err
    assert shell.asked == []
    assert shell.files() == [path.name]


async def test_what_is_kept_is_private(shell: Shell, auth_server: AuthServer) -> None:
    auth_server.approve()
    await shell.log_in("--browser")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in shell.home.rglob("*") if path.is_file()}
    folders = {stat.S_IMODE(path.stat().st_mode) for path in shell.home.rglob("*") if path.is_dir()}
    assert (modes, folders) == ({0o600}, {0o700})


async def test_it_says_when_there_is_nothing_to_renew_the_login_with(
    shell: Shell, auth_server: AuthServer
) -> None:
    done = await shell.log_in("--with-token", stdin=auth_server.log_in().access_token)
    assert done.code == 0
    assert "There is no refresh token" in done.err


@pytest.mark.parametrize("auth_server", [{"offline_scope": "offline_access"}], indirect=True)
async def test_it_says_what_the_server_wants_for_a_refresh_token(
    shell: Shell, auth_server: AuthServer
) -> None:
    auth_server.approve()
    done = await shell.log_in("--browser", "--scope", "notes")
    assert done.code == 0
    assert done.err.rstrip().endswith("want the scope offline_access.")


async def test_an_account_is_hinted_at_and_has_a_login_of_its_own(
    shell: Shell, auth_server: AuthServer
) -> None:
    auth_server.approve()
    await shell.log_in("--browser")
    await shell.log_in("--browser", "--account", "ann", name="of-ann")
    await shell.log_in("--browser", "--account", "ann", name="ann-again")
    assert [query_of(each).get("login_hint") for each, _ in shell.asked] == [None, ["ann"], ["ann"]]
    assert shell.store("notes").path != shell.store("of-ann").path
    assert shell.store("ann-again").path == shell.store("of-ann").path


# --- settings ------------------------------------------------------------------------------


def test_the_tokens_of_profiles_that_differ_are_never_in_the_same_file(
    shell: Shell,
) -> None:
    one: dict[str, Any] = {"name": "a", "client_id": "c", "issuer": "https://id.example.com"}
    others: list[dict[str, Any]] = [
        {},
        {"name": "b"},
        {"account": "a"},
        {"client_id": "d"},
        {"issuer": "https://id.example.com/"},
        {"issuer": "https://ID.example.org:8443/x"},
        {"resource": ["https://api.example.com"]},
        {"parameters": {"audience": "x"}},
        {"scope": "a b"},
        {"scope": "a"},
    ]
    paths = [places.login_file(Profile(**{**one, **other})) for other in others]
    assert len(set(paths)) == len(others)
    assert places.login_file(Profile(**one, scope="b a")) == paths[8]
    assert paths[5].name.startswith("id.example.org-")
    assert len({Profile(**{**one, **other}).id for other in others}) == 2


async def test_other_scopes_are_another_login_and_the_tokens_of_the_old_one_go(
    shell: Shell, auth_server: AuthServer
) -> None:
    auth_server.approve()
    await shell.log_in("--browser", "--scope", "notes")
    old = shell.store()
    assert (await shell("login", "notes", "--scope", "notes mail")).code == 0
    record = await old.load()
    assert record is not None
    assert (record.tokens, record.ended) == (None, "replaced")
    assert not SECRET.search(old.path.read_text())
    assert (await shell.record()).tokens is not None
    # Once more, away from a login that has ended, and from one that never was.
    old.path.unlink()
    assert (await shell("login", "notes", "--scope", "notes")).code == 0
    assert (await shell("logout", "notes")).code == 0
    assert (await shell("login", "notes", "--scope", "mail")).code == 0


@pytest.mark.parametrize("option", ["--issuer", "--client-id", "--token-endpoint"])
async def test_another_server_or_client_begins_the_profile_anew(
    option: str, shell: Shell, auth_server: AuthServer
) -> None:
    await shell.take()
    done = await shell("login", "notes", option, "https://id.example.com")
    assert done.code == 2
    assert "notes is a new profile: add --" in done.err
    assert option not in done.err


async def test_endpoints_by_hand_are_enough(shell: Shell, auth_server: AuthServer) -> None:
    auth_server.approve()
    done = await shell(
        "login", "notes", "--client-id", "client", "--browser",
        "--token-endpoint", auth_server.token_url,
        "--authorization-endpoint", auth_server.endpoint("authorize"),
        "--redirect-uri", "http://127.0.0.1/back",
    )  # fmt: skip
    assert done.code == 0
    assert query_of(shell.asked[0][0])["redirect_uri"][0].endswith("/back")
    assert (await shell("status", "notes")).code == 0


async def test_what_the_server_wants_besides_is_sent(shell: Shell, auth_server: AuthServer) -> None:
    auth_server.approve()
    await shell.log_in(
        "--browser", "--parameter", "audience=x=y", "--parameter", "prompt=consent",
        "--resource", "https://a.example.com", "--resource", "https://b.example.com",
    )  # fmt: skip
    sent = query_of(shell.asked[0][0])
    assert (sent["audience"], sent["prompt"]) == (["x=y"], ["consent"])
    assert sent["resource"] == ["https://a.example.com", "https://b.example.com"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--scope", "notes"], "add --issuer and --client-id"),
        (["--issuer", "https://id.example.com"], "add --client-id"),
        (["--token-endpoint", "https://id.example.com/token"], "add --client-id"),
        (["--issuer", "http://id.example.com", "--client-id", "c"], "issuer"),
        (["--issuer", "https://[::1", "--client-id", "c"], "issuer"),
        (["--issuer", "https://id.example.com", "--client-id", "\t"], "client_id must be"),
        (["--issuer", "https://x.test", "--client-id", "c", "--ports", "0"], "ports must be"),
        (["--issuer", "https://x.test", "--client-id", "c", "--parameter", "scope=x"], "scope"),
        (["--issuer", "https://x.test", "--client-id", "c", "--redirect-uri", "https://y.test"],
         "redirect_uri"),
        (["--issuer", "https://x.test", "--client-id", "c", "--client-auth", "client_secret_post"],
         "needs to know where the secret is"),
        (["--issuer", "https://x.test", "--client-id", "c", "--client-secret-env", "A",
          "--client-secret-file", "b"], "one of them is enough"),
        (["--issuer", "https://x.test", "--client-id", "c", "--client-secret-env", "NOT_THERE"],
         "the environment variable NOT_THERE should hold"),
        (["--issuer", "https://x.test", "--client-id", "c", "--client-secret-file", "/not/there"],
         "can't be read from /not/there: No such file"),
        (["--issuer", "https://x.test", "--client-id", "c", "--client-secret-file", "/not/there",
          "--client-secret-stdin"], "one source of the secret is enough"),
        (["--issuer", "https://x.test", "--client-id", "c", "--key-file", "/not/there",
          "--client-auth", "client_secret_post"], "go together"),
        (["--client-secret-stdin", "--with-token"], "there is one stdin only"),
    ],
)  # fmt: skip
async def test_settings_that_make_no_sense_are_said_before_anything_is_done(
    arguments: list[str], said: str, shell: Shell
) -> None:
    done = await shell("login", "notes", *arguments, stdin=SECRET_VALUE)
    assert done.code == 2
    assert said in done.err
    assert shell.asked == []
    assert shell.files() == []


@pytest.mark.parametrize(
    "name", ["", "../x", "a/b", "-x", ".x", "a b", "nul", "COM1.x", "a.", "x" * 65]
)
async def test_a_name_that_is_no_file_name_everywhere_is_none_of_a_profile(
    name: str, shell: Shell
) -> None:
    # After "--", or "-x" would be an option.
    for command in ("login", "token"):
        done = await shell(command, "--", name)
        assert done.code == {"login": 2, "token": 3}[command]
        assert "can't be the name of a profile" in done.err


@pytest.mark.parametrize("text", ["audience", "=x"])
def test_a_parameter_has_a_name_and_a_value(
    text: str, shell: Shell, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["login", "notes", "--parameter", text])
    assert caught.value.code == 2
    assert "must be NAME=VALUE" in capsys.readouterr().err


# --- the client's secret -------------------------------------------------------------------


@pytest.fixture
def secretive(shell: Shell) -> Shell:
    """A server whose client has a secret."""
    server = AuthServer(client_secret=SECRET_VALUE)
    server.approve()
    shell.server = server

    async def handle(transport: object, request: httpx.Request) -> httpx.Response:
        return await server.transport().handle_async_request(request)

    shell.patch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", handle)

    shell.patch.setattr(login, "TerminalPrompt", lambda **_: server.person())
    return shell


@pytest.mark.parametrize("how", ["client_secret_basic", "client_secret_post", "client_secret_jwt"])
async def test_the_client_s_secret_stays_where_it_is(
    how: str, secretive: Shell, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET_VALUE}\n")
    secretive.patch.setenv("NOTES_SECRET", SECRET_VALUE)
    for source in (["--client-secret-env", "NOTES_SECRET"], ["--client-secret-file", str(file)]):
        more = [] if how == "client_secret_basic" else ["--client-auth", how]
        assert (await secretive.log_in("--browser", *source, *more)).code == 0
        # Refreshing needs it, too.
        assert (await secretive("token", "notes", "--refresh")).code == 0
        kept = "".join(path.read_text() for path in secretive.home.rglob("*") if path.is_file())
        assert SECRET_VALUE not in kept


async def test_a_secret_from_stdin_is_kept_in_a_private_file(secretive: Shell) -> None:
    done = await secretive.log_in("--browser", "--client-secret-stdin", stdin=f"{SECRET_VALUE}\n")
    assert done.code == 0
    path = secretive.home / "state" / "secrets" / "notes"
    assert path.read_text() == SECRET_VALUE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert SECRET_VALUE not in places.profile_file("notes").read_text()
    assert (await secretive("token", "notes", "--refresh")).code == 0
    assert (await secretive("profiles", "--remove", "notes")).code == 0
    assert not path.exists()


async def test_another_source_of_the_secret_replaces_the_one_before(secretive: Shell) -> None:
    secretive.patch.setenv("NOTES_SECRET", SECRET_VALUE)
    await secretive.log_in("--browser", "--client-secret-stdin", stdin=SECRET_VALUE)
    done = await secretive("login", "notes", "--client-secret-env", "NOTES_SECRET")
    assert done.code == 0
    profile = files.load_profile("notes")
    assert profile.client_secret_env == "NOTES_SECRET"
    assert profile.client_secret_file is None


async def test_a_secret_that_can_be_none_is_not_quoted(secretive: Shell, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(b"cs-canary\xff")
    done = await secretive.log_in("--client-secret-file", str(file))
    assert done.code == 2
    assert "it is not UTF-8" in done.err
    file.write_text("cs-canary\nand more")
    done = await secretive.log_in("--client-secret-file", str(file))
    assert done.code == 2
    assert "client_secret must be printable" in done.err
    file.write_text("key-canary, and no PEM")
    done = await secretive.log_in("--key-file", str(file))
    assert done.code == 2


async def test_a_client_signs_with_its_key(shell: Shell, tmp_path: Path) -> None:
    jwk: Any = pytest.importorskip("joserfc.jwk")
    key = jwk.ECKey.generate_key("P-256")
    server = AuthServer(client_jwks=key.as_dict(private=False, kid="k1"))
    tokens = server.log_in()
    file = tmp_path / "key.pem"
    file.write_bytes(key.as_pem(private=True))

    async def handle(transport: object, request: httpx.Request) -> httpx.Response:
        return await server.transport().handle_async_request(request)

    shell.patch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", handle)
    answer = json.dumps({"refresh_token": tokens.refresh_token})
    done = await shell.log_in(
        "--with-token", "--key-file", str(file), "--key-id", "k1", stdin=answer
    )
    assert done.code == 0, done.err
    assert files.load_profile("notes").client_auth == "private_key_jwt"


async def test_it_says_what_to_install_for_keys(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("joserfc")

    monkeypatch.setattr("trioauth._profiles.client.PrivateKeyJWT", missing)
    file = tmp_path / "key.pem"
    file.write_text("key-canary")
    done = await shell.log_in("--key-file", str(file))
    assert done.code == 2
    assert 'pip install "trioauth[jose]"' in done.err


# --- tokens from elsewhere -----------------------------------------------------------------


async def test_what_a_server_has_answered_is_taken(shell: Shell) -> None:
    assert (await shell.take()).code == 0
    record = await shell.record()
    assert record.tokens is not None
    assert record.tokens.refresh_token is not None
    assert record.expires_at_unix is not None


async def test_a_refresh_token_alone_is_redeemed_at_once(
    shell: Shell, auth_server: AuthServer
) -> None:
    answer = json.dumps({"refresh_token": auth_server.log_in().refresh_token})
    assert (await shell.log_in("--with-token", stdin=answer)).code == 0
    assert auth_server.ledger.refreshes == 1
    assert (await shell("token", "notes")).code == 0
    assert auth_server.ledger.refreshes == 1


async def test_a_refresh_token_that_is_refused_leaves_nothing(
    shell: Shell, auth_server: AuthServer
) -> None:
    done = await shell.log_in("--with-token", stdin='{"refresh_token": "rt-canary"}')
    assert done.code == 1
    assert "invalid_grant" in done.err
    assert shell.files() == []


@pytest.mark.parametrize(
    ("stdin", "said"),
    [
        ("", "the token should come from stdin, and nothing came"),
        ("at-canary with spaces", "what came from stdin are no tokens: access_token"),
        ('{"access_token": "at-canary', "what came from stdin are no tokens: not JSON"),
        ('{"refresh_token": "rt-canary and more"}', "are no tokens: refresh_token must be"),
        ('{"refresh_token": 5}', "are no tokens: refresh_token must be a str"),
        ('{"error": "invalid_grant"}', "are no tokens: invalid_grant"),
        ('{"access_token": "at-canary-1", "access_token": "at-canary-2"}', "occurs twice"),
    ],
)
async def test_what_are_no_tokens_is_not_taken_nor_quoted(
    stdin: str, said: str, shell: Shell
) -> None:
    done = await shell.log_in("--with-token", stdin=stdin)
    assert done.code == 2
    assert said in done.err
    assert shell.files() == []


@pytest.mark.parametrize("answer", ["at-canary-typed", EOFError])
async def test_in_a_terminal_the_token_is_asked_for_and_does_not_show(
    answer: Any, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(prompt: str) -> str:
        assert prompt == "The token: "
        if answer is EOFError:
            raise EOFError
        return str(answer)

    monkeypatch.setattr(getpass, "getpass", ask)
    assert (await shell.log_in("--with-token", stdin=None)).code == (2 if answer is EOFError else 0)
