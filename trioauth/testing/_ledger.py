"""The ledger: what the test server saw. It holds numbers, never a secret."""

from __future__ import annotations

from collections import Counter
from typing import Literal, NamedTuple, TypeAlias, final

import attrs

Outcome: TypeAlias = Literal[
    "rotated", "kept", "repeated", "reused", "refused", "failed", "dropped", "hung"
]
"""What came of presenting a refresh token:

``rotated``: new tokens, and the presented one is spent. ``kept``: new tokens, and the presented one
stays good. ``repeated``: a repeat within the grace period, the same answer again. ``reused``: it
was spent, so the login is over. ``refused``: unknown, or its login is over. ``failed``: an ordered
answer, not processed. ``dropped``: new tokens whose answer got lost. ``hung``: never answered, not
processed.
"""


@final
@attrs.frozen
class Presented:
    """One presentation of a refresh token to the authorization server."""

    time: float
    """On trio's clock."""
    number: int | None
    """Which refresh token, counted from 1 in the order of issue; None for one never issued."""
    login: int | None
    """Which login (family of tokens) it belongs to, counted from 1."""
    outcome: Outcome


class Seen(NamedTuple):
    """One request to the API."""

    method: str
    path: str
    generation: int | None
    """Of the access token it came with, good or not; None without one that was ever issued."""
    status: int


@final
@attrs.define(eq=False, repr=False)
class Ledger:
    """What the server saw, for a test to read."""

    presented: list[Presented] = attrs.field(factory=list[Presented], init=False)
    """Each refresh token that arrived, in order."""
    refreshes: int = attrs.field(default=0, init=False)
    """Sets of tokens issued at the token endpoint, those whose answer got lost included."""
    requests: Counter[int] = attrs.field(factory=Counter[int], init=False)
    """API requests answered 2xx, by the generation of their access token."""
    unauthorized: int = attrs.field(default=0, init=False)
    """API requests answered 401."""
    revocations: int = attrs.field(default=0, init=False)
    """Revocation requests that were accepted (RFC 7009)."""
    requests_seen: list[Seen] = attrs.field(factory=list[Seen], init=False)
    """Each API request, in order."""
    calls: Counter[str] = attrs.field(factory=Counter[str], init=False)
    """Requests by endpoint, whatever came of them: ``token``, ``authorize``, ``device`` ... (see
    `trioauth.testing.Endpoint`)."""
    in_flight: int = attrs.field(default=0, init=False)
    """Requests for tokens that are not answered yet."""
    max_in_flight: int = attrs.field(default=0, init=False)
    """The most there ever were at once: 1, if every refresh is a single flight."""

    @property
    def reused(self) -> int:
        """Presentations of a spent refresh token, other than repeats within the grace period."""
        return sum(each.outcome == "reused" for each in self.presented)

    @property
    def repeats(self) -> int:
        """Presentations beyond the first of any one refresh token, whatever came of them."""
        numbers = [each.number for each in self.presented if each.number is not None]
        return len(numbers) - len(set(numbers))

    def __repr__(self) -> str:
        return (
            f"<Ledger: {self.refreshes} refreshes, {len(self.presented)} refresh tokens presented"
            f" ({self.reused} reused, {self.repeats} repeats), {len(self.requests_seen)} requests"
            f" ({self.unauthorized} unauthorized), {self.revocations} revocations>"
        )

    def _saw(self, seen: Seen) -> None:
        self.requests_seen.append(seen)
        if seen.status == 401:
            self.unauthorized += 1
        elif 200 <= seen.status < 300 and seen.generation is not None:
            self.requests[seen.generation] += 1

    def _board(self) -> None:
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)

    def _land(self) -> None:
        self.in_flight -= 1

    def _lose(self, since: int) -> None:
        """New tokens for what was presented since then never arrived."""
        self.presented[since:] = [
            attrs.evolve(each, outcome="dropped") if each.outcome in {"rotated", "kept"} else each
            for each in self.presented[since:]
        ]
