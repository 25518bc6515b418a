"""An HTTP server on loopback, in a process of its own, so that its work is not what is measured.

``GET /wait/20`` answers after 20 ms, ``GET /stream/400`` sends its head at once and ends after
400 ms, ``POST /token/100?lifetime=2`` hands out tokens after 100 ms, and with ``same=1`` always the
same two strings; ``GET /refreshes`` says how often that was asked for. Raw: no framework, no header
is looked at but two.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from subprocess import PIPE, Popen
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

import trio

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

_BACKLOG = 4096
ROOT = Path(__file__).parent.parent
"""Where `python -m benchmarks...` finds this package."""


@contextmanager
def serving() -> Generator[str, None, None]:
    """Run the server as long as the block lasts; gives its URL."""
    command = [sys.executable, "-m", "benchmarks._server"]
    with Popen(command, stdin=PIPE, stdout=PIPE, text=True, cwd=ROOT) as child:  # noqa: S603
        assert child.stdout is not None
        port = child.stdout.readline().strip()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            child.terminate()


class _Server:
    def __init__(self) -> None:
        self.refreshes = 0

    async def connection(self, stream: trio.SocketStream) -> None:
        received = b""
        try:
            async with stream:
                while True:
                    while b"\r\n\r\n" not in received:
                        part = await stream.receive_some(65536)
                        if not part:
                            return
                        received += part
                    head, _, received = received.partition(b"\r\n\r\n")
                    length = _content_length(head)
                    while len(received) < length:
                        received += await stream.receive_some(65536)
                    received = received[length:]
                    await self.answer(stream, head.split(b" ", 2)[1].decode())
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
            return  # The client has gone.

    async def answer(self, stream: trio.SocketStream, target: str) -> None:
        path, _, query = target.partition("?")
        kind, _, milliseconds = path.strip("/").partition("/")
        if kind == "stream":
            await stream.send_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        if milliseconds:
            await trio.sleep(float(milliseconds) / 1000)
        if kind == "stream":
            await stream.send_all(b"2\r\nok\r\n0\r\n\r\n")
            return
        body = b"ok"
        if kind == "refreshes":
            body = str(self.refreshes).encode()
        if kind == "token":
            self.refreshes += 1
            body = self.tokens(dict(parse_qsl(query)))
        await stream.send_all(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (len(body), body)
        )

    def tokens(self, options: Mapping[str, str]) -> bytes:
        number = 0 if "same" in options else self.refreshes
        answer = {
            "access_token": f"access-{number}",
            "refresh_token": f"refresh-{number}",
            "token_type": "Bearer",
            "expires_in": float(options.get("lifetime", 3600)),
        }
        return json.dumps(answer).encode()


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def _main() -> None:
    server = _Server()
    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, server.connection, 0, host="127.0.0.1", backlog=_BACKLOG)
        listeners: list[trio.SocketListener] = await nursery.start(serve)
        sys.stdout.write(f"{listeners[0].socket.getsockname()[1]}\n")
        sys.stdout.flush()
        # Nobody at the other end any more: whoever started this was ended in a hurry.
        await trio.to_thread.run_sync(partial(os.read, 0, 1))
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(_main)
