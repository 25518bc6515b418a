"""P4 in sessions: refreshes that 401s cause are bounded, and what becomes of a refused request."""

from __future__ import annotations

import contextlib
import tracemalloc
import zlib
from typing import TYPE_CHECKING, Any

import httpx
import httpx2
import pytest
import trio

from trioauth import Authentication, Record, RefreshPolicy, Tokens
from trioauth._http.refusal import LONGEST_REFUSAL, read_refusal

from .both import API, FOREIGN, FakeApi, all_but, no_token, open_api, token_of
from .fakes import FakeGrant, FakeStore
from .sessions import opened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import ModuleType


pytestmark = pytest.mark.usefixtures("autojump_clock")


ERRORS = (httpx.HTTPError, httpx2.HTTPError)


async def body() -> AsyncIterator[bytes]:
    yield b"once"


# --- bounded, whatever the API and its callers do ------------------------------------------


async def test_p04_a_hundred_one_shot_bodies_that_are_refused_cause_few_refreshes(
    library: ModuleType,
) -> None:
    grant, api = FakeGrant(), FakeApi(no_token)
    async with open_api(library, grant, api) as (_, http):
        for _ in range(100):
            response = await http.post("/upload", content=body())
            assert response.status_code == 401
            await trio.sleep(2)
        assert response.extensions["trioauth"].not_resent == "futile"
    # 200 seconds: two, and one each after 5, 10, 20, 40 and 80.
    assert len(grant.presented) == 7


async def test_p04_callers_that_give_up_after_a_401_cause_few_refreshes(
    library: ModuleType,
) -> None:
    grant, api = FakeGrant(latency=0.1), FakeApi(no_token, latency=1)
    async with open_api(library, grant, api) as (_, http):
        for _ in range(100):
            with trio.move_on_after(1.5):
                await http.get("/slow")
            await trio.sleep(0.5)
    assert len(grant.presented) <= 7


async def test_p04_second_sendings_that_break_have_not_shown_that_a_refresh_helped(
    library: ModuleType,
) -> None:
    first = [True]

    def answer(_: Any) -> Any:
        first[0] = not first[0]
        if first[0]:
            raise library.ReadError("reset")
        return library.Response(401)

    grant, api = FakeGrant(latency=0.1), FakeApi(answer=answer)
    async with opened(grant) as session, api.client(session, library) as http:
        for _ in range(40):
            with contextlib.suppress(*ERRORS):
                await http.get("/")
            first[0] = True
            await trio.sleep(1)
    assert len(grant.presented) <= 5


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_p04_an_answer_of_what_stands_before_the_api_shows_nothing(
    library: ModuleType, status: int
) -> None:
    tokens: list[Any] = []

    def answer(request: Any) -> Any:
        new = token_of(request) not in tokens
        tokens.append(token_of(request))
        # A second sending is answered with the status, the next request is refused.
        return library.Response(status if new and len(tokens) > 1 else 401)

    grant, api = FakeGrant(latency=0.1), FakeApi(answer=answer)
    async with opened(grant) as session, api.client(session, library) as http:
        for _ in range(40):
            await http.get("/")
            await trio.sleep(1)
    assert len(grant.presented) <= 5


async def test_p04_one_path_that_refuses_for_an_hour_is_refreshed_for_once_per_pause(
    library: ModuleType,
) -> None:
    grant, api = FakeGrant(), FakeApi(always_refused="/bad")
    async with open_api(library, grant, api) as (_, http):
        for _ in range(360):
            assert (await http.get("/bad")).status_code == 401
            assert (await http.get("/good")).status_code == 200
            await trio.sleep(10)
    # Until pauses are five minutes long, eight; then twelve an hour.
    assert len(grant.presented) <= 8 + 12


@pytest.mark.slow
async def test_p04_a_query_that_is_refused_beside_one_that_is_not_is_bounded_too(
    library: ModuleType,
) -> None:
    def answer(request: Any) -> Any:
        return library.Response(401 if b"bad" in request.url.query else 200)

    grant, api = FakeGrant(), FakeApi(answer=answer, latency=0.1)
    async with opened(grant) as session, api.client(session, library) as http:

        async def ask(query: str, pause: float) -> None:
            while trio.current_time() < 600:
                await http.get(f"/items?{query}")
                await trio.sleep(pause)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, "bad", 1)
            nursery.start_soon(ask, "good", 0.5)
            nursery.start_soon(ask, "good", 0.7)
    assert len(grant.presented) <= 10


