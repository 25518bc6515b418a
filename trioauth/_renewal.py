"""What changes credentials, and so happens under the session's lock: renew, log in, log out.

Each of these runs as a flight in the session's nursery, shielded and under one
deadline. What it has in hand goes into ``flight.brought`` before the next
``await``: if the deadline or the end of the session cuts it short there, that is
what lands.
"""

from __future__ import annotations

import random
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import attrs
import trio

from . import events
from ._errors import (
    GrantMisconfiguredError,
    GrantRefusedError,
    StoreConflictError,
    TokenResponseError,
    careful,
)
from ._flight import Flight, Generation, Login
from ._retry import Attempts
from ._state import Landing, LoggedOut, Refreshing, Setback, held, on_adoption
from ._store import Record
from ._tokens import Tokens, no_tokens

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator

    from ._endpoint import TokenEndpoint
    from ._keeper import Keeper

# With a lock that works, once is enough.
_SAVE_ATTEMPTS = 3
# The share of a flight's time that is kept for an answer.
_RESERVE = 0.25


async def renew(keeper: Keeper, flight: Flight[Landing]) -> Landing:
    """Bring the next generation: adopt it from the store, or obtain it from the grant."""
    former = held(keeper.state)
    news: Generation | LoggedOut | None = None
    async with keeper.lock, keeper.vault.lock():
        # Closed, the state holds nothing.
        base = held(keeper.state) or former
        if base is not None and base is not former and _is_good(keeper, base):
            # Whoever saved what could not be saved before has found something newer in the store.
            return base
        attempts, refusal = Attempts(keeper.policy), None
        # It lands without us when its login ends.
        while not flight.landed:
            # Before each attempt, and before a refusal counts: adopt what somebody else has.
            news = await _news(keeper, refusal, has_login=base is not None)
            if isinstance(news, LoggedOut) or flight.landed:
                break
            if news is not None:
                base, attempts, refusal = news, Attempts(keeper.policy), None
                flight.quiet_until = attempts.quiet_until
                if _is_good(keeper, base):
                    return base
            if refusal is not None:
                flight.brought = LoggedOut("refused", refusal)
                return await _secure(keeper, flight.brought, base)
            if attempts.failure is not None and attempts.too_late(keeper.clock.now()):
                return keeper.set_back(attempts.failure, flight)
            if not _in_time(keeper, flight):
                late = trio.TooSlowError("the token store left no time to ask the server")
                return keeper.set_back(attempts.failure or late, flight)

            asked_at = keeper.clock.now()
            answer = await _ask(keeper, flight, base, attempts)
            if isinstance(answer, Setback):
                return answer
            if isinstance(answer, Tokens):
                return await _take_in(keeper, flight, base, answer, asked_at)
            refusal = answer
    return news if isinstance(news, LoggedOut) else LoggedOut("asked")


def _is_good(keeper: Keeper, generation: Generation) -> bool:
    rejected = isinstance(keeper.state, Refreshing) and keeper.state.rejected
    return not rejected and generation.freshness(keeper.clock.now()) in ("fresh", "early")


async def _take_in(
    keeper: Keeper,
    flight: Flight[Landing],
    base: Generation | None,
    tokens: Tokens,
    asked_at: float,
) -> Landing:
    """Make tokens the next generation, unless their login has ended while they were on the way."""
    login = Login() if base is None else base.login
    generation = next_generation(keeper, tokens, login, asked_at)
    if not flight.landed:
        flight.brought = generation
        return await _secure(keeper, generation, generation)
    if base is None:
        # Nobody else knows of them.
        await _revoke(keeper, tokens)
    else:
        # Before the lock is let go: others would present what is spent.
        with _kept_in_memory(keeper, None, login):
            await _tell_store(keeper, login)
    return LoggedOut("asked")


