"""Renewal: the procedure of the flight that brings the next generation.

It holds the lock of the session and that of the store. Each round of `Renewal._renew` looks into
the store, asks the grant once, and ends in one of these cases:

1. The store has newer tokens that are good: land with them ("adopted").
2. The store says that the login has ended: land with `LoggedOut` ("elsewhere").
3. The grant refused in the round before, and the store still has that refresh token: save the end
   of the login, and land with `LoggedOut` ("refused").
4. The refresh token must not be sent now, because an answer to it was lost or because no time is
   left for an answer: land with a `Setback` (P5).
5. The store could not save new tokens: the grant is not asked, and the error lands.
6. The grant returned tokens: save them, then land with them (P7).
7. The grant failed: pause, and go round again; or land with a `Setback`.
8. A log-out or a new login has ended the login: land with `LoggedOut`; its
   passengers have already been told.

A refusal does not land at once. It goes round again, because another process may have renewed with
the same refresh token: then case 1 has its tokens.

A deadline, or the end of the session, may cancel this at any ``await``. So tokens go into
``flight.brought`` before the next one: they land then. And a cancelled grant counts as a lost
answer, which is noted before anything else is awaited.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, final

import attrs
import trio

from trioauth._errors import (
    Error,
    GrantMisconfiguredError,
    GrantRefusedError,
    RefreshUnavailableError,
    TokenResponseError,
)
from trioauth._tokens import Tokens, no_tokens

from .flight import Flight, Generation, Login
from .login_state import LoggedOut
from .machine import ask
from .retry import Attempts, one_more_loss, retry_after
from .state import Landing, Refreshing, Setback, generation_of, on_adoption, on_rotation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trioauth.oauth._endpoint import TokenEndpoint
    from trioauth.oauth._grant import Grant

    from .machine import Machine
    from .records import Records
    from .vault import Vault

# The grant is not asked when less than this share of the flight's time is left for its answer.
_RESERVE = 0.25
# How long a cancelled flight may go on, in seconds, to note that an answer was lost, or to save new
# tokens.
_LAST_WORD = 1.0


@final
@attrs.define(eq=False, repr=False)
class Renewal:
    """How a session renews its tokens."""

    machine: Machine
    records: Records
    vault: Vault
    grant: Grant
    endpoint: TokenEndpoint
    lock: trio.Lock
    """Held by every change of credentials, so that there is one at a time in this session."""
    revoke_late: Callable[[Tokens], Awaitable[None]]

    async def renew(self, flight: Flight[Landing]) -> Landing:
        """Bring the next generation: adopt it from the store, or obtain it from the grant.

        Cancellation:
          Unsafe: an answer may be lost. The loss is noted, here and in the store.
        """
        async with self.lock:
            flight.doing = "waiting for the token store's lock, which another process may hold"
            async with self.vault.lock():
                return await self._renew(flight)

    async def _renew(self, flight: Flight[Landing]) -> Landing:
        # While this flight waited for the lock, `save_again` may have adopted newer tokens.
        base = generation_of(self.machine.state) or flight.base
        if base is not None and base is not flight.base and self._is_good(base):
            return base
        attempts = Attempts(self.machine.policy)
        # What the grant refused with in the round before.
        refusal: GrantRefusedError | None = None
        while not flight.overtaken:
            try:
                flight.doing = "waiting for the token store"
                news = await self._news(refusal, has_login=base is not None)
                if isinstance(news, LoggedOut):
                    return news
                if flight.overtaken:
                    break
                if news is not None:
                    # Another refresh token: neither the failures nor the refusal are about it.
                    base, attempts, refusal = news, Attempts(self.machine.policy), None
                    if self._is_good(base):
                        return base
                attempts.lost_before = _has_lost(base)
                if refusal is not None:
                    flight.brought = self._refused(refusal, attempts)
                    return await self.records.save_or_adopt(flight.brought, base)
                if (setback := await self._why_not_ask(flight, base, attempts)) is not None:
                    return setback
                asked_at = self.machine.clock.now()
                answer = await self._ask(flight, base, attempts)
            except BaseException:
                # The store failed, or the flight was cancelled (perhaps in a group, from a nursery
                # of the grant's). If an answer was lost in an earlier round, note that first.
                await self._note_if_lost(base, attempts)  # noqa: ASYNC102  # shielded inside
                raise
            if isinstance(answer, Setback):
                return answer
            if isinstance(answer, Tokens):
                return await self._save_new_tokens(flight, base, answer, asked_at)
            # The failed answer may have brought a new refresh token.
            base, refusal = _newer(base, flight.base), answer
        return LoggedOut("asked")

    def _is_good(self, generation: Generation) -> bool:
        state = self.machine.state
        rejected = isinstance(state, Refreshing) and state.rejected
        freshness = generation.freshness(self.machine.clock.now())
        return not rejected and freshness in ("fresh", "early")

    async def _news(
        self, refusal: GrantRefusedError | None, *, has_login: bool
    ) -> Generation | LoggedOut | None:
        try:
            return await self.records.news(has_login=has_login)
        except Exception:
            # The store can't say whether another process has renewed, so the refusal stands.
            if refusal is None:
                raise
            return None

    def _refused(self, refusal: GrantRefusedError, attempts: Attempts) -> LoggedOut:
        if attempts.lost_before or attempts.lost:
            # The server may have replaced this refresh token in the lost answer, and refuse it now
            # because it is the old one. Say so.
            said = "an answer to this refresh token was lost before it was refused"
            more = f"{said}; {refusal.description}" if refusal.description else said
            told = GrantRefusedError(refusal.error, more)
            told.__cause__ = refusal
            refusal = told
        return LoggedOut("refused", refusal, self.machine.unix())

    async def _why_not_ask(
        self, flight: Flight[Landing], base: Generation | None, attempts: Attempts
    ) -> Setback | None:
        """Return a setback if the grant must not be asked now, else None."""
        now = self.machine.clock.now()
        loss = None if base is None else base.login.loss
        if loss is not None and now < loss.quiet_until and not attempts.made:
            return self._set_back(
                flight,
                RefreshUnavailableError(
                    "an answer to this refresh token was lost, so it is left alone for a while: "
                    "sent again at once, it could be taken for stolen"
                ),
                loss.quiet_until,
            )
        if attempts.failure is not None and attempts.too_late(now):
            return await self._give_up(flight, base, attempts, attempts.failure)
        if not self._in_time(flight):
            late = trio.TooSlowError("the token store left no time to ask the server")
            return await self._give_up(flight, base, attempts, attempts.failure or late)
        if self.vault.stored is None or not _sends_refresh_token(base):
            # No refresh token is sent, or other processes have no record of it: even if the save
            # fails, the login goes on in memory.
            return None
        # If new tokens could not be saved, other processes would go on with a refresh token that is
        # spent: so try before it is sent.
        flight.doing = "trying whether the token store can be written"
        await self.vault.probe()
        return None

    async def _ask(
        self, flight: Flight[Landing], base: Generation | None, attempts: Attempts
    ) -> Tokens | Setback | GrantRefusedError | None:
        """Ask the grant once. None means: it failed, the pause is over, ask it again."""
        tokens = None if base is None else base.tokens
        asked_at = self.machine.clock.now()
        flight.doing = "waiting for the authorization server"
        flight.asking = asked_at if _sends_refresh_token(base) else None
        try:
            answer = await ask(self.grant, tokens, self.endpoint)
        except Exception as exc:  # noqa: BLE001  # lands as a value, each waiter raises from it
            flight.asking = None
            failure = _unwrap(exc)
        except BaseException:
            # Cancelled: we can't know whether the refresh token was used, so treat it as a lost
            # answer. `_renew` notes that before anything else is awaited.
            if flight.asking is not None:
                attempts.lose(asked_at=asked_at, now=self.machine.clock.now())
                flight.asking = None
            raise
        else:
            flight.asking = None
            if isinstance(answer, Tokens):  # pyright: ignore[reportUnnecessaryIsInstance]
                return answer.carry_over(tokens)
            kind = no_tokens(answer)
            return self._set_back(
                flight, TokenResponseError(f"the grant must return trioauth.Tokens, not {kind}")
            )
        return await self._after_failure(flight, base, attempts, failure, asked_at)

    async def _after_failure(
        self,
        flight: Flight[Landing],
        base: Generation | None,
        attempts: Attempts,
        failure: Exception,
        asked_at: float,
    ) -> Setback | GrantRefusedError | None:
        """Decide what follows a failed attempt. None means: the pause is over, ask again."""
        if (rotated := await self._save_rotated(flight, failure, base)) is not None:
            # The failed answer brought a new refresh token, which was never sent: no answer to it
            # can be lost.
            base = rotated
            attempts.find()
        if isinstance(failure, GrantRefusedError):
            return failure
        if isinstance(failure, GrantMisconfiguredError):
            return await self._give_up(flight, base, attempts, failure)
        pause = attempts.pause(
            failure,
            asked_at=asked_at,
            now=self.machine.clock.now(),
            jitter=random.random(),  # noqa: S311  # not a secret
            spends=_sends_refresh_token(base) and rotated is None,
        )
        if pause is None or not self._in_time(flight, pause):
            return await self._give_up(flight, base, attempts, failure)
        flight.doing = "pausing before the authorization server is asked again"
        await trio.sleep(pause)
        return None

    async def _save_new_tokens(
        self, flight: Flight[Landing], base: Generation | None, tokens: Tokens, asked_at: float
    ) -> Landing:
        """Make the tokens the next generation and save it (case 6), unless the login has ended."""
        flight.doing = "waiting for the token store to save the new tokens"
        login = Login() if base is None else base.login
        if flight.overtaken or (flight.late and base is None):
            # The login ended meanwhile: discard the new tokens. But tell the store before the lock
            # is released, or other processes would send the refresh token that is spent.
            self.records.next_generation(tokens, login, asked_at)
            if base is None:
                await self.revoke_late(tokens)
            else:
                # The scope of a late flight is cancelled, so shield this.
                with trio.CancelScope(shield=flight.late) as scope:
                    scope.deadline = trio.current_time() + self.machine.policy.close_grace
                    with self.records.swallow_store_errors(None, login, login.outcome):
                        await self.records.tell_ended(login)
            return LoggedOut("asked")
        generation = self.records.next_generation(tokens, login, asked_at)
        if not flight.late:
            flight.brought, last_word = generation, trio.current_time() + _LAST_WORD
            try:
                return await self.records.save_or_adopt(generation, generation)
            except BaseException:
                # Cancelled just after the answer came. Save once more, within a second of the
                # answer: other processes would send the refresh token that is spent.
                if trio.current_time() < last_word:
                    with trio.CancelScope(deadline=last_word, shield=True):
                        again = self.records.save_or_adopt(generation, generation)
                        flight.brought = await again  # noqa: ASYNC102  # shielded, and bounded
                raise
        # The flight was landed at its deadline, but the grant could not be cancelled and returned
        # tokens late. The server has rotated: save them, and put them into the state.
        landing: Landing = generation
        with trio.CancelScope(deadline=trio.current_time() + _LAST_WORD, shield=True):
            # Saved before it is in the state: if another process has marked the old tokens as
            # doubtful, `Records.news` recognises them only while the state has them.
            landing = await self.records.save_or_adopt(generation, generation)
        if landing is generation and not flight.overtaken:
            self.machine.become(on_adoption(self.machine.state, generation))
        return landing

    async def _save_rotated(
        self, flight: Flight[Landing], failure: Exception, base: Generation | None
    ) -> Generation | None:
        """Save the new refresh token of an answer that has no usable access token (P7)."""
        refresh_token = failure._rotated if isinstance(failure, Error) else None
        if base is None or refresh_token is None:
            return None
        generation = flight.base = self.records.rotated(base, refresh_token)
        self.machine.become(on_rotation(self.machine.state, generation))
        await self.records.save_or_adopt(generation, generation)
        return generation

    # --- failing ---------------------------------------------------------------------------

    def _set_back(
        self, flight: Flight[Landing], cause: Exception, quiet_until: float | None = None
    ) -> Setback:
        if quiet_until is not None:
            flight.quiet_until = max(flight.quiet_until, quiet_until)
        pause = max(self.machine.policy.cooldown, retry_after(cause))
        return self.machine.set_back(cause, pause, flight.quiet_until)

    async def _give_up(
        self, flight: Flight[Landing], base: Generation | None, attempts: Attempts, why: Exception
    ) -> Setback:
        await self._note_if_lost(base, attempts)
        quiet_until = base.login.loss.quiet_until if base is not None and attempts.lost else None
        return self._set_back(flight, why, quiet_until)

    async def _note_if_lost(self, base: Generation | None, attempts: Attempts) -> None:
        if base is None or not attempts.lost or attempts.noted:
            return
        # Once a flight, also if an observer that was told of it raises: it takes up to a second.
        attempts.noted = True
        base.login.loss = one_more_loss(base.login.loss, now=self.machine.clock.now())
        with trio.CancelScope(deadline=trio.current_time() + _LAST_WORD, shield=True):
            await self.records.mark_loss(base)

    def _in_time(self, flight: Flight[Landing], pause: float = 0.0) -> bool:
        """Say whether enough of the flight's time is left for an answer, after a pause.

        Otherwise the refresh token would be spent, and the deadline would cut off its answer.
        """
        reserve = self.machine.policy.timeout * _RESERVE
        return trio.current_time() + pause <= flight.deadline - reserve


def _sends_refresh_token(base: Generation | None) -> bool:
    return base is not None and base.tokens.refresh_token is not None


def _has_lost(base: Generation | None) -> bool:
    return base is not None and base.login.loss.flights > 0


def _newer(base: Generation | None, other: Generation | None) -> Generation | None:
    return other if base and other and other.number > base.number else base


def _unwrap(exc: Exception) -> Exception:
    """Return the only exception in a group that a nursery of the grant has made, else ``exc``."""
    # issubclass(): after isinstance() type checkers don't know what is in the group.
    inner: tuple[Exception, ...] = ()
    if issubclass(type(exc), ExceptionGroup):
        inner = getattr(exc, "exceptions", ())
    return _unwrap(inner[0]) if len(inner) == 1 else exc
