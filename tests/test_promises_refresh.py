"""P1 to P5: one refresh, and nothing sent twice that should be sent once."""

from __future__ import annotations

import io
import random
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import httpx
import httpx2
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import trioauth
from trioauth import (
    GrantMisconfiguredError,
    GrantRefusedError,
    LoggedOutError,
    Record,
    RefreshPolicy,
    RefreshUnavailableError,
    Tokens,
)

from .both import FakeApi, all_but, no_token, open_api
from .fakes import FakeGrant, FakeStore, first_tokens
from .sessions import opened

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable
    from pathlib import Path
    from types import ModuleType

    from trioauth import Session

pytestmark = pytest.mark.usefixtures("autojump_clock")


# --- P1: at most one refresh per generation ------------------------------------------------


async def test_p01_one_refresh_per_generation_however_many_tasks_need_it(
    library: ModuleType,
) -> None:
    grant, api = FakeGrant(), FakeApi()
    finished: list[float] = []

    async with open_api(library, grant, api, tokens=first_tokens(0)) as (session, http):

        async def ask() -> None:
            response = await http.get("/notes")
            assert response.text == "access-1"
            finished.append(trio.current_time())

        async with trio.open_nursery() as nursery:
            for _ in range(1000):
                nursery.start_soon(ask)
            await wait_all_tasks_blocked()
            assert session.statistics().tasks_waiting == 1000
            assert api.seen == []

        assert session.generation == 2
    assert grant.presented == ["refresh-0"]
    assert finished == [1] * 1000  # one latency, not a thousand


async def test_p01_one_refresh_for_a_storm_of_401s(library: ModuleType) -> None:
    grant, api = FakeGrant(), FakeApi(all_but("access-0"), latency=0.25)
    responses: list[Any] = []

    async with open_api(library, grant, api) as (session, http):

        async def ask() -> None:
            responses.append(await http.get("/notes"))

        async with trio.open_nursery() as nursery:
            for _ in range(1000):
                nursery.start_soon(ask)
        assert session.statistics().retries == 1000
        assert session.statistics().rejections == 1
        assert session.statistics().refreshes == 1
    assert grant.presented == ["refresh-0"]
    assert {response.text for response in responses} == {"access-1"}
    assert {response.extensions["trioauth"] for response in responses} == {
        trioauth.Authentication(generation=2, attempts=2)
    }
    assert api.sent_with("access-0") == api.sent_with("access-1") == 1000
    assert trio.current_time() == 1.5


async def test_p01_one_refresh_for_401s_that_arrive_one_after_the_other(
    library: ModuleType,
) -> None:
    # Before, during and after the flight, which is in the air from 0.1 to 1.1.
    grant, api = FakeGrant(), FakeApi(all_but("access-0"))
    api.latencies = {f"/{i}": i / 10 for i in range(1, 41)}
    texts: list[str] = []

    async with open_api(library, grant, api) as (session, http):

        async def ask(path: str) -> None:
            texts.append((await http.get(path)).text)

        async with trio.open_nursery() as nursery:
            for path in api.latencies:
                nursery.start_soon(ask, path)
        assert session.generation == 2
    assert grant.presented == ["refresh-0"]
    assert texts == ["access-1"] * 40


async def test_p01_all_who_want_a_newer_token_join_one_flight(library: ModuleType) -> None:
    grant, api = FakeGrant(), FakeApi(all_but("access-0"))
    async with open_api(library, grant, api) as (session, http):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.refresh)
            nursery.start_soon(http.get, "/notes")
            await trio.sleep(0.5)
            session.reject(1)
            nursery.start_soon(session.refresh)
            nursery.start_soon(session.token)
            nursery.start_soon(http.get, "/notes")
            await wait_all_tasks_blocked()
            assert session.statistics().tasks_waiting == 5
        assert session.generation == 2
    assert grant.presented == ["refresh-0"]
    assert trio.current_time() == 1


async def test_p01_an_early_token_starts_one_refresh_and_no_task_waits(library: ModuleType) -> None:
    grant, api = FakeGrant(), FakeApi()
    async with open_api(library, grant, api, tokens=first_tokens(100)) as (session, http):
        await trio.sleep(90)
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(http.get, "/notes")
        assert trio.current_time() == 90
        assert api.tokens == ["access-0"] * 100
        await trio.sleep(2)
        assert session.token_nowait() == "access-1"
    assert grant.presented == ["refresh-0"]


