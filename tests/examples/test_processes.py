"""Several processes share a login: docs/howto/processes.md."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio

import trioauth
from trioauth.testing import AuthServer

from . import EXAMPLES

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
async def test_of_four_processes_that_waited_for_a_login_one_refreshes(tmp_path: Path) -> None:
    server = AuthServer()
    said: list[str] = []

    async def work() -> None:
        command = [sys.executable, EXAMPLES / "worker.py", server.token_url, server.url]
        run = partial(trio.run_process, command, cwd=tmp_path, capture_stdout=True)
        said.append((await run()).stdout.decode().strip())

    async with server.serve(), trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(work)
        tokens = server.log_in()
        server.expire()
        grant = trioauth.RefreshTokenGrant(server.token_url, client_id="client")
        store = trioauth.FileStore(tmp_path / "tokens.json")
        async with trioauth.open_session(grant, store=store, base_url=server.url) as session:
            await session.log_in(tokens)
    assert said == ["200 with generation 2"] * 4
    assert server.ledger.refreshes == 1
    assert server.ledger.reused == 0
