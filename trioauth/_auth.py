"""The auth flow: sign a request, and on a 401 once more. One for httpx and httpx2.

The two libraries share no class, so the flow is generic over small Protocols,
and `attach` finds out which library a client comes from without importing the
one that the program does not use.

Between the ``yield``s there is nothing but data: httpx may drop a flow at any of
them, on any exception, and there must be nothing left to clean up (P9).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import trio

from ._belonging import signed_anew
from ._flight import Authentication
from ._refusal import read_refusal
from ._state import Failure, held, on_demand

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, MutableMapping
    from types import ModuleType

    from ._flight import Generation
    from ._keeper import Keeper


class RequestLike(Protocol):
    """What is used of a request."""

    @property
    def url(self) -> Any: ...
    @property
    def headers(self) -> MutableMapping[str, str]: ...
    @property
    def stream(self) -> object: ...


RequestT = TypeVar("RequestT", bound=RequestLike)
RequestT_co = TypeVar("RequestT_co", bound=RequestLike, covariant=True)


class ResponseLike(Protocol[RequestT_co]):
    """What is used of a response."""

    @property
    def status_code(self) -> int: ...
    @property
    def request(self) -> RequestT_co: ...
    @property
    def extensions(self) -> MutableMapping[str, Any]: ...


class ClientLike(Protocol):
    """What is used of a client."""

    @property
    def auth(self) -> Any: ...
    @auth.setter
    def auth(self, auth: Any) -> None: ...
    @property
    def base_url(self) -> Any: ...


ClientT = TypeVar("ClientT", bound=ClientLike)


# An async generator, because httpx wants one; no scope or nursery is open across its yields, which
# is what the rules are about, and with a fresh token there is nothing to wait for (P18).
async def sign(  # noqa: ASYNC900, ASYNC911
    keeper: Keeper, request: RequestT, library: ModuleType
) -> AsyncGenerator[RequestT, ResponseLike[RequestT]]:
    """Run the flow for one request.

    Cancellation:
      Safe. A refresh that it waits for goes on.
    """
    keeper.origins.check(request.url)
    generation = keeper.fresh()
    if generation is None:
        # A request that can't be sent again must not be refused for its age.
        one_shot = not _replayable(request, library)
        former = held(keeper.state)
        decision = on_demand(keeper.state, now=keeper.clock.now(), one_shot=one_shot)
        if isinstance(decision, Failure):
            # A loop that tries again at once must let others run, and hear that it is cancelled.
            await trio.lowlevel.checkpoint()
            if former is None:
                keeper.fail(decision)
        # A login that began meanwhile is not this request's (P13).
        generation = await keeper.obtain(former and former.login, one_shot=one_shot)
    request.headers["Authorization"] = generation.header
    response = yield request  # noqa: ASYNC911
    # It may have queued for a connection, below this flow, until its token was known to be bad.
    generation = signed_anew(response.request, generation)

    rejected = keeper.is_rejected(response)
    if not (rejected and _ours(keeper, response, generation)):
        response.extensions["trioauth"] = generation.authentication
        if keeper.futility and not rejected:
            keeper.futility.token_works()
        return  # noqa: ASYNC911

    # What is sent again is what was refused: after POST -> 303 -> 401 that is the GET.
    refused = response.request
    reason = keeper.note_refused(generation)
    if reason is None and not _replayable(refused, library):
        reason = "body"
        keeper.renew_behind()
    if reason is not None:
        response.extensions["trioauth"] = Authentication(generation.number, not_resent=reason)
        return  # noqa: ASYNC911
    # Unread, even an empty body holds the connection that the refresh of others may need (P10).
    await read_refusal(response, library)
    newer = await keeper.obtain(generation.login)
    keeper.note_resent(generation, newer)
    refused.headers["Authorization"] = newer.header
    response = yield refused
    newer = signed_anew(response.request, newer)

    again = keeper.is_rejected(response) and _ours(keeper, response, newer)
    keeper.note_answered_again(newer, refused=again)
    response.extensions["trioauth"] = Authentication(
        newer.number, attempts=2, not_resent="again" if again else None
    )


def _ours(keeper: Keeper, response: ResponseLike[Any], generation: Generation) -> bool:
    # The foreign target of a redirect was not given the token, and its refusal says nothing.
    request = response.request
    return request.headers.get("Authorization") == generation.header and keeper.origins.allows(
        request.url
    )


def _replayable(request: RequestLike, library: ModuleType) -> bool:
    # A body in memory, or in files that httpx rewinds, is a stream for synchronous clients, too;
    # one whose length httpx can't tell is an iterator or an unseekable file.
    return (
        isinstance(request.stream, library.SyncByteStream)
        and "Transfer-Encoding" not in request.headers
        and all(map(_rewinds, getattr(request.stream, "fields", ())))
    )


def _rewinds(field: object) -> bool:
    # A part of a multipart body. Of an unseekable file the length may be known all the same, and
    # then httpx would send the rest of it, or nothing.
    file = getattr(field, "file", None)
    if file is None or isinstance(file, str | bytes):
        return True
    seekable = getattr(file, "seekable", None)
    return seekable is not None and bool(seekable())


def attach(keeper: Keeper, client: ClientT) -> ClientT:
    """Sign the requests of a client of either library, and return it."""
    library = _library(client)
    if client.base_url.host:
        keeper.origins.check(client.base_url)
    if library == "httpx2":
        from ._httpx2 import SessionAuth as Auth2

        client.auth = Auth2(keeper)
    else:
        from ._httpx import SessionAuth as Auth

        client.auth = Auth(keeper)
    return client


def _library(client: object) -> str:
    for name in ("httpx2", "httpx"):
        # Whoever has a client of a library has imported it.
        module = sys.modules.get(name)
        if module is not None and isinstance(client, module.AsyncClient):
            return name
    hint = ""
    for name in ("httpx2", "httpx"):
        module = sys.modules.get(name)
        if module is not None and isinstance(client, module.Client):
            hint = f"; {name}.Client is for synchronous code"
    raise TypeError(
        f"attach() takes an httpx.AsyncClient or an httpx2.AsyncClient, "
        f"not {type(client).__qualname__}{hint}"
    )