async def test_p01_many_who_wait_share_one_failure() -> None:
    # A lock would make a hundred calls of this, one after the other.
    grant = FakeGrant(script=[OSError("down")] * 100)
    causes: list[BaseException | None] = []

    async with opened(grant, tokens=first_tokens(0)) as session:

        async def ask() -> None:
            with pytest.raises(RefreshUnavailableError) as caught:
                await session.token()
            causes.append(caught.value.__cause__)

        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(ask)
        for _ in range(100):
            await ask()
        assert session.statistics().refreshes == 1
    assert len(grant.presented) == 3
    assert len(causes) == 200
    assert len({id(cause) for cause in causes}) == 1


async def test_p01_a_token_saved_in_spite_of_an_error_is_not_adopted_as_a_newer_one() -> None:
    @attrs.define
    class LossyStore(FakeStore):
        """Saves, and then says that it could not."""

        async def save(self, record: Record, *, expected: int) -> None:
            await super().save(record, expected=expected)
            if record.generation == 2:
                raise OSError("the answer was lost")

    grant, api = FakeGrant(), FakeApi(all_but("access-0", "access-1"))
    async with open_api(httpx, grant, api, tokens=first_tokens(0), store=LossyStore()) as (
        session,
        http,
    ):
        assert await session.token() == "access-1"
        # Refused for other reasons than its age: what is needed is a token that is not this one.
        response = await http.get("/notes")
        assert response.text == "access-2"
    assert grant.presented == ["refresh-0", "refresh-1"]


# --- P2: a late 401 never refreshes --------------------------------------------------------


async def test_p02_a_late_401_is_sent_again_with_the_current_generation(
    library: ModuleType,
) -> None:
    grant, api = FakeGrant(), FakeApi(all_but("access-0"), latencies={"/slow": 5})
    async with open_api(library, grant, api) as (session, http):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(http.get, "/fast")
            response = await http.get("/slow")
        assert response.text == "access-1"
        assert session.generation == 2
        assert session.statistics().rejections == 1
    assert grant.presented == ["refresh-0"]
    assert [(each.time, each.path, each.token) for each in api.seen if each.path == "/slow"] == [
        (0, "/slow", "access-0"),
        (5, "/slow", "access-1"),  # at once
    ]


async def test_p02_a_401_two_generations_late_does_not_refresh(library: ModuleType) -> None:
    grant, api = FakeGrant(), FakeApi(all_but("access-0"), latencies={"/slow": 5})
    async with open_api(library, grant, api) as (session, http):
        async with trio.open_nursery() as nursery:

            async def refresh_twice() -> None:
                await session.refresh()
                await session.refresh()

            nursery.start_soon(refresh_twice)
            await wait_all_tasks_blocked()
            assert (await http.get("/slow")).text == "access-2"
        assert session.generation == 3
    assert grant.presented == ["refresh-0", "refresh-1"]


async def test_p02_a_late_401_of_a_body_that_cannot_be_sent_again_does_not_refresh(
    library: ModuleType,
) -> None:
    grant, api = FakeGrant(), FakeApi(all_but("access-0"), latencies={"/slow": 5})
    async with open_api(library, grant, api) as (session, http):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(http.get, "/fast")
            response = await http.post("/slow", content=chunks())
        assert response.extensions["trioauth"].not_resent == "body"
        assert session.statistics().refreshes == 1
    assert grant.presented == ["refresh-0"]


async def test_p02_late_news_of_a_rejection_is_ignored() -> None:
    grant = FakeGrant()
    async with opened(grant, tokens=first_tokens(0)) as session:
        await session.refresh()
        for late in (1, 0, -1, 99):
            session.reject(late)
            session._source.reject(late)
        assert session.token_nowait() == "access-1"
        assert session.statistics().rejections == 0
    assert grant.presented == ["refresh-0"]
    session.reject(2)  # closed: too late, as well


# --- P3: nothing is sent with a generation that is known to be bad -------------------------


async def test_p03_no_request_is_sent_with_a_rejected_generation_while_the_flight_is_in_the_air(
    library: ModuleType,
) -> None:
    grant, api = FakeGrant(latency=2), FakeApi(all_but("access-0"))
    async with open_api(library, grant, api) as (session, http):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(http.get, "/first")
            await wait_all_tasks_blocked()
            assert api.tokens == ["access-0"]
            for _ in range(19):
                await trio.sleep(0.1)
                nursery.start_soon(http.get, "/notes")
                with pytest.raises(trio.WouldBlock):
                    session.token_nowait()
            assert len(api.seen) == 1
        assert api.tokens == ["access-0"] + ["access-1"] * 20
        assert {each.time for each in api.seen[1:]} == {2}


