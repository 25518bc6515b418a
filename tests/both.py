"""For tests that hold for httpx and httpx2 alike: an API to talk to, and a client of each."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
import httpx
import httpx2
import trio

from trioauth import open_session

from .fakes import first_tokens

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable
    from types import ModuleType

    from trioauth import Grant, Session, Tokens

LIBRARIES: list[Any] = [httpx, httpx2]
API = "https://api.test"
FOREIGN = "https://foreign.test"


def library_of(request: object) -> ModuleType:
    return httpx if isinstance(request, httpx.Request) else httpx2


def any_token(_: str) -> bool:
    """Accept every token."""
    return True


def no_token(_: str) -> bool:
    """Accept no token whatsoever."""
    return False


def all_but(*refused: str) -> Callable[[str], bool]:
    """Accept all tokens but these."""
    return lambda token: token not in refused


@attrs.frozen
class Seen:
    """One request, as it arrived."""

    time: float
    method: str
    url: str
    path: str
    token: Any
    """A str; None if it had no ``Authorization``."""
    body: bytes


@attrs.define
class FakeApi:
    """An API with a flight recorder: 200 for the tokens it accepts, else 401.

    It looks at the token ``latency`` virtual seconds after a request has arrived, when
    it answers: a 401 of it can be as late as one likes.
    """

    accepts: Callable[[str], bool] = any_token
    latency: float = 0
    answer: Callable[[Any], Any] | None = None
    """Called with each request; what it returns is the response, unless it is None."""
    refused: set[str] = attrs.field(factory=set)
    always_refused: str = ""
    """A path that answers 401 whatever the token."""
    latencies: dict[str, float] = attrs.field(factory=dict)
    """Those of paths that are different."""
    redirects: dict[str, tuple[int, str]] = attrs.field(factory=dict)
    seen: list[Seen] = attrs.field(factory=list)
    refusals: list[Any] = attrs.field(factory=list)
    """The bodies of the 401s; each knows whether it ``was_read``, and ``was_closed``."""

    async def __call__(self, request: Any) -> Any:
        library = library_of(request)
        body = b"".join([part async for part in request.stream])
        token, url = token_of(request), request.url
        self.seen.append(Seen(trio.current_time(), request.method, str(url), url.path, token, body))
        await trio.sleep(self.latencies.get(url.path, self.latency))
        response = None if self.answer is None else self.answer(request)
        if response is not None:
            return response
        refused = token in self.refused or not self.accepts(token or "")
        if refused or url.path == self.always_refused:
            refusal = body_stream(library, b"who are you?")
            self.refusals.append(refusal)
            return library.Response(401, stream=refusal)
        if url.path in self.redirects:
            status, location = self.redirects[url.path]
            return library.Response(status, headers={"Location": location})
        return library.Response(200, text=token or "")

    @property
    def tokens(self) -> list[Any]:
        """The tokens of all requests, in the order of arrival."""
        return [each.token for each in self.seen]

    def sent_with(self, token: str) -> int:
        """How many requests arrived with a token."""
        return self.tokens.count(token)

    def client(self, session: Session, library: ModuleType, **options: Any) -> Any:
        """Return a client of a library, signed by a session, that talks to this API."""
        options.setdefault("base_url", API)
        transport = stream_transport(library, self)
        return session.attach(library.AsyncClient(transport=transport, **options))


def token_of(request: Any) -> str | None:
    values = request.headers.get_list("Authorization")
    assert len(values) <= 1, "there is one Authorization at most"
    return values[0].removeprefix("Bearer ") if values else None


def body_stream(library: ModuleType, body: bytes) -> Any:
    """Make the body of a response that knows what became of it."""
    base: Any = library.AsyncByteStream

    class BodyStream(base):  # type: ignore[misc]  # either library's
        was_read = False
        was_closed = False

        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield body
            self.was_read = True

        async def aclose(self) -> None:
            self.was_closed = True

    return BodyStream()


def stream_transport(library: ModuleType, api: FakeApi) -> Any:
    """Make a transport that consumes a body as a network does.

    `MockTransport` reads it into memory, and so makes a body that can be sent twice of one that
    can't.
    """
    base: Any = library.AsyncBaseTransport

    class StreamTransport(base):  # type: ignore[misc]  # either library's
        async def handle_async_request(self, request: Any) -> Any:
            return await api(request)

    return StreamTransport()


@asynccontextmanager
async def open_api(
    library: ModuleType,
    grant: Grant,
    api: FakeApi,
    *,
    tokens: Tokens | None = None,
    **options: Any,
) -> AsyncGenerator[tuple[Session, Any], None]:
    """Open a session, and a client of the library that is signed by it: (session, client).

    For httpx that is the session itself, with its client behind it.
    """
    tokens = first_tokens() if tokens is None else tokens
    if library is httpx:
        transport = stream_transport(library, api)
        async with open_session(
            grant, tokens=tokens, base_url=API, transport=transport, **options
        ) as session:
            yield session, session
    else:
        follow_redirects = options.pop("follow_redirects", False)
        async with (
            open_session(grant, tokens=tokens, origins=[API], **options) as session,
            api.client(session, library, follow_redirects=follow_redirects) as http,
        ):
            yield session, http
