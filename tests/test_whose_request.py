"""P13, P15 and P22 of signing: whose a request is, and that our header never stays in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio

from trioauth import LoggedOutError, Record, RefreshUnavailableError, Tokens

from .both import API, FOREIGN, FakeApi, stream_transport
from .fakes import FakeGrant, FakeStore, first_tokens
from .sessions import down, opened

if TYPE_CHECKING:
    from types import ModuleType

    from trioauth import Session

pytestmark = pytest.mark.usefixtures("autojump_clock")


BOB = Tokens("bob", "bobs-refresh", 3600)
LOGIN = "trioauth.login"


def built(session: Session, library: ModuleType, method: str = "GET", **options: Any) -> Any:
    """Build a request and mark it with the login of now, as the session's own client does."""
    state: Any = session._machine.state
    generation = getattr(state, "generation", None)
    login = None if generation is None else generation.login
    return library.Request(method, f"{API}/", extensions={LOGIN: login}, **options)


# --- P13: whose it is -----------------------------------------------------------------------


@pytest.mark.parametrize("end", ["log_out", "log_in"])
async def test_p13_a_request_that_was_built_before_its_login_ended_is_never_sent(
    library: ModuleType, end: str
) -> None:
    api = FakeApi()
    async with opened() as session, api.client(session, library) as http:
        request = built(session, library, "POST", content=b"alice's")
        if end == "log_out":
            await session.log_out()
        await session.log_in(BOB)
        for _ in range(2):
            with pytest.raises(LoggedOutError) as caught:
                await http.send(request)
            assert caught.value.reason == ("asked" if end == "log_out" else "replaced")
        assert api.seen == []
        assert (await http.get("/")).status_code == 200


async def test_p13_a_request_that_the_session_built_is_of_the_login_there_was_then() -> None:
    api = FakeApi()
    async with opened(transport=stream_transport(httpx, api)) as session:
        request = session.build_request("POST", "/notes", content=b"alice's")
        await session.log_in(BOB)
        with pytest.raises(LoggedOutError):
            await session.send(request)
        assert api.seen == []


async def test_p13_a_loop_that_sends_such_a_request_hears_that_it_is_cancelled(
    library: ModuleType,
) -> None:
    async with opened() as session, FakeApi().client(session, library) as http:
        request = built(session, library)
        await session.log_in(BOB)
        with trio.CancelScope() as scope:
            scope.cancel()
            await http.send(request)
        assert scope.cancelled_caught


async def test_p13_a_request_that_was_built_without_a_login_is_not_of_one_that_began_since(
    library: ModuleType,
) -> None:
    api = FakeApi()
    async with opened(tokens=None) as session, api.client(session, library) as http:
        request = built(session, library)
        await session.log_in(BOB)
        with pytest.raises(LoggedOutError) as caught:
            await http.send(request)
        assert caught.value.reason == "replaced"
        assert api.seen == []


async def test_p13_a_request_built_without_a_login_may_use_one_that_needs_no_human(
    library: ModuleType,
) -> None:
    api = FakeApi()
    async with opened(FakeGrant(unattended=True), tokens=None) as session:
        async with api.client(session, library) as http:
            early, late = built(session, library), built(session, library)
            for request in (early, late, early):
                assert (await http.send(request)).status_code == 200
            # The mark is again what it was.
            assert early.extensions[LOGIN] is late.extensions[LOGIN] is None
    assert api.tokens == ["access-1"] * 3


async def test_p13_an_attached_client_s_request_is_of_the_login_that_there_is_when_it_is_sent(
    library: ModuleType,
) -> None:
    mine: dict[str, Any] = {"mine": 1}
    api = FakeApi()
    seen: list[Any] = []
    api.answer = lambda request: seen.append(request.extensions.get(LOGIN))
    async with opened() as session, api.client(session, library) as http:
        request = library.Request("GET", f"{API}/", extensions=mine)
        await http.send(request)
        alice = session._machine.login
        await session.log_in(BOB)
        await http.send(request)
        # Below the flow it is marked, and only there.
        assert seen == [alice, session._machine.login]
        assert LOGIN not in request.extensions
    assert mine == {"mine": 1}
    assert api.tokens == ["access-0", "bob"]


