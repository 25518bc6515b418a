"""Lookups: connecting by name while all of trio's threads are busy."""

from __future__ import annotations

import math
import socket
from functools import partial
from typing import TYPE_CHECKING, Any, final

import httpcore
import trio

if TYPE_CHECKING:
    from collections.abc import Iterable

# How many names can be looked up at once.
_THREADS = 4


@final
class Lookups(httpcore.AsyncNetworkBackend):
    """A network backend for httpcore that connects also while all of trio's threads are busy.

    1. While a thread of trio is free, trio looks the name up, and connects to the address that
       answers first (RFC 8305).
    2. If all are busy, they may be waiting for the tokens that we are about to fetch. Then the name
       is looked up in a thread of our own, and its addresses are tried in turn.
    """

    def __init__(self, backend: httpcore.AsyncNetworkBackend) -> None:
        self._backend = backend
        self._threads = trio.CapacityLimiter(_THREADS)

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # the interface
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to a host.

        Cancellation:
          Safe. There is no connection then.
        """
        options: dict[str, Any] = {
            "port": port,
            "local_address": local_address,
            "socket_options": socket_options,
        }
        # No other task can take that thread: trio takes it before its next checkpoint.
        if trio.to_thread.current_default_thread_limiter().available_tokens > 0:
            return await self._backend.connect_tcp(host, timeout=timeout, **options)
        deadline = trio.current_time() + (math.inf if timeout is None else timeout)
        addresses = await self._look_up(host, port, deadline)
        for left in range(len(addresses), 1, -1):
            share = (deadline - trio.current_time()) / left
            try:
                return await self._backend.connect_tcp(addresses[-left], timeout=share, **options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        share = deadline - trio.current_time()
        return await self._backend.connect_tcp(addresses[-1], timeout=share, **options)

    async def _look_up(self, host: str, port: int, deadline: float) -> list[str]:
        """Return the addresses of a host, each once; raise what httpcore's own backend raises."""
        look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        try:
            with trio.fail_at(deadline):
                found = await trio.to_thread.run_sync(
                    look_up, abandon_on_cancel=True, limiter=self._threads
                )
        except trio.TooSlowError as exc:
            raise httpcore.ConnectTimeout(f"no address of {host} was found in time") from exc
        except OSError as exc:
            raise httpcore.ConnectError(str(exc)) from exc
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    async def connect_unix_socket(self, *args: Any, **options: Any) -> httpcore.AsyncNetworkStream:
        """Connect to a socket in the file system.

        Cancellation:
          Safe. There is no connection then.
        """
        return await self._backend.connect_unix_socket(*args, **options)

    async def sleep(self, seconds: float) -> None:
        """Sleep.

        Cancellation:
          Safe.
        """
        await self._backend.sleep(seconds)