async def test_p04_a_new_path_in_each_request_does_not_make_a_refresh_each(
    library: ModuleType,
) -> None:
    def answer(request: Any) -> Any:
        return library.Response(200 if request.url.path == "/good" else 401)

    grant, api = FakeGrant(latency=0.1), FakeApi(answer=answer)
    async with opened(grant) as session, api.client(session, library) as http:
        for number in range(500):
            assert (await http.get(f"/item/{number}")).status_code == 401
            assert (await http.get("/good")).status_code == 200
            await trio.sleep(6)
    # One for each of sixteen places; for all the others eight, and then one in five minutes.
    assert len(grant.presented) <= 16 + 8 + 500 * 6 / 300


async def test_p04_reports_in_a_reconnect_loop_cause_few_refreshes() -> None:
    grant = FakeGrant(latency=0.1)
    async with opened(grant) as session:
        for _ in range(50):
            await session.token()
            session.reject(session.generation)
            await trio.sleep(1)
        # While it is futile, a report changes nothing.
        before = session.generation
        session.reject(before)
        assert session.token_nowait()
        assert "handed back" in session.explain()
        # A token of which nothing is heard for a minute has helped.
        await trio.sleep(300)
        for _ in range(5):
            session.reject(session.generation)
            await session.token()
            await trio.sleep(61)
        assert session.generation == before + 5
    assert len(grant.presented) <= 6 + 5


@pytest.mark.slow
async def test_p04_a_crowd_at_many_paths_causes_one_refresh_and_leaves_nothing_behind(
    library: ModuleType,
) -> None:
    grant, api = FakeGrant(), FakeApi(all_but("access-0"), latency=0.5)
    async with open_api(library, grant, api) as (session, http):
        async with trio.open_nursery() as nursery:
            for number in range(1000):
                nursery.start_soon(http.get, f"/{number % 100}")
        assert session.statistics().retries == 1000
        assert session._signer.evidence.accounts == {}
        assert session._signer.evidence.shared.count == 0
    assert len(grant.presented) == 1


@pytest.mark.slow
async def test_p04_a_day_of_401s_never_ends_in_an_overflow() -> None:
    grant, api = FakeGrant(latency=0.01), FakeApi(always_refused="/forbidden")
    policy = RefreshPolicy(cooldown=0.1)
    async with open_api(httpx, grant, api, policy=policy) as (session, http):
        for _ in range(1200):
            assert (await http.get("/ok")).status_code == 200
            assert (await http.get("/forbidden")).status_code == 401
            await trio.sleep(72)
        assert "handed back" in session.explain()
        assert session.statistics().refreshes < 300


@pytest.mark.slow
async def test_p04_one_capped_pause_after_the_api_is_mended_all_is_well(
    library: ModuleType,
) -> None:
    grant, api = FakeGrant(lifetime=None), FakeApi(no_token)
    async with open_api(library, grant, api) as (session, http):
        for _ in range(12 * 60):
            await http.get("/notes")
            await trio.sleep(60)
        newest = session.token_nowait()
        # Mended, but the token of that time is dead.
        api.accepts = lambda token: token != newest
        await trio.sleep(300)
        assert (await http.get("/notes")).status_code == 200
        assert session._signer.evidence.accounts == {}


async def test_p04_a_one_shot_body_that_is_taken_later_shows_that_its_refresh_helped(
    library: ModuleType,
) -> None:
    grant, api = FakeGrant(lifetime=None), FakeApi()
    async with open_api(library, grant, api) as (session, http):
        for _ in range(20):
            dead = session.token_nowait()
            api.accepts = lambda token, dead=dead: token != dead  # type: ignore[misc]  # bound now
            refused = await http.post("/upload", content=body())
            assert refused.extensions["trioauth"].not_resent == "body"
            await trio.sleep(90)
            assert (await http.post("/upload", content=body())).status_code == 200
            assert session._signer.evidence.accounts == {}
    assert len(grant.presented) == 20


async def test_p04_a_download_that_ends_at_another_origin_shows_that_a_refresh_helped(
    library: ModuleType,
) -> None:
    dead: set[str | None] = set()

    def answer(request: Any) -> Any:
        if request.url.host == "api.test":
            if token_of(request) in dead:
                return library.Response(401)
            return library.Response(302, headers={"Location": f"{FOREIGN}/file"})
        return library.Response(200, text="file")

    grant, api = FakeGrant(), FakeApi(answer=answer)
    async with opened(grant) as session:
        async with api.client(session, library, follow_redirects=True) as http:
            for _ in range(10):
                dead.add(await session.token())
                assert (await http.get("/download")).text == "file"
    assert len(grant.presented) == 10


