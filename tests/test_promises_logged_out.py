"""Promises P11 to P14: how a login ends, and what does not end it."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio
import trio.testing

import trioauth
from trioauth import (
    GrantMisconfiguredError,
    GrantRefusedError,
    LoggedIn,
    LoggedOut,
    LoggedOutError,
    Record,
    RefreshPolicy,
    RefreshUnavailableError,
    Tokens,
    events,
    open_session,
)

from .both import API, FakeApi, no_token
from .fakes import FakeGrant, FakeStore, first_tokens
from .sessions import opened

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from types import ModuleType

pytestmark = pytest.mark.usefixtures("autojump_clock")


def refusing(latency: float = 1, **options: Any) -> FakeGrant:
    return FakeGrant(latency, script=[GrantRefusedError("invalid_grant", "gone")], **options)


async def catch(
    errors: list[BaseException], function: Callable[..., Awaitable[object]], *args: object
) -> None:
    try:
        await function(*args)
    except trioauth.Error as exc:
        errors.append(exc)


# --- P11: collapse -------------------------------------------------------------------------


async def test_p11_each_waiter_gets_an_error_of_its_own_from_one_cause(library: ModuleType) -> None:
    refusal = GrantRefusedError("invalid_grant")
    grant, api = FakeGrant(script=[refusal]), FakeApi()
    errors: list[BaseException] = []
    async with opened(grant, tokens=first_tokens(0)) as session:
        async with api.client(session, library) as client, trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(catch, errors, client.get, "/")
                nursery.start_soon(catch, errors, session.token)
                nursery.start_soon(catch, errors, session.refresh)
        assert trio.current_time() == 0.5
    assert len({id(error) for error in errors}) == len(errors) == 150
    assert {type(error) for error in errors} == {LoggedOutError}
    assert {error.reason for error in errors if isinstance(error, LoggedOutError)} == {"refused"}
    assert all(error.__cause__ is refusal for error in errors)
    assert len(grant.presented) == 1
    assert api.seen == []


async def test_p11_later_requests_get_it_at_once_without_io(library: ModuleType) -> None:
    grant, store, api = refusing(), FakeStore(latency=1), FakeApi()
    async with opened(grant, tokens=first_tokens(0), store=store) as session:
        async with api.client(session, library) as client:
            with pytest.raises(LoggedOutError):
                await session.token()
            store.fail_lock = store.fail_load = AssertionError("the store is left alone")
            before = trio.current_time()
            for call in (session.token, session.refresh, lambda: client.get("/")):
                with pytest.raises(LoggedOutError, match="refused to renew.*log in again") as info:
                    await call()
                assert info.value.reason == "refused"
            with pytest.raises(LoggedOutError):
                session.token_nowait()
            with pytest.raises(LoggedOutError):
                async with session.open_nursery():
                    raise AssertionError("there is nothing to be alive for")
            assert trio.current_time() == before
    assert len(grant.presented) == 1
    assert api.seen == []


async def test_p11_observers_are_told_before_any_waiter_wakes_and_see_the_new_state() -> None:
    story: list[str] = []

    def observe(event: events.Event) -> None:
        if isinstance(event, events.LoggedOut):
            # The state never shows a half-way point.
            assert session.state == LoggedOut("refused", refusal)
            assert session.generation == 0
            assert session.statistics().seconds_until_expiry is None
            with pytest.raises(LoggedOutError):
                session.token_nowait()
            story.append(f"told {event.reason}")

    async def wait() -> None:
        with pytest.raises(LoggedOutError):
            await session.token()
        assert session.state == LoggedOut("refused", refusal)
        story.append("woke up")

    async def watch() -> None:
        assert await session.wait_logged_out() == LoggedOut("refused", refusal)
        story.append("woke up")

    refusal = GrantRefusedError("invalid_grant")
    grant = FakeGrant(script=[refusal])
    async with opened(grant, tokens=first_tokens(0), observers=[observe]) as session:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(wait)
                nursery.start_soon(watch)
            await trio.testing.wait_all_tasks_blocked()
            assert isinstance(session.state, LoggedIn)
    assert story == ["told refused"] + ["woke up"] * 6


async def test_p11_the_state_is_never_half_way_at_any_step_of_any_task() -> None:
    seen: list[LoggedIn | LoggedOut] = []

    class Look(trio.abc.Instrument):
        def after_task_step(self, task: trio.lowlevel.Task) -> None:
            assert session.generation == getattr(session.state, "generation", 0)
            assert session.statistics().state == session.state
            if not seen or seen[-1] != session.state:
                seen.append(session.state)

    look = Look()
    async with opened(refusing(), tokens=first_tokens(0)) as session:
        trio.lowlevel.add_instrument(look)
        with pytest.raises(LoggedOutError):
            await session.token()
        await session.log_in(first_tokens())
        await session.log_out()
        trio.lowlevel.remove_instrument(look)
    assert [getattr(state, "reason", "in") for state in seen] == ["in", "refused", "in", "asked"]


async def test_p11_the_store_is_told_before_the_waiters() -> None:
    store = FakeStore(latency=1)
    async with opened(refusing(), tokens=first_tokens(0), store=store) as session:
        with pytest.raises(LoggedOutError):
            await session.token()
        assert store.tokens is None


@pytest.mark.parametrize("how", ["refused", "log_out", "log_in"])
async def test_p11_cookies_of_a_login_are_gone_when_observers_are_told_and_configured_ones_stay(
    how: str,
) -> None:
    told: list[dict[str, str]] = []

    def observe(event: events.Event) -> None:
        if isinstance(event, events.LoggedOut):
            told.append(dict(session.http.cookies))

    headers = {"Set-Cookie": "who=somebody"}
    options: dict[str, Any] = {
        "transport": httpx.MockTransport(lambda request: httpx.Response(200, headers=headers)),
        "cookies": {"a": "b"},
        "observers": [observe],
    }
    async with opened(refusing(), **options) as session:
        await session.get("/")
        assert session.http.cookies.get("who") == "somebody"
        if how == "refused":
            with pytest.raises(LoggedOutError):
                await session.refresh()
        elif how == "log_out":
            await session.log_out()
        else:
            await session.log_in(first_tokens())
        assert dict(session.http.cookies) == {"a": "b"}
    assert told == [{"a": "b"}]


async def test_p11_each_login_begins_with_the_configured_cookies() -> None:
    sent: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.headers.get("Cookie"))
        # Configuration can be changed by a server for as long as the login lasts.
        headers = [("Set-Cookie", "region=; Max-Age=0"), ("Set-Cookie", "sid=alice")]
        return httpx.Response(200, headers=headers)

    configured = {"region": "eu"}
    async with opened(transport=httpx.MockTransport(answer), cookies=configured) as session:
        for _ in range(2):
            await session.get("/")
            await session.log_out()
            await session.log_in(first_tokens())
        await session.get("/")
    assert sent == ["region=eu"] * 3
    assert configured == {"region": "eu"}


async def test_p11_cookies_that_the_program_puts_in_their_place_end_with_the_login_too() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, headers={"Set-Cookie": "n=1"}))
    async with opened(transport=transport, cookies={"region": "eu"}) as session:
        session.http.cookies = httpx.Cookies({"who": "somebody"})
        await session.get("/")
        assert dict(session.http.cookies) == {"who": "somebody", "n": "1"}
        await session.log_out()
        assert dict(session.http.cookies) == {"region": "eu"}


@pytest.mark.parametrize("late", ["sid=alices", "sid=gone; Max-Age=0"])
@pytest.mark.parametrize("status", [200, 302, 401])
async def test_p11_no_cookie_of_an_ended_login_is_taken_in_and_nothing_is_undone(
    status: int, late: str
) -> None:
    async def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/slow":
            await trio.sleep(10)
            return httpx.Response(status, headers={"Set-Cookie": late, "Location": "/there"})
        return httpx.Response(200, headers={"Set-Cookie": "sid=bobs"})

    async def ask() -> None:
        with suppress(LoggedOutError):
            await session.get("/slow", follow_redirects=True)

    async with opened(transport=httpx.MockTransport(answer)) as session:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.sleep(1)
            await session.log_in(Tokens("bob", "refresh-bob", 3600))
            await session.get("/")
            assert dict(session.http.cookies) == {"sid": "bobs"}
        assert dict(session.http.cookies) == {"sid": "bobs"}


async def test_p13_a_redirect_of_an_ended_login_gets_no_cookie_of_the_next() -> None:
    sent: list[str | None] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/slow":
            await trio.sleep(10)
            return httpx.Response(303, headers={"Location": "/there"})
        sent.append(request.headers.get("Cookie"))
        return httpx.Response(200, headers={"Set-Cookie": "sid=bobs"})

    async def ask() -> None:
        response = await session.get("/slow")
        assert response.next_request is not None
        sent.append(response.next_request.headers.get("Cookie"))

    async with opened(transport=httpx.MockTransport(answer), cookies={"region": "eu"}) as session:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.sleep(1)
            await session.log_in(Tokens("bob", "refresh-bob", 3600))
            await session.get("/")
    assert sent == ["region=eu"] * 2


async def test_p11_a_401_that_arrives_after_the_login_ended_raises_logged_out(
    library: ModuleType,
) -> None:
    grant, api = FakeGrant(), FakeApi(no_token, latency=5)
    errors: list[BaseException] = []
    async with opened(grant) as session:
        async with api.client(session, library) as client, trio.open_nursery() as nursery:
            nursery.start_soon(catch, errors, client.get, "/")
            await trio.sleep(1)
            await session.log_out()
    [error] = errors
    assert isinstance(error, LoggedOutError)
    assert error.reason == "asked"
    assert grant.presented == []


async def test_p11_a_401_to_a_one_shot_body_after_the_login_ended_raises_logged_out(
    library: ModuleType,
) -> None:
    async def body() -> AsyncGenerator[bytes, None]:  # noqa: ASYNC900  # httpx's way
        yield b"once"

    api = FakeApi(no_token, latency=5)
    errors: list[BaseException] = []
    async with opened() as session:

        async def upload() -> None:
            await client.post("/", content=body())

        async with api.client(session, library) as client, trio.open_nursery() as nursery:
            nursery.start_soon(catch, errors, upload)
            await trio.sleep(1)
            await session.log_out()
    assert [type(error) for error in errors] == [LoggedOutError]


# --- P12: open_nursery ---------------------------------------------------------------------


@pytest.mark.parametrize("how", ["refused", "asked", "replaced", "elsewhere"])
async def test_p12_the_nursery_ends_with_the_login_and_raises_it_bare(how: str) -> None:
    store = FakeStore()
    ended: list[str] = []

    async def task(name: str) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(name)

    async def end() -> None:
        await trio.sleep(1)
        match how:
            case "refused":
                with pytest.raises(LoggedOutError):
                    await session.refresh()
            case "asked":
                await session.log_out()
            case "replaced":
                await session.log_in(first_tokens())
            case "elsewhere":
                assert store.record is not None
                store.record = Record(store.record.generation + 1, None)
                with pytest.raises(LoggedOutError):
                    await session.refresh()

    async with opened(refusing(), store=store) as session:
        async with trio.open_nursery() as outer:
            outer.start_soon(end)
            with pytest.raises(LoggedOutError) as info, trio.fail_after(10):
                async with session.open_nursery() as nursery:
                    nursery.start_soon(task, "a")
                    nursery.start_soon(task, "b")
                    await trio.sleep_forever()
        assert info.value.reason == how
        assert info.value.__suppress_context__
        assert sorted(ended) == ["a", "b"]


async def test_p12_the_nursery_lives_through_a_refresh() -> None:
    async with opened() as session:
        async with session.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 100)
            await session.refresh()
            await session.refresh()
        assert trio.current_time() == 100


async def test_p12_the_nursery_does_not_outlive_its_own_login() -> None:
    async def again() -> None:
        await trio.sleep(1)
        await session.log_out()
        await session.log_in(first_tokens())

    async with opened() as session:
        async with trio.open_nursery() as outer:
            outer.start_soon(again)
            with pytest.raises(LoggedOutError) as info:
                async with session.open_nursery():
                    await trio.sleep_forever()
        assert info.value.reason == "asked"
        async with session.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 7)
        assert trio.current_time() == 8


async def test_p12_tasks_that_met_the_end_themselves_are_left_out_but_others_are_told() -> None:
    async def meet() -> None:
        await session.token()

    async def crash() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise KeyError("in the cleaning up")

    async with opened(refusing(), tokens=first_tokens(0)) as session:
        with pytest.RaisesGroup(KeyError):
            async with session.open_nursery() as nursery:
                nursery.start_soon(crash)
                for _ in range(5):
                    nursery.start_soon(meet)


async def test_p12_without_a_login_the_nursery_does_not_open() -> None:
    async with open_session(FakeGrant(), origins=[API]) as session:
        with pytest.raises(LoggedOutError) as info:
            async with session.open_nursery():
                raise AssertionError("it does not open")
        assert info.value.reason == "never_logged_in"


async def test_p12_an_unattended_grant_logs_in_for_the_nursery() -> None:
    async with open_session(FakeGrant(unattended=True), origins=[API]) as session:
        async with session.open_nursery() as nursery:
            assert session.generation == 1
            nursery.start_soon(trio.sleep, 1)


async def test_p12_other_exceptions_come_as_from_any_nursery() -> None:
    async with opened() as session:
        with pytest.RaisesGroup(ValueError):
            async with session.open_nursery():
                raise ValueError("of the block")
        assert session.generation == 1


async def test_p12_an_outer_cancellation_passes_through_the_nursery() -> None:
    async with opened() as session:
        with trio.move_on_after(3) as scope:
            async with session.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
        assert scope.cancelled_caught
        assert trio.current_time() == 3


# --- P13: one login, one token -------------------------------------------------------------


@pytest.mark.parametrize("refresh_takes", [4, 10], ids=["it lands", "it is cut short"])
@pytest.mark.parametrize("end", ["log_out", "log_in", "refused"])
@pytest.mark.parametrize("when", ["before sending", "after its 401", "in the air", "late 401"])
async def test_p13_a_request_of_the_old_login_is_never_sent_with_the_new_ones_token(
    library: ModuleType, when: str, end: str, refresh_takes: float
) -> None:
    grant = FakeGrant(latency=refresh_takes)
    if end == "refused":
        grant.script = [GrantRefusedError("invalid_grant")]
    api = FakeApi(
        latency={"before sending": 1, "after its 401": 1, "in the air": 50, "late 401": 50}[when],
        refused={"access-0"} if "401" in when else set(),
    )
    lifetime = 0 if when == "before sending" else 3600
    answers: list[Any] = []
    errors: list[BaseException] = []

    async def request() -> None:
        answers.append(await client.get("/"))

    async with opened(grant, tokens=first_tokens(lifetime)) as session:
        async with api.client(session, library) as client, trio.open_nursery() as nursery:
            nursery.start_soon(catch, errors, request)
            await trio.sleep(3)
            match end:
                case "log_out":
                    await session.log_out()
                case "refused":
                    with pytest.raises(LoggedOutError):
                        await session.refresh()
                case _:
                    pass
            await session.log_in(Tokens("newcomer", "other", 3600))
            assert session.token_nowait() == "newcomer"
        assert "newcomer" not in api.tokens
        lands_in_time = end == "log_in" and refresh_takes < 5 and when != "late 401"
        if when == "in the air" or lands_in_time:
            # It was sent already, or while the new login still waited for the refresh to land.
            assert [answer.status_code for answer in answers] == [200]
            assert set(api.tokens) <= {"access-0", "access-1"}
            assert errors == []
        else:
            [error] = errors
            assert isinstance(error, LoggedOutError)
            reasons = {"log_out": "asked", "log_in": "replaced", "refused": "refused"}
            assert error.reason == reasons[end]
        # The new login is whole.
        async with api.client(session, library) as client:
            assert (await client.get("/")).status_code == 200
        assert api.tokens[-1] == "newcomer"


async def test_p13_a_request_of_a_login_that_was_replaced_twice_is_not_sent_again(
    library: ModuleType,
) -> None:
    grant, api = FakeGrant(latency=2), FakeApi(latency=30, refused={"access-0"})
    errors: list[BaseException] = []
    async with opened(grant) as session:
        async with api.client(session, library) as client, trio.open_nursery() as nursery:
            nursery.start_soon(catch, errors, client.get, "/")
            await trio.sleep(1)
            await session.log_out()
            await session.log_in(Tokens("second", "other", 3600))
            await session.log_in(Tokens("third", "other", 3600))
    [error] = errors
    assert isinstance(error, LoggedOutError)
    assert error.reason == "asked"
    assert api.tokens == ["access-0"]


async def test_p13_a_request_of_the_old_login_is_not_sent_again_with_the_same_tokens(
    library: ModuleType,
) -> None:
    api = FakeApi(latency=5, refused={"access-0"})
    errors: list[BaseException] = []
    async with opened() as session:
        async with api.client(session, library) as client, trio.open_nursery() as nursery:
            nursery.start_soon(catch, errors, client.get, "/")
            await trio.sleep(1)
            await session.log_in(first_tokens())
    [error] = errors
    assert isinstance(error, LoggedOutError)
    assert error.reason == "replaced"
    assert len(api.seen) == 1


async def test_p13_waiting_for_a_token_of_the_old_login_raises_too() -> None:
    errors: list[BaseException] = []
    async with opened(FakeGrant(latency=10), tokens=first_tokens(0)) as session:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(catch, errors, session.token)
            await trio.sleep(1)
            await session.log_in(Tokens("newcomer", "other", 3600))
    [error] = errors
    assert isinstance(error, LoggedOutError)
    assert error.reason == "replaced"


async def test_p13_another_login_in_the_store_ends_the_old_one() -> None:
    api, store = FakeApi(refused={"access-0"}), FakeStore()
    told: list[events.Event] = []
    async with opened(
        store=store, transport=httpx.MockTransport(api), observers=[told.append]
    ) as session:
        assert store.record is not None
        theirs = Tokens("theirs", "other", 3600)
        expires_at = time.time() + 3600
        store.record = Record(7, theirs, login="somebody", expires_at_unix=expires_at)
        with pytest.raises(LoggedOutError) as info:
            await session.get("/")
        assert info.value.reason == "replaced"
        assert api.tokens == ["access-0"]
        assert (await session.get("/")).status_code == 200
        assert api.tokens == ["access-0", "theirs"]
        assert session.generation == 7
    kinds = [type(event) for event in told]
    assert kinds.count(events.LoggedOut) == 1
    assert kinds.index(events.LoggedOut) < kinds.index(events.LoggedIn, 2)


# --- P14: unavailable is not refused -------------------------------------------------------

TROUBLES: dict[str, Callable[[], Exception]] = {
    "network": lambda: OSError("network is unreachable"),
    "not sent": lambda: RefreshUnavailableError("connection refused", safe_to_repeat=True),
    "503": lambda: RefreshUnavailableError("503", retry_after=0.5, safe_to_repeat=True),
    "429": lambda: RefreshUnavailableError("429", retry_after=1e9, safe_to_repeat=True),
    "captive portal": lambda: trioauth.TokenResponseError("not JSON"),
    "empty 400": lambda: RefreshUnavailableError("400 with an empty body"),
    "timeout": lambda: trio.TooSlowError("too slow"),
    "misconfigured": lambda: GrantMisconfiguredError("invalid_client"),
    "defect": lambda: ZeroDivisionError("a mistake in the grant"),
    "group": lambda: ExceptionGroup("several", [OSError("a"), KeyError("b")]),
}

troubles = pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES)


@troubles
async def test_p14_unavailable_never_logs_out(trouble: Callable[[], Exception]) -> None:
    grant, store = FakeGrant(script=[trouble() for _ in range(100)]), FakeStore()
    expected = (
        GrantMisconfiguredError
        if isinstance(trouble(), GrantMisconfiguredError)
        else RefreshUnavailableError
    )
    async with opened(grant, tokens=first_tokens(0), store=store) as session:
        async with session.open_nursery():
            for _ in range(3):
                with pytest.raises(expected) as info:
                    await session.token()
                if expected is RefreshUnavailableError:
                    assert type(info.value.__cause__) is type(trouble())
                assert isinstance(session.state, LoggedIn)
                await trio.sleep(301)
            grant.script.clear()
            assert await session.token() == "access-1"
        assert all(record.tokens is not None for record in store.saved)


@troubles
async def test_p14_while_the_token_still_works_requests_go_on(
    library: ModuleType, trouble: Callable[[], Exception]
) -> None:
    grant, api = FakeGrant(0, script=[trouble() for _ in range(100)]), FakeApi()
    policy = RefreshPolicy(backoff=0.1)
    async with opened(grant, tokens=first_tokens(100), policy=policy) as session:
        async with api.client(session, library) as client:
            # Fresh, early, stale: it fails in the background, then in the foreground.
            for moment in (10, 50, 80, 96, 98, 99.5):
                await trio.sleep_until(moment)
                assert (await client.get("/")).status_code == 200
                assert await session.token() == "access-0"
            assert grant.presented
            assert trio.current_time() < 100
            await trio.sleep_until(100)
            with pytest.raises(trioauth.Error) as info:
                await client.get("/")
            assert not isinstance(info.value, LoggedOutError)
    assert set(api.tokens) == {"access-0"}


@pytest.mark.parametrize("rejected", [False, True])
async def test_p14_the_policy_may_say_log_out(rejected: bool) -> None:
    trouble = OSError("down")
    grant = FakeGrant(script=[trouble] * 100)
    policy = RefreshPolicy(when_unavailable="log_out")
    async with opened(grant, tokens=first_tokens(100), policy=policy) as session:
        await trio.sleep(80)
        # The token still works: no log-out.
        assert session.token_nowait() == "access-0"
        await trio.sleep(15)
        assert session.generation == 1
        if rejected:
            session.reject(1)
        else:
            await trio.sleep(10)
        with pytest.raises(LoggedOutError) as info:
            await session.token()
        assert info.value.reason == "unavailable"
        assert info.value.__cause__ is trouble
        assert session.state == LoggedOut("unavailable", trouble)


async def test_p14_a_misconfiguration_never_logs_out_even_if_the_policy_says_log_out() -> None:
    grant = FakeGrant(script=[GrantMisconfiguredError("invalid_client", "who are you?")])
    policy = RefreshPolicy(when_unavailable="log_out")
    async with opened(grant, tokens=first_tokens(0), policy=policy) as session:
        with pytest.raises(GrantMisconfiguredError, match="invalid_client: who are you?"):
            await session.token()
        assert isinstance(session.state, LoggedIn)


async def test_p14_misconfigured_is_raised_anew_for_each_caller() -> None:
    cause = GrantMisconfiguredError("invalid_client")
    errors: list[BaseException] = []
    async with opened(FakeGrant(script=[cause]), tokens=first_tokens(0)) as session:
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(catch, errors, session.token)
    assert len({id(error) for error in errors} | {id(cause)}) == 6
    # Its cause would be an equal copy of itself.
    assert [(str(error), error.__cause__) for error in errors] == [("invalid_client", None)] * 5


async def test_p14_an_unattended_grant_that_is_unavailable_is_not_logged_out_for_good() -> None:
    grant = FakeGrant(unattended=True, script=[OSError("down")] * 4)
    async with open_session(grant, origins=[API]) as session:
        with pytest.raises(RefreshUnavailableError):
            await session.token()
        with pytest.raises(RefreshUnavailableError):
            session.token_nowait()
        await trio.sleep(6)
        assert await session.token() == "access-1"


async def test_p13_a_request_that_is_about_to_fail_is_not_sent_with_a_login_that_begins_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200)

    async def meanwhile() -> None:
        monkeypatch.undo()
        await session.log_in(Tokens("access-5", "refresh-5", 3600))

    grant = FakeGrant(script=[OSError("down")] * 9)
    transport = httpx.MockTransport(answer)
    async with opened(grant, tokens=first_tokens(0), transport=transport) as session:
        with pytest.raises(RefreshUnavailableError):
            await session.get("/")
        # In the cool-down it fails at once, but for one checkpoint.
        monkeypatch.setattr(trio.lowlevel, "checkpoint", meanwhile)
        with pytest.raises(LoggedOutError) as info:
            await session.get("/")
        assert info.value.reason == "replaced"
        assert sent == []
        assert (await session.get("/")).status_code == 200
