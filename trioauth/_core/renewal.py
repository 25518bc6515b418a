"""Renewal: the flight that brings the next generation.

It runs in the session's nursery, shielded and under one deadline. What it has in
hand goes into ``flight.brought`` before the next ``await``: if the deadline or
the end of the session cuts it short there, that is what lands. Under the lock of
the session and that of the store, each round of `Renewal._renew` ends in one of
these cases:

1. The store has newer tokens, and they are good: adopt them.
2. The store says that the login is over: log out ("elsewhere").
3. The server has refused, and the refresh token was still the stored one: log out ("refused").
4. An answer was lost, and its pause is not over, or there is no time left: come back later.
5. The store could not take new tokens: don't spend the refresh token, come back later.
6. The grant brings tokens: save them, then land with them.
7. The grant fails: once more after a pause, or come back later.
8. A log-out or a new login has ended the login: nothing of this counts any more.
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
    IdentityError,
    RefreshUnavailableError,
    TokenResponseError,
)
from trioauth._tokens import Tokens, no_tokens

from .flight import Flight, Generation, Login
from .login_state import LoggedOut
from .machine import ask
from .retry import Attempts, one_more_loss, retry_after
from .state import Landing, Refreshing, Setback, held, on_adoption, on_rotation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trioauth.oauth.channel import TokenEndpoint
    from trioauth.oauth.grant import Grant

    from .machine import Machine
    from .records import Records
    from .vault import Vault

# The share of a flight's time that is kept for an answer.
_RESERVE = 0.25
# How long a flight that was cancelled may take to say that an answer was lost, or to save one that
# came late, in seconds.
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
    """Every change of credentials goes through it."""
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
        base = held(self.machine.state) or flight.base
        if base is not None and base is not flight.base and self._is_good(base):
            return base
        attempts = Attempts(self.machine.policy)
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
                    base, attempts, refusal = news, Attempts(self.machine.policy), None
                    if self._is_good(base):
                        return base
                attempts.lost_before = _has_lost(base)
                if refusal is not None:
                    flight.brought = self._refused(refusal, attempts)
                    return await self.records.secure(flight.brought, base)
                if (setback := await self._obstacle(flight, base, attempts)) is not None:
                    return setback
                asked_at = self.machine.clock.now()
                answer = await self._ask(flight, base, attempts)
            except BaseException:
                # The store failed, or the flight was cancelled: bare, or in a group from a nursery
                # of the grant's own. An answer that was lost before is lost all the same.
                await self._note_if_lost(base, attempts)  # noqa: ASYNC102  # shielded inside
                raise
            if isinstance(answer, Setback):
                return answer
            if isinstance(answer, Tokens):
                return await self._take_in(flight, base, answer, asked_at)
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
            # Without a store to look into, what the server said is all there is.
            if refusal is None:
                raise
            return None

    def _refused(self, refusal: GrantRefusedError, attempts: Attempts) -> LoggedOut:
        if attempts.lost_before or attempts.lost:
            # What is refused may be a token that the server had replaced in the lost answer.
            said = "an answer to this refresh token was lost before it was refused"
            more = f"{said}; {refusal.description}" if refusal.description else said
            told = GrantRefusedError(refusal.error, more)
            told.__cause__ = refusal
            refusal = told
        return LoggedOut("refused", refusal, self.machine.unix())

    async def _obstacle(
        self, flight: Flight[Landing], base: Generation | None, attempts: Attempts
    ) -> Setback | None:
        """Say why the grant must not be asked now; None if it may."""
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
        if self.vault.stored is None or not _spends(base):
            # There is no record that others share: with a store that fails the login goes on in
            # memory.
            return None
        flight.doing = "trying whether the token store can be written"
        await self.vault.probe()
        return None

    async def _ask(
        self, flight: Flight[Landing], base: Generation | None, attempts: Attempts
    ) -> Tokens | Setback | GrantRefusedError | None:
        """Ask the grant, once. None: not now, but the pause before the next attempt is over."""
        tokens = None if base is None else base.tokens
        asked_at = self.machine.clock.now()
        flight.doing = "waiting for the authorization server"
        flight.asking = asked_at if _spends(base) else None
        try:
            answer = await ask(self.grant, tokens, self.endpoint)
        except Exception as exc:  # noqa: BLE001  # lands as a value, each waiter raises from it
            flight.asking = None
            failure = _bare(exc)
        except BaseException:
            # We can't know whether the refresh token was used; treat it as a lost answer, which
            # `_renew` notes before there is another checkpoint.
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
        """Say what follows from a failed attempt. None: pause, which is over, and ask again."""
        if (rotated := await self._save_rotated(flight, failure, base)) is not None:
            # The answer has come after all, and its refresh token was never presented.
            base = rotated
            attempts.find()
        if isinstance(failure, GrantRefusedError):
            return failure
        if isinstance(failure, GrantMisconfiguredError | IdentityError):
            # Asked again, the server would say the same.
            return await self._give_up(flight, base, attempts, failure)
        pause = attempts.pause(
            failure,
            asked_at=asked_at,
            now=self.machine.clock.now(),
            jitter=random.random(),  # noqa: S311  # not a secret
            spends=_spends(base) and rotated is None,
        )
        if pause is None or not self._in_time(flight, pause):
            return await self._give_up(flight, base, attempts, failure)
        flight.doing = "pausing before the authorization server is asked again"
        await trio.sleep(pause)
        return None

    async def _take_in(
        self, flight: Flight[Landing], base: Generation | None, tokens: Tokens, asked_at: float
    ) -> Landing:
        """Make tokens the next generation, unless their login has ended in the meantime."""
        flight.doing = "waiting for the token store to save the new tokens"
        login = Login() if base is None else base.login
        if flight.overtaken or (flight.late and base is None):
            # Before the lock is let go: others would present what is spent.
            self.records.next_generation(tokens, login, asked_at)
            if base is None:
                await self.revoke_late(tokens)
            else:
                # A flight that is late has been cancelled already.
                with trio.CancelScope(shield=flight.late) as scope:
                    scope.deadline = trio.current_time() + self.machine.policy.close_grace
                    with self.records.kept_in_memory(None, login, login.outcome):
                        await self.records.tell_ended(login)
            return LoggedOut("asked")
        generation = self.records.next_generation(tokens, login, asked_at)
        if not flight.late:
            flight.brought = generation
            return await self._secure(generation, flight)
        # The flight was landed at its deadline, and the grant could not be cancelled. What it
        # brought all the same is the newest refresh token.
        landing: Landing = generation
        with trio.CancelScope(deadline=trio.current_time() + _LAST_WORD, shield=True):
            # Before the state has it: a mark that others left on the old tokens is known as such
            # only as long as these are held.
            landing = await self.records.secure(generation, generation)
        if landing is generation and not flight.overtaken:
            self.machine.become(on_adoption(self.machine.state, generation))
        return landing

    async def _save_rotated(
        self, flight: Flight[Landing], failure: Exception, base: Generation | None
    ) -> Generation | None:
        """Keep a new refresh token that came in an answer which is of no other use (P7)."""
        refresh_token = failure._rotated if isinstance(failure, Error) else None
        if base is None or refresh_token is None:
            return None
        generation = flight.base = self.records.rotated(base, refresh_token)
        self.machine.become(on_rotation(self.machine.state, generation))
        await self._secure(generation, None)
        return generation

    async def _secure(self, generation: Generation, flight: Flight[Landing] | None) -> Landing:
        """Put a generation that just came into the store; return what to land with.

        Args:
          generation: What came.
          flight: The one that has it in hand, if it is what it took off for.

        Cancellation:
          Delayed, by a second at most, if the flight is cancelled in the moment in which the answer
          came: others would present what is spent.
        """
        last_word = trio.current_time() + _LAST_WORD
        try:
            return await self.records.secure(generation, generation)
        except BaseException:
            if trio.current_time() < last_word:
                with trio.CancelScope(deadline=last_word, shield=True):
                    again = self.records.secure(generation, generation)
                    landing = await again  # noqa: ASYNC102  # shielded, and bounded
                    if flight is not None:
                        flight.brought = landing
            raise

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
        if base is None or not attempts.lost:
            return
        base.login.loss = one_more_loss(base.login.loss, now=self.machine.clock.now())
        with trio.CancelScope(deadline=trio.current_time() + _LAST_WORD, shield=True):
            await self.records.mark_loss(base)

    def _in_time(self, flight: Flight[Landing], pause: float = 0.0) -> bool:
        """Say whether there is time for an answer.

        A refresh token that is presented in the last moment is spent, and its answer cut off.
        """
        reserve = self.machine.policy.timeout * _RESERVE
        return trio.current_time() + pause <= flight.deadline - reserve


def _spends(base: Generation | None) -> bool:
    return base is not None and base.tokens.refresh_token is not None


def _has_lost(base: Generation | None) -> bool:
    return base is not None and base.login.loss.flights > 0


def _newer(base: Generation | None, other: Generation | None) -> Generation | None:
    return other if base and other and other.number > base.number else base


def _bare(exc: Exception) -> Exception:
    """Take an exception out of the groups that nurseries of a grant's own have made around it."""
    # By the class: after isinstance(), type checkers know no more what is in a group.
    inner: tuple[Exception, ...] = ()
    if issubclass(type(exc), ExceptionGroup):
        inner = getattr(exc, "exceptions", ())
    return _bare(inner[0]) if len(inner) == 1 else exc