async def test_p04_an_answer_after_a_redirect_speaks_for_the_place_that_it_led_to(
    library: ModuleType,
) -> None:
    api = FakeApi(redirects={"/pay": (307, "/receipt")})
    api.accepts = lambda token: api.seen[-1].path == "/pay" or token != "access-0"  # noqa: S105
    async with open_api(library, FakeGrant(), api, follow_redirects=True) as (session, http):
        with trio.move_on_after(0.5):
            await http.get("/pay")
        assert len(session._signer.evidence.accounts) == 1
        await trio.sleep(70)
        assert (await http.get("/pay")).text == "access-1"
        assert session._signer.evidence.accounts == {}


async def test_p04_a_failure_after_a_redirect_shows_nothing_of_the_place_that_it_led_to(
    library: ModuleType,
) -> None:
    def answer(request: Any) -> Any:
        if mended and request.url.path == "/receipt":
            return library.Response(500)
        return None

    mended: list[bool] = []
    api = FakeApi(answer=answer, redirects={"/pay": (307, "/receipt")})
    api.accepts = lambda token: api.seen[-1].path == "/pay" or token != "access-0"  # noqa: S105
    async with open_api(library, FakeGrant(), api, follow_redirects=True) as (session, http):
        with trio.move_on_after(0.5):
            await http.get("/pay")
        accounts = dict(session._signer.evidence.accounts)
        assert len(accounts) == 1
        await trio.sleep(70)
        mended.append(True)
        assert (await http.get("/pay")).status_code == 500
        assert session._signer.evidence.accounts == accounts


async def test_p04_an_answer_to_a_header_of_the_program_shows_nothing() -> None:
    theirs: list[str] = []

    async def hook(request: httpx.Request) -> None:
        if theirs:
            request.headers["Authorization"] = theirs[0]

    api = FakeApi(refused={"access-0"})
    async with opened(FakeGrant()) as session:
        async with api.client(session, httpx, event_hooks={"request": [hook]}) as http:
            with trio.move_on_after(0.5):
                await http.get("/")
            await trio.sleep(70)
            theirs.append("Other xyz")
            assert (await http.get("/")).status_code == 200
            assert len(session._signer.evidence.accounts) == 1


# --- adopted, and settling ------------------------------------------------------------------


async def test_p04_a_refused_token_that_was_adopted_is_refreshed_once_more(
    library: ModuleType,
) -> None:
    grant, store = FakeGrant(), FakeStore()
    api = FakeApi(lambda token: token == "access-1")  # noqa: S105
    async with open_api(library, grant, api, store=store) as (_, http):
        assert store.record is not None
        tokens = Tokens("access-theirs", "refresh-theirs", 3600)
        store.record = Record(7, tokens, login=store.record.login)
        response = await http.get("/notes")
        assert response.extensions["trioauth"] == Authentication(8, attempts=3)
    assert api.tokens == ["access-0", "access-theirs", "access-1"]
    assert grant.presented == ["refresh-theirs"]


async def test_p04_a_third_sending_is_the_last(library: ModuleType) -> None:
    grant, store, api = FakeGrant(), FakeStore(), FakeApi(no_token)
    async with open_api(library, grant, api, store=store) as (_, http):
        assert store.record is not None
        tokens = Tokens("access-theirs", "refresh-theirs", 3600)
        store.record = Record(7, tokens, login=store.record.login)
        response = await http.get("/notes")
        assert response.extensions["trioauth"] == Authentication(8, 3, "again")


async def test_p04_an_api_that_learns_of_a_new_token_late_may_be_given_time(
    library: ModuleType,
) -> None:
    grant, known = FakeGrant(), {"access-0": -1.0}
    api = FakeApi()

    def accepts(token: str) -> bool:
        # It knows a token half a second after it has seen it for the first time.
        if token == "access-0":  # noqa: S105
            return False
        return trio.current_time() >= known.setdefault(token, trio.current_time() + 0.5)

    api.accepts = accepts
    async with open_api(library, grant, api, policy=RefreshPolicy(settle=0.6)) as (_, http):
        await trio.sleep(1)
        response = await http.get("/notes")
        assert response.status_code == 200
        assert response.extensions["trioauth"] == Authentication(2, attempts=3)
        assert [(each.time, each.token) for each in api.seen] == [
            (1, "access-0"),
            (2, "access-1"),
            (2.6, "access-1"),
        ]
    assert grant.presented == ["refresh-0"]


