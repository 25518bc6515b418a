"""One session in a process of its own, so that its memory can be told apart; for test_memory.

Prints by how many bytes the peak of its memory grew, and how the request ended.
"""

from __future__ import annotations

import resource
import sys
from functools import partial
from pathlib import Path

import httpx2
import trio

from trioauth import RefreshPolicy, RefreshTokenGrant, Tokens, open_session

POLICY = RefreshPolicy(timeout=20, attempts=3, backoff=0.02)
STATUS = Path("/proc/self/status")


def peak() -> int:
    """Return the most memory that this process ever had, in bytes."""
    if STATUS.exists():
        # Not ru_maxrss, which on Linux begins with that of the parent.
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


async def main(token_url: str, good_url: str, api_url: str, library: str) -> None:
    tokens = Tokens("access", "refresh", 3600)
    warm_up = RefreshTokenGrant(good_url, client_id="id")
    # Whatever is needed in any case, such as a TLS context, is there before it counts.
    async with open_session(warm_up, tokens=tokens, base_url=good_url, trust_env=False) as session:
        await session.refresh()
        await session.http.get("/", auth=None)
    before = peak()
    grant = RefreshTokenGrant(token_url, client_id="id")
    async with (
        open_session(
            grant, tokens=tokens, base_url=api_url, policy=POLICY, trust_env=False
        ) as session,
        session.attach(httpx2.AsyncClient(base_url=api_url, trust_env=False)) as other,
    ):
        try:
            with trio.fail_after(30):
                client = other if library == "httpx2" else session
                ending = str((await client.get("/me")).status_code)
        except Exception as exc:
            ending = type(exc).__name__
        print(peak() - before, ending, type(session.state).__name__)


if __name__ == "__main__":
    _, *arguments = sys.argv
    trio.run(partial(main, *arguments))
