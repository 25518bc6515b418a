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

Between the ``yield``s there is nothing but data: httpx may drop a flow at any of
them, on any exception, and what is left to clean up needs no ``await`` (P9).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from .belonging import signed_anew
from .refusal import read_refusal
from .signing import Course, Signer, requests_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from types import ModuleType

    from trioauth._core.flight import Generation

    from .signing import RequestLike, RequestT, ResponseLike


# An async generator, because httpx wants one; no scope or nursery is open across its yields, which
# is what the rules are about, and with a fresh token there is nothing to wait for (P18).
async def sign(  # noqa: ASYNC900, ASYNC911
    signer: Signer, request: RequestT, library: ModuleType
) -> AsyncGenerator[RequestT, ResponseLike[RequestT]]:
    """Run the flow for one request.

    Cancellation:
      Safe. A refresh that it waits for goes on.
    """
    signer.tokens.check_here()
    signer.origins.check(request.url)
    login = signer.login_of(request)
    generation = signer.tokens.fresh()
    if generation is None or generation.login is not login:
        # A request that can't be sent again must not be refused for its age.
        generation = await signer.obtain(login, one_shot=not _replayable(request, library))
    sent, course, response = request, None, None
    signer.take(request, generation.login)
    try:
        while True:
            sent.headers["Authorization"] = generation.header
            response = yield sent  # noqa: ASYNC911, ASYNC913
            # It may have queued for a connection, below this flow, until its token was bad.
            really = signed_anew(response.request, generation)
            if really is not generation:
                _clean_up(request, generation, response)
                generation = really
            verdict = signer.judge(response, generation)
            if verdict == "answered" and course is None and not signer.evidence.accounts:
                response.extensions["trioauth"] = generation.authentication
                return  # noqa: ASYNC911
            course = course or Course(generation)
            if verdict != "refused":
                if verdict != "policy":
                    signer.note_answered(sent, response, generation, course)
                reason = None if verdict == "answered" else verdict
                response.extensions["trioauth"] = course.note(generation, reason)
                return  # noqa: ASYNC911
            # What is sent again is what was refused: after POST -> 303 -> 401 that is the GET.
            sent = response.request
            one_shot = not _replayable(sent, library)
            step = signer.next_step(sent, generation, course, one_shot=one_shot)
            if step != "refresh" and step != "settle":  # noqa: PLR1714  # mypy can't narrow by `in`
                response.extensions["trioauth"] = course.note(generation, step)
                return  # noqa: ASYNC911
            # Unread, even an empty body holds the connection that the refresh of others may need.
            await read_refusal(response, library)
            if step == "settle":
                await trio.sleep(signer.tokens.policy.settle)
            newer = await signer.tokens.obtain(generation.login)
            signer.note_resent(generation, newer)
            # Now, because httpx is about to forget the redirects that led to the refusal.
            _clean_up(request, generation, response)
            course.attempts, generation = course.attempts + 1, newer
    finally:
        signer.release(request)
        if response is not None:
            _clean_up(request, generation, response)


def _clean_up(
    request: RequestT,
    generation: Generation,
    response: ResponseLike[RequestT],
) -> None:
    """Take our header from the requests that redirects led to: httpx has copied it into them."""
    if response.request is request and not response.history and response.next_request is None:
        return
    for each in requests_of(response):
        if each is not request and each.headers.get("Authorization") == generation.header:
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