async def test_p13_a_request_that_could_not_be_signed_is_not_marked_for_good(
    library: ModuleType,
) -> None:
    api = FakeApi()
    grant = FakeGrant(script=[down()] * 4)
    async with opened(grant, tokens=first_tokens(0)) as session:
        async with api.client(session, library) as http:
            request = library.Request("GET", f"{API}/")
            with pytest.raises(RefreshUnavailableError):
                await http.send(request)
            await session.log_in(BOB)
            assert (await http.send(request)).status_code == 200


async def test_p13_a_request_that_another_session_has_built_is_one_clear_error(
    library: ModuleType,
) -> None:
    api = FakeApi()
    async with opened() as alice, opened(tokens=BOB) as bob, api.client(bob, library) as http:
        request = built(alice, library)
        with pytest.raises(RuntimeError, match="built by another session"):
            await http.send(request)
        assert api.seen == []


async def test_p13_a_request_of_a_session_that_was_closed_says_so() -> None:
    api = FakeApi()
    async with opened() as session:
        http = api.client(session, httpx)
        request = built(session, httpx)
    async with http:
        with pytest.raises(trio.ClosedResourceError):
            await http.send(request)
    async with opened(tokens=BOB) as other, api.client(other, httpx) as http:
        with pytest.raises(RuntimeError, match="built by another session"):
            await http.send(request)
    assert api.seen == []


async def test_p13_a_request_built_without_a_login_may_use_what_it_adopts_from_the_store(
    library: ModuleType,
) -> None:
    api, store = FakeApi(), FakeStore()
    grant = FakeGrant(unattended=True)
    async with opened(grant, tokens=None, store=store) as session:
        async with api.client(session, library) as http:
            request = built(session, library)
            store.record = Record(3, Tokens("theirs", None, None), login="theirs")
            assert (await http.send(request)).status_code == 200
    assert api.tokens == ["theirs"]


# --- P15: our header never outlives its sending ---------------------------------------------


def headers_left(response: Any) -> list[str]:
    """Return each of our headers that is left in what a response keeps."""
    kept = [response, *response.history]
    requests = [each for one in kept for each in (one.request, one.next_request)]
    headers = [request.headers.get("Authorization") for request in requests if request is not None]
    return [header for header in headers if header is not None]


async def test_p15_a_request_that_was_sent_keeps_no_token(library: ModuleType) -> None:
    api = FakeApi(refused={"access-0"})
    async with opened() as session, api.client(session, library) as http:
        request = http.build_request("GET", "/", headers={"X-Mine": "kept"})
        response = await http.send(request)
        assert api.tokens == ["access-0", "access-1"]
        assert headers_left(response) == []
        assert "Authorization" not in request.headers
        assert request.headers["X-Mine"] == "kept"
        await session.log_out()
        await http.send(request, auth=None)
        assert api.tokens == ["access-0", "access-1", None]


@pytest.mark.parametrize("refused", [False, True])
async def test_p15_the_requests_that_redirects_led_to_keep_no_token(
    library: ModuleType, *, refused: bool
) -> None:
    sent: list[Any] = []

    def answer(request: Any) -> Any:
        sent.append(request)
        match request.url.path:
            case "/pay":
                return library.Response(303, headers={"Location": "/wait"})
            case "/wait":
                return library.Response(302, headers={"Location": "/receipt"})
            case _:
                return library.Response(401 if len(sent) == 3 and refused else 200)

    api = FakeApi(answer=answer)
    async with opened() as session:
        async with api.client(session, library, follow_redirects=True) as http:
            response = await http.post("/pay", content=b"10 EUR")
            assert response.status_code == 200
            assert headers_left(response) == []
    assert None not in api.tokens
    # Nor those that httpx has forgotten.
    assert len({id(each) for each in sent}) == 3
    assert not any("Authorization" in each.headers for each in sent)


