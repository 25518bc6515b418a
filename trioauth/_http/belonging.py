"""Belonging: what the session's own client asks about the login and the token of a request.

A request is marked when it is built, and looked at once more when it has queued for a connection:
by then its login may have ended (P13), or its token may be known to be bad (P3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, Protocol, final

import attrs

from trioauth._core.state import Closed, Use, UseAndRefresh, held, on_demand, seen

if TYPE_CHECKING:
    import httpx

    from trioauth._core.clock import Clock
    from trioauth._core.flight import Generation, Login
    from trioauth._core.state import Failure, State

LOGIN = "trioauth.login"
"""In a request's extensions: the login that it belongs to, or None. Redirects inherit it."""

SIGNED_ANEW = "trioauth.signed_anew"
"""In a request's extensions: the generation that it was signed with after it had queued."""


class TokenSource(Protocol):
    """What is used of the inside of a session."""

    @property
    def state(self) -> State: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def login(self) -> Login | None: ...

    async def obtain(self, login: Login | None = None) -> Generation:
        """Return a generation to use, of ``login`` if one is given; wait if need be.

        Cancellation:
          Safe. A flight that is waited for goes on.
        """
        ...

    def fail(self, why: Failure) -> NoReturn:
        """Raise what this means to the task at hand."""
        ...


def login_of(request: httpx.Request) -> Login | None:
    """Return the login that a request belongs to; None if there was none, or it is not known."""
    login: Login | None = request.extensions.get(LOGIN)
    return login


@final
@attrs.frozen(eq=False, repr=False)
class Belonging:
    """The answers of one session."""

    _tokens: TokenSource

    def current_login(self) -> Login | None:
        """Return the login that a request belongs to that is built now. Not a checkpoint."""
        login = self._tokens.login
        return None if login is None or login.over.is_set() else login

    def check(self, request: httpx.Request) -> None:
        """Raise if a request needs a login that has ended. Not a checkpoint."""
        login = self.needed(request)
        if login is not None and login.over.is_set():
            self._tokens.fail(login.outcome or Closed(seen(self._tokens.state)))

    @staticmethod
    def needed(request: httpx.Request) -> Login | None:
        """Return the login without which a request is not to be sent. Not a checkpoint."""
        return login_of(request) if "Authorization" in request.headers else None

    def signed_with(self, request: httpx.Request) -> Generation | None:
        """Return the generation that a request was just signed with. Not a checkpoint.

        None if it was signed with something else: by the program itself, say.
        """
        generation = held(self._tokens.state)
        if generation is None or request.headers.get("Authorization") != generation.header:
            return None
        return generation

    def is_good(self, generation: Generation) -> bool:
        """Say whether requests may still be sent with a generation. Not a checkpoint."""
        match on_demand(self._tokens.state, now=self._tokens.clock.now()):
            case Use(current) | UseAndRefresh(current):
                return current is generation
            case _:
                return False

    async def sign_anew(self, request: httpx.Request, generation: Generation) -> None:
        """Sign a request with the generation that has taken the place of another; wait if need be.

        Cancellation:
          Safe. A refresh that it waits for goes on.

        Checkpoints:
          None if there is nothing to wait for.
        """
        newer = await self._tokens.obtain(generation.login)
        request.headers["Authorization"] = newer.header
        request.extensions = {**request.extensions, SIGNED_ANEW: newer}


def signed_anew(request: Any, generation: Generation) -> Generation:
    """Return what a request was sent with: ``generation``, unless it was signed anew since.

    Not a checkpoint.

    Args:
      request: Of httpx or httpx2.
      generation: What the auth flow has signed it with.
    """
    newer: Generation | None = request.extensions.get(SIGNED_ANEW)
    # The mark may be of an earlier sending.
    if newer is None or request.headers.get("Authorization") != newer.header:
        return generation
    return newer
