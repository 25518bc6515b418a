"""One login of a RedisStore: its lease, its record, its hints."""

from __future__ import annotations

import math
import random
import secrets
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, final

import attrs
import trio

from trioauth._errors import StoreConflictError, StoreError
from trioauth.stores._contract import Record

from .scripts import ACQUIRE, DELETE, PROBE, RELEASE, SAVE, Script

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from trioauth.stores._turns import Turns

    from .connected import Connected
    from .hints import Hints
    from .link import Wire
    from .url import Target

T = TypeVar("T")

# How often to try for a lease that another session holds, in seconds. A refresh takes some tenths
# of a second.
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.01, 0.25
# The pauses before a release that failed is tried again, in seconds.
_FIRST_RELEASE, _LAST_RELEASE = 0.2, 5.0


@final
@attrs.frozen(eq=False)
class Terms:
    """What all logins of one store have in common."""

    target: Target
    prefix: str
    lease: float
    timeout: float
    replicas: int
    turns: Turns
    hints: Hints
    connected: Callable[[], Connected]
    """Returns what the store is connected with, or raises that it is not open."""


@final
@attrs.frozen
class _Lease:
    holder: str
    """A random name of this lock, of this time."""
    fence: str
    """A number that rises with each lease of this login."""


@final
@attrs.define(eq=False)
class _Asked:
    """A lease that was asked for, whether or not it was granted."""

    holder: str
    until: float = -math.inf
    """When it ends at the latest, on trio's clock, if the server had it at once."""


