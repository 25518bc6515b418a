"""check_store: check that a token store keeps the promises of TokenStore."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, final

import attrs
import trio

from trioauth._errors import StoreConflictError
from trioauth._identity import Identity
from trioauth._tokens import Tokens
from trioauth.stores._contract import Record, changed_of, probe_store

from ._check_changed import ChangedCheck
from ._check_delete import DeleteCheck
from ._check_keys import KEY, KeyCheck
from ._check_lock import LockCheck
from ._conformance import at_each_checkpoint, broken, ends_as_cancelled, kind, shows, yields

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trioauth.stores._contract import KeyedStore, TokenStore

    from ._checkpoints import Victim

_MARK = "check-store"
_LAST_GENERATION = 2**63 - 1
_FIELDS = (
    *("generation", "login", "expires_at_unix", "owner"),
    *("ended", "ended_at_unix", "unanswered", "quiet_until_unix"),
)
_KINDS = {
    "with everything in it": Record(
        1,
        Tokens(
            f"{_MARK}-access",
            f"{_MARK}-refresh",
            3600.0,
            "read write",
            identity=Identity({"iss": "https://id.test", "sub": "ü", "address": {"country": "CH"}}),
        ),
        login="a login",
        expires_at_unix=1_900_000_000.25,
        owner="https://id.test/token as ü",
        unanswered=2,
        quiet_until_unix=1_900_000_300.5,
    ),
    "with nothing but an access token": Record(1, Tokens(f"{_MARK}-access")),
    "without tokens, which says that the login was ended": Record(
        1, login="a login", ended="refused", ended_at_unix=1_900_000_600.75
    ),
    "of long tokens with quotes, backslashes and percent signs": Record(
        1, Tokens(f"{_MARK}-/+=~" + 1000 * "long", rf"""{_MARK}-'"\\%s{{}}$&;--"""), login="ü"
    ),
}


async def check_store(
    make_store: Callable[[], TokenStore | KeyedStore], *, patience: float = 10.0
) -> None:
    """Check that a store of your own keeps the promises of `trioauth.TokenStore`.

    Or, if it has a method ``at``, those of `trioauth.KeyedStore`.

    ::

        async def test_our_store_keeps_the_promises_of_a_store(tmp_path):
            await check_store(lambda: OurStore(tmp_path / "tokens.db"))

    It checks these promises:

    - ``load`` of an empty store returns None; later it returns every field of the record.
    - ``save`` is a compare-and-swap by generation.
    - The lock keeps out other tasks and other instances, and is released after an error, too.
    - A cancelled ``save`` has saved all or nothing, at whichever checkpoint it was cancelled.
    - Every method is a checkpoint.
    - No ``repr`` and no error shows a token.
    - ``probe``, if there is one, changes nothing.
    - ``delete``, if there is one, compares as ``save`` does, and deletes all or nothing.
    - ``changed``, if there is one, returns after a save, also one that came between two calls.
    - ``at``, if there is one: keys have nothing in common, odd ones neither, and bad ones are
      refused.

    It can't check other processes, nor a power cut. It takes about a second for a store on a disk.
    With an autojump clock (`trio.testing.MockClock`) it works only for a store in memory, because
    such a clock does not wait for threads and sockets.

    Args:
      make_store: Returns a store. All of them must share one place, empty at first, and used by
          no other program; the check leaves records in it. If instances of your store share
          nothing, return the same instance each time.
      patience: Seconds after which a lock counts as never released; by default 10.

    Cancellation:
      Safe. Its records are left in the store.

    Raises:
      AssertionError: A promise is broken. The message says which, and how to mend it.
    """
    store, other = make_store(), make_store()
    if not hasattr(store, "at"):
        one: Any = store
        another: Any = other
        await (await _check_one(one, another, patience)).last_generation()
        return
    many: Any = store
    others: Any = other
    keys = KeyCheck(many, others, patience)
    keys.shape()
    keys.refusals()
    check = await _check_one(keys.at(many, KEY, "plain"), keys.at(others, KEY, "plain"), patience)
    await keys.exclusion()
    if (changed := changed_of(store)) is not None:
        await check.changed(changed, KEY)
    await keys.isolation()
    await keys.deletion()
    await check.last_generation()


async def _check_one(store: TokenStore, other: TokenStore, patience: float) -> _Check:
    locks = LockCheck(store, other, patience)
    check = _Check(store, other, locks)
    locks.shape()
    await check.beginning()
    await check.round_trips()
    await check.conflicts()
    await locks.exclusion()
    await locks.letting_go()
    await locks.cancellation()
    await at_each_checkpoint(check.cancelled_save)
    if hasattr(store, "probe"):
        await check.probe()
        await at_each_checkpoint(check.cancelled_probe)
    if hasattr(store, "delete"):
        await check.delete()
    if (changed := changed_of(store)) is not None:
        await check.changed(changed, "")
    return check


