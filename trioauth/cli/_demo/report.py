"""What was seen from this side, the promises that it tests, and how it is told. Pure."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


BROKEN, CAN_NOT_GO_ON, INTERRUPTED = 1, 2, 130

_WIDTH = 88

# How long a cancelled task may take to leave, in seconds. A refresh that it had to wait
# for would take longer, and an event loop that is merely busy does not.
AT_ONCE = 1.0


@attrs.frozen(kw_only=True)
class Seen:
    """What was counted, by the tasks and by an observer."""

    requests: int
    """Requests of the tasks that were answered as they should be."""
    refused_once: int
    """Those that came back refused without having been sent again."""
    refused_twice: int
    """Those that came back refused after they had been: the API forgot that token, too."""
    unauthorized: int
    """401s."""
    resent: int
    most_attempts: int
    """How often the most often sent request was sent."""
    unavailable: int
    """Requests that were told "not now, still logged in"."""
    faults: int
    """Requests that the network lost."""

    refreshes: int
    """Refreshes that began."""
    landed: int
    failed: int
    generations: int
    """Generations that the session went through."""
    unsaved: int
    """Generations that were in use before they were in the store."""

    cancelled: int
    """Tasks that were cancelled at random."""
    cancelled_waiting: int
    """Those of them that were waiting for a refresh."""
    slowest_exit: float
    """Seconds that the slowest of them took to leave."""
    longest_wait: float
    """Seconds that a task waited for a refresh, at most."""
    wait_limit: float
    """Seconds that a task may wait (`RefreshPolicy.timeout`)."""

    ended: str | None
    """Why the login ended; None if it did not."""
    tasks: int
    """Tasks that were at work when the login ended."""
    saw_collapse: int
    """Those of them that were told."""
    left_running: int
    """Tasks that were still there when everything was closed."""
    explanation: str = ""
    """What the session said of itself at last (`Session.explain`)."""


# --- what can be said of every server ----------------------------------------------------------


@final
@attrs.frozen
class Check:
    """One promise, and whether it was kept."""

    promise: str
    """Its number in the documentation."""
    sentence: str
    kept: bool

    def lines(self) -> list[str]:
        """Put it into words, line by line."""
        verdict = "kept" if self.kept else "BROKEN"
        return wrapped(f"{verdict:>6}  {self.promise:<3}  {self.sentence}", indent=13)


def check_exits(r: Seen) -> Check:
    """Cancelled tasks left at once, and the refreshes that they waited for went on."""
    return Check(
        "P6",
        f"{r.cancelled} tasks were cancelled, {r.cancelled_waiting} of them waiting for a"
        f" refresh: the slowest left after {r.slowest_exit:.2f} s, and all"
        f" {r.refreshes} refreshes went on.",
        r.slowest_exit < AT_ONCE and r.refreshes == r.landed + r.failed,
    )


def check_saved_first(r: Seen) -> Check:
    """No token was used before it was stored."""
    return Check(
        "P7",
        f"New tokens were in the store before anybody used them: {r.generations - r.unsaved} of"
        f" {r.generations}.",
        r.unsaved == 0,
    )


def check_end(r: Seen, reason: str) -> Check:
    """Every task heard of the end of the login."""
    return Check(
        "P11",
        f"The end of the login was seen by {r.saw_collapse} of {r.tasks} tasks.",
        r.ended == reason and r.saw_collapse == r.tasks > 0,
    )


def check_nobody_left(r: Seen) -> Check:
    """No task was left."""
    return Check("P12", f"Tasks left running: {r.left_running}.", r.left_running == 0)


def check_waits(r: Seen) -> Check:
    """Nobody waited for ever."""
    return Check(
        "P20",
        f"Nothing waited for ever: the longest wait for a refresh took {r.longest_wait:.2f} s.",
        r.longest_wait <= r.wait_limit,
    )


# --- how it is told ----------------------------------------------------------------------------


@final
@attrs.frozen(kw_only=True)
class Report:
    """What came of a show."""

    numbers: Sequence[tuple[str, object]] = ()
    notes: Sequence[str] = ()
    """What a reader might wonder about, as lines."""
    checks: Sequence[Check] = ()
    explanation: str = ""
    """What the session said of itself at last."""
    problem: str | None = None
    """Why it could not go on, and what to do."""
    ending: str = ""
    """What the person has to know in any case."""
    was_interrupted: bool = False

    @property
    def kept(self) -> bool:
        """Whether every promise was kept."""
        return all(each.kept for each in self.checks)

    @property
    def exit_code(self) -> int:
        """What the command exits with."""
        if self.was_interrupted:
            return INTERRUPTED
        if not self.kept:
            return BROKEN
        return 0 if self.problem is None else CAN_NOT_GO_ON

    def interrupted(self) -> Report:
        """Return what is left to say of a show that did not come to its end."""
        return Report(ending=self.ending, was_interrupted=True)

    def lines(self) -> Iterator[str]:
        """Put it into words, line by line."""
        parts = [
            [f"{name:>36}  {number}" for name, number in self.numbers],
            self.notes,
            [line for each in self.checks for line in each.lines()],
            _explained(self.explanation),
            [] if self.problem is None else wrapped(f"It can't go on: {self.problem}"),
            wrapped(self.ending),
        ]
        shown = [part for part in parts if part]
        for part in shown:
            if part is not shown[0]:
                yield ""
            yield from part


def _explained(explanation: str) -> list[str]:
    if not explanation:
        return []
    # Without the history: that has just been seen.
    now = explanation.partition("\nWhat happened lately")[0]
    return ["session.explain() says:", *(f"  {line}" for line in now.splitlines())]


def wrapped(text: str, *, indent: int = 0) -> list[str]:
    """Break a text into lines; what is to be copied stays whole."""
    return textwrap.wrap(
        text,
        _WIDTH,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
