"""What was counted, and the promises that it tests. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trioauth.testing import Ledger

# How long a cancelled task may take to leave, in seconds. A refresh that it had to wait
# for would take longer, and an event loop that is merely busy does not.
_AT_ONCE = 1.0

LONGEST_WAIT = 10.0
"""Seconds that a task may wait for a refresh: `RefreshPolicy.timeout`."""

PATIENCE = 30.0
"""The same, where it is a person's own server."""


@final
@attrs.define(eq=False, kw_only=True)
class Counts:
    """What the tasks, an observer and the server counted."""

    # The tasks:
    requests: int = 0
    """Requests that were answered as they should be."""
    refused_once: int = 0
    """Those that came back refused without having been sent again."""
    refused_twice: int = 0
    """Those that came back refused after they had been: the API forgot that token, too."""
    most_attempts: int = 0
    """How often the most often sent request was sent."""
    otherwise: int = 0
    """Requests that were answered with another status, such as 404."""
    unavailable: int = 0
    """Requests that were told "not now, still logged in"."""
    faults: int = 0
    """Requests that the network lost."""
    cancelled: int = 0
    """Tasks that were cancelled at random."""
    cancelled_waiting: int = 0
    """Those of them that were waiting for a refresh."""
    slowest_exit: float = 0.0
    """Seconds that the slowest of them took to leave."""
    told: int = 0
    """Tasks that saw the end of the login."""
    left_running: int = 0
    """Tasks that were still there when everything was closed, or when they should have left."""

    # The observer:
    resent: int = 0
    refreshes: int = 0
    """Refreshes that began."""
    landed: int = 0
    adopted: int = 0
    """Those that brought what another process had put into the store."""
    most_served: int = 0
    """Tasks that waited for the same refresh, at most."""
    failed: int = 0
    generations: int = 0
    """Generations that the session went through."""
    unsaved: int = 0
    """Generations that were in use before they were in the store."""
    longest_wait: float = 0.0
    """Seconds that a task waited for a refresh, at most."""
    ended: str | None = None
    """Why the login ended; None if it did not."""
    present: int = 0
    """Tasks that were at work when the login ended."""
    lasted: bool = False
    """The login was there until it was revoked."""

    # The server:
    unauthorized: int = 0
    """401s."""
    rotations: int = 0
    """Refresh tokens that the server exchanged, those whose answer it lost included."""
    most_in_flight: int = 0
    """Requests to the token endpoint at the same time, at most."""
    dropped: int = 0
    """Answers to a refresh that got lost."""
    repeated: int = 0
    """Spent refresh tokens that were presented again, and forgiven."""
    reused: int = 0
    """Spent refresh tokens that were presented again, and not forgiven."""

    def add_server(self, ledger: Ledger) -> None:
        """Take in what the server counted."""
        outcomes = [each.outcome for each in ledger.presented]
        self.unauthorized = ledger.unauthorized
        self.rotations = ledger.refreshes
        self.most_in_flight = ledger.max_in_flight
        self.dropped = outcomes.count("dropped")
        self.repeated = outcomes.count("repeated")
        self.reused = outcomes.count("reused")


@final
@attrs.frozen
class Check:
    """One promise, and whether it was kept."""

    promise: str
    """Its number in the documentation."""
    sentence: str
    kept: bool


def checks(c: Counts) -> Sequence[Check]:
    """Hold what was counted against the promises."""
    return [
        Check(
            "P1",
            f"One refresh per generation: {c.rotations} at the server for"
            f" {max(c.generations - 1, 0)} new generations, {c.most_in_flight} at a time.",
            c.rotations == c.generations - 1 and c.most_in_flight <= 1,
        ),
        Check(
            "P4",
            f"{c.resent} refused requests were sent again, once; {c.refused_once} came back"
            f" refused without, {c.refused_twice} with a second try.",
            c.most_attempts <= 2 and c.refused_once == 0,
        ),
        Check(
            "P5",
            f"Refresh tokens presented twice: {c.repeated + c.reused}"
            + (", to learn the fate of a lost answer." if c.dropped else "."),
            c.reused == 0 and c.repeated <= 2 * c.dropped,
        ),
        _cancelled(c),
        _saved(c),
        *_checks_of_the_end(c),
        _bounded(c, LONGEST_WAIT),
    ]


def checks_of_a_visit(c: Counts) -> Sequence[Check]:
    """Hold what was counted, with a person's own login, against the promises."""
    elsewhere = f", {c.adopted} by another process" if c.adopted else ""
    return [
        Check(
            "P1",
            f"{c.rotations} refresh{'' if c.rotations == 1 else 'es'} here{elsewhere}:"
            f" {c.most_served} tasks waited for the same one.",
            c.rotations <= 1 and c.generations - 1 == c.rotations + c.adopted,
        ),
        Check(
            "P4",
            f"{c.resent} refused requests were sent again, once.",
            c.most_attempts <= 2 + bool(c.adopted),
        ),
        _cancelled(c),
        _saved(c),
        _left_running(c),
        _bounded(c, PATIENCE),
    ]


def _cancelled(c: Counts) -> Check:
    return Check(
        "P6",
        f"{c.cancelled} tasks were cancelled, {c.cancelled_waiting} of them waiting for a"
        f" refresh: the slowest left after {c.slowest_exit:.2f} s, and all"
        f" {c.refreshes} refreshes went on.",
        c.slowest_exit < _AT_ONCE and c.refreshes == c.landed + c.failed,
    )


def _saved(c: Counts) -> Check:
    return Check(
        "P7",
        f"New tokens were in the store before a task used them: {c.generations - c.unsaved}"
        f" of {c.generations}.",
        c.unsaved == 0,
    )


def _left_running(c: Counts) -> Check:
    return Check("P12", f"Tasks left running: {c.left_running}.", c.left_running == 0)


def _bounded(c: Counts, longest: float) -> Check:
    return Check(
        "P20",
        f"Nothing waited for ever: the longest wait for a refresh took {c.longest_wait:.2f} s.",
        c.longest_wait <= longest,
    )


def _checks_of_the_end(c: Counts) -> Sequence[Check]:
    return [
        Check(
            "P11",
            f"The end of the login was seen by {c.told} of {c.present} tasks.",
            c.ended == "refused" and c.told == c.present > 0,
        ),
        _left_running(c),
        Check(
            "P14",
            f"While the token endpoint was down no task was logged out;"
            f" {c.unavailable} requests were told to try later.",
            c.lasted,
        ),
    ]


def numbers(c: Counts) -> Sequence[tuple[str, object]]:
    """Give the figures, each with its name."""
    return [
        ("requests", c.requests),
        ("401s", c.unauthorized),
        ("sent again", c.resent),
        ("lost in the network", c.faults),
        ("tasks cancelled", c.cancelled),
        ("refreshes", c.refreshes),
        ("... that failed", c.failed),
        ("generations", c.generations),
        ("refresh tokens presented twice", c.repeated + c.reused),
        ("tasks that saw the end of the login", f"{c.told} of {c.present}"),
        ("tasks left running", c.left_running),
    ]


def numbers_of_a_visit(c: Counts, unauthorized: int) -> Sequence[tuple[str, object]]:
    """Give the figures of a show with a person's own login."""
    return [
        ("requests", c.requests),
        ("answered with another status", c.otherwise),
        ("401s", unauthorized),
        ("sent again", c.resent),
        ("told to try later", c.unavailable),
        ("lost in the network", c.faults),
        ("tasks cancelled", c.cancelled),
        ("refreshes here", c.rotations),
        ("... by another process", c.adopted),
        ("tasks left running", c.left_running),
    ]