async def _ask(
    keeper: Keeper, flight: Flight[Landing], base: Generation | None, attempts: Attempts
) -> Tokens | Setback | GrantRefusedError | None:
    """Ask the grant, once. None means: not now, but the pause before the next attempt is over."""
    tokens = None if base is None else base.tokens
    spends = tokens is not None and tokens.refresh_token is not None
    asked_at = keeper.clock.now()
    try:
        answer = await keeper.grant(tokens, keeper.endpoint)
    except Exception as exc:  # noqa: BLE001  # lands as a value, each waiter raises from it
        failure = _bare(exc)
    except BaseException:
        # Cancelled by the deadline, say: bare, or from a nursery of the grant's own in a group. To
        # the next flight this answer is as lost as any other.
        if spends:
            attempts.lose(asked_at=asked_at, now=keeper.clock.now())
        flight.quiet_until = attempts.quiet_until
        raise
    else:
        if isinstance(answer, Tokens):  # pyright: ignore[reportUnnecessaryIsInstance]
            return answer.carry_over(tokens)
        kind = no_tokens(answer)
        failure = TokenResponseError(f"the grant must return trioauth.Tokens, not {kind}")
        return keeper.set_back(failure, flight)
    if isinstance(failure, GrantRefusedError):
        return failure
    if isinstance(failure, GrantMisconfiguredError):
        return keeper.set_back(failure, flight)
    pause = attempts.pause(
        failure,
        asked_at=asked_at,
        now=keeper.clock.now(),
        jitter=random.random(),  # noqa: S311  # not a secret
        spends=spends,
    )
    flight.quiet_until = attempts.quiet_until
    if pause is None or not _in_time(keeper, flight, pause):
        return keeper.set_back(failure, flight)
    await trio.sleep(pause)
    return None


def _bare(exc: Exception) -> Exception:
    """Take an exception out of the groups that nurseries of a grant's own have made around it."""
    # By the class: after isinstance(), type checkers know no more what is in a group.
    inner: tuple[Exception, ...] = ()
    if issubclass(type(exc), ExceptionGroup):
        inner = getattr(exc, "exceptions", ())
    return _bare(inner[0]) if len(inner) == 1 else exc


def _in_time(keeper: Keeper, flight: Flight[Landing], pause: float = 0.0) -> bool:
    """Say whether there is time for an answer.

    A refresh token that is presented in the last moment is spent, and its answer cut off.
    """
    reserve = keeper.policy.timeout * _RESERVE
    return trio.current_time() + pause <= flight.scope.deadline - reserve


async def _secure(keeper: Keeper, landing: Landing, base: Generation | None) -> Landing:
    """Put what was learned into the store; return what to land with.

    That is ``landing``, saved or not, unless others were in the store since we looked: a loser
    adopts what the winner has, and never overwrites it.
    """
    generation = landing if isinstance(landing, Generation) else None
    if base is None:
        return landing
    with _kept_in_memory(keeper, generation, base.login):
        for _ in range(_SAVE_ATTEMPTS):
            try:
                await _save(keeper, _record(keeper, generation, base.login))
            except StoreConflictError:
                news = await _news(keeper, None, has_login=True)
                if news is not None:
                    return news
            else:
                return landing
        raise StoreConflictError("others save at the same time, in spite of the store's lock")
    return landing


async def _news(
    keeper: Keeper, refusal: GrantRefusedError | None, *, has_login: bool
) -> Generation | LoggedOut | None:
    try:
        record = await keeper.vault.news()
    except Exception:
        # Without a store to look into, what the server said is all there is.
        if refusal is None:
            raise
        return None
    if record is None:
        return None
    if record.tokens is None:
        # For a session that waits for its first login it is no news that there is none.
        return LoggedOut("elsewhere") if has_login else None
    if _are_held(keeper, record.tokens, record.login):
        # Others got the same answer, of a server that forgives a repeated request. They are not
        # newer, and may be known to be bad.
        return None
    generation = restore(keeper, record, record.tokens)
    keeper.become(on_adoption(keeper.state, generation))
    return generation


