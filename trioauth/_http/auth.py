"""The auth flow: sign a request, and send it again after a refusal. One for httpx and httpx2.

The two libraries share no class, so the flow is generic over small Protocols.

The cases of a request (P2, P4, P13; `Signer` decides):

1. It belongs to the login that there was when it was built. If that has ended, it is not sent.
2. The token is fresh: it is signed and sent, without waiting for anything (P18).
3. The token is not: it waits, then it is signed and sent.
4. It is not refused, or not for its token: the answer goes to the caller.
5. It is refused: the refresh starts, the refusal is read, then the request waits for the refresh
   and is sent again. For a late 401 no refresh starts: the current token is already another one.
6. It is refused with a renewed token: the answer goes to the caller. If the token was only found in
   the store, case 5 applies once more. With `RefreshPolicy.settle` it waits and is sent again.
7. Its body can't be sent twice, or refreshing was futile there: the answer goes to the caller.
8. However the flow ends, our header is removed from all of its requests.

Between two steps nothing is held but data: no lock, no scope. httpx may drop a flow there, on any
exception, and cleaning up needs no ``await`` (P9).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, final

import trio

from .belonging import signed_anew
from .refusal import read_refusal
from .signing import Progress, RequestT, Signer, requests_of

if TYPE_CHECKING:
    from types import ModuleType, TracebackType

    from trioauth._core.flight import Generation

    from .signing import RequestLike, ResponseLike, Step


@final
class Flow(AsyncGenerator[RequestT, "ResponseLike[RequestT]"]):
    """The flow for one request: `__anext__` first, then `asend` with each answer.

    A class, not an async generator function: trio tracks each async generator, which takes as long
    as signing a request. And no scope or nursery can stay open between two steps.
    """

    __slots__ = (
        "_generation",
        "_is_signed",
        "_library",
        "_progress",
        "_request",
        "_response",
        "_sent",
        "_signer",
    )
    _generation: Generation

    def __init__(self, signer: Signer, request: RequestT, library: ModuleType) -> None:
        self._signer = signer
        self._request = request
        self._library = library
        self._sent = request
        self._progress: Progress | None = None
        self._response: ResponseLike[RequestT] | None = None
        self._is_signed = False

    # With a fresh token there is nothing to wait for (P18).
    async def __anext__(self) -> RequestT:
        """Sign the request (cases 1 to 3).

        Cancellation:
          Safe. A refresh that it waits for goes on.
        """
        signer, request = self._signer, self._request
        signer.tokens.check_here()
        signer.origins.check(request.url)
        generation = signer.fresh_for(request)
        if generation is None:
            # A request that can't be sent again must not get a 401 for an old token.
            one_shot = not _replayable(request, self._library)
            generation = await signer.obtain(request, one_shot=one_shot)
        self._generation = generation
        signer.take(request, generation.login)
        self._is_signed = True
        request.headers["Authorization"] = generation.header
        return request  # noqa: ASYNC910

    async def asend(self, response: ResponseLike[RequestT]) -> RequestT:
        """Judge the answer; return the request to send again (cases 4 to 7).

        Cancellation:
          Safe. A refresh that it waits for goes on.

        Raises:
          StopAsyncIteration: The answer goes to the caller.
        """
        self._response = response
        try:
            step = self._judge(response)
            if step is None:
                raise StopAsyncIteration
            # A response that is not read holds its connection, even if its body is empty.
            await read_refusal(response, self._library)
            if step == "settle":
                await trio.sleep(self._signer.tokens.policy.settle)
            newer = await self._signer.tokens.obtain(self._generation.login)
            self._sign_again(response, newer)
        except BaseException:
            self._leave()
            raise
        return self._sent

    async def athrow(
        self,
        typ: Any,
        val: Any = None,
        tb: TracebackType | None = None,  # noqa: ARG002  # the interface
    ) -> RequestT:
        """End the flow with an exception.

        Cancellation:
          Safe. There is nothing to wait for.
        """
        self._leave()
        raise typ if val is None else val

    async def aclose(self) -> None:  # noqa: ASYNC910
        """End the flow, if it has not ended yet.

        Cancellation:
          Safe. There is nothing to wait for.
        """
        self._leave()

    def _judge(self, response: ResponseLike[RequestT]) -> Step | None:
        """Decide what follows an answer; None if it goes to the caller."""
        signer, generation, answered = self._signer, self._generation, response.request
        # The limiter, below this flow, may have signed it anew while it queued.
        really = signed_anew(answered, generation)
        if really is not generation:
            self._clean_up(response)
            generation = self._generation = really
        verdict = signer.judge(response, generation)
        if verdict == "answered" and self._progress is None and not signer.evidence.accounts:
            response.extensions["trioauth"] = generation.authentication
            return None
        progress = self._progress = self._progress or Progress(generation)
        if verdict != "refused":
            if verdict != "policy":
                signer.note_answered(self._sent, response, generation, progress)
            reason = None if verdict == "answered" else verdict
            response.extensions["trioauth"] = progress.note(generation, reason)
            return None
        # The request that was refused is sent again: after POST -> 303 -> 401 that is the GET.
        self._sent = answered
        one_shot = not _replayable(answered, self._library)
        step = signer.next_step(answered, generation, progress, one_shot=one_shot)
        if step != "refresh" and step != "settle":  # noqa: PLR1714  # mypy can't narrow by `in`
            response.extensions["trioauth"] = progress.note(generation, step)
            return None
        progress.attempts += 1
        return step

    def _sign_again(self, response: ResponseLike[RequestT], newer: Generation) -> None:
        self._signer.note_resent(self._generation, newer)
        # Now: with the next answer, the redirects that led to this refusal are out of reach.
        self._clean_up(response)
        self._generation = newer
        self._sent.headers["Authorization"] = newer.header

    def _leave(self) -> None:
        """Remove our header from all requests of this flow (case 8)."""
        if not self._is_signed:
            return
        self._is_signed = False
        self._signer.release(self._request)
        if self._response is not None:
            self._clean_up(self._response)

    def _clean_up(self, response: ResponseLike[RequestT]) -> None:
        """Remove our header from the requests of redirects, to which httpx has copied it."""
        request, header = self._request, self._generation.header
        # No redirect: there is only the request itself, which `Signer.release` cleans.
        if response.request is request and response.next_request is None:
            return
        for each in requests_of(response):
            if each is not request and each.headers.get("Authorization") == header:
                del each.headers["Authorization"]


def _replayable(request: RequestLike, library: ModuleType) -> bool:
    # Say whether the body can be sent twice. httpx makes a body in memory, or in files that it
    # rewinds, a SyncByteStream, too. If it does not know the length ("Transfer-Encoding"), the body
    # is an iterator or an unseekable file.
    return (
        isinstance(request.stream, library.SyncByteStream)
        and "Transfer-Encoding" not in request.headers
        and all(map(_rewinds, getattr(request.stream, "fields", ())))
    )


def _rewinds(field: object) -> bool:
    # Say whether a part of a multipart body can be sent twice. The length of an unseekable file may
    # be known, and then httpx would send the rest of it, or nothing.
    file = getattr(field, "file", None)
    if file is None or isinstance(file, str | bytes):
        return True
    seekable = getattr(file, "seekable", None)
    return seekable is not None and bool(seekable())
