"""What came of a show on this machine, where the server keeps books. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import attrs

from .report import (
    Check,
    Report,
    Seen,
    check_end,
    check_exits,
    check_nobody_left,
    check_saved_first,
    check_waits,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


@final
@attrs.frozen(kw_only=True)
class Result(Seen):
    """What was counted on both sides."""

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
    ended_early: bool
    """The login ended before it was revoked."""


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
        check_exits(r),
        check_saved_first(r),
        check_end(r, "refused"),
        check_nobody_left(r),
        Check(
            "P14",
            f"While the token endpoint was down nobody was logged out;"
            f" {r.unavailable} requests were told to try later.",
            not r.ended_early,
        ),
        check_waits(r),
    ]


def report(result: Result) -> Report:
    """Put a result into words."""
    r = result
    return Report(
        numbers=(
            ("requests", r.requests),
            ("401s", r.unauthorized),
            ("sent again", r.resent),
            ("lost in the network", r.faults),
            ("tasks cancelled", r.cancelled),
            ("refreshes", r.refreshes),
            ("... that failed", r.failed),
            ("generations", r.generations),
            ("refresh tokens presented twice", r.repeated + r.reused),
            ("tasks that saw the end of the login", f"{r.saw_collapse} of {r.tasks}"),
            ("tasks left running", r.left_running),
        ),
        notes=_FORGIVEN if r.dropped else (),
        checks=check(r),
        explanation=r.explanation,
    )


_FORGIVEN = (
    "One answer was lost after the server had rotated the token. This server forgives the",
    "same token again for a while (AuthServer's reuse_grace), as some do for that reason.",
)
