"""The fleet itself: start everything, disturb it, end it, and look at every login once more."""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import attrs
import trio

import trioauth
from tests.soak.process import Lines, helper
from trioauth import (
    LoggedOutError,
    RefreshPolicy,
    RefreshTokenGrant,
    RefreshUnavailableError,
    Tokens,
)

from .account import Account, Life
from .notes import Note, NotingGrant, NotingStores, Token
from .stores import Kind, open_store
from .worker import Options

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    import httpx

    from tests.soak.process import Helper
    from trioauth import KeyedStore

_ROOT = Path(__file__).parents[2]
_LIFETIME = 2.0
# How long the server takes to answer after it has rotated.
_DELAY = 0.05
_PIPE = 2**20
# How long a worker may take to end, and the fleet to be heard.
_PATIENCE = 120.0
# How many logins are begun, or looked at, at the same time.
_AT_ONCE = 10


@final
@attrs.frozen(kw_only=True)
class Plan:
    """What the command line says."""

    kind: Kind
    place: str
    """A path, or the URL of a Redis server."""
    seconds: float = 60.0
    keys: int = 200
    workers: int = 8
    tasks: int = 4
    pause: float = 0.2
    between: tuple[float, float] = (0.3, 1.2)
    """Seconds between what is done to two workers."""
    lease: float = 10.0
    """Seconds after which a lease ends."""
    seed: int = attrs.field(factory=lambda: random.randrange(2**32))


@final
@attrs.define(eq=False)
class Worker:
    """One process of the fleet, as seen from here."""

    number: int
    process: trio.Process
    notes: list[Note] = attrs.field(factory=list[Note], init=False)
    stops: list[tuple[float, float]] = attrs.field(factory=list[tuple[float, float]], init=False)
    killed: bool = attrs.field(default=False, init=False)
    told_to_end: bool = attrs.field(default=False, init=False)
    stopped: bool = attrs.field(default=False, init=False)
    gone: bool = attrs.field(default=False, init=False)
    spends: trio.Event = attrs.field(factory=trio.Event, init=False)
    """Set, and made anew, whenever it is about to send a refresh token."""

    def kill(self) -> None:
        if not self.gone:
            self.killed = True
            self.process.send_signal(signal.SIGKILL)

    def end(self) -> None:
        if not self.gone:
            self.told_to_end = True
            self.process.send_signal(signal.SIGTERM)

    async def stop(self, seconds: float) -> None:
        """Stop it for a while."""
        self.stopped, began = True, time.monotonic()
        self.process.send_signal(signal.SIGSTOP)
        try:
            await trio.sleep(seconds)
        finally:
            self.stopped = False
            if not self.gone:
                self.process.send_signal(signal.SIGCONT)
            self.stops.append((began, time.monotonic()))

    def life(self) -> Life:
        return Life(self.number, tuple(self.notes), self.killed, tuple(self.stops))


async def run_fleet(plan: Plan, tell: Callable[[str], object] = print) -> Account:
    """Run it.

    Cancellation:
      Safe. All processes are ended.
    """
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="trioauth-fleet-"))
        server = await stack.enter_async_context(
            helper("tests.fleet.server", lifetime=_LIFETIME, delay=_DELAY)
        )
        url, token_url = await server.hear()
        store = await stack.enter_async_context(open_store(plan.kind, plan.place, plan.lease))
        fleet = _Fleet(plan, server, url, token_url, store, Path(folder), tell)
        await fleet.log_in_all()
        await fleet.live()
        usable = await fleet.look()
        served = await server.stop()
    return Account(
        kind=plan.kind,
        seconds=plan.seconds,
        seed=plan.seed,
        lease=plan.lease if plan.kind == "redis" else float("inf"),
        keys=fleet.keys,
        lives=[*(worker.life() for worker in fleet.all), Life(0, tuple(fleet.own))],
        presented=[(login, number, outcome) for login, number, outcome in served["presented"]],
        refreshes=served["refreshes"],
        requests=served["requests"],
        orders=fleet.orders,
        usable=usable,
        problems=fleet.problems,
    )


