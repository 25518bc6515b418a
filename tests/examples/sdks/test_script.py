"""A script with trio.run and nothing else: docs/howto/sdks.md."""

from __future__ import annotations

import sys
from functools import partial

import trio

from tests.examples import EXAMPLES
from trioauth.testing import AuthServer

from .loopback import log_in


async def test_a_script_of_a_hundred_requests_refreshes_once() -> None:
    auth = AuthServer()
    async with auth.serve():
        await log_in(auth, auth.url)
        auth.expire()
        command = [sys.executable, "-W", "error", EXAMPLES / "script.py", auth.token_url, auth.url]
        run = partial(trio.run_process, command, capture_stdout=True)
        assert (await run()).stdout == b"100 notes, from /notes/0 to /notes/99\n"
    assert auth.ledger.requests == {2: 100}
    assert auth.ledger.refreshes == 1
    assert auth.ledger.reused == 0
