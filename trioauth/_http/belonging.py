"""Belonging: which login a request belongs to, and whether its token may still be sent.

1. A request of the session's own client is marked with the current login when it is built (P13).
2. The auth flow signs it with a token of that login.
3. When it has queued for a connection, it is checked again: its login may have ended (it is not
   sent), or its token may have been rejected (it is signed anew, P3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, Protocol, final

import attrs

from trioauth._core.state import Closed, Use, UseAndRefresh, generation_of, on_demand, public_state

if TYPE_CHECKING:
    import httpx

    from trioauth._core.clock import Clock
    from trioauth._core.flight import Generation, Login
    from trioauth._core.state import Failure, State

LOGIN = "trioauth.login"
"""In a request's extensions: the login that it belongs to, or None. Redirects inherit it."""

SIGNED_ANEW = "trioauth.signed_anew"
"""In a request's extensions: the generation that it was signed with after it had queued."""

OWNER = "trioauth.owner"
"""In a request's extensions: the `Belonging` of its session, if several sessions share a pool."""


class TokenSource(Protocol):
    """The part of `trioauth._core.source.TokenSource` that is used here."""

    @property
    def state(self) -> State: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def login(self) -> Login | None: ...

    async def obtain(self, login: Login | None = None) -> Generation:
        """Return the generation to use, of ``login`` if one is given, after a refresh if needed.

        Cancellation:
          Safe. A flight that is waited for goes on.
        """
        ...

    def raise_failure(self, why: Failure) -> NoReturn:
        """Raise a failure in the present task."""
        ...


def login_of(request: httpx.Request) -> Login | None:
    """Return the login that a request is marked with; None without a login or a mark."""
    login: Login | None = request.extensions.get(LOGIN)
    return login


@final
@attrs.frozen(eq=False, repr=False)
class Belonging:
    """Knows the login and the tokens of one session."""

    _tokens: TokenSource

    def current_login(self) -> Login | None:
        """Return the current login, with which a new request is marked. Not a checkpoint."""
        login = self._tokens.login
        return None if login is None or login.ended.is_set() else login

    def check(self, request: httpx.Request) -> None:
        """Raise if a request needs a login that has ended. Not a checkpoint."""
        login = self.needed(request)
        if login is not None and login.ended.is_set():
            self._tokens.raise_failure(login.outcome or Closed(public_state(self._tokens.state)))

    @staticmethod
    def needed(request: httpx.Request) -> Login | None:
        """Return the login that a request needs: None if it is not signed. Not a checkpoint."""
        return login_of(request) if "Authorization" in request.headers else None

    def signed_with(self, request: httpx.Request) -> Generation | None:
        """Return the generation that a request was just signed with. Not a checkpoint.

        None if its header is not ours: the program may have set it.
        """
        generation = generation_of(self._tokens.state)
        if generation is None or request.headers.get("Authorization") != generation.header:
            return None
        return generation

    def is_good(self, generation: Generation) -> bool:
        """Say whether a generation is still the one to use. Not a checkpoint."""
        match on_demand(self._tokens.state, now=self._tokens.clock.now()):
            case Use(current) | UseAndRefresh(current):
                return current is generation
            case _:
                return False

    async def sign_anew(self, request: httpx.Request, generation: Generation) -> None:
        """Sign a request with the generation that replaces this one, after a refresh if needed.

        Cancellation:
          Safe. A refresh that it waits for goes on.

        Checkpoints:
          None if there is nothing to wait for.
        """
        newer = await self._tokens.obtain(generation.login)
        request.headers["Authorization"] = newer.header
        request.extensions = {**request.extensions, SIGNED_ANEW: newer}


def belonging_of(request: httpx.Request) -> Belonging:
    """Return what knows the session of a request that is sent by a shared pool."""
    belonging: Belonging = request.extensions[OWNER]
    return belonging


def signed_anew(request: Any, generation: Generation) -> Generation:
    """Return what a request was sent with: ``generation``, unless it was signed anew since.

    Not a checkpoint.

    Args:
      request: Of httpx or httpx2.
      generation: What the auth flow has signed it with.
    """
    newer: Generation | None = request.extensions.get(SIGNED_ANEW)
    # If the header is another one, the mark is from an earlier sending.
    if newer is None or request.headers.get("Authorization") != newer.header:
        return generation
    return newer
