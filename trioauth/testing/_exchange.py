"""A request's way to the server and its answer's way back: the part that takes time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self, final

import attrs
import trio

from ._authorization import BEARER_REFRESH_PATH, REVOCATION_PATH, TOKEN_PATH
from ._messages import Answer, NoAnswer, Request
from ._orders import Mishap, Orders

if TYPE_CHECKING:
    from ._api import Api
    from ._authorization import Authorization
    from ._ledger import Ledger

_ISSUING = frozenset({TOKEN_PATH, BEARER_REFRESH_PATH})
_AUTHORIZATION = _ISSUING | {REVOCATION_PATH}


@final
@attrs.define(eq=False)
class Exchange:
    """Both servers behind one door, whichever way a request came."""

    api: Api
    authorization: Authorization
    ledger: Ledger
    orders: Orders = attrs.field(factory=Orders, init=False)

    async def __call__(self, request: Request) -> Answer | NoAnswer:
        """Answer a request, or not. Cancelled on the way back, it was processed all the same."""
        await trio.lowlevel.checkpoint()
        if request.path in _AUTHORIZATION:
            answer = await self._authorize(request)
        else:
            answer = self.api.handle(request, trio.current_time())
            await trio.sleep(self.api.delay + answer.wait)
        # For `every_checkpoint`: from here on, whoever is cancelled has the answer in hand.
        await trio.lowlevel.cancel_shielded_checkpoint()
        if request.method == "HEAD" and isinstance(answer, Answer):
            return attrs.evolve(answer, parts=())
        return answer

    async def _authorize(self, request: Request) -> Answer | NoAnswer:
        if request.path not in _ISSUING:
            return await self._obey(request)
        self.ledger._board()
        try:
            return await self._obey(request)
        finally:
            self.ledger._land()

    async def _obey(self, request: Request) -> Answer | NoAnswer:
        now, delay = trio.current_time(), self.orders.delay
        answer: Answer | NoAnswer
        match self.orders.take():
            case Mishap.HANG:
                self.authorization.note(request, now, "hung")
                await trio.sleep_forever()
            case Mishap.DROP:
                since = len(self.ledger.presented)
                self.authorization.handle(request, now)
                self.ledger._lose(since)
                answer = NoAnswer.LOST
            case NoAnswer() as answer:
                pass
            case Answer() as answer:
                self.authorization.note(request, now, "failed")
            case _:
                answer = self.authorization.handle(request, now)
        await trio.sleep(delay)
        return answer


@final
class Parts:
    """The body of an answer, as it arrives.

    Not an async generator: one that is left early would warn of it in the user's program.
    """

    def __init__(self, answer: Answer) -> None:
        self._rest = iter(answer.parts)
        self._pause = answer.pause

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """Wait for the next part. Cancelled, it is lost."""
        for part in self._rest:
            await trio.sleep(self._pause)
            return part
        raise StopAsyncIteration
