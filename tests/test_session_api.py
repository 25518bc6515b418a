"""The public API of a session, row by row."""

from __future__ import annotations

import inspect
import re
import sys
from typing import TYPE_CHECKING, Any, cast

import attrs
import httpx
import pytest
import trio
import trio.testing

from trioauth import (
    Authentication,
    LoggedIn,
    LoggedOut,
    LoggedOutError,
    RefreshPolicy,
    RefreshUnavailableError,
    Session,
    Statistics,
    Tokens,
    open_session,
)

from .both import API, FOREIGN, FakeApi, token_of
from .fakes import FakeGrant, first_tokens
from .sessions import down, opened

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from types import ModuleType

pytestmark = pytest.mark.usefixtures("autojump_clock")


METHODS = "get post put patch delete head options request stream send build_request".split()

# --- the client's methods ------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_the_clients_methods_have_their_own_signatures(name: str) -> None:
    ours, theirs = getattr(Session, name), getattr(httpx.AsyncClient, name)
    assert inspect.signature(ours) == inspect.signature(theirs)
    assert ours.__name__ == name
    assert f"httpx.AsyncClient.{name}`" in ours.__doc__


async def test_the_clients_methods_send_signed_requests() -> None:
    methods: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        assert request.headers["Authorization"] == "Bearer access-0"
        assert str(request.url) == f"{API}/v1/x"
        methods.append(request.method)
        return httpx.Response(200, text="hello")

    transport = httpx.MockTransport(handle)
    async with opened(base_url=f"{API}/v1", transport=transport) as session:
        for name in ("get", "post", "put", "patch", "delete", "head", "options"):
            assert (await getattr(session, name)("x")).status_code == 200
        await session.request("PROPFIND", "x")
        await session.send(session.build_request("REPORT", "x"))
        async with session.stream("GET", "x") as response:
            assert await response.aread() == b"hello"
    assert methods == [
        *("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"),
        *("PROPFIND", "REPORT", "GET"),
    ]


async def test_client_options_reach_the_client() -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(200))
    async with opened(
        transport=transport, headers={"X-A": "b"}, timeout=7, follow_redirects=True, params={"p": 1}
    ) as session:
        client = session.http
        assert client.headers["X-A"] == "b"
        assert client.timeout == httpx.Timeout(7)
        assert client.follow_redirects
        assert str((await session.get("/")).request.url) == f"{API}/?p=1"


async def test_http_is_one_client_and_made_when_first_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[object] = []
    make = httpx.AsyncClient.__init__

    def init(self: httpx.AsyncClient, **options: Any) -> None:
        made.append(self)
        make(self, **options)

    monkeypatch.setattr(httpx.AsyncClient, "__init__", init)
    async with opened() as session:
        assert made == []
        client = session.http
        assert session.http is client
        assert isinstance(client, httpx.AsyncClient)
        assert made == [client]
    assert client.is_closed


async def test_a_client_that_the_program_closed_is_replaced() -> None:
    transport = httpx.MockTransport(FakeApi(latency=0))
    async with opened(transport=transport) as session:
        async with session.http as lent:
            await lent.get("/")
        assert lent.is_closed
        assert (await session.get("/")).status_code == 200
        again = session.http
        assert again is not lent
    assert again.is_closed


async def test_attach_returns_the_same_client_and_leaves_its_closing_alone(
    library: ModuleType,
) -> None:
    class Mine(library.AsyncClient):  # type: ignore[name-defined,misc]
        pass

    client = Mine(transport=library.MockTransport(FakeApi()))
    async with opened() as session:
        assert session.attach(client) is client
        assert type(client) is Mine
        assert (await client.get(f"{API}/")).status_code == 200
    assert not client.is_closed
    with pytest.raises(trio.ClosedResourceError):
        await client.get(f"{API}/")
    # Unsigned, it goes on working.
    assert (await client.get(f"{API}/", auth=None)).status_code == 200
    await client.aclose()


