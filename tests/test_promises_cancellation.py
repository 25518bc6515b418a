"""P6 to P10: a task that is cancelled takes nothing along, and nothing is left behind."""

from __future__ import annotations

import contextvars
import signal
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trioauth import Record, RefreshPolicy, Tokens, events, open_session
from trioauth._http.auth import Flow

from .both import API, FakeApi, open_api
from .fakes import FakeGrant, FakeStore, first_tokens
from .sessions import opened

if TYPE_CHECKING:
    from types import ModuleType

    from trioauth import Session, TokenEndpoint

pytestmark = pytest.mark.usefixtures("autojump_clock")


# --- P6: a cancelled task leaves at once, and the refresh goes on --------------------------


@pytest.mark.parametrize("patience", [0, 0.25, 0.5, 0.75, 1])
async def test_p06_the_task_that_started_the_refresh_leaves_at_once_and_the_refresh_lands(
    patience: float,
) -> None:
    grant, store = FakeGrant(), FakeStore()
    async with opened(grant, tokens=first_tokens(0), store=store) as session:
        with trio.move_on_after(patience):
            await session.token()
        assert trio.current_time() == patience
        await trio.sleep(2)
        if patience:
            assert session.token_nowait() == "access-1"
            assert store.saved[-1].tokens == Tokens("access-1", "refresh-1", 3600)
    assert grant.completed == grant.issued == (1 if patience else 0)
    assert grant.spent_twice == []


async def test_p06_cancelling_every_second_request_costs_the_others_nothing(
    library: ModuleType,
) -> None:
    grant = FakeGrant()
    api = FakeApi(lambda token: token != "access-0")
    answers: list[str] = []

    async def ask(http: Any, patience: float) -> None:
        with trio.move_on_after(patience):
            answers.append((await http.get("/notes")).text)

    async with (
        open_api(library, grant, api) as (_, http),
        trio.open_nursery() as nursery,
    ):
        for number in range(100):
            nursery.start_soon(ask, http, 0.5 if number % 2 else 60)
    assert answers == ["access-1"] * 50
    assert grant.presented == ["refresh-0"]
    assert trio.current_time() == 1


async def test_p06_a_deadline_of_the_first_caller_is_not_that_of_the_refresh() -> None:
    grant = FakeGrant(latency=20)
    async with opened(grant, tokens=first_tokens(0)) as session:
        with trio.move_on_after(1):
            await session.token()
        assert await session.token() == "access-1"
        assert trio.current_time() == 20
    assert grant.presented == ["refresh-0"]


# --- P7: stored before any task wakes up with it -------------------------------------------


async def test_p07_rotated_tokens_are_stored_before_anybody_wakes_up_with_them(
    library: ModuleType,
) -> None:
    grant, store = FakeGrant(), FakeStore(latency=3)
    api = FakeApi(lambda token: token != "access-0")
    told: list[events.Event] = []
    async with open_api(library, grant, api, store=store, observers=[told.append]) as (
        session,
        http,
    ):

        async def ask() -> None:
            assert (await http.get("/notes")).text == "access-1"
            assert store.tokens == Tokens("access-1", "refresh-1", 3600)

        async def look() -> None:
            # The state is what changes; there is nothing to wait for that is not under test.
            while session.generation == 1:  # noqa: ASYNC110
                await trio.sleep(0.5)
            assert store.record is not None
            assert store.record.generation == session.generation

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            for _ in range(10):
                nursery.start_soon(ask)
    kinds = [type(event) for event in told]
    landed = kinds.index(events.RefreshLanded)
    assert events.Saved in kinds[kinds.index(events.RefreshStarted) : landed]
    assert events.WaitEnded not in kinds[:landed]


# --- P8: leaving while a flight is in the air ----------------------------------------------


class Boom(Exception):
    """What goes wrong in the block."""


@pytest.mark.parametrize("how", ["return", "exception", "cancellation"])
async def test_p08_a_refresh_in_the_air_lands_and_is_stored_however_the_session_is_left(
    how: str,
) -> None:
    grant, store = FakeGrant(latency=4), FakeStore()
    with trio.move_on_after(1) as scope:
        try:
            async with opened(grant, tokens=first_tokens(0), store=store) as session:
                with trio.move_on_after(0.5):
                    await session.token()
                if how == "exception":
                    raise Boom
                if how == "cancellation":
                    await trio.sleep_forever()
        except Boom:
            assert how == "exception"
    assert scope.cancelled_caught == (how == "cancellation")
    assert trio.current_time() == 4
    assert grant.in_flight == 0
    assert store.tokens == Tokens("access-1", "refresh-1", 3600)


