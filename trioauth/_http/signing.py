"""Signer: what is decided about a request before it is signed, and after it was answered.

It decides and takes notes; `Flow` in ``auth`` asks it. All but `Signer.obtain` is
synchronous: nothing happens between looking at the session's state and acting on it.
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
from trioauth._core.state import Closed, Failure, held, on_demand, on_rejection

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
"""Once; again after a refresh; and a third time if that refresh only found a token in the store, or
if the policy lets a new token settle."""

# These answers come from something in front of the API, or before it has looked at the token.
_SAY_NOTHING = frozenset({407, 408, 421, 425, 429})

_MISSING: Final = object()

Verdict: TypeAlias = Literal["answered", "refused", "step_up", "not_ours", "policy"]
Step: TypeAlias = Literal["refresh", "settle"]


class RequestLike(Protocol):
    """What is used of a request of httpx or httpx2."""

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
    """What is used of a response of httpx or httpx2."""

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
    """What signing needs of the inside of a session."""

    @property
    def state(self) -> State: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def policy(self) -> RefreshPolicy: ...

    def fresh(self, valid_for: float = 0.0) -> Generation | None:
        """Return the generation to use if there is nothing to think about. Not a checkpoint."""
        ...

    async def obtain(
        self, login: Login | None = None, *, valid_for: float = 0.0, one_shot: bool = False
    ) -> Generation:
        """Return a generation to use, of ``login`` if one is given; wait if need be.

        Cancellation:
          Safe. A flight that is waited for goes on.
        """
        ...

    def check_here(self) -> None:
        """Raise `RuntimeError` in another thread, or another run of trio, than the session's."""
        ...

    def fail(self, why: Failure) -> NoReturn:
        """Raise what this means to the task at hand."""
        ...

    def reject(self, number: int) -> None:
        """Take in that a generation was refused; late news is ignored. Not a checkpoint."""
        ...

    def renew_behind(self) -> None:
        """Start a flight that no task waits for yet, if one is due. Not a checkpoint."""
        ...

    def tell(self, event: events.Event) -> None:
        """Tell the log and the observers. Not a checkpoint."""
        ...


@final
@attrs.define(eq=False, repr=False)
class Course:
    """What one request has been through since its first refusal."""

    first: Generation
    """What it was signed with the first time."""
    attempts: int = 1
    settled: bool = False
    """Whether it has waited for `RefreshPolicy.settle` already."""
    charged: Account | None = None
    """Where the refresh is counted that it waits for."""

    def note(self, generation: Generation, reason: NotResent | None = None) -> Authentication:
        """Say how the request was authenticated."""
        return Authentication(generation.number, self.attempts, reason)


@final
@attrs.define(eq=False, repr=False)
class _Sending:
    """A request while it is being sent."""

    mark: object
    """What login it was marked with before."""
    flows: int = 1
    """How many flows are sending it."""


