"""An API that refuses tokens on purpose, and sessions that talk to it through either library."""

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

URL = "https://api.test"
LIBRARIES = [httpx, httpx2]


@attrs.frozen
class Seen:
    """One request, as it arrived."""

    time: float
    method: str
    path: str
    token: str
    body: bytes


def any_token(_: str) -> bool:
    """Accept every token."""
    return True


@attrs.define
class FakeApi:
    """An API with a flight recorder: 200 for the tokens it accepts, else 401.

    It looks at the token ``latency`` virtual seconds after a request has arrived, when
    it answers: a 401 of it can be as late as one likes.
    """

    accepts: Callable[[str], bool] = any_token
    latency: float = 0
    always_refused: str = ""
    """A path that answers 401 whatever the token."""
    latencies: dict[str, float] = attrs.field(factory=dict)
    """Those of paths that are different."""
    redirects: dict[str, tuple[int, str]] = attrs.field(factory=dict)
    seen: list[Seen] = attrs.field(factory=list)
    refusals: list[Any] = attrs.field(factory=list)
    """The bodies of the 401s; each knows whether it ``was_read``, and ``was_closed``."""

    async def __call__(self, request: Any) -> Any:
        library = httpx2 if isinstance(request, httpx2.Request) else httpx
        body = b"".join([part async for part in request.stream])
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        path = request.url.path
        self.seen.append(Seen(trio.current_time(), request.method, path, token, body))
        await trio.sleep(self.latencies.get(path, self.latency))
        if path == self.always_refused or not self.accepts(token):
            refusal = body_stream(library, b"who are you?")
            self.refusals.append(refusal)
            return library.Response(401, stream=refusal)
        if path in self.redirects:
            status, location = self.redirects[path]
            return library.Response(status, headers={"Location": location})
        return library.Response(200, text=token)

    @property
    def tokens(self) -> list[str]:
        """The tokens of all requests, in the order of arrival."""
        return [each.token for each in self.seen]

    def sent_with(self, token: str) -> int:
        """How many requests arrived with a token."""
        return self.tokens.count(token)


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
    transport = stream_transport(library, api)
    if library is httpx:
        async with open_session(
            grant, tokens=tokens, base_url=URL, transport=transport, **options
        ) as session:
            yield session, session
    else:
        follow_redirects = options.pop("follow_redirects", False)
        client = httpx2.AsyncClient(
            transport=transport, base_url=URL, follow_redirects=follow_redirects
        )
        async with (
            open_session(grant, tokens=tokens, origins=[URL], **options) as session,
            session.attach(client) as http,
        ):
            yield session, http
