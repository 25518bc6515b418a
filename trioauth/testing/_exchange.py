"""A request's way to the server and its answer's way back: the part that takes time."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Self, final

import attrs
import trio

from ._forms import read_json_object, read_query
from ._identity import userinfo
from ._messages import Answer, NoAnswer, Request, in_json, whole
from ._metadata import metadata, register, resource_metadata
from ._orders import Mishap, Orders

if TYPE_CHECKING:
    from ._api import Api
    from ._authorization import Authorization
    from ._codes import Codes
    from ._devices import Devices
    from ._orders import Order
    from ._persona import Endpoint
    from ._site import Site

_ISSUING = frozenset({"token", "bearer"})
# What is ordered for the token endpoint holds for these, too, after orders of their own.
_LIKE_TOKEN = frozenset({"bearer", "revoke"})


@final
@attrs.define(eq=False)
class Exchange:
    """Both servers behind one door, whichever way a request came."""

    api: Api
    site: Site
    authorization: Authorization
    codes: Codes
    devices: Devices
    orders: defaultdict[str, Orders] = attrs.field(
        factory=lambda: defaultdict[str, Orders](Orders), init=False
    )
    """By endpoint."""
    down: Answer | NoAnswer | None = attrs.field(default=None, init=False)
    """Stands until it is cleared, before all orders."""

    async def __call__(self, request: Request) -> Answer | NoAnswer:
        """Answer a request, or not. Cancelled on the way back, it was processed all the same."""
        await trio.lowlevel.checkpoint()
        endpoint = None if request.path in self.api.answers else self.site.places.find(request.path)
        self.site.check_url(endpoint, read_query(request) or {})
        if endpoint is not None:
            self.site.ledger.calls[endpoint] += 1
            answer = await self._authorize(request, endpoint)
        else:
            answer = self.api.handle(request, trio.current_time())
            await trio.sleep(self.api.delay + answer.wait)
        # For `every_checkpoint`: a task that is cancelled from here on has the answer.
        await trio.lowlevel.cancel_shielded_checkpoint()
        if request.method == "HEAD" and isinstance(answer, Answer):
            return attrs.evolve(answer, parts=())
        return answer

    def recover(self) -> None:
        """Forget all orders and lies."""
        self.down = None
        self.orders.clear()
        self.site.lies.clear()

    async def _authorize(self, request: Request, endpoint: Endpoint) -> Answer | NoAnswer:
        if endpoint not in _ISSUING:
            return await self._obey(request, endpoint)
        self.site.ledger._board()
        try:
            return await self._obey(request, endpoint)
        finally:
            self.site.ledger._land()

    async def _obey(self, request: Request, endpoint: Endpoint) -> Answer | NoAnswer:
        now, ledger = trio.current_time(), self.site.ledger
        order, delay = self._take_order(endpoint)
        answer: Answer | NoAnswer
        match order:
            case Mishap.HANG:
                self.authorization.note(request, now, "hung", endpoint)
                await trio.sleep_forever()
            case Mishap.DROP:
                since = len(ledger.presented)
                await self._process(request, now, endpoint)
                ledger._lose(since)
                answer = NoAnswer.LOST
            case NoAnswer() as answer:
                pass
            case Answer() as answer:
                self.authorization.note(request, now, "failed", endpoint)
            case _:
                answer = await self._process(request, now, endpoint)
        await trio.sleep(delay)
        return answer

    def _take_order(self, endpoint: Endpoint) -> tuple[Order | NoAnswer | None, float]:
        """Return what to do with a request, and how many seconds its answer takes."""
        places = (endpoint, "token") if endpoint in _LIKE_TOKEN else (endpoint,)
        delay = max(self.orders[place].delay for place in places)
        if self.down is not None:
            return self.down, delay
        orders = (self.orders[place].take() for place in places)
        return next((order for order in orders if order is not None), None), delay

    async def _process(self, request: Request, now: float, endpoint: Endpoint) -> Answer:
        if endpoint == "authorize":
            answer = await self._ask_person(request, now)
        else:
            answer = self._answer(request, now, endpoint)
        return answer  # noqa: ASYNC910  # its caller has checkpoints

    async def _ask_person(self, request: Request, now: float) -> Answer:
        """Serve the authorization endpoint: wait until the person has decided."""
        await trio.lowlevel.checkpoint()
        asked, human = self.codes.ask(request, now), self.site.human
        if isinstance(asked, Answer):
            return asked
        decision = human.decision if "none" in asked.prompts else await human.wait()
        return self.codes.decide(asked, decision, trio.current_time())

    def _answer(self, request: Request, now: float, endpoint: Endpoint) -> Answer:
        site = self.site
        match endpoint:
            case "metadata":
                return metadata(site, request)
            case "resource":
                return resource_metadata(site, request)
            case "jwks":
                return in_json(200, site.lies.about("jwks", site.keys.public()))
            case "userinfo":
                return userinfo(site, request, now)
            case "verify":
                return self.devices.enter(request)
            case _ if request.method != "POST":
                return whole(405, b"", {"Allow": "POST"})
            case "register":
                return register(site, request, read_json_object(request.body))
            case "par":
                return self.codes.push(request, now)
            case "device":
                return self.devices.start(request, now)
            case _:
                return self.authorization.handle(request, now, endpoint)


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
