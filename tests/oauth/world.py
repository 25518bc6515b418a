"""A world of URLs for a `BackChannel`: what each answers, and what was asked."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import attrs
import httpx

from trioauth import BackChannel

if TYPE_CHECKING:
    from collections.abc import Iterator

ISSUER = "https://id.example.com"
TOKEN_URL = f"{ISSUER}/token"
GOOD = {"access_token": "at2", "token_type": "Bearer", "refresh_token": "rt2", "expires_in": 60}


def metadata(issuer: str = ISSUER, **more: object) -> dict[str, object]:
    return {"issuer": issuer, "token_endpoint": TOKEN_URL, **more}


@attrs.define
class World:
    """Answers by URL: JSON, an `httpx.Response`, or an exception; else 404."""

    answers: dict[str, Any] = attrs.field(factory=dict)
    requests: list[httpx.Request] = attrs.field(factory=list)

    def open(self) -> BackChannel:
        return BackChannel(lambda: httpx.AsyncClient(transport=httpx.MockTransport(self._answer)))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        found = self.answers.get(str(request.url), httpx.Response(404))
        if isinstance(found, list):
            found = found.pop(0)
        if callable(found):
            found = found(request)
        if isinstance(found, Exception):
            raise found
        if isinstance(found, httpx.Response):
            return httpx.Response(found.status_code, headers=found.headers, content=found.content)
        return httpx.Response(200, content=json.dumps(found).encode())

    @property
    def urls(self) -> list[str]:
        return [str(request.url) for request in self.requests]

    @property
    def forms(self) -> list[dict[str, list[str]]]:
        return [form_of(request) for request in self.requests if request.method == "POST"]


def form_of(request: httpx.Request) -> dict[str, list[str]]:
    return parse_qs(request.content.decode(), keep_blank_values=True, strict_parsing=True)


def decoded(part: str) -> dict[str, Any]:
    """A part of a JWT."""
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


def frames(error: BaseException) -> Iterator[str]:
    """What crash reporters would send along: the variables of our frames, and of the causes'."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        waiting += [each.__cause__, each.__context__]
        step = each.__traceback__
        while step is not None:
            if str(step.tb_frame.f_globals.get("__name__", "")).startswith("trioauth"):
                yield repr(step.tb_frame.f_locals)
            step = step.tb_next