@final
@attrs.define(eq=False)
class _Check:
    """The checks of records. Each relies on those before it."""

    store: TokenStore
    other: TokenStore
    locks: LockCheck
    stored: Record | None = attrs.field(default=None, init=False)

    @property
    def generation(self) -> int:
        """The generation that is stored; 0 if there is none."""
        return 0 if self.stored is None else self.stored.generation

    def next(self) -> Record:
        """Make a record of the next generation, with tokens that no other record has."""
        number = self.generation + 1
        tokens = Tokens(f"{_MARK}-{number}-access", f"{_MARK}-{number}-refresh", 60.0 + number)
        return Record(number, tokens, login=f"login {number}", expires_at_unix=2e9 + number)

    async def beginning(self) -> None:
        """Look at an empty store, and at the methods themselves."""
        record = await self.load(self.store, "of an empty store")
        if record is not None:
            broken(
                f"load() must return None before anything was saved, and returned a {kind(record)}:"
                " return None there, and give check_store() a place that is empty"
            )
        await self.conflict(1)
        await self.put(self.next(), "that is the first")
        await yields("load()", self.store.load)
        await yields("entering lock()", self.locks.pass_through)
        record, expected = self.next(), self.generation
        async with self.locks.locked(self.store, "between saves: let go when the block is left"):
            await yields("save()", lambda: self.store.save(record, expected=expected))
        self.stored = record

    async def round_trips(self) -> None:
        """Save each kind of record, and load it again with each of the two stores."""
        for what, pattern in _KINDS.items():
            await self.put(attrs.evolve(pattern, generation=self.generation + 1), what)
            if _MARK in f"{self.store!r} {self.store}":
                broken("repr() of a store must show no token: hide it (attrs.field(repr=False))")

    async def last_generation(self) -> None:
        """Save the largest generation there can be. Nothing can be saved after it."""
        await self.put(attrs.evolve(self.next(), generation=_LAST_GENERATION), "2**63 - 1, as")

    async def put(self, record: Record, what: str) -> None:
        """Save a record with the right `expected`, and check that both stores return it."""
        problem: Exception | None = None
        async with self.locks.locked(self.store, "between saves: let go when the block is left"):
            try:
                await self.store.save(record, expected=self.generation)
            except Exception as exc:  # noqa: BLE001  # told outside the block, which may swallow it
                problem = exc
        if isinstance(problem, StoreConflictError):
            broken(
                f"save() must save when `expected` is the generation that is stored, here"
                f" {self.generation}, and raised StoreConflictError: compare with what is stored,"
                " 0 if there is no record; one without tokens is a record, too",
                problem,
            )
        if problem is not None:
            broken(
                f"save() must save a record {what}, and raised {kind(problem)}: keep the text of"
                " Record.to_text(), which has room for all of it",
                problem,
            )
        loaded = await self.load(self.store, f"of a record {what}")
        if lost := _difference(record, loaded):
            broken(
                f"load() must return what was saved, and of a record {what} {lost} did not come"
                " back: keep the text of Record.to_text(), and load with Record.from_text()"
            )
        if _difference(record, await self.load(self.other, f"of a record {what}")):
            broken(
                "load() must return what another store of that place saved, and did not: look there"
                " each time; or, for a store that shares with no other, let make_store return the"
                " same one each time"
            )
        self.stored = record

    async def conflicts(self) -> None:
        """Save with a wrong `expected` in each way that it can be wrong."""
        for expected in (0, self.generation - 1, self.generation + 1):
            await self.conflict(expected)
        # The other instance saves. This one must read the store, and not trust its memory.
        before = self.generation
        await self.save_elsewhere()
        await self.conflict(before)

    async def conflict(self, expected: int) -> None:
        """Save with an `expected` that is not the stored generation: a conflict."""
        rule = (
            "save() must raise StoreConflictError, and write nothing, if another generation than"
            " `expected` is stored"
        )
        problem: Exception | None = None
        loser = attrs.evolve(self.next(), generation=self.generation + 7)
        async with self.locks.locked(self.store, "between saves: let go when the block is left"):
            try:
                await self.store.save(loser, expected=expected)
            except Exception as exc:  # noqa: BLE001  # looked at outside the block
                problem = exc
        if problem is None:
            broken(
                f"{rule}; it raised nothing: compare with what is stored at that moment, or a"
                " loser overwrites the tokens of the winner"
            )
        if not isinstance(problem, StoreConflictError):
            broken(f"{rule}; it raised {kind(problem)}: raise that one", problem)
        if shows(problem, (_MARK,)):
            broken("StoreConflictError must show no token: name the two generations only")
        if _difference(self.stored, await self.load(self.store, "after a conflict")):
            broken(f"{rule}; it raised, and wrote all the same: compare before you write")

    async def cancelled_save(self, victim: Victim) -> None:
        """Cancel a save, and check what is stored then."""
        before, record, expected = self.stored, self.next(), self.generation
        async with self.locks.locked(self.store, "between saves: let go when the block is left"):
            await ends_as_cancelled(
                "save()", victim, lambda: self.store.save(record, expected=expected)
            )
        await self.all_or_nothing(before, record)
        # Once the other store has the lock, a thread that was left behind has ended.
        async with self.locks.locked(self.other, "after a save() that was cancelled"):
            self.stored = await self.all_or_nothing(before, record)

    async def probe(self) -> None:
        """Call `probe` of a store that can save."""
        problem: Exception | None = None
        async with self.locks.locked(self.store, "between probes: let go when the block is left"):
            with trio.move_on_after(self.locks.patience) as waiting:
                try:
                    await yields("probe()", partial(probe_store, self.store))
                except AssertionError:
                    raise
                except Exception as exc:  # noqa: BLE001  # told outside the block
                    problem = exc
        if waiting.cancelled_caught:
            broken(
                f"probe() must not wait for the lock, and took more than {self.locks.patience}"
                " seconds: it is called with the lock held, so don't lock in it"
            )
        if problem is not None:
            broken(
                f"probe() must raise nothing while save() can save, and raised {kind(problem)}: let"
                " it be async, don't lock in it, and raise StoreError only for what save() would"
                " fail of, too",
                problem,
            )
        await self.unchanged("after a probe()")
        await self.put(self.next(), "after a probe()")

    async def cancelled_probe(self, victim: Victim) -> None:
        """Cancel a probe, and check that nothing was changed."""
        async with self.locks.locked(self.store, "between probes: let go when the block is left"):
            await ends_as_cancelled("probe()", victim, partial(probe_store, self.store))
        # Once the other store has the lock, a thread that was left behind has ended.
        async with self.locks.locked(self.other, "after a probe() that was cancelled"):
            await self.unchanged("after a probe() that was cancelled")

    async def delete(self) -> None:
        """Delete records, and save others where they were."""
        check = DeleteCheck(self.store, self.other, self.locks, self._put_next)
        await check.conflict()
        await check.deletion()
        await at_each_checkpoint(check.cancelled)
        await self._put_next()

    async def _put_next(self) -> int:
        self.stored = await self.load(self.store, "after a delete()")
        await self.put(self.next(), "where one was deleted")
        return self.generation

    async def changed(self, changed: Callable[[], Awaitable[str | None]], key: str) -> None:
        """Wait for hints of what the other store saves."""
        check = ChangedCheck(changed, self.save_elsewhere, key, self.locks.patience)
        await check.hints()
        await at_each_checkpoint(check.cancelled)

    async def save_elsewhere(self) -> None:
        """Save another record through the other store."""
        record, expected = self.next(), self.generation
        async with self.locks.locked(self.other, "between saves: let go when the block is left"):
            await self.other.save(record, expected=expected)
        self.stored = record

    async def unchanged(self, when: str) -> None:
        """Check that the stored record is still the same."""
        if _difference(self.stored, await self.load(self.other, when)):
            broken(
                f"probe() must change nothing, and {when} another record is stored: try it beside"
                " what is stored, or in a transaction that is rolled back"
            )

    async def all_or_nothing(self, before: Record | None, record: Record) -> Record | None:
        """Load, and check that it is the old record or the new one."""
        loaded = await self.load(self.other, "after a save() that was cancelled")
        if _difference(before, loaded) and _difference(record, loaded):
            broken(
                "save() must be all or nothing when it is cancelled, and left something between the"
                " old record and the new: write the new one elsewhere, and replace the old one in"
                " one step (os.replace, or a transaction)"
            )
        return loaded

    async def load(self, store: TokenStore, which: str) -> Record | None:
        """Load, and check that it is a record or None."""
        loaded: Any
        try:
            loaded = await store.load()
        except Exception as exc:  # noqa: BLE001  # whatever it is
            broken(
                f"load() {which} must return a Record or None, and raised {kind(exc)}: let it be"
                " async, return None if nothing is stored, and never leave half a record behind",
                exc,
            )
        if loaded is not None and not isinstance(loaded, Record):
            broken(
                f"load() {which} must return a trioauth.Record or None, and returned a"
                f" {kind(loaded)}: Record.from_text() makes one of what Record.to_text() wrote"
            )
        return loaded


def _difference(saved: Record | None, loaded: Record | None) -> str | None:
    """Name the first field in which two records differ."""
    if saved is None or loaded is None:
        return None if saved is loaded else "the record itself"
    for name in _FIELDS:
        if getattr(saved, name) != getattr(loaded, name):
            return name
    if saved.tokens is None or loaded.tokens is None:
        return None if saved.tokens is loaded.tokens else "tokens"
    for name in ("access_token", "refresh_token", "expires_in", "scope", "token_type", "identity"):
        if getattr(saved.tokens, name) != getattr(loaded.tokens, name):
            return f"tokens.{name}"
    return None
