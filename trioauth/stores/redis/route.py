"""Which server a request goes to, how often it is sent, and what is said when it fails.

1. A single server: one link.
2. Sentinel: one link, to whichever server the Sentinels name when it is made. If that turns out to
   be a replica, it is made anew.
3. Cluster: a link for each node. Which node has a hash slot is learned from redirections.

Each request has one deadline for all of this. What is sent can be sent twice (see the scripts), so
a request whose connection broke is sent once more.
"""

from __future__ import annotations

import binascii
from functools import partial
from typing import TYPE_CHECKING, TypeVar, final

import attrs
import trio
from coredis.exceptions import (
    AskError,
    BusyLoadingError,
    ConnectionError,  # noqa: A004  # the name that coredis gives it
    MovedError,
    ReadOnlyError,
    RedisError,
    TryAgainError,
)

from trioauth._errors import StoreError, system_words

from .link import Dialer, Link, Wire, give_up
from .words import code_of, meaning_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from coredis.connection import BaseConnection

    from .url import Address, Target

T = TypeVar("T")

_SLOTS = 16384
# How often a request is redirected, at most.
_REDIRECTIONS = 5
# How long a Cluster that moves the keys of a slot gets before it is asked again, in seconds.
_MOVING_PAUSE = 0.05


@final
@attrs.define
class _Trip:
    """One request on its way."""

    slot: int
    deadline: float
    breaks: int = 0
    redirections: int = 0
    waits_for_move: bool = False
    """Whether the last answer was that the keys are just moving."""
    asked_to: Address | None = None
    """Where the keys of the slot are just moving to (ASK); for the next attempt only."""


