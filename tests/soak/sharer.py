"""The process that shares the store: one more member, which never logs in itself."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import trio

from .member import Member
from .process import say, stdio


async def main(url: str, folder: str, tasks: int, pause: float, seed: int) -> None:
    """Live until the input ends."""
    random.seed(seed)
    member = Member(url=url, folder=Path(folder), tasks=tasks, pause=pause)
    async with stdio() as questions, trio.open_nursery() as nursery:
        nursery.start_soon(member.live)
        async for _ in questions:
            say(member.facts())
        nursery.cancel_scope.cancel(reason="the soak is over")
    say(member.facts())


if __name__ == "__main__":
    options: dict[str, Any] = json.loads(sys.argv[1])
    trio.run(lambda: main(**options))
