"""P15, P17 to P20: where a token goes, what shows, what a request costs, how it all ends."""

from __future__ import annotations

import contextlib
import copy
import errno
import logging
import pickle
import traceback
from typing import TYPE_CHECKING, Any

import attrs
import httpx
import pytest
import trio
import trio.testing

import trioauth
from trioauth import (
    GrantMisconfiguredError,
    GrantRefusedError,
    LoggedOutError,
    OriginError,
    Record,
    RefreshPolicy,
    RefreshUnavailableError,
    TokenEndpoint,
    Tokens,
    events,
    open_session,
)
from trioauth._http.auth import Flow

from .both import API, FOREIGN, FakeApi, library_of, no_token
from .canary import SECRET, pickled, shows_a_secret
from .fakes import FakeGrant, FakeStore, RevokingGrant, first_tokens
from .sessions import log_in_unkept, opened

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator
    from types import ModuleType

    from trioauth import Session

    from .canary import Canary

pytestmark = pytest.mark.usefixtures("autojump_clock")


# --- P15: where a token goes ---------------------------------------------------------------


def redirecting(hops: dict[str, str], status: int = 307) -> Callable[[Any], Any]:
    """Redirect from each URL to the next."""

    def answer(request: Any) -> Any:
        target = hops.get(str(request.url))
        if target is None:
            return None
        return library_of(request).Response(status, headers={"Location": target})

    return answer


@pytest.mark.parametrize(
    "url",
    [
        FOREIGN,
        "http://api.test/",
        "https://api.test:8443/",
        "https://sub.api.test/",
        "https://api.test.evil.test/",
        "https://api.test@evil.test/",
        "https://api.test:443@evil.test/",
        "https://somebody@api.test/",
        "https://api.test./",
    ],
)
async def test_p15_a_foreign_url_is_refused_before_anything_is_sent(
    library: ModuleType, url: str
) -> None:
    api, grant = FakeApi(), FakeGrant()
    async with opened(grant, tokens=first_tokens(0)) as session:
        async with api.client(session, library) as client:
            with pytest.raises(OriginError, match="origin|plain http|user name"):
                await client.get(url)
    assert api.seen == []
    # Nor is a refresh started for it.
    assert grant.presented == []


@pytest.mark.parametrize(
    "url", ["https://api.test:443/", "https://API.test/x?y=z", "https://files.test/", "/relative"]
)
async def test_p15_the_origins_given_get_it(library: ModuleType, url: str) -> None:
    api = FakeApi()
    origins = [API, "https://files.test"]
    async with open_session(FakeGrant(), tokens=first_tokens(), origins=origins) as session:
        async with api.client(session, library) as client:
            assert (await client.get(url)).status_code == 200
    assert api.tokens == ["access-0"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "target",
    [
        f"{FOREIGN}/",
        "http://api.test/",
        "https://api.test:8443/",
        "https://sub.api.test/",
        "https://api.test@evil.test/",
    ],
)
async def test_p15_a_redirects_foreign_target_gets_no_token_and_causes_no_refresh(
    library: ModuleType, status: int, target: str
) -> None:
    def answer(request: Any) -> Any:
        url = str(request.url)
        response = library_of(request).Response
        if url == f"{API}/start":
            return response(status, headers={"Location": target})
        return response(401)

    api, grant = FakeApi(answer=answer), FakeGrant()
    async with opened(grant) as session:
        async with api.client(session, library, follow_redirects=True) as client:
            response = await client.post("/start", json={})
            # Its refusal is handed to the caller, and is no news about the token.
            assert response.status_code == 401
            assert session.statistics().rejections == 0
    assert api.tokens == ["access-0", None]
    assert grant.presented == []


async def test_p15_from_http_to_https_of_one_loopback_host_httpx_takes_the_token_along(
    library: ModuleType,
) -> None:
    api = FakeApi(answer=redirecting({"http://localhost/": "https://localhost/"}))
    async with open_session(
        FakeGrant(), tokens=first_tokens(), origins=["http://localhost"]
    ) as session:
        async with api.client(
            session, library, base_url="http://localhost", follow_redirects=True
        ) as client:
            await client.get("/")
    # The one redirect that httpx takes for the same place (as documented with `origins`).
    assert [each.url for each in api.seen] == ["http://localhost/", "https://localhost/"]
    assert api.tokens == ["access-0"] * 2


