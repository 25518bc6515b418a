"""Logging in and out, in every state, and by whom it had better not be done."""

from __future__ import annotations

import contextvars

import httpx
import pytest
import trio
import trio.testing

import trioauth
from trioauth import (
    GrantRefusedError,
    LoggedOut,
    LoggedOutError,
    Record,
    RefreshPolicy,
    RefreshUnavailableError,
    TokenEndpoint,
    TokenRequest,
    Tokens,
    events,
)

from .both import FakeApi
from .fakes import FakeGrant, FakeStore, RevokingGrant, first_tokens
from .sessions import down, only, opened

pytestmark = pytest.mark.usefixtures("autojump_clock")


# --- log_in and log_out --------------------------------------------------------------------


async def test_log_in_with_a_function_that_obtains_the_tokens_from_a_human() -> None:
    async def ask(endpoint: TokenEndpoint) -> Tokens:
        # Nothing has happened yet.
        assert session.generation == 1
        await trio.sleep(50)
        await endpoint.send(TokenRequest("https://id.test/token"))
        return Tokens("access-7", "refresh-7", 100)

    async def answer(request: httpx.Request) -> httpx.Response:
        await trio.sleep(10)
        return httpx.Response(200)

    async with opened(transport=httpx.MockTransport(answer)) as session:
        await session.log_in(ask)
        assert session.token_nowait() == "access-7"
        # Counted from before it was asked for, but not from before the human.
        assert session.statistics().seconds_until_expiry == 90


async def test_tokens_that_came_another_way_count_from_when_they_came() -> None:
    async def ask(endpoint: TokenEndpoint) -> Tokens:
        await trio.sleep(500)
        return Tokens("access-7", "refresh-7", 100)

    async with opened() as session:
        await session.log_in(ask)
        assert session.statistics().seconds_until_expiry == 100


async def test_log_in_that_fails_or_is_cancelled_leaves_the_session_as_it_was() -> None:
    async def fail(endpoint: TokenEndpoint) -> Tokens:
        raise GrantRefusedError("access_denied", "the human said no")

    async def hang(endpoint: TokenEndpoint) -> Tokens:
        await trio.sleep_forever()
        raise AssertionError

    async with opened() as session:
        async with session.open_nursery():
            with pytest.raises(GrantRefusedError, match="the human said no"):
                await session.log_in(fail)
            with trio.move_on_after(100):
                await session.log_in(hang)
            assert session.token_nowait() == "access-0"


async def test_log_in_is_completed_even_if_its_caller_is_cancelled() -> None:
    store = FakeStore(latency=2)
    async with opened(store=store, tokens=None) as session:
        with trio.move_on_after(1) as scope:
            await session.log_in(first_tokens())
        assert scope.cancelled_caught
        await trio.sleep(10)
        assert session.token_nowait() == "access-0"
        assert store.record is not None


async def test_log_in_without_tokens_asks_an_unattended_grant() -> None:
    grant = FakeGrant(unattended=True)
    async with opened(grant, tokens=None) as session:
        await session.log_in()
        assert session.token_nowait() == "access-1"
        await session.log_out()
        # After a log-out it takes a log-in, even here.
        with pytest.raises(LoggedOutError):
            await session.token()
        await session.log_in()
        assert await session.token() == "access-2"
    assert grant.presented == [None, None]


async def test_an_unattended_grant_logs_in_once_when_first_asked() -> None:
    told: list[events.Event] = []
    api = FakeApi()
    grant = FakeGrant(unattended=True)
    async with opened(
        grant, tokens=None, transport=httpx.MockTransport(api), observers=[told.append]
    ) as session:
        assert session.state == LoggedOut("never_logged_in")
        await trio.sleep(10)
        assert grant.presented == []
        with pytest.raises(trio.WouldBlock):
            session.token_nowait()
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(session.get, "/")
    assert grant.presented == [None]
    assert set(api.tokens) == {"access-1"}
    assert len(only(events.LoggedIn, told)) == 1


async def test_an_unattended_grant_that_is_refused_logs_out_for_good() -> None:
    grant = FakeGrant(unattended=True, script=[GrantRefusedError("invalid_grant")])
    async with opened(grant, tokens=None) as session:
        for _ in range(2):
            with pytest.raises(LoggedOutError) as info:
                await session.token()
            assert info.value.reason == "refused"
    assert len(grant.presented) == 1


async def test_a_grant_is_never_called_twice_at_once() -> None:
    grant = FakeGrant(unattended=True, latency=4)
    async with opened(grant, tokens=None) as session:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.token)
            await trio.sleep(1)
            await session.log_in()
            await trio.sleep(10)
    assert grant.most_in_flight == 1