async def test_p08_after_the_grace_it_is_cancelled_and_nothing_is_left() -> None:
    grant = FakeGrant(latency=100)
    tasks = trio.lowlevel.current_statistics().tasks_living
    policy = RefreshPolicy(close_grace=7)
    async with opened(grant, tokens=first_tokens(0), policy=policy) as session:
        with trio.move_on_after(0.5):
            await session.token()
    assert trio.current_time() == 7.5
    assert grant.in_flight == 0
    assert grant.completed == 0
    assert trio.lowlevel.current_statistics().tasks_living == tasks


async def test_p08_what_is_in_hand_at_the_end_of_the_grace_is_told_as_not_saved() -> None:
    class SlowToSave(FakeStore):
        async def save(self, record: Record, *, expected: int) -> None:
            await trio.sleep(50 if record.generation > 1 else 0)
            await super().save(record, expected=expected)

    told: list[events.Event] = []
    async with opened(
        tokens=first_tokens(0),
        store=SlowToSave(),
        observers=[told.append],
        policy=RefreshPolicy(close_grace=3),
    ) as session:
        with trio.move_on_after(0.5):
            await session.token()
    assert trio.current_time() == 3.5
    not_saved = [event for event in told if isinstance(event, events.NotSaved)]
    assert {(event.generation, event.error) for event in not_saved} == {(2, "TooSlowError")}
    # First that it is kept in memory, and at the end that it is lost.
    assert [event.lost for event in not_saved] == [False, True]


async def test_p08_tokens_that_a_store_with_a_nursery_did_not_save_are_told() -> None:
    # Out of a nursery even a cancellation comes in a group.
    class Helped(FakeStore):
        async def save(self, record: Record, *, expected: int) -> None:
            if record.generation > 1:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(trio.sleep_forever)
                    await trio.sleep_forever()
            await super().save(record, expected=expected)

    told: list[events.Event] = []
    async with opened(
        tokens=first_tokens(0),
        store=Helped(),
        observers=[told.append],
        policy=RefreshPolicy(timeout=3, close_grace=1),
    ) as session:
        assert await session.token() == "access-1"
        assert not session.statistics().saved
    assert events.NotSaved in map(type, told)


def test_p08_control_c_once_more_ends_the_grace() -> None:
    left: list[float] = []

    @trio.lowlevel.enable_ki_protection
    async def press() -> None:
        # Protected, so that it is the main task that gets it.
        for moment in (1, 2):
            await trio.sleep_until(moment)
            signal.raise_signal(signal.SIGINT)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(press)
            try:
                async with opened(FakeGrant(latency=1000), tokens=first_tokens(0)) as session:
                    await session.token()
            finally:
                left.append(trio.current_time())

    with pytest.RaisesGroup(KeyboardInterrupt):
        trio.run(main, clock=MockClock(autojump_threshold=0))
    assert left == [2]


async def test_p08_what_could_not_be_saved_is_saved_when_the_session_is_left() -> None:
    store = FakeStore()
    async with opened(tokens=first_tokens(0), store=store) as session:
        store.fail_save = OSError("disk full")
        assert await session.token() == "access-1"
        assert not session.statistics().saved
        store.fail_save = None
    assert store.tokens == Tokens("access-1", "refresh-1", 3600)


async def test_p08_saving_later_does_not_begin_when_the_session_is_being_left() -> None:
    store, grant = FakeStore(), FakeGrant()
    policy = RefreshPolicy(cooldown=2, close_grace=9)
    async with opened(grant, tokens=first_tokens(0), store=store, policy=policy) as session:
        store.fail_save = OSError("disk full")
        assert await session.token() == "access-1"
        # The next try to save would be in the middle of this one's grace.
        grant.latency = 6
        with trio.move_on_after(0.5):
            await session.refresh()
    assert trio.current_time() == 7
    assert grant.presented == ["refresh-0", "refresh-1"]


# --- P9: nothing is held while a request is out --------------------------------------------


@pytest.mark.parametrize("end", ["aclose", "throw"])
@pytest.mark.parametrize("yields", [1, 2])
async def test_p09_a_flow_that_is_dropped_at_a_yield_leaves_nothing_behind(
    library: ModuleType, end: str, yields: int
) -> None:
    grant = FakeGrant()
    async with opened(grant) as session:
        request = library.Request("GET", f"{API}/notes")
        flow = Flow(session._signer, request, library)
        await anext(flow)
        if yields == 2:
            refused = library.Response(401, request=request)
            assert await flow.asend(refused) is request
        with trio.testing.assert_no_checkpoints():
            if end == "aclose":
                await flow.aclose()
            else:
                with pytest.raises(Boom):
                    await flow.athrow(Boom)
        assert session._flights.renewal.lock.statistics().locked is False
        assert session.statistics().tasks_waiting == 0
        # It works as before.
        assert await session.token() == f"access-{yields - 1}"


