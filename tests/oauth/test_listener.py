"""The loopback listener, over real sockets: exactly one callback ends a log-in (P25)."""

from __future__ import annotations

import errno
import logging
import re
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs
import pytest
import trio
import trio.testing

from trioauth._errors import LoginDeclinedError, LoginError, LoginTimeoutError
from trioauth.oauth.logins import connection, listener
from trioauth.oauth.logins.authorization import Code, Refusal, Stray, read_pasted
from trioauth.oauth.logins.listener import Inbox, receive
from trioauth.oauth.logins.ports import Redirect, bind
from trioauth.testing import Victim, every_checkpoint

from .browsers import (
    CODE,
    EXPECTED,
    STATE,
    callback,
    get,
    post,
    read_all,
    tokens_of,
    waiting,
)

if TYPE_CHECKING:
    from trio.testing import MockClock

TLS_HELLO = bytes.fromhex("16030100050100000100")


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def assert_closed(port: int) -> None:
    with socket.socket() as attempt:
        assert attempt.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED


async def test_p25_the_right_callback_ends_the_login_with_a_page_and_frees_the_port() -> None:
    async with waiting() as login:
        answer = await login.ask(get(callback()))
        assert await login.result() == f"tokens for {CODE}"
        assert_closed(login.port.number)
    assert status_of(answer) == 200
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"You are logged in" in body
    assert b"notes" in body
    length = re.search(rb"(?im)^content-length: (\d+)\r?$", head)
    assert length is not None
    assert int(length[1]) == len(body), "whole"
    assert b"connection: close" in head.lower()
    assert b"cache-control: no-store" in head.lower()
    assert CODE.encode() not in answer
    assert STATE.encode() not in answer


@attrs.frozen
class Odd:
    """A request that must change nothing."""

    name: str
    request: bytes
    status: int | None
    """None: the connection is closed without an answer."""


ODD = [
    Odd("favicon", get("/favicon.ico"), 404),
    Odd("root", get("/"), 404),
    Odd("another path", get(callback("/Callback")), 404),
    Odd("a longer path", get(callback("/callback/")), 404),
    Odd("a path that looks like a host", get(callback("//callback")), 404),
    Odd("no query", get("/callback"), 400),
    Odd("wrong state", get(callback(state="wrong")), 400),
    Odd("no state", get(f"/callback?code={CODE}"), 400),
    Odd("state twice", get(f"{callback()}&state={STATE}"), 400),
    Odd("another server", get(callback(iss="https://other.test")), 400),
    Odd("error of another login", get("/callback?error=access_denied&state=wrong"), 400),
    Odd("error of another server", get(f"/callback?error=x&state={STATE}&iss=https://o.test"), 400),
    Odd("prefetch", get(callback(), "Sec-Purpose: prefetch;prerender"), 204),
    Odd("older prefetch", get(callback(), "Purpose: prefetch"), 204),
    Odd("oldest prefetch", get(callback(), "X-Moz: prefetch"), 204),
    Odd("preflight", get(callback(), "Origin: https://evil.test", method="OPTIONS"), 405),
    Odd("head", get(callback(), method="HEAD"), 405),
    Odd("post", post(callback(), f"code={CODE}&state={STATE}"), 405),
    Odd("tls", TLS_HELLO, None),
    Odd("garbage", b"\x00\x01\x02\r\n\r\n", 400),
    Odd("no host", f"GET {callback()} HTTP/1.1\r\n\r\n".encode(), 400),
    Odd("huge head", get(callback(), f"Cookie: {'x' * 100_000}"), 431),
]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd.name)
async def test_p25_an_odd_request_is_answered_and_changes_nothing(odd: Odd) -> None:
    async with waiting() as login:
        answer = await login.ask(odd.request)
        if odd.status is None:
            assert answer == b""
        else:
            assert status_of(answer) == odd.status
        assert not login.over.is_set()
        await login.ask(get(callback()))
        assert await login.result() == f"tokens for {CODE}"