@asynccontextmanager
async def open_limited(grant: FakeGrant, api: Any, size: int) -> AsyncGenerator[Session, None]:
    """Open a session with so many connections, to an API in memory."""

    async def answer(request: httpx.Request) -> httpx.Response:
        response: httpx.Response = await api(request)
        if response.is_closed:
            # What comes over a network holds its connection until it is read.
            body = httpx.ByteStream(response.content)
            return httpx.Response(response.status_code, headers=response.headers, stream=body)
        return response

    limits = httpx.Limits(max_connections=size)
    async with opened(grant, limits=limits, trust_env=False) as session:
        limiter: Any = session.http._transport
        limiter._pool.transport = httpx.MockTransport(answer)
        yield session


async def test_p03_a_request_that_queued_in_the_limiter_never_carries_a_refused_token() -> None:
    grant, api = FakeGrant(), FakeApi(all_but("access-0"), latency=1)
    async with open_limited(grant, api, 2) as session:
        answers: list[httpx.Response] = []

        async def ask() -> None:
            answers.append(await session.get("/notes"))

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(ask)
    assert [answer.text for answer in answers] == ["access-1"] * 10
    # Only those that were refused count as sent again; all were answered of generation 2.
    how = [answer.extensions["trioauth"] for answer in answers]
    assert sorted(each.attempts for each in how) == [1] * 8 + [2] * 2
    assert {each.generation for each in how} == {2}
    assert api.sent_with("access-0") == 2
    assert api.sent_with("access-1") == 10
    assert grant.presented == ["refresh-0"]


async def test_p03_while_a_queued_request_waits_for_a_newer_token_it_holds_no_connection() -> None:
    grant, api = FakeGrant(latency=10), FakeApi(all_but("access-0"), latency=1)
    async with open_limited(grant, api, 1) as session:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(session.get, "/notes")
            await trio.sleep(2)
            # All three wait for the refresh, and other requests can use the connection.
            await session.get("/status", auth=None)
            assert trio.current_time() == 3
    assert api.sent_with("access-0") == 1


async def test_p04_a_queued_request_that_is_signed_anew_may_be_refused_once_more() -> None:
    # One refresh too few: the token that the queued request gets is refused, too. For that request
    # it is the first refusal, and not one of a token that it has waited for.
    grant, api = FakeGrant(), FakeApi(all_but("access-0", "access-1"), latency=0.9)
    async with open_limited(grant, api, 1) as session:
        answers: dict[str, str] = {}

        async def ask(name: str) -> None:
            answers[name] = (await session.get("/notes")).text

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, "first")
            await wait_all_tasks_blocked()
            session.http.timeout = None
            nursery.start_soon(ask, "queued")
            await wait_all_tasks_blocked()
            await session.refresh()
    assert answers["queued"] == "access-2"
    assert grant.presented == ["refresh-0", "refresh-1"]


async def test_p13_a_program_s_own_authorization_is_not_signed_anew() -> None:
    grant, api = FakeGrant(), FakeApi(latency=1)
    async with open_limited(grant, api, 1) as session:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.get, "/")
            await wait_all_tasks_blocked()
            nursery.start_soon(partial(session.get, "/", auth=("user", "password")))
            await wait_all_tasks_blocked()
            session.reject(1)
    assert api.tokens[1].startswith("Basic ")


async def test_p03_a_rejection_while_an_early_refresh_is_in_the_air_makes_requests_wait(
    library: ModuleType,
) -> None:
    grant, api = FakeGrant(), FakeApi()
    async with open_api(library, grant, api, tokens=first_tokens(100)) as (session, http):
        await trio.sleep(90)
        assert session.token_nowait() == "access-0"
        await trio.sleep(0.5)
        assert (await http.get("/notes")).text == "access-0"  # early, but good
        session.reject(1)
        assert (await http.get("/notes")).text == "access-1"
    assert [(each.time, each.token) for each in api.seen] == [(90.5, "access-0"), (91, "access-1")]
    assert grant.presented == ["refresh-0"]


async def test_p03_after_a_refresh_that_failed_the_refused_token_stays_unused(
    library: ModuleType,
) -> None:
    grant = FakeGrant(script=[OSError("down")] * 3)
    api = FakeApi(all_but("access-0"))
    async with open_api(library, grant, api) as (session, http):
        for _ in range(10):
            with pytest.raises(RefreshUnavailableError, match="try later") as caught:
                await http.get("/notes")
        assert session.logged_in
        assert api.tokens == ["access-0"]
        assert len(grant.presented) == 3
        assert caught.value.retry_at is not None
        with pytest.raises(RefreshUnavailableError):
            await http.post("/notes", content=chunks())
        with pytest.raises(RefreshUnavailableError):
            session.token_nowait()
        await trio.sleep_until(caught.value.retry_at)
        assert (await http.get("/notes")).text == "access-1"
    assert api.tokens == ["access-0", "access-1"]


