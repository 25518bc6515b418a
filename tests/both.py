"""For tests that hold for httpx and httpx2 alike: an API to talk to, and a client of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import httpx
import httpx2
import trio

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from trioauth import Session

LIBRARIES: list[Any] = [httpx, httpx2]
API = "https://api.test"
FOREIGN = "https://foreign.test"


def library_of(request: object) -> ModuleType:
    return httpx if isinstance(request, httpx.Request) else httpx2


@attrs.define
class FakeApi:
    """An API that takes ``latency`` virtual seconds, and remembers what it was sent.

    It answers 401 to a token that is in ``refused``, or to all, or to what ``answer`` says.
    """

    latency: float = 0.01
    refused: set[str] = attrs.field(factory=set)
    refuses_all: bool = False
    answer: Callable[[Any], Any] | None = None
    """Called with each request; what it returns is the response, unless it is None."""
    seen: list[tuple[str, str | None]] = attrs.field(factory=list)
    """The URL and the token of each request, in order."""
    times: list[float] = attrs.field(factory=list)

    async def __call__(self, request: Any) -> Any:
        token = token_of(request)
        self.seen.append((str(request.url), token))
        self.times.append(trio.current_time())
        await trio.sleep(self.latency)
        response = None if self.answer is None else self.answer(request)
        if response is not None:
            return response
        refused = self.refuses_all or token in self.refused
        return library_of(request).Response(401 if refused else 200, text="hello")

    @property
    def tokens(self) -> list[str | None]:
        """The token of each request, in order."""
        return [token for _, token in self.seen]

    def client(self, session: Session, library: ModuleType, **options: Any) -> Any:
        """Return a client of a library, signed by a session, that talks to this API."""
        options.setdefault("base_url", API)
        transport = library.MockTransport(self)
        return session.attach(library.AsyncClient(transport=transport, **options))


def token_of(request: Any) -> str | None:
    values = request.headers.get_list("Authorization")
    assert len(values) <= 1, "there is one Authorization at most"
    return values[0].removeprefix("Bearer ") if values else None
