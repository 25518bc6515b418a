"""What docs/speed.md says about the figures, in words."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING, Protocol

from ._report import plain
from ._sides import AUTHLIB, FLOOR, HTTPX_AUTH, LOCK, MCP, OURS, OWN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    class Say(Protocol):
        """Quotes a figure: case, side, what."""

        def __call__(self, case: str, side: str, what: str) -> str: ...


_FIXED = "time over a fixed header"
_OURS, _OURS2 = OURS["httpx"], OURS["httpx2"]
_LOCK, _LOCK2 = LOCK["httpx"], LOCK["httpx2"]

INTRODUCTION = (
    "What a login costs is compared with a bare client that has a fixed header: no library could be"
    " faster than that. The peers are Authlib, the auth class of the MCP SDK, azure-core's bearer"
    " policy, httpx-auth, and the auth class with a lock that people paste."
)

_METHOD = """\
The sides of a case take turns in one process, in an order that is drawn anew each round. What
counts is the median of the ratios within a round; in parentheses stands where the median would lie
95 times out of 100 if it were all done again (bootstrap).

The garbage collector runs before each turn and not in it, for all sides alike.

What only computes is timed in CPU seconds of its thread, which other programs don't lengthen; what
waits, on a clock.

In memory, a transport that answers at once takes the place of the network: the smallest request
there is, so that what is added to it shows most. Over a network the same microseconds are a much
smaller share. httpx and httpx2 take their turns apart there, because Python makes bytecode faster
for the types that it meets, and a program uses one of them.

Real sockets lead to a small server on loopback, in a process of its own, that takes 20 ms.

Refreshes and calls are counted by the server, exactly. With the server that is down, time is
virtual: it takes 20 ms for each call, and pauses cost nothing but are counted.

azure-core signs requests of its own pipeline. It is compared with that pipeline and a fixed header,
over an httpx2 client.
"""


def method() -> list[str]:
    """Say how it is measured."""
    return _METHOD.split("\n\n")


def wrapped(text: str) -> str:
    """Break a paragraph into lines."""
    return textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False)


def item(text: str) -> str:
    """Make an item of a list."""
    return textwrap.fill(
        f"- {text}", 100, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def in_short(say: Say) -> Iterator[str]:
    """Say the four things that one should know."""
    yield (
        f"With a fresh token, a request takes {say('fresh', _OURS, _FIXED)} times as long as with a"
        f" fixed header on httpx, {say('fresh', _OURS2, _FIXED)} times on httpx2 (Authlib:"
        f" {say('fresh', AUTHLIB, _FIXED)}, the MCP SDK: {say('fresh', MCP, _FIXED)})."
    )
    yield (
        f"A thousand tasks that meet a 401 cause"
        f" {say('401 storm', _OURS2, 'refreshes, N = 1,000')} refresh, and take"
        f" {say('401 storm', _OURS2, 'time over 2N bare requests, N = 1,000')} times as long as"
        " two bare requests each."
    )
    yield (
        f"A server that is down is called {say('down', _OURS2, 'calls to it')} times on behalf of"
        f" 10,000 waiting tasks; with a pasted lock, {say('down', _LOCK2, 'calls to it')} times."
    )
    yield (
        f"A thousand requests at once take {say('crowd', OWN, '1,000 at once')} through the"
        f" session's own client, and none fails. Through a bare `httpx.AsyncClient` they take"
        f" {say('crowd', FLOOR['httpx'], '1,000 at once')}, and"
        f" {say('crowd', FLOOR['httpx'], 'errors, 1,000 at once')} fail."
    )


def not_fastest(say: Say) -> Iterator[str]:
    """Say where others are faster, and why."""
    yield (
        f"**A single request.** The pasted lock ({say('fresh', _LOCK, _FIXED)} on httpx,"
        f" {say('fresh', _LOCK2, _FIXED)} on httpx2) does less: it looks at a clock and sets a"
        " header, which costs no more than httpx needs to put a client's own header on a request."
        " Ours also asks whether this URL may have the token, whether the machine has slept, and"
        " whether the answer is a refusal."
    )
    yield (
        "**An expiry storm in memory.** To put a task to sleep and to wake it costs about 10"
        " microseconds in trio, and a request in memory less than a hundred: so whoever lets tasks"
        " wait takes a tenth longer, and ours decides a little more for each. Over real sockets"
        " what can be seen is the TLS context that the first refresh of a session builds: 50 ms, in"
        " a thread. httpx-auth"
        f" ({say('expiry storm', HTTPX_AUTH, 'time over N + 1 requests, N = 1,000')}) has no tasks"
        " that wait: it stops the event loop, and everything in it, until the token is there."
    )
    yield (
        "**A crowd on httpx.** For 1,000 requests at once the session's own client takes"
        f" {say('crowd', OWN, 'time over bare httpx2, 1,000 at once')} times as long as bare"
        " httpx2. What is left is httpx's pool, which looks through its connections whenever one"
        " changes. Fewer slots in front of it are no cure: with 10, requests of 1 ms get through in"
        " two thirds of the time, those of 20 ms in the same, those of 200 ms in six times as long"
        " (`python -m benchmarks limiter`). What makes the pool slow is to keep as many idle"
        " connections as there may be, which takes two to six times as long: leave"
        " `max_keepalive_connections` at 20. For crowds, attach a client of httpx2."
    )
    yield (
        f"**A server that is down.** The MCP SDK makes {say('down', MCP, 'calls to it')} call, and"
        " drops the tokens after it: somebody has to log in again. Ours asks as often as the policy"
        " says, and everybody stays logged in."
    )
    yield (
        "**Importing.** Nearly all of it is `attrs` making the fifty small frozen classes that"
        " states, decisions and events are, about half a millisecond each. To import them later"
        " would only move that to the first session."
    )


_GROWTH = {
    "storm-401": "A task in a 401 storm",
    "storm-expiry": "A task in an expiry storm",
    "waiters": "A task that waits for a flight",
    "waiters-bytes": "The memory of a task that waits",
    "sessions": "A session, opened and left beside others",
}


def growth(series: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]]) -> Iterator[str]:
    """Say how the cost grows."""
    for chart, what in _GROWTH.items():
        for side, points in series.get(chart, {}).items():
            if side.startswith(("trioauth", "await")) and len(points) > 1:
                yield f"{what} ({side}): {_slope(points)}"


def _slope(points: Sequence[tuple[float, float]]) -> str:
    """Say how the total grows, of which the points have each one's share."""
    # The smallest has what is there once, whatever the number: it says nothing about growth.
    (first_n, first), (last_n, last) = points[1] if len(points) > 2 else points[0], points[-1]
    power = 1 + math.log(last / first) / math.log(last_n / first_n)
    word = "less than linear" if power < 0.95 else "linear" if power <= 1.05 else "more than linear"
    return (
        f"{word}. From {plain(first_n)} to {plain(last_n)}, each one's share goes from"
        f" {plain(first)} to {plain(last)}: the whole grows with N to the power of {power:.2f}."
    )
