"""The protected API: a request in, an answer out. No I/O, no clock."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, final
from urllib.parse import parse_qs

import attrs

from ._ledger import Seen
from ._messages import Answer, in_json, whole
from ._places import RESOURCE

if TYPE_CHECKING:
    from ._book import AccessToken, Book
    from ._ledger import Ledger
    from ._messages import Request

_MOST_CHUNKS = 10_000


@final
@attrs.define(eq=False)
class Api:
    """The answers at every path that is not one of the authorization server."""

    book: Book
    ledger: Ledger
    rejects_all: bool = False
    delay: float = 0.0
    challenges: bool = False
    """A 401 says where the API's metadata is (RFC 9728 5.1)."""
    answers: dict[str, Answer] = attrs.field(factory=dict[str, Answer], init=False, repr=False)
    """The answers that were ordered with `api_answer`, by path."""

    def handle(self, request: Request, now: float) -> Answer:
        """Process a request."""
        token = self.book.find_access(request.bearer_token)
        if request.path != "/open" and not self._lets_in(token, now):
            answer = _unauthorized(request, challenges=self.challenges)
        else:
            try:
                answer = self.answers.get(request.path) or _answer(request, token)
            except ValueError as exc:
                answer = in_json(400, {"error": str(exc)})
        generation = None if token is None else token.generation
        self.ledger._saw(Seen(request.method, request.path, generation, answer.status))
        return answer

    def _lets_in(self, token: AccessToken | None, now: float) -> bool:
        if self.rejects_all or token is None or not self.book.is_good(token, now):
            return False
        return token.login.granted is None or token.login.granted.for_api


def _unauthorized(request: Request, *, challenges: bool) -> Answer:
    """Answer 401, with an error only if there was a token to be wrong (RFC 6750 3.1)."""
    error = "no access token" if request.bearer_token is None else "invalid_token"
    parameters = [] if request.bearer_token is None else ['error="invalid_token"']
    if challenges:
        parameters.append(f'resource_metadata="{request.origin}{RESOURCE}{request.path}"')
    challenge = f"Bearer {', '.join(parameters)}".strip()
    return in_json(401, {"error": error}, {"WWW-Authenticate": challenge})


def _answer(request: Request, token: AccessToken | None) -> Answer:
    match request.path:
        case "/slow":
            return attrs.evolve(_mirror(request, token), wait=_seconds(request))
        case "/stream":
            return _stream(request)
        case "/redirect":
            location = _parameter(request, "to", "/")
            return whole(_status(_parameter(request, "status", "303")), b"", {"Location": location})
        case path if path.startswith("/status/"):
            return in_json(_status(path.removeprefix("/status/")), _facts(request, token))
        case _:
            return _mirror(request, token)


def _mirror(request: Request, token: AccessToken | None) -> Answer:
    return in_json(200, _facts(request, token))


def _facts(request: Request, token: AccessToken | None) -> dict[str, object]:
    return {
        "generation": None if token is None else token.generation,
        "login": None if token is None else token.login.number,
        "method": request.method,
        "path": request.path,
        "length": len(request.body),
        "sha256": hashlib.sha256(request.body).hexdigest() if request.body else None,
    }


def _stream(request: Request) -> Answer:
    chunks = _parameter(request, "chunks", "10")
    if not (chunks.isascii() and chunks.isdigit() and int(chunks) <= _MOST_CHUNKS):
        raise ValueError(f"chunks must be a number up to {_MOST_CHUNKS}")
    parts = tuple(b"chunk %d\n" % number for number in range(1, int(chunks) + 1))
    return Answer(200, (("Content-Type", "text/plain"),), parts, pause=_seconds(request))


def _status(text: str) -> int:
    if not (len(text) == 3 and text.isascii() and text.isdigit() and 200 <= int(text) < 600):
        raise ValueError("the status must be a number from 200 to 599")
    return int(text)


def _seconds(request: Request) -> float:
    try:
        seconds = float(_parameter(request, "seconds", "0"))
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError("seconds must be a number, and not negative")
    return seconds


def _parameter(request: Request, name: str, default: str) -> str:
    return parse_qs(request.query).get(name, [default])[-1]
