"""A token store that fails, and knows who has seen what."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs
import trio

from trioauth import Record, StoreConflictError, StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from .ledger import Ledger, Login, Stay
    from .weather import Weather
    from .world import Trouble

# What each operation takes of a store whose lock has lapsed.
_SLOW = 0.3


@attrs.define(eq=False)
class Store:
    """What several sessions may share. Each has a handle of its own."""

    ledger: Ledger
    weather: Weather
    record: Record | None = None
    owner: Stay | None = None
    saved: set[str] = attrs.field(factory=set)
    """The access tokens that were ever in it."""
    lost: bool = False
    mixed: bool = False
    """Programs with different client ids share it, and can't."""
    remade: set[Login] = attrs.field(factory=set)
    """The logins that others have begun in it, with a program that is not in this world."""
    lapsed: bool = False
    troubled: int = 0
    """How often it failed."""
    dawdling: int = 0
    """How many operations take their time."""
    dawdled_at: float = -1.0
    """When the last of them ended."""
    writes: int = 0
    ended_by: set[str] = attrs.field(factory=set)
    """The names of those who saved that they are logged out."""
    _lock: trio.Lock = attrs.field(factory=trio.Lock)

    def put(self, record: Record) -> None:
        """Hold a record from now on."""
        self.record = record
        self.writes += 1
        if record.tokens is not None:
            self.saved.add(record.tokens.access_token)

    def lose(self) -> None:
        """Lose everything."""
        self.record = None
        self.lost = True
        self.troubled += 1

    def remake(self, record: Record) -> None:
        """Hold what another process has begun anew, from the first generation on."""
        self.lose()
        self.put(record)

    async def meet(self, who: Stay, operation: str) -> None:
        """Fail, hang or dawdle, if that is due."""
        kinds = (f"{operation}_raises", f"{operation}_slow", f"{operation}_hangs")
        trouble = self.weather.strike("store", kinds)
        if trouble is None and not self.lapsed:
            await trio.lowlevel.checkpoint()
            return
        self.dawdling += 1
        try:
            await self._dawdle(who, trouble)
        finally:
            self.dawdling -= 1
            self.dawdled_at = trio.current_time()

    async def _dawdle(self, who: Stay, trouble: Trouble | None) -> None:
        if self.lapsed and not self.weather.cleared.is_set():
            # Time for another one to come in between.
            await trio.sleep(_SLOW)
        if trouble is None:
            await trio.lowlevel.checkpoint()
            return
        self.troubled += 1
        self.ledger.count(f"store:{trouble.what}")
        self.ledger.note(who.name, "store", trouble.what)
        if trouble.what.endswith("_slow"):
            await trio.sleep(min(trouble.amount, 40))
        elif trouble.what.endswith("_hangs"):
            await self.weather.cleared.wait()
            raise StoreError("the simulated store hung")
        else:
            await trio.lowlevel.checkpoint()
            # A store of a program's own may raise anything.
            raise StoreError("no") if trouble.times % 2 else OSError("no space left")


@attrs.define(eq=False)
class Handle:
    """The store, as one session has it."""

    store: Store
    who: Stay
    seen: int | None = None
    """The generation that was there when this session last looked."""
    remade: int = 0
    """How often the file had been made anew when this session locked it."""

    @asynccontextmanager
    async def lock(self) -> AsyncGenerator[None, None]:
        """Exclude the others, unless the lock lapses."""
        store = self.store
        if store.weather.strike("store", ("lapse",)):
            store.lapsed = True
            store.troubled += 1
            store.ledger.count("store:lapse")
            await store.meet(self.who, "lock")
            yield
            return
        async with store._lock:
            await store.meet(self.who, "lock")
            store.owner, self.remade = self.who, len(store.remade)
            try:
                yield
            finally:
                store.owner = None

    async def load(self) -> Record | None:
        """Return what there is."""
        await self.store.meet(self.who, "load")
        record = self.store.record
        self.seen = 0 if record is None else record.generation
        return record

    async def save(self, record: Record, *, expected: int) -> None:
        """Replace what there is, if it is still ``expected``."""
        store, ledger = self.store, self.store.ledger
        if store.owner is not self.who and not store.lapsed:
            ledger.violate("P5", f"{self.who.name} saves without the store's lock")
        await store.meet(self.who, "save")
        if self.remade != len(store.remade) and not store.lapsed:
            # As a `FileStore` does whose files are not those any more that it has locked.
            store.troubled += 1
            raise StoreError("lost the lock")
        found = 0 if store.record is None else store.record.generation
        if store.weather.strike("store", ("conflict",)):
            store.troubled += 1
            ledger.count("store:conflict")
            raise StoreConflictError("simulated")
        if found != expected:
            ledger.count("store:true_conflict")
            raise StoreConflictError(f"generation {found} is stored, not {expected}")
        if self.seen != found:
            ledger.violate("P5", f"{self.who.name} overwrites generation {found}, never seen by it")
        if store.record is not None and record.generation <= found:
            ledger.violate("P7", f"{self.who.name} saves generation {record.generation} on {found}")
        self._check_winner(record)
        self._check_alive(record)
        store.put(record)
        self.seen = record.generation
        what = (
            "logged out"
            if record.tokens is None
            else ledger.by_access[record.tokens.access_token].name
        )
        if record.tokens is None:
            store.ended_by.add(self.who.name)
        ledger.note(self.who.name, "saved", record.generation, what)
        if store.weather.strike("store", ("saved_in_spite",)):
            store.troubled += 1
            ledger.count("store:saved_in_spite")
            raise OSError("saved, and yet an error")

    def _check_alive(self, record: Record) -> None:
        """P13: what a session has logged out, it never saves any more."""
        if record.tokens is not None:
            issue = self.store.ledger.by_access[record.tokens.access_token]
            if self.who.name in issue.login.revoked_by:
                self.store.ledger.violate("P13", f"{self.who.name} saves {issue.name}, revoked")

    def _check_remade(self, before: Record | None, record: Record) -> None:
        """P5: another process's login in a file made anew is news, whatever its number."""
        store, ledger, who = self.store, self.store.ledger, self.who
        if before is None or before.tokens is None or store.lapsed:
            return
        there = ledger.by_access[before.tokens.access_token].login
        if there not in store.remade or record.login == before.login:
            return
        asked = who.log_ins > 0 or who.log_outs > 0 or who.not_saved > 0
        if not asked:
            ledger.violate("P5", f"{who.name} overwrites {there.name}, begun in a file made anew")

    def _check_winner(self, record: Record) -> None:
        """P5: a loser never overwrites a winner: newer tokens, or a login that began later."""
        store, ledger = self.store, self.store.ledger
        before = store.record
        self._check_remade(before, record)
        if before is None or before.tokens is None or store.lost:
            # After a loss the numbers begin anew, and say nothing any more.
            return
        winner = ledger.by_access[before.tokens.access_token]
        if record.tokens is None:
            # One call of log_out() may end several logins, of which some had only just begun.
            excused = self.who.not_saved or winner.login in self.who.ended
            if record.login != before.login and not excused:
                ledger.violate("P5", f"{self.who.name} overwrites {winner.name} with a log-out")
            return
        issue = ledger.by_access[record.tokens.access_token]
        if issue.login is winner.login:
            if issue.number < winner.number:
                ledger.violate("P5", f"{self.who.name} overwrites {winner.name} with {issue.name}")
        elif issue.number > 1 and not self.who.not_saved:
            ledger.violate("P13", f"{self.who.name} overwrites {winner.name} with {issue.name}")