async def test_an_answer_to_head_has_no_body_and_a_405_says_what_is_allowed() -> None:
    async with waiting() as login:
        answer = await login.ask(get(callback(), method="HEAD"))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert body == b""
    assert b"allow: get\r\n" in head.lower() + b"\r\n"
    assert b"access-control" not in head.lower()


async def test_p25_the_right_callback_wins_after_all_that_can_come_before_it() -> None:
    calls: list[Code] = []

    async def finish(code: Code) -> str:
        calls.append(code)
        return "tokens"

    async with waiting(finish=finish) as login, trio.open_nursery() as nursery:
        idle = [await login.connect() for _ in range(200)]
        for odd in ODD:
            nursery.start_soon(login.ask, odd.request)
        await trio.testing.wait_all_tasks_blocked()
        assert not login.over.is_set()
        answers = [await login.ask(get(callback()))]
        assert await login.result() == "tokens"
        for stream in idle:
            assert await read_all(stream) == b"", "closed, and none held up the end"
            await stream.aclose()
    assert [status_of(answer) for answer in answers] == [200]
    assert len(calls) == 1


async def test_p25_a_second_delivery_gets_the_same_page_and_is_not_exchanged_again() -> None:
    calls: list[str] = []
    exchanged = trio.Event()

    async def finish(code: Code) -> str:
        calls.append(code.value)
        await exchanged.wait()
        return "tokens"

    answers: list[bytes] = []
    async with waiting(finish=finish) as login, trio.open_nursery() as nursery:

        async def deliver(request: bytes) -> None:
            answers.append(await login.ask(request))

        nursery.start_soon(deliver, get(callback()))
        await trio.testing.wait_all_tasks_blocked(0.05)
        nursery.start_soon(deliver, get(callback()))
        nursery.start_soon(deliver, get(callback(code="at-canary-other")))
        await trio.testing.wait_all_tasks_blocked(0.05)
        exchanged.set()
        assert await login.result() == "tokens"
    assert calls == [CODE]
    assert len(answers) == 3
    assert len(set(answers)) == 1
    assert b"You are logged in" in answers[0]


async def test_the_page_tells_that_the_exchange_failed() -> None:
    class BrokenError(Exception):
        pass

    async def finish(code: Code) -> str:
        raise BrokenError(f"it quotes {code.value}")

    async with waiting(finish=finish) as login:
        answer = await login.ask(get(callback()))
        with pytest.raises(BrokenError) as info:
            await login.result()
        assert_closed(login.port.number)
    assert info.value.__cause__ is None
    assert info.value.__context__ is None
    assert status_of(answer) == 400
    assert b"You are not logged in" in answer
    assert b"BrokenError" in answer
    assert CODE.encode() not in answer


async def test_a_page_is_not_held_back_for_long_by_a_slow_exchange(mock_clock: MockClock) -> None:
    exchanged = trio.Event()

    async def finish(code: Code) -> str:
        await exchanged.wait()
        return "tokens"

    async with waiting(finish=finish) as login:
        async with await login.connect() as stream:
            await stream.send_all(get(callback()))
            await trio.testing.wait_all_tasks_blocked(0.05)
            mock_clock.jump(3)
            answer = await read_all(stream)
        assert b"Almost done" in answer
        exchanged.set()
        assert await login.result() == "tokens"


async def test_a_refusal_of_the_person_ends_the_login_at_once() -> None:
    async with waiting() as login:
        target = f"/callback?error=access_denied&error_description=No+%3Cb%3E+{STATE}&state={STATE}"
        answer = await login.ask(get(target))
        with pytest.raises(LoginDeclinedError) as info:
            await login.result()
    assert info.value.code == "access_denied"
    assert info.value.description is not None
    assert info.value.description.startswith("No <b>")
    assert status_of(answer) == 400
    assert b"access_denied" in answer
    assert b"No &lt;b&gt;" in answer
    assert b"<b>" not in answer
    assert STATE.encode() not in answer


async def test_an_error_of_the_server_ends_the_login_with_its_words() -> None:
    async with waiting() as login:
        await login.ask(get(f"/callback?error=server_error&state={STATE}&iss=https://id.test"))
        with pytest.raises(LoginError, match="^server_error$") as info:
            await login.result()
    assert type(info.value) is LoginError