async def test_p03_what_is_reported_from_outside_holds_for_the_next_request() -> None:
    grant, api = FakeGrant(), FakeApi()
    async with open_api(httpx, grant, api) as (session, http):
        with trio.testing.assert_no_checkpoints():
            session.reject(session.generation)
            session.reject(session.generation)
        assert session.statistics().rejections == 1
        assert grant.presented == []  # no request needs a token yet
        assert (await http.get("/notes")).text == "access-1"
    assert api.tokens == ["access-1"]


# --- P4: what is sent again, and how often -------------------------------------------------


async def test_p04_a_401_on_a_token_just_renewed_goes_to_the_caller(library: ModuleType) -> None:
    grant, api = FakeGrant(), FakeApi(no_token)
    async with open_api(library, grant, api) as (session, http):
        response = await http.get("/notes")
        assert response.status_code == 401
        assert response.text == "who are you?"
        assert response.extensions["trioauth"] == trioauth.Authentication(
            generation=2, attempts=2, not_resent="again"
        )
        assert session.statistics().retries == 1
    assert api.tokens == ["access-0", "access-1"]
    assert grant.presented == ["refresh-0"]


async def test_p04_a_request_that_waited_for_its_first_token_may_be_sent_again_once(
    library: ModuleType,
) -> None:
    grant, api = FakeGrant(), FakeApi(no_token)
    async with open_api(library, grant, api, tokens=first_tokens(0)) as (_, http):
        response = await http.get("/notes")
        assert response.extensions["trioauth"].not_resent == "again"
    assert api.tokens == ["access-1", "access-2"]
    assert grant.spent_twice == []


@pytest.mark.parametrize("max_futile", [1, 2, 5])
async def test_p04_an_api_that_refuses_every_token_causes_a_bounded_number_of_refreshes(
    library: ModuleType, max_futile: int
) -> None:
    grant, api = FakeGrant(), FakeApi(no_token)
    policy = RefreshPolicy(max_futile=max_futile)
    async with open_api(library, grant, api, policy=policy) as (_, http):
        for _ in range(50):
            response = await http.get("/notes")
            assert response.status_code == 401
            await trio.sleep(1)
        assert response.extensions["trioauth"].not_resent == "futile"
        assert response.extensions["trioauth"].attempts == 1
    # Two pauses of five and ten seconds are over by then, and one of twenty.
    assert len(grant.presented) == max_futile + 3
    assert len(api.seen) == 50 + max_futile + 3


@pytest.mark.slow
async def test_p04_a_storm_on_an_api_that_refuses_every_token_is_bounded_too(
    library: ModuleType,
) -> None:
    grant, api = FakeGrant(), FakeApi(no_token, latency=0.1)
    async with open_api(library, grant, api) as (_, http):

        async def ask_often() -> None:
            for _ in range(20):
                await http.get("/notes")

        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(ask_often)
    assert len(grant.presented) == 2


@pytest.mark.parametrize("old_tokens_die", [False, True])
async def test_p04_a_path_that_refuses_every_token_does_not_cause_a_refresh_a_request(
    library: ModuleType, *, old_tokens_die: bool
) -> None:
    # A server may end the old access token when it issues a new one. Then requests that are on
    # their way get late 401s, and succeed with the new token; but it did not help the bad path.
    grant = FakeGrant()

    def accepts(token: str) -> bool:
        return not old_tokens_die or token == f"access-{grant.issued}"

    api = FakeApi(accepts, latency=0.1, always_refused="/bad", latencies={"/good": 0.7})
    async with open_api(library, grant, api) as (_, http):

        async def ask_often(path: str, status: int) -> None:
            while trio.current_time() < 60:
                assert (await http.get(path)).status_code == status
                await trio.sleep(0.1)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_often, "/bad", 401)
            for _ in range(5):
                nursery.start_soon(ask_often, "/good", 200)
                await trio.sleep(0.03)
    # Two to find out, and then one after five seconds, after ten, and after twenty.
    assert len(grant.presented) == 5


