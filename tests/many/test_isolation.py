"""Nothing of one key goes along with a request of another: token, cookie, header or log-in (P30).

And the client that all share: what a program does to the one of a key stays there.
"""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.both import API, FakeApi, stream_transport
from trioauth import LoggedOutError, Tokens, open_sessions

from .world import KeyedFakeStore, KeyedGrant, access_token, many, tokens_of

pytestmark = pytest.mark.usefixtures("autojump_clock")


class CookieApi(FakeApi):
    """An API that sets the token as a cookie, and notes what cookies and headers it gets."""

    def __init__(self) -> None:
        super().__init__(answer=self.reply)
        self.got: list[tuple[str, str | None, str | None]] = []

    def reply(self, request: Any) -> Any:
        token = request.headers["Authorization"].removeprefix("Bearer ")
        self.got.append((token, request.headers.get("Cookie"), request.headers.get("X-Mine")))
        return httpx.Response(200, headers={"Set-Cookie": f"who={token}; Path=/"})


async def test_p30_requests_of_many_keys_at_once_each_carry_the_token_of_their_key() -> None:
    keys = [f"user{n}" for n in range(30)]
    api = FakeApi(latency=1)

    async def work(key: str) -> None:
        async with sessions.use(key) as session:
            for number in range(5):
                response = await session.post(f"/{key}", content=key)
                assert response.text.startswith(f"access-{key}-")
                if number % 2:
                    await session.refresh()

    async with many(api=api, store=KeyedFakeStore.with_logins(*keys)) as sessions:
        async with trio.open_nursery() as nursery:
            for key in keys:
                nursery.start_soon(work, key)
    assert len(api.seen) == 150
    assert all(seen.token.split("-")[1] == seen.body.decode() for seen in api.seen)


async def test_p30_cookies_are_off_unless_asked_for() -> None:
    api = CookieApi()
    async with many(api=api) as sessions:
        for key in "ann", "bob", "ann":
            async with sessions.use(key) as session:
                await session.get("/")
                assert not session.http.cookies
    assert [cookie for _, cookie, _ in api.got] == [None, None, None]


async def test_p30_cookies_that_are_asked_for_are_of_one_key_and_one_login() -> None:
    api = CookieApi()
    async with many(api=api, cookies=True) as sessions:
        async with sessions.use("ann") as ann, sessions.use("bob") as bob:
            for session in ann, bob, ann, bob:
                await session.get("/")
            await ann.log_in(Tokens("access-ann-9", "refresh-ann-9"))
            await ann.get("/")
    assert [cookie for _, cookie, _ in api.got] == [
        None,
        None,
        "who=access-ann-1",
        "who=access-bob-1",
        None,
    ]


async def test_p30_configured_cookies_are_where_each_login_begins() -> None:
    api = CookieApi()
    async with many(api=api, cookies={"region": "eu"}) as sessions:
        for key in "ann", "bob":
            async with sessions.use(key) as session:
                await session.get("/")
                await session.get("/")
    assert [cookie for _, cookie, _ in api.got] == [
        "region=eu",
        "region=eu; who=access-ann-1",
        "region=eu",
        "region=eu; who=access-bob-1",
    ]


async def test_a_cookie_that_is_set_where_cookies_are_off_is_one_clear_error() -> None:
    async with many() as sessions, sessions.use("ann") as session:
        cookies = session.http.cookies
        with pytest.raises(RuntimeError, match="cookies=True"):
            cookies.set("who", "ann")
        with pytest.raises(RuntimeError, match="cookies=True"):
            cookies.update({"who": "ann"})
        with pytest.raises(RuntimeError, match="cookies=True"):
            cookies["who"] = "ann"
        cookies.update({})
        # Those of one request are its own.
        request = session.build_request("GET", "/", cookies={"one": "1"})
        assert request.headers["Cookie"] == "one=1"


async def test_p30_what_a_program_changes_in_the_client_of_one_key_stays_there() -> None:
    api = CookieApi()
    hooked = []

    async def hook(request: httpx.Request) -> None:
        hooked.append(request.headers["Authorization"])

    async def answered(response: httpx.Response) -> None:
        hooked.append(response.request.headers["Authorization"])

    async with many(api=api, headers={"X-All": "1"}) as sessions:
        async with sessions.use("ann") as ann, sessions.use("bob") as bob:
            ann.http.headers["X-Mine"] = "ann"
            ann.http.event_hooks["request"].append(hook)
            assert ann.http.event_hooks["request"] == [hook]
            bob.http.event_hooks = {"request": [], "response": [answered]}
            assert bob.http.event_hooks["response"] == [answered]
            ann.http.timeout = 1
            ann.http.base_url = f"{API}/ann/"
            for session in ann, bob:
                await session.get("/")
            assert bob.http.timeout.read == 5
            assert ann.http.headers["X-All"] == bob.http.headers["X-All"] == "1"
    assert [mine for _, _, mine in api.got] == ["ann", None]
    assert [seen.path for seen in api.seen] == ["/ann/", "/"]
    assert hooked == ["Bearer access-ann-1", "Bearer access-bob-1"]


