"""Signer: the decisions about a request, before it is signed and after it was answered.

All methods but `Signer.obtain` are synchronous: no other task runs between reading the session's
state and acting on it. After an answer, `Signer.judge` says what it means for the token:

1. answered: not a refusal.
2. refused: a refusal of our token (``is_rejected`` decides). `Signer.next_step` says what follows.
3. step_up: a 401 that asks for what a refresh can't give (RFC 9470, RFC 6750 3.1).
4. not_ours: the refused request did not carry our token, because a redirect led elsewhere.
5. policy: a 401 that ``is_rejected`` does not take for a refusal.

After a refusal, `Signer.next_step` says what follows:

1. again: sent three times, or refused with a renewed token: the 401 goes to the caller.
2. settle: the token is new, and the policy says to wait and send it once more.
3. futile: earlier refreshes did not help here (``evidence``): the 401 goes to the caller.
4. body: a refresh starts, but the body can't be sent again: the 401 goes to the caller.
5. refresh: a refresh starts, or is in the air, or has landed: send again with the next token.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, Protocol, TypeAlias, TypeVar, final

import attrs
import trio

from trioauth import events
from trioauth._challenge import asks_for_more
from trioauth._core.authentication import Authentication
from trioauth._core.login_state import LoggedOut
from trioauth._core.state import Closed, Failure, generation_of, on_demand, on_rejection

from .belonging import LOGIN
from .evidence import Evidence, place_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, MutableMapping, Sequence

    from trioauth._core.authentication import NotResent
    from trioauth._core.clock import Clock
    from trioauth._core.flight import Generation, Login
    from trioauth._core.policy import RefreshPolicy
    from trioauth._core.state import State
    from trioauth._origins import Origins

    from .evidence import Account

MOST_SENDINGS: Final = 3
"""Once; again after a refresh; a third time if that refresh only found a token in the store, or
with `RefreshPolicy.settle`."""

# Statuses that a proxy sends, or an API before it has checked the token: they prove nothing.
_SAY_NOTHING = frozenset({407, 408, 421, 425, 429})

_MISSING: Final = object()

Verdict: TypeAlias = Literal["answered", "refused", "step_up", "not_ours", "policy"]
Step: TypeAlias = Literal["refresh", "settle"]


class RequestLike(Protocol):
    """The part of a request that is used, of httpx or httpx2."""

    @property
    def url(self) -> Any: ...
    @property
    def headers(self) -> MutableMapping[str, str]: ...
    @property
    def stream(self) -> object: ...
    @property
    def extensions(self) -> Any: ...
    @extensions.setter
    def extensions(self, extensions: Any) -> None: ...


RequestT = TypeVar("RequestT", bound=RequestLike)
RequestT_co = TypeVar("RequestT_co", bound=RequestLike, covariant=True)


class ResponseLike(Protocol[RequestT_co]):
    """The part of a response that is used, of httpx or httpx2."""

    @property
    def status_code(self) -> int: ...
    @property
    def headers(self) -> Any: ...
    @property
    def request(self) -> RequestT_co: ...
    @property
    def history(self) -> Sequence[ResponseLike[RequestT_co]]: ...
    @property
    def next_request(self) -> RequestT_co | None: ...
    @property
    def extensions(self) -> MutableMapping[str, Any]: ...


class TokenSource(Protocol):
    """The part of `trioauth._core.source.TokenSource` that signing uses."""

    @property
    def state(self) -> State: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def policy(self) -> RefreshPolicy: ...

    def fresh(self, valid_for: float = 0.0) -> Generation | None:
        """Return the generation if it stays fresh for ``valid_for`` seconds. Not a checkpoint."""
        ...

    async def obtain(
        self, login: Login | None = None, *, valid_for: float = 0.0, one_shot: bool = False
    ) -> Generation:
        """Return the generation to use, of ``login`` if one is given, after a refresh if needed.

        Cancellation:
          Safe. A flight that is waited for goes on.
        """
        ...

    def check_here(self) -> None:
        """Raise `RuntimeError` in another thread, or another run of trio, than the session's."""
        ...

    def raise_failure(self, why: Failure) -> NoReturn:
        """Raise a failure in the present task."""
        ...

    def reject(self, number: int) -> None:
        """Note that a server refused a generation; an older one is ignored. Not a checkpoint."""
        ...

    def refresh_in_background(self) -> None:
        """Start the flight that is due after a rejection, if it is. Not a checkpoint."""
        ...

    def tell(self, event: events.Event) -> None:
        """Tell the log and the observers. Not a checkpoint."""
        ...


