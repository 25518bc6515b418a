"""A process that helps the soak: JSON in, JSON out, a line each; it ends when its input does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, final

import attrs
import trio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

_ROOT = Path(__file__).parents[2]
# How long it may take to start, to answer, and to end.
_PATIENCE = 60.0


@final
class Lines:
    """What the other side says, line by line.

    Not an async generator: one that is left early warns of it.
    """

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self._stream = stream
        self._rest = b""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        """Wait for the next line."""
        while b"\n" not in self._rest:
            part = await self._stream.receive_some()
            if not part:
                raise StopAsyncIteration
            self._rest += part
        line, _, self._rest = self._rest.partition(b"\n")
        return json.loads(line)


@final
@attrs.define(eq=False)
class Helper:
    """A process that helps, as seen from the soak."""

    process: trio.Process
    _answers: Lines
    _turn: trio.Lock = attrs.field(factory=trio.Lock, init=False)

    async def ask(self, question: str) -> Any:
        """Ask, and wait for the answer. Not to be cancelled, or the answers are out of step."""
        with trio.CancelScope(shield=True), trio.fail_after(_PATIENCE):
            async with self._turn:
                assert self.process.stdin is not None
                await self.process.stdin.send_all(json.dumps(question).encode() + b"\n")
                return await self._answers.__anext__()

    async def hear(self) -> Any:
        """Wait for what it says of its own accord."""
        with trio.fail_after(_PATIENCE):
            return await self._answers.__anext__()

    async def stop(self) -> Any:
        """End its input; return its last words."""
        assert self.process.stdin is not None
        with trio.fail_after(_PATIENCE):
            await self.process.stdin.aclose()
        return await self.hear()


@asynccontextmanager
async def helper(
    module: str,
    environment: dict[str, str] | None = None,
    prefix: tuple[str, ...] = (),
    **options: object,
) -> AsyncGenerator[Helper, None]:
    """Run a module with these options; it is gone when the block is left.

    ``prefix`` is a command that becomes this one, such as ``ip netns exec NAME``.
    """
    command = [*prefix, sys.executable, "-m", module, json.dumps(options)]
    process = await trio.lowlevel.open_process(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(_ROOT)} | (environment or {}),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Helper(process, Lines(process.stdout))
        with trio.fail_after(_PATIENCE):
            await process.wait()
    finally:
        with trio.CancelScope(shield=True):
            if process.returncode is None:
                process.kill()
            await process.wait()
            await process.stdin.aclose()
            await process.stdout.aclose()


@asynccontextmanager
async def stdio() -> AsyncGenerator[Lines, None]:
    """Give what the soak asks this helper."""
    async with trio.lowlevel.FdStream(os.dup(0)) as stream:
        yield Lines(stream)


def say(answer: object) -> None:
    """Answer the soak."""
    print(json.dumps(answer), flush=True)