def test_the_auth_of_a_session_refuses_a_synchronous_client(library: ModuleType) -> None:
    async def main() -> None:
        async with opened() as session:
            attached = session.attach(library.AsyncClient())
            with library.Client(auth=attached.auth) as client:
                with pytest.raises(RuntimeError, match="AsyncClient"):
                    client.get(API)
            await attached.aclose()

    trio.run(main)


# --- token, token_nowait, refresh, reject --------------------------------------------------


async def test_token_is_always_a_checkpoint() -> None:
    async with opened() as session:
        with trio.testing.assert_checkpoints():
            assert await session.token() == "access-0"
        with trio.testing.assert_no_checkpoints():
            assert session.token_nowait() == "access-0"


@pytest.mark.parametrize("ends", [False, True], ids=["logged in", "logged out"])
async def test_every_public_async_method_is_a_checkpoint(ends: bool) -> None:
    async def nursery() -> None:
        async with session.open_nursery():
            pass

    for call in ("token", "refresh", "wait_logged_out", "log_out", "log_in", "nursery"):
        async with opened() as session:
            if ends:
                await session.log_out()
            function: Any = nursery if call == "nursery" else getattr(session, call)
            arguments = [first_tokens()] if call == "log_in" else []
            with trio.move_on_after(1), trio.testing.assert_checkpoints():
                try:
                    await function(*arguments)
                except LoggedOutError:
                    assert ends


async def test_a_request_that_fails_without_waiting_is_a_checkpoint(library: ModuleType) -> None:
    """Or a loop that tries again at once would keep everybody else, and its end, from running."""

    async def fails(error: type[Exception]) -> None:
        with trio.testing.assert_checkpoints(), pytest.raises(error):
            await client.get("/")

    api = FakeApi()
    grant = FakeGrant(script=[down()])
    async with opened(grant, policy=RefreshPolicy(attempts=1)) as session:
        client = api.client(session, library)
        session.reject(session.generation)
        with pytest.raises(RefreshUnavailableError):
            await session.refresh()
        await fails(RefreshUnavailableError)
        await session.log_out()
        await fails(LoggedOutError)
    await fails(trio.ClosedResourceError)
    assert api.seen == []
    await client.aclose()


async def test_token_nowait_starts_the_refresh_that_it_does_not_wait_for() -> None:
    grant = FakeGrant()
    async with opened(grant, tokens=first_tokens(0)) as session:
        for _ in range(3):
            with pytest.raises(trio.WouldBlock):
                session.token_nowait()
        await trio.sleep(2)
        assert session.token_nowait() == "access-1"
    assert grant.presented == ["refresh-0"]


@pytest.mark.parametrize(
    ("wanted", "expected"), [(0, "access-0"), (90, "access-0"), (99, "access-1")]
)
async def test_token_is_good_for_as_long_as_was_asked(wanted: float, expected: str) -> None:
    async with opened(FakeGrant(lifetime=100), tokens=first_tokens(100)) as session:
        await trio.sleep(2)
        assert await session.token(valid_for=wanted) == expected


async def test_token_for_longer_than_the_server_gives_is_the_best_there_is() -> None:
    grant = FakeGrant(lifetime=100)
    async with opened(grant, tokens=first_tokens(100)) as session:
        for _ in range(5):
            await session.token(valid_for=1e6)
        assert len(grant.presented) <= 1


async def test_a_cool_down_remembers_the_failure() -> None:
    grant = FakeGrant(0, script=[down()])
    policy = RefreshPolicy(attempts=1, cooldown=7)
    async with opened(grant, tokens=first_tokens(0), policy=policy) as session:
        retry_at: list[float | None] = []
        for call in (session.token, session.refresh, lambda: session.get("/")):
            with pytest.raises(RefreshUnavailableError) as info:
                await call()
            retry_at.append(info.value.retry_at)
        with pytest.raises(RefreshUnavailableError):
            session.token_nowait()
        assert retry_at == [7, 7, 7]
        assert len(grant.presented) == 1
        await trio.sleep_until(7)
        assert await session.token() == "access-1"