async def test_log_out_tells_the_state_first_then_the_store_then_the_server() -> None:
    order: list[str] = []

    class Revoking(FakeGrant):
        async def revoke(self, tokens: Tokens, endpoint: TokenEndpoint) -> None:
            assert isinstance(endpoint, TokenEndpoint)
            assert tokens == first_tokens()
            order.append("server")

    def observe(event: events.Event) -> None:
        match event:
            case events.LoggedOut():
                assert session.state == LoggedOut("asked")
                order.append("state")
            case events.Saved() if order:
                order.append("store")
            case events.Revoked():
                order.append("told")
            case _:
                pass

    async with opened(Revoking(), store=FakeStore(latency=1), observers=[observe]) as session:
        await session.log_out()
    assert order == ["state", "store", "server", "told"]


async def test_log_out_acts_before_its_first_checkpoint() -> None:
    store = FakeStore()
    async with opened(store=store) as session:
        with trio.CancelScope() as scope:
            scope.cancel()
            await session.log_out()
        assert scope.cancelled_caught
        assert session.generation == 0
        await trio.sleep(1)
        assert store.tokens is None


@pytest.mark.parametrize("revoke", [True, False])
async def test_revocation_is_a_matter_of_choice(revoke: bool) -> None:
    grant = RevokingGrant()
    async with opened(grant) as session:
        await session.log_out(revoke=revoke)
        await session.log_out(revoke=revoke)
    assert grant.revoked == ([first_tokens()] if revoke else [])


async def test_a_revocation_that_fails_is_told_and_no_error() -> None:
    told: list[events.Event] = []
    grant = RevokingGrant(fail_revoke=OSError("503"))
    async with opened(grant, observers=[told.append]) as session:
        await session.log_out()
    assert told[-1] == events.NotRevoked(time=0, error="OSError")
    assert only(events.Revoked, told) == []


async def test_a_server_without_revocation_is_not_told_to_have_revoked() -> None:
    told: list[events.Event] = []
    async with opened(RevokingGrant(can_revoke=False), observers=[told.append]) as session:
        await session.log_out()
    assert only(events.Revoked, told) == only(events.NotRevoked, told) == []


@pytest.mark.parametrize("moment", [0.25, 1.5], ids=["asking", "saving"])
async def test_log_out_during_a_refresh_revokes_what_it_brings(moment: float) -> None:
    grant, store = RevokingGrant(), FakeStore()
    async with opened(grant, store=store) as session:
        session._flights.take_off("asked_for")
        await trio.sleep(0.1)
        store.latency = 2
        await trio.sleep(moment - 0.1)
        await session.log_out()
        assert session.state == LoggedOut("asked")
        assert store.tokens is None
    assert [tokens.refresh_token for tokens in grant.revoked] == ["refresh-1"]


async def test_after_a_log_out_a_flight_does_not_ask_the_server_any_more() -> None:
    grant, store = FakeGrant(), FakeStore()
    async with opened(grant, store=store) as session:
        store.latency = 1
        session._flights.take_off("asked_for")
        await trio.sleep(0.5)
        await session.log_out()
        await trio.sleep(10)
    assert grant.presented == []


@pytest.mark.parametrize("before", [first_tokens(), None], ids=["logged in", "logged out"])
async def test_a_log_out_wins_over_a_log_in_that_began_before_it(before: Tokens | None) -> None:
    store = FakeStore()
    async with opened(store=store, tokens=before) as session:
        store.latency = 1

        async def log_in() -> None:
            with pytest.raises(LoggedOutError):
                await session.log_in(Tokens("access-5", "refresh-5"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(log_in)
            await trio.sleep(0.5)
            await session.log_out()
        await trio.sleep(10)
        assert isinstance(session.state, LoggedOut)
        assert store.tokens is None


async def test_a_log_in_wins_over_a_log_out_that_began_before_it() -> None:
    store = FakeStore()
    async with opened(store=store) as session:
        store.latency = 1
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.log_out)
            await trio.sleep(0.5)
            await session.log_in(Tokens("access-5", "refresh-5"))
        assert session.token_nowait() == "access-5"
        assert store.tokens == Tokens("access-5", "refresh-5")


async def test_of_two_log_ins_the_later_one_stays() -> None:
    told: list[events.Event] = []
    store = FakeStore(latency=1)
    async with opened(store=store, tokens=None, observers=[told.append]) as session:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.log_in, Tokens("access-5", "refresh-5"))
            await trio.sleep(0.5)
            nursery.start_soon(session.log_in, Tokens("access-6", "refresh-6"))
        assert session.token_nowait() == "access-6"
        assert store.tokens == Tokens("access-6", "refresh-6")
        assert store.record is not None
        assert store.record.generation == session.generation
    ends = [type(e) for e in told if isinstance(e, events.LoggedIn | events.LoggedOut)]
    assert ends == [events.LoggedIn, events.LoggedOut, events.LoggedIn]


