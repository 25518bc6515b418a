"""The auth flow: sign a request, and if it is refused once more. One for httpx and httpx2.

The two libraries share no class, so the flow is generic over small Protocols.

What becomes of a request (P2, P4, P13; what a 401 proves is in `trioauth._http.evidence`):

1. It belongs to the login that there was when it was built. If that has ended, it is not sent.
2. The token is fresh: it is signed and sent, without waiting for anything (P18).
3. The token is not: it waits, then it is signed and sent.
4. It is not refused, or not for its token: the answer goes to the caller.
5. It is refused: the refresh starts, the refusal is read, then the request waits, and is sent
   again. A late 401, of a token that is current no more, does the same and starts nothing.
6. It is refused with a token just renewed: the answer goes to the caller. If the token was only
   found in the store, case 5 once more. With `RefreshPolicy.settle` it waits, and is sent again.
7. Its body can't be sent twice, or refreshing was futile there: the answer goes to the caller.
8. However the flow ends, our header is taken from all of its requests again.

Between two steps there is nothing but data: httpx may drop a flow there, on any
exception, and what is left to clean up needs no ``await`` (P9).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, final

import trio

from .belonging import signed_anew
from .refusal import read_refusal
from .signing import Course, RequestT, Signer, requests_of

if TYPE_CHECKING:
    from types import ModuleType, TracebackType

    from trioauth._core.flight import Generation

    from .signing import RequestLike, ResponseLike, Step


@final
class Flow(AsyncGenerator[RequestT, "ResponseLike[RequestT]"]):
    """The flow for one request: what httpx does with an auth flow, step by step.

    Not a generator of Python's own: trio keeps a list of each that begins and ends, which takes as
    long as it takes to sign a request. And no scope or nursery can stay open between two steps.
    """

    __slots__ = (
        "_course",
        "_generation",
        "_is_signed",
        "_library",
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
        self._course: Course | None = None
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
            # A request that can't be sent again must not be refused for its age.
            one_shot = not _replayable(request, self._library)
            generation = await signer.obtain(request, one_shot=one_shot)
        self._generation = generation
        signer.take(request, generation.login)
        self._is_signed = True
        request.headers["Authorization"] = generation.header
        return request  # noqa: ASYNC910

    async def asend(self, response: ResponseLike[RequestT]) -> RequestT:
        """Take in the answer; sign what is to be sent again, or say that there is nothing.

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
            # Unread, even an empty body holds the connection that the refresh of others may need.
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
        """Decide what becomes of an answer: None if it goes to the caller (cases 4 to 7)."""
        signer, generation, answered = self._signer, self._generation, response.request
        # It may have queued for a connection, below this flow, until its token was bad.
        really = signed_anew(answered, generation)
        if really is not generation:
            self._clean_up(response)
            generation = self._generation = really
        verdict = signer.judge(response, generation)
        if verdict == "answered" and self._course is None and not signer.evidence.accounts:
            response.extensions["trioauth"] = generation.authentication
            return None
        course = self._course = self._course or Course(generation)
        if verdict != "refused":
            if verdict != "policy":
                signer.note_answered(self._sent, response, generation, course)
            reason = None if verdict == "answered" else verdict
            response.extensions["trioauth"] = course.note(generation, reason)
            return None
        # What is sent again is what was refused: after POST -> 303 -> 401 that is the GET.
        self._sent = answered
        one_shot = not _replayable(answered, self._library)
        step = signer.next_step(answered, generation, course, one_shot=one_shot)
        if step != "refresh" and step != "settle":  # noqa: PLR1714  # mypy can't narrow by `in`
            response.extensions["trioauth"] = course.note(generation, step)
            return None
        course.attempts += 1
        return step

    def _sign_again(self, response: ResponseLike[RequestT], newer: Generation) -> None:
        self._signer.note_resent(self._generation, newer)
        # Now, because httpx is about to forget the redirects that led to the refusal.
        self._clean_up(response)
        self._generation = newer
        self._sent.headers["Authorization"] = newer.header

    def _leave(self) -> None:
        """Take our header from all of the requests again (case 8)."""
        if not self._is_signed:
            return
        self._is_signed = False
        self._signer.release(self._request)
        if self._response is not None:
            self._clean_up(self._response)

    def _clean_up(self, response: ResponseLike[RequestT]) -> None:
        """Take our header from the requests that redirects led to: httpx has copied it there."""
        request, header = self._request, self._generation.header
        # What was redirected is another request.
        if response.request is request and response.next_request is None:
            return
        for each in requests_of(response):
            if each is not request and each.headers.get("Authorization") == header:
                del each.headers["Authorization"]


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
