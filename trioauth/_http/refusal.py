"""Reading a refusal to its end, or to where it is not worth it any more (P10).

A request that is refused is sent again, and nothing waits for what the refusal says beyond its
head. It is read all the same, because the connection is busy until then. But an API may send it
slowly, without end, or not at all: that costs its connection, and not the request.

It is never inflated: sixty kilobytes may become sixty megabytes, and httpx would do that on the
event loop. A compressed body is dropped once it is read.
"""

from __future__ import annotations

from contextlib import suppress
from inspect import isasyncgen
from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from types import ModuleType

LONGEST_REFUSAL = 65_536
"""More bytes than that are not read. What there was of them is in the response's history."""

REFUSAL_PATIENCE = 2.0
"""Nor is waited longer than that, in seconds."""

# After it was closed, a stream may have so much at hand that it had read before: 64 kB from the
# socket, in chunks of a byte each.
_MOST_LEFTOVERS = 20_000
_LONGEST_LEFTOVERS = 8 * LONGEST_REFUSAL


async def read_refusal(response: Any, library: ModuleType) -> None:  # noqa: ASYNC910
    """Read a response of either library, so that its own ``aread()`` does not wait any more.

    Cancellation:
      Safe. The response is left to be closed by its client.

    Checkpoints:
      None if it is all here already.
    """
    if response.is_stream_consumed:
        # By an event hook, or by a transport that has no network.
        await response.aread()
        return
    stream, body = response.stream, bytearray()
    with trio.move_on_after(REFUSAL_PATIENCE), suppress(library.HTTPError):  # noqa: ASYNC912
        # Unless it is cut short, or all here already.
        await _read(stream, body)
    with trio.move_on_after(REFUSAL_PATIENCE), suppress(library.HTTPError):  # noqa: ASYNC912
        await stream.aclose()
    del body[LONGEST_REFUSAL:]
    if "Content-Encoding" in response.headers:
        del response.headers["Content-Encoding"]
        body.clear()
    response.stream = library.ByteStream(bytes(body))


async def _read(stream: Any, body: bytearray) -> None:
    leftovers, parts = 0, aiter(stream)
    async for part in parts:
        body += part
        if len(body) > LONGEST_REFUSAL:
            # Closed first, and read on until that is noticed, as in `TokenEndpoint`.
            await stream.aclose()
            leftovers += 1
            if leftovers > _MOST_LEFTOVERS or len(body) > _LONGEST_LEFTOVERS:
                # This stream ignores being closed: leave it.
                break
    if isasyncgen(parts):
        await parts.aclose()
