"""Any order of use, leave, log-in, log-out, expiry and idle time, against what the server saw.

A world is a list of steps. It is played on a virtual clock against an `AuthServer`, whose ledger
must hold at the end: no refresh token was presented twice, and each answer was of the right person.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from trioauth import LoggedOutError, RefreshPolicy, open_sessions
from trioauth.stores import KeyedMemoryStore
from trioauth.testing import AuthServer

if TYPE_CHECKING:
    from trioauth import Sessions

KEYS = ["ann", "bob", "cat"]
IDLE = 20.0

Step: TypeAlias = tuple[
    Literal["get", "refresh", "log_in", "log_out", "hold", "expire", "wait", "drop_answer"],
    str,
    float,
]
STEPS = st.tuples(
    st.sampled_from(
        ["get", "get", "refresh", "log_in", "log_out", "hold", "expire", "wait", "drop_answer"]
    ),
    st.sampled_from(KEYS),
    # How long the step takes, or how long the world waits after it began.
    st.sampled_from([0.0, 0.1, 1.0, 5.0, IDLE, IDLE + 2, 400.0]),
)


@attrs.define
class World:
    """What has to be known to judge an answer."""

    server: AuthServer
    sessions: Sessions
    logins: dict[str, set[int]] = attrs.field(factory=lambda: {key: set() for key in KEYS})
    """The numbers of the logins that each key has had."""
    issued: int = 0

    async def step(self, what: str, key: str, seconds: float) -> None:
        match what:
            case "log_in":
                self.issued += 1
                self.logins[key].add(self.issued)
                await self.sessions.log_in(key, self.server.log_in())
            case "log_out":
                await self.sessions.log_out(key)
            case "hold":
                async with self.sessions.use(key) as session:
                    await trio.sleep(seconds)
                    assert session is self.sessions._members.table[key].session
            case "refresh":
                async with self.sessions.use(key) as session:
                    await session.refresh()
            case "get":
                await self.get(key)

    async def get(self, key: str) -> None:
        async with self.sessions.use(key) as session:
            response = await session.get(f"/{key}")
            if response.status_code == 200:
                assert response.json()["login"] in self.logins[key], "the token of another key"

    async def patiently(self, what: str, key: str, seconds: float) -> None:
        from trioauth import RefreshUnavailableError

        try:
            await self.step(what, key, seconds)
        except (LoggedOutError, RefreshUnavailableError):
            pass  # which is right depends on the order; what the server saw is judged at the end


async def play(steps: list[Step]) -> None:
    server = AuthServer(lifetime=120, reuse_grace=60)
    policy = RefreshPolicy(cooldown=1)
    async with open_sessions(
        server.grant(),
        store=KeyedMemoryStore(),
        base_url=server.url,
        transport=server.transport(),
        idle=IDLE,
        max_asking=2,
        policy=policy,
    ) as sessions:
        world = World(server, sessions)
        async with trio.open_nursery() as nursery:
            for what, key, seconds in steps:
                match what:
                    case "expire":
                        server.expire()
                    case "drop_answer":
                        server.drop_answer()
                    case "wait":
                        pass
                    case _:
                        nursery.start_soon(world.patiently, what, key, seconds)
                await trio.sleep(0 if what == "hold" else seconds)
        statistics = sessions.statistics()
        assert statistics.in_memory == statistics.idle, "a pin was not released"
        # Saving again after a failure, or a flight, may postpone it once.
        await trio.sleep(5 * IDLE)
        assert sessions.statistics().in_memory == 0
        for key in KEYS:
            await world.patiently("get", key, 0)
    assert server.ledger.reused == 0
    assert server.ledger.max_in_flight <= 2


@given(st.lists(STEPS, max_size=25))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_p30_in_any_order_each_key_gets_its_own_answers_and_no_refresh_token_is_sent_twice(
    steps: list[Step],
) -> None:
    trio.run(play, steps, clock=MockClock(autojump_threshold=0))
