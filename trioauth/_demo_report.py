"""What the demo found out: a result, the promises that it tests, and a report. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# How long a cancelled task may take to leave, in seconds. A refresh that it had to wait
# for would take longer, and an event loop that is merely busy does not.
AT_ONCE = 1.0


@final
@attrs.frozen(kw_only=True)
class Result:
    """What was counted, by the tasks, by an observer, and by the server."""

    requests: int
    """Requests of the tasks that were answered 200."""
    refused_once: int
    """Those that came back refused without having been sent again."""
    refused_twice: int
    """Those that came back refused after they had been: the API forgot that token, too."""
    unauthorized: int
    """401s that the server sent."""
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
    rotations: int
    """Refresh tokens that the server exchanged, those whose answer it lost included."""
    most_in_flight: int
    """Requests to the token endpoint at the same time, at most."""
    dropped: int
    """Answers to a refresh that got lost."""
    repeated: int
    """Spent refresh tokens that were presented again, and forgiven."""
    reused: int
    """Spent refresh tokens that were presented again, and not forgiven."""
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
    ended_early: bool
    """It ended before it was revoked."""
    tasks: int
    """Tasks that were at work when the login ended."""
    saw_collapse: int
    """Those of them that were told."""
    left_running: int
    """Tasks that were still there when everything was closed."""
    explanation: str = ""
    """What the session said of itself at last (`Session.explain`)."""


@final
@attrs.frozen
class Check:
    """One promise, and whether it was kept."""

    promise: str
    """Its number in the documentation."""
    sentence: str
    kept: bool


def check(result: Result) -> Sequence[Check]:
    """Hold a result against the promises."""
    r = result
    return [
        Check(
            "P1",
            f"One refresh per generation: {r.rotations} at the server for"
            f" {max(r.generations - 1, 0)} new generations, {r.most_in_flight} at a time.",
            r.rotations == r.generations - 1 and r.most_in_flight <= 1,
        ),
        Check(
            "P4",
            f"{r.resent} refused requests were sent again, once; {r.refused_once} came back"
            f" refused without, {r.refused_twice} with a second try.",
            r.most_attempts <= 2 and r.refused_once == 0,
        ),
        Check(
            "P5",
            f"Refresh tokens presented twice: {r.repeated + r.reused}"
            + (", to learn the fate of a lost answer." if r.dropped else "."),
            r.reused == 0 and r.repeated <= 2 * r.dropped,
        ),
        Check(
            "P6",
            f"{r.cancelled} tasks were cancelled, {r.cancelled_waiting} of them waiting for a"
            f" refresh: the slowest left after {r.slowest_exit:.2f} s, and all"
            f" {r.refreshes} refreshes went on.",
            r.slowest_exit < AT_ONCE and r.refreshes == r.landed + r.failed,
        ),
        Check(
            "P7",
            f"New tokens were in the store before anybody used them: {r.generations - r.unsaved} of"
            f" {r.generations}.",
            r.unsaved == 0,
        ),
        Check(
            "P11",
            f"The end of the login was seen by {r.saw_collapse} of {r.tasks} tasks.",
            r.ended == "refused" and r.saw_collapse == r.tasks > 0,
        ),
        Check("P12", f"Tasks left running: {r.left_running}.", r.left_running == 0),
        Check(
            "P14",
            f"While the token endpoint was down nobody was logged out;"
            f" {r.unavailable} requests were told to try later.",
            not r.ended_early,
        ),
        Check(
            "P20",
            f"Nothing waited for ever: the longest wait for a refresh took {r.longest_wait:.2f} s.",
            r.longest_wait <= r.wait_limit,
        ),
    ]


def kept(result: Result) -> bool:
    """Say whether every promise was kept."""
    return all(each.kept for each in check(result))


def report(result: Result) -> Iterator[str]:
    """Put a result into words, line by line."""
    numbers = (
        ("requests", result.requests),
        ("401s", result.unauthorized),
        ("sent again", result.resent),
        ("lost in the network", result.faults),
        ("tasks cancelled", result.cancelled),
        ("refreshes", result.refreshes),
        ("... that failed", result.failed),
        ("generations", result.generations),
        ("refresh tokens presented twice", result.repeated + result.reused),
        ("tasks that saw the end of the login", f"{result.saw_collapse} of {result.tasks}"),
        ("tasks left running", result.left_running),
    )
    for name, number in numbers:
        yield f"{name:>36}  {number}"
    if result.dropped:
        yield ""
        yield (
            "One answer was lost after the server had rotated the token. This server forgives the"
        )
        yield "same token again for a while (AuthServer's reuse_grace), as some do for that reason."
    yield ""
    for each in check(result):
        yield f"{'kept' if each.kept else 'BROKEN':>6}  {each.promise:<3}  {each.sentence}"
    if result.explanation:
        yield ""
        yield "session.explain() says:"
        # Without the history: that has just been seen.
        for line in result.explanation.partition("\nWhat happened lately")[0].splitlines():
            yield f"  {line}"
