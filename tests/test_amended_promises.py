"""The amended promises, one test each; tests/broken breaks many of them."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from trioauth import (
    Record,
    RefreshPolicy,
    RefreshUnavailableError,
    Session,
    StoreError,
    TokenEndpoint,
    Tokens,
    events,
)

from .fakes import FakeGrant, FakeStore, OwnedGrant, ShieldedGrant
from .sessions import opened

pytestmark = pytest.mark.usefixtures("autojump_clock")


class ReadsOn(FakeGrant):
    async def __call__(self, tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
        brought = await super().__call__(tokens, endpoint)
        for _ in range(3):  # Reading a whole answer from a socket takes several steps.
            await trio.lowlevel.checkpoint()
        return brought


async def test_p15_the_record_of_another_client_is_used_for_nothing() -> None:
    record = Record(1, Tokens("theirs", "theirs-too", 3600), login="x", owner="somebody else")
    with pytest.raises(StoreError, match="another client"):
        async with opened(OwnedGrant(), store=FakeStore(record), tokens=None):
            raise AssertionError("it has been opened")


async def test_p20_who_waits_for_a_grant_that_cant_be_cancelled_is_told_at_the_deadline() -> None:
    policy = RefreshPolicy(timeout=2)
    async with opened(ShieldedGrant(latency=8), store=FakeStore(), policy=policy) as session:
        with pytest.raises(RefreshUnavailableError):
            await session.refresh()
        assert trio.current_time() == 2
        await trio.sleep(7)
        assert session.token_nowait() == "access-1"


async def test_p20_a_process_that_was_stopped_takes_the_answer_that_arrived(
    autojump_clock: trio.testing.MockClock,
) -> None:
    grant = ReadsOn(latency=4)
    async with opened(grant, policy=RefreshPolicy(timeout=5)) as session:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.refresh)
            await trio.sleep(2.5)
            autojump_clock.jump(600)
        assert session.token_nowait() == "access-1"


async def test_p21_what_an_observer_raises_leaves_no_waiter_asleep() -> None:
    def leave(event: events.Event) -> None:
        if isinstance(event, events.RefreshLanded):
            raise SystemExit(3)

    told = []

    async def wait(session: Session) -> None:
        with trio.move_on_after(100):
            try:
                told.append(await session.token())
            except trio.ClosedResourceError:
                told.append("closed")

    async with trio.open_nursery() as outside:
        with pytest.raises(SystemExit):
            async with opened(observers=[leave]) as session:
                session.reject(1)
                outside.start_soon(wait, session)  # noqa: ASYNC111  # it outlives it on purpose
                await trio.sleep_forever()
    assert told in (["access-1"], ["closed"])
    assert trio.current_time() < 50