@final
@attrs.define(eq=False, repr=False)
class Signer:
    """What the requests of one session are signed by."""

    tokens: TokenSource
    origins: Origins
    is_rejected: Callable[[Any], bool]
    evidence: Evidence = attrs.field(init=False)
    resent: int = attrs.field(default=0, init=False)
    """How many requests were sent again."""
    _sending: dict[int, _Sending] = attrs.field(factory=dict[int, "_Sending"], init=False)
    """The requests that flows are sending, by their ``id``."""

    def __attrs_post_init__(self) -> None:
        self.evidence = Evidence(self.tokens.policy)

    # --- before it is sent -----------------------------------------------------------------

    def _login_of(self, request: RequestLike) -> Login | None:
        login: Login | None = request.extensions.get(LOGIN, _MISSING)
        if login is not _MISSING:
            return login
        generation = held(self.tokens.state)
        return None if generation is None else generation.login

    def fresh_for(self, request: RequestLike) -> Generation | None:
        """Return what to sign a request with if there is nothing to decide. Not a checkpoint."""
        generation = self.tokens.fresh()
        if generation is None:
            return None
        # An attached client does not mark what it builds: its requests begin here.
        login: Login | None = request.extensions.get(LOGIN, generation.login)
        return generation if login is generation.login else None

    async def obtain(self, request: RequestLike, *, one_shot: bool) -> Generation:
        """Return what to sign a request with; wait if need be.

        It belongs to a login, or was built without one (P13).

        Cancellation:
          Safe. A refresh that it waits for goes on.

        Checkpoints:
          None if there is nothing to wait for.
        """
        tokens, login = self.tokens, self._login_of(request)
        decision = on_demand(tokens.state, now=tokens.clock.now(), one_shot=one_shot)
        if isinstance(decision, Failure) or (login is not None and login.over.is_set()):
            # A loop that tries again at once must let others run, and hear that it is cancelled.
            await trio.lowlevel.checkpoint()
        self._check_lasts(login)
        generation = await tokens.obtain(login, one_shot=one_shot)
        if login is None:
            if generation.login.wished:
                # `log_in` was called since the request was built: it is not of that login. One that
                # began because a token was asked for, this request may use.
                tokens.fail(LoggedOut("replaced"))
        elif generation.login is not login:
            raise RuntimeError(
                "this request was built by another session, and belongs to the login there; "
                "build it with the session that sends it"
            )
        return generation

    def _check_lasts(self, login: Login | None) -> None:
        if login is not None and login.over.is_set():
            if login.outcome is not None:
                self.tokens.fail(login.outcome)
            if isinstance(self.tokens.state, Closed):
                self.tokens.fail(self.tokens.state)

    def take(self, request: RequestLike, login: Login) -> None:
        """Take note that a flow is about to sign a request. Not a checkpoint.

        Until it is released, the request is marked with the login that it is sent for: what is
        below the flow can see it.
        """
        sending = self._sending.get(id(request))
        if sending is not None:
            sending.flows += 1
            return
        mark = request.extensions.get(LOGIN, _MISSING)
        self._sending[id(request)] = _Sending(mark)
        if mark is not login:
            # A copy: the program may use its own mapping for other requests, too.
            request.extensions = {**request.extensions, LOGIN: login}

    def release(self, request: RequestLike) -> None:
        """Leave a request as it was, or it would take our header along again. Not a checkpoint."""
        sending = self._sending[id(request)]
        sending.flows -= 1
        if sending.flows:
            # Another task is sending the very same request, which still needs its header.
            return
        del self._sending[id(request)]
        try:  # noqa: SIM105  # suppress() would cost each request as much again
            del request.headers["Authorization"]
        except KeyError:
            pass  # An event hook has taken it away.
        if sending.mark is _MISSING:
            request.extensions.pop(LOGIN, None)
        else:
            request.extensions[LOGIN] = sending.mark

    # --- when it was answered --------------------------------------------------------------

    def judge(self, response: ResponseLike[Any], generation: Generation) -> Verdict:
        """Say what an answer means for the token that the request was signed with."""
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
        # The foreign target of a redirect was not given the token, and its refusal says nothing.
        signed = request.headers.get("Authorization") == generation.header
        return signed and self.origins.allows(request.url)

    def note_answered(
        self, sent: RequestLike, response: ResponseLike[Any], generation: Generation, course: Course
    ) -> None:
        """Take in that a request was not refused: a refresh may be shown to have helped.

        Args:
          sent: What was signed last. It may have been redirected since.
          response: The last answer.
          generation: What it was signed with.
          course: What it has been through.
        """
        last, now = response.request, self.tokens.clock.now()
        ours = self._is_ours(last, generation)
        status = response.status_code
        silent = status >= 500 or status in _SAY_NOTHING
        if last is sent and (silent or not ours):
            return
        # A redirect is an answer, too, wherever it leads: downloads often end at another origin.
        if course.charged is not None:
            self.evidence.acquit(course.charged)
        self.evidence.note_answered(place_of(sent.url), generation.number, now=now)
        if last is not sent and ours and not silent:
            self.evidence.note_answered(place_of(last.url), generation.number, now=now)

    def next_step(
        self, refused: RequestLike, generation: Generation, course: Course, *, one_shot: bool
    ) -> Step | NotResent:
        """Decide what becomes of a refused request; start the refresh that its 401 causes.

        Raises:
          LoggedOutError: Its login has ended.
        """
        tokens, now, place = self.tokens, self.tokens.clock.now(), place_of(refused.url)
        self._check_lasts(generation.login)
        # What this very flow has waited for, and the server has just issued.
        renewed = generation is not course.first and not generation.adopted
        self.evidence.note_refused(place, generation.number)
        if course.attempts == MOST_SENDINGS:
            return "again"
        news = self._is_news(generation.number)
        young = news and now < generation.obtained_at + tokens.policy.settle
        if (renewed or young) and not (one_shot or course.settled) and tokens.policy.settle:
            course.settled = True
            return "settle"
        if renewed:
            return "again"
        if news:
            course.charged = self.evidence.charge(place, generation.number, now=now)
            if course.charged is None:
                return "futile"
            tokens.reject(generation.number)
        else:
            # Another request has caused the refresh; this one can show as well that it helped.
            course.charged = self.evidence.charged(place, generation.number)
        # The flight takes off before the refusal is read, which may take a while (P10).
        tokens.renew_behind()
        return "body" if one_shot else "refresh"

    def _is_news(self, number: int) -> bool:
        """Say whether nothing is known against a generation yet, and it is the current one."""
        return on_rejection(self.tokens.state, number) is not self.tokens.state

    def note_resent(self, refused: Generation, generation: Generation) -> None:
        """Take in that a refused request is sent again."""
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
        """Take in what `Session.reject` reports. Not a checkpoint."""
        if self._is_news(number) and self.evidence.charge_report(
            number, now=self.tokens.clock.now()
        ):
            self.tokens.reject(number)


def requests_of(response: ResponseLike[RequestT]) -> Iterator[RequestT]:
    """Return the requests that a response keeps, those of redirects included."""
    for each in (response, *response.history):
        yield each.request
        if each.next_request is not None:
            yield each.next_request


def _check_is_said(rejected: object) -> None:
    """Refuse what only promises to say whether a response is a refusal: it would count as a yes."""
    if inspect.isawaitable(rejected):
        if inspect.iscoroutine(rejected):
            # Or Python warns that it was never awaited.
            rejected.close()
        raise TypeError("is_rejected must say True or False at once; it returned an awaitable")
