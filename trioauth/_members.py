"""Members: the sessions of many keys, as far as they are in memory.

A key that is in memory has a `Member`, which passes through these states:

1. opening: a task reads the record of the key. Every task that wants the key waits for that task.
2. in use: at least one task or request has pinned it.
3. idle: no task has. It waits in a queue that is ordered by time, since the pause is the same for
   all. One task looks at the head of the queue, so there is one timer, whatever the number of keys.
4. gone: dropped after the pause, not opened because the store failed, or closed with all others.
   The next use makes a new member.

An idle member is not dropped while a flight of it is in the air or something is still to be saved.
So nothing of a member that is dropped still runs, dropping needs no ``await``, and no task can see
a half-way point. No method looks through all members, except for closing (P34).
"""

from __future__ import annotations

import contextvars
import math
from collections import OrderedDict
from typing import TYPE_CHECKING, NoReturn, final

import attrs
import trio

from ._core.flight import Flight
from ._core.here import Here
from ._core.key import Key
from ._core.state import flight_of
from ._core.vault import Vault
from ._errors import Error, StoreError, careful
from ._opening import owner_of, start
from .stores._contract import check_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._core.state import Landing
    from ._core.timers import Timers
    from ._http.signing import Signer
    from ._opening import Plan
    from ._session import Session
    from .stores._contract import KeyedStore

# Seconds until an idle member is looked at again if it can't be dropped yet, at least.
_SHORTEST_PAUSE = 1.0


@final
@attrs.define(eq=False, repr=False)
class _Opening:
    """The opening of one member: tasks wait for it."""

    done: trio.Event = attrs.field(factory=trio.Event)
    # Shielded: a task that cleans up after the program was cancelled may use a key, too.
    scope: trio.CancelScope = attrs.field(factory=lambda: trio.CancelScope(shield=True))
    error: Exception | None = None


@final
@attrs.define(eq=False, repr=False)
class Member:
    """A key whose session is in memory, or is being opened."""

    key: Key
    members: Members
    opening: _Opening | None = attrs.field(factory=_Opening, init=False)
    """None as soon as it is open, or has failed."""
    parts: tuple[Session, Timers] | None = attrs.field(default=None, init=False)
    pins: int = attrs.field(default=0, init=False)
    looked_at: float = attrs.field(factory=trio.current_time, init=False)
    """When the record was read, on trio's clock, except by a flight that needed it."""
    _look: Flight[Landing] | None = attrs.field(default=None, init=False)

    @property
    def session(self) -> Session:
        """The session, once it is open."""
        assert self.parts is not None  # noqa: S101  # `Members.take` returns none that is not open
        return self.parts[0]

    @property
    def signer(self) -> Signer:
        """What signs the requests of the session."""
        return self.session._signer

    @property
    def is_busy(self) -> bool:
        """Whether a flight is in the air, or something is still to be saved."""
        assert self.parts is not None  # noqa: S101  # as above
        session, timers = self.parts
        unsaved = timers.saving_later or timers.vault.pending is not None
        return unsaved or bool(session._flights.running)

    def look(self) -> bool:
        """Look into the store in the background; False if that is under way. Not a checkpoint."""
        if self._look is not None and not self._look.done.is_set():
            return False
        self._look = None
        if self.parts is not None and not self.members.closed:
            flights, self.looked_at = self.session._flights, trio.current_time()
            # A renewal looks by itself.
            if flight_of(flights.machine.state) is None:
                self._look = flights.launch(flights.logins.catch_up, Flight("look"))
        return True

    def release(self) -> None:
        """Give back a pin. Not a checkpoint."""
        self.pins -= 1
        if self.pins == 0:
            self.members.rest(self)


