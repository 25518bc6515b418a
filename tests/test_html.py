"""How values look in a notebook: what the tables say, and what they never show."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest
import trio

import trioauth
from trioauth import LoggedIn, LoggedOut, Tokens
from trioauth.notebook import _html
from trioauth.testing import AuthServer

from .canary import SECRET


class _Table(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip("\n")


def read(html: str) -> dict[str, str]:
    """Read a table: its head under "", and its rows."""
    table = _Table()
    table.feed(html)
    (head,), *rows = table.rows
    return {"": head, **{row[0]: row[1] for row in rows}}


def statistics(**changes: Any) -> trioauth.Statistics:
    values: dict[str, Any] = {
        "generation": 1,
        "state": LoggedIn(1),
        "tasks_waiting": 0,
        "refreshes": 0,
        "retries": 0,
        "rejections": 0,
        "seconds_until_expiry": 90.0,
        "saved": True,
        "last_failure": None,
    }
    return trioauth.Statistics(**values | changes)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "nothing: expired"),
        (0, "nothing: expired"),
        (0.3, "less than a second"),
        (1, "1 s"),
        (99.4, "99 s"),
        (99.6, "2 min"),
        (3599.7, "60 min"),
        (99.4 * 60, "99 min"),
        (2 * 3600, "2 h"),
        (47.4 * 3600, "47 h"),
        (47.6 * 3600, "2 days"),
        (86400 * 3650, "3,650 days"),
    ],
)
def test_time_is_said_as_roughly_as_a_person_would(seconds: float, words: str) -> None:
    assert _html.in_time(seconds) == words


async def test_a_session_says_its_generation_the_time_left_and_who_waits(
    autojump_clock: trio.testing.MockClock,
) -> None:
    server = AuthServer(lifetime=600, scope="write read")
    server.delay(5)
    grant = trioauth.RefreshTokenGrant(server.token_url, client_id="client")
    async with trioauth.open_session(
        grant, tokens=server.log_in(), base_url=server.url, transport=server.transport()
    ) as session:
        await session.get("/notes")
        await trio.sleep(100)
        assert read(_html.of_session(session)) == {
            "": "Session ● logged in",
            "generation": "1",
            "scope": "read write",
            "token good for": "8 min",
            "waiting": "nobody",
            "refreshes": "0",
            "sent again": "nothing",
        }
        server.expire()
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(session.get, "/notes")
            await trio.sleep(1)
            during = read(_html.of_session(session))
        assert during["waiting"] == "3 tasks"
        after = read(_html.of_session(session))
        assert (after["generation"], after["refreshes"]) == ("2", "1")
        assert (after["sent again"], after["refused early"]) == ("3 requests", "1 generation")
        assert after["token good for"] == "10 min"
    closed = read(_html.of_session(session))
    assert closed[""] == "Session ● closed"
    assert closed.keys().isdisjoint({"waiting", "token good for"})


def test_statistics_say_what_is_wrong() -> None:
    fine = read(_html.of_statistics(statistics()))
    assert fine.keys().isdisjoint({"refused early", "store", "last failure"})
    wrong = read(
        _html.of_statistics(
            statistics(tasks_waiting=1, saved=False, last_failure="<b>\x1b[2J & co", rejections=2)
        )
    )
    assert wrong["waiting"] == "1 task"
    assert wrong["refused early"] == "2 generations"
    assert wrong["store"] == "does not have the newest news"
    assert wrong["last failure"] == "<b> [2J & co"


def test_a_token_whose_life_is_unknown_is_used_until_a_server_refuses_it() -> None:
    unknown = read(_html.of_statistics(statistics(seconds_until_expiry=None)))
    assert unknown["token good for"] == "unknown: until a server refuses it"
    out = statistics(seconds_until_expiry=None, state=LoggedOut("asked"), generation=0)
    assert "token good for" not in read(_html.of_statistics(out))


def test_states_say_what_they_are_and_why() -> None:
    assert read(_html.of_state(LoggedIn(3))) == {"": "LoggedIn ● logged in", "generation": "3"}
    refused = LoggedOut("refused", trioauth.GrantRefusedError("invalid_grant", "<i>gone</i>"))
    shown = read(_html.of_state(refused))
    assert shown[""] == "LoggedOut ● logged out"
    assert shown["because"] == "the server said no"
    assert "GrantRefusedError" in shown["cause"]
    assert "<i>" not in _html.of_state(refused)


def test_each_reason_of_a_log_out_has_words() -> None:
    from typing import get_args

    assert set(_html._REASONS) == set(get_args(trioauth.LogoutReason))


def test_tokens_show_everything_but_the_tokens() -> None:
    html = _html.of_tokens(Tokens("at-canary-1", "rt-canary-1", expires_in=3600, scope="b a"))
    assert not SECRET.search(html)
    assert read(html) == {
        "": "Tokens",
        "access token": "hidden",
        "refresh token": "hidden",
        "good for": "60 min",
        "scope": "a b",
    }
    bare = read(_html.of_tokens(Tokens("at-canary-1")))
    assert (bare["refresh token"], bare["good for"], bare["scope"]) == (
        "none",
        "unknown",
        "not said",
    )


def test_colours_are_the_themes_own_and_there_is_no_script() -> None:
    html = _html.of_statistics(statistics())
    assert "var(--jp-ui-font-color1, inherit)" in html
    assert "var(--jp-success-color1, " in html
    assert not re.search(r"<script|<style|javascript:|https?:", html)