async def test_p30_a_request_of_one_key_is_not_sent_with_the_session_of_another() -> None:
    api = FakeApi()
    async with many(api=api) as sessions:
        async with sessions.use("ann") as ann, sessions.use("bob") as bob:
            request = ann.build_request("GET", "/")
            with pytest.raises(RuntimeError, match="another session"):
                await bob.send(request)
            # One that no session has built is of the session that sends it.
            plain = httpx.Request("GET", f"{API}/plain")
            assert (await bob.send(plain)).text == "access-bob-1"
    assert api.tokens == ["access-bob-1"]


async def test_p30_a_log_in_of_one_key_waits_for_no_other_and_is_not_taken_for_it() -> None:
    async def ask(tokens: Tokens) -> Tokens:
        await trio.sleep(5)
        return tokens

    async def log_in(key: str, number: int) -> None:
        async def obtain(_: object) -> Tokens:
            return await ask(tokens_of(key, number))

        await sessions.log_in(key, obtain)

    async with many() as sessions:
        async with trio.open_nursery() as nursery:
            for number, key in enumerate(("ann", "bob", "cat"), 7):
                nursery.start_soon(log_in, key, number)
        assert trio.current_time() == 5
        assert await access_token(sessions, "ann") == "access-ann-7"
        assert await access_token(sessions, "cat") == "access-cat-9"


async def test_the_end_of_one_login_ends_no_other() -> None:
    async with many() as sessions, sessions.use("ann") as ann, sessions.use("bob") as bob:
        await sessions.log_out("ann")
        with pytest.raises(LoggedOutError):
            await ann.get("/")
        assert (await bob.get("/")).text == "access-bob-1"


async def test_closing_the_client_of_one_key_closes_no_other_and_not_the_pool() -> None:
    closed = []

    class Transport(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            return httpx.Response(200, text=request.headers["Authorization"])

        async def aclose(self) -> None:
            closed.append(True)

    async with open_sessions(
        KeyedGrant(),
        base_url=API,
        store=KeyedFakeStore.with_logins("ann", "bob"),
        transport=Transport(),
        mounts={"https://mounted.test": Transport(), "https://none.test": None},
        origins=["https://mounted.test"],
    ) as sessions:
        async with sessions.use("ann") as ann, sessions.use("bob") as bob:
            async with ann.http as client:
                await client.get("/")
            await ann.http.aclose()
            assert ann.http is not client, "a closed one is replaced"
            assert (await ann.get("https://mounted.test/")).text == "Bearer access-ann-1"
            assert (await bob.get("/")).text == "Bearer access-bob-1"
        assert not closed
    assert closed


async def test_all_keys_share_one_pool_and_a_request_that_queues_is_told_of_its_own_login(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    api = FakeApi(latency=10)
    made: list[object] = []

    async def handle(self: httpx.AsyncHTTPTransport, request: httpx.Request) -> Any:
        made.append(self)
        return await api(request)

    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", handle)
    told: dict[str, object] = {}

    async def ask(key: str) -> None:
        async with sessions.use(key) as session:
            try:
                told[key] = (await session.get("/")).text
            except LoggedOutError as exc:
                told[key] = exc.reason

    store = KeyedFakeStore.with_logins("ann", "bob", "cat")
    async with open_sessions(
        KeyedGrant(), base_url=API, store=store, limits=httpx.Limits(max_connections=1)
    ) as sessions:
        # The pool is made in a thread, on a clock that does not jump.
        await ask("ann")
        async with trio.open_nursery() as nursery:
            for key in "ann", "bob", "cat":
                nursery.start_soon(ask, key)
                await wait_all_tasks_blocked()
            # Two queue for the one connection; their logins end, or get a newer token.
            await sessions.log_out("bob")
            async with sessions.use("cat") as cat:
                await cat.refresh()
    assert told == {"ann": "access-ann-1", "bob": "asked", "cat": "access-cat-2"}
    assert len(set(made)) == 1


async def test_the_life_of_tokens_counts_from_what_their_own_login_has_asked_last() -> None:
    """`BackChannel.asked_at` of one key must not be that of another."""
    from trioauth import TokenRequest

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={})

    async def obtain(endpoint: Any) -> Tokens:
        await endpoint.send(TokenRequest("https://id.test/token"))
        await trio.sleep(50)  # bob asks in the meantime
        return tokens_of("ann", 5, expires_in=100)

    async def other(endpoint: Any) -> Tokens:
        await endpoint.send(TokenRequest("https://id.test/token"))
        return tokens_of("bob", 5)

    async def later() -> None:
        await trio.sleep(40)
        await sessions.log_in("bob", other)

    async with many(transport=httpx.MockTransport(answer)) as sessions:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(later)
            await sessions.log_in("ann", obtain)
        async with sessions.use("ann") as session:
            assert session.statistics().seconds_until_expiry == pytest.approx(50)
            # They share what was found out about servers, and the client.
            assert session.back_channel.cache is sessions.back_channel.cache
        channel = session.back_channel
    with pytest.raises(trio.ClosedResourceError):
        await channel.send(TokenRequest("https://id.test/token"))


async def test_a_transport_of_the_program_is_used_for_all_keys() -> None:
    api = FakeApi()
    async with many(transport=stream_transport(httpx, api)) as sessions:
        for key in "ann", "bob":
            async with sessions.use(key) as session:
                await session.get("/")
    assert api.tokens == ["access-ann-1", "access-bob-1"]
