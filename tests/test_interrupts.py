"""P21: wherever Control-C comes, and whatever an observer or a log handler raises, nothing hangs.

Afterwards no flight is without an owner, each task that waited was told, the session is closed,
the newest tokens are in the store, and what was raised has come out: once.
"""

from __future__ import annotations

import logging
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import httpx
import pytest
import trio
import trio.testing

import trioauth
from trioauth import (
    GrantRefusedError,
    LoggedOutError,
    RefreshPolicy,
    RefreshUnavailableError,
    Session,
    Tokens,
    events,
)
from trioauth._core.state import Closed
from trioauth.testing._scheduler import seeded

from .fakes import FakeGrant, FakeStore, ShieldedGrant, first_tokens
from .sessions import down, opened

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import FrameType

    from trioauth import TokenEndpoint

pytestmark = pytest.mark.usefixtures("autojump_clock")


PACKAGE: Final = Path(trioauth.__file__).parent
# Where state, flights and records are kept together.
BOOKS: Final = ["_core/machine", "_core/flights", "_core/records", "_core/source"]
HANDS: Final = [
    "_core/asking",
    "_core/logins",
    "_core/renewal",
    "_opening",
    "_block",
    "_core/vault",
    "_core/timers",
]
LONG: Final = 200.0


@attrs.define
class Interruption:
    """Presses Control-C before the n-th line that is run in some files of the package."""

    files: frozenset[str]
    at: int | None = None
    lines: list[str] = attrs.field(factory=list)
    """Where each line was."""

    def run(self, main: Callable[[], Awaitable[None]]) -> None:
        before = sys.gettrace()
        # Always in the same order.
        with seeded(1):
            sys.settrace(self._enter)
            try:
                trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
            finally:
                sys.settrace(before)

    def _enter(self, frame: FrameType, event: str, arg: object) -> Any:
        return self._step if frame.f_code.co_filename in self.files else None

    def _step(self, frame: FrameType, event: str, arg: object) -> Any:
        if event == "line":
            self.lines.append(f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}")
            if len(self.lines) - 1 == self.at:
                sys.settrace(None)
                signal.raise_signal(signal.SIGINT)
        return self._step


@attrs.define
class Scene:
    """A session, tasks that wait for it from outside its block, and what became of them."""

    play: Callable[[Scene, Session], Awaitable[None]]
    options: dict[str, Any] = attrs.field(factory=dict)
    grant: Any = attrs.field(factory=FakeGrant)
    store: FakeStore = attrs.field(factory=FakeStore)
    session: Session | None = None
    keeps: bool = True
    """Whether what was renewed must be in the store: not if closing may be interrupted."""
    patience: float = 2 * LONG
    """By when each task that waits is told."""
    last_told: float = 0
    waiting: int = 0
    told: list[BaseException | None] = attrs.field(factory=list)
    raised: list[BaseException] = attrs.field(factory=list)
    nursery: trio.Nursery | None = None

    async def main(self) -> None:
        async with trio.open_nursery() as self.nursery:
            try:
                async with opened(self.grant, store=self.store, **self.options) as self.session:
                    await self.play(self, self.session)
            except BaseException as exc:  # noqa: ASYNC103  # Control-C
                self._note(exc)
            # Longer than any flight.
            try:
                await trio.sleep(LONG)
            except BaseException as exc:  # noqa: ASYNC103  # Control-C
                self._note(exc)
                await trio.sleep(LONG)  # noqa: ASYNC102
            assert len(self.told) == self.waiting, "a waiter is asleep"
            assert len(trio.lowlevel.current_task().child_nurseries[0].child_tasks) == 0

    def _note(self, exc: BaseException) -> None:
        if isinstance(exc, AssertionError):
            raise exc
        self.raised.append(exc)

    def wait(self, function: Callable[[], Awaitable[object]]) -> None:
        """Let a task wait that outlives the session."""
        assert self.nursery is not None
        self.waiting += 1
        self.nursery.start_soon(self._wait, function)

    async def _wait(self, function: Callable[[], Awaitable[object]]) -> None:
        try:
            await function()
        except (trioauth.Error, trio.ClosedResourceError) as exc:
            self.told.append(exc)
        except BaseException as exc:  # noqa: ASYNC103  # Control-C
            self.raised.append(exc)
            self.told.append(exc)
        else:
            self.told.append(None)
        self.last_told = trio.current_time()

    def check(self) -> None:
        """See that nothing is left: P21, and P7 and P8 with it."""
        if self.session is None:
            return
        assert self.last_told <= self.patience, "a waiter was told late"
        assert isinstance(self.session._machine.state, Closed)
        assert self.session._flights.running == set()
        assert self.session._machine.depth == 0
        if self.keeps:
            assert self.grant.spent_twice == []
            tokens = None if self.store.record is None else self.store.record.tokens
            if self.grant.completed and tokens is not None:
                assert tokens.access_token != "access-0"