@final
@attrs.define(eq=False, repr=False)
class RedisLogin:
    """One login of a `RedisStore`: what `RedisStore.at` returns. It has no constructor of yours."""

    _terms: Terms
    _key: str
    _seen: int = attrs.field(kw_only=True, alias="seen")
    _lease: _Lease | None = attrs.field(default=None, init=False)
    _waits_for: str | None = attrs.field(default=None, init=False)
    _unsaved: bool = attrs.field(default=False, init=False)
    """Whether the last `save` has failed, so that the record may be behind its session."""
    _kept: _Asked | None = attrs.field(default=None, init=False)
    """The lease that was not released because of that. The next `lock` takes it up again."""

    def __repr__(self) -> str:
        # Without the key, which may be personal.
        return f"<a login on {self._terms.target}>"

    @asynccontextmanager
    async def lock(self) -> AsyncGenerator[None, None]:
        """Keep out all other sessions of this login, on all hosts, for as long as a lease can.

        If a `save` fails, the lease is not released when the block is left: the next `lock` of this
        object takes it up again, and others have to wait until it ends.

        Cancellation:
          Safe. A cancelled wait for the lock leaves nothing locked: what may have reached the
          server is released in the background, or lapses.

        Raises:
          StoreError: The server can't be reached, or refuses.
        """
        connected = self._terms.connected()
        async with self._terms.turns.take(self._key):
            asked, self._kept = self._kept or _Asked(secrets.token_hex(8)), None
            try:
                self._lease = await self._acquire(asked)
                self._unsaved = False
                yield
            finally:
                self._lease = None
                if self._unsaved:
                    # Other sessions would find a refresh token in the record that may be spent. So
                    # the lease is for this one, until it has saved, or until it ends by itself.
                    self._kept = asked
                else:
                    connected.start(partial(self._release, connected, asked))

    async def load(self) -> Record | None:
        """Return the record last saved, or None if there never was one.

        Cancellation:
          Safe. Nothing is changed.

        Raises:
          StoreError: The server can't be reached or refuses, or what is there is not a record.
        """
        found = await self._run(self._load)
        if found is None:
            return None
        text, generation = found
        record: Record | None = None
        try:
            record = Record.from_text(text)
        except ValueError as exc:
            reason = str(exc)
        else:
            if b"%d" % record.generation == generation:
                return record
            reason = "not a token record: its generation is not the one beside it"
        # Raised outside `except`, and without the text in the frame: both hold the record.
        del found, text
        record = None
        raise self._error(
            f"holds what is {reason}. It was not touched: mend it, or delete that key"
        )

    async def save(self, record: Record, *, expected: int) -> None:
        """Replace the record if the stored one is still generation ``expected`` (0: there is none).

        Cancellation:
          All or nothing. A cancelled call leaves at once; the server may save all the same.

        Raises:
          StoreConflictError: Another generation is stored. Nothing was written.
          StoreError: The server can't be reached or refuses; what is there is not a record; or the
              lease has lapsed and another session has got it. Nothing was overwritten. Or too few
              replicas have confirmed the record, which the message says: then it was written.
          RuntimeError: The lock is not held.
        """
        lease = self._held("save")
        arguments = [lease.holder, lease.fence, str(expected), str(record.generation)]
        arguments += [record.to_text(), f"{self._terms.prefix}changed", self._key]
        replicas = self._terms.replicas
        try:
            status, number = await self._run(
                partial(self._save, arguments=arguments, replicas=replicas), alone=replicas > 0
            )
        except StoreError:
            self._unsaved = True
            raise
        self._unsaved = False
        self._compare(status, number, expected, "load again")
        self._check(status)
        if number < replicas:
            raise self._error(
                f"has saved the record, but {number} replicas of {replicas} have confirmed it: a "
                "failover now could lose it; look at the replicas"
            )

    async def probe(self) -> None:
        """Prove that `save` could write now, and that the lock is still held; renew its lease.

        Cancellation:
          Safe. Nothing is changed but the lease.

        Raises:
          StoreError: `save` would fail, or another session has got the lock. The message says why.
          RuntimeError: The lock is not held.
        """
        lease = self._held("probe")
        arguments = [lease.holder, lease.fence, self._milliseconds]
        status, _ = await self._run(partial(self._judge, PROBE, arguments))
        self._check(status)

    async def delete(self, *, expected: int) -> None:
        """Delete the record if the stored one is generation ``expected``; without one do nothing.

        No session is told: let the login end first, see `RedisStore.forget`.

        Cancellation:
          All or nothing. A cancelled call leaves at once; the server may delete all the same.

        Raises:
          StoreConflictError: Another generation is stored. Nothing was deleted.
          StoreError: As `save`. Nothing was deleted.
          RuntimeError: The lock is not held.
        """
        lease = self._held("delete")
        arguments = [lease.holder, lease.fence, str(expected)]
        status, number = await self._run(partial(self._judge, DELETE, arguments))
        self._compare(status, number, expected, "nothing was deleted")
        self._check(status)

    async def changed(self) -> str | None:
        """Wait for a hint that the record of this login may have changed, and return "".

        The first call subscribes to the hints of the whole store. Hints may be lost, doubled or
        forged.

        Cancellation:
          Safe. No hint is lost.
        """
        self._terms.connected().listen()
        await trio.lowlevel.checkpoint()
        seen, hints = self._seen, self._terms.hints
        while not hints.of(self._key, seen):
            await hints.wait(self._key)
            # Closing wakes the tasks that wait.
            self._terms.connected()
        self._seen = hints.number
        return ""

    @property
    def waits_for(self) -> str | None:
        """What the last unfinished wait for the lock is for, in words; None if there is none."""
        return self._waits_for

    # --- inside ----------------------------------------------------------------------------

    @property
    def _tag(self) -> str:
        # Between the braces, as Redis Cluster finds them: both keys are in the slot of this text.
        return self._key.replace("%", "%25").replace("{", "%7B").replace("}", "%7D")

    @property
    def _name(self) -> str:
        return f"{self._terms.prefix}{{{self._tag}}}"

    @property
    def _milliseconds(self) -> str:
        return str(math.ceil(1000 * self._terms.lease))

    async def _acquire(self, asked: _Asked) -> _Lease:
        pause, arguments = _SHORTEST_PAUSE, [asked.holder, self._milliseconds]

        async def ask(wire: Wire) -> _Lease | float:
            # From here on the server may grant it, also if its answer is never seen.
            asked.until = trio.current_time() + self._terms.lease + self._terms.timeout
            granted, more = await self._evaluate(ACQUIRE, arguments, wire)
            if granted not in (0, 1):
                raise ValueError("neither yes nor no")  # `Routes.run` makes it a `StoreError`
            return _Lease(asked.holder, more.decode()) if granted else max(0, more) / 1000

        while True:
            answer = await self._run(ask)
            if isinstance(answer, _Lease):
                self._waits_for = None
                return answer
            self._waits_for = (
                f"another session to unlock the login on {self._terms.target} (its lease ends in "
                f"{answer:.0f} seconds)"
            )
            await trio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  # no secret
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _release(self, connected: Connected, asked: _Asked) -> None:
        """Release a lease that may have been granted; try again until it has ended by itself.

        A server that hung, or that could not be reached, may grant it when it is back. If nothing
        was sent to it, one attempt is enough.
        """
        pause, release = _FIRST_RELEASE, partial(self._evaluate, RELEASE, [asked.holder])
        while True:
            try:
                await connected.routes.run(self._tag, release)
            except StoreError:
                if trio.current_time() + pause > asked.until:
                    return  # noqa: ASYNC910  # after its one attempt
            else:
                return
            await trio.sleep(pause)
            pause = min(2 * pause, _LAST_RELEASE)

    async def _run(self, talk: Callable[[Wire], Awaitable[T]], *, alone: bool = False) -> T:
        routes = self._terms.connected().routes
        try:
            return await routes.run(self._tag, talk, alone=alone)
        except StoreError as exc:
            # If the store was closed, this raises that instead.
            self._terms.connected()
            exc.key = self._key
            raise

    async def _evaluate(self, script: Script, arguments: list[str], wire: Wire) -> Any:
        return await wire.run(script, (self._name, f"{self._name}:lock"), arguments)

    def _held(self, name: str) -> _Lease:
        if self._lease is None:
            raise RuntimeError(
                f"{name}() needs the lock: call it inside `async with store.lock():`"
            )
        return self._lease

    def _compare(self, status: bytes, number: int, expected: int, then: str) -> None:
        if status == b"conflict":
            raise StoreConflictError(
                f"{self._terms.target} holds generation {number}, not {expected}: another session "
                f"saved first; {then}",
                key=self._key,
            )

    def _check(self, status: bytes) -> None:
        if status == b"foreign":
            raise self._error(
                "holds something under the key of this login that is not a record, or one of a "
                "newer version of trioauth. It was not touched: upgrade, or delete that key"
            )
        if status == b"taken":
            raise self._error(
                "has given the lock to another session: the lease of "
                f"{self._terms.lease:g} seconds had ended (this process was stopped, say), or was "
                "lost in a failover"
            )

    def _error(self, problem: str) -> StoreError:
        return StoreError(f"{self._terms.target} {problem}", key=self._key)

    async def _load(self, wire: Wire) -> tuple[bytes, bytes | None] | None:
        reply: Any = await wire.send(b"HMGET", self._name, "record", "generation")
        text, generation = reply
        if text is None:
            return None
        if not isinstance(text, bytes):
            raise TypeError("not a record")  # as in `_acquire`
        return text, generation

    async def _save(self, wire: Wire, *, arguments: list[str], replicas: int) -> tuple[bytes, int]:
        status, number = await self._judge(SAVE, arguments, wire)
        if replicas and status == b"ok":
            wait = math.ceil(1000 * min(1, self._terms.timeout / 2))
            reply: Any = await wire.send(b"WAIT", replicas, wait)
            number = int(reply)
        return status, number

    async def _judge(self, script: Script, arguments: list[str], wire: Wire) -> tuple[bytes, int]:
        """Return what a script says, and the generation if that is "conflict"."""
        status, *more = await self._evaluate(script, arguments, wire)
        if status not in (b"ok", b"conflict", b"foreign", b"taken"):
            raise ValueError("no such status")  # as above
        return status, int(more[0]) if more else 0
