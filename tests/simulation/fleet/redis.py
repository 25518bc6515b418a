"""A Redis server, simulated: what its scripts do, and what is known of its leases.

The scripts of `RedisStore` are Lua, and there is no Lua here: each has its counterpart in Python.
Whether a script looks at the lease is read from its text, so that one that does not is caught.
"""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import attrs
import trio

from trioauth import Record
from trioauth.stores.redis.scripts import ACQUIRE, PROBE, RELEASE, SAVE, Script

if TYPE_CHECKING:
    from tests.simulation.ledger import Ledger, Stay

    from .judge import FleetJudge


@attrs.define(eq=False)
class Lease:
    """A lock that was given, as the ledger knows it."""

    stay: Stay
    key: str
    holder: str
    fence: int
    until: float
    granted: float = attrs.field(factory=trio.current_time)
    released: float = math.inf
    """When it was given back."""
    lost: float = math.inf
    """When a failover or a restart has taken it away."""

    @property
    def lapsed(self) -> bool:
        """Whether it has ended, by time or by a loss, before it was given back."""
        return min(self.until, self.lost) <= min(trio.current_time(), self.released)


@attrs.define
class Row:
    """What is stored of a login."""

    text: str | None = None
    generation: str | None = None
    fence: int = 0


@attrs.define
class State:
    """All that the server remembers."""

    rows: dict[str, Row] = attrs.field(factory=dict)
    locks: dict[str, Lease] = attrs.field(factory=dict)
    """By the name of the lock."""

    def copy(self) -> State:
        """Return it as it is now. The leases are the same ones."""
        return State(copy.deepcopy(self.rows), dict(self.locks))


@attrs.define(eq=False)
class Redis:
    """The server."""

    ledger: Ledger
    judge: FleetJudge
    state: State = attrs.field(factory=State)
    frozen_until: float = 0.0
    losses: list[float] = attrs.field(factory=list)
    """When it lost something."""
    latest: dict[tuple[Stay, str], Lease] = attrs.field(factory=dict)
    """The last lease of each host, by key."""
    published: Any = None
    """What is called with the key of each hint."""
    _before_write: State = attrs.field(factory=State)
    _before_save: State = attrs.field(factory=State)

    # --- what befalls it -----------------------------------------------------------------------

    def freeze(self, seconds: float) -> None:
        """Answer nothing for a while."""
        self.frozen_until = max(self.frozen_until, trio.current_time() + seconds)

    def fall_back(self, *, to_save: bool) -> None:
        """Lose the last write, or all since the last record."""
        self._become((self._before_save if to_save else self._before_write).copy())

    def forget(self) -> None:
        """Lose everything."""
        self._become(State())

    def _become(self, state: State) -> None:
        for name, lease in self.state.locks.items():
            if state.locks.get(name) is not lease:
                lease.lost = min(lease.lost, trio.current_time())
        self.losses.append(trio.current_time())
        self.state = state
        self._before_write = self._before_save = state.copy()

    def record_of(self, key: str) -> Record | None:
        """Return what is stored for a key."""
        row = self.state.rows.get(f"sim:{{{key}}}")
        return None if row is None or row.text is None else Record.from_text(row.text)

    def prefill(self, key: str, record: Record) -> None:
        """Store a record before anything has begun."""
        self.state.rows[f"sim:{{{key}}}"] = Row(record.to_text(), str(record.generation))

    # --- what it is asked ----------------------------------------------------------------------

    def get(self, name: str) -> list[bytes | None]:
        """HMGET, of the record and its generation."""
        row = self.state.rows.get(name)
        texts = (None, None) if row is None else (row.text, row.generation)
        return [None if text is None else text.encode() for text in texts]

    def run(self, stay: Stay, script: Script, keys: tuple[str, ...], arguments: list[str]) -> Any:
        """Run a script."""
        name, lock = keys
        key = name.partition("{")[2].rstrip("}")
        self.judge.asked(stay, key)
        found = self.state.locks.get(lock)
        if found is not None and trio.current_time() >= found.until:
            del self.state.locks[lock]
            found = None
        row = self.state.rows.get(name)
        if script is ACQUIRE:
            return self._acquire(stay, key, name, lock, found, arguments)
        if script is RELEASE:
            return self._release(lock, found, arguments[0])
        holder, fence = arguments[:2]
        mine = found is not None and (found.holder, str(found.fence)) == (holder, fence)
        unlocked = found is None and (row is None or str(row.fence) == fence)
        taken = not (mine or unlocked) and "return {'taken'}" in script.text
        if script is PROBE:
            return [b"taken"] if taken else self._probe(stay, key, name, lock, found, arguments)
        assert script is SAVE
        return self._save(stay, key, name, arguments, taken=taken, unlocked=mine or unlocked)

    def _acquire(
        self, stay: Stay, key: str, name: str, lock: str, found: Lease | None, arguments: list[str]
    ) -> list[Any]:
        holder, milliseconds = arguments
        if found is not None:
            if found.holder == holder:
                return [1, str(found.fence).encode()]
            self.judge.locked_out(stay, key, found)
            return [0, math.ceil(1000 * (found.until - trio.current_time()))]
        self._write()
        row = self.state.rows.get(name)
        fence = max((0 if row is None else row.fence) + 1, int(trio.current_time() * 1e6))
        if row is not None:
            row.fence = fence
        lease = Lease(stay, key, holder, fence, self._end(milliseconds))
        self.state.locks[lock] = self.latest[stay, key] = lease
        self.ledger.count("leases")
        return [1, str(fence).encode()]

    def _release(self, lock: str, found: Lease | None, holder: str) -> int:
        for lease in self.latest.values():
            if lease.holder == holder:
                lease.released = min(lease.released, trio.current_time())
        if found is not None and found.holder == holder:
            self._write()
            del self.state.locks[lock]
        return 1

    def _probe(
        self, stay: Stay, key: str, name: str, lock: str, found: Lease | None, arguments: list[str]
    ) -> list[bytes]:
        self._write()
        lease = self.latest[stay, key]
        if found is None or found is lease:
            lease.until, lease.lost = self._end(arguments[2]), math.inf
            self.state.locks[lock] = lease
        if name in self.state.rows:
            self.state.rows[name].fence = int(arguments[1])
        return [b"ok"]

    def _save(
        self, stay: Stay, key: str, name: str, arguments: list[str], *, taken: bool, unlocked: bool
    ) -> list[bytes]:
        _, fence, expected, generation, text, _, hint = arguments
        row = self.state.rows.get(name)
        stored = (row.generation if row else None) or "0"
        if row is not None and (stored, row.text) == (generation, text):
            return [b"ok"]
        if stored != expected:
            self.ledger.count("saves that came too late")
            return [b"conflict", stored.encode()]
        if taken:
            self.ledger.count("saves that were fenced off")
            return [b"taken"]
        self.judge.saves(stay, key, self.record_of(key), Record.from_text(text), unlocked=unlocked)
        self._write()
        self._before_save = self.state.copy()
        self.state.rows[name] = Row(text, generation, int(fence))
        self.published(hint)
        return [b"ok"]

    def _write(self) -> None:
        self._before_write = self.state.copy()

    @staticmethod
    def _end(milliseconds: str) -> float:
        return trio.current_time() + int(milliseconds) / 1000
