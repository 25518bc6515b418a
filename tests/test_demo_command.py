"""How the demo is told of a person's own server: options, secrets, and whether it may begin."""

from __future__ import annotations

import getpass
import sys
from typing import TYPE_CHECKING, Any

import pytest
import trio

from trioauth import FileStore, Record, Tokens
from trioauth.cli._command import main
from trioauth.cli._demo import visit as visits
from trioauth.cli._demo.client import Pace
from trioauth.cli._demo.remedies import SECRET_VARIABLE, TOKEN_VARIABLE
from trioauth.cli._demo.visit import default_store

from .canary import SECRET

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trioauth.cli._demo.visit import Visit
    from trioauth.cli._demo.yours import Yours

# Nobody listens on port 1.
TOKEN_URL, API = "http://127.0.0.1:1/oauth/token", "http://127.0.0.1:1/me?key=at-canary"
YOURS = ["--token-url", TOKEN_URL, "--client-id", "notes", "--api", API]


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in (TOKEN_VARIABLE, SECRET_VARIABLE):
        monkeypatch.delenv(variable, raising=False)


def sit_at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    # Called in a test: a fixture would still see another stdout.
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> list[Yours]:
    """Only what would be played."""
    played: list[Yours] = []

    def pretend(stage: Yours, options: object) -> int:
        played.append(stage)
        return 0

    monkeypatch.setattr("trioauth.cli._command._play", pretend)
    return played


def visit_of(played: list[Yours]) -> Visit:
    return played.pop().visit


