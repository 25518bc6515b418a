"""A gateway in front of a model, as the clients of OpenAI and Anthropic expect it: it says 42."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias

from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from starlette.requests import Request

Json: TypeAlias = dict[str, Any]
WORDS = ("Forty", "-", "two.")


def gateway(answered: Callable[[], None]) -> Starlette:
    """Build it; the function is called before each answer."""

    async def openai(request: Request) -> Response:
        answered()
        asked = await request.json()
        return _events(_chunks()) if asked.get("stream") else JSONResponse(_completion())

    async def anthropic(request: Request) -> Response:
        answered()
        asked = await request.json()
        return _events(_deltas()) if asked.get("stream") else JSONResponse(_message("42"))

    return Starlette(
        routes=[
            Route("/v1/chat/completions", openai, methods=["POST"]),
            Route("/v1/messages", anthropic, methods=["POST"]),
        ]
    )


def _events(events: list[str]) -> StreamingResponse:
    async def body() -> AsyncGenerator[str, None]:
        for event in events:
            yield f"{event}\n\n"

    return StreamingResponse(body(), media_type="text/event-stream")


def _completion() -> Json:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": "42"},
        "finish_reason": "stop",
    }
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "example",
        "choices": [choice],
    }


def _chunks() -> list[str]:
    def chunk(delta: Json) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": None}
        value = {
            "id": "1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "example",
            "choices": [choice],
        }
        return f"data: {json.dumps(value)}"

    return [*[chunk({"content": word}) for word in WORDS], "data: [DONE]"]


def _message(text: str) -> Json:
    return {
        "id": "1",
        "type": "message",
        "role": "assistant",
        "model": "example",
        "content": [{"type": "text", "text": text}] if text else [],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }


def _deltas() -> list[str]:
    def event(kind: str, **rest: Any) -> str:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **rest})}"

    stop = {"stop_reason": "end_turn", "stop_sequence": None}
    return [
        event("message_start", message=_message("")),
        event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        *[
            event("content_block_delta", index=0, delta={"type": "text_delta", "text": word})
            for word in WORDS
        ],
        event("content_block_stop", index=0),
        event("message_delta", delta=stop, usage={"output_tokens": 3}),
        event("message_stop"),
    ]