async def test_p15_a_redirect_within_the_origin_keeps_the_token(library: ModuleType) -> None:
    api = FakeApi(answer=redirecting({f"{API}/a": "/b"}))
    async with opened() as session:
        async with api.client(session, library, follow_redirects=True) as client:
            assert (await client.get("/a")).status_code == 200
    assert api.tokens == ["access-0", "access-0"]


async def test_p15_following_a_redirect_by_hand_to_a_foreign_target_is_refused(
    library: ModuleType,
) -> None:
    api = FakeApi(answer=redirecting({f"{API}/a": f"{FOREIGN}/"}))
    async with opened() as session:
        async with api.client(session, library) as client:
            response = await client.get("/a")
            with pytest.raises(OriginError, match="https://foreign.test is not an origin"):
                await client.send(response.next_request)
    assert len(api.seen) == 1


async def test_p15_what_is_sent_again_is_checked_again(library: ModuleType) -> None:
    """A foreign server that was sent the very header back still gets no second request."""

    def answer(request: Any) -> Any:
        # As an event hook or a transport could do it.
        request.url = library_of(request).URL(FOREIGN)
        return library_of(request).Response(401, request=request)

    api, grant = FakeApi(answer=answer), FakeGrant()
    async with opened(grant) as session:
        async with api.client(session, library) as client:
            assert (await client.get("/")).status_code == 401
    assert len(api.seen) == 1
    assert grant.presented == []


async def test_p15_auth_none_sends_without_the_token_anywhere(library: ModuleType) -> None:
    api = FakeApi(no_token)
    grant = FakeGrant()
    async with opened(grant) as session:
        async with api.client(session, library) as client:
            assert (await client.get("/", auth=None)).status_code == 401
            assert (await client.get(FOREIGN, auth=None)).status_code == 401
    assert api.tokens == [None, None]
    assert grant.presented == []


async def test_p15_an_authorization_header_of_the_callers_is_replaced(library: ModuleType) -> None:
    api = FakeApi(refused={"access-0"})
    headers = {"authorization": "Basic bWU6bWU="}
    async with opened() as session:
        async with api.client(session, library, headers=headers) as client:
            assert (await client.get("/", headers=headers)).status_code == 200
    assert api.tokens == ["access-0", "access-1"]


async def test_p15_the_sessions_own_client_sends_a_foreign_url_only_without_the_token() -> None:
    api = FakeApi()
    async with opened(transport=httpx.MockTransport(api)) as session:
        with pytest.raises(OriginError):
            await session.get(FOREIGN)
        await session.get(FOREIGN, auth=None)
        await session.get("/")
    assert [(each.url, each.token) for each in api.seen] == [
        (FOREIGN, None),
        (f"{API}/", "access-0"),
    ]


async def test_p15_a_client_whose_base_url_is_foreign_is_not_attached(library: ModuleType) -> None:
    async with opened() as session:
        async with library.AsyncClient(base_url=FOREIGN) as client:
            with pytest.raises(OriginError, match="foreign.test.*origins="):
                session.attach(client)
            assert client.auth is None


async def test_p15_a_loopback_api_may_be_plain_http(library: ModuleType) -> None:
    api = FakeApi()
    for origin in ("http://localhost:8000", "http://127.0.0.1:8000", "http://[::1]:8000"):
        async with open_session(FakeGrant(), tokens=first_tokens(), origins=[origin]) as session:
            async with api.client(session, library, base_url=origin) as client:
                assert (await client.get("/")).status_code == 200


# --- P17: nothing shows a secret -----------------------------------------------------------


def test_p17_tokens_and_records_show_no_secret_and_are_not_pickled() -> None:
    tokens = first_tokens()
    values: list[object] = [
        tokens,
        Record(1, tokens),
        (tokens,),
        {"a": tokens},
        [Record(1, tokens)],
    ]
    for value in values:
        assert not shows_a_secret(value)
    assert "<hidden>" in repr(tokens)
    secrets: list[object] = [tokens, Record(1, tokens), copy.copy(tokens), copy.deepcopy([tokens])]
    for value in secrets:
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            with pytest.raises(TypeError, match="can't be pickled.*(store|to_text)"):
                pickle.dumps(value, protocol)
    assert copy.copy(tokens) == copy.deepcopy(tokens) == tokens


