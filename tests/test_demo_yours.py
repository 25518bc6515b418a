"""The demo at a person's own server: in memory, on virtual time, but for one run as a user does."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import httpx
import pytest
import trio

import trioauth
from trioauth import MemoryStore, Record, RefreshTokenGrant, StoreError, Tokens
from trioauth.cli._demo import remedies, yours
from trioauth.cli._demo.line import Line
from trioauth.cli._demo.remedies import SECRET_VARIABLE, TOKEN_VARIABLE
from trioauth.cli._demo.show import Options, Show, run
from trioauth.cli._demo.visit import Visit
from trioauth.cli._demo.yours import Yours
from trioauth.cli._demo.yours_report import Result, check, report
from trioauth.testing import AuthServer

from .canary import SECRET

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trioauth.cli._demo.report import Report

API = "https://api.example.com/me"


class Shelf:
    """A store in memory that has a path, and room for so many records."""

    def __init__(self, room: float = 1000) -> None:
        self.path = Path("/tokens.json")
        self.room = room
        self.memory = MemoryStore()
        self.lock, self.load = self.memory.lock, self.memory.load

    async def save(self, record: Record, *, expected: int) -> None:
        if self.room < 1:
            await trio.lowlevel.checkpoint()
            raise StoreError("can't write it: make room on the disk", path=self.path)
        self.room -= 1
        await self.memory.save(record, expected=expected)


class Network(httpx.AsyncBaseTransport):
    """The way to the server; it says when the API was asked, and may answer in its place."""

    def __init__(self, server: AuthServer) -> None:
        self.inner = server.transport()
        self.asked: list[float] = []
        self.instead: Callable[[], httpx.Response] | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.host == "api.example.com":
            assert request.method == "GET"
            self.asked.append(trio.current_time())
            if self.instead is not None:
                return self.instead()
        return await self.inner.handle_async_request(request)


@attrs.define
class Trial:
    """A show at a server, on virtual time."""

    patch: pytest.MonkeyPatch
    server: AuthServer = attrs.field(factory=partial(AuthServer, client_id="notes"))
    store: Any = attrs.field(factory=Shelf)
    network: Network = attrs.field(init=False)
    stage: Any = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.network = Network(self.server)

    async def __call__(
        self,
        meanwhile: Callable[[Show], Awaitable[None]] | None = None,
        *,
        api: str = API,
        goes_on: bool = False,
        log_out: bool = False,
        revoke: bool = False,
        client_id: str = "notes",
        tasks: int = 20,
    ) -> Report:
        server = self.server
        given = Tokens("none-yet", server.log_in().refresh_token, expires_in=0)
        visit = Visit(
            grant=RefreshTokenGrant(
                server.token_url,
                client_id=client_id,
                revocation_endpoint=server.revocation_url if revoke else None,
            ),
            api=httpx.URL(api),
            store=self.store,
            tokens=None if goes_on else given,
            rate=10,
            log_out=log_out,
        )
        open_session = partial(trioauth.open_session, transport=self.network)
        self.patch.setattr(yours, "open_session", open_session)
        self.stage = Yours(visit)
        show = Show(Options(tasks=tasks, seconds=20, seed=7), self.stage)
        found = await run(show, meanwhile or nothing)
        assert not SECRET.search("\n".join(found.lines()))
        assert show.left_running == 0
        return found


async def nothing(show: Show) -> None:
    await trio.sleep_forever()


@pytest.fixture
def trial(monkeypatch: pytest.MonkeyPatch) -> Trial:
    return Trial(monkeypatch)


def broken(found: Report) -> set[str]:
    return {each.promise for each in found.checks if not each.kept}


def promises(found: Report) -> list[str]:
    return [each.promise for each in found.checks]


def text(found: Report) -> str:
    return " ".join(" ".join(found.lines()).split())


# --- a good day ----------------------------------------------------------------------------


async def test_the_show_keeps_the_promises_that_can_be_seen_and_the_server_agrees(
    trial: Trial,
    autojump_clock: object,
) -> None:
    found = await trial()
    assert (broken(found), found.problem, found.exit_code) == (set(), None, 0)
    assert promises(found) == "P1 P2 P3 P4 P5 P6 P7 P8 P12 P14 P20".split()
    ledger = trial.server.ledger
    assert (ledger.refreshes, ledger.max_in_flight, ledger.repeats) == (6, 1, 0)
    assert trial.stage.left_in_the_air
    record = await trial.store.load()
    assert record.generation == 7
    assert "You are still logged in. The tokens are in /tokens.json" in text(found)
    assert "that you had before is spent" in text(found)


async def test_a_later_show_goes_on_from_the_store(trial: Trial, autojump_clock: object) -> None:
    await trial()
    found = await trial(goes_on=True)
    assert (found.exit_code, broken(found)) == (0, set())
    # The token was good: its first refresh is that of a mishap.
    assert trial.server.ledger.refreshes == 6 + 5
    assert trial.server.ledger.reused == 0
    assert (await trial.store.load()).generation == 12


async def test_no_more_requests_are_sent_in_a_second_than_were_announced(
    trial: Trial, autojump_clock: object
) -> None:
    async def meanwhile(show: Show) -> None:
        await trio.sleep(5)
        trial.server.expire()
        await trio.sleep_forever()

    trial.server.api_delay(0.5)
    found = await trial(meanwhile, tasks=60)
    assert ("sent again", 0) not in found.numbers
    asked = trial.network.asked
    # Chance decides who is cancelled, and whose turn is lost with it.
    assert len(asked) > 60
    # Tenths of a second do not add up to whole ones.
    within = [sum(time <= other < time + 1 - 1e-6 for other in asked) for time in asked]
    # But for those that were in the air when the API forgot the token: they are sent again.
    assert 8 <= max(n for n, time in zip(within, asked, strict=True) if time < asked[0] + 4) <= 10
    assert max(within) <= 20
    # And the others come later for it.
    assert len(asked) <= 10 * (asked[-1] - asked[0]) + 2


async def test_who_has_a_turn_but_no_token_any_more_waits_for_both_again(
    autojump_clock: object,
) -> None:
    asked: list[str] = []

    class Session:
        async def token(self) -> None:
            asked.append("token")
            await trio.sleep(1)

        def token_nowait(self) -> None:
            asked.append("at hand?")
            if len(asked) < 4:
                raise trio.WouldBlock

    visit: Any = attrs.make_class("Visit", ["rate", "grant"])(rate=10, grant=None)
    session: Any = Session()
    await Yours(visit)._turn(session)
    assert asked == ["token", "at hand?"] * 2


async def test_tokens_that_live_seconds_are_renewed_before_they_are_old(
    trial: Trial, autojump_clock: object
) -> None:
    trial.server = AuthServer(client_id="notes", lifetime=4)
    trial.network = Network(trial.server)
    acts: list[str] = []

    async def meanwhile(show: Show) -> None:
        while True:
            acts.append(show.act)
            await trio.sleep(1)

    found = await trial(meanwhile)
    assert broken(found) == set()
    assert trial.server.ledger.unauthorized == 0
    assert "all is well: the token lives 4 s more, and is renewed before it is old" in acts


async def test_a_server_that_names_no_lifetime_and_does_not_rotate_is_fine(
    trial: Trial, autojump_clock: object
) -> None:
    trial.server = AuthServer(client_id="notes", lifetime=None, rotate=False)
    trial.network = Network(trial.server)
    found = await trial()
    assert (broken(found), found.exit_code) == (set(), 0)
    assert "The server never replaced the refresh token" in text(found)
    assert "is spent" not in text(found)


async def test_news_that_are_not_late_are_not_taken_for_late(
    trial: Trial, autojump_clock: object
) -> None:
    found = await trial(after(1, partial(trial.server.delay, 4)))
    assert (broken(found), found.exit_code) == (set(), 0)
    assert "P2" not in promises(found)


async def test_a_token_that_the_api_forgets_is_renewed_once_and_requests_are_sent_again(
    trial: Trial,
    autojump_clock: object,
) -> None:
    async def meanwhile(show: Show) -> None:
        await trio.sleep(19)
        trial.server.expire()
        await trio.sleep_forever()

    found = await trial(meanwhile)
    assert (broken(found), found.exit_code) == (set(), 0)
    numbers = dict(found.numbers)
    assert numbers["401s"] == numbers["sent again"] != 0


async def test_a_lost_answer_is_asked_for_again_and_counted(
    trial: Trial, autojump_clock: object
) -> None:
    trial.server = AuthServer(client_id="notes", reuse_grace=10)
    trial.network = Network(trial.server)
    trial.server.drop_answer()
    found = await trial()
    assert (broken(found), found.exit_code) == (set(), 0)
    assert "Refresh tokens presented twice: 1, to learn the fate of a lost answer." in text(found)


async def test_what_another_program_puts_into_the_store_is_adopted(
    trial: Trial, autojump_clock: object
) -> None:
    async def meanwhile(show: Show) -> None:
        await trio.sleep(18.5)
        server = trial.server
        grant = RefreshTokenGrant(server.token_url, client_id="notes")
        async with trioauth.open_session(
            grant, store=trial.store, base_url=server.url, transport=server.transport()
        ) as other:
            await other.refresh()
        server.expire()
        await trio.sleep_forever()

    found = await trial(meanwhile)
    assert (broken(found), found.exit_code) == (set(), 0)
    assert "5 for 5 new generations" not in text(found)
    assert trial.server.ledger.reused == 0


# --- logging out ---------------------------------------------------------------------------


async def test_it_logs_out_and_revokes_only_if_told_to(
    trial: Trial, autojump_clock: object
) -> None:
    found = await trial(log_out=True, revoke=True)
    assert (broken(found), found.exit_code) == (set(), 0)
    assert "P11" in promises(found)
    assert "The end of the login was seen by 20 of 20 tasks." in text(found)
    assert "Logged out, and the server has revoked the tokens. /tokens.json says so." in text(found)
    assert trial.server.ledger.revocations > 0
    assert (await trial.store.load()).tokens is None


async def test_without_a_revocation_endpoint_it_says_that_the_tokens_still_work(
    trial: Trial,
    autojump_clock: object,
) -> None:
    found = await trial(log_out=True)
    assert found.exit_code == 0
    assert "The server was not told (--revoke-url)" in text(found)
    assert trial.server.ledger.revocations == 0


async def test_that_the_server_could_not_be_told_is_said(
    trial: Trial, autojump_clock: object
) -> None:
    async def meanwhile(show: Show) -> None:
        await trio.sleep(19.5)
        trial.server.down()
        await trio.sleep_forever()

    found = await trial(meanwhile, log_out=True, revoke=True)
    assert found.exit_code == 0
    assert "The server could not be told" in text(found)


# --- it can't begin ------------------------------------------------------------------------


async def test_a_refused_token_ends_it_before_it_begins(
    trial: Trial, autojump_clock: object
) -> None:
    async def meanwhile(show: Show) -> None:
        trial.server.revoke()
        await trio.sleep_forever()

    found = await trial(meanwhile)
    assert found.exit_code == 2
    assert "the token endpoint refused the refresh token (invalid_grant" in text(found)
    assert TOKEN_VARIABLE in text(found)
    assert "/tokens.json holds no tokens any more" in text(found)
    assert (found.numbers, found.checks, trial.network.asked) == ((), (), [])


async def test_a_client_that_is_not_known_is_named_and_nothing_is_lost(
    trial: Trial, autojump_clock: object
) -> None:
    found = await trial(client_id="somebody")
    assert found.exit_code == 2
    assert "does not accept this client (invalid_client" in text(found)
    assert SECRET_VARIABLE in text(found)
    assert "The refresh token is in /tokens.json" in text(found)
    assert (await trial.store.load()).tokens.refresh_token is not None
    # With the right one it goes on from there.
    assert (await trial(goes_on=True)).exit_code == 0


async def test_a_token_endpoint_that_is_down_is_named(trial: Trial, autojump_clock: object) -> None:
    trial.server.down()
    found = await trial()
    assert found.exit_code == 2
    assert "gave no usable answer (the server answered with status 503" in text(found)
    assert "--token-url" in text(found)


async def test_an_api_that_refuses_every_token_is_named(
    trial: Trial, autojump_clock: object
) -> None:
    trial.server.reject_all()
    found = await trial()
    assert found.exit_code == 2
    assert "the API refuses the token, although it is new (status 401, invalid_token)" in text(
        found
    )
    assert "You are still logged in." in text(found)
    assert len(trial.network.asked) == 2


async def test_an_api_that_can_not_be_reached_is_named(
    trial: Trial, autojump_clock: object
) -> None:
    def instead() -> httpx.Response:
        raise httpx.ConnectError("at-canary") from OSError(errno.EHOSTUNREACH, "at-canary")

    trial.network.instead = instead
    found = await trial()
    assert found.exit_code == 2
    assert "the API gave no answer (ConnectError: No route to host)" in text(found)


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (302, "redirects"),
        (403, "does not let it do this"),
        (404, "has nothing to say there"),
        (429, "asked too often"),
        (503, "in trouble itself"),
    ],
)
async def test_an_answer_that_is_no_use_is_named(
    trial: Trial, autojump_clock: object, status: int, says: str
) -> None:
    found = await trial(api=f"https://api.example.com/status/{status}?key=at-canary")
    assert found.exit_code == 2
    assert says in text(found)
    assert f"status {status}" in text(found)


async def test_what_can_not_be_kept_is_not_renewed(trial: Trial, autojump_clock: object) -> None:
    trial.store = Shelf(room=0)
    found = await trial()
    assert found.exit_code == 2
    assert "the tokens could not be saved (StoreError: can't write it: make room" in text(found)
    assert "Nothing was sent" in text(found)
    assert (trial.server.ledger.presented, trial.network.asked) == ([], [])


async def test_a_store_that_can_not_be_read_is_named(trial: Trial, autojump_clock: object) -> None:
    async def load() -> None:
        raise StoreError("it is a link: name the file itself")

    trial.store.load = load
    found = await trial()
    assert found.exit_code == 2
    assert "It can't go on: it is a link: name the file itself" in text(found)


# --- it can't go on ------------------------------------------------------------------------


def after(seconds: float, *orders: Callable[[], object]) -> Callable[[Show], Awaitable[None]]:
    async def meanwhile(show: Show) -> None:
        await trio.sleep(seconds)
        for order in orders:
            order()
        await trio.sleep_forever()

    return meanwhile


async def test_a_login_that_the_server_ends_is_seen_by_every_task(
    trial: Trial, autojump_clock: object
) -> None:
    found = await trial(after(7.5, trial.server.revoke))
    assert (broken(found), found.exit_code) == (set(), 2)
    assert "P11" in promises(found)
    assert "the login is over (GrantRefusedError: invalid_grant" in text(found)
    assert "/tokens.json holds no tokens any more" in text(found)


async def test_an_api_that_turns_everybody_away_is_left_alone_soon(
    trial: Trial, autojump_clock: object
) -> None:
    found = await trial(after(7, trial.server.reject_all))
    assert (broken(found), found.exit_code) == (set(), 2)
    assert "the API refuses the token" in text(found)
    assert trial.server.ledger.unauthorized < 20
    assert trio.current_time() < 12


async def test_a_client_that_is_no_longer_known_ends_it(
    trial: Trial, autojump_clock: object
) -> None:
    fail = partial(trial.server.fail, 401, error="invalid_client", times=None)
    found = await trial(after(5, fail))
    assert (broken(found), found.exit_code) == (set(), 2)
    assert "does not accept this client" in text(found)
    assert trio.current_time() < 15


async def test_a_token_endpoint_that_stays_down_ends_it(
    trial: Trial, autojump_clock: object
) -> None:
    found = await trial(after(5, trial.server.down))
    assert (broken(found), found.exit_code) == (set(), 2)
    assert "the token endpoint gave no usable answer" in text(found)
    assert "You are still logged in." in text(found)
    assert len([each for each in trial.server.ledger.presented if each.outcome == "failed"]) <= 9


async def test_an_api_that_wants_a_pause_gets_one(trial: Trial, autojump_clock: object) -> None:
    def busy() -> None:
        trial.network.asked.clear()
        trial.network.instead = partial(httpx.Response, 429)

    def better() -> None:
        trial.network.instead = None

    async def meanwhile(show: Show) -> None:
        await after_a_while(5, busy)
        await after_a_while(3, better)
        await trio.sleep_forever()

    async def after_a_while(seconds: float, order: Callable[[], None]) -> None:
        await trio.sleep(seconds)
        order()

    found = await trial(meanwhile)
    assert (broken(found), found.exit_code) == (set(), 0)
    assert ("other answers", 0) not in found.numbers
    asked = trial.network.asked
    assert max(later - time for time, later in zip(asked, asked[1:], strict=False)) >= 5


async def test_a_network_that_is_gone_for_a_moment_is_only_counted_for_good_it_ends_the_show(
    trial: Trial,
    autojump_clock: object,
) -> None:
    def instead() -> httpx.Response:
        faults.append(1)
        if len(faults) == 2:
            trial.network.instead = None
        raise httpx.ReadError("")

    faults: list[int] = []
    found = await trial(after(5, lambda: setattr(trial.network, "instead", instead)))
    assert (dict(found.numbers)["lost in the network"], found.exit_code) == (2, 0)

    def gone() -> httpx.Response:
        raise httpx.ReadError("")

    found = await trial(after(5, lambda: setattr(trial.network, "instead", gone)))
    assert found.exit_code == 2
    assert "the API gave no answer (ReadError)" in text(found)


async def test_tokens_that_the_store_does_not_take_are_put_elsewhere(
    trial: Trial, autojump_clock: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    trial.store = Shelf(room=2)
    found = await trial()
    assert (found.exit_code, broken(found)) == (1, {"P7", "P8"})
    assert "what can't be kept must not be renewed" in text(found)
    assert trial.server.ledger.refreshes == 2
    (path,) = tmp_path.glob("*/tokens.json")
    assert f"they are in {path}" in "".join(found.ending)
    assert path.stat().st_mode & 0o777 == 0o600
    # And they are good.
    trial.store = trioauth.FileStore(path)
    record = await trial.store.load()
    assert record is not None
    assert record.tokens == trial.stage.line.newest


async def test_where_nothing_can_be_kept_it_says_so(
    trial: Trial, autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/no/such/folder")
    trial.store = Shelf(room=2)
    found = await trial()
    assert found.exit_code == 1
    assert "could not be kept anywhere" in text(found)


# --- Ctrl-C --------------------------------------------------------------------------------


async def test_ctrl_c_loses_nothing_and_says_where_the_tokens_are(
    trial: Trial, autojump_clock: object
) -> None:
    async def meanwhile(show: Show) -> None:
        await trio.sleep(9.5)  # while a refresh is in the air
        assert show.session.statistics().tasks_waiting
        signal.raise_signal(signal.SIGINT)
        try:
            await trio.sleep_forever()
        finally:
            # Once more, out of impatience.
            signal.raise_signal(signal.SIGINT)

    found = await trial(meanwhile)
    assert found.exit_code == 130
    assert list(found.lines())[0].startswith("You are still logged in. The tokens are in")
    assert (await trial.store.load()).tokens == trial.stage.line.newest
    assert trial.server.ledger.refreshes == 4


# --- broken promises -----------------------------------------------------------------------

GOOD = Result(
    requests=100, refused_once=0, refused_twice=0, unauthorized=3, resent=3, most_attempts=2,
    unavailable=5, faults=0, refreshes=8, landed=6, failed=2, generations=7, unsaved=0,
    cancelled=20, cancelled_waiting=9, slowest_exit=0.01, longest_wait=2, wait_limit=30,
    ended=None, tasks=0, saw_collapse=0, left_running=0, problem=None, performed=True, odd=0,
    known_to_be_bad=0, asked=6, most_at_once=1, brought=6, adopted=0, asked_at_once=20,
    refreshes_for_that=1, late=1, late_heeded=0, rotates=True, lost=0, repeated=0, reused=0,
    left_in_the_air=True, goes_on=False, revoked=None, path=Path("tokens.json"), stored=True,
    rescued=None,
)  # fmt: skip


def test_a_good_result_breaks_no_promise() -> None:
    assert all(each.kept for each in check(GOOD))
    assert report(GOOD).exit_code == 0


@pytest.mark.parametrize(
    ("promise", "changes"),
    [
        ("P1", {"brought": 7}),
        ("P1", {"brought": 5}),
        ("P1", {"brought": 8, "ended": "refused", "tasks": 1, "saw_collapse": 1}),
        ("P1", {"most_at_once": 2}),
        ("P1", {"refreshes_for_that": 2}),
        ("P2", {"late_heeded": 1}),
        ("P3", {"known_to_be_bad": 1}),
        ("P4", {"most_attempts": 3}),
        ("P5", {"reused": 1}),
        ("P5", {"repeated": 1}),
        ("P5", {"lost": 1, "repeated": 3}),
        ("P6", {"slowest_exit": 1.0}),
        ("P6", {"refreshes": 9}),
        ("P7", {"unsaved": 1}),
        ("P8", {"stored": False}),
        ("P11", {"ended": "asked", "tasks": 20, "saw_collapse": 19}),
        ("P12", {"left_running": 1}),
        ("P14", {"ended": "unavailable", "tasks": 20, "saw_collapse": 20}),
        ("P20", {"longest_wait": 30.1}),
    ],
)
def test_each_promise_that_is_broken_is_found(promise: str, changes: dict[str, Any]) -> None:
    found = report(attrs.evolve(GOOD, **changes))
    assert (broken(found), found.exit_code) == ({promise}, 1)
    (line,) = (line for line in found.lines() if line.startswith("BROKEN"))
    assert line.split()[1] == promise


def test_what_did_not_happen_is_not_claimed() -> None:
    calm = attrs.evolve(GOOD, late=0, failed=0, landed=8, brought=8, asked_at_once=0)
    assert not {"P2", "P11", "P14"} & set(promises(report(calm)))
    assert "same time" not in text(report(calm))


def test_a_refresh_that_landed_when_the_login_was_over_is_none_too_many() -> None:
    over = attrs.evolve(GOOD, brought=7, ended="asked", tasks=20, saw_collapse=20)
    assert broken(report(over)) == set()


# --- the books -----------------------------------------------------------------------------


async def test_the_line_notices_who_presents_a_spent_token_and_two_at_once(
    autojump_clock: object,
) -> None:
    numbers = iter(range(100))

    async def grant(tokens: Tokens | None, endpoint: object) -> Tokens:
        await trio.sleep(1)
        return Tokens(f"access-{next(numbers)}", f"refresh-{next(numbers)}")

    line: Any = Line(grant)  # type: ignore[arg-type]
    endpoint, first = None, Tokens("access-x", "refresh-x")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(line, first, endpoint)
        nursery.start_soon(line, first, endpoint)
    assert (line.most_at_once, line.repeated, line.reused) == (2, 1, 0)
    await line(first, endpoint)
    assert (line.asked, line.reused, line.rotates) == (3, 1, True)


async def test_a_request_that_was_cancelled_is_a_lost_answer(autojump_clock: object) -> None:
    async def grant(tokens: Tokens | None, endpoint: object) -> Tokens:
        await trio.sleep_forever()
        raise AssertionError

    line: Any = Line(grant)  # type: ignore[arg-type]
    with trio.move_on_after(1):
        await line(Tokens("access-x", "refresh-x"), None)
    assert (line.lost, line.failures, line.brought) == (1, 1, 0)


def test_an_answer_shows_its_error_code_only_if_it_is_a_known_one() -> None:
    def answer(error: str) -> httpx.Response:
        return httpx.Response(403, headers={"WWW-Authenticate": f'Bearer error="{error}"'})

    assert "insufficient_scope" in remedies.wrong_answer(answer("insufficient_scope"))
    assert "at-canary" not in remedies.wrong_answer(answer("at-canary"))


def test_a_login_that_is_not_there_says_so() -> None:
    error = trioauth.LoggedOutError("nobody has logged in yet; log in again", "never_logged_in")
    assert remedies.no_token(error) == "nobody has logged in yet; log in again."


# --- as a user starts it -------------------------------------------------------------------


async def test_as_a_user_starts_it(tmp_path: Path) -> None:
    server = AuthServer(client_id="notes", client_secret="cs-canary")
    picture = tmp_path / "show.svg"
    async with server.serve() as url:
        command = [
            sys.executable, "-m", "trioauth", "demo", "--token-url", server.token_url,
            "--client-id", "notes", "--client-auth", "client_secret_post", "--api", f"{url}/me",
            "--seconds", "3", "--tasks", "10", "--timeline", str(picture),
        ]  # fmt: skip
        environ = {
            **os.environ,
            TOKEN_VARIABLE: server.log_in().refresh_token or "",
            SECRET_VARIABLE: "cs-canary",
        }
        run_process = partial(
            trio.run_process, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_stdout=True,
            capture_stderr=True, check=False,
        )  # fmt: skip
        done = await run_process(command, env=environ)
        shown = done.stdout.decode() + done.stderr.decode()
        assert done.returncode == 0, shown
        assert "about 6 refreshes" in shown
        assert "the line is cut" in shown
        assert "the session is left, with a refresh in the air" in shown
        assert "  kept  P8" in shown
        assert not SECRET.search(shown + picture.read_text("utf-8"))
        (path,) = tmp_path.glob("trioauth-demo-127.0.0.1-*.json")
        assert str(path) in shown
        # Without the refresh token it goes on from there; the mistake is another one.
        del environ[TOKEN_VARIABLE]
        command[command.index("--api") + 1] = f"{url}/status/403"
        done = await run_process(command, env=environ)
        assert done.returncode == 2
        assert b"does not let it do this (status 403)" in done.stdout
        assert b"those of the last time" in done.stdout
    assert {each.method for each in server.ledger.requests_seen} == {"GET"}
    assert server.ledger.reused == 0
