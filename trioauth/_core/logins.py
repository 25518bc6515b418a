"""Logins: the flights that begin and end logins, and those that look for one and save again."""

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
from .state import Landing, held

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from trioauth.oauth.channel import TokenEndpoint
    from trioauth.oauth.grant import Grant

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
    """Every change of credentials goes through it."""
    ground: Callable[[], None] = attrs.field(default=lambda: None)
    """Cancels the renewals in the air; set by what has the flights."""

    async def prove_writable(self) -> None:
        """Try whether the store could take a login, before a person is asked for one (P23).

        Raises:
          StoreError: It could not.

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
                        # Nothing is adopted here, so it stays news for the next renewal.
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
            # A store of the program's own may raise anything.
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
        if flight.landed or flight.grounded is not None:
            # The task has left, or was told that it failed: no session has these tokens.
            await self.revoke_late(tokens)
            return LoggedOut("asked")
        return await self.log_in(flight, tokens, asked_at)

    async def log_in(self, flight: Flight[Landing], tokens: Tokens, asked_at: float) -> Landing:
        """Begin a new login with these tokens, which no other session has.

        Cancellation:
          All or nothing in the store; the login begins in any case.
        """
        before = self.vault.stored
        login = Login(wished=True, replaces="" if before is None else before.login)
        generation = self.records.next_generation(tokens, login, asked_at)
        flight.brought = generation
        with self.records.kept_in_memory(generation, login, flight=flight):
            flight.doing = "waiting for the token store"
            async with self._exclusively(), self.vault.lock():
                record = await self.vault.peek()
                if login.outcome is not None:
                    # A log-out ended this login meanwhile: the store must not get it.
                    return generation
                self.records.supersede(record)
                number = max(self.machine.number, self.vault.synced)
                if number > generation.number or self.vault.synced >= generation.number:
                    generation = self.records.next_generation(tokens, login, asked_at)
                    flight.brought = generation
                await self.records.save(self.records.record(generation, login))
        return generation

    async def log_out(self, logins: list[Login], *, revoke: bool) -> Landing:
        """Tell the store, then the server, that logins are over; the state says so already.

        Args:
          logins: The one that there was, then those that had only just begun.
          revoke: Whether to tell the server.

        Cancellation:
          Unsafe. The store and the server may or may not have been told; observers know.
        """
        for login in logins:
            # The wait for the lock may be cancelled, too: then the store is told later.
            with self.records.kept_in_memory(None, login, login.outcome):
                async with self._exclusively(), self.vault.lock():
                    await self.records.tell_ended(login)
        # Without the lock: neither a new login nor a look waits for the server (P11).
        for login in logins:
            newest, login.newest = login.newest, None
            if revoke and newest is not None:
                await self.revoke(newest)
        return LoggedOut("asked")

    async def look(self, flight: Flight[Landing]) -> Landing | None:
        """Look into a shared store for a login that was made elsewhere (P11).

        Cancellation:
          Safe. Nothing is changed.
        """
        flight.doing = "waiting for the token store"
        if self.lock.locked():
            # A log-in or a log-out is under way. What it leads to is told in its time, and who asks
            # now need not wait until the server has revoked a token.
            return None
        async with self.lock:
            record = await self.vault.peek()
            if record is None or record.tokens is None or held(self.machine.state) is not None:
                return None
            if record.login in self.machine.over:
                # It has ended here, and its end is not in the store yet.
                return None
            self.vault.note(record)
            # Another login has begun: what could not be saved is about one that has ended.
            self.vault.pending = None
            return self.records.restore(record, record.tokens)

    async def save_again(self, flight: Flight[Landing]) -> Landing | None:
        """Save what could not be saved before.

        Cancellation:
          All or nothing.
        """
        async with self.lock, self.vault.lock():
            return await self.records.save_again(flight)

    async def revoke_late(self, tokens: Tokens) -> None:
        """Revoke tokens that came when their flight had been cancelled.

        Cancellation:
          Delayed, for up to ``close_grace`` seconds.
        """
        with trio.CancelScope(shield=True):
            await self.revoke(tokens)

    async def revoke(self, tokens: Tokens) -> None:
        """Tell the server that a login is over: bounded, and best effort.

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
        except Exception as exc:  # noqa: BLE001  # told; there is nothing to mend
            tell(events.NotRevoked(time=now(), error=type(exc).__name__, words=careful(exc)))
        else:
            if told is not False:
                tell(events.Revoked(time=now()))

    @asynccontextmanager
    async def _exclusively(self) -> AsyncGenerator[None, None]:
        """Hold the session's lock; a flight that has it gets ``close_grace`` seconds to land."""
        with trio.move_on_after(self.machine.policy.close_grace) as patience:
            await self.lock.acquire()
        if patience.cancelled_caught:
            self.ground()
            await self.lock.acquire()
        try:
            yield
        finally:
            self.lock.release()


def checked(tokens: object) -> Tokens:
    """Let tokens pass; refuse anything else that a function has returned for them."""
    if not isinstance(tokens, Tokens):
        kind = no_tokens(tokens)
        raise TypeError(f"what obtains the tokens must return trioauth.Tokens, not {kind}")
    return tokens
