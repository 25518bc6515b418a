"""Play a fleet on virtual time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import attrs
import httpx
import httpx2
import trio
import trio.testing

from tests.simulation.ledger import Ledger, Stay
from tests.simulation.run import Failures, LeaveError, Result, gather
from tests.simulation.server import API, ID, Server
from tests.simulation.weather import Weather, clocks_of
from tests.simulation.wire import Httpx2Transport, HttpxTransport
from tests.simulation.world import Step, Trouble
from trioauth import Record, RefreshTokenGrant, open_sessions
from trioauth.testing._scheduler import seeded

from .guests import Guest
from .judge import FleetJudge
from .link import Link
from .redis import Redis
from .world import MOMENTS, FleetWorld, Host, KeyedTask, draw, name_of

if TYPE_CHECKING:
    from collections import Counter

    from tests.simulation.world import Visit
    from trioauth import Sessions

# Beyond this, something hangs.
_LONGEST = 3000.0
# What the first tries after the weather has cleared may take.
_SETTLED = 6.0
# What it takes until a hint has come and a host has looked.
_TOLD = 3.0
# The longest pause before what could not be saved is saved again, and then a look at the queue.
_SAVED_AGAIN = 310.0
# What leaving may take beyond `close_grace`: releasing leases, closing connections.
_GOODBYE = 2.0


@attrs.frozen(eq=False)
class Seat:
    """A host that is open."""

    stay: Stay
    host: Host
    sessions: Sessions
    client: Any
    tasks: int
    """How many tasks it has in the background, without any login."""


def play(world: FleetWorld) -> Result:
    """Run a world from its beginning to its end."""
    ledger = Ledger()
    with seeded(world.seed):
        trio.run(_Stage(world, ledger).play, clock=trio.testing.MockClock(autojump_threshold=0))
    ledger.count("worlds")
    return Result(world, tuple(ledger.violations), ledger.counts, ledger)


def play_range(seeds: range) -> tuple[Counter[str], Failures]:
    """Play the worlds of some seeds; return what was covered, and what was violated."""
    return gather(seeds, lambda seed: play(draw(seed)))


@attrs.define(eq=False)
class _Stage:
    """A world while it is played."""

    world: FleetWorld
    ledger: Ledger
    weather: Weather = attrs.field(init=False)
    judge: FleetJudge = attrs.field(init=False)
    server: Server = attrs.field(init=False)
    redis: Redis = attrs.field(init=False)
    links: list[Link] = attrs.field(factory=list)
    seats: dict[int, Seat] = attrs.field(factory=dict)
    keys: list[str] = attrs.field(init=False)
    nursery: trio.Nursery = attrs.field(init=False)
    end: trio.Event = attrs.field(factory=trio.Event)

    async def play(self) -> None:
        """Play it."""
        world = self.world
        self.weather = Weather(world.troubles, MOMENTS)
        self.judge = FleetJudge(self.ledger, self.weather)
        self.server = Server(world.servers, self.ledger, self.weather, self.judge, world.cookies)
        self.redis = self.judge.redis = Redis(self.ledger, self.judge)
        self.redis.published = self._published
        self.keys = [name_of(number) for number in range(world.keys)]
        if world.prefilled:
            for key in self.keys:
                self._prefill(key)
        with trio.move_on_after(_LONGEST) as patience, clocks_of(self.weather):
            async with trio.open_nursery() as self.nursery:
                self.nursery.start_soon(self._sudden)
                for number in range(len(world.programs)):
                    self.nursery.start_soon(self._host, number)
                async with trio.open_nursery() as tasks:
                    for number, task in enumerate(world.tasks):
                        assert isinstance(task, KeyedTask)
                        tasks.start_soon(self._task, number, task)
                    await trio.sleep(world.horizon)
                    self.weather.cleared.set()
                    self.ledger.note("world", "the weather clears")
                await self._settle()
                self.end.set()
        if patience.cancelled_caught:
            self.ledger.violate("P20", "something never ended")

    def _prefill(self, key: str) -> None:
        tokens = self.server.sign_in(None, key)
        assert tokens.expires_in is not None
        expires = self.weather.wall() + tokens.expires_in
        self.judge.saved[tokens.access_token] = 0.0
        self.redis.prefill(key, Record(1, tokens, login=f"before {key}", expires_at_unix=expires))

    def _published(self, key: str) -> None:
        for link in self.links:
            link.hint(key)

    async def _sudden(self) -> None:
        for trouble in self.weather.sudden():
            await trio.sleep_until(trouble.at)
            if self.weather.cleared.is_set():
                return
            self.ledger.note("world", trouble.where, trouble.what, trouble.amount)
            self.ledger.count(f"{trouble.where}:{trouble.what}")
            self._befall(trouble)

    def _befall(self, trouble: Trouble) -> None:
        match trouble.what:
            case "pause":
                self.redis.freeze(trouble.amount + self.world.lease * (trouble.times % 2))
            case "failover" | "failover_save":
                self.redis.fall_back(to_save=trouble.what == "failover_save")
            case "forget":
                self.redis.forget()
            case "cut":
                if self.links:
                    self.links[trouble.times % len(self.links)].cut(trouble.amount)
            case "stop":
                clock = trio.lowlevel.current_clock()
                assert isinstance(clock, trio.testing.MockClock)
                self.weather.stop(trouble, clock)
            case _:
                self.server.sudden(trouble)

    # --- the end ---------------------------------------------------------------------------------

    async def _settle(self) -> None:
        """See that all works, now that the weather has cleared, and that nothing is left."""
        self.server.spec = attrs.evolve(self.server.spec, latency=0.0, api_latency=0.0)
        longest = max(host.policy.timeout + host.policy.cooldown for host in self.world.programs)
        await trio.sleep(_SETTLED + longest + min(self.world.lease, 120) + self.world.store_timeout)
        guests = [
            self._guest(f"final{number}", key, Step("get", 0, None, 0), seat)
            for number, seat in sorted(self.seats.items())
            for key in self.keys
        ]
        if len(self.seats) < len(self.world.programs):
            self.ledger.violate("P20", "a host is not open although the weather is fair")
        for guest in guests:
            try:
                await guest.works()
            except Exception as exc:
                self.ledger.violate("P32", f"{guest.id}: a final request raised {exc!r}")
        try:
            await self._spread(guests)
        except trio.ClosedResourceError:
            self.ledger.violate("P20", "the sessions of a host were closed, and not by the host")
        await self._rest()

    async def _spread(self, guests: list[Guest]) -> None:
        """P31: a log-out spreads to all, and so does the login after it."""
        first = {guest.key: guest for guest in reversed(guests)}
        # Until all know of the same login.
        await trio.sleep(_TOLD)
        for guest in first.values():
            await guest._log_out()
        await trio.sleep(_TOLD)
        for guest in guests:
            if not await guest.is_logged_out():
                self.ledger.violate("P31", f"{guest.id} does not know of the log-out")
        for guest in first.values():
            await guest._log_in()
        await trio.sleep(_TOLD)
        for guest in guests:
            if await guest.is_logged_out():
                self.ledger.violate("P31", f"{guest.id} does not know of the login")

    async def _rest(self) -> None:
        """P33: an idle login costs only its record."""
        await trio.sleep(max((seat.host.idle for seat in self.seats.values()), default=0.0) + 2)
        if any(seat.sessions.statistics().in_memory for seat in self.seats.values()):
            await trio.sleep(_SAVED_AGAIN)
        for seat in self.seats.values():
            left, name = seat.sessions.statistics(), seat.stay.name
            if left.in_memory:
                self.ledger.violate("P33", f"{name} keeps {left.in_memory} logins that are idle")
            tasks = len(seat.sessions._members.nursery.child_tasks)
            if tasks > seat.tasks:
                self.ledger.violate("P33", f"{name} has {tasks} tasks for logins that are idle")
            self.ledger.count("sessions dropped when idle", left.dropped)

    # --- tasks -----------------------------------------------------------------------------------

    async def _task(self, number: int, task: KeyedTask) -> None:
        await trio.sleep_until(task.start)
        for step_number, step in enumerate(task.steps):
            await trio.sleep(step.after)
            seat = self.seats.get(task.program)
            if seat is None or seat.stay.closing_at is not None:
                self.ledger.count("steps without a host")
                continue
            key = self.keys[task.key]
            await self._guest(f"t{number}.{step_number}", key, step, seat).act()

    def _guest(self, name: str, key: str, step: Step, seat: Seat) -> Guest:
        return Guest(
            f"{key}/{name}",
            key,
            step,
            seat.stay,
            seat.sessions,
            seat.client,
            seat.host.idle,
            self.ledger,
            self.judge,
            self.server,
        )

    # --- hosts -----------------------------------------------------------------------------------

    async def _host(self, number: int) -> None:
        host = self.world.programs[number]
        assert isinstance(host, Host)
        for visit_number, visit in enumerate(host.visits):
            await trio.sleep(visit.after)
            stay, left = Stay(f"h{number}.{visit_number}", host, number), LeaveError()
            self.ledger.stays.append(stay)
            try:
                with trio.CancelScope() as scope:
                    await self._stay(stay, visit, scope, left)
            except LeaveError as exc:
                if exc is not left:
                    self.ledger.violate("P19", f"{stay.name} ends with another exception")
            except Exception as exc:
                self.ledger.violate("P19", f"{stay.name} ends with {exc!r}")
            stay.over = True
            self._left(stay)

    async def _stay(
        self, stay: Stay, visit: Visit, scope: trio.CancelScope, left: LeaveError
    ) -> None:
        async with trio.open_nursery() as own:
            link = Link(self.redis, self.weather, stay, self.world, self.nursery, own)
            self.judge.links[stay] = link
            self.links.append(link)
            failure: BaseException | None = None
            try:
                await self._visit(stay, visit, link)
                if visit.stay is not None and visit.leave == "raise":
                    failure = left
            finally:
                self.links.remove(link)
                await link.close()  # noqa: ASYNC102  # shielded, and bounded, inside
        if failure is not None:
            raise failure

    async def _visit(self, stay: Stay, visit: Visit, link: Link) -> None:
        host = stay.program
        assert isinstance(host, Host)
        grant = RefreshTokenGrant(
            f"{ID}/token", client_id="sim", revocation_endpoint=f"{ID}/revoke"
        )
        with trio.CancelScope() as scope:
            async with open_sessions(
                grant,
                store=link.store,
                base_url=API,
                idle=host.idle,
                max_asking=host.max_asking,
                cookies=self.world.cookies,
                policy=host.policy,
                observers=[lambda event: self._observe(stay, event)],
                transport=HttpxTransport(self.server, stay),
                follow_redirects=True,
            ) as sessions:
                self.judge.sessions[stay] = sessions
                client = sessions.attach(self._client(stay))
                await trio.testing.wait_all_tasks_blocked()
                tasks = len(sessions._members.nursery.child_tasks)
                self.seats[stay.number] = Seat(stay, host, sessions, client, tasks)
                self.ledger.count("hosts opened")
                try:
                    with trio.move_on_after(visit.stay if visit.stay is not None else math.inf):
                        await (self.end if visit.stay is None else self.weather.cleared).wait()
                finally:
                    stay.closing_at = trio.current_time()
                    self.ledger.note(stay.name, "is left")
                    del self.seats[stay.number]
                if visit.stay is not None and visit.leave == "cancel":
                    self.ledger.count("left by cancel")
                    scope.cancel()
                    await trio.sleep_forever()

    def _client(self, stay: Stay) -> Any:
        if stay.program.client == "httpx2":
            transport = Httpx2Transport(self.server, stay)
            return httpx2.AsyncClient(base_url=API, transport=transport, follow_redirects=True)
        return httpx.AsyncClient(
            base_url=API, transport=HttpxTransport(self.server, stay), follow_redirects=True
        )

    def _observe(self, stay: Stay, event: Any) -> None:
        try:
            self.judge.event(stay, event)
        except Exception as exc:
            # The library only logs what an observer raises.
            self.ledger.violate("simulation", f"the judge raised {exc!r} about {event!r}")

    def _left(self, stay: Stay) -> None:
        self.ledger.note(stay.name, "is closed")
        if stay.closing_at is None:
            return
        took = trio.current_time() - stay.closing_at
        if self.weather.stops == 0 and took > stay.program.policy.close_grace + _GOODBYE:
            self.ledger.violate("P8", f"leaving {stay.name} took {took:.2f} s")
        if any(not each.over for each in self.ledger.presentations if each.stay is stay):
            self.ledger.violate("P8", f"{stay.name} left a refresh running")
