"""Whatever the order in which trio runs the tasks, and whichever are cancelled: one refresh.

Inside ``@given`` trio would run all examples in one order, because Hypothesis seeds its randomness.
So each example draws a seed of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from trioauth import GrantRefusedError, LoggedIn, LoggedOut, LoggedOutError, events
from trioauth.testing._scheduler import seeded

from .both import LIBRARIES, FakeApi, open_api
from .fakes import FakeGrant, FakeStore, first_tokens
from .fuzzing import examples
from .sessions import down, only, opened

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trioauth import Session

# On a grid, so that often several things happen at one moment; the refresh begins at 0, the server
# rotates at 1, answers at 2, and the store has it at 3.
_moments = st.integers(0, 8).map(lambda each: each / 2)


@attrs.frozen
class Plan:
    """When a task begins, and when it is cancelled, if it is still there."""

    begins: float
    cancelled: float | None


_plans = st.lists(st.builds(Plan, _moments, st.none() | _moments), min_size=2, max_size=10).filter(
    lambda plans: any(plan.cancelled is None for plan in plans)
)
_seeds = st.integers(0, 2**32 - 1)


@attrs.define(eq=False)
class Crowd:
    """Tasks that each do a thing once, and how that ended."""

    do: Callable[[], Awaitable[object]]
    results: list[object] = attrs.field(factory=list)
    errors: list[Exception] = attrs.field(factory=list)
    left: int = 0

    async def go(self, plan: Plan) -> None:
        await trio.sleep_until(plan.begins)
        until = float("inf") if plan.cancelled is None else max(plan.cancelled, plan.begins)
        with trio.CancelScope(deadline=until) as scope:
            try:
                self.results.append(await self.do())
            except Exception as exc:
                self.errors.append(exc)
        if scope.cancelled_caught:
            assert trio.current_time() == until, "who is cancelled leaves at once"
            self.left += 1

    async def run(self, plans: list[Plan]) -> None:
        async with trio.open_nursery() as nursery:
            for plan in plans:
                nursery.start_soon(self.go, plan)
        assert len(self.results) + len(self.errors) + self.left == len(plans)


def run(seed: int, main: Callable[[], Awaitable[None]]) -> None:
    """Run in virtual time, and in an order of its own."""
    with seeded(seed):
        trio.run(main, clock=MockClock(autojump_threshold=0))


@pytest.mark.slow
@examples(150)
@given(seed=_seeds, plans=_plans)
def test_one_expired_token_is_refreshed_once_whatever_the_order(
    seed: int, plans: list[Plan]
) -> None:
    async def main() -> None:
        grant, store = FakeGrant(latency=2), FakeStore()
        told: list[events.Event] = []
        options: Any = {"tokens": first_tokens(0), "store": store, "observers": [told.append]}
        async with opened(grant, **options) as session:
            store.latency = 0.5

            async def ask() -> str:
                token = await session.token()
                # P7: no task wakes up with tokens that the store does not have.
                assert store.tokens is not None
                assert store.tokens.access_token == token
                return token

            crowd = Crowd(ask)
            await crowd.run(plans)
            # It lands, even if no task was left to see that.
            await trio.sleep(5)
            assert set(crowd.results) <= {"access-1"}
            assert crowd.errors == []
            check_one_flight(session, grant, told)
            assert session.token_nowait() == "access-1"

    run(seed, main)


def check_one_flight(session: Session, grant: FakeGrant, told: list[events.Event]) -> None:
    assert grant.presented == ["refresh-0"]
    assert (grant.completed, grant.most_in_flight) == (1, 1)
    assert [len(only(kind, told)) for kind in (events.RefreshStarted, events.RefreshLanded)] == [
        1,
        1,
    ]
    assert len(only(events.WaitStarted, told)) == len(only(events.WaitEnded, told))
    assert session.state == LoggedIn(2)
    assert session.statistics().tasks_waiting == 0


@pytest.mark.slow
@examples(100)
@given(seed=_seeds, plans=_plans, library=st.sampled_from(LIBRARIES), latency=_moments)
def test_one_refused_token_is_refreshed_once_whatever_the_order(
    seed: int, plans: list[Plan], library: Any, latency: float
) -> None:
    async def main() -> None:
        grant, told = FakeGrant(latency=2), list[events.Event]()
        api = FakeApi(accepts=lambda token: token != "access-0", latency=latency)
        async with open_api(library, grant, api, observers=[told.append]) as (session, client):

            async def ask() -> str:
                response = await client.get("/")
                assert response.status_code == 200
                assert response.extensions["trioauth"].generation == 2
                text: str = response.text
                return text

            crowd = Crowd(ask)
            await crowd.run(plans)
            await trio.sleep(5)
            assert set(crowd.results) <= {"access-1"}
            assert crowd.errors == []
            # Each task that was not cancelled has met the 401, so there was a refresh.
            check_one_flight(session, grant, told)
            # P3: what is known to be bad is not sent any more.
            [started] = only(events.RefreshStarted, told)
            assert all(each.token == "access-1" for each in api.seen if each.time > started.time)

    run(seed, main)


@pytest.mark.slow
@examples(100)
@given(seed=_seeds, plans=_plans)
def test_a_refusal_is_told_to_each_in_an_exception_of_its_own_whatever_the_order(
    seed: int, plans: list[Plan]
) -> None:
    async def main() -> None:
        refusal = GrantRefusedError("invalid_grant")
        grant, told = FakeGrant(latency=2, script=[refusal]), list[events.Event]()
        options: Any = {"tokens": first_tokens(0), "observers": [told.append]}
        async with opened(grant, **options) as session:

            async def ask() -> None:
                try:
                    await session.token()
                finally:
                    # P11: who wakes up with it finds the observers told and no half-way state.
                    over = isinstance(session.state, LoggedOut)
                    assert over == bool(only(events.LoggedOut, told))

            crowd = Crowd(ask)
            await crowd.run(plans)
            await trio.sleep(5)
            assert crowd.results == []
            assert {type(error) for error in crowd.errors} == {LoggedOutError}
            assert len(set(map(id, crowd.errors))) == len(crowd.errors)
            assert {id(error.__cause__) for error in crowd.errors} == {id(refusal)}
            assert grant.presented == ["refresh-0"]
            assert session.state == LoggedOut("refused", refusal)
            assert len(only(events.LoggedOut, told)) == 1

    run(seed, main)


@pytest.mark.slow
@examples(100)
@given(seed=_seeds, plans=_plans, leaves=_moments)
def test_leaving_in_the_middle_loses_no_rotated_token_whatever_the_order(
    seed: int, plans: list[Plan], leaves: float
) -> None:
    async def main() -> None:
        grant, store = FakeGrant(latency=2, script=[down()]), FakeStore()
        with trio.move_on_after(leaves):
            async with opened(grant, tokens=first_tokens(0), store=store) as session:
                await Crowd(session.token).run(plans)
        # P8: what the server gave is in the store, and nothing is left running.
        assert grant.completed == grant.issued
        assert grant.in_flight == 0
        if grant.issued:
            assert store.tokens is not None
            assert store.tokens.refresh_token == f"refresh-{grant.issued}"

    run(seed, main)


def test_different_seeds_are_different_orders() -> None:
    orders: set[tuple[int, ...]] = set()

    def order_of(seed: int) -> tuple[int, ...]:
        order: list[int] = []

        async def note(number: int) -> None:
            await trio.lowlevel.checkpoint()
            order.append(number)

        async def main() -> None:
            async with trio.open_nursery() as nursery:
                for number in range(5):
                    nursery.start_soon(note, number)

        run(seed, main)
        return tuple(order)

    orders = {order_of(seed) for seed in range(20)}
    assert len(orders) > 10
    assert order_of(7) == order_of(7)
