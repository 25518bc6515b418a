"""Records: from generations to what the store keeps, and back.

Three rules decide what happens to the store:

1. A loser adopts. When another session has saved since we looked, its record counts and ours is
   dropped: `Records.secure` returns what to land with.
2. The store may fail, the login goes on. What could not be saved is kept in memory, told to the
   observers, and saved later: `Records.kept_in_memory`.
3. A record about an ended login never replaces the next login: `Records.tell_ended`.
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
from .state import Closed, Refreshing, Rejected, held, on_adoption

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from trioauth._tokens import Tokens

    from .flight import Flight
    from .machine import Machine
    from .state import Landing
    from .vault import Vault

# With a lock that works, once is enough.
_SAVE_ATTEMPTS = 3


@final
@attrs.define(eq=False, repr=False)
class Records:
    """What a session knows as generations, and the store as records."""

    machine: Machine
    vault: Vault
    needs_refresh_token: bool
    """Whether the grant can only refuse without a refresh token."""
    save_later: Callable[[], None] = attrs.field(default=lambda: None)
    """Starts saving again what could not be saved; set by what has the timers."""
    _unheeded: Record | None = attrs.field(default=None, init=False, repr=False)
    """News that came when the session was closed, and no state could take it in: the renewal that
    still waits for the lock needs it."""

    # --- generations -----------------------------------------------------------------------

    def next_generation(self, tokens: Tokens, login: Login, asked_at: float) -> Generation:
        """Make the next generation of tokens that were just obtained. Not a checkpoint."""
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
        """Make a generation of a record of others and its tokens. Not a checkpoint."""
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
            # A wall clock that was set back must not make a token live longer than it was given.
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
            jitter=random.random(),  # noqa: S311  # not a secret
            renewable=tokens.refresh_token is not None or not self.needs_refresh_token,
            adopted=adopted,
            obtained_at=self.machine.clock.now(),
        )

    def _loss(self, record: Record) -> Loss:
        if not record.unanswered or record.quiet_until_unix is None:
            return NO_LOSS
        clock = self.machine.clock
        # Another machine's clock may be a day ahead: a pause is no longer than its own length.
        longest = one_more_loss(Loss(record.unanswered - 1), now=clock.now()).quiet_until
        return Loss(record.unanswered, min(clock.from_unix(record.quiet_until_unix), longest))

    # --- looking into the store ------------------------------------------------------------

    async def news(self, *, has_login: bool) -> Generation | LoggedOut | None:
        """Return what others have saved and we adopt, or that they logged out; None if neither.

        Raises:
          StoreError: The store can't be read, or holds another client's login.

        Cancellation:
          Safe. What was adopted is adopted.
        """
        news = await self.vault.news(self.machine.over)
        record, unheeded, self._unheeded = news, self._unheeded, None
        if record is None and unheeded is not None and unheeded.generation == self.vault.synced:
            record = unheeded
        if record is None:
            return None
        if record.tokens is None:
            # A session that waits for its first login learns nothing from a log-out.
            return LoggedOut("elsewhere", at_unix=record.ended_at_unix) if has_login else None
        current = held(self.machine.state)
        if current is not None and self._is_held(record, current):
            # Others have lost an answer to this refresh token, as we may have done ourselves.
            loss, ours = self._loss(record), current.login.loss
            current.login.loss = max(loss, ours, key=lambda each: each.quiet_until)
            return None
        generation = self.restore(record, record.tokens)
        self.machine.become(on_adoption(self.machine.state, generation))
        return generation

    def _is_held(self, record: Record, current: Generation) -> bool:
        """Say whether a record has the tokens that we have, and nothing newer about them.

        Some servers forgive a repeated request with the same answer, and some renew by answering
        with the same tokens and a new lifetime: that is news, unless a server has refused them.
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
        # A second is what clocks and rounding may be apart.
        return self.machine.clock.from_unix(record.expires_at_unix) <= current.expires_at + 1

    def supersede(self, record: Record | None) -> None:
        """Let a new login take the place of what is stored. Not a checkpoint.

        Whatever that is: a login is a person's wish, and younger.
        """
        self.vault.note(record)
        if record is not None:
            self.machine.over.add(record.login)

    # --- saving ----------------------------------------------------------------------------

    async def secure(self, landing: Landing, base: Generation | None) -> Landing:
        """Put what was learned into the store; return what to land with.

        That is ``landing``, saved or not, unless others were in the store since we looked.

        Cancellation:
          All or nothing in the store. What is not there is kept in memory and saved later.
        """
        generation = landing if isinstance(landing, Generation) else None
        outcome = landing if isinstance(landing, LoggedOut) else None
        if base is None:
            return landing
        with self.kept_in_memory(generation, base.login, outcome):
            for _ in range(_SAVE_ATTEMPTS):
                try:
                    record = self.record(generation, base.login, outcome)
                    if record.generation <= self.vault.synced:
                        # Others have only marked the tokens that we have renewed. They adopt
                        # higher numbers only.
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
        """Make the record of a generation, or of the end of a login. Not a checkpoint."""
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
        """Tell all who share the store that an answer was lost (P5).

        The record is that of the same tokens, with a higher number. If it can't be saved now, this
        session knows all the same, and saves it later.

        Cancellation:
          All or nothing.
        """
        vault, login = self.vault, base.login
        ended = login.outcome
        if not vault.shared or (ended is not None and ended.reason != "unavailable"):
            # The store is told of other ends; one for want of an answer leaves the token there.
            return
        if (vault.pending or vault.stored) is None:
            # Others have no record of this token, and are not to get one because it is in doubt.
            return
        if vault.pending is not None and vault.pending.login != login.id:
            # A new login waits to be saved: it counts.
            return
        record = attrs.evolve(self.record(base, login), generation=self._next_number())
        with self.kept_in_memory(base, login):
            await self.save(record)

    async def tell_ended(self, login: Login) -> None:
        """Tell the store that a login is over, unless it has another login by now.

        Cancellation:
          All or nothing.
        """
        news = await self.vault.news(self.machine.over)
        stored = self.vault.stored
        if stored is not None:
            # Another flight of this session may have seen the news first, so compare generations,
            # too. That is not enough: a login that was never saved may have a higher number than
            # one that others have begun since. So what it replaces must be known by name.
            newer = news is not None or stored.generation >= login.generation
            ours = stored.login in {login.replaces, *self.machine.over}
            if stored.login != login.id and (newer or not ours):
                # Another login has begun; about this one nothing is left to save.
                self.vault.forget(login)
                return
            if newer and stored.tokens is not None:
                # Another process has refreshed this very login.
                login.newest = stored.tokens
        pending = self.vault.pending
        if pending is None or pending.tokens is None or pending.login in self.machine.over:
            await self.save(self.record(None, login, login.outcome))
        else:
            # A new login waits to be saved: it counts.
            await self.save(attrs.evolve(pending, generation=self._next_number()))

    async def save_again(self, flight: Flight[Landing]) -> Landing | None:
        """Save what could not be saved before, unless others have saved something newer.

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
        before = self.vault.synced
        news = await self.news(has_login=held(self.machine.state) is not None)
        if isinstance(self.machine.state, Closed) and self.vault.synced != before:
            self._unheeded = self.vault.stored
        pending = self.vault.pending
        if pending is not None:
            if pending.generation <= self.vault.synced:
                # The store has passed this number, and others adopt only higher ones: renumber.
                pending = attrs.evolve(pending, generation=self._next_number())
            await self.save(pending)
        return news if isinstance(news, LoggedOut) else None

    @contextmanager
    def kept_in_memory(
        self,
        generation: Generation | None,
        login: Login,
        outcome: LoggedOut | None = None,
        *,
        flight: Flight[Landing] | None = None,
    ) -> Generator[None, None, None]:
        """Swallow what the store raises: say so, note it in ``flight``, and save later.

        A cancellation goes through, and is noted all the same: the record may not be there.
        """
        try:
            yield
        except Exception as exc:  # noqa: BLE001  # told to the observers
            if flight is not None:
                flight.unsaved = exc
            self._not_saved(generation, login, outcome, exc)
        except BaseException:
            if self._is_stored(generation, login):
                # An observer that was told so has raised this.
                raise
            # Cancelled: bare, or in a group from a nursery of the store's own. Where it was cut off
            # says nothing to a person.
            late = trio.TooSlowError("the token store did not take it in time")
            if flight is not None:
                flight.unsaved = late
            self._not_saved(generation, login, outcome, late)
            raise

    def _is_stored(self, generation: Generation | None, login: Login) -> bool:
        """Say whether these tokens, or the end of the login, are in the store. Not a checkpoint."""
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
        self._tell_not_saved(record.generation, why)
        self.save_later()

    def tell_lost(self) -> None:
        """Tell the observers what could not be saved before the session was closed."""
        unsaved = self.machine.journal.unsaved
        if self.vault.pending is not None and unsaved is not None:
            self.machine.tell(
                attrs.evolve(
                    unsaved,
                    time=trio.current_time(),
                    generation=self.vault.pending.generation,
                    lost=True,
                )
            )

    def _tell_not_saved(self, generation: int, why: BaseException) -> None:
        self.machine.tell(
            events.NotSaved(
                time=trio.current_time(),
                generation=generation,
                error=type(why).__name__,
                words=careful(why),
            )
        )