def _are_held(keeper: Keeper, tokens: Tokens, login: str) -> bool:
    current = held(keeper.state)
    return (
        current is not None
        and current.login.id == login
        and current.tokens.access_token == tokens.access_token
        and current.tokens.refresh_token == tokens.refresh_token
    )


async def log_in(
    keeper: Keeper, flight: Flight[Landing], tokens: Tokens, asked_at: float
) -> Landing:
    """Begin a new login with these tokens, which nobody else has."""
    login = Login(wished=True)
    generation = flight.brought = next_generation(keeper, tokens, login, asked_at)
    with _kept_in_memory(keeper, generation, login):
        async with _exclusively(keeper), keeper.vault.lock():
            # Whatever is there: a login is somebody's wish, and younger.
            await keeper.vault.look()
            if login.outcome is not None:
                # Somebody has logged out meanwhile: the store has that, and must not get this.
                return generation
            if keeper.number > generation.number or keeper.vault.synced >= generation.number:
                generation = flight.brought = next_generation(keeper, tokens, login, asked_at)
            await _save(keeper, _record(keeper, generation, login))
    return generation


async def log_out(keeper: Keeper, logins: list[Login], *, revoke: bool) -> Landing:
    """Tell the store, then the server, that logins are over; the state says so already.

    Args:
      keeper: Whose they are.
      logins: The one that there was, then those that had only just begun.
      revoke: Whether to tell the server.
    """
    async with _exclusively(keeper):
        for login in logins:
            with _kept_in_memory(keeper, None, login):
                async with keeper.vault.lock():
                    await _tell_store(keeper, login)
        for login in logins:
            if revoke and login.newest is not None:
                await _revoke(keeper, login.newest)
    return LoggedOut("asked")


async def _tell_store(keeper: Keeper, login: Login) -> None:
    news = await keeper.vault.news()
    stored = keeper.vault.stored
    # Somebody here may have seen the news before us, when it was none for them any more.
    if stored is not None and (news is not None or stored.generation >= login.generation):
        if stored.login != login.id:
            # Somebody has logged in meanwhile; that is another login, and nothing is left to save.
            keeper.vault.forget(login)
            return
        if stored.tokens is not None:
            # Another process has refreshed this very login.
            login.newest = stored.tokens
    await _save(keeper, _record(keeper, None, login))


async def save_again(keeper: Keeper, _: Flight[Landing]) -> Landing | None:
    """Save what could not be saved before, unless others have saved something newer."""
    async with keeper.lock, keeper.vault.lock():
        pending, login = keeper.vault.pending, keeper.login
        if pending is None:
            return None
        if pending.tokens is None and login is not None and pending.login == login.id:
            await _tell_store(keeper, login)
            return None
        news = await _news(keeper, None, has_login=held(keeper.state) is not None)
        pending = keeper.vault.pending
        if pending is not None:
            if pending.generation <= keeper.vault.synced:
                # Numbered before what is stored now was: others would not take it for news.
                keeper.number = max(keeper.number, keeper.vault.synced) + 1
                pending = attrs.evolve(pending, generation=keeper.number)
            await _save(keeper, pending)
    return news if isinstance(news, LoggedOut) else None


@asynccontextmanager
async def _exclusively(keeper: Keeper) -> AsyncGenerator[None, None]:
    """Hold the session's lock; whoever has it gets ``close_grace`` seconds, then is cancelled."""
    with trio.move_on_after(keeper.policy.close_grace) as patience:
        await keeper.lock.acquire()
    if patience.cancelled_caught:
        keeper.ground()
        await keeper.lock.acquire()
    try:
        yield
    finally:
        keeper.lock.release()


def next_generation(keeper: Keeper, tokens: Tokens, login: Login, asked_at: float) -> Generation:
    """Make the next generation of these tokens. Not a checkpoint."""
    keeper.number = max(keeper.number, keeper.vault.synced) + 1
    return _schedule(keeper, keeper.number, tokens, login, asked_at)