async def test_p17_nothing_of_a_session_shows_a_secret() -> None:
    told: list[events.Event] = []
    store = FakeStore(fail_save=OSError("disk full"))
    grant = FakeGrant()
    async with opened(grant, store=store, observers=[told.append]) as session:
        await session.refresh()
        session.reject(session.generation)
        grant.script = [OSError("down")] * 9
        with pytest.raises(RefreshUnavailableError):
            await session.token()
        machine = session._machine
        shown = [session, session.state, session.statistics(), session.http, *told]
        vault, endpoint = session._source.vault, session._asking.endpoint
        inside = [machine.state, vault, machine.login, endpoint, session.http.auth]
        for value in (*shown, *inside):
            assert not shows_a_secret(value), type(value)
        grant.script = [GrantRefusedError("invalid_grant")]
        await trio.sleep(10)
        with pytest.raises(LoggedOutError):
            await session.token()
        for value in (session, session.state, session.statistics(), machine.state, vault):
            assert not shows_a_secret(value), type(value)
    assert told


async def test_p17_events_and_errors_survive_a_pickle_without_secrets() -> None:
    told: list[events.Event] = []
    async with opened(
        FakeGrant(script=[GrantRefusedError("invalid_grant", "gone")]),
        tokens=first_tokens(0),
        observers=[told.append],
    ) as session:
        with pytest.raises(LoggedOutError) as info:
            await session.token()
        statistics = session.statistics()
    assert [pickle.loads(pickle.dumps(event)) for event in told] == told
    error = pickle.loads(pickle.dumps(info.value))
    assert (str(error), error.reason) == (str(info.value), "refused")
    again = pickle.loads(pickle.dumps(statistics))
    assert again.last_failure == statistics.last_failure == "GrantRefusedError: invalid_grant: gone"