def outcomes(exc: BaseException) -> list[BaseException]:
    """Take exceptions out of their groups."""
    if isinstance(exc, BaseExceptionGroup):
        return [each for inner in exc.exceptions for each in outcomes(inner)]
    return [exc]


async def renew_and_log_out(scene: Scene, session: Session) -> None:
    scene.wait(session.token)
    scene.wait(session.wait_logged_out)
    await trio.testing.wait_all_tasks_blocked()
    await session.token()
    session.reject(session.generation)
    scene.wait(session.refresh)
    await trio.testing.wait_all_tasks_blocked()
    await session.log_out()


async def ask_a_person(scene: Scene, session: Session) -> None:
    async def person(endpoint: TokenEndpoint) -> Tokens:
        await trio.sleep(1)
        return Tokens("access-9", "refresh-9", 3600)

    scene.wait(lambda: session.log_in(person))
    scene.wait(session.wait_logged_in)
    await trio.testing.wait_all_tasks_blocked()
    scene.wait(lambda: session.log_in(person))
    await session.log_in(person)
    await session.log_out()


async def leave_at_once(scene: Scene, session: Session) -> None:
    scene.wait(session.token)
    await trio.testing.wait_all_tasks_blocked()


async def wait_beyond_the_deadline(scene: Scene, session: Session) -> None:
    scene.wait(session.token)
    await trio.sleep(10)


PLAYS: dict[str, tuple[Callable[[Scene, Session], Awaitable[None]], dict[str, Any]]] = {
    "renew": (renew_and_log_out, {"tokens": first_tokens(0)}),
    "log in": (ask_a_person, {"tokens": None}),
    "leave": (leave_at_once, {"tokens": first_tokens(0), "policy": RefreshPolicy(keep_fresh=True)}),
    "late": (
        wait_beyond_the_deadline,
        {"tokens": first_tokens(0), "policy": RefreshPolicy(timeout=5)},
    ),
}


def interrupted(play: str, names: list[str], at: int | None) -> tuple[Scene, Interruption]:
    function, options = PLAYS[play]
    files = frozenset(str((PACKAGE / f"{name}.py").resolve(strict=True)) for name in names)
    scene, interruption = Scene(function, dict(options)), Interruption(files, at)
    scene.keeps = play not in ("leave", "late")
    if play == "late":
        scene.grant, scene.patience = ShieldedGrant(latency=20), 6
    try:
        interruption.run(scene.main)
    except KeyboardInterrupt as exc:
        scene.raised.append(exc)
    except BaseExceptionGroup as group:
        scene.raised += outcomes(group)
    return scene, interruption