@pytest.mark.parametrize(("asked", "expected"), [(2, 5), (60, 60), (1e9, 300)])
async def test_retry_after_lengthens_the_cool_down_but_has_a_cap(
    asked: float, expected: float
) -> None:
    error = RefreshUnavailableError("503", retry_after=asked, safe_to_repeat=True)
    policy = RefreshPolicy(attempts=1, cooldown=5)
    async with opened(
        FakeGrant(0, script=[error]), tokens=first_tokens(0), policy=policy
    ) as session:
        with pytest.raises(RefreshUnavailableError) as info:
            await session.token()
        assert info.value.retry_at == expected


async def test_a_cool_down_does_not_hold_up_a_new_login() -> None:
    policy = RefreshPolicy(attempts=1, cooldown=1000)
    async with opened(
        FakeGrant(script=[OSError("down")]), tokens=first_tokens(0), policy=policy
    ) as session:
        with pytest.raises(RefreshUnavailableError):
            await session.token()
        await session.log_in(first_tokens(0))
        assert await session.token() == "access-1"


# --- state, generation, wait_logged_out, statistics ----------------------------------------


async def test_state_and_generation_through_a_life() -> None:
    tokens = Tokens("access-0", "refresh-0", 3600, scope="read write")
    seen: list[tuple[LoggedIn | LoggedOut, int]] = []

    def look() -> None:
        seen.append((session.state, session.generation))

    async with open_session(FakeGrant(), origins=[API]) as session:
        look()
        await session.log_in(tokens)
        look()
        await session.refresh()
        look()
        await session.log_out()
        look()
        await session.log_in(tokens)
        look()
    look()
    scope = frozenset({"read", "write"})
    assert seen[:4] == [
        (LoggedOut("never_logged_in"), 0),
        (LoggedIn(1, scope), 1),
        # A scope that was not said again did not change (RFC 6749 5.1).
        (LoggedIn(2, scope), 2),
        (LoggedOut("asked"), 0),
    ]
    # Numbers never go back, and the last state is still there when the session is closed.
    assert seen[4] == seen[5]
    assert seen[4][1] > 2
    assert re.fullmatch(r"<trioauth\.Session LoggedIn\(.*\) at 0x\w+>", repr(session))


async def test_wait_logged_out_returns_how_it_ended() -> None:
    outcomes: list[LoggedOut] = []

    async def wait() -> None:
        outcomes.append(await session.wait_logged_out())

    async with opened() as session:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            nursery.start_soon(wait)
            await trio.sleep(1)
            assert outcomes == []
            await session.log_out()
        assert outcomes == [LoggedOut("asked")] * 2
        assert await session.wait_logged_out() == LoggedOut("asked")


async def test_wait_logged_out_sees_the_end_even_if_the_next_login_is_there_already() -> None:
    outcomes: list[LoggedOut] = []

    async def wait() -> None:
        outcomes.append(await session.wait_logged_out())

    async with opened() as session:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.sleep(1)
            await session.log_in(first_tokens())
        assert outcomes == [LoggedOut("replaced")]


async def test_statistics_tell_what_goes_on() -> None:
    api = FakeApi(latency=0.01)
    grant = FakeGrant(lifetime=100)
    async with opened(
        grant, tokens=first_tokens(50), transport=httpx.MockTransport(api)
    ) as session:
        assert session.statistics() == Statistics(
            generation=1,
            state=LoggedIn(1),
            tasks_waiting=0,
            refreshes=0,
            retries=0,
            rejections=0,
            seconds_until_expiry=50,
            saved=True,
            last_failure=None,
        )
        api.refused = {"access-0"}
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(session.get, "/")
            await trio.sleep(0.25)
            assert session.statistics().tasks_waiting == 5
        statistics = session.statistics()
        assert statistics.tasks_waiting == 0
        assert (statistics.refreshes, statistics.retries, statistics.rejections) == (1, 5, 1)
        assert statistics.seconds_until_expiry == pytest.approx(100 - 1 - 0.01)
        grant.script = [RefreshUnavailableError("down", safe_to_repeat=True)] * 4
        with pytest.raises(RefreshUnavailableError):
            await session.refresh()
        assert session.statistics().last_failure == "RefreshUnavailableError: down"
        await trio.sleep(10)
        await session.refresh()
        assert session.statistics().last_failure is None
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            session.statistics().refreshes = 0  # type: ignore[misc]  # on purpose
        await session.log_out()
        assert session.statistics().seconds_until_expiry is None
        assert session.statistics().generation == 0


