"""check_store: our own stores pass, and each way of breaking a store's promises is told apart."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
import trio.testing

from trioauth import FileStore, MemoryStore, Record, StoreConflictError, StoreError
from trioauth.testing import check_store

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("autojump_clock")


@attrs.define(eq=False)
class Place:
    """What the stores below share."""

    text: str | None = attrs.field(default=None, repr=False)
    lock: trio.Lock = attrs.field(factory=trio.Lock)
    taken: bool = False
    waiting: list[trio.Event] = attrs.field(factory=list)


@attrs.define(eq=False)
class Store:
    """A store that keeps its promises. What follows breaks one of them each."""

    place: Place

    def lock(self) -> Any:
        return self.place.lock

    async def load(self) -> Any:
        await trio.lowlevel.checkpoint()
        return self.read()

    async def save(self, record: Record, *, expected: int) -> None:
        await trio.lowlevel.checkpoint()
        self.compare(expected)
        self.write(record)

    def read(self) -> Any:
        return None if self.place.text is None else Record.from_text(self.place.text)

    def compare(self, expected: int) -> None:
        stored = self.read()
        found = 0 if stored is None else stored.generation
        if found != expected:
            raise StoreConflictError(f"generation {found} is stored, not {expected}")

    def write(self, record: Record) -> None:
        self.place.text = record.to_text()


# --- the stores of the library ----------------------------------------------------------------


async def test_a_store_that_keeps_its_promises_passes() -> None:
    place = Place()
    await check_store(lambda: Store(place))


async def test_memory_store_passes() -> None:
    store = MemoryStore()
    await check_store(lambda: store)


@pytest.mark.trio(run=trio.run)  # in real time: it works in threads
async def test_file_store_passes(tmp_path: Path) -> None:
    await check_store(lambda: FileStore(tmp_path / "tokens.json"))


async def test_an_assertion_of_the_stores_own_is_left_as_it_is() -> None:
    class Asserts(Store):
        loads = 0

        async def load(self) -> Any:
            Asserts.loads += 1
            assert self.loads != 5, "not a fifth time"
            return await super().load()

    place = Place()
    with pytest.raises(AssertionError, match="not a fifth time"):
        await check_store(lambda: Asserts(place))


async def test_stores_that_share_nothing_are_told_how_to_be_checked() -> None:
    with pytest.raises(AssertionError, match="let make_store return the same one each time$"):
        await check_store(MemoryStore)


# --- broken: what is loaded -------------------------------------------------------------------


class FindsNoRowAtFirst(Store):
    async def load(self) -> Any:
        if self.place.text is None:
            raise LookupError("no row")
        return await super().load()


class FindsSomethingAtFirst(Store):
    def read(self) -> Any:
        return super().read() or Record(1)


class LoadsText(Store):
    def read(self) -> Any:
        return self.place.text

    def compare(self, expected: int) -> None:
        found = 0 if self.place.text is None else Record.from_text(self.place.text).generation
        if found != expected:
            raise StoreConflictError("another generation is stored")


class LoadsSynchronously(Store):
    def load(self) -> Any:
        return self.read()


class LoadsWithoutCheckpoint(Store):
    async def load(self) -> Any:
        return self.read()


class SavesWithoutCheckpoint(Store):
    async def save(self, record: Record, *, expected: int) -> None:
        self.compare(expected)
        self.write(record)


class LocksWithoutCheckpoint(Store):
    @asynccontextmanager
    async def lock(self) -> AsyncGenerator[None, None]:
        while self.place.taken:
            await trio.sleep(0.01)
        self.place.taken = True
        try:
            yield
        finally:
            self.place.taken = False


class Forgets(Store):
    def write(self, record: Record) -> None:
        super().write(self.forget(record))

    def forget(self, record: Record) -> Record:
        raise NotImplementedError


class RoundsTheExpiry(Forgets):
    def forget(self, record: Record) -> Record:
        moment = record.expires_at_unix
        return attrs.evolve(record, expires_at_unix=None if moment is None else int(moment))


class ForgetsTheScope(Forgets):
    def forget(self, record: Record) -> Record:
        tokens = record.tokens and attrs.evolve(record.tokens, scope="")
        return attrs.evolve(record, tokens=tokens)


class HasSomeColumnsOnly(Forgets):
    """Keeps what version 0.1.0 had."""

    def forget(self, record: Record) -> Record:
        tokens, login, expiry = record.tokens, record.login, record.expires_at_unix
        return Record(record.generation, tokens, login=login, expires_at_unix=expiry)


class MakesUpALifetime(Forgets):
    def forget(self, record: Record) -> Record:
        tokens = record.tokens
        if tokens is not None and tokens.expires_in is None:
            tokens = attrs.evolve(tokens, expires_in=0)
        return attrs.evolve(record, tokens=tokens)


class ForgetsTheIdentity(Forgets):
    # One that has a column for each field, and was made when there was none for this one.
    def forget(self, record: Record) -> Record:
        tokens = record.tokens
        if tokens is not None:
            tokens = attrs.evolve(tokens, identity=None)
        return attrs.evolve(record, tokens=tokens)


class CutsLongTokens(Forgets):
    def forget(self, record: Record) -> Record:
        tokens = record.tokens
        if tokens is not None:
            tokens = attrs.evolve(tokens, access_token=tokens.access_token[:255])
        return attrs.evolve(record, tokens=tokens)


class CannotQuote(Store):
    def write(self, record: Record) -> None:
        if record.tokens is not None and "'" in (record.tokens.refresh_token or ""):
            raise StoreError('syntax error near "\'"')
        super().write(record)


class DeletesOnLogout(Store):
    def write(self, record: Record) -> None:
        super().write(record)
        if record.tokens is None:
            self.place.text = None


@attrs.define(eq=False)
class BelievesItsMemory(Store):
    remembered: Record | None = None

    def read(self) -> Any:
        self.remembered = self.remembered or super().read()
        return self.remembered

    def write(self, record: Record) -> None:
        super().write(record)
        self.remembered = record


@attrs.define(eq=False)
class ShowsTokens(Store):
    def __repr__(self) -> str:
        return f"<a store of {self.place.text}>"


# --- broken: compare and swap -----------------------------------------------------------------


class NeverCompares(Store):
    def compare(self, expected: int) -> None:
        pass


class NeverComparesAtFirst(Store):
    def compare(self, expected: int) -> None:
        if self.place.text is not None:
            super().compare(expected)


class ComparesWithLess(Store):
    def compare(self, expected: int) -> None:
        stored = self.read()
        if (0 if stored is None else stored.generation) > expected:
            raise StoreConflictError("a newer generation is stored")


class TakesLogoutForNothing(Store):
    def compare(self, expected: int) -> None:
        stored = self.read()
        found = 0 if stored is None or stored.tokens is None else stored.generation
        if found != expected:
            raise StoreConflictError("another generation is stored")


class ConflictsAlways(Store):
    def compare(self, expected: int) -> None:
        raise StoreConflictError("no")


class RaisesValueError(Store):
    def compare(self, expected: int) -> None:
        try:
            super().compare(expected)
        except StoreConflictError:
            raise ValueError("conflict") from None


class WritesAndThenCompares(Store):
    async def save(self, record: Record, *, expected: int) -> None:
        await trio.lowlevel.checkpoint()
        before = self.read()
        self.write(record)
        if (0 if before is None else before.generation) != expected:
            raise StoreConflictError("another generation was stored")


class QuotesWhatIsStored(Store):
    def compare(self, expected: int) -> None:
        try:
            super().compare(expected)
        except StoreConflictError:
            # As a driver's error that quotes the statement.
            raise StoreConflictError("conflict") from KeyError(self.place.text)


@attrs.define(eq=False)
class ComparesWithItsMemory(Store):
    generation: int = 0

    async def load(self) -> Any:
        record = await super().load()
        self.generation = 0 if record is None else record.generation
        return record

    def compare(self, expected: int) -> None:
        if self.generation != expected:
            raise StoreConflictError("another generation is stored")

    def write(self, record: Record) -> None:
        super().write(record)
        self.generation = record.generation


# --- broken: the lock -------------------------------------------------------------------------


class LockIsACoroutine(Store):
    async def lock(self) -> Any:
        return self.place.lock


class LockIsSynchronous(Store):
    def lock(self) -> Any:
        import threading

        return threading.Lock()


class LocksNothing(Store):
    @asynccontextmanager
    async def lock(self) -> AsyncGenerator[None, None]:
        await trio.lowlevel.checkpoint()
        yield


@attrs.define(eq=False)
class LocksItselfOnly(Store):
    own: trio.Lock = attrs.field(factory=trio.Lock)

    def lock(self) -> Any:
        return self.own


class DoesNotWait(Store):
    @asynccontextmanager
    async def lock(self) -> AsyncGenerator[None, None]:
        await trio.lowlevel.checkpoint()
        try:
            self.place.lock.acquire_nowait()
        except trio.WouldBlock:
            raise StoreError("locked") from None
        try:
            yield
        finally:
            self.place.lock.release()


class WakesNobody(Store):
    @asynccontextmanager
    async def lock(self) -> AsyncGenerator[None, None]:
        await trio.lowlevel.checkpoint()
        if self.place.taken:
            await trio.Event().wait()
        self.place.taken = True
        try:
            yield
        finally:
            self.place.taken = False


class KeepsTheLockOnErrors(Store):
    @asynccontextmanager
    async def lock(self) -> AsyncGenerator[None, None]:
        await self.place.lock.acquire()
        yield
        self.place.lock.release()


class KeepsTheLockOnCancellation(Store):
    @asynccontextmanager
    async def lock(self) -> AsyncGenerator[None, None]:
        while self.place.taken:
            await trio.sleep(0.01)
        await trio.lowlevel.checkpoint()
        self.place.taken = True
        try:
            yield
        finally:
            await trio.lowlevel.checkpoint()  # "tell the server"
            self.place.taken = False


class SwallowsErrors(Store):
    @asynccontextmanager
    async def lock(self) -> AsyncGenerator[None, None]:
        async with self.place.lock:
            try:
                yield
            except Exception:
                pass


class SwallowsCancellation(Store):
    @asynccontextmanager
    async def lock(self) -> AsyncGenerator[None, None]:
        async with self.place.lock:
            try:
                yield
            except trio.Cancelled:
                pass


class KeepsWhatItTookWhenCancelledOnTheWay(Store):
    @asynccontextmanager
    async def lock(self) -> AsyncGenerator[None, None]:
        await self.place.lock.acquire()
        await trio.lowlevel.checkpoint()  # "read the row"
        try:
            yield
        finally:
            self.place.lock.release()


class HandsTheLockToTheDead(Store):
    """A task that waits gets a ticket, and keeps it when it is cancelled."""

    @asynccontextmanager
    async def lock(self) -> AsyncGenerator[None, None]:
        await trio.lowlevel.checkpoint()
        if self.place.taken:
            turn = trio.Event()
            self.place.waiting.append(turn)
            await turn.wait()
        self.place.taken = True
        try:
            yield
        finally:
            if self.place.waiting:
                self.place.waiting.pop(0).set()
            else:
                self.place.taken = False


class WrapsCancellationOfTheLock(Store):
    @asynccontextmanager
    async def lock(self) -> AsyncGenerator[None, None]:
        try:
            await self.place.lock.acquire()
        except BaseException as exc:
            raise StoreError("could not lock") from exc
        try:
            yield
        finally:
            self.place.lock.release()


class WrapsCancellationOfTheWait(Store):
    @asynccontextmanager
    async def lock(self) -> AsyncGenerator[None, None]:
        await trio.lowlevel.checkpoint()
        while self.place.taken:
            try:
                await trio.sleep(0.01)
            except BaseException as exc:
                raise StoreError("gave up waiting") from exc
        self.place.taken = True
        try:
            yield
        finally:
            self.place.taken = False


# --- broken: a save that is cancelled ---------------------------------------------------------


class DeletesThenInserts(Store):
    def write(self, record: Record) -> None:
        super().write(record)

    async def save(self, record: Record, *, expected: int) -> None:
        await trio.lowlevel.checkpoint()
        self.compare(expected)
        self.place.text = None
        await trio.lowlevel.checkpoint()
        self.write(record)


class UpdatesColumnByColumn(Store):
    async def save(self, record: Record, *, expected: int) -> None:
        await trio.lowlevel.checkpoint()
        self.compare(expected)
        before = self.read()
        if before is not None:
            self.write(attrs.evolve(before, tokens=record.tokens))
            await trio.lowlevel.checkpoint()
        self.write(record)


class WritesInPlace(Store):
    async def save(self, record: Record, *, expected: int) -> None:
        await trio.lowlevel.checkpoint()
        self.compare(expected)
        self.place.text = record.to_text()[:40]
        await trio.lowlevel.checkpoint()
        self.write(record)


class WrapsCancellationOfASave(Store):
    async def save(self, record: Record, *, expected: int) -> None:
        try:
            await trio.lowlevel.checkpoint()
        except BaseException as exc:
            raise StoreError("can't save") from exc
        self.compare(expected)
        self.write(record)


# --- broken: a probe --------------------------------------------------------------------------


class ProbesSynchronously(Store):
    def probe(self) -> None:
        pass


class ProbesWithoutCheckpoint(Store):
    async def probe(self) -> None:
        pass


class ProbeIsNeverContent(Store):
    async def probe(self) -> None:
        await trio.lowlevel.checkpoint()
        raise StoreError("better not")


class ProbeLocks(Store):
    async def probe(self) -> None:
        async with self.place.lock:
            pass


class ProbeWaitsForTheLock(Store):
    async def probe(self) -> None:
        while self.place.lock.locked():
            await trio.sleep(0.01)


class ProbeSaves(Store):
    async def probe(self) -> None:
        await trio.lowlevel.checkpoint()
        record = self.read()
        self.write(attrs.evolve(record, generation=record.generation + 1))


class ProbeMovesTheRecordAway(Store):
    async def probe(self) -> None:
        text, self.place.text = self.place.text, None
        await trio.lowlevel.checkpoint()
        self.place.text = text


@attrs.define(eq=False)
class ProbeIsInTheWay(Store):
    probed: bool = False

    async def probe(self) -> None:
        await trio.lowlevel.checkpoint()
        self.probed = True

    def write(self, record: Record) -> None:
        if self.probed:
            raise StoreError("in a transaction already")
        super().write(record)


class WrapsCancellationOfTheProbe(Store):
    async def probe(self) -> None:
        try:
            await trio.lowlevel.checkpoint()
        except BaseException as exc:
            raise StoreError("can't probe") from exc


BROKEN = {
    FindsNoRowAtFirst: "load.. of an empty store must return .* or None, and raised LookupError",
    FindsSomethingAtFirst: "load.. must return None before anything was saved",
    LoadsText: "must return a trioauth.Record or None, and returned a str",
    LoadsSynchronously: "and raised TypeError: let it be async",
    LoadsWithoutCheckpoint: "^load.. must be a checkpoint",
    SavesWithoutCheckpoint: "^save.. must be a checkpoint",
    LocksWithoutCheckpoint: "^entering lock.. must be a checkpoint",
    RoundsTheExpiry: "with everything in it expires_at_unix did not come back",
    ForgetsTheScope: "with everything in it tokens.scope did not come back",
    ForgetsTheIdentity: "with everything in it tokens.identity did not come back",
    MakesUpALifetime: "nothing but an access token tokens.expires_in did not come back",
    CutsLongTokens: "long tokens .* tokens.access_token did not come back",
    CannotQuote: "save.. must save a record of long tokens with quotes.*raised StoreError",
    DeletesOnLogout: "the login was ended the record itself did not come back",
    BelievesItsMemory: "load.. must return what another store of that place saved, and did not",
    ShowsTokens: "repr.. of a store must show no token",
    NeverCompares: "save.. must raise StoreConflictError.*it raised nothing",
    NeverComparesAtFirst: "save.. must raise StoreConflictError.*it raised nothing",
    ComparesWithLess: "save.. must raise StoreConflictError.*it raised nothing",
    TakesLogoutForNothing: "is stored, here 5, and raised StoreConflictError: .*is a record, too",
    ConflictsAlways: "is stored, here 0, and raised StoreConflictError",
    RaisesValueError: "it raised ValueError: raise that one",
    WritesAndThenCompares: "wrote all the same: compare before you write",
    QuotesWhatIsStored: "StoreConflictError must show no token",
    ComparesWithItsMemory: "save.. must raise StoreConflictError.*it raised nothing",
    LockIsACoroutine: "lock.. must return an async context manager, and returned a coroutine",
    LockIsSynchronous: "lock.. must return an async context manager, and returned a lock",
    LocksNothing: "let in a second task while it was held",
    LocksItselfOnly: "let in another store of that place while it was held",
    DoesNotWait: "must let a second task wait while it is held, and raised StoreError",
    WakesNobody: "must wake those who wait when it gets free, and a second task went on waiting",
    KeepsTheLockOnErrors: "must be free after an exception in its block",
    KeepsTheLockOnCancellation: "must be free after a cancellation in its block",
    SwallowsErrors: "must let exceptions of its block through",
    SwallowsCancellation: "must let trio.Cancelled of its block through",
    KeepsWhatItTookWhenCancelledOnTheWay: "free after a task was cancelled while locking it",
    HandsTheLockToTheDead: "free after a task was cancelled while waiting for it",
    WrapsCancellationOfTheLock: "lock.. must end with trio.Cancelled .* and raised StoreError",
    WrapsCancellationOfTheWait: "lock.. must end with trio.Cancelled .* and raised StoreError",
    DeletesThenInserts: "save.. must be all or nothing when it is cancelled",
    UpdatesColumnByColumn: "save.. must be all or nothing when it is cancelled",
    WritesInPlace: "load.. after a save.. that was cancelled must .* and raised ValueError",
    HasSomeColumnsOnly: "with everything in it owner did not come back",
    ProbesSynchronously: "probe.. must raise nothing .* and raised TypeError: let it be async",
    ProbesWithoutCheckpoint: "^probe.. must be a checkpoint",
    ProbeIsNeverContent: "probe.. must raise nothing while save.. can save, and raised StoreError",
    ProbeLocks: "probe.. must raise nothing .* and raised RuntimeError: .*don't lock in it",
    ProbeWaitsForTheLock: "probe.. must not wait for the lock, and took more than 10.0 seconds",
    ProbeSaves: "probe.. must change nothing, and after a probe.. another record is stored",
    ProbeMovesTheRecordAway: "must change nothing, and after a probe.. that was cancelled",
    ProbeIsInTheWay: "save.. must save a record after a probe.., and raised StoreError",
    WrapsCancellationOfTheProbe: "probe.. must end with trio.Cancelled .* and raised StoreError",
    WrapsCancellationOfASave: "save.. must end with trio.Cancelled .* and raised StoreError",
}


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
async def test_a_broken_store_is_told_which_promise_it_breaks(broken: type[Store]) -> None:
    place = Place()
    with pytest.raises(AssertionError, match=BROKEN[broken]) as info:
        await check_store(lambda: broken(place))
    sentence = str(info.value)
    assert "\n" not in sentence
    assert ":" in sentence or ";" in sentence, "it says how to mend it, too"


# What a store makes of a record, and what it is told.
FORGETFUL: dict[str, tuple[Callable[[Record], Record], str]] = {
    "forgets the expiry": (
        lambda record: attrs.evolve(record, expires_at_unix=None),
        "of a record that is the first expires_at_unix did not come back",
    ),
    "forgets the login": (lambda record: attrs.evolve(record, login=""), "login did not come back"),
    "forgets lost answers": (
        lambda record: attrs.evolve(record, unanswered=min(record.unanswered, 1)),
        "with everything in it unanswered did not come back",
    ),
    "forgets the pause": (
        lambda record: attrs.evolve(record, quiet_until_unix=None),
        "with everything in it quiet_until_unix did not come back",
    ),
    "forgets why the login ended": (
        lambda record: attrs.evolve(record, ended=None),
        "the login was ended ended did not come back",
    ),
    "forgets when the login ended": (
        lambda record: attrs.evolve(record, ended_at_unix=None),
        "the login was ended ended_at_unix did not come back",
    ),
    "has small integers": (
        lambda record: attrs.evolve(record, generation=min(record.generation, 2**31 - 1)),
        r"2\*\*63 - 1, as generation did not come back",
    ),
}


@pytest.mark.parametrize("what", FORGETFUL)
async def test_a_store_that_forgets_a_part_of_a_record_is_told_which(what: str) -> None:
    class Forgetful(Forgets):
        def forget(self, record: Record) -> Record:
            return FORGETFUL[what][0](record)

    place = Place()
    with pytest.raises(AssertionError, match=FORGETFUL[what][1]):
        await check_store(lambda: Forgetful(place))


def test_every_broken_store_is_tried() -> None:
    stores = {
        kind for kind in globals().values() if isinstance(kind, type) and issubclass(kind, Store)
    }
    assert stores - BROKEN.keys() == {Store, Forgets, BreaksDown}


@attrs.define(eq=False)
class BreaksDown(Store):
    """Works for so many calls of a method, and then hangs, or fails."""

    method: str
    calls: int
    hangs: bool

    async def count(self, method: str) -> None:
        if method == self.method:
            self.calls -= 1
            if self.calls == 0 and self.hangs:
                await trio.sleep_forever()
            if self.calls == 0:
                raise OSError("broken down")

    @asynccontextmanager
    async def lock(self) -> AsyncGenerator[None, None]:
        async with self.place.lock:
            await self.count("lock")
            yield

    async def load(self) -> Any:
        await self.count("load")
        return await super().load()

    async def save(self, record: Record, *, expected: int) -> None:
        await self.count("save")
        await super().save(record, expected=expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "hangs"), [("lock", True), ("lock", False), ("load", False), ("save", False)]
)
def test_whenever_a_store_breaks_down_it_is_said_outside_any_group(
    method: str, hangs: bool
) -> None:
    async def check(calls: int) -> None:
        store = BreaksDown(Place(), method, calls, hangs)
        await check_store(lambda: store)

    problems: list[Exception] = []
    calls = 0
    while len(problems) == calls:
        calls += 1
        try:
            trio.run(check, calls, clock=trio.testing.MockClock(autojump_threshold=0))
        except Exception as exc:
            problems.append(exc)
    assert len(problems) > 10
    assert {type(problem) for problem in problems} - {OSError} == {AssertionError}
    if hangs:
        assert all(re.search("must be free|must wake those", str(each)) for each in problems)


async def test_patience_is_how_long_a_lock_may_take() -> None:
    place = Place()
    before = trio.current_time()
    with pytest.raises(AssertionError, match=r"it was not in 3 seconds$"):
        await check_store(lambda: KeepsTheLockOnErrors(place), patience=3)
    assert trio.current_time() - before < 4