# Of a coroutine that Control-C comes before the first line of.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("play", "files"),
    [
        pytest.param(play, files, id=f"{play}-{name}")
        for play in PLAYS
        for name, files in (("books", BOOKS), ("hands", HANDS))
        if (play, name) != ("late", "hands")  # which have no part in it
    ],
)
def test_p21_control_c_on_any_line_leaves_no_flight_without_owner_and_no_waiter_asleep(
    play: str,
    files: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL, "trioauth")
    quiet, counted = interrupted(play, files, None)
    assert quiet.raised == []
    quiet.check()
    # Each line the first time that it is run, and the last time.
    lines = counted.lines
    firsts: dict[str, int] = {}
    lasts = dict(zip(lines, range(len(lines)), strict=True))
    for at, where in enumerate(lines):
        firsts.setdefault(where, at)
    assert len(firsts) > 50
    for at in sorted({*firsts.values(), *lasts.values()}):
        scene, _ = interrupted(play, files, at)
        raised = [exc for each in scene.raised for exc in outcomes(each)]
        assert [type(exc) for exc in raised] == [KeyboardInterrupt], (lines[at], raised)
        try:
            scene.check()
        except AssertionError as exc:
            exc.add_note(lines[at])
            raise


@pytest.mark.parametrize("where", ["observer", "grant"])
def test_p21_control_c_interrupts_a_function_of_the_program_where_it_is(where: str) -> None:
    went_on: list[str] = []

    def press() -> None:
        signal.raise_signal(signal.SIGINT)
        went_on.append(where)

    def observer(event: events.Event) -> None:
        if where == "observer" and isinstance(event, events.RefreshStarted):
            press()

    async def grant(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
        await trio.lowlevel.checkpoint()
        if where == "grant":
            press()
        return first_tokens()

    async def main() -> None:
        async with opened(grant, observers=[observer]) as session:
            await session.refresh()

    with pytest.raises(BaseException) as caught:  # noqa: PT011  # looked at below
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert KeyboardInterrupt in map(type, outcomes(caught.value))
    assert went_on == []


# --- what a program's functions raise -----------------------------------------------------------


class Bang(Exception):
    """Raised by an observer."""


RAISES: dict[str, Callable[[], BaseException]] = {
    "SystemExit": lambda: SystemExit(3),
    "KeyboardInterrupt": KeyboardInterrupt,
    "a group of them": lambda: BaseExceptionGroup("two", [SystemExit(3), Bang()]),
    "an exception": Bang,
    "a group of exceptions": lambda: ExceptionGroup("two", [Bang(), Bang()]),
}


@attrs.define
class Fuse:
    """Raises when it is told an event of some kind: the first time, as an observer or a handler."""

    kind: type[events.Event]
    make: Callable[[], BaseException]
    blown: bool = False

    def __call__(self, event: events.Event) -> None:
        if type(event) is self.kind and not self.blown:
            self.blown = True
            raise self.make()


class Handler(logging.Handler):
    def __init__(self, fuse: Fuse) -> None:
        super().__init__()
        self.fuse = fuse

    def handle(self, record: logging.LogRecord) -> bool:
        if record.args:
            self.fuse(record.args[0])  # type: ignore[index, arg-type]  # an event
        return True


class Revoking(FakeGrant):
    async def revoke(self, tokens: Tokens, endpoint: TokenEndpoint) -> bool:
        await trio.sleep(1)
        if tokens.access_token == "access-8":
            raise OSError
        return True


async def meet_all(scene: Scene, session: Session) -> None:
    """Let every kind of event happen."""
    scene.wait(session.wait_logged_out)
    scene.wait(session.token)
    await trio.testing.wait_all_tasks_blocked()
    await session.token()
    assert (await session.get("/")).status_code == 200
    scene.grant.script.append(down())
    with pytest.raises(RefreshUnavailableError):
        await session.refresh()
    await trio.sleep(20)
    scene.store.fail_save = trioauth.StoreError("the disk is full")
    scene.wait(session.refresh)
    await session.refresh()
    scene.store.fail_save = None
    await session.log_out()
    await session.log_in(Tokens("access-8", "refresh-8", 3600))
    await session.log_out()
    await session.log_in(Tokens("access-9", "refresh-9", 3600))
    scene.grant.script.append(GrantRefusedError("invalid_grant"))
    scene.wait(session.refresh)
    with pytest.raises(LoggedOutError):
        await session.refresh()


def answer(request: httpx.Request) -> httpx.Response:
    return httpx.Response(401 if request.headers["Authorization"].endswith("access-1") else 200)


KINDS = [
    events.RefreshStarted,
    events.RefreshLanded,
    events.RefreshFailed,
    events.WaitStarted,
    events.WaitEnded,
    events.RequestResent,
    events.LoggedIn,
    events.LoggedOut,
    events.Saved,
    events.NotSaved,
    events.Revoked,
    events.NotRevoked,
]


@pytest.mark.parametrize("place", ["observer", "handler"])
@pytest.mark.parametrize("what", RAISES)
@pytest.mark.parametrize("kind", KINDS)
def test_p21_whatever_an_observer_or_a_log_handler_raises_leaves_no_waiter_asleep(
    kind: type[events.Event], what: str, place: str
) -> None:
    fuse = Fuse(kind, RAISES[what])
    scene = Scene(
        meet_all,
        {
            "tokens": first_tokens(0),
            "observers": [fuse] if place == "observer" else [],
            "transport": httpx.MockTransport(answer),
            "policy": RefreshPolicy(attempts=1),
        },
        Revoking(),
        keeps=False,
    )
    handler, logger = Handler(fuse), logging.getLogger("trioauth.events")
    if place == "handler":
        logger.addHandler(handler)
    try:
        with seeded(1):
            trio.run(scene.main, clock=trio.testing.MockClock(autojump_threshold=0))
    except BaseException as exc:  # noqa: ASYNC103  # what came out of trio
        scene.raised.append(exc)
    finally:
        logger.removeHandler(handler)
    assert fuse.blown
    scene.check()
    exits = [
        exc for each in scene.raised for exc in outcomes(each) if not isinstance(exc, Exception)
    ]
    expected = RAISES[what]()
    if isinstance(expected, Exception):
        assert scene.raised == []
    else:
        assert [type(exc) for exc in exits] == [
            type(exc) for exc in outcomes(expected) if not isinstance(exc, Exception)
        ]


async def test_an_observer_that_raises_when_told_of_a_save_does_not_make_the_save_fail() -> None:
    told: list[events.Event] = []
    fuse, store, logged_in = Fuse(events.Saved, RAISES["SystemExit"], blown=True), FakeStore(), 0
    with pytest.raises(SystemExit):
        async with opened(store=store, observers=[told.append, fuse]) as session:
            fuse.blown = False
            # Told of a failure to save, it would raise `StoreError`.
            await session.log_in(Tokens("access-9", "refresh-9", 3600))
            logged_in += 1
    assert logged_in == 1
    assert [type(each) for each in told if isinstance(each, events.NotSaved)] == []
    assert store.tokens == Tokens("access-9", "refresh-9", 3600)


@pytest.mark.parametrize("what", ["SystemExit", "an exception"])
async def test_p17_what_an_observer_raises_does_not_drag_along_what_the_session_was_handling(
    what: str, caplog: pytest.LogCaptureFixture
) -> None:
    def observer(event: events.Event) -> None:
        if isinstance(event, events.NotSaved):
            try:
                vars(observer)["missing"]
            except KeyError:
                raise RAISES[what]()  # noqa: B904, RSE102  # the observer's own context stays

    store, caught = FakeStore(), None
    try:
        async with opened(FakeGrant(), store=store, observers=[observer]) as session:
            store.fail_save = ValueError("hunter2")
            await session.refresh()
    except (SystemExit, BaseExceptionGroup) as exc:
        caught = "".join(traceback.format_exception(exc))
    told = caplog.text if caught is None else caught
    assert "KeyError: 'missing'" in told
    assert "hunter2" not in told


def loop_of_contexts(event: events.Event) -> None:
    exc = Bang()
    other = Bang()
    exc.__context__, other.__context__ = other, exc
    raise exc


async def test_an_observer_whose_exception_is_its_own_context_holds_nothing_up() -> None:
    async with opened(observers=[loop_of_contexts]) as session:
        await session.refresh()
        assert session.generation == 2
