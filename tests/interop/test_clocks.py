"""A session in a process whose clocks jump while it runs, by libfaketime, against a real server.

On Linux trio counts on ``CLOCK_MONOTONIC``, which stands still while a machine sleeps, and the wall
clock goes on. So a wall clock that jumps beside a true monotonic clock is what a process sees that
wakes up. Where both jump, it is a machine (or a system) whose monotonic clock runs while it sleeps.
"""

from __future__ import annotations

import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

from tests.soak.process import helper
from trioauth.stores import FileStore
from trioauth.testing import AuthServer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.soak.process import Helper

pytestmark = pytest.mark.slow

DAY = 86400
HOW_TO_GET_IT = "libfaketime is not here; on Debian: apt-get install faketime, as root"


@pytest.fixture(scope="module")
def library() -> Path:
    # The wrapper `faketime` would do, but it does not let the time be changed afterwards.
    folders = [Path("/usr/lib"), Path("/usr/lib64"), Path("/usr/local/lib")]
    for folder in folders:
        for found in sorted(folder.glob("**/faketime/libfaketimeMT.so.1")):
            return found
    if os.environ.get("CI") == "true" and sys.platform == "linux":
        pytest.fail(HOW_TO_GET_IT)
    pytest.skip(HOW_TO_GET_IT)


@attrs.define
class Clocks:
    """The clocks of a process, which can be set while it runs."""

    path: Path

    def set(self, seconds: int) -> None:
        """Let them be so far off from now on."""
        new = self.path.with_suffix(".new")
        new.write_text(f"{seconds:+d} x1\n", "ascii")
        new.replace(self.path)

    def environment(self, library: Path, *, monotonic: bool) -> dict[str, str]:
        """Return what makes a process believe in them; in its monotonic clock only if asked."""
        return {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self.path),
            # Or it would look only every ten seconds.
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "0" if monotonic else "1",
        }


@asynccontextmanager
async def child(
    library: Path, folder: Path, server: AuthServer, *, monotonic: bool, keep_fresh: bool = False
) -> AsyncGenerator[tuple[Clocks, Helper], None]:
    clocks = Clocks(folder / "clocks")
    clocks.set(0)
    tokens = server.log_in()
    with trio.fail_after(60):
        async with helper(
            "tests.interop.clocks_child",
            clocks.environment(library, monotonic=monotonic),
            url=server.url,
            path=str(folder / "tokens.json"),
            tokens=[tokens.access_token, tokens.refresh_token, server.lifetime],
            keep_fresh=keep_fresh,
        ) as process:
            yield clocks, process
            assert await process.stop() == "over"


async def ask(process: Helper, times: int = 5) -> Any:
    """Ask some times; return the generation, refreshes and retries after the last."""
    for _ in range(times):
        status, *seen = await process.ask("get")
        assert status == 200
    return seen


@pytest.mark.parametrize("monotonic", [False, True], ids=["wall", "wall and monotonic"])
@pytest.mark.parametrize(
    ("jump", "refreshes"), [(1800, 0), (7200, 1), (365 * DAY, 1)], ids=["short", "long", "a year"]
)
async def test_process_whose_clocks_jump_on_refreshes_once_at_most(
    jump: int, refreshes: int, monotonic: bool, library: Path, tmp_path: Path
) -> None:
    server = AuthServer(lifetime=3600)
    async with (
        server.serve(),
        child(library, tmp_path, server, monotonic=monotonic) as (clocks, process),
    ):
        assert await ask(process) == [1, 0, 0]
        clocks.set(jump)
        assert await ask(process) == [1 + refreshes, refreshes, 0]
        assert await ask(process) == [1 + refreshes, refreshes, 0]
    ledger = server.ledger
    assert (ledger.refreshes, ledger.unauthorized, ledger.reused) == (refreshes, 0, 0)
    record = await FileStore(tmp_path / "tokens.json").load()
    assert record is not None
    assert record.generation == 1 + refreshes
    assert record.tokens is not None


async def test_process_whose_wall_clock_is_set_back_goes_on(library: Path, tmp_path: Path) -> None:
    server = AuthServer(lifetime=3600)
    async with server.serve(), child(library, tmp_path, server, monotonic=False) as (clocks, it):
        assert await ask(it) == [1, 0, 0]
        clocks.set(-DAY)
        assert await ask(it) == [1, 0, 0]
        server.expire()
        assert await ask(it) == [2, 1, 1]
        # Set right again, which looks like a day asleep: one refresh too many, and no more.
        clocks.set(0)
        assert await ask(it) == [3, 2, 1]
    assert (server.ledger.refreshes, server.ledger.reused) == (2, 0)


async def test_process_that_keeps_its_token_fresh_survives_a_jump(
    library: Path, tmp_path: Path
) -> None:
    server = AuthServer(lifetime=3600)
    async with (
        server.serve(),
        child(library, tmp_path, server, monotonic=False, keep_fresh=True) as (clocks, it),
    ):
        assert await ask(it) == [1, 0, 0]
        clocks.set(7200)
        assert await ask(it) == [2, 1, 0]
    assert (server.ledger.refreshes, server.ledger.unauthorized) == (1, 0)