async def test_p15_the_next_request_of_a_redirect_that_is_not_followed_has_no_token(
    library: ModuleType,
) -> None:
    def answer(request: Any) -> Any:
        if request.url.path == "/away":
            return library.Response(302, headers={"Location": f"{FOREIGN}/"})
        if request.url.path == "/":
            return library.Response(302, headers={"Location": "/next"})
        return None

    api = FakeApi(answer=answer)
    async with opened() as session, api.client(session, library) as http:
        for path in ("/", "/away"):
            response = await http.get(path)
            assert response.next_request is not None
            assert headers_left(response) == []
            await http.send(response.next_request, auth=None)
    assert api.tokens == ["access-0", None] * 2


async def test_p15_a_request_that_failed_or_was_cancelled_keeps_no_token_either(
    library: ModuleType,
) -> None:
    def answer(request: Any) -> Any:
        if request.url.path == "/broken":
            raise library.ReadError("reset")
        return None

    api = FakeApi(answer=answer, latency=5)
    async with opened() as session:
        async with api.client(session, library) as http:
            request = http.build_request("GET", "/broken")
            with pytest.raises(library.ReadError) as caught:
                await http.send(request)
            assert caught.value.request is request
            assert "Authorization" not in request.headers
            request = http.build_request("GET", "/")
            with trio.move_on_after(1):
                await http.send(request)
            assert "Authorization" not in request.headers


async def test_p15_a_header_that_an_event_hook_takes_away_or_sets_is_its_own_business(
    library: ModuleType,
) -> None:
    async def take_away(request: Any) -> None:  # noqa: ASYNC910  # a hook
        del request.headers["Authorization"]

    async def set_another(request: Any) -> None:  # noqa: ASYNC910  # a hook
        if request.url.path == "/next":
            request.headers["Authorization"] = "Other xyz"

    api = FakeApi()
    api.answer = lambda request: (
        library.Response(302, headers={"Location": "/next"}) if request.url.path == "/" else None
    )
    async with opened() as session:
        hooks = {"request": [take_away]}
        async with api.client(session, library, event_hooks=hooks) as http:
            assert (await http.get("/me")).status_code == 200
        hooks = {"request": [set_another]}
        async with api.client(session, library, event_hooks=hooks, follow_redirects=True) as http:
            assert headers_left(await http.get("/")) == ["Other xyz"]
    assert api.tokens == [None, "access-0", "Other xyz"]


async def test_p15_a_request_that_two_tasks_send_at_once_is_signed_for_both(
    library: ModuleType,
) -> None:
    api = FakeApi(latency=1)

    async def hook(_: Any) -> None:
        # Between signing and sending: the first one is done when the last one is sent.
        await trio.sleep(waits.pop())

    async with opened() as session:
        async with api.client(session, library, event_hooks={"request": [hook]}) as http:
            request, waits = http.build_request("GET", "/"), [3.0, 0.0]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(http.send, request)
                nursery.start_soon(http.send, request)
            assert "Authorization" not in request.headers
            assert LOGIN not in request.extensions
    assert api.tokens == ["access-0"] * 2


# --- P22: a client belongs to one open session ----------------------------------------------


async def test_p22_a_client_that_another_open_session_signs_is_one_clear_error(
    library: ModuleType,
) -> None:
    api = FakeApi()
    async with opened(tokens=BOB) as bob:
        async with opened() as alice:
            http = api.client(alice, library)
            with pytest.raises(RuntimeError, match="signed by another session"):
                bob.attach(http)
            assert alice.attach(http) is http
            await http.get("/")
        # Alice's session is closed.
        bob.attach(http)
        await http.get("/")
        await http.aclose()
    assert api.tokens == ["access-0", "bob"]


async def test_p22_the_own_client_of_another_session_can_not_be_attached() -> None:
    async with opened() as alice, opened(tokens=BOB) as bob:
        with pytest.raises(RuntimeError, match="signed by another session"):
            bob.attach(alice.http)
