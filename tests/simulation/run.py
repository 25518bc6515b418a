"""Play a world on virtual time."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
import httpx
import httpx2
import trio
import trio.testing

from trioauth import (
    Record,
    RefreshTokenGrant,
    RefreshUnavailableError,
    StoreError,
    open_session,
)
from trioauth._http.limiter import Limiter
from trioauth.testing._scheduler import seeded

from .actors import Actor, final_request
from .invariants import Judge
from .ledger import Ledger, Stay
from .server import API, ID, Server
from .store import Handle, Store
from .stubborn import Pool, Stubborn
from .weather import Weather, clocks_of
from .wire import Httpx2Transport, HttpxTransport
from .world import Program, Step, Task, Visit, World, draw

if TYPE_CHECKING:
    from trioauth import Session

Failures: TypeAlias = dict[int, tuple[str, ...]]
"""What was violated, by the seed of the world."""

# Beyond this, something hangs: the longest Retry-After is 300 s, the longest deadline 30 s.
_LONGEST = 1000.0
_TINY = 1e-6
# What leaving may take beyond `close_grace`, to close connections.
_GOODBYE = 1.0
# What the first tries after the weather has cleared may take.
_SETTLED = 6.0
# The longest pause before what could not be saved is saved again.
_SAVED_AGAIN = 301.0


@attrs.frozen
class Result:
    """What came of a world."""

    world: World
    violations: tuple[str, ...]
    counts: Counter[str]
    ledger: Ledger = attrs.field(repr=False)

    @property
    def log(self) -> str:
        """All that happened, line by line."""
        return self.ledger.text()


class Interrupt(BaseException):
    """What an observer raises, as Control-C would in it."""


class LeaveError(Exception):
    """What a body raises to leave its session."""


def play(world: World) -> Result:
    """Run a world from its beginning to its end."""
    ledger = Ledger()
    with seeded(world.seed):
        trio.run(_Stage(world, ledger).play, clock=trio.testing.MockClock(autojump_threshold=0))
    ledger.count("worlds")
    return Result(world, tuple(ledger.violations), ledger.counts, ledger)


@attrs.define(eq=False)
class _Stage:
    """A world while it is played."""

    world: World
    ledger: Ledger
    weather: Weather = attrs.field(init=False)
    judge: Judge = attrs.field(init=False)
    server: Server = attrs.field(init=False)
    stores: list[Store] = attrs.field(init=False)
    seats: list[tuple[Stay, Any] | None] = attrs.field(init=False)
    """For each program the session that is open, and its client."""
    end: trio.Event = attrs.field(factory=trio.Event)

    async def play(self) -> None:
        """Play it."""
        world = self.world
        self.weather = Weather(world.troubles)
        self.judge = Judge(self.ledger, self.weather, world.servers.lifetime)
        self.server = Server(world.servers, self.ledger, self.weather, self.judge)
        shared = Store(self.ledger, self.weather)
        self.stores = [
            shared if world.shared else Store(self.ledger, self.weather) for _ in world.programs
        ]
        for number, store in enumerate(self.stores):
            stranger = world.programs[number].stranger
            store.mixed |= any(
                other is store and program.stranger != stranger
                for other, program in zip(self.stores, world.programs, strict=True)
            )
        self.seats = [None] * len(world.programs)
        if world.prefilled:
            for store in dict.fromkeys(self.stores):
                self._prefill(store)
        with trio.move_on_after(_LONGEST) as patience, clocks_of(self.weather):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._sudden)
                for number in range(len(world.programs)):
                    nursery.start_soon(self._program, number, name=f"p{number}")
                for number, task in enumerate(world.tasks):
                    nursery.start_soon(self._task, number, task, name=f"t{number}")
                await trio.sleep(world.horizon)
                await self._settle()
                self.end.set()
        if patience.cancelled_caught:
            self.ledger.violate("P20", "something never ended")
        self.judge.at_end()

    def _prefill(self, store: Store) -> None:
        tokens = self.server.sign_in(None)
        assert tokens.expires_in is not None
        expires = self.weather.wall() + tokens.expires_in
        store.put(Record(1, tokens, login="before", expires_at_unix=expires))

    def _remade(self, store: Store) -> None:
        tokens = self.server.sign_in(None)
        assert tokens.expires_in is not None
        expires = self.weather.wall() + tokens.expires_in
        name = f"remade at {trio.current_time()}"
        store.remade.add(self.ledger.by_access[tokens.access_token].login)
        store.remake(Record(1, tokens, login=name, expires_at_unix=expires))

    async def _sudden(self) -> None:
        for trouble in self.weather.sudden():
            await trio.sleep_until(trouble.at)
            if self.weather.cleared.is_set():
                return
            self.ledger.note("world", trouble.where, trouble.what, trouble.amount)
            self.ledger.count(f"{trouble.where}:{trouble.what}")
            match trouble.where:
                case "wall":
                    self.weather.jump(trouble)
                case "process":
                    clock = trio.lowlevel.current_clock()
                    assert isinstance(clock, trio.testing.MockClock)
                    self.weather.stop(trouble, clock)
                case "server":
                    self.server.sudden(trouble)
                case _ if trouble.what == "remade":
                    self._remade(self.stores[trouble.times % len(self.stores)])
                case _:
                    self.stores[trouble.times % len(self.stores)].lose()

    async def _settle(self) -> None:
        """Let the weather clear, wait until everybody may ask again, and see that all works."""
        self.weather.cleared.set()
        self.ledger.note("world", "the weather clears")
        self.server.spec = attrs.evolve(self.server.spec, latency=0.0, api_latency=0.0)
        longest = max(program.policy.timeout for program in self.world.programs)
        await trio.sleep(_SETTLED + longest)
        for _ in range(60):
            # One that is being left may wait for its grant, and is opened anew. A grant that can't
            # be cancelled holds the lock until its answer comes.
            seated = all(seat is not None and seat[0].open for seat in self.seats)
            if seated and all(each.over for each in self.ledger.presentations):
                break
            await trio.sleep(1)
        # Who waits may fail once more, and ask for more time.
        while self.judge.quiet_until() > trio.current_time():  # noqa: ASYNC110  # a clock, no event
            await trio.sleep_until(self.judge.quiet_until())
        await trio.sleep(1)
        for number, seat in enumerate(self.seats):
            if seat is None and self.stores[number].mixed:
                self.ledger.count("kept out by another client's record")
            elif seat is None:
                self.ledger.violate("P20", f"program {number} could not open its session")
            else:
                actor = self._actor(f"final{number}", Step("get", 0, None, 0), *seat)
                try:
                    await final_request(actor)
                except Exception as exc:
                    # Where a wall clock was set back, the pause that a record asks for begins anew.
                    pause = isinstance(exc, RefreshUnavailableError) and self.weather.doubtful
                    if not pause:
                        self.ledger.violate("P14", f"a final request raised {exc!r}")
                # Where another client's record is in the way, nothing is ever saved.
                if not self.stores[number].mixed and not await self._saved(actor):
                    self.ledger.violate(
                        "P7", f"what {seat[0].name} could not save is not saved yet"
                    )

    async def _saved(self, actor: Actor) -> bool:
        """Say whether all is saved, after the longest pause at the latest."""
        if not actor.session.statistics().saved:
            await trio.sleep(_SAVED_AGAIN)
        return actor.session.statistics().saved

    # --- tasks -----------------------------------------------------------------------------------

    async def _task(self, number: int, task: Task) -> None:
        await trio.sleep_until(task.start)
        for step_number, step in enumerate(task.steps):
            await trio.sleep(step.after)
            seat = self.seats[task.program]
            if seat is None or not seat[0].open:
                self.ledger.count("steps without a session")
                continue
            await self._actor(f"t{number}.{step_number}", step, *seat).act()

    def _actor(self, name: str, step: Step, stay: Stay, client: Any) -> Actor:
        assert stay.session is not None
        return Actor(name, step, stay, stay.session, client, self.ledger, self.judge, self.server)

    # --- programs --------------------------------------------------------------------------------

    async def _program(self, number: int) -> None:
        program = self.world.programs[number]
        for visit_number, visit in enumerate(program.visits):
            await trio.sleep(visit.after)
            stay = Stay(f"p{number}.{visit_number}", program, number)
            if not await self._visit(stay, visit) and visit.stay is None:
                # Its store failed. Later it does not.
                await self.weather.cleared.wait()
                await self._visit(Stay(f"p{number}.last", program, number), visit)

    async def _visit(self, stay: Stay, visit: Visit) -> bool:
        self.ledger.stays.append(stay)
        self.judge.stores[stay.name] = self.stores[stay.number]
        left, interrupted = LeaveError(), False
        try:
            with trio.CancelScope() as scope:
                await self._stay(stay, visit, scope, left)
        except LeaveError as exc:
            if exc is not left:
                self.ledger.violate("P19", f"{stay.name} ends with another exception")
        except (StoreError, OSError) as exc:
            if stay.session is not None:
                self.ledger.violate("P19", f"{stay.name} ends with {exc!r}")
            self.ledger.count("sessions that could not be opened")
        except Exception as exc:
            self.ledger.violate("P19", f"{stay.name} ends with {exc!r}")
        except BaseException as exc:  # noqa: ASYNC103  # but for what observers raise
            if self.judge.without_interrupts(exc) not in (None, left):
                raise
            self.ledger.count("sessions interrupted")
            interrupted = True
        stay.over = True
        self.seats[stay.number] = None
        self._left(stay)
        return stay.session is not None and not interrupted

    async def _stay(
        self, stay: Stay, visit: Visit, scope: trio.CancelScope, left: LeaveError
    ) -> None:
        tokens = self.server.sign_in(stay) if visit.fresh_login else None
        stay.log_ins += visit.fresh_login
        session: Session
        async with open_session(
            _grant(stay.program),
            tokens=tokens,
            store=Handle(self.stores[stay.number], stay),
            base_url=API,
            policy=stay.program.policy,
            observers=[lambda event: self._observe(stay, event)],
            transport=HttpxTransport(self.server, stay),
            follow_redirects=True,
        ) as session:
            stay.session = session
            self.ledger.note_held(stay)
            self.ledger.count("sessions opened")
            self.seats[stay.number] = (stay, self._client(stay, session))
            try:
                with trio.move_on_after(visit.stay or _LONGEST):
                    await (self.end if visit.stay is None else self.weather.cleared).wait()
            finally:
                self._leave(stay)
            if visit.stay is None or visit.leave == "return":
                return
            self.ledger.count(f"left by {visit.leave}")
            if visit.leave == "raise":
                raise left
            scope.cancel()
            await trio.sleep_forever()

    def _client(self, stay: Stay, session: Session) -> Any:
        match stay.program.client:
            case "own":
                if stay.program.slots is not None:
                    # What the session puts in front of a pool of httpx's own.
                    own: Any = session.http
                    pool: Any = Pool(own._transport)
                    own._transport = Limiter(pool, stay.program.slots, own._belonging)
                return session
            case "httpx":
                return session.attach(
                    httpx.AsyncClient(
                        base_url=API,
                        transport=HttpxTransport(self.server, stay),
                        follow_redirects=True,
                    )
                )
            case "httpx2":
                return session.attach(
                    httpx2.AsyncClient(
                        base_url=API,
                        transport=Httpx2Transport(self.server, stay),
                        follow_redirects=True,
                    )
                )

    def _observe(self, stay: Stay, event: Any) -> None:
        try:
            self.judge.event(stay, event)
        except Exception as exc:
            # The library only logs what an observer raises.
            self.ledger.violate("simulation", f"the judge raised {exc!r} about {event!r}")
        if self.weather.strike("observer") is not None:
            self.ledger.count("observer:interrupt")
            stay.interrupted_at = trio.current_time()
            self.ledger.note(stay.name, "is interrupted")
            raise Interrupt

    def _leave(self, stay: Stay) -> None:
        stay.closing_at = trio.current_time()
        self.ledger.note(stay.name, "is left")
        if any(not each.over for each in self.ledger.presentations if each.stay is stay):
            self.ledger.count("left with a refresh in the air")

    def _left(self, stay: Stay) -> None:
        self.ledger.note(stay.name, "is closed")
        if stay.closing_at is None:
            return
        took = trio.current_time() - stay.closing_at
        # A grant that can't be cancelled has to be waited for.
        bounded = self.weather.stops == 0 and not stay.program.stubborn
        if bounded and took > stay.program.policy.close_grace + _GOODBYE + _TINY:
            self.ledger.violate("P8", f"leaving {stay.name} took {took:.2f} s")
        if any(not each.over for each in self.ledger.presentations if each.stay is stay):
            self.ledger.violate("P8", f"{stay.name} left a refresh running")
        # A task of the program that logs in may be trying whether the store can be written.
        if self.stores[stay.number].owner is stay and not stay.changing:
            self.ledger.violate("P8", f"{stay.name} was left with the store's lock")


def _grant(program: Program) -> Any:
    client_id = "stranger" if program.stranger else "sim"
    grant = RefreshTokenGrant(
        f"{ID}/token", client_id=client_id, revocation_endpoint=f"{ID}/revoke"
    )
    return Stubborn(grant) if program.stubborn else grant


def play_range(seeds: range) -> tuple[Counter[str], Failures]:
    """Play the worlds of some seeds; return what was covered, and what was violated."""
    counts: Counter[str] = Counter()
    failures: Failures = {}
    for seed in seeds:
        result = play(draw(seed))
        counts.update(result.counts)
        if result.violations:
            failures[seed] = result.violations
    return counts, failures