async def test_p04_refreshing_is_tried_again_when_the_api_recovers(library: ModuleType) -> None:
    grant, api = FakeGrant(), FakeApi(no_token)
    async with open_api(library, grant, api) as (_, http):
        for _ in range(5):
            await http.get("/notes")
        assert len(grant.presented) == 2
        api.accepts = all_but()
        assert (await http.get("/notes")).text == "access-2"
        await trio.sleep(5)
        api.accepts = all_but("access-2")
        assert (await http.get("/notes")).text == "access-3"
        api.accepts = all_but("access-3")
        assert (await http.get("/notes")).text == "access-4"


@pytest.mark.parametrize(("status", "method"), [(303, "GET"), (307, "POST"), (302, "GET")])
async def test_p04_what_is_sent_again_after_a_redirect_is_the_request_that_was_refused(
    library: ModuleType, status: int, method: str
) -> None:
    grant = FakeGrant()
    api = FakeApi(redirects={"/pay": (status, "/receipt")})
    refused = [True]

    def accepts_but_once(_: str) -> bool:
        return not (api.seen[-1].path == "/receipt" and refused and refused.pop())

    api.accepts = accepts_but_once
    async with open_api(library, grant, api, follow_redirects=True) as (_, http):
        response = await http.post("/pay", content=b"10 EUR")
        assert response.text == "access-1"
        assert response.extensions["trioauth"].attempts == 2
    body = b"10 EUR" if method == "POST" else b""
    assert [(each.method, each.path, each.token, each.body) for each in api.seen] == [
        ("POST", "/pay", "access-0", b"10 EUR"),
        (method, "/receipt", "access-0", body),
        (method, "/receipt", "access-1", body),
    ]
    assert grant.presented == ["refresh-0"]


async def test_p04_a_one_shot_upload_that_was_taken_can_be_followed_by_a_request_sent_again(
    library: ModuleType,
) -> None:
    grant, api = FakeGrant(), FakeApi(redirects={"/upload": (303, "/receipt")})
    api.accepts = lambda token: api.seen[-1].path == "/upload" or token == "access-1"
    async with open_api(library, grant, api, follow_redirects=True) as (_, http):
        response = await http.post("/upload", content=chunks())
        assert response.text == "access-1"
    assert [(each.path, each.body) for each in api.seen] == [
        ("/upload", b"one two"),
        ("/receipt", b""),
        ("/receipt", b""),
    ]


async def chunks() -> AsyncIterator[bytes]:
    yield b"one "
    yield b"two"


class OneShot:
    """An async iterator that is empty the second time, and does not say so."""

    def __init__(self) -> None:
        self._parts = [b"two", b"one "]

    def __aiter__(self) -> OneShot:
        return self

    async def __anext__(self) -> bytes:
        if not self._parts:
            raise StopAsyncIteration
        return self._parts.pop()


class Reiterable:
    """An async iterable that starts anew each time; but it can't be told from `OneShot`."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        return chunks()


class Unseekable(io.RawIOBase):
    """A pipe, more or less."""

    def __init__(self) -> None:
        self._rest = b"one two"

    def read(self, _: int = -1) -> bytes:
        rest, self._rest = self._rest, b""
        return rest


Body = dict[str, Any]
SENT_AGAIN: dict[str, Callable[[Path], Body]] = {
    "none": lambda _: {},
    "bytes": lambda _: {"content": b"one two"},
    "str": lambda _: {"content": "one two"},
    "json": lambda _: {"json": {"one": "two"}},
    "data": lambda _: {"data": {"one": "two"}},
    "multipart bytes": lambda _: {"files": {"file": b"one two"}},
    "multipart BytesIO": lambda _: {"files": {"file": io.BytesIO(b"one two")}},
    "multipart file": lambda path: {"files": {"file": path.open("rb")}, "data": {"a": "b"}},
}
NOT_SENT_AGAIN: dict[str, Callable[[], Body]] = {
    "async generator": lambda: {"content": chunks()},
    "async generator with a length": lambda: {
        "content": chunks(),
        "headers": {"Content-Length": "7"},
    },
    "one-shot iterator": lambda: {"content": OneShot()},
    "one-shot iterator with a length": lambda: {
        "content": OneShot(),
        "headers": {"Content-Length": "7"},
    },
    "re-iterable": lambda: {"content": Reiterable()},
    "multipart unseekable": lambda: {"files": {"file": Unseekable()}},
}


@pytest.mark.parametrize("kind", SENT_AGAIN)
async def test_p04_a_body_that_can_be_sent_again_is_sent_again_whole(
    library: ModuleType, kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "upload"
    path.write_bytes(b"one two" * 20_000)
    body = SENT_AGAIN[kind](path)
    grant, api = FakeGrant(), FakeApi(all_but("access-0"))
    async with open_api(library, grant, api) as (_, http):
        response = await http.post("/notes", **body)
        assert response.text == "access-1"
        assert response.extensions["trioauth"].not_resent is None
    first, second = api.seen
    assert first.body == second.body
    assert kind == "none" or b"one" in first.body
    if kind == "multipart file":
        assert len(first.body) > path.stat().st_size
        body["files"]["file"].close()


@pytest.mark.parametrize("kind", NOT_SENT_AGAIN)
async def test_p04_a_body_that_cannot_be_sent_again_gets_its_401_back_untouched(
    library: ModuleType, kind: str
) -> None:
    await refuse_upload(library, NOT_SENT_AGAIN[kind]())


async def test_p04_an_open_trio_file_gets_its_401_back_untouched(
    library: ModuleType, tmp_path: Path
) -> None:
    path = trio.Path(tmp_path / "upload")
    await path.write_bytes(b"one two")
    async with await trio.open_file(path, "rb") as file:
        await refuse_upload(library, {"content": file})


async def refuse_upload(library: ModuleType, body: Body) -> None:
    grant, api = FakeGrant(), FakeApi(all_but("access-0"))
    async with open_api(library, grant, api) as (session, http):
        async with http.stream("POST", "/notes", **body) as response:
            assert response.status_code == 401
            # Untouched: not even read.
            assert b"".join([part async for part in response.aiter_raw()]) == b"who are you?"
        assert response.extensions["trioauth"] == trioauth.Authentication(
            generation=1, not_resent="body"
        )
        assert trio.current_time() == 0
        assert session.statistics().refreshes == 1  # under way
        assert (await http.get("/notes")).text == "access-1"  # the next try works
    assert [each.token for each in api.seen] == ["access-0", "access-1"]
    assert b"one two" in api.seen[0].body
    assert grant.presented == ["refresh-0"]


class Framed:
    """A file-like object that knows its descriptor, but not how to go back."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")

    def fileno(self) -> int:
        return self._file.fileno()

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def close(self) -> None:
        self._file.close()