async def test_p04_a_request_that_begins_just_after_a_refresh_settles_before_it_refreshes(
    library: ModuleType,
) -> None:
    grant, api = FakeGrant(), FakeApi()
    async with open_api(library, grant, api, policy=RefreshPolicy(settle=2)) as (session, http):
        await session.refresh()
        api.accepts = lambda _: trio.current_time() >= 2
        response = await http.get("/notes")
        assert response.extensions["trioauth"] == Authentication(2, attempts=2)
        # If that was not it, it is refreshed after all.
        await session.refresh()
        api.accepts = lambda token: token == "access-3"  # noqa: S105
        response = await http.get("/notes")
        assert response.extensions["trioauth"] == Authentication(4, attempts=3)
        # What can't be sent again can't wait either.
        api.accepts = no_token
        response = await http.post("/upload", content=body())
        assert response.extensions["trioauth"].not_resent == "body"


# --- which 401, and why one is not refreshed ------------------------------------------------


@pytest.mark.parametrize(
    "challenge",
    ['OAuth2 error="invalid_token"', 'JWT realm="api"', "Token", "Basic realm=a", "Negotiate"],
)
async def test_a_401_to_a_signed_request_is_refreshed_whatever_scheme_it_names(
    library: ModuleType, challenge: str
) -> None:
    def answer(request: Any) -> Any:
        if token_of(request) == "access-0":
            return library.Response(401, headers={"WWW-Authenticate": challenge})
        return None

    api = FakeApi(answer=answer)
    async with opened() as session, api.client(session, library) as http:
        assert (await http.get("/")).status_code == 200


@pytest.mark.parametrize(
    "error",
    ["insufficient_user_authentication", "insufficient_scope", "invalid_request", "use_dpop_nonce"],
)
async def test_a_401_that_a_refresh_cant_cure_says_so(library: ModuleType, error: str) -> None:
    def answer(_: Any) -> Any:
        return library.Response(401, headers={"WWW-Authenticate": f'Bearer error="{error}"'})

    grant, api = FakeGrant(), FakeApi(answer=answer)
    async with opened(grant) as session, api.client(session, library) as http:
        response = await http.get("/")
        assert response.extensions["trioauth"] == Authentication(1, not_resent="step_up")
    assert grant.presented == []


async def test_a_401_that_is_rejected_does_not_take_for_a_refusal_says_policy(
    library: ModuleType,
) -> None:
    grant, api = FakeGrant(), FakeApi(no_token)
    async with opened(grant, is_rejected=lambda _: False) as session:
        async with api.client(session, library) as http:
            response = await http.get("/")
            assert response.extensions["trioauth"] == Authentication(1, not_resent="policy")
    assert grant.presented == []