async def test_a_form_is_taken_only_if_it_was_asked_for() -> None:
    form = f"code={CODE}&state={STATE}"
    async with waiting(form_post=True) as login:
        assert status_of(await login.ask(post("/elsewhere", form))) == 404
        assert status_of(await login.ask(post("/callback", form, kind="text/plain"))) == 415
        assert status_of(await login.ask(post("/callback", "x" * 70_000))) == 413
        assert status_of(await login.ask(post("/callback", f"code={CODE}&state=x"))) == 400
        assert status_of(await login.ask(get("/callback", method="PUT"))) == 405
        kind = "Application/X-WWW-Form-Urlencoded; charset=utf-8"
        assert status_of(await login.ask(post("/callback", form, kind=kind))) == 200
        assert await login.result() == f"tokens for {CODE}"


async def test_slow_bytes_are_waited_for_but_not_for_ever(mock_clock: MockClock) -> None:
    async with waiting() as login, await login.connect() as stream, await login.connect() as quick:
        for byte in get("/favicon.ico")[:-1]:
            await stream.send_all(bytes([byte]))
        await trio.testing.wait_all_tasks_blocked(0.05)
        mock_clock.jump(9)
        for byte in get("/favicon.ico"):
            await quick.send_all(bytes([byte]))
        assert status_of(await read_all(quick)) == 404
        mock_clock.jump(1)
        assert await read_all(stream) == b""
        assert not login.over.is_set()


async def test_a_peer_that_never_takes_its_page_holds_up_nothing(mock_clock: MockClock) -> None:
    async with waiting() as login, await login.connect() as stream:
        await stream.send_all(get(callback()))
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert not login.over.is_set(), "the page is on its way"
        mock_clock.jump(1)
        assert await login.result() == f"tokens for {CODE}"


async def test_a_peer_that_hangs_up_changes_nothing() -> None:
    async with waiting() as login:
        for request in (b"", b"GET /call", get("/favicon.ico")):
            stream = await login.connect()
            # At once, and with a reset.
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            if request:
                await stream.send_all(request)
            await stream.aclose()
        async with await login.connect() as stream:
            await stream.send_eof()
            assert await read_all(stream) == b""
        assert status_of(await login.ask(get(callback()))) == 200


async def test_waiting_ends_after_the_patience_and_says_what_was_refused(
    mock_clock: MockClock,
) -> None:
    async with waiting(patience=600) as login:
        await login.ask(get(callback(iss="https://other.test")))
        mock_clock.jump(599)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert not login.over.is_set()
        mock_clock.jump(1)
        with pytest.raises(LoginTimeoutError, match="'https://other.test'") as info:
            await login.result()
        assert_closed(login.port.number)
    assert info.value.code == "no_answer"


async def test_waiting_says_nothing_of_requests_that_had_nothing_to_do_with_it(
    mock_clock: MockClock,
) -> None:
    async with waiting(patience=60) as login:
        await login.ask(get(callback(state="wrong")))
        mock_clock.jump(60)
        with pytest.raises(LoginTimeoutError, match="in 60 seconds$"):
            await login.result()


async def test_a_pasted_callback_ends_the_login_and_no_connection_holds_it_up() -> None:
    async with waiting() as login:
        idle = await login.connect()
        await trio.testing.wait_all_tasks_blocked(0.05)
        pasted = f"  {login.port.redirect_uri}?code={CODE}&\n state={STATE} "
        login.inbox.offer(read_pasted(pasted, EXPECTED))
        assert await login.result() == f"tokens for {CODE}"
        await idle.aclose()


async def test_the_oldest_connection_makes_room_but_never_one_with_the_callback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listener, "_MOST_CONNECTIONS", 2)
    exchanged = trio.Event()

    async def finish(code: Code) -> str:
        await exchanged.wait()
        return "tokens"

    async with waiting(finish=finish) as login, await login.connect() as right:
        await right.send_all(get(callback()))
        await trio.testing.wait_all_tasks_blocked(0.05)
        oldest, *others = [await login.connect() for _ in range(3)]
        assert await read_all(oldest) == b""
        exchanged.set()
        assert b"You are logged in" in await read_all(right)
        assert await login.result() == "tokens"
        for stream in (oldest, *others):
            await stream.aclose()