@final
@attrs.define(eq=False, repr=False)
class Progress:
    """How often one request was sent, and why it was sent again."""

    first: Generation
    """The generation that it was signed with the first time."""
    attempts: int = 1
    settled: bool = False
    """Whether it has waited for `RefreshPolicy.settle` already."""
    charged: Account | None = None
    """The account that counts the refresh that it waits for."""

    def note(self, generation: Generation, reason: NotResent | None = None) -> Authentication:
        """Make the `Authentication` for the response."""
        return Authentication(generation.number, self.attempts, reason)


@final
@attrs.define(eq=False, repr=False)
class _Sending:
    """A request while it is being sent."""

    mark: object
    """What ``request.extensions`` had for `LOGIN` before, to be put back."""
    flows: int = 1
    """How many tasks are sending this request object now."""


@final
@attrs.define(eq=False, repr=False)
class Signer:
    """Decides about the requests of one session."""

    tokens: TokenSource
    origins: Origins
    is_rejected: Callable[[Any], bool]
    evidence: Evidence = attrs.field(init=False)
    resent: int = attrs.field(default=0, init=False)
    """How many times a request was sent again after a 401."""
    _sending: dict[int, _Sending] = attrs.field(factory=dict[int, "_Sending"], init=False)
    """The requests that are being sent, by their ``id``: they are not hashable."""

    def __attrs_post_init__(self) -> None:
        self.evidence = Evidence(self.tokens.policy)

    @property
    def closed(self) -> bool:
        """Whether the session is closed."""
        return isinstance(self.tokens.state, Closed)

    # --- before it is sent -----------------------------------------------------------------

    def _login_of(self, request: RequestLike) -> Login | None:
        login: Login | None = request.extensions.get(LOGIN, _MISSING)
        if login is not _MISSING:
            return login
        generation = generation_of(self.tokens.state)
        return None if generation is None else generation.login

    def fresh_for(self, request: RequestLike) -> Generation | None:
        """Return the generation if it is fresh and of the request's login. Not a checkpoint."""
        generation = self.tokens.fresh()
        if generation is None:
            return None
        # A request of an attached client has no mark: it belongs to the login that there is now.
        login: Login | None = request.extensions.get(LOGIN, generation.login)
        return generation if login is generation.login else None

    async def obtain(self, request: RequestLike, *, one_shot: bool) -> Generation:
        """Return the generation to sign a request with, after a refresh if one is needed.

        It is of the login that the request belongs to. A request that was built without a login is
        signed by one that the grant begins, but not by one of `Session.log_in` (P13).

        Cancellation:
          Safe. A refresh that it waits for goes on.

        Checkpoints:
          None if there is nothing to wait for.
        """
        tokens, login = self.tokens, self._login_of(request)
        decision = on_demand(tokens.state, now=tokens.clock.now(), one_shot=one_shot)
        if isinstance(decision, Failure) or (login is not None and login.ended.is_set()):
            # This raises at once: a program that retries in a loop would block the event loop.
            await trio.lowlevel.checkpoint()
        self._check_lasts(login)
        generation = await tokens.obtain(login, one_shot=one_shot)
        if login is None:
            if generation.login.by_log_in:
                # `log_in` was called after the request was built, perhaps for another person.
                tokens.raise_failure(LoggedOut("replaced"))
        elif generation.login is not login:
            raise RuntimeError(
                "this request was built by another session, and belongs to the login there; "
                "build it with the session that sends it"
            )
        return generation

    def _check_lasts(self, login: Login | None) -> None:
        if login is not None and login.ended.is_set():
            if login.outcome is not None:
                self.tokens.raise_failure(login.outcome)
            if isinstance(self.tokens.state, Closed):
                self.tokens.raise_failure(self.tokens.state)

    def take(self, request: RequestLike, login: Login) -> None:
        """Mark a request with its login, for limiter and cookies. Not a checkpoint."""
        sending = self._sending.get(id(request))
        if sending is not None:
            sending.flows += 1
            return
        mark = request.extensions.get(LOGIN, _MISSING)
        self._sending[id(request)] = _Sending(mark)
        if mark is not login:  # A copy: the program may use its own mapping for other requests.
            request.extensions = {**request.extensions, LOGIN: login}

    def release(self, request: RequestLike) -> None:
        """Remove our header and mark, which must not be sent again. Not a checkpoint."""
        sending = self._sending[id(request)]
        sending.flows -= 1
        if sending.flows:
            # Another task is still sending the same request object, and needs the header.
            return
        del self._sending[id(request)]
        try:  # noqa: SIM105  # suppress() would cost each request as much again
            del request.headers["Authorization"]
        except KeyError:
            pass  # An event hook of the program has removed it.
        if sending.mark is _MISSING:
            request.extensions.pop(LOGIN, None)
        else:
            request.extensions[LOGIN] = sending.mark

    # --- when it was answered --------------------------------------------------------------

    def judge(self, response: ResponseLike[Any], generation: Generation) -> Verdict:
        """Say what an answer means for the token of its request."""
        rejected = self.is_rejected(response)
        if rejected is False and response.status_code != 401:
            return "answered"
        _check_is_said(rejected)
        if not rejected and response.status_code != 401:
            return "answered"
        if not self._is_ours(response.request, generation):
            return "not_ours"
        if rejected:
            return "refused"
        return "step_up" if asks_for_more(response) else "policy"

    def _is_ours(self, request: RequestLike, generation: Generation) -> bool:
        # httpx removes the token when a redirect leads to another origin: a 401 there is not about
        # our token.
        signed = request.headers.get("Authorization") == generation.header
        return signed and self.origins.allows(request.url)

    def note_answered(
        self,
        sent: RequestLike,
        response: ResponseLike[Any],
        generation: Generation,
        progress: Progress,
    ) -> None:
        """Note that a request was not refused, which may prove that a refresh helped.

        Args:
          sent: The request as it was signed last, before any redirect.
          response: The last answer, after redirects.
          generation: The one that it was signed with.
          progress: Of this request.
        """
        last, now = response.request, self.tokens.clock.now()
        ours, status = self._is_ours(last, generation), response.status_code
        silent = status >= 500 or status in _SAY_NOTHING
        if last is sent and (silent or not ours):
            return
        # A redirect counts as an answer of ``sent``: the API has accepted the token, even if the
        # redirect leads to another origin, as for downloads.
        if progress.charged is not None:
            self.evidence.acquit(progress.charged)
        self.evidence.note_answered(place_of(sent.url), generation.number, now=now)
        if last is not sent and ours and not silent:
            self.evidence.note_answered(place_of(last.url), generation.number, now=now)

    def next_step(
        self, refused: RequestLike, generation: Generation, progress: Progress, *, one_shot: bool
    ) -> Step | NotResent:
        """Decide what follows a refusal, and start the refresh that it causes.

        Raises:
          LoggedOutError: Its login has ended.
        """
        tokens, now, place = self.tokens, self.tokens.clock.now(), place_of(refused.url)
        self._check_lasts(generation.login)
        # Whether this flow has waited for a refresh that got this token from the server.
        renewed = generation is not progress.first and not generation.adopted
        self.evidence.note_refused(place, generation.number)
        if progress.attempts == MOST_SENDINGS:
            return "again"
        news = self._is_news(generation.number)
        young = news and now < generation.obtained_at + tokens.policy.settle
        if (renewed or young) and not (one_shot or progress.settled) and tokens.policy.settle:
            progress.settled = True
            return "settle"
        if renewed:
            return "again"
        if news:
            progress.charged = self.evidence.charge(place, generation.number, now=now)
            if progress.charged is None:
                return "futile"
            tokens.reject(generation.number)
        else:
            # A late 401: another request has caused the refresh. If this one is answered when it
            # is sent again, that proves as well that the refresh helped.
            progress.charged = self.evidence.charged(place, generation.number)
        # The refresh starts now, because reading the refusal may take two seconds (P10).
        tokens.refresh_in_background()
        return "body" if one_shot else "refresh"

    def _is_news(self, number: int) -> bool:
        """Say whether a generation is the current one and not yet rejected."""
        return on_rejection(self.tokens.state, number) is not self.tokens.state

    def note_resent(self, refused: Generation, generation: Generation) -> None:
        """Count a request that is sent again, and tell the observers."""
        self.resent += 1
        self.tokens.tell(
            events.RequestResent(
                time=trio.current_time(),
                task=trio.lowlevel.current_task().name,
                refused=refused.number,
                generation=generation.number,
            )
        )

    def report(self, number: int) -> None:
        """Reject a generation that `Session.reject` reports, within bounds. Not a checkpoint."""
        if self._is_news(number) and self.evidence.charge_report(
            number, now=self.tokens.clock.now()
        ):
            self.tokens.reject(number)


def requests_of(response: ResponseLike[RequestT]) -> Iterator[RequestT]:
    """Return the requests that a response refers to, those of redirects included."""
    for each in (response, *response.history):
        yield each.request
        if each.next_request is not None:
            yield each.next_request


def _check_is_said(rejected: object) -> None:
    """Raise `TypeError` for an awaitable: it is truthy, so each response would be a refusal."""
    if inspect.isawaitable(rejected):
        if inspect.iscoroutine(rejected):
            rejected.close()  # Or Python warns that it was never awaited.
        raise TypeError("is_rejected must say True or False at once; it returned an awaitable")