async def test_the_expiry_is_none_if_it_is_unknown() -> None:
    async with opened(tokens=first_tokens(None)) as session:
        assert session.statistics().seconds_until_expiry is None
        await trio.sleep(86_000)
        assert session.token_nowait() == "access-0"


# --- closed --------------------------------------------------------------------------------


@pytest.mark.parametrize("login", [True, False])
async def test_a_closed_session_says_so(login: bool) -> None:
    async with opened(tokens=first_tokens() if login else None) as session:
        client = session.http
    calls: list[Callable[[], Any]] = [
        session.token,
        session.refresh,
        session.wait_logged_out,
        session.log_out,
        lambda: session.log_in(first_tokens()),
        session.open_nursery().__aenter__,
    ]
    for call in calls:
        with pytest.raises(trio.ClosedResourceError, match="session is closed"):
            await call()
    with pytest.raises(trio.ClosedResourceError):
        session.token_nowait()
    with pytest.raises(trio.ClosedResourceError):
        session.http  # noqa: B018
    with pytest.raises(trio.ClosedResourceError):
        await session.get("/")
    with pytest.raises(trio.ClosedResourceError):
        session.attach(client)
    assert isinstance(session.state, LoggedIn if login else LoggedOut)
    assert isinstance(session.statistics(), Statistics)
    assert "Logged" in repr(session)


@pytest.mark.parametrize("lands", [True, False], ids=["it lands", "it is cut short"])
@pytest.mark.parametrize("call", ["token", "refresh", "wait_logged_out", "nursery"])
async def test_who_waits_in_another_task_when_the_session_closes_is_told(
    call: str, lands: bool
) -> None:
    told: list[BaseException] = []

    async def nursery() -> None:
        async with session.open_nursery():
            await trio.sleep_forever()

    async def wait() -> None:
        function = nursery if call == "nursery" else getattr(session, call)
        try:
            await function()
        except Exception as exc:
            told.append(exc)

    grant = FakeGrant(latency=4 if lands else 1e6)
    async with trio.open_nursery() as outer:
        async with opened(grant, tokens=first_tokens(0)) as session:
            outer.start_soon(wait)
            await trio.sleep(1)
    [error] = told
    assert isinstance(error, trio.ClosedResourceError), repr(error)


async def test_a_request_that_is_answered_after_the_session_closed_is_answered(
    library: ModuleType,
) -> None:
    api = FakeApi(latency=10)
    answers: list[Any] = []
    async with trio.open_nursery() as outer:
        async with opened() as session:
            client = api.client(session, library)

            async def request() -> None:
                answers.append(await client.get("/"))

            outer.start_soon(request)
            await trio.sleep(1)
    assert [answer.status_code for answer in answers] == [200]
    await client.aclose()


async def test_what_is_no_client_is_not_attached_and_called_by_its_kind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with opened() as session:
        for present in (True, False):
            if not present:
                monkeypatch.delitem(sys.modules, "httpx2")
            with pytest.raises(TypeError, match=r"not object$"):
                session.attach(cast("httpx.AsyncClient", object()))
            async with httpx.AsyncClient() as client:
                assert session.attach(client) is client


