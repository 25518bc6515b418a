"""``trioauth demo --profile``: the show with a person's own login. One refresh, come what may."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import attrs
import httpx
import pytest
import trio
import trio.testing

import trioauth
from tests.canary import SECRET
from trioauth import GrantMisconfiguredError, RefreshUnavailableError, Tokens
from trioauth._profiles import files
from trioauth.cli import _command
from trioauth.cli._demo import show as shows
from trioauth.cli._demo import view, visit
from trioauth.cli._demo.crowd import Crowd
from trioauth.cli._demo.report import Counts, checks_of_a_visit
from trioauth.cli._demo.show import Show, run
from trioauth.cli._demo.visit import OneRefresh, Visit
from trioauth.cli.exits import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trioauth.testing import AuthServer

    from .conftest import Shell

API = "https://server.test/notes"
TASKS = 8


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visit, "_RATE", 200.0)
    monkeypatch.setattr(visit, "_POLICY", attrs.evolve(visit._POLICY, backoff=0))
    monkeypatch.setattr(shows, "_SHORTEST_PAUSE", 0.05)
    monkeypatch.setattr(shows, "_LAST_LOOK", 0.05)


async def watch_nothing(show: Show) -> None:
    await trio.sleep_forever()


def a_visit(api: str = API) -> Visit:
    return Visit(profile=files.load_profile("notes"), api=api, tasks=TASKS, seconds=0.6)


async def play(show: Visit | None = None) -> Visit:
    show = show or a_visit()
    with trio.fail_after(30):
        assert await run(show, show.carry_out, watch_nothing)
    return show


async def play_and_wait_for_all(shell: Shell) -> Visit:
    """Play it on a server that answers when all tasks have waited, and half were cancelled."""
    show, handle = a_visit(), httpx.AsyncHTTPTransport.handle_async_request

    async def handle_late(transport: Any, request: httpx.Request) -> httpx.Response:
        while request.method == "POST" and show.counts.cancelled_waiting < TASKS // 2:  # noqa: ASYNC110  # a count
            await trio.sleep(0.01)
        return await handle(transport, request)

    shell.patch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", handle_late)
    shell.patch.setattr(visit, "_MOMENT", 20)
    return await play(show)


def broken(show: Visit) -> list[str]:
    return [each.promise for each in show.checks() if not each.kept]


# --- one refresh ---------------------------------------------------------------------------


async def test_p1_all_tasks_need_the_token_at_once_and_one_refresh_is_spent(
    shell: Shell, auth_server: AuthServer
) -> None:
    await shell.take()
    show = await play_and_wait_for_all(shell)
    assert auth_server.ledger.refreshes == show.counts.rotations == 1
    assert show.counts.most_served >= TASKS
    assert show.counts.cancelled_waiting >= TASKS // 2
    assert show.counts.requests > TASKS
    assert broken(show) == []
    assert [each.promise for each in show.checks()] == ["P1", "P4", "P6", "P7", "P12", "P20"]
    # The login is there, and renewed: nothing was revoked.
    assert auth_server.ledger.revocations == 0
    assert (await shell.record()).generation == 2
    assert (await shell("token", "notes")).code == 0
    assert auth_server.ledger.refreshes == 1


async def test_a_token_that_has_expired_is_reason_enough_for_the_refresh(
    shell: Shell, auth_server: AuthServer
) -> None:
    await shell.take(expires_in=0.001)
    show = await play_and_wait_for_all(shell)
    assert auth_server.ledger.refreshes == 1
    assert show.counts.most_served >= TASKS
    assert "refresh 1 starts (the token is old)" in [text for _, text in show.crowd.news]
    assert broken(show) == []


async def test_an_api_that_has_forgotten_the_token_is_reason_enough(
    shell: Shell, auth_server: AuthServer
) -> None:
    await shell.take()
    auth_server.expire()
    show = await play()
    assert auth_server.ledger.refreshes == 1
    assert show.counts.resent == show.unauthorized > 0
    assert broken(show) == []


async def test_an_api_that_refuses_every_token_costs_one_refresh(
    shell: Shell, auth_server: AuthServer
) -> None:
    await shell.take()
    auth_server.reject_all()
    show = await play()
    assert auth_server.ledger.refreshes == 1
    assert show.counts.requests == 0
    assert show.unauthorized > 0
    assert broken(show) == []


async def test_tokens_that_live_shorter_than_the_show_cost_one_refresh(
    shell: Shell, auth_server: AuthServer
) -> None:
    await shell.take()
    auth_server.lie(token={"expires_in": 0.1})
    show = await play()
    assert auth_server.ledger.refreshes == 1
    assert show.counts.refreshes > 1
    assert show.counts.unavailable > 0


async def test_what_another_process_renews_is_adopted(
    shell: Shell, auth_server: AuthServer
) -> None:
    await shell.take()
    show, renewed, record = a_visit(), auth_server.log_in(), await shell.record()

    async def carry_out(nursery: trio.Nursery) -> None:
        await shell.replace(tokens=renewed, login=record.login, expires_at_unix=9e9)
        await show.carry_out(nursery)

    assert await run(show, carry_out, watch_nothing)
    assert auth_server.ledger.refreshes == 0
    assert (show.counts.rotations, show.counts.adopted) == (0, 1)
    assert "0 refreshes here, 1 by another process" in show.checks()[0].sentence
    assert broken(show) == []


async def test_what_is_answered_with_another_status_is_counted(
    shell: Shell, auth_server: AuthServer
) -> None:
    await shell.take()
    auth_server.api_answer("/broken", {}, status=404)
    show = await play(a_visit("https://server.test/broken"))
    assert show.counts.otherwise > 0
    assert show.counts.requests == 0
    assert broken(show) == []


async def test_all_tasks_ask_for_the_address_that_was_named(
    shell: Shell, auth_server: AuthServer
) -> None:
    asked = set[str]()
    handle = httpx.AsyncHTTPTransport.handle_async_request

    async def note(transport: Any, request: httpx.Request) -> httpx.Response:
        asked.add(f"{request.method} {request.url}")
        return await handle(transport, request)

    await shell.take()
    shell.patch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", note)
    await play(a_visit(f"{API}?page=2"))
    assert asked - {f"POST {auth_server.token_url}"} == {
        f"GET {API}?page=2",
        "GET https://server.test/.well-known/oauth-authorization-server",
    }


async def test_the_bell_lets_all_tasks_ask_at_once_those_that_are_asking_included(
    autojump_clock: object,
) -> None:
    asked = list[float]()

    async def get(url: str) -> httpx.Response:
        assert url == API
        asked.append(trio.current_time())
        await trio.sleep(1000)
        how = trioauth.Authentication(generation=1, attempts=1)
        return httpx.Response(200, extensions={"trioauth": how})

    crowd = Crowd(random.Random(7), 5000, httpx.RequestError, Counts(), url=API)
    crowd.get = get
    async with trio.open_nursery() as nursery:
        for slot in range(8):
            crowd.start(nursery, slot)
        await trio.testing.wait_all_tasks_blocked()
        crowd.ring()
        await trio.sleep(500)
        assert asked == [0] * 8
        crowd.ring()
        await trio.sleep(700)
        assert asked == [0] * 8 + [1000] * 8
        # And no more than once.
        await trio.sleep(1500)
        assert len(asked) == 16
        nursery.cancel_scope.cancel()


# --- the grant that there is one refresh of --------------------------------------------------


def one_refresh(*answers: Any) -> tuple[OneRefresh, list[str | None]]:
    presented, queue = list[str | None](), list(answers)

    async def client(tokens: Tokens, _: object) -> Tokens:
        await trio.lowlevel.checkpoint()
        presented.append(tokens.refresh_token)
        answer = queue.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return Tokens("at", "rt-canary-2")

    fake: Any = client
    return OneRefresh(fake), presented


async def test_a_second_refresh_is_refused_and_nothing_is_presented() -> None:
    grant, presented = one_refresh("tokens")
    nowhere: Any = None
    await grant(Tokens("at", "rt-canary-1"), nowhere)
    # A server that does not rotate: the same token again.
    for token in ("rt-canary-2", "rt-canary-1"):
        with pytest.raises(RefreshUnavailableError, match="the one refresh") as caught:
            await grant(Tokens("at", token), nowhere)
        assert caught.value.safe_to_repeat
    assert presented == ["rt-canary-1"]


async def test_a_lost_answer_is_asked_for_again_with_the_same_token_only() -> None:
    grant, presented = one_refresh(OSError(), GrantMisconfiguredError("x"), "tokens")
    nowhere: Any = None
    with pytest.raises(OSError):
        await grant(Tokens("at", "rt-canary-1"), nowhere)
    with pytest.raises(RefreshUnavailableError, match="the one refresh"):
        await grant(Tokens("at", "rt-canary-2"), nowhere)
    with pytest.raises(GrantMisconfiguredError):
        await grant(Tokens("at", "rt-canary-1"), nowhere)
    await grant(Tokens("at", "rt-canary-1"), nowhere)
    assert presented == ["rt-canary-1"] * 3
    assert not SECRET.search(repr(grant))


# --- the command line ----------------------------------------------------------------------


@pytest.fixture
def taken(shell: Shell, auth_server: AuthServer) -> Callable[..., None]:
    """Log in with tokens from elsewhere, in a run of trio of its own."""

    def take(**changes: Any) -> None:
        # Outside trio: the token's life begins when the server first sees it.
        tokens = auth_server.log_in()
        answer = {
            "access_token": tokens.access_token,
            "refresh_token": tokens.refresh_token,
            "expires_in": 3600,
            **changes,
        }
        stdin = json.dumps({name: value for name, value in answer.items() if value is not None})

        async def log_in() -> None:
            assert (await shell.log_in("--with-token", stdin=stdin)).code == 0

        trio.run(log_in)

    return take


SHORT = ["--tasks", "8", "--seconds", "0.6", "--seed", "7"]


def demo(*more: str, api: str = API) -> int:
    return _command.main(["demo", "--profile", "notes", "--api", api, *SHORT, *more])


def test_it_says_before_what_it_will_ask_for_and_after_what_came_of_it(
    taken: Callable[..., None], auth_server: AuthServer, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    taken()
    auth_server.delay(0.1)
    picture = tmp_path / "visit.svg"
    assert demo("--timeline", str(picture)) == 0
    shown = capsys.readouterr()
    assert shown.err.startswith(f"With the login of notes, 8 tasks ask for {API}, about 96 times")
    assert "One refresh is spent, and nothing is revoked." in shown.err
    assert "                      refreshes here  1\n" in shown.out
    assert "the token is reported as refused: 8 tasks, one refresh" in shown.out
    assert shown.out.count("  kept  ") == 6
    assert not SECRET.search(shown.out + shown.err + picture.read_text(encoding="utf-8")), "P29"
    assert auth_server.ledger.refreshes == 1


def test_in_a_terminal_it_is_a_picture_with_the_name_of_the_profile(
    taken: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    taken()
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert demo() == 0
    assert "8 tasks, with the login of notes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "code", "said"),
    [
        ("down", 4, ""),
        ("revoke", 3, ""),
        ("reject_all", 1, f"{API} gave no answer that is a success: is it the right address?"),
        ("invalid_client", 1, "invalid_client"),
    ],
)
def test_the_exit_code_says_what_went_wrong_with_the_servers(
    wrong: str, code: int, said: str, taken: Callable[..., None], auth_server: AuthServer,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    taken()
    if wrong == "invalid_client":
        auth_server.fail(401, error="invalid_client", times=None)
    else:
        getattr(auth_server, wrong)()
    assert demo() == code
    shown = capsys.readouterr()
    assert said in shown.err
    assert "Traceback" not in shown.err
    assert auth_server.ledger.refreshes == (wrong == "reject_all")


def test_without_a_login_that_can_be_renewed_there_is_nothing_to_show(
    taken: Callable[..., None], shell: Shell, capsys: pytest.CaptureFixture[str]
) -> None:
    assert demo() == 3
    assert "there is no profile 'notes'" in capsys.readouterr().err
    taken(refresh_token=None)
    assert demo() == 1
    assert "the login of notes can't be renewed" in capsys.readouterr().err
    shell.store().path.unlink()
    assert demo() == 3
    assert "not logged in; to log in: trioauth login notes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--profile", "notes"], "the demo needs --profile and --api, or neither"),
        (["--api", API], "the demo needs --profile and --api, or neither"),
        (["--profile", "notes", "--api", API, "--lifetime", "2"], "--lifetime: with --profile"),
        (["--profile", "notes", "--api", "http://api.example.com"], "--api: "),
        (["--profile", "notes", "--api", "api.example.com"], "--api: "),
        (["--profile", "notes", "--api", "https://[::1"], "--api: "),
        (["--profile", "notes", "--api", "https://api.example.com:x/"], "--api: "),
    ],
)
def test_what_makes_no_sense_is_one_line(
    arguments: list[str], said: str, taken: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    taken()
    capsys.readouterr()
    assert _command.main(["demo", *arguments]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"trioauth: {said}")


def test_hypercorn_is_not_needed_for_it(
    taken: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from importlib.util import find_spec

    taken()
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "hypercorn" else find_spec(name)
    )
    assert demo() == 0


def test_what_must_not_happen_is_not_hidden(
    taken: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: object) -> None:
        await trio.lowlevel.checkpoint()
        raise ZeroDivisionError

    taken()
    monkeypatch.setattr(view, "watch", fail)
    with pytest.RaisesGroup(ZeroDivisionError):
        demo()


def test_a_url_is_checked_when_the_show_is_made(
    taken: Callable[..., None],
) -> None:
    taken()
    with pytest.raises(UsageError, match="--api"):
        Visit(profile=files.load_profile("notes"), api="ftp://api.example.com")


# --- broken promises -----------------------------------------------------------------------

GOOD = Counts(
    requests=100,
    refreshes=2,
    landed=1,
    failed=1,
    generations=2,
    rotations=1,
    most_attempts=2,
    most_served=8,
    lasted=True,
)


@pytest.mark.parametrize(
    ("promise", "changes"),
    [
        (None, {}),
        (None, {"rotations": 0, "adopted": 1, "most_attempts": 3}),
        ("P1", {"rotations": 2, "generations": 3}),
        ("P1", {"rotations": 0}),
        ("P1", {"generations": 3}),
        ("P4", {"most_attempts": 3}),
        ("P6", {"landed": 0}),
        ("P7", {"unsaved": 1}),
        ("P12", {"left_running": 1}),
        ("P20", {"longest_wait": 30.1}),
    ],
)
def test_each_promise_that_is_broken_is_found(promise: str | None, changes: dict[str, Any]) -> None:
    found = [
        each.promise for each in checks_of_a_visit(attrs.evolve(GOOD, **changes)) if not each.kept
    ]
    assert found == ([] if promise is None else [promise])