@pytest.mark.parametrize(
    "error",
    [
        LoggedOutError("m", "refused"),
        RefreshUnavailableError("m", retry_after=3, safe_to_repeat=True),
        GrantRefusedError("invalid_grant", "d"),
        GrantMisconfiguredError("invalid_client"),
        trioauth.TokenResponseError("m"),
        OriginError("m"),
        trioauth.StoreError("m", path="p", key="k"),
        trioauth.StoreConflictError("m", path="p"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_p17_each_error_survives_a_pickle_whole(error: trioauth.Error) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (str(again), vars(again)) == (str(error), vars(error))


async def test_p17_a_refused_request_shows_no_secret_in_its_traceback(library: ModuleType) -> None:
    api = FakeApi(no_token)
    grant = FakeGrant(script=[GrantRefusedError("invalid_grant")])
    async with opened(grant) as session:
        async with api.client(session, library) as client:
            with pytest.raises(LoggedOutError) as info:
                await client.get("/")
    assert not SECRET.search("".join(traceback.format_exception(info.value)))


@pytest.mark.parametrize(
    "said",
    [
        '{"error": "invalid_grant", "error_description": "cs-canary"}',
        '{"access_token": "at-canary-1", "refresh_token": "rt-canary-1", "token_type": "mac"}',
        '{"access_token": "at-canary 1", "token_type": "Bearer"}',
        '{"access_token": "at-canary-1", "access_token": "at-canary-2"}',
        '["at-canary-1"]',
        '{"access_token": "at-canary-1',
    ],
    ids=["error", "another type", "bad character", "twice", "array", "cut short"],
)
@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("kind", ["refresh token", "client credentials", "bearer refresh"])
async def test_p17_no_variable_of_a_frame_in_a_traceback_shows_a_secret(
    kind: str, status: int, said: str
) -> None:
    # Crash reporters send the variables along.
    url = "https://id.test/token"
    client: Any = {"client_id": "notes", "client_secret": "cs-canary"}
    grants: dict[str, Any] = {
        "refresh token": trioauth.RefreshTokenGrant(url, **client),
        "client credentials": trioauth.ClientCredentialsGrant(url, **client),
        "bearer refresh": trioauth.BearerRefreshGrant(url, headers={"X-Key": "cs-canary"}),
    }
    grant = grants[kind]
    transport = httpx.MockTransport(lambda _: httpx.Response(status, text=said))
    async with opened(
        grant,
        tokens=Tokens("at-canary-0", "rt-canary-0", 0),
        transport=transport,
        policy=RefreshPolicy(attempts=1),
    ) as session:
        with pytest.raises(trioauth.Error) as info:
            await session.token()
    shown = "".join(variables_of(info.value))
    assert f"self = {grant!r}" in shown
    assert not SECRET.search(shown)


def variables_of(error: BaseException | None) -> Iterator[str]:
    """Show the variables of the package's frames in a traceback, and in those of its causes."""
    while error is not None:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if "/tests/" not in frame.f_code.co_filename:
                yield from (f"{name} = {value!r}\n" for name, value in frame.f_locals.items())
        error = error.__cause__ or error.__context__


async def test_p17_an_observer_that_raises_is_logged_without_a_secret(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def observe(event: events.Event) -> None:
        raise ValueError(f"can't cope with {event}")

    async with opened(tokens=first_tokens(0), observers=[observe]) as session:
        assert await session.token() == "access-1"
    assert "an observer raised; the session goes on" in caplog.text
    assert not SECRET.search(caplog.text.replace('"access-1"', ""))


@pytest.mark.parametrize(
    ("access", "refresh"),
    [
        ("at-canary with space", None),
        ("at-canary\r\nX: y", None),
        ("at-canary-é", None),
        ("at-canary\x7f", None),
        ('at-canary"', None),
        ("fine", "rt-canary\n"),
        ("fine", "rt-canary-é"),
        ("fine", "rt-canary rt"),
    ],
)
def test_p17_a_token_that_is_refused_is_not_quoted(access: str, refresh: str | None) -> None:
    with pytest.raises(ValueError, match="(access|refresh)_token must be visible ASCII") as info:
        Tokens(access, refresh)
    assert "canary" not in str(info.value)
    assert info.value.__cause__ is None
    assert info.value.__context__ is None
    answer = {"access_token": access, "refresh_token": refresh, "token_type": "Bearer"}
    with pytest.raises(trioauth.TokenResponseError) as other:
        Tokens.from_response(answer)
    assert "canary" not in str(other.value)
    assert other.value.__context__ is None


async def test_p17_the_texts_of_others_that_we_quote_hold_no_control_characters() -> None:
    grant = FakeGrant(script=[OSError("down\r\nINFO all is well\x1b[2J")] * 9)
    async with opened(grant, tokens=first_tokens(0)) as session:
        with pytest.raises(RefreshUnavailableError) as info:
            await session.token()
        assert str(info.value).isprintable()
        assert (session.statistics().last_failure or "").isprintable()


# The canary itself: it has to bite.


def test_p17_the_canary_bites_a_log_line(canary: Canary) -> None:
    logging.getLogger("trioauth").debug("got %s", "access-1")
    logging.getLogger("somewhere.else").warning("got refresh-1")
    assert canary.found() == ["a log record of somewhere.else", "a log record of trioauth"]
    canary.clear()


def test_p17_the_canary_bites_an_exception_that_is_logged(canary: Canary) -> None:
    try:
        raise ValueError("rt-canary-1-1-abc")
    except ValueError:
        logging.getLogger("trioauth").exception("harmless")
    assert "the text of ValueError" in canary.found()
    canary.clear()


@pytest.mark.parametrize("link", ["cause", "context", "group", "note", "attribute"])
def test_p17_the_canary_bites_all_that_hangs_on_an_error(canary: Canary, link: str) -> None:
    error, secret = OriginError("harmless"), KeyError("access-1")
    match link:
        case "cause":
            error.__cause__ = secret
        case "context":
            error.__context__ = secret
        case "group":
            error.__cause__ = ExceptionGroup("several", [secret])
        case "note":
            error.add_note("access-1")
        case _:
            error.token = "access-1"  # type: ignore[attr-defined]
    assert canary.found()
    canary.clear()


async def test_p17_the_canary_bites_an_event_and_a_state(canary: Canary) -> None:
    @attrs.frozen
    class Careless:
        token: str

    async with opened() as session:
        careless: Any = Careless("access-1")
        session._machine.tell(careless)
        session._machine.last_failure = OriginError("access-1")
    assert "the repr of Careless" in canary.found()
    assert "the text of OriginError" in canary.found()
    assert "access-1" in pickled(OriginError("access-1"))
    canary.clear()


# --- P18: what a request with a fresh token costs ------------------------------------------


@contextlib.asynccontextmanager
async def driving(
    session: Session, library: ModuleType, request: Any
) -> AsyncGenerator[tuple[Any, Any], None]:
    """Drive the flow by hand, as httpx does."""
    flow: Any = Flow(session._signer, request, library)
    try:
        yield flow, await flow.__anext__()
    finally:
        await flow.aclose()


async def test_p18_with_a_fresh_token_no_checkpoint_and_no_lock(library: ModuleType) -> None:
    store = FakeStore()
    request = library.Request("POST", f"{API}/", content=b"body")
    async with opened(store=store) as session:
        store.fail_lock = store.fail_load = AssertionError("the store is left alone")
        lock = session._flights.renewal.lock
        # Another task holds the session's lock, and it does not matter.
        async with lock:
            with trio.testing.assert_no_checkpoints():
                async with driving(session, library, request) as (flow, signed):
                    assert signed is request
                    assert request.headers["Authorization"] == "Bearer access-0"
                    with pytest.raises(StopAsyncIteration):
                        await flow.asend(library.Response(200, request=request))
            assert lock.statistics().tasks_waiting == 0
        assert session.statistics().refreshes == 0


async def test_p18_an_early_token_costs_no_checkpoint_either(library: ModuleType) -> None:
    request = library.Request("GET", f"{API}/")
    async with opened(tokens=first_tokens(100)) as session:
        await trio.sleep(80)
        with trio.testing.assert_no_checkpoints():
            async with driving(session, library, request) as (_, signed):
                assert signed.headers["Authorization"] == "Bearer access-0"
        assert session.statistics().refreshes == 1


async def test_p18_a_401_that_is_handed_back_is_left_unread(library: ModuleType) -> None:
    class Untouchable(library.AsyncByteStream):  # type: ignore[name-defined,misc]
        async def __aiter__(self) -> AsyncGenerator[bytes, None]:  # noqa: ASYNC900  # httpx's way
            raise AssertionError("nothing reads this")
            yield b""

    headers = {"WWW-Authenticate": 'Bearer error="insufficient_scope"'}
    request = library.Request("GET", f"{API}/")
    response = library.Response(401, headers=headers, stream=Untouchable(), request=request)
    async with opened() as session:
        with trio.testing.assert_no_checkpoints():
            async with driving(session, library, request) as (flow, _):
                with pytest.raises(StopAsyncIteration):
                    await flow.asend(response)
    assert not response.is_closed


# --- P19: exceptions from the block --------------------------------------------------------


class Mine(ExceptionGroup[Exception]):
    """A group of the program's own."""

    def derive(self, excs: Any) -> Any:
        return Mine(self.message, excs)


BODIES: dict[str, BaseException] = {
    "ValueError": ValueError("mine"),
    "LoggedOutError": LoggedOutError("mine"),
    "own group": Mine("mine", [ValueError("a"), KeyError("b")]),
    "group with our errors": ExceptionGroup("mine", [LoggedOutError("a")]),
    "KeyboardInterrupt": KeyboardInterrupt(),
    "SystemExit": SystemExit(3),
    "base group": BaseExceptionGroup("mine", [KeyboardInterrupt(), ValueError("a")]),
    "StopAsyncIteration": StopAsyncIteration("mine"),
    "StopIteration": StopIteration("mine"),
    "GeneratorExit": GeneratorExit("mine"),
    "RuntimeError": RuntimeError("mine"),
}

bodies = pytest.mark.parametrize("error", BODIES.values(), ids=BODIES)
in_the_air = pytest.mark.parametrize("flying", [False, True], ids=["idle", "flight in the air"])


@bodies
@in_the_air
async def test_p19_an_exception_of_the_block_comes_out_as_itself(
    error: BaseException, flying: bool
) -> None:
    cause, context = KeyError("cause"), KeyError("context")
    error.__cause__, error.__context__ = cause, context
    error.__suppress_context__ = False
    grant = FakeGrant()
    caught: BaseException | None = None
    try:
        async with opened(grant, tokens=first_tokens(0 if flying else 3600)) as session:
            if flying:
                with pytest.raises(trio.WouldBlock):
                    session.token_nowait()
                await trio.testing.wait_all_tasks_blocked()
            raise error
    except BaseException as exc:  # noqa: ASYNC103  # looked at below
        caught = exc
    assert caught is error
    assert caught.__cause__ is cause
    assert caught.__context__ is context
    assert not caught.__suppress_context__
    assert grant.completed == (1 if flying else 0)
    error.__traceback__ = None


async def test_p19_without_a_cause_there_is_no_context_of_ours() -> None:
    with pytest.raises(ValueError, match="mine") as info:
        async with opened():
            raise ValueError("mine")
    assert info.value.__cause__ is None
    assert info.value.__context__ is None
    # None of the traceback is ours or trio's.
    names = [frame.name for frame in traceback.extract_tb(info.value.__traceback__)]
    assert len(names) <= 4, names


@in_the_air
async def test_p19_a_timeout_in_the_block_is_too_slow_error(flying: bool) -> None:
    with pytest.raises(trio.TooSlowError):
        async with opened(tokens=first_tokens(0 if flying else 3600)) as session:
            with trio.fail_after(0.25):
                if flying:
                    await session.token()
                await trio.sleep_forever()


@in_the_air
async def test_p19_an_outer_cancellation_is_caught_by_its_own_scope(flying: bool) -> None:
    grant = FakeGrant(latency=2)
    with trio.move_on_after(1) as scope:
        async with opened(grant, tokens=first_tokens(0 if flying else 3600)) as session:
            if flying:
                await session.token()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert trio.current_time() == (2 if flying else 1)
    assert grant.completed == (1 if flying else 0)


async def test_p19_an_outer_cancellation_and_an_exception_both_arrive() -> None:
    async def crash() -> None:
        raise ValueError("of a sibling")

    with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="sibling")):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(crash)
            async with opened():
                await trio.sleep_forever()


async def test_p19_a_nursery_of_the_blocks_own_raises_its_own_group() -> None:
    async def crash() -> None:
        raise ValueError("in a task")

    with pytest.RaisesGroup(ValueError):
        async with opened():
            async with trio.open_nursery() as nursery:  # noqa: ASYNC112  # for its group
                nursery.start_soon(crash)


async def test_p19_generator_exit_through_an_async_generator_of_the_users_is_clean() -> None:
    grant, left = FakeGrant(), []

    async def pages() -> AsyncGenerator[int, None]:  # noqa: ASYNC900  # what users do write
        try:
            async with opened(grant, tokens=first_tokens(0)) as session:
                session._flights.take_off("clock")
                yield 1  # noqa: ASYNC119  # ditto
                yield 2  # noqa: ASYNC119  # ditto
        except GeneratorExit:
            left.append(trio.current_time())
            raise

    generator = pages()
    assert await generator.__anext__() == 1
    await generator.aclose()
    assert left == [1]
    assert grant.completed == 1


async def test_p19_an_error_of_opening_comes_out_bare_too() -> None:
    store = FakeStore(fail_load=OSError("no such disk"))
    with pytest.raises(OSError, match="no such disk") as info:
        async with open_session(FakeGrant(), store=store, origins=[API]):
            raise AssertionError("it does not open")
    assert info.value.__context__ is None


async def test_p19_an_error_of_the_transports_closing_comes_out_bare_too() -> None:
    class Stubborn(httpx.MockTransport):
        async def aclose(self) -> None:
            raise OSError("can't close")

    transport = Stubborn(FakeApi())
    with pytest.raises(OSError, match="can't close"):
        async with opened(transport=transport) as session:
            await session.get("/")


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("block", ["waits", "sleeps", "has a nursery"])
async def test_p19_an_interrupt_that_hits_a_grant_is_not_lost(
    interrupt: type[BaseException], block: str
) -> None:
    """Control-C is raised wherever the program happens to be, in a grant that computes, say."""

    async def grant(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
        await trio.sleep(1)
        raise interrupt

    caught: BaseException | None = None
    try:
        async with opened(grant, tokens=first_tokens(70)) as session:
            if block == "waits":
                await session.refresh()
            await trio.sleep(58)
            session.token_nowait()
            if block == "has a nursery":
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(trio.sleep_forever)
                    nursery.start_soon(trio.sleep_forever)
            await trio.sleep_forever()
    except BaseException as exc:  # noqa: ASYNC103  # looked at below
        caught = exc
    if isinstance(caught, BaseExceptionGroup):
        caught, _ = caught.split(interrupt)
        assert caught is not None
    else:
        assert isinstance(caught, interrupt), repr(caught)


# --- P20: nothing waits for ever -----------------------------------------------------------


@attrs.define
class HangingStore(FakeStore):
    """A store that hangs in one of its methods, from some moment on."""

    hangs: str = ""

    def lock(self) -> Any:
        return self._maybe_hang() if self.hangs in ("lock", "unlock") else FakeStore.lock(self)

    @contextlib.asynccontextmanager
    async def _maybe_hang(self) -> AsyncGenerator[None, None]:
        if self.hangs == "lock":
            await trio.sleep_forever()
        async with FakeStore.lock(self):
            yield
            await trio.sleep_forever()

    async def load(self) -> Record | None:
        if self.hangs == "load":
            await trio.sleep_forever()
        return await FakeStore.load(self)

    async def save(self, record: Record, *, expected: int) -> None:
        if self.hangs == "save":
            await trio.sleep_forever()
        await FakeStore.save(self, record, expected=expected)


places = pytest.mark.parametrize("place", ["lock", "load", "save", "unlock"])


@places
async def test_p20_a_refresh_whose_store_hangs_lands_at_the_deadline(place: str) -> None:
    told: list[events.Event] = []
    store = HangingStore()
    policy = RefreshPolicy(timeout=17)
    async with opened(store=store, policy=policy, observers=[told.append]) as session:
        await trio.sleep(3600)
        store.hangs = place
        started = trio.current_time()
        if place in ("lock", "load"):
            with pytest.raises(RefreshUnavailableError, match=r"17.*RefreshPolicy\.timeout"):
                await session.token()
        else:
            # It was rotated: that counts, saved or not.
            assert await session.token() == "access-1"
        assert trio.current_time() - started == 17
        if place == "save":
            assert not session.statistics().saved
            assert any(isinstance(event, events.NotSaved) for event in told)
        store.hangs = ""
        await trio.sleep(60)
        assert await session.token() == "access-1"
        assert session.statistics().saved
        assert store.tokens == Tokens("access-1", "refresh-1", 3600)


async def test_p20_a_grant_that_hangs_lands_at_the_deadline() -> None:
    policy = RefreshPolicy(timeout=17)
    async with opened(FakeGrant(latency=1e9), tokens=first_tokens(0), policy=policy) as session:
        with trio.fail_after(1000), pytest.raises(RefreshUnavailableError):
            await session.token()
        assert trio.current_time() == 17


async def test_p20_the_deadline_bounds_the_retries_too() -> None:
    errors = [RefreshUnavailableError("503", safe_to_repeat=True) for _ in range(99)]
    policy = RefreshPolicy(timeout=17, attempts=99, backoff=3)
    grant = FakeGrant(latency=2, script=list(errors))
    async with opened(grant, tokens=first_tokens(0), policy=policy) as session:
        with pytest.raises(RefreshUnavailableError):
            await session.token()
        assert trio.current_time() <= 17
        assert 1 < len(grant.presented) < 9


@places
@pytest.mark.parametrize("what", ["log_in", "log_out"])
async def test_p20_logging_in_and_out_with_a_store_that_hangs_ends_at_the_deadline(
    what: str, place: str
) -> None:
    told: list[events.Event] = []
    store = HangingStore()
    policy = RefreshPolicy(timeout=17)
    async with opened(store=store, policy=policy, observers=[told.append]) as session:
        store.hangs = place
        started = trio.current_time()
        if what == "log_in":
            if place == "unlock":
                # The login is in the store by then.
                await session.log_in(Tokens("access-5", "refresh-5", 3600))
            else:
                await log_in_unkept(session, Tokens("access-5", "refresh-5", 3600))
            assert session.token_nowait() == "access-5"
        else:
            await session.log_out()
            assert session.generation == 0
        assert trio.current_time() - started == 17
        if place != "unlock":
            assert any(isinstance(event, events.NotSaved) for event in told)
            assert not session.statistics().saved
        store.hangs = ""
        await trio.sleep(60)
        assert session.statistics().saved
        # What had to be said to the store is said later: no session logs in from it by mistake.
        assert store.record is not None
        expected = None if what == "log_out" else Tokens("access-5", "refresh-5", 3600)
        assert store.record.tokens == expected


async def test_p20_opening_with_a_store_that_hangs_ends_at_the_deadline() -> None:
    policy = RefreshPolicy(timeout=17)
    with trio.move_on_after(1000) as scope:
        with pytest.raises((trio.TooSlowError, trioauth.StoreError)):
            async with open_session(
                FakeGrant(), store=HangingStore(hangs="load"), origins=[API], policy=policy
            ):
                raise AssertionError("it does not open")
    assert not scope.cancelled_caught
    assert trio.current_time() == 17


@places
async def test_p20_closing_with_a_store_that_hangs_takes_close_grace(place: str) -> None:
    store = HangingStore()
    policy = RefreshPolicy(close_grace=4)
    async with opened(store=store, policy=policy) as session:
        store.hangs = place
        session._flights.take_off("asked_for")
        await trio.testing.wait_all_tasks_blocked()
    assert trio.current_time() == 4


async def test_p20_a_revocation_that_hangs_takes_close_grace() -> None:
    told: list[events.Event] = []
    policy = RefreshPolicy(close_grace=4)
    async with opened(
        RevokingGrant(revoking_takes=1e9), policy=policy, observers=[told.append]
    ) as session:
        await session.log_out()
        assert trio.current_time() == 4
    assert isinstance(told[-1], events.NotRevoked)
    assert told[-1].error == "TooSlowError"


async def test_p20_waiting_for_the_first_tokens_of_an_unattended_grant_is_bounded_too() -> None:
    policy = RefreshPolicy(timeout=17)
    async with open_session(
        FakeGrant(latency=1e9, unattended=True), origins=[API], policy=policy
    ) as session:
        with pytest.raises(RefreshUnavailableError):
            await session.token()
        assert trio.current_time() == 17
        with trio.move_on_after(1000) as scope:
            with pytest.raises((trio.TooSlowError, RefreshUnavailableError)):
                await session.log_in()
        assert not scope.cancelled_caught
        assert trio.current_time() == 34


def chain(error: BaseException) -> Iterator[BaseException]:
    """An error, and what it comes from."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__


async def test_p20_a_store_that_fails_says_so_in_the_cause() -> None:
    store = FakeStore()
    async with opened(store=store) as session:
        store.fail_lock = OSError(errno.ENOLCK, "the lock is gone")
        with pytest.raises(RefreshUnavailableError, match="No locks available") as info:
            await session.refresh()
        assert [type(error) for error in chain(info.value)] == [RefreshUnavailableError, OSError]


async def test_p20_nothing_is_left_running() -> None:
    tasks = trio.lowlevel.current_statistics().tasks_living
    async with opened(policy=RefreshPolicy(keep_fresh=True)) as session:
        await trio.testing.wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().tasks_living == tasks + 1
        session._flights.take_off("asked_for")
        await trio.testing.wait_all_tasks_blocked()
        # The flight, and what lands it at its deadline.
        assert trio.lowlevel.current_statistics().tasks_living == tasks + 3
    assert trio.lowlevel.current_statistics().tasks_living == tasks
    assert isinstance(session.state, trioauth.LoggedIn)