@final
@attrs.define(eq=False)
class Routes:
    """The servers behind one URL."""

    target: Target
    _dialer: Dialer
    _timeout: float
    _links: dict[Address, Link] = attrs.field(factory=dict["Address", Link], init=False)
    _slots: dict[int, Address] = attrs.field(factory=dict[int, "Address"], init=False)
    _seed: int = attrs.field(default=0, init=False)

    async def run(
        self, tag: str, talk: Callable[[Wire], Awaitable[T]], *, alone: bool = False
    ) -> T:
        """Have ``talk`` send its request to the server that has the keys of a tag.

        Args:
          tag: The part of the keys that decides about their slot.
          talk: Sends a request, and reads and returns what was answered; it may be called again.
          alone: Whether to use a connection on which no other request waits meanwhile.

        Raises:
          StoreError: There was no answer in time, or a refusal. The message says which server, what
              happened, and what to do.

        Cancellation:
          Unsafe: the request may have reached the server. Send it again, or undo it.
        """
        slot = binascii.crc_hqx(tag.encode(), 0) % _SLOTS
        trip = _Trip(slot, trio.current_time() + self._timeout)
        try:
            with trio.fail_at(trip.deadline):
                return await self._attempt(trip, talk, alone=alone)
        except (trio.TooSlowError, TimeoutError):
            problem = meaning_of("TRYAGAIN") if trip.waits_for_move else self._too_slow()
        except RedisError as exc:
            # coredis turns a cancellation while it connects into a lost connection.
            late = trio.current_time() >= trip.deadline and not code_of(exc)
            problem = self._too_slow() if late else self._words(exc)
        except Exception as exc:  # noqa: BLE001  # of coredis, or of what reads an answer
            problem = (
                f"answered what no Redis server does ({type(exc).__name__}): is there one, of "
                "version 6 or newer, or a proxy in between that changes answers?"
            )
        # Raised outside `except`, and without a cause: the frames of coredis hold the password and
        # what was to be saved.
        raise StoreError(f"{self.target} {problem}")

    async def subscribe(self) -> BaseConnection:
        """Make a connection for hints, to any server that hears all of them.

        Raises:
          RedisError: None can be made.

        Cancellation:
          Safe.
        """
        return await self._dial(self._next_seed())

    async def _attempt(
        self, trip: _Trip, talk: Callable[[Wire], Awaitable[T]], *, alone: bool
    ) -> T:
        while True:
            try:
                return await self._send(trip, talk, alone=alone)
            except (RedisError, TimeoutError) as exc:
                pause = self._reroute(trip, exc)
            await trio.sleep(pause)

    async def _send(self, trip: _Trip, talk: Callable[[Wire], Awaitable[T]], *, alone: bool) -> T:
        address, asking = self._where(trip), trip.asked_to is not None
        trip.asked_to = None
        link = self._links.get(address)
        if link is None:
            link = self._links[address] = Link(partial(self._dial, address))
        if not alone:
            return await self._talk(link, trip, talk, asking=asking)
        async with link.alone() as own:
            return await self._talk(own, trip, talk, asking=asking)

    async def _talk(
        self,
        link: Link,
        trip: _Trip,
        talk: Callable[[Wire], Awaitable[T]],
        *,
        asking: bool,
    ) -> T:
        connection = await link.connection()
        heard = connection.statistics.bytes_read
        try:
            return await talk(Wire(connection, asking))
        except Exception as exc:
            # ReadOnlyError: a primary that has become a replica, so the next connection asks the
            # Sentinels again. Not a refusal: it is lost, late, or answers what can't be read.
            if not isinstance(exc, RedisError) or isinstance(exc, ConnectionError | ReadOnlyError):
                give_up(connection)
            raise
        except trio.Cancelled:
            late = trio.current_time() >= trip.deadline
            if late and connection.statistics.bytes_read == heard:
                # It hangs: the next request gets a new connection, and no late answer of this one.
                # (If it is only slow, the other requests on it would have to be sent again.)
                give_up(connection)
            raise

    def _reroute(self, trip: _Trip, exc: Exception) -> float:
        """Decide where the next attempt goes, and return the pause before; or raise what ended it.

        Not a checkpoint.
        """
        is_cluster, trip.waits_for_move = self.target.kind == "cluster", False
        if isinstance(exc, AskError) and is_cluster and trip.redirections < _REDIRECTIONS:
            trip.redirections += 1
            address = self._address_of(trip, exc)
            if isinstance(exc, MovedError):
                self._slots[trip.slot] = address
            else:
                trip.asked_to = address
        elif isinstance(exc, TryAgainError):
            trip.waits_for_move = True
            return _MOVING_PAUSE
        elif _is_break(exc) or (isinstance(exc, ReadOnlyError) and self.target.kind == "sentinel"):
            trip.breaks += 1
            if trip.breaks > len(self.target.addresses):
                raise exc
            # A Cluster may have given its slots to another node; the next seed will know.
            self._slots.pop(trip.slot, None)
            self._seed += 1
        else:
            raise exc
        return 0

    def _where(self, trip: _Trip) -> Address:
        if trip.asked_to is not None:
            return trip.asked_to
        return self._slots.get(trip.slot) or self._next_seed()

    def _next_seed(self) -> Address:
        addresses = self.target.addresses
        return addresses[self._seed % len(addresses) if self.target.kind == "cluster" else 0]

    def _address_of(self, trip: _Trip, exc: AskError) -> Address:
        here = self._where(trip)
        # An empty host means: the one that says so.
        return attrs.evolve(here, host=str(exc.host) or here.host, port=int(exc.port))

    async def _dial(self, address: Address) -> BaseConnection:
        if self.target.kind == "sentinel":
            return await self._dialer.dial_primary()
        return await self._dialer.dial(address)

    def _too_slow(self) -> str:
        return (
            f"gave no answer within {self._timeout:g} seconds: it hangs or is overloaded, or the "
            "network lets nothing through"
            + (", or it wants no TLS (then redis://)" if self.target.tls else "")
        )

    def _words(self, exc: RedisError) -> str:
        if code := code_of(exc):
            return meaning_of(code)
        words = system_words(exc)
        what = f"can't be reached ({words})" if words else "closed the connection"
        tls = "" if self.target.tls else ", and does it want TLS (rediss://)"
        return f"{what}: is it running, is the URL right{tls}?"


def _is_break(exc: Exception) -> bool:
    return isinstance(exc, ConnectionError) and not isinstance(exc, BusyLoadingError)
