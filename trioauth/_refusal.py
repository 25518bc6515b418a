"""Reading a refusal to its end, or to where it is not worth it any more (P10).

A request that is refused is sent again; what the refusal says, beyond its head, nobody waits for.
It is read all the same, because the connection is busy until then. But an API may send it
slowly, without end, or not at all: that costs its connection, and not the request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from types import ModuleType

LONGEST_REFUSAL = 65_536
"""More bytes than that are not read. What there was of them is in the response's history."""

REFUSAL_PATIENCE = 2.0
"""Nor is waited longer than that, in seconds."""


async def read_refusal(response: Any, library: ModuleType) -> None:
    """Read a response of either library, so that its own ``aread()`` does not wait any more.

    Cancellation:
      Safe. The response is left to be closed by its client.
    """
    if response.is_stream_consumed:
        # By an event hook, or by a transport that has no network.
        await response.aread()
        return
    body = bytearray()
    with trio.move_on_after(REFUSAL_PATIENCE):  # noqa: ASYNC912  # or it is all here already
        try:
            async for part in response.stream:
                body += part
                if len(body) > LONGEST_REFUSAL:
                    # Closed first and read on until that is noticed, as in `TokenEndpoint`.
                    await response.stream.aclose()
        except library.HTTPError:
            pass  # It was cut short, or closed above.
    await response.stream.aclose()
    del body[LONGEST_REFUSAL:]
    response.stream = library.ByteStream(bytes(body))
    if not _decodes(response, bytes(body), library):
        response.headers.pop("Content-Encoding")


def _decodes(response: Any, body: bytes, library: ModuleType) -> bool:
    if "Content-Encoding" not in response.headers:
        return True
    headers = {"Content-Encoding": response.headers["Content-Encoding"]}
    try:
        library.Response(response.status_code, headers=headers, content=body)
    except library.DecodingError:
        return False
    return True
