"""A process that helps the soak: JSON in, JSON out, a line each; it ends when its input does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import attrs
import trio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

_ROOT = Path(__file__).parents[2]
# How long it may take to start, to answer, and to end.
_PATIENCE = 60.0


async def lines(stream: trio.abc.ReceiveStream) -> AsyncIterator[Any]:  # noqa: ASYNC900
    """Read what the other side says, until it has nothing more to say."""
    rest = b""
    async for part in stream:
        *whole, rest = (rest + part).split(b"\n")
        for line in whole:
            yield json.loads(line)


@final
@attrs.define(eq=False)
class Helper:
    """A process that helps, as seen from the soak."""

    process: trio.Process
    _answers: AsyncIterator[Any]
    _turn: trio.Lock = attrs.field(factory=trio.Lock, init=False)

    async def ask(self, question: str) -> Any:
        """Ask, and wait for the answer. Not to be cancelled, or the answers are out of step."""
        with trio.CancelScope(shield=True), trio.fail_after(_PATIENCE):
            async with self._turn:
                assert self.process.stdin is not None
                await self.process.stdin.send_all(json.dumps(question).encode() + b"\n")
                return await anext(self._answers)

    async def hear(self) -> Any:
        """Wait for what it says of its own accord."""
        with trio.fail_after(_PATIENCE):
            return await anext(self._answers)

    async def stop(self) -> Any:
        """End its input; return its last words."""
        assert self.process.stdin is not None
        with trio.fail_after(_PATIENCE):
            await self.process.stdin.aclose()
        return await self.hear()


@asynccontextmanager
async def helper(module: str, **options: object) -> AsyncGenerator[Helper, None]:
    """Run a module of this package with these options; it is gone when the block is left."""
    command = [sys.executable, "-m", f"{__package__}.{module}", json.dumps(options)]
    process = await trio.lowlevel.open_process(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(_ROOT)},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Helper(process, lines(process.stdout))
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
async def stdio() -> AsyncGenerator[AsyncIterator[Any], None]:
    """Give what the soak asks this helper."""
    async with trio.lowlevel.FdStream(os.dup(0)) as stream:
        yield lines(stream)


def say(answer: object) -> None:
    """Answer the soak."""
    print(json.dumps(answer), flush=True)
