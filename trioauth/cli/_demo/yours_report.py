"""What came of a show at a person's own server, as far as one can tell from here. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import attrs

from .remedies import TOKEN_VARIABLE
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
    from collections.abc import Iterator
    from pathlib import Path


@final
@attrs.frozen(kw_only=True)
class Result(Seen):
    """What was counted on this side."""

    problem: str | None
    """Why it ended before its time."""
    performed: bool
    """There was a show at all."""

    odd: int
    """Requests that were answered with neither success nor 401."""
    known_to_be_bad: int
    """Requests that were sent with a token that was known to be bad."""
    asked: int
    """Requests to the token endpoint."""
    most_at_once: int
    """Those of them that were in the air at the same time, at most."""
    brought: int
    """Those of them that brought tokens."""
    adopted: int
    """Generations that another program had put into the store."""
    asked_at_once: int
    """Tasks that asked for a new token at the same time."""
    refreshes_for_that: int
    late: int
    """Late rejections of a token that was replaced already."""
    late_heeded: int
    rotates: bool
    """The server replaces refresh tokens."""
    lost: int
    """Answers of the token endpoint that never came."""
    repeated: int
    """Refresh tokens that were presented again after such an answer."""
    reused: int
    """Refresh tokens that were presented again after they were replaced."""

    left_in_the_air: bool
    """The session was left while a refresh was in the air."""
    revoked: bool | None
    """Whether the server was told so; None if it was not to be."""
    goes_on: bool
    """It began with the tokens of the store."""
    path: Path
    """Where the tokens are to be kept."""
    stored: bool
    """Whether they are."""
    rescued: Path | None
    """Where they are instead."""


def report(result: Result) -> Report:
    """Put a result into words."""
    r = result
    if not r.performed:
        return Report(problem=r.problem, ending=_ending(r))
    return Report(
        numbers=(
            ("requests", r.requests),
            ("401s", r.unauthorized),
            ("sent again", r.resent),
            ("other answers", r.odd),
            ("lost in the network", r.faults),
            ("tasks cancelled", r.cancelled),
            ("refreshes", r.refreshes),
            ("... that failed", r.failed),
            ("requests to the token endpoint", r.asked),
            ("generations", r.generations),
            ("tasks left running", r.left_running),
        ),
        notes=("This is what can be seen from here; the server's own books may tell more.",),
        checks=tuple(check(r)),
        explanation=r.explanation,
        problem=r.problem,
        ending=_ending(r),
    )


def check(result: Result) -> Iterator[Check]:
    """Hold a result against the promises that it can tell of."""
    r = result
    news = r.landed - r.adopted
    together = f"; {r.asked_at_once} asked for one at the same time" if r.asked_at_once else ""
    yield Check(
        "P1",
        f"One refresh per generation: {r.brought} for {news} new generations, {r.most_at_once} at"
        f" a time{together}.",
        # One that was in the air when the login ended brought tokens for nobody.
        0 <= r.brought - news <= (r.ended is not None)
        and r.most_at_once <= 1
        and r.refreshes_for_that <= 1,
    )
    if r.late:
        yield Check("P2", "Late news about an old token was ignored.", r.late_heeded == 0)
    yield Check(
        "P3",
        f"Requests sent with a token that was known to be bad: {r.known_to_be_bad}.",
        r.known_to_be_bad == 0,
    )
    yield Check(
        "P4",
        f"{r.resent} refused requests were sent again, once; {r.refused_once} came back refused"
        f" without, {r.refused_twice} with a second try.",
        # A token that was only found in the store may be refused once more.
        r.most_attempts <= (3 if r.adopted else 2),
    )
    yield Check("P5", _presented(r), r.reused == 0 and r.repeated <= 2 * r.lost)
    yield check_exits(r)
    yield check_saved_first(r)
    yield Check("P8", _left(r), r.stored)
    if r.ended is not None:
        yield check_end(r, r.ended)
    yield check_nobody_left(r)
    if r.failed:
        yield _check_unavailable(r)
    yield check_waits(r)


def _check_unavailable(r: Result) -> Check:
    return Check(
        "P14",
        f"While there was no new token to be had nobody was logged out; {r.unavailable}"
        " requests were told to try later.",
        r.ended in (None, "asked", "refused"),
    )


def _presented(r: Result) -> str:
    if not r.rotates and not r.repeated:
        return "The server never replaced the refresh token, so there was none to present twice."
    why = ", to learn the fate of a lost answer" if r.lost else ""
    return f"Refresh tokens presented twice: {r.repeated + r.reused}{why}."


def _left(r: Result) -> str:
    if not r.stored:
        return "The newest tokens are not in the store."
    if r.left_in_the_air:
        return "The session was left with a refresh in the air: it landed, and its tokens are kept."
    return "When the session was closed, the store had the newest."


def _ending(r: Result) -> str:
    """Say where the tokens are, which is what the person has to know in any case."""
    if r.rescued is not None:
        return (
            f"The newest tokens could not be kept in {r.path}: they are in {r.rescued}. Move that "
            "file to where you want it, and name it in --store the next time."
        )
    if r.ended == "asked":
        return f"Logged out{_REVOKED[r.revoked]} {r.path} says so."
    if r.ended is not None:
        return f"The login is over: {r.path} holds no tokens any more."
    if r.stored and not (r.brought or r.goes_on):
        return (
            f"The refresh token is in {r.path}, for you alone to read. The same command takes it "
            f"from there, unless {TOKEN_VARIABLE} says otherwise."
        )
    if r.stored:
        return (
            f"You are still logged in. The tokens are in {r.path}, for you alone to read. The same "
            "command goes on from there, and so does a FileStore of your program."
            + (" The refresh token that you had before is spent." if r.rotates else "")
        )
    if not r.asked:
        return "Nothing was sent: the refresh token is what it was."
    return "The newest tokens could not be kept anywhere. Log in again as you did the first time."


_REVOKED: dict[bool | None, str] = {
    True: ", and the server has revoked the tokens.",
    False: ". The server could not be told: until they expire, the tokens may still work.",
    None: ". The server was not told (--revoke-url): until they expire, the tokens may still work.",
}