@final
@attrs.define(eq=False, repr=False)
class Members:
    """Opens, pins and drops the sessions of many keys."""

    plan: Plan
    """What all sessions have in common."""
    store: KeyedStore
    shared: bool
    """Whether other programs may use the store: then a session without a login looks there."""
    idle: float
    """Seconds after which a session that is not used is dropped."""
    show_key: Callable[[str], str] | None
    nursery: trio.Nursery

    here: Here = attrs.field(factory=Here, init=False)
    closed: bool = attrs.field(default=False, init=False)
    doubted_at: float = attrs.field(default=-math.inf, init=False)
    """When the store said last that any record may have changed, on trio's clock."""
    opened: int = attrs.field(default=0, init=False)
    dropped: int = attrs.field(default=0, init=False)
    failed: int = attrs.field(default=0, init=False)
    opening: int = attrs.field(default=0, init=False)
    table: dict[str, Member] = attrs.field(factory=dict[str, Member], init=False)
    """All members, by the names of their keys."""
    resting: OrderedDict[str, float] = attrs.field(factory=OrderedDict[str, float], init=False)
    """The members that are not used, and until when, on trio's clock. The first ends first."""
    _more: trio.Event = attrs.field(factory=trio.Event, init=False)
    """Set when a member begins to rest."""
    # What runs in the background must not inherit the context variables of one request.
    _context: contextvars.Context = attrs.field(factory=contextvars.copy_context, init=False)

    # --- using -----------------------------------------------------------------------------

    @trio.lowlevel.enable_ki_protection
    async def take(self, key: object) -> Member:  # noqa: ASYNC910  # as documented
        """Pin the session of a key, and open it first if it is not in memory.

        Cancellation:
          Safe. Nothing is pinned; an opening goes on for the other tasks.

        Checkpoints:
          None if the session is in memory.

        Raises:
          StoreError: The record of the key can't be read.
          ValueError: It is no key.
          TypeError: It is no str.
          trio.ClosedResourceError: The sessions are closed, or were closed while waiting.
        """
        self.check()
        await trio.lowlevel.checkpoint_if_cancelled()
        # Not `check_key` first: a key in the table is one, and a long one takes time to check.
        member = self.table.get(key) if isinstance(key, str) else None
        if member is None:
            member = self._add(Key.of(check_key(key), self.show_key))
        if member.pins == 0:
            self.resting.pop(member.key.name, None)
        member.pins += 1
        opening = member.opening
        if opening is None:
            if member.looked_at <= self.doubted_at:
                member.look()
            return member
        try:
            await opening.done.wait()
            if member.parts is None:
                self._raise_failed(member.key, opening.error)
        except BaseException:
            member.release()
            raise
        return member

    def check(self) -> None:
        """Raise `RuntimeError` in another thread or run, and if closed `ClosedResourceError`."""
        self.here.check(self.check_open)
        self.check_open()

    def check_open(self) -> None:
        """Raise `trio.ClosedResourceError` if the sessions are closed."""
        if self.closed:
            raise trio.ClosedResourceError(
                "these sessions are closed: their async with block was left"
            )

    def _raise_failed(self, key: Key, error: Exception | None) -> NoReturn:
        """Raise in a task that waited for an opening: a new exception, from the shared cause."""
        self.check_open()
        # Our own exceptions have no secret in them; others may, so say only what is known.
        words = str(error) if isinstance(error, Error) else careful(error)
        path = error.path if isinstance(error, StoreError) else None
        raise StoreError(
            f"the session of {key.shown} can't be opened: {words}", path=path
        ) from error

    # --- opening ---------------------------------------------------------------------------

    def _add(self, key: Key) -> Member:
        """Begin to open the session of a key. Not a checkpoint."""
        member = self.table[key.name] = Member(key, self)
        self.opening += 1
        # A task of its own: a slow store delays this key alone, and a cancelled task no other.
        self._context.run(self.nursery.start_soon, self._open, member)
        return member

    @trio.lowlevel.enable_ki_protection
    async def _open(self, member: Member) -> None:  # noqa: ASYNC910  # it may be cancelled
        opening = member.opening
        assert opening is not None  # noqa: S101  # only this task ends it
        try:
            with opening.scope:
                await self._start(member)
        except Exception as exc:  # noqa: BLE001  # raised in each task that waits
            opening.error = exc
        finally:
            # Also after Control-C: no task may stay asleep.
            self._settle(member)
            opening.done.set()

    async def _start(self, member: Member) -> None:
        name = member.key.name
        vault = Vault(self.store.at(name), owner=owner_of(self.plan.grant), shared=self.shared)
        session, records, timers = self.plan.build(self.nursery, vault, member.key, self.here)
        await start(self.plan, session, records, timers, None)
        if self.closed:
            # The scope was cancelled too late: no checkpoint came after that.
            session._flights.mark_closed()
        else:
            member.parts = session, timers

    def _settle(self, member: Member) -> None:
        """End an opening. Not a checkpoint."""
        self.opening -= 1
        member.opening = None
        if member.parts is None:
            self.failed += 1
            del self.table[member.key.name]
        else:
            self.opened += 1
            if member.pins == 0:
                # Every task that wanted it was cancelled.
                self.rest(member)

    # --- dropping --------------------------------------------------------------------------

    def rest(self, member: Member, pause: float = 0.0) -> None:
        """Put a member that is not used at the end of the queue. Not a checkpoint.

        Args:
          member: It may be one that has failed to open, or was closed: then nothing happens.
          pause: How long it rests at least, in seconds.
        """
        if member.parts is not None and not self.closed:
            self.resting[member.key.name] = trio.current_time() + max(self.idle, pause)
            self._more.set()

    async def drop_idle(self) -> None:
        """Drop each member that has rested long enough, until cancelled.

        Cancellation:
          Safe. Nothing is half dropped.
        """
        while True:
            while not self.resting:
                self._more = trio.Event()
                await self._more.wait()
            name, until = next(iter(self.resting.items()))
            await trio.sleep_until(until)
            # It may have been used since.
            if self.resting.get(name) == until:
                del self.resting[name]
                self._drop(self.table[name])

    def _drop(self, member: Member) -> None:
        # No await in here, nor since the queue was read: no task can pin it in between.
        if member.is_busy:
            running = next(iter(member.session._flights.running), None)
            if running is None:
                # Something is still to be saved, and the store fails.
                self.rest(member, _SHORTEST_PAUSE)
            else:
                self.nursery.start_soon(self._drop_after, running, member)
            return
        del self.table[member.key.name]
        self.dropped += 1
        member.session._flights.mark_closed()

    async def _drop_after(self, flight: Flight[Landing], member: Member) -> None:
        # At once: with `keep_fresh` and short lifetimes, the next flight may be in the air when it
        # has rested once more, and again and again.
        await flight.done.wait()
        name = member.key.name
        used = member.pins > 0 or name in self.resting
        if self.table.get(name) is member and not used and not self.closed:
            self._drop(member)

    # --- closing ---------------------------------------------------------------------------

    @trio.lowlevel.enable_ki_protection
    async def close(self) -> None:  # noqa: ASYNC910  # there may be nothing to wait for
        """Give the flights of all sessions ``close_grace`` seconds together, then cancel them.

        Cancellation:
          Delayed, for up to ``close_grace`` seconds.
        """
        self.closed = True
        self.resting.clear()
        closing: list[trio.Event] = []
        for member in self.table.values():
            if member.opening is not None:
                member.opening.scope.cancel(reason="trioauth: the sessions are closed")
                continue
            # Closed before it is waited for any, so that no session starts a new flight.
            busy = member.is_busy
            member.session._flights.mark_closed()
            if busy:
                closing.append(trio.Event())
                self.nursery.start_soon(self._close, member, closing[-1])
        with trio.CancelScope(shield=True):  # noqa: ASYNC912  # as above
            for closed in closing:
                await closed.wait()

    @trio.lowlevel.enable_ki_protection
    async def _close(self, member: Member, closed: trio.Event) -> None:
        try:
            await member.session._flights.close()
        finally:
            closed.set()
