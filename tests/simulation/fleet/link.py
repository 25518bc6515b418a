"""Link: how a host reaches the simulated server, in place of the connections of `RedisStore`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import trio

from trioauth import RedisStore, StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.simulation.ledger import Stay
    from tests.simulation.weather import Weather
    from trioauth.stores.redis.scripts import Script

    from .redis import Redis
    from .world import FleetWorld

# How late a hint may be.
_HINT = 0.05


@attrs.define(eq=False)
class _Command:
    """Something that is asked of the server."""

    work: Callable[[], Any]
    arrives: float
    trouble: str = ""
    done: trio.Event = attrs.field(factory=trio.Event)
    answer: Any = None


@attrs.define(eq=False)
class Link:
    """One host's connection. It has the methods of `Connected` and `Routes` that are called."""

    redis: Redis
    weather: Weather
    stay: Stay
    world: FleetWorld
    nursery: trio.Nursery
    """Of the world: what was sent arrives, even if the host is left."""
    own: trio.Nursery
    """Of the host."""
    cut_until: float = 0.0
    failed_at: float = -1.0
    """When the last task gave up that waited for an answer."""
    listening: bool = False
    running: int = 0
    _idle: trio.Event = attrs.field(factory=trio.Event)
    store: RedisStore = attrs.field(init=False)
    _queue: trio.MemorySendChannel[_Command] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._queue, receive = trio.open_memory_channel[_Command](1_000_000)
        self.nursery.start_soon(self._carry, receive)
        self.store = RedisStore(
            "redis://sim", prefix="sim:", lease=self.world.lease, timeout=self.world.store_timeout
        )
        # What entering it does, but for the connection.
        self.store._was_open, self.store._open = True, self  # type: ignore[assignment]

    async def close(self) -> None:
        """Let leases be released, for a second at most, as `Connected` does; carry nothing more."""
        self.store._open = None
        with trio.move_on_after(1, shield=True):
            await trio.lowlevel.checkpoint()
            while self.running:
                self._idle = trio.Event()
                await self._idle.wait()
        self.own.cancel_scope.cancel()
        self._queue.close()

    @property
    def _is_cut(self) -> bool:
        return trio.current_time() < self.cut_until and not self.weather.cleared.is_set()

    def cut(self, seconds: float) -> None:
        """Carry nothing for a while; then say that hints may have been missed."""
        self.cut_until = max(self.cut_until, trio.current_time() + seconds)
        self.nursery.start_soon(self._heal, self.cut_until)

    async def _heal(self, until: float) -> None:
        with trio.move_on_at(until):
            await self.weather.cleared.wait()
        self.store._hints.give(None)

    # --- as Connected --------------------------------------------------------------------------

    @property
    def routes(self) -> Link:
        return self

    def check_run(self) -> None:
        pass

    def listen(self) -> None:
        self.listening = True

    def start(self, work: Callable[[], Awaitable[object]]) -> None:
        self.running += 1
        self.own.start_soon(self._do, work)

    async def _do(self, work: Callable[[], Awaitable[object]]) -> None:
        try:
            await work()
        finally:
            self.running -= 1
            self._idle.set()

    # --- as Routes -----------------------------------------------------------------------------

    async def run(
        self, tag: str, talk: Callable[[Any], Awaitable[Any]], *, alone: bool = False
    ) -> Any:
        """Have a request sent, with one deadline."""
        with trio.move_on_after(self.world.store_timeout):
            return await talk(_Wire(self))
        raise StoreError("the simulated server gave no answer")

    async def ask(self, work: Callable[[], Any]) -> Any:
        """Send something. What is sent is done, even if the task that waits for it is cancelled."""
        trouble = self.weather.strike("store", ("mute", "twice", "slow"))
        what = "" if trouble is None else trouble.what
        if trouble is not None:
            self.redis.ledger.count(f"store:{what}")
        late = 0.3 if trouble is not None and what == "slow" else 0.0
        command = _Command(work, trio.current_time() + self.world.store_latency + late, what)
        try:
            if self._is_cut:
                await trio.sleep_forever()
            self._queue.send_nowait(command)
            await command.done.wait()
        finally:
            if not command.done.is_set():
                self.failed_at = trio.current_time()
        return command.answer

    async def _carry(self, commands: trio.MemoryReceiveChannel[_Command]) -> None:
        async for command in commands:
            await trio.sleep_until(command.arrives)
            while (
                trio.current_time() < self.redis.frozen_until and not self.weather.cleared.is_set()
            ):
                with trio.move_on_at(self.redis.frozen_until):
                    await self.weather.cleared.wait()
            if self._is_cut:
                continue
            command.answer = command.work()
            if command.trouble == "twice":
                command.answer = command.work()
            if command.trouble != "mute":
                command.done.set()

    def hint(self, key: str) -> None:
        """Tell the host that a record has changed, unless that is lost."""
        if not self.listening or self._is_cut:
            return
        if self.weather.strike("store", ("hint_lost",)) is not None:
            self.redis.ledger.count("store:hint_lost")
            return
        self.nursery.start_soon(self._tell, key)

    async def _tell(self, key: str) -> None:
        await trio.sleep(_HINT)
        self.store._hints.give(key)


@attrs.frozen
class _Wire:
    """What one request is sent on, as `Wire`."""

    link: Link

    async def send(self, command: bytes, *arguments: str) -> Any:
        assert command == b"HMGET", command
        name = arguments[0]
        return await self.link.ask(partial(self.link.redis.get, name))

    async def run(self, script: Script, keys: tuple[str, ...], arguments: list[str]) -> Any:
        link = self.link
        return await link.ask(partial(link.redis.run, link.stay, script, keys, arguments))
