"""One client of the program, of httpx or httpx2, for many keys: `Sessions.attach`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.both import API, FOREIGN, FakeApi, body_stream, stream_transport
from trioauth import OriginError, StoreError
from trioauth.testing import Victim, every_checkpoint

from .world import KeyedFakeStore, KeyedGrant, access_token, many

if TYPE_CHECKING:
    from types import ModuleType

    from trioauth import Sessions

pytestmark = pytest.mark.usefixtures("autojump_clock")


def of(key: object) -> Any:
    return {"trioauth.key": key}


def attached(sessions: Sessions, library: ModuleType, api: FakeApi, **options: Any) -> Any:
    options.setdefault("base_url", API)
    client = library.AsyncClient(transport=stream_transport(library, api), **options)
    assert sessions.attach(client) is client
    return client


async def test_each_request_is_signed_for_the_key_that_it_names(library: ModuleType) -> None:
    api = FakeApi(latency=1)

    async def ask(key: str) -> None:
        assert (await client.get("/", extensions=of(key))).text == f"access-{key}-1"

    async with many() as sessions, attached(sessions, library, api) as client:
        async with trio.open_nursery() as nursery:
            for key in ["ann", "bob"] * 5:
                nursery.start_soon(ask, key)
        assert sessions.statistics().opened == 2
        assert sessions.statistics().idle == 2
    assert sorted(api.tokens) == ["access-ann-1"] * 5 + ["access-bob-1"] * 5


async def test_a_request_without_a_key_is_refused_before_it_is_sent(library: ModuleType) -> None:
    api = FakeApi()
    async with many() as sessions, attached(sessions, library, api) as client:
        with pytest.raises(ValueError, match=r'extensions=\{"trioauth.key": key\}'):
            await client.get("/")
        with pytest.raises(ValueError, match="1 to 1,024"):
            await client.get("/", extensions=of(""))
        with pytest.raises(TypeError, match="key must be a str"):
            await client.get("/", extensions=of(17))
        assert api.seen == []
        assert sessions.statistics().in_memory == 0


async def test_a_request_to_a_foreign_origin_is_refused_before_its_session_is_opened(
    library: ModuleType,
) -> None:
    api = FakeApi()
    async with many() as sessions, attached(sessions, library, api) as client:
        with pytest.raises(OriginError):
            await client.get(f"{FOREIGN}/", extensions=of("ann"))
        assert (api.seen, sessions.statistics().opened) == ([], 0)
        # Without the auth it is none of ours.
        assert (await client.get(f"{FOREIGN}/", auth=None)).status_code == 200


async def test_a_client_for_another_origin_is_refused(library: ModuleType) -> None:
    async with many() as sessions:
        with pytest.raises(OriginError):
            sessions.attach(library.AsyncClient(base_url=FOREIGN))
        with pytest.raises(TypeError, match="AsyncClient"):
            sessions.attach(library.Client())


async def test_a_client_of_other_open_sessions_is_refused(library: ModuleType) -> None:
    client: Any = library.AsyncClient(base_url=API)
    async with many() as sessions, many() as others, sessions.use("ann") as session:
        sessions.attach(client)
        assert sessions.attach(client) is client
        for other in others, session:
            with pytest.raises(RuntimeError, match="signed by another session"):
                other.attach(client)
    async with many() as later:
        assert later.attach(client) is client


async def test_a_401_of_one_key_refreshes_that_key_once(library: ModuleType) -> None:
    grant = KeyedGrant()
    api = FakeApi(accepts=lambda token: token != "access-ann-1")

    async def ask(key: str) -> None:
        answer = await client.post("/", content=b"body", extensions=of(key))
        assert (answer.status_code, answer.text.split("-")[1]) == (200, key)

    async with many(grant) as sessions, attached(sessions, library, api) as client:
        async with trio.open_nursery() as nursery:
            for key in ["ann", "bob"] * 5:
                nursery.start_soon(ask, key)
        assert sessions.statistics().idle == 2
    assert grant.presented == ["refresh-ann-1"]


async def test_a_session_is_kept_while_its_request_runs_and_while_its_body_streams(
    library: ModuleType,
) -> None:
    api = FakeApi(latency=50)
    api.answer = lambda request: library.Response(200, stream=body_stream(library, b"body"))
    async with many(idle=10) as sessions, attached(sessions, library, api) as client:
        async with client.stream("GET", "/", extensions=of("ann"), timeout=None) as response:
            assert sessions.statistics().dropped == 0
            await trio.sleep(100)
            assert sessions.statistics().idle == 0
            assert b"".join([part async for part in response.aiter_raw()]) == b"body"
            await response.aclose()
            await response.aclose()
            assert sessions.statistics().idle == 1
        await trio.sleep(11)
        assert sessions.statistics().in_memory == 0


async def test_a_body_that_is_never_read_keeps_its_session_until_it_is_closed(
    library: ModuleType,
) -> None:
    api = FakeApi()
    api.answer = lambda request: library.Response(200, stream=body_stream(library, b"body"))
    async with many(idle=10) as sessions, attached(sessions, library, api) as client:
        request = client.build_request("GET", "/", extensions=of("ann"))
        response = await client.send(request, stream=True)
        assert sessions.statistics().idle == 0
        await response.aclose()
        assert sessions.statistics().idle == 1


async def test_an_answer_without_a_body_to_read_keeps_no_session(library: ModuleType) -> None:
    transport = library.MockTransport(lambda _: library.Response(200, text="read already"))
    async with many() as sessions:
        client: Any = library.AsyncClient(base_url=API, transport=transport)
        async with sessions.attach(client):
            request = client.build_request("GET", "/", extensions=of("ann"))
            response = await client.send(request, stream=True)
            await response.aread()
            assert sessions.statistics().idle == 1


async def test_a_request_that_breaks_keeps_no_session(library: ModuleType) -> None:
    api = FakeApi()

    def break_(request: object) -> None:
        raise library.ReadError("broken")

    api.answer = break_
    async with many() as sessions, attached(sessions, library, api) as client:
        with pytest.raises(library.ReadError):
            await client.get("/", extensions=of("ann"))
        assert sessions.statistics().idle == 1


async def test_a_session_that_can_not_be_opened_sends_nothing(library: ModuleType) -> None:
    store, api = KeyedFakeStore.with_logins("ann"), FakeApi()
    store.of("ann").fail_load = StoreError("no disk")
    async with many(store=store) as sessions, attached(sessions, library, api) as client:
        with pytest.raises(StoreError, match="no disk"):
            await client.get("/", extensions=of("ann"))
    assert api.seen == []


async def test_a_request_without_a_login_keeps_no_session(library: ModuleType) -> None:
    from trioauth import LoggedOutError

    async with many() as sessions, attached(sessions, library, FakeApi()) as client:
        with pytest.raises(LoggedOutError):
            await client.get("/", extensions=of("nobody"))
        assert sessions.statistics().idle == 1


async def test_a_refusal_whose_refresh_fails_keeps_no_session(library: ModuleType) -> None:
    from trioauth import GrantRefusedError, LoggedOutError

    grant = KeyedGrant(script=[GrantRefusedError("invalid_grant")])
    api = FakeApi(refused={"access-ann-1"})
    async with many(grant) as sessions, attached(sessions, library, api) as client:
        with pytest.raises(LoggedOutError):
            await client.get("/", extensions=of("ann"))
        assert sessions.statistics().idle == 1


async def test_p30_a_cookie_that_was_set_for_one_key_goes_along_with_no_other(
    library: ModuleType,
) -> None:
    api = FakeApi()
    cookies: list[str | None] = []

    def answer(request: Any) -> Any:
        cookies.append(request.headers.get("Cookie"))
        return library.Response(200, headers={"Set-Cookie": "who=ann; Path=/"})

    api.answer = answer
    client = library.AsyncClient(
        base_url=API, transport=stream_transport(library, api), cookies={"region": "eu"}
    )
    async with many() as sessions, sessions.attach(client):
        for key in "ann", "bob":
            await client.get("/", extensions=of(key))
    assert cookies == ["region=eu", "region=eu"]


async def test_after_closing_a_request_is_one_clear_error(library: ModuleType) -> None:
    api = FakeApi()
    async with many() as sessions:
        client = attached(sessions, library, api)
    with pytest.raises(trio.ClosedResourceError, match="was left"):
        await client.get("/", extensions=of("ann"))
    assert api.seen == []


async def test_a_synchronous_client_has_no_such_auth(library: ModuleType) -> None:
    async with many() as sessions:
        client = attached(sessions, library, FakeApi())
        with pytest.raises(RuntimeError, match="AsyncClient only"):
            library.Client(auth=client.auth).get(API)


def test_a_cancelled_request_keeps_no_session_wherever_it_was() -> None:
    async def scenario(victim: Victim) -> None:
        grant, api = KeyedGrant(), FakeApi(latency=1, refused={"access-ann-1"})
        store = KeyedFakeStore.with_logins("ann")
        store.of("ann").latency = 1
        async with (
            many(grant, store=store, idle=10) as sessions,
            attached(sessions, httpx, api) as client,
        ):

            async def ask() -> None:
                assert (await client.get("/", extensions=of("ann"))).text == "access-ann-2"

            await victim(ask)
            assert await access_token(sessions, "ann")
            await wait_all_tasks_blocked()
            assert sessions.statistics().idle == 1

    every_checkpoint(scenario)


async def test_an_abandoned_flow_releases_its_session(library: ModuleType) -> None:
    async with many() as sessions:
        client = attached(sessions, library, FakeApi())
        request = client.build_request("GET", "/", extensions=of("ann"))
        unused = client.auth.async_auth_flow(request)
        await unused.aclose()
        flow = client.auth.async_auth_flow(request)
        await flow.__anext__()
        assert sessions.statistics().idle == 0
        with pytest.raises(ZeroDivisionError):
            await flow.athrow(ZeroDivisionError())
        assert sessions.statistics().idle == 1
        flow = client.auth.async_auth_flow(request)
        await flow.__anext__()
        with pytest.raises(ZeroDivisionError):
            await flow.athrow(ZeroDivisionError, ZeroDivisionError())
        assert "Authorization" not in request.headers
