"""Logins: the procedures of the flights that begin a login, end one, look for one, or save again.

1. A log-in (`Logins.log_in`, `Logins.obtain_first`) saves its tokens, then the login begins. A new
   login always wins over the stored one. If the store fails, the login begins all the same.
2. A log-out changes the state at once, before its flight starts. The flight (`Logins.log_out`)
   tells the store, then the server.
3. A log-in and a log-out need the lock that a renewal holds. They give it ``close_grace`` seconds,
   then they cancel it: `Logins._exclusively`.
4. A look (`Logins.look`) adopts a login that another process has begun. It takes no lock of the
   store, and gives way to 1 and 2.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, final

import attrs
import trio

from trioauth import events
from trioauth._errors import Error, StoreError, careful
from trioauth._tokens import Tokens, no_tokens

from .flight import Flight, Login
from .login_state import LoggedOut
from .machine import ask
from .state import Landing, generation_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from trioauth.oauth._endpoint import TokenEndpoint
    from trioauth.oauth._grant import Grant

    from .machine import Machine
    from .records import Records
    from .vault import Vault


@final
@attrs.define(eq=False, repr=False)
class Logins:
    """How a session logs in and out."""

    machine: Machine
    records: Records
    vault: Vault
    grant: Grant
    endpoint: TokenEndpoint
    lock: trio.Lock
    """Held by every change of credentials, so that there is one at a time in this session."""
    cancel_renewals_unless: Callable[[trio.Event], None] = attrs.field(default=lambda _: None)
    """Cancels the renewals in the air after ``close_grace`` seconds, unless the event is set.

    Set in ``_opening``, because `Flights` lies above this.
    """

    async def prove_writable(self) -> None:
        """Check that the store could save a login, before a person is asked for one (P23).

        Raises:
          StoreError: It could not, or gave no answer within ``RefreshPolicy.timeout`` seconds.

        Cancellation:
          Safe. Nothing is changed.
        """
        timeout = self.machine.policy.timeout
        try:
            with trio.fail_after(timeout):
                async with self.lock:
                    # The session may have been closed while this task waited.
                    self.machine.check_open()
                    async with self.vault.lock():
                        # `peek`, not `look`: nothing is adopted here, so it must stay news.
                        await self.vault.peek()
                        await self.vault.probe()
        except trio.TooSlowError:
            raise StoreError(
                f"the token store gave no answer within {timeout} seconds (RefreshPolicy.timeout), "
                "so no login was begun; another process may hold its lock, or the disk hangs"
            ) from None
        except (Error, trio.ClosedResourceError):
            raise
        except Exception as exc:
            # A store that the program has written may raise anything.
            raise StoreError(
                f"the token store can't take a login now ({careful(exc)}), so none was begun"
            ) from exc

    async def obtain_first(self, flight: Flight[Landing]) -> Landing:
        """Ask the grant, which needs no human, for the first tokens, and begin a login with them.

        Cancellation:
          All or nothing. Once there are tokens, the login begins.
        """
        async with self.lock:
            flight.doing = "waiting for the authorization server"
            asked_at = self.machine.clock.now()
            tokens = checked(await ask(self.grant, None, self.endpoint))
        if flight.landed or flight.cancelled_because is not None:
            # No task waits for this login any more, so no session will use these tokens.
            await self.revoke_late(tokens)
            return LoggedOut("asked")
        return await self.log_in(flight, tokens, asked_at)

    async def log_in(self, flight: Flight[Landing], tokens: Tokens, asked_at: float) -> Landing:
        """Save the tokens of a new login; `Flights.land` then begins it.

        Cancellation:
          All or nothing in the store; the login begins in any case.
        """
        before = self.vault.stored
        login = Login(by_log_in=True, replaces="" if before is None else before.login)
        generation = self.records.next_generation(tokens, login, asked_at)
        flight.brought = generation
        with self.records.swallow_store_errors(generation, login, flight=flight):
            flight.doing = "waiting for the token store"
            async with self._exclusively(), self.vault.lock():
                record = await self.vault.peek()
                if login.outcome is not None:
                    # A log-out ended this login while it waited for the lock: don't save it.
                    return generation
                self.records.replace_stored(record)
                # Numbers may have grown while this waited for the lock: then take the next one.
                number = max(self.machine.number, self.vault.synced)
                if number > generation.number or self.vault.synced >= generation.number:
                    generation = self.records.next_generation(tokens, login, asked_at)
                    flight.brought = generation
                await self.records.save(self.records.record(generation, login))
        return generation

    async def log_out(self, logins: list[Login], *, revoke: bool) -> Landing:
        """Tell the store, then the server, that logins have ended. The state changed before.

        Args:
          logins: The current one, then those that were about to begin.
          revoke: Whether to tell the server, by revoking the tokens.

        Cancellation:
          Unsafe. The store and the server may or may not have been told; events say which.
        """
        for login in logins:
            # Around the locks, too: if the wait for them is cancelled, the store is told later.
            with self.records.swallow_store_errors(None, login, login.outcome):
                async with self._exclusively(), self.vault.lock():
                    await self.records.tell_ended(login)
        # After the lock is released: a new login does not wait for the revocation (P11).
        for login in logins:
            newest, login.newest = login.newest, None
            if revoke and newest is not None:
                await self.revoke(newest)
        return LoggedOut("asked")

    async def look(self, flight: Flight[Landing]) -> Landing | None:
        """Look into a shared store for a login that another process has begun (P11).

        Cancellation:
          Safe. Nothing is changed.
        """
        flight.doing = "waiting for the token store"
        if self.lock.locked():
            # A log-in or a log-out is under way and will change the state itself. Don't make the
            # asking task wait for it.
            return None
        async with self.lock:
            record = await self.vault.peek()
            if (
                record is None
                or record.tokens is None
                or generation_of(self.machine.state) is not None
            ):
                return None
            if record.login in self.machine.ended_logins:
                # This login has ended here, and its tombstone is not saved yet.
                return None
            self.vault.note(record)
            # The pending record is the tombstone of an older login. This one has replaced it.
            self.vault.pending = None
            return self.records.restore(record, record.tokens)

    async def save_again(self, flight: Flight[Landing]) -> Landing | None:
        """Save the pending record, see `Records.save_again`.

        Cancellation:
          All or nothing.
        """
        async with self.lock, self.vault.lock():
            return await self.records.save_again(flight)

    async def revoke_late(self, tokens: Tokens) -> None:
        """Revoke tokens that came after their flight was cancelled, in spite of the cancellation.

        Cancellation:
          Delayed, for up to ``close_grace`` seconds.
        """
        with trio.CancelScope(shield=True):
            await self.revoke(tokens)

    async def revoke(self, tokens: Tokens) -> None:
        """Revoke tokens at the server (RFC 7009), within ``close_grace`` seconds; never raises.

        Cancellation:
          Unsafe. The server may or may not have revoked the tokens.
        """
        revoke: Callable[[Tokens, TokenEndpoint], Awaitable[bool]] | None
        revoke = getattr(self.grant, "revoke", None)
        if revoke is None:
            return
        now, tell = trio.current_time, self.machine.tell
        try:
            with trio.fail_after(self.machine.policy.close_grace):
                told = await ask(revoke, tokens, self.endpoint)
        except Exception as exc:  # noqa: BLE001  # told to the observers; the login is over anyway
            tell(events.NotRevoked(time=now(), error=type(exc).__name__, words=careful(exc)))
        else:
            if told is not False:
                tell(events.Revoked(time=now()))

    @asynccontextmanager
    async def _exclusively(self) -> AsyncGenerator[None, None]:
        """Hold the session's lock; cancel a renewal that has it after ``close_grace`` seconds."""
        acquired = trio.Event()
        if self.lock.locked():
            self.cancel_renewals_unless(acquired)
        try:
            # Waited for once: of two log-ins the later one must come later, and win.
            await self.lock.acquire()
        finally:
            acquired.set()
        try:
            yield
        finally:
            self.lock.release()


def checked(tokens: object) -> Tokens:
    """Return ``tokens``, or raise `TypeError` if a function has returned something else."""
    if not isinstance(tokens, Tokens):
        kind = no_tokens(tokens)
        raise TypeError(f"what obtains the tokens must return trioauth.Tokens, not {kind}")
    return tokens