def says(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return what it says before it gives up."""
    with pytest.raises(SystemExit) as info:
        main(["demo", *arguments])
    assert info.value.code == 2
    return capsys.readouterr().err


def keep(record: Record) -> Path:
    async def save() -> Path:
        store = FileStore(default_store(TOKEN_URL, "notes"))
        async with store.lock():
            await store.save(record, expected=0)
        return store.path

    return trio.run(save)


# --- options -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (YOURS[:2], "go together: add --client-id and --api"),
        (YOURS[:4], "go together: add --api"),
        (["--log-out"], "--log-out: that is for a server of your own"),
        (["--yes", "--rate", "3"], "--rate, --yes: that is for a server of your own"),
        ([*YOURS, "--lifetime", "3"], "--lifetime: how long"),
        ([*YOURS, "--revoke-url", API], "--revoke-url is for --log-out"),
        ([*YOURS, "--rate", "0"], "must be more than 0, not 0"),
        ([*YOURS, "--client-auth", "none"], "invalid choice"),
        (["--token-url", "http://id.example.com/", *YOURS[2:]], "--token-url: http://id.example"),
        ([*YOURS[:4], "--api", "api.example.com"], "--api must be absolute, and http(s)"),
        ([*YOURS, "--log-out", "--revoke-url", "ftp://x"], "--revoke-url must be absolute"),
        ([*YOURS[:2], "--client-id", "a\tb", *YOURS[4:]], "client_id must be printable"),
        (YOURS, "refresh token of notes at 127.0.0.1: put it into the environment variable"),
        ([*YOURS, "--client-auth", "client_secret_post"], SECRET_VARIABLE),
    ],
)
def test_what_makes_no_sense_is_said_before_anything_is_done(
    arguments: list[str], error: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    if "client_id" in error:
        monkeypatch.setenv(TOKEN_VARIABLE, "rt-canary")
    said = says(capsys, *arguments)
    assert error in said
    assert not SECRET.search(said)
    assert list(tmp_path.iterdir()) == []


def test_few_tasks_go_to_a_server_of_ones_own(
    play: list[Yours], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, " rt-canary\n")
    assert main(["demo", *YOURS, "--scope", "read"]) == 0
    visit = visit_of(play)
    assert (visit.rate, visit.log_out, visit.revoke_url) == (10, False, None)
    assert (visit.grant.client_id, visit.grant.scope) == ("notes", "read")
    assert visit.grant.client_secret is None
    assert visit.tokens == Tokens("none-yet", "rt-canary", expires_in=0)
    assert (visit.origin, visit.path) == ("http://127.0.0.1:1", "/me?key=at-canary")
    shown = capsys.readouterr().out
    assert "  GET   http://127.0.0.1:1/me\n" in shown
    assert "by 20 tasks, for 20 seconds: at most 10 a second, 200 in all" in shown
    assert f"  POST  {TOKEN_URL}" in shown
    assert "the public client notes" in shown
    assert str(visit.store.path) in shown
    assert "At the end you are still logged in." in shown
    assert not SECRET.search(shown + repr(visit))


def test_it_says_that_it_will_log_out_and_where_it_revokes(
    play: list[Yours], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "rt-canary")
    monkeypatch.setenv(SECRET_VARIABLE, "cs-canary")
    revoke_url = "http://127.0.0.1:1/revoke"
    assert main(["demo", *YOURS, "--log-out", "--revoke-url", revoke_url]) == 0
    visit = visit_of(play)
    assert (visit.log_out, visit.revoke_url) == (True, revoke_url)
    assert visit.grant.client_secret == "cs-canary"
    shown = capsys.readouterr().out
    assert revoke_url in shown
    assert "At the end you are logged out." in shown
    assert "as the client notes" in shown
    assert not SECRET.search(shown + repr(visit))


def test_each_server_and_client_has_a_file_of_its_own() -> None:
    url = "https://id.Example.com:8443/oauth/token"
    assert default_store(url, "notes").startswith("trioauth-demo-id.example.com-8443-")
    others = [(url, "drive"), (url.replace("oauth", "realm"), "notes"), (TOKEN_URL, "notes")]
    assert len({default_store(*other) for other in [(url, "notes"), *others]}) == 4


# --- secrets -------------------------------------------------------------------------------


def test_in_a_terminal_secrets_are_asked_for_and_do_not_show(
    play: list[Yours], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    asked: list[str] = []
    answers = iter(["cs-canary", " rt-canary "])

    def ask(prompt: str) -> str:
        asked.append(prompt)
        return next(answers)

    sit_at_a_terminal(monkeypatch)
    monkeypatch.setattr(getpass, "getpass", ask)
    assert main(["demo", *YOURS, "--client-auth", "client_secret_post", "--yes"]) == 0
    visit = visit_of(play)
    assert visit.grant.client_secret == "cs-canary"
    assert visit.grant.client_auth == "client_secret_post"
    assert visit.tokens is not None
    assert visit.tokens.refresh_token == "rt-canary"
    assert [prompt.split(" of notes at ")[0] for prompt in asked] == [
        "The client secret",
        "The refresh token",
    ]
    assert not SECRET.search(capsys.readouterr().out)


@pytest.mark.parametrize("answer", ["", "  ", EOFError])
def test_no_answer_is_no_secret(
    answer: Any, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def ask(prompt: str) -> str:
        if answer is EOFError:
            raise EOFError
        return str(answer)

    sit_at_a_terminal(monkeypatch)
    monkeypatch.setattr(getpass, "getpass", ask)
    assert "it takes the refresh token of notes at 127.0.0.1, and none was given" in says(
        capsys, *YOURS
    )


def test_a_token_that_can_be_none_is_not_repeated(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "rt-canary with spaces")
    said = says(capsys, *YOURS)
    assert "refresh_token must be visible ASCII" in said
    assert not SECRET.search(said)


# --- going on ------------------------------------------------------------------------------


def test_a_login_in_the_file_is_gone_on_from_whatever_the_environment_says(
    play: list[Yours], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = keep(Record(5, Tokens("at-canary", "rt-canary")))
    for token in (None, "another"):
        if token is not None:
            monkeypatch.setenv(TOKEN_VARIABLE, token)
        assert main(["demo", *YOURS]) == 0
        visit = visit_of(play)
        assert (visit.tokens, visit.store.path) == (None, path)
        assert "it goes on from those of the last time" in capsys.readouterr().out


def test_a_token_that_never_worked_gives_way_to_another(
    play: list[Yours], monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(Record(1, Tokens("none-yet", "mistyped", expires_in=0)))
    assert main(["demo", *YOURS]) == 0
    assert visit_of(play).tokens is None
    monkeypatch.setenv(TOKEN_VARIABLE, "rt-canary")
    assert main(["demo", *YOURS]) == 0
    visit = visit_of(play)
    assert visit.tokens is not None
    assert visit.tokens.refresh_token == "rt-canary"


@pytest.mark.parametrize("tokens", [None, Tokens("at-canary")])
def test_a_file_without_a_refresh_token_is_no_login(
    tokens: Tokens | None, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(Record(5, tokens))
    assert TOKEN_VARIABLE in says(capsys, *YOURS)


def test_a_file_of_something_else_is_named_and_left_alone(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "mine.json"
    file.write_text("{}")
    file.chmod(0o600)
    assert str(file) in says(capsys, *YOURS, "--store", str(file))
    assert file.read_text() == "{}"


# --- may it? -------------------------------------------------------------------------------


def refuse() -> str:
    return "n"


def agree() -> str:
    return " Y "


def leave() -> str:
    raise EOFError


@pytest.mark.parametrize(("answer", "code"), [(agree, 0), (refuse, 130), (leave, 130)])
def test_in_a_terminal_it_asks_once_before_it_begins(
    answer: Callable[[], str], code: int, play: list[Yours],
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path,
) -> None:  # fmt: skip
    def ask(prompt: str) -> str:
        assert "Ctrl-C ends it at any time" in capsys.readouterr().out
        assert prompt == "\nGo on? [y/N] "
        return answer()

    monkeypatch.setenv(TOKEN_VARIABLE, "rt-canary")
    sit_at_a_terminal(monkeypatch)
    monkeypatch.setattr("builtins.input", ask)
    assert main(["demo", *YOURS]) == code
    assert len(play) == (code == 0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stream", ["stdin", "stdout"])
def test_where_nobody_can_answer_it_does_not_ask(
    stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sit_at_a_terminal(monkeypatch)
    assert visits.may_go_on(yes=True)
    monkeypatch.setattr(getattr(sys, stream), "isatty", lambda: False)
    assert visits.may_go_on(yes=False)


# --- and then ------------------------------------------------------------------------------


def test_a_server_that_is_not_there_is_exit_code_2_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "rt-canary")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert main(["demo", *YOURS]) == 2
    shown = capsys.readouterr()
    assert "20 tasks, at 127.0.0.1:1, 10 requests a second at most" in shown.out
    assert "http://127.0.0.1:1 can't be reached" in shown.out.replace("\n", " ")
    assert shown.err == ""
    assert not SECRET.search(shown.out)
    assert "The refresh token is in" in shown.out


def test_hypercorn_is_not_needed_for_a_server_of_ones_own(
    play: list[Yours], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name != "hypercorn" or None)
    monkeypatch.setenv(TOKEN_VARIABLE, "rt-canary")
    assert main(["demo", *YOURS]) == 0
    with pytest.raises(SystemExit):
        main(["demo"])


async def test_turns_come_at_a_pace_and_later_after_a_pause(autojump_clock: object) -> None:
    pace, began, turns = Pace(4), trio.current_time(), []

    async def turn() -> None:
        await pace.turn()
        turns.append(trio.current_time() - began)

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(turn)
    assert turns == [0, 0.25, 0.5, 0.75, 1]
    pace.charge()
    await turn()
    pace.hold(7)
    await turn()
    assert turns[5:] == [1.5, 8.5]