async def test_a_listener_that_can_not_accept_tries_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    accept, failures = trio.SocketListener.accept, [OSError(errno.EMFILE, "no more")]

    async def limited(self: trio.SocketListener) -> trio.SocketStream:
        if failures:
            raise failures.pop()
        return await accept(self)

    monkeypatch.setattr(trio.SocketListener, "accept", limited)
    async with waiting() as login:
        assert status_of(await login.ask(get(callback()))) == 200
    assert "Too many open files" in caplog.text


async def test_control_c_comes_out_as_itself_and_closes_the_port() -> None:
    async def finish(code: Code) -> str:
        raise KeyboardInterrupt

    port = bind(Redirect.read("http://127.0.0.1/callback"))
    inbox = Inbox(EXPECTED)
    inbox.offer(Code(CODE))
    with pytest.raises(KeyboardInterrupt):
        await receive(port, inbox, finish, program="notes")
    assert_closed(port.number)


async def test_strays_are_logged_without_what_they_brought(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "trioauth")
    async with waiting() as login:
        await login.ask(get(callback(state="wrong")))
        await login.ask(TLS_HELLO)
    assert "the state of another log-in" in caplog.text
    assert "asked for https" in caplog.text
    assert CODE not in caplog.text


def test_no_repr_shows_the_code_or_the_state() -> None:
    shown = [
        repr(connection.Request("GET", callback(), form=callback())),
        repr(Inbox(EXPECTED)),
        repr(Code(CODE)),
        repr(Stray("state", "why")),
    ]
    assert not [text for text in shown if CODE in text or STATE in text]


def test_p24_wherever_receiving_is_cancelled_no_port_and_no_task_is_left() -> None:
    async def browser(number: int) -> None:
        with suppress(OSError, trio.BrokenResourceError):
            async with await trio.open_tcp_stream("127.0.0.1", number) as stream:
                await stream.send_all(get(callback()))
                await read_all(stream)

    async def scenario(victim: Victim) -> None:
        before = trio.lowlevel.current_statistics().tasks_living
        finished: list[str] = []
        port = bind(Redirect.read("http://127.0.0.1/callback"))

        async def finish(code: Code) -> str:
            await trio.lowlevel.checkpoint()
            finished.append(code.value)
            return "tokens"

        async def log_in() -> None:
            result = await victim(receive, port, Inbox(EXPECTED), finish, program="notes")
            assert (result == "tokens") == bool(finished), "nothing that was brought is lost"

        async with trio.open_nursery() as nursery:
            nursery.start_soon(log_in)
            nursery.start_soon(browser, port.number)
        assert_closed(port.number)
        assert trio.lowlevel.current_statistics().tasks_living == before

    tried = every_checkpoint(scenario, seeds=[0], clock=lambda: trio.testing.MockClock(rate=1))
    assert len(tried.points) >= 4


async def test_nothing_that_finish_brought_is_lost_while_the_page_is_on_its_way() -> None:
    port, inbox = bind(Redirect.read("http://127.0.0.1/callback")), Inbox(EXPECTED)
    with trio.CancelScope() as scope:

        async def finish(code: Code) -> str:
            scope.cancel()
            return await tokens_of(code)

        inbox.offer(Code(CODE))
        result = await receive(port, inbox, finish, program="notes")
    assert result == f"tokens for {CODE}"


async def test_p25_of_two_callbacks_at_the_same_moment_the_first_is_used() -> None:
    inbox = Inbox(EXPECTED)
    inbox.offer(Stray("state", "another log-in"))
    inbox.offer(Code(CODE))
    inbox.offer(Code("at-canary-other"))
    inbox.offer(Refusal("access_denied"))
    assert await inbox.wait() == Code(CODE)
