"""Records: from generations to what the store keeps, and back.

Saving is a compare-and-swap on the record's number. Three rules:

1. The first one to save wins, the other adopts. If another session has saved since this one last
   looked, its record counts: `Records.save_or_adopt` returns what to land with.
2. If the store fails, the login goes on. The record stays in `Vault.pending`, the observers get
   `NotSaved`, and it is saved later: `Records.swallow_store_errors`.
3. The end of a login is a record without tokens, a tombstone. It never replaces the record of a
   newer login: `Records.tell_ended`.

Other sessions adopt only higher numbers. So a record that is to be news gets a number above that of
the stored one, whatever number its generation has here.
"""

from __future__ import annotations

import math
import random
from contextlib import contextmanager
from typing import TYPE_CHECKING, final

import attrs
import trio

from trioauth import events
from trioauth._errors import StoreConflictError, careful
from trioauth.stores._contract import Record

from .flight import NO_LOSS, Generation, Login, Loss
from .login_state import LoggedOut
from .retry import one_more_loss
from .state import Closed, Refreshing, Rejected, generation_of, on_adoption

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from trioauth._tokens import Tokens

    from .flight import Flight
    from .machine import Machine
    from .state import Landing
    from .vault import Vault

# How often a save is tried that loses the compare-and-swap. With a lock that works, it never does.
_SAVE_ATTEMPTS = 3