def restore(keeper: Keeper, record: Record, tokens: Tokens) -> Generation:
    """Make a generation of what others have saved, a record and its tokens. Not a checkpoint."""
    keeper.number = max(keeper.number + 1, record.generation)
    login = keeper.login
    if login is None or login.id != record.login or login.outcome is not None:
        login = Login(record.login)
    asked_at = keeper.clock.now()
    if record.expires_at_unix is None or tokens.expires_in is None:
        tokens = attrs.evolve(tokens, expires_in=None)
    else:
        # A wall clock that was set back must not make a token live longer than it was given.
        asked_at = min(asked_at, keeper.clock.from_unix(record.expires_at_unix) - tokens.expires_in)
    return _schedule(keeper, keeper.number, tokens, login, asked_at, adopted=True)


def _schedule(  # what a generation consists of
    keeper: Keeper,
    number: int,
    tokens: Tokens,
    login: Login,
    asked_at: float,
    *,
    adopted: bool = False,
) -> Generation:
    login.newest, login.generation = tokens, number
    needs_refresh_token: bool = getattr(keeper.grant, "needs_refresh_token", False)
    return Generation.schedule(
        number,
        login,
        tokens,
        asked_at=asked_at,
        policy=keeper.policy,
        jitter=random.random(),  # noqa: S311  # not a secret
        renewable=tokens.refresh_token is not None or not needs_refresh_token,
        adopted=adopted,
        obtained_at=keeper.clock.now(),
    )


async def _save(keeper: Keeper, record: Record) -> None:
    await keeper.vault.save(record)
    keeper.tell(events.Saved(time=trio.current_time(), generation=record.generation))


@contextmanager
def _kept_in_memory(
    keeper: Keeper, generation: Generation | None, login: Login
) -> Generator[None, None, None]:
    """Go on without the store if it fails: say so, and save later."""
    try:
        yield
    except Exception as exc:  # noqa: BLE001  # told to the observers
        _not_saved(keeper, generation, login, exc)
    except BaseException as exc:
        # Cancelled at the deadline, or at the end of the session; in a group, if the store has a
        # nursery of its own. It may not be there.
        _not_saved(keeper, generation, login, exc)
        raise


def _not_saved(
    keeper: Keeper, generation: Generation | None, login: Login, why: BaseException
) -> None:
    record = keeper.vault.pending
    tokens = None if generation is None else generation.tokens
    if generation is not None and login.outcome is not None:
        # Over meanwhile: what is to be saved is the next login, or that there is none.
        return
    if record is None or (record.login, record.tokens) != (login.id, tokens):
        # It did not come to trying.
        record = keeper.vault.pending = _record(keeper, generation, login)
    keeper.tell(
        events.NotSaved(
            time=trio.current_time(),
            generation=record.generation,
            error=type(why).__name__,
            words=careful(why),
        )
    )
    keeper.save_later()


def _record(keeper: Keeper, generation: Generation | None, login: Login) -> Record:
    if generation is None:
        keeper.number = max(keeper.number, keeper.vault.synced) + 1
        return Record(keeper.number, None, login=login.id)
    known = generation.tokens.expires_in is not None
    return Record(
        generation.number,
        generation.tokens,
        login=login.id,
        expires_at_unix=keeper.clock.to_unix(generation.expires_at) if known else None,
    )


async def _revoke(keeper: Keeper, tokens: Tokens) -> None:
    """Tell the server that a login is over: bounded, and best effort."""
    revoke: Callable[[Tokens, TokenEndpoint], Awaitable[bool]] | None
    revoke = getattr(keeper.grant, "revoke", None)
    if revoke is None:
        return
    now = trio.current_time
    try:
        with trio.fail_after(keeper.policy.close_grace):
            told = await revoke(tokens, keeper.endpoint)
    except Exception as exc:  # noqa: BLE001  # told; there is nothing to mend
        keeper.tell(events.NotRevoked(time=now(), error=type(exc).__name__, words=careful(exc)))
    else:
        if told is not False:
            keeper.tell(events.Revoked(time=now()))