@final
@attrs.define(eq=False)
class _Fleet:
    plan: Plan
    server: Helper
    url: str
    token_url: str
    store: KeyedStore
    folder: Path
    tell: Callable[[str], object]
    chance: random.Random = attrs.field(init=False)
    all: list[Worker] = attrs.field(factory=list[Worker], init=False)
    own: list[Note] = attrs.field(factory=list[Note], init=False)
    """What is done here, in this process."""
    keys: dict[int, str] = attrs.field(factory=dict[int, str], init=False)
    orders: Counter[str] = attrs.field(factory=Counter[str], init=False)
    problems: list[str] = attrs.field(factory=list[str], init=False)
    over: bool = attrs.field(default=False, init=False)
    _beginning: set[str] = attrs.field(factory=set[str], init=False)
    """The keys for which a new login is being begun."""

    def __attrs_post_init__(self) -> None:
        self.chance = random.Random(self.plan.seed)

    # --- logins ----------------------------------------------------------------------------

    @asynccontextmanager
    async def _session(self, key: str) -> AsyncGenerator[trioauth.Session, None]:
        store = NotingStores(self.store, self.own.append).at(key)
        grant = NotingGrant(RefreshTokenGrant(self.token_url, client_id="client"), self.own.append)
        # Longer than a lease: the one that was killed with the lock may just have got it.
        policy = RefreshPolicy(timeout=3 * self.plan.lease, cooldown=0.1)
        async with trioauth.open_session(
            grant, store=store, base_url=self.url, policy=policy
        ) as session:
            yield session

    async def log_in_all(self) -> None:
        """Begin a login for each key."""
        await self._for_each_key(self._log_in)

    async def _log_in(self, key: str) -> None:
        async with self._session(key) as session:
            if session.logged_in:
                return  # It has been begun anew already.
            access_token, refresh_token = await self.server.ask("log_in")
            tokens = Tokens(access_token, refresh_token, _LIFETIME)
            token = Token.of(tokens)
            assert token is not None
            self.keys[token.login] = key
            await session.log_in(tokens)

    async def _log_in_again(self, key: str) -> None:
        try:
            await self._log_in(key)
        finally:
            self._beginning.discard(key)

    async def look(self) -> dict[str, Token | None]:
        """Use each key once, when its access token has expired."""
        found: dict[str, Token | None] = {}

        async def use(key: str) -> None:
            try:
                async with self._session(key) as session:
                    answer = (await self._get(session, key)).json()
            except LoggedOutError:
                found[key] = None
            else:
                found[key] = Token(answer["login"], answer["generation"])

        await trio.sleep(_LIFETIME)
        await self._for_each_key(use)
        return found

    @staticmethod
    async def _get(session: trioauth.Session, key: str) -> httpx.Response:
        """Ask again while no token can be had: a token is left alone after a lost answer (P5)."""
        with trio.fail_after(_PATIENCE):
            while True:
                try:
                    return await session.get(f"/{key}")
                except RefreshUnavailableError:
                    await trio.sleep(0.5)

    async def _for_each_key(self, do: Callable[[str], Any]) -> None:
        places = trio.CapacityLimiter(_AT_ONCE)

        async def one(key: str) -> None:
            async with places:
                await do(key)

        async with trio.open_nursery() as nursery:
            for number in range(self.plan.keys):
                nursery.start_soon(one, str(number))

    # --- workers ---------------------------------------------------------------------------

    async def live(self) -> None:
        """Let the workers work, and disturb them, for as long as the plan says."""
        with (self.folder / "stderr").open("ab") as errors:
            async with trio.open_nursery() as nursery:
                for number in range(self.plan.workers):
                    nursery.start_soon(self._place, number, errors, nursery)
                await self._wait_ready()
                async with trio.open_nursery() as disturbing:
                    disturbing.start_soon(self._disturb, disturbing)
                    await trio.sleep(self.plan.seconds)
                    disturbing.cancel_scope.cancel(reason="the time is over")
                self.over = True
                for worker in self._there():
                    worker.end()
                await self._wait_ended()
                nursery.cancel_scope.cancel(reason="some workers did not end")

    async def _wait_ready(self) -> None:
        """Wait until all work: on a busy machine that takes as long as the whole test elsewhere."""
        with trio.fail_after(_PATIENCE):
            # An event for each worker would say no more.
            while not self.all or not all(each.notes for each in self.all):  # noqa: ASYNC110
                await trio.sleep(0.05)

    async def _wait_ended(self) -> None:
        """Wait until all have ended. One that does not is a defect: it says where it is."""
        with trio.move_on_after(_PATIENCE):
            while self._there():  # noqa: ASYNC110  # see `_wait_ready`
                await trio.sleep(0.05)
            return
        for worker in self._there():
            if worker.notes:
                worker.process.send_signal(signal.SIGUSR1)
        await trio.sleep(1)
        for worker in self._there():
            self.problems.append(
                f"worker {worker.number} did not end after SIGTERM:\n{self._said()}"
            )

    def _said(self) -> str:
        """What the workers have written to standard error, the end of it."""
        return (self.folder / "stderr").read_text(errors="replace")[-5000:]

    async def _place(self, number: int, errors: Any, nursery: trio.Nursery) -> None:
        """Fill one place with one worker after the other."""
        while not self.over:
            await self._employ(number, errors, nursery)

    async def _employ(self, number: int, errors: Any, nursery: trio.Nursery) -> None:
        plan = self.plan
        options = Options(
            plan.kind,
            plan.place,
            self.url,
            self.token_url,
            plan.keys,
            plan.lease,
            plan.tasks,
            plan.pause,
            self.plan.seed * 1000 + len(self.all),
        )
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", "tests.fleet.worker", json.dumps(attrs.asdict(options))],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=os.environ | {"PYTHONPATH": str(_ROOT)},
        )
        assert process.stdout is not None
        worker = Worker(len(self.all) + 1, process)
        self.all.append(worker)
        if self.over:
            worker.end()
        try:
            if sys.platform == "linux":
                # A worker must not wait for this process to read its notes.
                fcntl.fcntl(process.stdout.fileno(), fcntl.F_SETPIPE_SZ, _PIPE)  # type: ignore[attr-defined]
            async for line in Lines(process.stdout):
                self._read(worker, Note.of(line), nursery)
            with trio.fail_after(_PATIENCE):
                await process.wait()
        finally:
            with trio.CancelScope(shield=True):
                if process.returncode is None:
                    process.kill()
                await process.wait()
                worker.gone = True
                await process.stdout.aclose()
        expected = {-signal.SIGKILL} if worker.killed else set[int]()
        expected |= {0, -signal.SIGTERM} if worker.told_to_end else set()
        if process.returncode not in expected:
            self.problems.append(
                f"worker {worker.number}: status {process.returncode}\n{self._said()}"
            )

    def _read(self, worker: Worker, note: Note, nursery: trio.Nursery) -> None:
        worker.notes.append(note)
        if note.what == "spend":
            worker.spends.set()
            worker.spends = trio.Event()
        elif note.what == "lost" and note.key not in self._beginning and not self.over:
            self._beginning.add(note.key)
            nursery.start_soon(self._log_in_again, note.key)

    def _there(self) -> list[Worker]:
        return [worker for worker in self.all if not worker.gone]

    # --- what is done to them --------------------------------------------------------------

    async def _disturb(self, nursery: trio.Nursery) -> None:
        """Choose a worker and what is done to it, again and again."""
        orders = [*[self._kill_in_between] * 3, *[self._kill] * 2, *[self._end] * 2]
        orders += [*[self._stop] * 2, self._stop_in_between]
        if self.plan.kind == "redis":
            orders.append(self._stop_for_longer_than_the_lease)
        deck: list[Callable[[Worker], Any]] = []
        while True:
            await trio.sleep(self.chance.uniform(*self.plan.between))
            # Those that work, and are not stopped or told to end.
            there = [
                each
                for each in self._there()
                if each.notes and not (each.stopped or each.killed or each.told_to_end)
            ]
            # On a busy machine a worker takes its time to start: let most of them work.
            if len(there) > self.plan.workers // 2:
                deck = deck or self.chance.sample(orders, len(orders))
                nursery.start_soon(deck.pop(), self.chance.choice(there))

    async def _in_between(self, worker: Worker) -> None:
        """Wait until a worker has begun to send a refresh token; then for a moment more."""
        moment = self.chance.uniform(0, 2 * _DELAY)
        with trio.move_on_after(_LIFETIME):
            await worker.spends.wait()
            await trio.sleep(moment)

    async def _kill(self, worker: Worker) -> None:
        self.orders["SIGKILL"] += 1
        worker.kill()
        await trio.lowlevel.checkpoint()

    async def _kill_in_between(self, worker: Worker) -> None:
        await self._in_between(worker)
        await self._kill(worker)

    async def _end(self, worker: Worker) -> None:
        self.orders["SIGTERM"] += 1
        worker.end()
        await trio.lowlevel.checkpoint()

    async def _stop(self, worker: Worker) -> None:
        self.orders["SIGSTOP"] += 1
        await worker.stop(self.chance.uniform(0.1, 1.5))

    async def _stop_in_between(self, worker: Worker) -> None:
        await self._in_between(worker)
        await self._stop(worker)

    async def _stop_for_longer_than_the_lease(self, worker: Worker) -> None:
        await self._in_between(worker)
        self.orders["SIGSTOP, longer than the lease"] += 1
        await worker.stop(self.plan.lease + 1)