@pytest.mark.parametrize("kind", ["has a descriptor", "length given"])
async def test_p04_an_unseekable_file_is_never_sent_again_cut_short(
    library: ModuleType, kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "upload"
    path.write_bytes(b"one two")
    framed = Framed(path)
    grant, api = FakeGrant(), FakeApi(all_but("access-0"))
    try:
        async with open_api(library, grant, api) as (_, http):
            if kind == "length given":
                request = http.build_request("POST", "/notes", files={"file": Unseekable()})
                whole = len(b"".join([part async for part in request.stream]))
                boundary = request.headers["Content-Type"]
                response = await http.post(
                    "/notes",
                    files={"file": Unseekable()},
                    headers={"Content-Type": boundary, "Content-Length": str(whole)},
                )
            else:
                response = await http.post("/notes", files={"file": framed})
            assert response.extensions["trioauth"].not_resent == "body"
    finally:
        framed.close()
    assert all(b"one two" in each.body for each in api.seen)


async def test_p04_for_a_body_that_cannot_be_sent_again_early_counts_as_stale(
    library: ModuleType,
) -> None:
    grant, api = FakeGrant(), FakeApi()
    async with open_api(library, grant, api, tokens=first_tokens(100)) as (_, http):
        await trio.sleep(90)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(http.get, "/get")
            response = await http.post("/upload", content=chunks())
        assert response.text == "access-1"
        assert response.extensions["trioauth"] == trioauth.Authentication(generation=2)
    assert {each.path: (each.time, each.token) for each in api.seen} == {
        "/get": (90, "access-0"),
        "/upload": (91, "access-1"),
    }
    assert grant.presented == ["refresh-0"]


async def test_p04_a_one_shot_body_goes_with_the_early_token_if_no_newer_can_be_had(
    library: ModuleType,
) -> None:
    grant, api = FakeGrant(script=[OSError("down")] * 3), FakeApi()
    async with open_api(library, grant, api, tokens=first_tokens(100)) as (_, http):
        await trio.sleep(85)
        assert (await http.post("/upload", content=chunks())).text == "access-0"
        assert (await http.post("/upload", content=chunks())).text == "access-0"
    assert len(grant.presented) == 3


# --- P5: a refresh token is never presented twice ------------------------------------------


@attrs.define
class WatchedStore(FakeStore):
    """A store that remembers when it was looked into."""

    looks: list[float] = attrs.field(factory=list)

    async def load(self) -> Record | None:
        self.looks.append(trio.current_time())
        return await super().load()


@attrs.define
class TimedGrant(FakeGrant):
    """A grant that remembers when it was called, and what the store knew then."""

    store: WatchedStore = attrs.field(factory=WatchedStore)
    times: list[float] = attrs.field(factory=list)

    async def __call__(self, tokens: Tokens | None, endpoint: trioauth.TokenEndpoint) -> Tokens:
        self.times.append(trio.current_time())
        assert self.store.locked, "a grant is called under the lock"
        assert self.store.looks[-1] >= self.times[-1] - self.store.latency, "look first"
        return await super().__call__(tokens, endpoint)


async def fail_to_refresh(session: trioauth.Session) -> float:
    with pytest.raises(RefreshUnavailableError) as caught:
        await session.token()
    assert caught.value.retry_at is not None
    return caught.value.retry_at


@pytest.mark.parametrize(("attempts", "presented"), [(1, 1), (2, 2), (3, 3), (4, 3), (20, 3)])
async def test_p05_after_a_lost_answer_it_is_presented_twice_more_within_ten_seconds(
    attempts: int, presented: int
) -> None:
    grant = TimedGrant(script=[OSError("reset")] * 50)
    policy = RefreshPolicy(attempts=attempts)
    async with opened(grant, tokens=first_tokens(0), store=grant.store, policy=policy) as session:
        await fail_to_refresh(session)
    assert grant.presented == ["refresh-0"] * presented
    assert grant.times[-1] <= grant.times[0] + 10
    # Once when the session opens and once to log in, then before each call.
    assert len(grant.store.looks) == 2 + presented


async def test_p05_the_repeat_finds_out_the_fate() -> None:
    grant = TimedGrant(script=[OSError("reset")])
    async with opened(grant, tokens=first_tokens(0), store=grant.store) as session:
        assert await session.token() == "access-1"
    assert grant.presented == ["refresh-0"] * 2


@pytest.mark.parametrize(("backoff", "presented"), [(4, 3), (9, 2), (12, 2), (25, 1)])
async def test_p05_the_refresh_token_is_not_presented_again_after_ten_seconds(
    backoff: float, presented: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Half of the pause is jitter: none of it here.
    monkeypatch.setattr(random, "random", lambda: 0.0)
    grant = TimedGrant(script=[OSError("reset")] * 50)
    policy = RefreshPolicy(backoff=backoff, timeout=100)
    async with opened(grant, tokens=first_tokens(0), store=grant.store, policy=policy) as session:
        await fail_to_refresh(session)
    assert len(grant.presented) == presented
    lost_at = grant.times[0] + 0.5
    assert all(time <= lost_at + 10 for time in grant.times)


async def test_p05_a_slow_store_does_not_stretch_the_ten_seconds() -> None:
    grant = TimedGrant(script=[OSError("reset")] * 50)
    async with opened(grant, tokens=first_tokens(0), store=grant.store) as session:
        grant.store.latency = 6
        await fail_to_refresh(session)
    lost_at = grant.times[0] + 0.5
    assert all(time <= lost_at + 10 for time in grant.times)


@pytest.mark.parametrize(("held", "presented"), [(3.5, ["refresh-0"]), (4, []), (4.9, [])])
async def test_p05_the_refresh_token_is_not_presented_without_time_for_the_answer(
    held: float, presented: list[str]
) -> None:
    """Another process may hold the store's lock until this flight is almost over."""
    grant, store = FakeGrant(), FakeStore()
    policy = RefreshPolicy(timeout=5)
    async with opened(grant, store=store, policy=policy) as session:
        async with trio.open_nursery() as nursery:

            async def refresh() -> None:
                if presented:
                    await session.refresh()
                else:
                    with pytest.raises(RefreshUnavailableError, match="left no time"):
                        await session.refresh()

            async with store.lock():
                nursery.start_soon(refresh)
                await trio.sleep(held)
        assert grant.presented == presented


async def test_p05_a_flight_soon_after_does_not_start_to_count_anew() -> None:
    grant = TimedGrant(script=[OSError("reset")] * 50)
    async with opened(grant, tokens=first_tokens(0), store=grant.store) as session:
        retry_at = await fail_to_refresh(session)
        assert len(grant.presented) == 3
        await trio.sleep_until(retry_at)
        await fail_to_refresh(session)
    lost_at = grant.times[0] + 0.5
    assert len([time for time in grant.times if time <= lost_at + 10]) == 3


async def test_p05_a_grant_with_a_nursery_that_meets_the_deadline_has_spent_its_token_too() -> None:
    # Out of a nursery even a cancellation comes in a group.
    presented: list[float] = []

    async def grant(tokens: Tokens | None, endpoint: trioauth.TokenEndpoint) -> Tokens:
        presented.append(trio.current_time())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            await trio.sleep_forever()
        raise AssertionError

    policy = RefreshPolicy(timeout=3, cooldown=1)
    async with opened(grant, tokens=first_tokens(0), policy=policy) as session:
        retry_at = await fail_to_refresh(session)
        assert trio.current_time() == 3
        assert retry_at == 3 + 10
        await trio.sleep(5)
        await fail_to_refresh(session)
    assert presented == [0]


async def test_p05_what_another_process_has_refreshed_is_adopted_rather_than_asked_for() -> None:
    store = WatchedStore()
    others = Record(9, Tokens("access-others", "refresh-others", 3600), login="theirs")

    @attrs.define
    class RacingGrant(TimedGrant):
        async def __call__(self, tokens: Tokens | None, endpoint: trioauth.TokenEndpoint) -> Tokens:
            try:
                return await super().__call__(tokens, endpoint)
            finally:
                # A store with a lock that does not hold, to show that we look.
                assert store.record is not None
                store.record = attrs.evolve(others, login=store.record.login)

    grant = RacingGrant(script=[OSError("reset")], store=store)
    async with opened(grant, tokens=first_tokens(0), store=store) as session:
        assert await session.token() == "access-others"
    # Ours once, and theirs not at all.
    assert grant.presented == ["refresh-0"]


@pytest.mark.parametrize("attempts", [1, 4, 6])
async def test_p05_what_certainly_was_not_used_is_presented_as_often_as_the_policy_says(
    attempts: int,
) -> None:
    not_sent = [RefreshUnavailableError("not connected", safe_to_repeat=True) for _ in range(50)]
    grant = TimedGrant(latency=0.1, script=list(not_sent))
    policy = RefreshPolicy(attempts=attempts, timeout=300)
    async with opened(grant, tokens=first_tokens(0), store=grant.store, policy=policy) as session:
        await fail_to_refresh(session)
    assert len(grant.presented) == attempts


async def test_p05_a_lost_answer_after_safe_failures_counts_from_there() -> None:
    safe = [RefreshUnavailableError("not connected", safe_to_repeat=True) for _ in range(3)]
    grant = TimedGrant(latency=0.1, script=[*safe, OSError("reset"), *safe, OSError("reset")])
    policy = RefreshPolicy(attempts=20, timeout=300, backoff=0.1)
    async with opened(grant, tokens=first_tokens(0), store=grant.store, policy=policy) as session:
        await fail_to_refresh(session)
    assert len(grant.presented) == 3 + 1 + 2


@pytest.mark.parametrize(
    ("failure", "raised"),
    [
        (GrantRefusedError("invalid_grant"), LoggedOutError),
        (GrantMisconfiguredError("invalid_client"), GrantMisconfiguredError),
    ],
)
async def test_p05_an_answer_is_an_answer_and_is_not_asked_for_again(
    failure: Exception, raised: type[Exception]
) -> None:
    grant = TimedGrant(script=[failure])
    async with opened(grant, tokens=first_tokens(0), store=grant.store) as session:
        for _ in range(5):
            with pytest.raises(raised):
                await session.token()
    assert grant.presented == ["refresh-0"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_p05_nothing_is_spent_twice_in_a_life_of_storms_and_cancellations(seed: int) -> None:
    dice = random.Random(seed)
    grant, api = FakeGrant(latency=0.3, lifetime=5), FakeApi(latency=0.05)
    store = FakeStore(latency=0.1)
    refused: set[str] = set()
    api.accepts = lambda token: token not in refused

    async def main() -> None:
        library = dice.choice([httpx, httpx2])
        async with open_api(library, grant, api, store=store) as (session, http):

            async def worker() -> None:
                while trio.current_time() < 30:
                    with trio.move_on_after(dice.uniform(0, 1)):
                        action = dice.randrange(5)
                        if action == 0:
                            await session.refresh()
                        elif action == 1:
                            session.reject(dice.randint(1, session.generation))
                        elif action == 2:
                            refused.add(await session.token())
                        else:
                            await http.get("/notes")
                    await trio.sleep(dice.uniform(0, 0.5))

            async with trio.open_nursery() as nursery:
                for _ in range(10):
                    nursery.start_soon(worker)

    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert len(grant.presented) > 10
    assert grant.spent_twice == []
    assert grant.most_in_flight == 1
    assert grant.completed == grant.issued == len(grant.presented)
    assert store.tokens == Tokens(f"access-{grant.issued}", f"refresh-{grant.issued}", 5)
