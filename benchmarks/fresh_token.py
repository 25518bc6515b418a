"""What a session costs when there is nothing to do: a fresh token, on an in-memory transport.

    python benchmarks/fresh_token.py [--rounds 40] [--requests 200]

Both sides are clients of the same library on the same kind of transport: one
with a fixed header, one signed by a session. Rounds are interleaved in one
process; what counts is the median of the ratio of a round to its neighbour.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import statistics
import sys
import time
from typing import Any

import trio

import trioauth


async def measure(library: Any, rounds: int, requests: int) -> tuple[float, float, float]:
    """Return the median ratio, and the median microseconds of both sides."""

    def handler(_: Any) -> Any:
        return library.Response(200, content=b"ok")

    def client(**options: Any) -> Any:
        return library.AsyncClient(
            base_url="https://api.test", transport=library.MockTransport(handler), **options
        )

    async def timed(http: Any) -> float:
        started = time.perf_counter()
        for _ in range(requests):
            await http.get("/me")
        return (time.perf_counter() - started) / requests

    async def grant(*_: object) -> trioauth.Tokens:
        raise AssertionError("the token is fresh")

    tokens = trioauth.Tokens("access", "refresh", 3600)
    async with (
        trioauth.open_session(grant, tokens=tokens, origins=["https://api.test"]) as session,
        client(headers={"Authorization": "Bearer access"}) as bare,
        session.attach(client()) as signed,
    ):
        await timed(bare), await timed(signed)
        pairs: list[tuple[float, float]] = []
        gc.disable()
        for number in range(rounds):
            gc.collect()
            # Whoever comes second finds warmer caches: take turns.
            if number % 2:
                floor, ours = await timed(bare), await timed(signed)
            else:
                ours, floor = await timed(signed), await timed(bare)
            pairs.append((ours, floor))
        gc.enable()
    return (
        statistics.median(ours / floor for ours, floor in pairs),
        statistics.median(ours for ours, _ in pairs) * 1e6,
        statistics.median(floor for _, floor in pairs) * 1e6,
    )


def main() -> None:
    """Print a line for each library."""
    parser = argparse.ArgumentParser(description="What a session costs with a fresh token.")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--requests", type=int, default=200)
    options = parser.parse_args()
    for name in ("httpx", "httpx2"):
        ratio, ours, floor = trio.run(
            measure, importlib.import_module(name), options.rounds, options.requests
        )
        sys.stdout.write(
            f"{name}: {ratio:.3f} times a fixed header ({ours:.0f} us against {floor:.0f} us)\n"
        )


if __name__ == "__main__":
    main()