async def test_log_out_without_a_login_does_nothing() -> None:
    told: list[events.Event] = []
    store = FakeStore()
    async with opened(store=store, tokens=None, observers=[told.append]) as session:
        await session.log_out()
        assert session.state == LoggedOut("never_logged_in")
    assert told == []
    assert store.record is None


async def test_tokens_of_an_unattended_login_that_was_overtaken_by_a_log_out_are_not_used() -> None:
    grant, store = RevokingGrant(unattended=True), FakeStore()
    async with opened(grant, store=store, tokens=None) as session:
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                with pytest.raises(LoggedOutError):
                    await session.token()

            nursery.start_soon(wait)
            await trio.sleep(0.75)
            await session.log_out()
        await trio.sleep(10)
        assert session.state == LoggedOut("asked")
        assert store.record is None or store.record.tokens is None
    assert [tokens.access_token for tokens in grant.revoked] == ["access-1"]


@pytest.mark.parametrize(
    "when", ["fresh", "flight", "cool-down", "rejected", "logged out", "never"]
)
@pytest.mark.parametrize("what", ["log_in", "log_out"])
async def test_log_in_and_log_out_in_every_state(what: str, when: str) -> None:
    grant, store = FakeGrant(), FakeStore()
    tokens = None if when == "never" else first_tokens()
    async with opened(grant, tokens=tokens, store=store) as session:
        match when:
            case "flight":
                session._flights.take_off("asked_for")
                await trio.sleep(0.1)
            case "cool-down":
                grant.script = [OSError("down")] * 4
                with pytest.raises(RefreshUnavailableError):
                    await session.refresh()
            case "rejected":
                session.reject(1)
            case "logged out":
                await session.log_out()
            case _:
                pass
        before = session._machine.number
        if what == "log_in":
            await session.log_in(Tokens("access-5", "refresh-5", 3600))
            assert await session.token() == "access-5"
            assert session.generation > before
            assert store.record is not None
            assert store.record.generation == session.generation
        else:
            await session.log_out()
            never = LoggedOut("never_logged_in")
            assert session.state == (never if when == "never" else LoggedOut("asked"))
            assert (store.record is None) == (when == "never")
            assert store.record is None or store.record.tokens is None
        await trio.sleep(100)
        assert (session.generation > 0) == (what == "log_in")
        assert session.statistics().saved


# --- re-entrancy ---------------------------------------------------------------------------


