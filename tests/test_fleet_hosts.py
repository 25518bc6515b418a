"""Two hosts around one Redis server, the link of one of them cut and healed.

The hosts are network namespaces: see `tests.fleet.network`. The server of the tokens stays within
reach of both, so that what is not sent to it is not sent by decision.
"""

from __future__ import annotations

import socket
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, final

import attrs
import pytest
import trio

from trioauth.testing import AuthServer

from .fleet.network import Host, hosts
from .redis_server import redis_server
from .soak.process import Helper, helper

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("fleet")]

# Less than the long lease: no host waits for one to end that no session holds.
PATIENCE = 50.0
TIMEOUT = 3.0
"""Of a flight."""
LONG, SHORT = 60.0, 4.0
"""Leases."""


@final
@attrs.frozen
class Pair:
    """Two hosts that share a login."""

    server: AuthServer
    first: Helper
    second: Helper
    link: Host
    """That of the first one."""

    async def log_in(self, host: Helper) -> None:
        """Let one of them begin a login."""
        tokens = self.server.log_in()
        await host.ask(f"log_in {tokens.access_token} {tokens.refresh_token}")

    async def until(self, host: Helper, question: str, **expected: object) -> dict[str, Any]:
        """Ask until the answer has these members."""
        deadline = trio.current_time() + PATIENCE
        while True:
            answer: dict[str, Any] = await host.ask(question)
            if expected.items() <= answer.items():
                return answer
            assert trio.current_time() < deadline, answer
            await trio.sleep(0.1)

    async def presented(self) -> None:
        """Wait until a refresh token has arrived at the server."""
        before = len(self.server.ledger.presented)
        with trio.fail_after(PATIENCE):
            # The ledger has no event.
            while len(self.server.ledger.presented) == before:  # noqa: ASYNC110
                await trio.sleep(0.01)


@asynccontextmanager
async def forwarding(path: Path, port: int) -> AsyncGenerator[None, None]:
    """Hand on what arrives at a Unix socket, which all network namespaces share."""
    listener = trio.socket.socket(socket.AF_UNIX)
    with listener:
        await listener.bind(str(path))
        listener.listen()
        serve = partial(trio.serve_listeners, partial(_forward, port))
        async with trio.open_nursery() as nursery:
            # The socket listens already.
            nursery.start_soon(serve, [trio.SocketListener(listener)])  # noqa: ASYNC113
            yield
            nursery.cancel_scope.cancel()


async def _forward(port: int, near: trio.SocketStream) -> None:
    async with await trio.open_tcp_stream("127.0.0.1", port) as far, trio.open_nursery() as nursery:
        nursery.start_soon(_copy, near, far)
        await _copy(far, near)
        nursery.cancel_scope.cancel()


async def _copy(source: trio.SocketStream, target: trio.SocketStream) -> None:
    try:
        async for part in source:
            await target.send_all(part)
        await target.send_eof()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass


@asynccontextmanager
async def two_hosts(folder: Path, lease: float) -> AsyncGenerator[Pair, None]:
    server = AuthServer()
    async with AsyncExitStack() as stack:
        links = stack.enter_context(hosts(2))
        addresses = " ".join(link.address for link in links)
        redis = stack.enter_context(
            redis_server(folder, f"bind 127.0.0.1 {addresses}", "protected-mode no")
        )
        url = await stack.enter_async_context(server.serve())
        path = folder / "server"
        await stack.enter_async_context(forwarding(path, int(url.rpartition(":")[2])))
        programs = [
            await stack.enter_async_context(
                helper(
                    "tests.fleet.host",
                    prefix=link.prefix,
                    url=url,
                    token_url=server.token_url,
                    socket=str(path),
                    redis=f"redis://{link.address}:{redis.port}",
                    lease=lease,
                    patience=TIMEOUT,
                )
            )
            for link in links
        ]
        for program in programs:
            assert await program.hear() == "open"
        pair = Pair(server, programs[0], programs[1], links[0])
        await pair.log_in(pair.first)
        for program in programs:
            await pair.until(program, "get", status=200, generation=1)
        yield pair
        links[0].heal()
        for program in programs:
            assert await program.stop() == "closed"


async def test_p32_host_that_is_cut_off_goes_on_refreshes_nothing_and_takes_the_newer_tokens_later(
    tmp_path: Path,
) -> None:
    async with two_hosts(tmp_path, LONG) as pair:
        server = pair.server
        pair.link.cut()
        refused = await pair.first.ask("refresh")
        # It says why, and the token that it has is still good.
        assert refused["error"] == "RefreshUnavailableError"
        assert pair.link.address in refused["words"]
        assert any(line.startswith("RefreshFailed") for line in refused["told"])
        assert (await pair.first.ask("get"))["generation"] == 1
        assert server.ledger.presented == []
        # The other one goes on as ever.
        assert (await pair.second.ask("refresh"))["generation"] == 2
        assert (await pair.first.ask("get"))["generation"] == 1
        # Not even a 401 lets it spend a token that it could not lock for.
        server.expire()
        assert (await pair.first.ask("get"))["error"] == "RefreshUnavailableError"
        assert (await pair.second.ask("get"))["generation"] == 3
        pair.link.heal()
        healed = await pair.until(pair.first, "get", status=200)
        assert healed["generation"] == 3
        assert len(server.ledger.presented) == server.ledger.refreshes == 2
        assert server.ledger.repeats == 0


async def test_p31_host_that_is_cut_off_in_mid_refresh_saves_when_the_link_is_back_in_time(
    tmp_path: Path,
) -> None:
    async with two_hosts(tmp_path, LONG) as pair:
        server = pair.server
        server.delay(0.5)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pair.first.ask, "refresh")
            await pair.presented()
            pair.link.cut()
        # It has the new tokens, and goes on with them.
        after = await pair.first.ask("get")
        assert after["generation"] == 2
        # The other one can't have the lock: it leaves the spent token alone.
        assert (await pair.second.ask("refresh"))["error"] == "RefreshUnavailableError"
        assert (await pair.second.ask("get"))["generation"] == 1
        pair.link.heal()
        await pair.until(pair.second, "refresh", generation=2)
        assert (await pair.second.ask("get"))["generation"] == 2
        assert [each.outcome for each in server.ledger.presented] == ["rotated"]


async def test_p31_host_that_is_cut_off_in_mid_refresh_for_longer_than_the_lease_costs_one_log_out(
    tmp_path: Path,
) -> None:
    async with two_hosts(tmp_path, SHORT) as pair:
        server = pair.server
        server.delay(0.5)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pair.first.ask, "refresh")
            await pair.presented()
            pair.link.cut()
        # When the lease has ended, the other one finds the spent token in the store.
        await pair.until(pair.second, "refresh", error="LoggedOutError")
        pair.link.heal()
        await pair.until(pair.first, "get", error="LoggedOutError")
        assert [each.outcome for each in server.ledger.presented] == ["rotated", "reused"]
        # One log-out and no loop: a new login works on both.
        await pair.log_in(pair.second)
        for host in (pair.first, pair.second):
            await pair.until(host, "get", status=200, login=2)
        await pair.until(pair.second, "refresh")
        for host in (pair.first, pair.second):
            await pair.until(host, "get", status=200, login=2, generation=2)
        assert len(server.ledger.presented) == 3