async def test_p09_no_scope_and_no_nursery_is_open_while_a_request_is_out(
    library: ModuleType,
) -> None:
    """Trio would not let us leave our scope around a step while one from inside it is open."""
    async with opened(tokens=first_tokens(0)) as session:
        request = library.Request("GET", f"{API}/notes")
        flow = Flow(session._signer, request, library)
        with trio.CancelScope():
            await anext(flow)
        assert request.headers["Authorization"] == "Bearer access-1"
        with trio.CancelScope():
            await flow.asend(library.Response(401, request=request))
        assert request.headers["Authorization"] == "Bearer access-2"
        with trio.CancelScope(), pytest.raises(StopAsyncIteration):
            await flow.asend(library.Response(200, request=request))


async def test_p09_a_timeout_around_a_request_that_waits_comes_out_as_a_timeout(
    library: ModuleType,
) -> None:
    api = FakeApi(lambda token: token != "access-0")
    async with open_api(library, FakeGrant(latency=10), api) as (session, http):
        with pytest.raises(trio.TooSlowError):
            with trio.fail_after(3):
                await http.get("/notes")
        assert trio.current_time() == 3
        assert (await http.get("/notes")).text == "access-1"
        assert session.statistics().refreshes == 1


# --- P10: a 401 gives its connection back before its request waits --------------------------


async def test_p10_a_401_that_is_acted_on_is_read_before_its_request_waits(
    library: ModuleType,
) -> None:
    api = FakeApi(lambda token: token != "access-0")
    async with (
        open_api(library, FakeGrant(latency=10), api) as (_, http),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(http.get, "/notes")
        await trio.sleep(5)
        [refusal] = api.refusals
        assert refusal.was_read
    assert len(api.seen) == 2


async def serve_refusals(body: bytes, stream: trio.SocketStream) -> None:
    """Answer 401 with this body to the old token, 200 to the new one."""
    received = b""
    try:
        async for data in stream:
            received += data
            while b"\r\n\r\n" in received:
                head, received = received.split(b"\r\n\r\n", 1)
                new = b"access-1" in head
                await stream.send_all(
                    b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s"
                    % (b"200 OK" if new else b"401 Unauthorized", len(body), body)
                )
    except trio.BrokenResourceError:
        pass


@pytest.mark.parametrize("body", [b"", b"who are you?" * 1000], ids=["empty", "12 kB"])
@pytest.mark.trio(run=trio.run)  # in real time
async def test_p10_waiting_requests_do_not_starve_the_refresh_of_connections(
    library: ModuleType, body: bytes
) -> None:
    limits = library.Limits(max_connections=4)
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, partial(serve_refusals, body), listeners)
        url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"

        async def grant(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
            # A grant that goes through the very pool that the requests go through.
            assert (await http.get("/renew", auth=None)).status_code == 401
            return Tokens("access-1", "refresh-1", 3600)

        statuses: list[int] = []

        async def ask() -> None:
            statuses.append((await http.get("/notes")).status_code)

        async with open_session(grant, tokens=first_tokens(), base_url=url) as session:
            client = library.AsyncClient(base_url=url, limits=limits, trust_env=False)
            async with session.attach(client) as http:
                with trio.fail_after(30):
                    async with trio.open_nursery() as requests:
                        for _ in range(20):
                            requests.start_soon(ask)
        assert statuses == [200] * 20
        nursery.cancel_scope.cancel("the test is over")


# --- what else belongs to the session, not to the task that happens to ask ------------------

_trace: contextvars.ContextVar[str] = contextvars.ContextVar("_trace", default="nobody")


async def test_the_grant_runs_in_the_context_of_the_opener() -> None:
    seen: list[str] = []

    async def grant(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
        seen.append(_trace.get())
        return Tokens("access-1", "refresh-1", 3600)

    async def ask(session: Session) -> None:
        _trace.set("first caller")
        await session.token()

    _trace.set("opener")
    async with opened(grant, tokens=first_tokens(0)) as session:
        # In a task of its own, so that it has a context of its own.
        async with trio.open_nursery() as nursery:  # noqa: ASYNC112
            nursery.start_soon(ask, session)
    assert seen == ["opener"]


@pytest.mark.slow
async def test_ten_thousand_tasks_share_one_refresh_in_memory(library: Any) -> None:
    grant = FakeGrant()
    api = FakeApi(lambda token: token != "access-0")
    async with (
        open_api(library, grant, api) as (session, http),
        trio.open_nursery() as nursery,
    ):
        for _ in range(10_000):
            nursery.start_soon(http.get, "/notes")
        await wait_all_tasks_blocked()
        assert session.statistics().tasks_waiting == 10_000
    assert grant.presented == ["refresh-0"]
    assert api.sent_with("access-1") == 10_000
