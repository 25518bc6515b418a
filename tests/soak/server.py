"""The process of the authorization server, which errs at random."""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any, final

import attrs
import trio

from trioauth.testing import AuthServer, Presented

from .process import say, stdio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


_USUAL_DELAY = 0.05
_BETWEEN = 0.4, 1.6
_SHORT, _LONG = 0.5, 2.5
# Refresh tokens whose history is known; an older one is not presented any more.
_REMEMBERED = 1000


@final
@attrs.define(eq=False)
class Tally:
    """What the ledger said, in numbers: a night's ledger would be long."""

    count: Counter[str] = attrs.field(factory=Counter[str], init=False)
    stories: list[str] = attrs.field(factory=list[str], init=False)
    """What became of the tokens that were presented twice without an excuse."""
    _histories: dict[int | None, list[Presented]] = attrs.field(
        factory=dict[int | None, list[Presented]], init=False
    )

    def read(self, server: AuthServer) -> dict[str, Any]:
        """Read on in the ledger, and clear what was read."""
        ledger, count = server.ledger, self.count
        for each in ledger.presented:
            self._read(each)
        ledger.presented.clear()
        ledger.requests_seen.clear()
        count["rotations"] = ledger.refreshes
        count["unauthorized"] = ledger.unauthorized
        count["revocations"] = ledger.revocations
        return {"count": count, "stories": self.stories}

    def _read(self, presented: Presented) -> None:
        self.count[presented.outcome] += 1
        history = self._histories.setdefault(presented.number, [])
        history.append(presented)
        if len(self._histories) > _REMEMBERED:
            del self._histories[next(iter(self._histories))]
        # To present a spent token again has one excuse: that its answer was lost.
        if presented.outcome in {"reused", "repeated"} and "dropped" not in {
            each.outcome for each in history
        }:
            self.count["unexcused"] += 1
            times = [f"{each.outcome} ({each.time - presented.time:+.2f} s)" for each in history]
            self.stories.append(
                f"refresh token {presented.number} of login {presented.login}: {', '.join(times)}"
            )


@final
@attrs.define(eq=False)
class Mishaps:
    """What goes wrong: each order in turn, in an order that is shuffled again and again."""

    server: AuthServer
    count: Counter[str]

    async def happen(self) -> None:
        """Err until cancelled."""
        orders: list[Callable[[], Awaitable[None]]] = [
            *[self._expire] * 4,
            *[self._fail] * 3,
            *[self._drop] * 2,
            self._hang,
            self._slow,
            self._down,
            self._unreachable,
            self._refuse_all,
            self._revoke,
        ]
        deck: list[Callable[[], Awaitable[None]]] = []
        while True:
            await trio.sleep(random.uniform(*_BETWEEN))
            deck = deck or random.sample(orders, len(orders))
            order = deck.pop()
            self.count[f"order: {order.__name__.strip('_')}"] += 1
            await order()

    async def _expire(self) -> None:
        self.server.expire()

    async def _fail(self) -> None:
        status = random.choice([500, 502, 503, 429, 400])
        headers = {"Retry-After": "1"} if status == 429 else {}
        self.server.fail(status, times=random.randint(1, 3), headers=headers)

    async def _drop(self) -> None:
        self.server.drop_answer()

    async def _hang(self) -> None:
        self.server.hang()

    async def _slow(self) -> None:
        self.server.delay(random.uniform(_SHORT, _LONG))
        await trio.sleep(random.uniform(_SHORT, _LONG))
        self._recover()

    async def _down(self) -> None:
        self.server.down()
        await trio.sleep(random.uniform(_SHORT, _LONG))
        self._recover()

    async def _unreachable(self) -> None:
        self.server.down(None)
        await trio.sleep(random.uniform(_SHORT, _LONG))
        self._recover()

    async def _refuse_all(self) -> None:
        self.server.reject_all()
        await trio.sleep(_SHORT)
        self.server.reject_all(on=False)

    async def _revoke(self) -> None:
        self.server.revoke()

    def _recover(self) -> None:
        self.server.recover()
        self.server.delay(_USUAL_DELAY)


async def main(lifetime: float, reuse_grace: float, seed: int) -> None:
    """Serve until the input ends."""
    random.seed(seed)
    server, tally = AuthServer(lifetime=lifetime, reuse_grace=reuse_grace), Tally()
    server.api_delay(0.01)
    server.delay(_USUAL_DELAY)
    async with server.serve() as url, stdio() as questions, trio.open_nursery() as nursery:
        say(url)
        nursery.start_soon(Mishaps(server, tally.count).happen)
        async for question in questions:
            if question == "log_in":
                tokens = server.log_in()
                tally.count["logins"] += 1
                say([tokens.access_token, tokens.refresh_token])
            else:
                say(tally.read(server))
        nursery.cancel_scope.cancel()
    say(tally.read(server))


if __name__ == "__main__":
    options: dict[str, Any] = json.loads(sys.argv[1])
    trio.run(lambda: main(**options))