@pytest.mark.parametrize("use", ["token", "get", "refresh"])
async def test_a_grant_that_waits_for_its_own_session_is_told_so_and_no_task_hangs(
    use: str,
) -> None:
    seen: list[BaseException] = []

    async def grant(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
        try:
            await (session.get("/") if use == "get" else getattr(session, use)())
        except RuntimeError as exc:
            seen.append(exc)
            raise
        raise AssertionError

    policy = RefreshPolicy(attempts=1)
    async with opened(grant, tokens=first_tokens(0), policy=policy) as session:
        with trio.fail_after(1), pytest.raises(RefreshUnavailableError) as info:
            await session.token()
        assert isinstance(info.value.__cause__, RuntimeError)
    [error] = seen
    assert "wait for itself" in str(error)
    assert "use the endpoint it is given" in str(error)


async def test_a_store_that_waits_for_its_own_session_is_told_so_too() -> None:
    class Nosy(FakeStore):
        async def save(self, record: Record, *, expected: int) -> None:
            if record.generation > 1:
                await session.refresh()
            await FakeStore.save(self, record, expected=expected)

    async with opened(store=Nosy()) as session:
        with trio.fail_after(2):
            await session.refresh()
        assert session.token_nowait() == "access-1"
        assert not session.statistics().saved


@pytest.mark.parametrize("use", ["log_in", "log_out"])
async def test_a_grant_that_logs_in_or_out_lets_no_task_hang_for_long(use: str) -> None:
    async def grant(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
        if use == "log_in":
            await session.log_in(Tokens("access-5", "refresh-5"))
        else:
            await session.log_out()
        return Tokens("access-6", "refresh-6")

    async with opened(grant, tokens=first_tokens(0)) as session:
        with trio.fail_after(30):
            with pytest.raises(trioauth.Error):
                await session.token()
            await trio.sleep(10)
            if use == "log_out":
                assert session.state == LoggedOut("asked")
            else:
                assert session.token_nowait() in ("access-5", "access-6")


async def test_a_grant_may_use_another_session() -> None:
    async with opened(FakeGrant(), tokens=first_tokens(0)) as other:

        async def grant(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
            return Tokens("from-" + await other.token(), "x", 3600)

        async with opened(grant, tokens=first_tokens(0)) as session:
            assert await session.token() == "from-access-1"


async def test_a_grant_runs_in_the_context_of_the_task_that_opened_the_session() -> None:
    name: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="nobody")
    seen: list[str] = []

    async def grant(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
        seen.append(name.get())
        return Tokens("access-1", "refresh-1")

    async def first_caller() -> None:
        name.set("first caller")
        await session.token()

    name.set("opener")
    async with opened(grant, tokens=first_tokens(0)) as session:
        # A task of its own, for a context of its own.
        async with trio.open_nursery() as nursery:  # noqa: ASYNC112
            nursery.start_soon(first_caller)
    assert seen == ["opener"]


async def test_a_log_in_during_a_long_refresh_cancels_it_after_the_grace() -> None:
    grant, store = FakeGrant(latency=20), FakeStore()
    async with opened(grant, store=store) as session, trio.open_nursery() as nursery:

        @nursery.start_soon
        async def wait() -> None:
            with pytest.raises(LoggedOutError) as info:
                await session.refresh()
            assert info.value.reason == "replaced"
            assert trio.current_time() == 5

        await trio.testing.wait_all_tasks_blocked()
        await session.log_in(Tokens("access-7", "refresh-7"))
        assert trio.current_time() == 5
        assert store.tokens == Tokens("access-7", "refresh-7")
        assert grant.in_flight == 0


async def test_who_waits_for_the_first_tokens_takes_those_of_a_log_in() -> None:
    got: list[str] = []
    grant, store = FakeGrant(unattended=True), FakeStore(latency=2)
    async with opened(grant, tokens=None, store=store) as session, trio.open_nursery() as nursery:
        nursery.start_soon(session.log_in, Tokens("access-7", "refresh-7"))
        await trio.testing.wait_all_tasks_blocked()

        @nursery.start_soon
        async def wait() -> None:
            got.append(await session.token())

    assert got == ["access-7"]
    assert grant.presented == []


async def test_with_log_out_when_unavailable_a_refusal_is_a_refusal_and_success_success() -> None:
    policy = RefreshPolicy(when_unavailable="log_out")
    grant = FakeGrant(lifetime=0)
    async with opened(grant, tokens=first_tokens(0), policy=policy) as session:
        assert await session.token() == "access-1"
        grant.script.append(GrantRefusedError("invalid_grant"))
        with pytest.raises(LoggedOutError) as info:
            await session.token()
        assert info.value.reason == "refused"


async def test_log_out_when_unavailable_does_not_count_before_the_first_login() -> None:
    policy = RefreshPolicy(when_unavailable="log_out", attempts=1)
    grant = FakeGrant(unattended=True, script=[down()])
    async with opened(grant, tokens=None, policy=policy) as session:
        with pytest.raises(RefreshUnavailableError, match=r"\); try later$"):
            await session.token()
        await trio.sleep(5)
        assert await session.token() == "access-1"
        session.reject(1)
        grant.script.append(down())
        with pytest.raises(LoggedOutError) as info:
            await session.token()
        assert info.value.reason == "unavailable"


async def test_an_error_without_a_text_is_called_by_its_name_alone() -> None:
    async with opened(FakeGrant(script=[trio.TooSlowError()] * 4)) as session:
        message = r"\(TooSlowError\); still logged in, try later$"
        with pytest.raises(RefreshUnavailableError, match=message):
            await session.refresh()
        assert session.statistics().last_failure == "TooSlowError"


async def test_a_log_in_that_the_end_of_the_session_overtakes_says_that_it_is_closed() -> None:
    store = FakeStore()
    async with trio.open_nursery() as nursery:
        async with opened(store=store) as session:
            store.latency = 1

            @nursery.start_soon
            async def log_in() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await session.log_in(Tokens("access-7", "refresh-7"))

            await trio.sleep(0.5)
    # It was completed, and is there when the session is opened the next time.
    assert store.tokens == Tokens("access-7", "refresh-7")


async def test_when_the_session_is_closed_its_token_endpoint_is_closed_too() -> None:
    seen: list[TokenEndpoint] = []

    async def grant(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
        seen.append(endpoint)
        return Tokens("access-1", "refresh-1")

    async with opened(grant) as session:
        await session.refresh()
    with pytest.raises(trio.ClosedResourceError):
        await seen[0].send(trioauth.TokenRequest("https://id.test/token"))


async def test_a_grant_that_says_nothing_of_itself_is_not_asked_for_a_login() -> None:
    async def grant(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
        raise AssertionError

    async with opened(grant, tokens=None) as session:
        with pytest.raises(LoggedOutError) as info:
            await session.token()
        assert info.value.reason == "never_logged_in"