async def test_is_rejected_may_answer_with_anything_that_is_true_or_false(
    library: ModuleType,
) -> None:
    api = FakeApi(refused={"access-0"})
    async with opened(is_rejected=lambda response: response.status_code // 401) as session:
        async with api.client(session, library) as http:
            assert (await http.get("/")).extensions["trioauth"] == Authentication(2, 2)
            assert (await http.get("/")).extensions["trioauth"] == Authentication(2)


async def test_a_redirect_to_another_listed_origin_arrives_unsigned_and_says_not_ours(
    library: ModuleType,
) -> None:
    def answer(request: Any) -> Any:
        if request.url.host == "api.test":
            return library.Response(302, headers={"Location": f"{FOREIGN}/"})
        return library.Response(200 if token_of(request) else 401)

    grant, api = FakeGrant(), FakeApi(answer=answer)
    async with opened(grant, origins=[FOREIGN]) as session:
        async with api.client(session, library, follow_redirects=True) as http:
            response = await http.get("/")
            assert response.status_code == 401
            assert response.extensions["trioauth"] == Authentication(1, not_resent="not_ours")
            # A request for that origin itself is signed.
            assert (await http.get(f"{FOREIGN}/")).status_code == 200
    assert grant.presented == []


# --- is_rejected that is asynchronous -------------------------------------------------------


async def asynchronous(_: object) -> bool:
    return True


async def test_is_rejected_that_is_an_async_function_is_refused_when_the_session_opens() -> None:
    with pytest.raises(TypeError, match="^is_rejected must say True or False at once"):
        async with opened(is_rejected=asynchronous):
            raise AssertionError("opened")


class _Later:
    def __await__(self) -> Any:
        raise AssertionError("awaited")


@pytest.mark.parametrize("promise", [asynchronous, lambda _: _Later()])
async def test_is_rejected_that_returns_an_awaitable_is_one_clear_error(
    library: ModuleType, promise: Any
) -> None:
    grant, api = FakeGrant(), FakeApi()
    async with opened(grant, is_rejected=lambda response: promise(response)) as session:  # noqa: PLW0108  # not async itself
        async with api.client(session, library) as http:
            with pytest.raises(TypeError, match="^is_rejected must say True or False at once"):
                await http.post("/", content=b"10 EUR")
    assert len(api.seen) == 1
    assert grant.presented == []


# --- reading a refusal ----------------------------------------------------------------------


def refusing(library: ModuleType, stream: Any, headers: dict[str, str] | None = None) -> Any:
    """Make a transport that refuses the first token with such a body."""
    base: Any = library.AsyncBaseTransport

    class Refusing(base):  # type: ignore[misc]  # either library's
        async def handle_async_request(self, request: Any) -> Any:
            await trio.lowlevel.checkpoint()
            if token_of(request) == "access-0":
                return library.Response(401, headers=headers, stream=stream)
            return library.Response(200)

    return library.AsyncClient(transport=Refusing(), base_url=API)


def streaming(library: ModuleType, parts: Any, close: Any = None) -> Any:
    base: Any = library.AsyncByteStream

    class Stream(base):  # type: ignore[misc]  # either library's
        def __aiter__(self) -> Any:
            return parts()

        async def aclose(self) -> None:
            if close is not None:
                await close()

    return Stream()


async def test_p10_a_compressed_refusal_is_never_inflated(library: ModuleType) -> None:
    bomb = zlib.compressobj(9, zlib.DEFLATED, 31)
    compressed = bomb.compress(bytes(40_000_000)) + bomb.flush()
    assert len(compressed) < 65_536

    async def parts() -> AsyncIterator[bytes]:
        yield compressed

    headers = {"Content-Encoding": "gzip"}
    async with opened() as session:
        client = session.attach(refusing(library, streaming(library, parts), headers))
        async with client as http:
            tracemalloc.start()
            try:
                response = await http.get("/")
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
            assert response.status_code == 200
            assert [each.content for each in response.history] == [b""]
            # What is kept is not in this coding.
            assert "Content-Encoding" not in response.history[0].headers
            assert peak < 5_000_000


async def test_p10_the_refresh_that_a_401_causes_starts_before_the_401_is_read(
    library: ModuleType,
) -> None:
    started: list[float] = []

    class Timed(FakeGrant):
        async def __call__(self, *args: Any) -> Tokens:
            started.append(trio.current_time())
            return await super().__call__(*args)

    async def drip() -> AsyncIterator[bytes]:
        while True:
            yield b"x"
            await trio.sleep(0.1)

    async with opened(Timed()) as session:
        async with session.attach(refusing(library, streaming(library, drip))) as http:
            assert (await http.get("/")).status_code == 200
    assert started == [0]
    assert trio.current_time() == 2


class Endless:
    """An iterator of parts that cares for nothing; it fails the test if it is read on and on."""

    def __init__(self) -> None:
        self.read = 0

    def __aiter__(self) -> Endless:
        return self

    async def __anext__(self) -> bytes:
        self.read += 1
        assert self.read < 1000, "read on without end"
        return b"x" * 65_536


async def test_p10_a_stream_that_ignores_being_closed_is_not_read_without_end(
    library: ModuleType,
) -> None:
    parts = Endless()
    async with opened() as session:
        stream = streaming(library, lambda: parts)
        async with session.attach(refusing(library, stream)) as http:
            assert (await http.get("/")).status_code == 200
    assert parts.read < 20
    # The same without the generator that httpx puts around it.
    parts.read = 0
    response = library.Response(401, stream=streaming(library, lambda: parts))
    await read_refusal(response, library)
    assert parts.read < 20
    assert len(await response.aread()) == LONGEST_REFUSAL


async def test_p10_a_closed_stream_that_goes_on_byte_by_byte_is_not_read_without_end(
    library: ModuleType,
) -> None:
    read = 0

    async def parts() -> AsyncIterator[bytes]:
        nonlocal read
        yield bytes(LONGEST_REFUSAL + 1)
        while read < 100_000:
            read += 1
            yield b"x"

    await read_refusal(library.Response(401, stream=streaming(library, parts)), library)
    assert read < 30_000


@pytest.mark.parametrize("fault", ["hangs", "raises"])
async def test_p10_a_stream_that_cant_be_closed_holds_nothing_up(
    library: ModuleType, fault: str
) -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"no"

    async def close() -> None:
        if fault == "raises":
            raise library.ReadError("reset")
        await trio.sleep_forever()

    async with opened() as session:
        async with session.attach(refusing(library, streaming(library, parts, close))) as http:
            response = await http.get("/")
            assert [each.content for each in response.history] == [b"no"]
    assert trio.current_time() <= 2