@final
@attrs.define(eq=False, repr=False)
class Records:
    """Turns generations into records and records into generations, and saves records."""

    machine: Machine
    vault: Vault
    needs_refresh_token: bool
    """Whether the grant can't obtain tokens without a refresh token."""
    save_later: Callable[[], None] = attrs.field(default=lambda: None)
    """Starts the timer that saves again; set in ``_opening``, because timers lie above this."""
    jitter: Callable[[int], float] = attrs.field(default=lambda _: random.random())  # noqa: S311
    """Takes the number of a generation; see `Generation.schedule`. Not a secret."""
    _missed_news: Record | None = attrs.field(default=None, init=False, repr=False)
    """News that `save_again` found after closing, for a renewal that still waits for the lock."""

    # --- generations -----------------------------------------------------------------------

    def next_generation(self, tokens: Tokens, login: Login, asked_at: float) -> Generation:
        """Make the next generation from tokens that were just obtained. Not a checkpoint."""
        login.loss = NO_LOSS
        return self._schedule(self._next_number(), tokens, login, asked_at)

    def rotated(self, base: Generation, refresh_token: str) -> Generation:
        """Make a generation with a new refresh token and the old access token. Not a checkpoint."""
        tokens = attrs.evolve(base.tokens, refresh_token=refresh_token)
        base.login.loss = NO_LOSS
        number, asked_at = self._next_number(), base.expires_at - base.lifetime
        if not math.isfinite(asked_at):
            asked_at = self.machine.clock.now()
        return self._schedule(number, tokens, base.login, asked_at)

    def restore(self, record: Record, tokens: Tokens) -> Generation:
        """Make a generation from a record and its tokens. Not a checkpoint."""
        machine = self.machine
        machine.number = max(machine.number + 1, record.generation)
        login = machine.login
        if login is None or login.id != record.login or login.outcome is not None:
            login = Login(record.login)
        login.loss = self._loss(record)
        asked_at = machine.clock.now()
        if record.expires_at_unix is None or tokens.expires_in is None:
            tokens = attrs.evolve(tokens, expires_in=None)
        else:
            # If the wall clock was set back, the token must not live longer than ``expires_in``.
            expires_at = machine.clock.from_unix(record.expires_at_unix)
            asked_at = min(asked_at, expires_at - tokens.expires_in)
        return self._schedule(machine.number, tokens, login, asked_at, adopted=True)

    def _next_number(self) -> int:
        self.machine.number = max(self.machine.number, self.vault.synced) + 1
        return self.machine.number

    def _schedule(
        self, number: int, tokens: Tokens, login: Login, asked_at: float, *, adopted: bool = False
    ) -> Generation:
        login.newest, login.generation = tokens, number
        return Generation.schedule(
            number,
            login,
            tokens,
            asked_at=asked_at,
            policy=self.machine.policy,
            jitter=self.jitter(number),
            renewable=tokens.refresh_token is not None or not self.needs_refresh_token,
            adopted=adopted,
            obtained_at=self.machine.clock.now(),
        )

    def _loss(self, record: Record) -> Loss:
        if not record.unanswered or record.quiet_until_unix is None:
            return NO_LOSS
        clock = self.machine.clock
        # The clock of another machine may be a day ahead, so cap the pause at its full length.
        longest = one_more_loss(Loss(record.unanswered - 1), now=clock.now()).quiet_until
        return Loss(record.unanswered, min(clock.from_unix(record.quiet_until_unix), longest))

    # --- looking into the store ------------------------------------------------------------

    async def news(self, *, has_login: bool) -> Generation | LoggedOut | None:
        """Adopt what another session has saved, if it is news.

        Returns the generation; `LoggedOut` if another session has ended the login; else None.

        Raises:
          StoreError: The store can't be read, or holds another client's login.

        Cancellation:
          Safe. Either nothing was adopted, or all of it.
        """
        news = await self.vault.news(self.machine.ended_logins)
        record, missed, self._missed_news = news, self._missed_news, None
        if record is None and missed is not None and missed.generation == self.vault.synced:
            record = missed
        if record is None:
            return None
        if record.tokens is None:
            # A tombstone: it ends our login, if there is one.
            return LoggedOut("elsewhere", at_unix=record.ended_at_unix) if has_login else None
        current = generation_of(self.machine.state)
        if current is not None and self._is_held(record, current):
            # Both may have lost an answer to this refresh token: the longer pause counts.
            loss, ours = self._loss(record), current.login.loss
            current.login.loss = max(loss, ours, key=lambda each: each.quiet_until)
            return None
        generation = self.restore(record, record.tokens)
        self.machine.become(on_adoption(self.machine.state, generation))
        return generation

    def _is_held(self, record: Record, current: Generation) -> bool:
        """Say whether a record has our tokens, with no later expiry.

        Some servers renew by answering with the same tokens and a new lifetime. That is news,
        unless the access token was rejected: then it is still the rejected one.
        """
        tokens = record.tokens
        if (
            tokens is None
            or current.login.id != record.login
            or current.tokens.access_token != tokens.access_token
            or current.tokens.refresh_token != tokens.refresh_token
        ):
            return False
        state = self.machine.state
        rejected = isinstance(state, Rejected) or (isinstance(state, Refreshing) and state.rejected)
        if rejected or record.expires_at_unix is None:
            return True
        # Clocks and rounding may differ by up to a second.
        return self.machine.clock.from_unix(record.expires_at_unix) <= current.expires_at + 1

    def replace_stored(self, record: Record | None) -> None:
        """Let a new login, which always wins, replace the stored record. Not a checkpoint."""
        self.vault.note(record)
        if record is not None:
            self.machine.ended_logins |= {record.login}

    # --- saving ----------------------------------------------------------------------------

    async def save_or_adopt(self, landing: Landing, base: Generation | None) -> Landing:
        """Save a landing, or adopt what another session has saved first (rule 1).

        Returns what to land with: ``landing``, saved or not, or what was adopted. ``base`` is of
        the login that it is about; without one there is nothing to save.

        Cancellation:
          All or nothing in the store. What was not saved is kept in memory and saved later.
        """
        generation = landing if isinstance(landing, Generation) else None
        outcome = landing if isinstance(landing, LoggedOut) else None
        if base is None:
            return landing
        with self.swallow_store_errors(generation, base.login, outcome):
            for _ in range(_SAVE_ATTEMPTS):
                try:
                    record = self.record(generation, base.login, outcome)
                    if record.generation <= self.vault.synced:
                        # Another session has marked the old tokens with this number: renumber.
                        record = attrs.evolve(record, generation=self._next_number())
                    await self.save(record)
                except StoreConflictError:
                    news = await self.news(has_login=True)
                    if news is not None:
                        return news
                else:
                    return landing
            raise StoreConflictError("others save at the same time, in spite of the store's lock")
        return landing

    async def save(self, record: Record) -> None:
        """Save a record, and tell the observers.

        Cancellation:
          All or nothing.
        """
        await self.vault.save(record)
        self.machine.tell(events.Saved(time=trio.current_time(), generation=record.generation))

    def record(
        self, generation: Generation | None, login: Login, outcome: LoggedOut | None = None
    ) -> Record:
        """Make the record of a generation, or the tombstone of a login. Not a checkpoint."""
        owner = self.vault.owner or (self.vault.stored.owner if self.vault.stored else "")
        if generation is None:
            return Record(
                self._next_number(),
                None,
                login=login.id,
                owner=owner,
                ended=None if outcome is None else outcome.reason,
                ended_at_unix=None if outcome is None else outcome.at_unix,
            )
        clock, known = self.machine.clock, generation.tokens.expires_in is not None
        return Record(
            generation.number,
            generation.tokens,
            login=login.id,
            owner=owner,
            expires_at_unix=clock.to_unix(generation.expires_at) if known else None,
            unanswered=login.loss.flights,
            quiet_until_unix=clock.to_unix(login.loss.quiet_until) if login.loss.flights else None,
        )

    async def mark_loss(self, base: Generation) -> None:
        """Save the tokens again, marked: other sessions learn that an answer was lost (P5).

        Cancellation:
          All or nothing.
        """
        vault, login = self.vault, base.login
        ended = login.outcome
        if not vault.shared or (ended is not None and ended.reason != "unavailable"):
            # The tombstone is saved instead. (After "unavailable" the tokens stay in the store.)
            return
        if (vault.pending or vault.stored) is None:
            # Other sessions have no record of this refresh token. Don't give them a doubtful one.
            return
        if vault.pending is not None and vault.pending.login != login.id:
            # The record of a newer login is still to be saved. Don't replace it.
            return
        record = attrs.evolve(self.record(base, login), generation=self._next_number())
        with self.swallow_store_errors(base, login):
            await self.save(record)

    async def tell_ended(self, login: Login) -> None:
        """Save the tombstone of a login, unless the store has a newer login (rule 3).

        Cancellation:
          All or nothing.
        """
        news = await self.vault.news(self.machine.ended_logins)
        stored = self.vault.stored
        if stored is not None:
            # `news` reports a record once, perhaps to another flight of this session: so compare
            # generations, too. Not only these: a login that was never saved may have a higher
            # number than one that another process has begun since. So compare ids as well.
            newer = news is not None or stored.generation >= login.generation
            ours = stored.login in {login.replaces, *self.machine.ended_logins}
            if stored.login != login.id and (newer or not ours):
                # Another process has begun a login: nothing about ours is left to save.
                self.vault.forget(login)
                return
            if newer and stored.tokens is not None:
                # Another process has refreshed this login: those tokens are to be revoked.
                login.newest = stored.tokens
        pending = self.vault.pending
        if pending is None or pending.tokens is None or pending.login in self.machine.ended_logins:
            await self.save(self.record(None, login, login.outcome))
        else:
            # The record of a newer login is still to be saved: save that instead.
            await self.save(attrs.evolve(pending, generation=self._next_number()))

    async def save_again(self, flight: Flight[Landing]) -> Landing | None:
        """Save the pending record, unless another session has saved something newer.

        Cancellation:
          All or nothing.
        """
        flight.doing = "waiting for the token store"
        pending, login = self.vault.pending, self.machine.login
        if pending is None:
            return None
        if pending.tokens is None and login is not None and pending.login == login.id:
            await self.tell_ended(login)
            return None
        before, was = self.vault.synced, self.vault.stored
        news = await self.news(has_login=generation_of(self.machine.state) is not None)
        if isinstance(self.machine.state, Closed) and self.vault.synced != before:
            self._missed_news = self.vault.stored
        pending, stored = self.vault.pending, self.vault.stored
        if pending is not None:
            marks = was is not None and pending.tokens == was.tokens is not None
            if marks and stored is not None and stored.tokens != pending.tokens:
                # It only marks tokens that another process has replaced since.
                self.vault.pending = None
                return news if isinstance(news, LoggedOut) else None
            if pending.generation <= self.vault.synced:
                # The store has passed this number: renumber.
                pending = attrs.evolve(pending, generation=self._next_number())
            await self.save(pending)
        return news if isinstance(news, LoggedOut) else None

    @contextmanager
    def swallow_store_errors(
        self,
        generation: Generation | None,
        login: Login,
        outcome: LoggedOut | None = None,
        *,
        flight: Flight[Landing] | None = None,
    ) -> Generator[None, None, None]:
        """Swallow an `Exception` of the block: tell the observers, and save later (rule 2).

        A cancellation is raised again, after the same was done: the record may not be saved. The
        arguments are those of `record`; the exception is noted in ``flight``.
        """
        try:
            yield
        except Exception as exc:  # noqa: BLE001  # told to the observers
            if flight is not None:
                flight.unsaved = exc
            self._not_saved(generation, login, outcome, exc)
        except BaseException:
            if self._is_stored(generation, login):
                # The save succeeded. An observer raised this when it was told of it.
                raise
            # Cancelled. Observers get an error that says more to a person than `trio.Cancelled`.
            late = trio.TooSlowError("the token store did not take it in time")
            if flight is not None:
                flight.unsaved = late
            self._not_saved(generation, login, outcome, late)
            raise

    def _is_stored(self, generation: Generation | None, login: Login) -> bool:
        """Say whether the store has these tokens, or this tombstone. Not a checkpoint."""
        stored, tokens = self.vault.stored, None if generation is None else generation.tokens
        return (
            self.vault.pending is None
            and stored is not None
            and (stored.login, stored.tokens) == (login.id, tokens)
        )

    def _not_saved(
        self,
        generation: Generation | None,
        login: Login,
        outcome: LoggedOut | None,
        why: BaseException,
    ) -> None:
        record = self.vault.pending
        tokens = None if generation is None else generation.tokens
        if generation is not None and login.outcome is not None:
            # This login has ended: don't save its tokens.
            return
        if record is None or (record.login, record.tokens) != (login.id, tokens):
            # `Vault.save` was never reached, so mark it pending here.
            record = self.vault.pending = self.record(generation, login, outcome)
        self.machine.tell(
            events.NotSaved(
                time=trio.current_time(),
                generation=record.generation,
                error=type(why).__name__,
                words=careful(why),
            )
        )
        self.save_later()

    def tell_lost(self) -> None:
        """Tell the observers that the pending record is lost: the session is closed."""
        unsaved, pending = self.machine.journal.unsaved, self.vault.pending
        if unsaved is not None and pending is not None:
            now, number = trio.current_time(), pending.generation
            self.machine.tell(attrs.evolve(unsaved, time=now, generation=number, lost=True))