async def test_a_refusal_by_another_origin_says_nothing_about_the_token(
    library: ModuleType,
) -> None:
    def answer(request: Any) -> Any:
        match request.url.host, request.url.path:
            case "api.test", "/away":
                return library.Response(302, headers={"Location": f"{FOREIGN}/"})
            case "api.test", "/there-and-back":
                return library.Response(302, headers={"Location": f"{FOREIGN}/back"})
            case "foreign.test", "/back":
                return library.Response(302, headers={"Location": f"{API}/open"})
            case _:
                return library.Response(401)

    grant, api = FakeGrant(), FakeApi(answer=answer)
    async with opened(grant) as session:
        async with api.client(session, library, follow_redirects=True) as http:
            # Refused without having been given the token.
            for path in ("/away", "/there-and-back"):
                response = await http.get(path)
                assert response.status_code == 401
                assert response.extensions["trioauth"] == Authentication(1, not_resent="not_ours")
            assert grant.presented == []
            for _ in range(3):
                assert (await http.get("/")).status_code == 401
            assert len(grant.presented) == 2


async def test_who_is_sent_elsewhere_the_second_time_was_not_refused_again(
    library: ModuleType,
) -> None:
    def answer(request: Any) -> Any:
        if token_of(request) == "access-1":
            return library.Response(302, headers={"Location": f"{FOREIGN}/"})
        return library.Response(401)

    grant, api = FakeGrant(), FakeApi(answer=answer)
    async with opened(grant) as session:
        async with api.client(session, library, follow_redirects=True) as http:
            response = await http.get("/")
            assert str(response.url) == f"{FOREIGN}/"
            assert response.extensions["trioauth"] == Authentication(
                2, attempts=2, not_resent="not_ours"
            )


async def test_a_file_of_unknown_length_is_not_sent_again_whatever_it_says_of_itself(
    library: ModuleType,
) -> None:
    class Odd:
        def __init__(self) -> None:
            self.left = [b"", b"once"]

        def read(self, size: int = -1) -> bytes:
            return self.left.pop() if self.left else b""

        def seekable(self) -> bool:
            return True

    api = FakeApi(refused={"access-0"})
    async with opened() as session, api.client(session, library) as http:
        response = await http.post("/", files={"file": Odd()})
        assert response.status_code == 401
        assert response.extensions["trioauth"] == Authentication(1, not_resent="body")
        assert api.tokens == ["access-0"]


async def test_a_block_that_is_cancelled_at_its_end_leaves_nothing_but_the_cancellation() -> None:
    for policy in (RefreshPolicy(), RefreshPolicy(keep_fresh=True)):
        with trio.CancelScope() as scope:
            async with opened(policy=policy) as session:
                scope.cancel()
        with pytest.raises(trio.ClosedResourceError):
            session.token_nowait()


async def test_a_human_may_log_in_where_the_grant_needs_none() -> None:
    async def ask(_: object) -> Tokens:
        return Tokens("access-7")

    grant = FakeGrant(unattended=True)
    async with opened(grant, tokens=None) as session:
        await session.log_in(ask)
        assert session.token_nowait() == "access-7"
    assert grant.presented == []


async def test_a_request_whose_refusal_was_still_being_read_when_its_login_ended_is_not_sent_again(
    library: ModuleType,
) -> None:
    async def slowly() -> AsyncGenerator[bytes, None]:
        await trio.sleep(5)
        yield b"no"

    def answer(request: Any) -> Any:
        return library.Response(401, content=slowly()) if token_of(request) == "access-0" else None

    grant, api = FakeGrant(), FakeApi(answer=answer)
    async with opened(grant) as session, api.client(session, library) as http:
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def send() -> None:
                with pytest.raises(LoggedOutError):
                    await http.get("/")

            await trio.sleep(1)
            await session.log_in(Tokens("access-7", "refresh-7"))
    assert api.tokens == ["access-0"]


async def test_of_an_error_and_a_cancelled_timer_the_error_comes_out_as_itself() -> None:
    with pytest.raises(ValueError, match="mine"), trio.CancelScope() as scope:
        async with opened(policy=RefreshPolicy(keep_fresh=True)):
            scope.cancel()
            raise ValueError("mine")


async def test_an_interrupt_is_not_lost_behind_a_cancelled_timer() -> None:
    async def grant(*_: object) -> Tokens:
        await trio.sleep(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), trio.CancelScope() as scope:
        async with opened(grant, policy=RefreshPolicy(keep_fresh=True)) as session:
            session.reject(1)
            await trio.sleep(1.2)
            scope.cancel()
