"""Reads a refusal, within bounds (P10).

1. The body of a refusal has no use, but its connection stays busy until it is read. So it is read
   before the request waits for a refresh.
2. An API may send it slowly, or without end: after two seconds or 64 kB the connection is closed
   instead.
3. It is not inflated: 60 kB may become 60 MB, on the event loop. A compressed body is dropped.
"""

from __future__ import annotations

from contextlib import suppress
from inspect import isasyncgen
from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from types import ModuleType

LONGEST_REFUSAL = 65_536
"""Bytes of a refusal that are read at most, and kept in the response."""

REFUSAL_PATIENCE = 2.0
"""Seconds that reading it may take, and closing it, too."""

# After a stream was closed, it may still give what it had read from the socket: up to 64 kB, in
# chunks of a byte each. A stream that gives more ignores being closed.
_MOST_LEFTOVERS = 20_000
_LONGEST_LEFTOVERS = 8 * LONGEST_REFUSAL


async def read_refusal(response: Any, library: ModuleType) -> None:  # noqa: ASYNC910
    """Read a response of either library, within bounds; its ``aread()`` then does not wait.

    Cancellation:
      Safe. The response is left to be closed by its client.

    Checkpoints:
      None if all of it has arrived.
    """
    if response.is_stream_consumed:
        # By an event hook, or by a transport that has no network.
        await response.aread()
        return
    stream, body = response.stream, bytearray()
    with trio.move_on_after(REFUSAL_PATIENCE), suppress(library.HTTPError):  # noqa: ASYNC912
        # A checkpoint, unless all of it has arrived.
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
            # Close it, then read on until the stream ends, as in `TokenEndpoint`.
            await stream.aclose()
            leftovers += 1
            if leftovers > _MOST_LEFTOVERS or len(body) > _LONGEST_LEFTOVERS:
                # This stream ignores being closed: stop reading.
                break
    if isasyncgen(parts):
        await parts.aclose()
