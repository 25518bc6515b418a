"""The ledger: what the test server saw. It holds numbers, never a secret."""

from __future__ import annotations

from collections import Counter
from typing import Literal, NamedTuple, TypeAlias, final

import attrs

Outcome: TypeAlias = Literal[
    "rotated", "kept", "repeated", "reused", "refused", "failed", "dropped", "hung"
]
"""The result of presenting a refresh token:

- ``rotated``: new tokens; the presented refresh token is spent.
- ``kept``: new tokens; the presented refresh token stays good.
- ``repeated``: a repeat within the grace period, with the same answer again.
- ``reused``: the refresh token was spent already, so the login is over.
- ``refused``: the refresh token is unknown, or its login is over.
- ``failed``: answered as ordered (`AuthServer.fail`), and not processed.
- ``dropped``: new tokens, but the answer was lost.
- ``hung``: never answered, and not processed.
"""


@final
@attrs.frozen
class Presented:
    """One presentation of a refresh token to the authorization server."""

    time: float
    """When, on trio's clock (`trio.current_time`)."""
    number: int | None
    """Number of the refresh token, from 1 in the order of issue; None if it was never issued."""
    login: int | None
    """The number of its login (family of tokens), from 1; None if it was never issued."""
    outcome: Outcome


class Seen(NamedTuple):
    """One request to the API."""

    method: str
    path: str
    generation: int | None
    """The generation of its access token, good or not; None if it had none that was ever issued."""
    status: int


@final
@attrs.define(eq=False, repr=False)
class Ledger:
    """What the server saw, for a test to read."""

    presented: list[Presented] = attrs.field(factory=list[Presented], init=False)
    """Each refresh token that arrived, in order."""
    refreshes: int = attrs.field(default=0, init=False)
    """How many sets of tokens the token endpoint issued, lost answers included."""
    requests: Counter[int] = attrs.field(factory=Counter[int], init=False)
    """How many API requests were answered 2xx, by the generation of their access token."""
    unauthorized: int = attrs.field(default=0, init=False)
    """How many API requests were answered 401."""
    revocations: int = attrs.field(default=0, init=False)
    """How many revocation requests were accepted (RFC 7009)."""
    requests_seen: list[Seen] = attrs.field(factory=list[Seen], init=False)
    """Each API request, in order."""
    calls: Counter[str] = attrs.field(factory=Counter[str], init=False)
    """Requests by endpoint, whatever came of them: ``token``, ``authorize``, ``device`` ... (see
    `trioauth.testing.Endpoint`)."""
    in_flight: int = attrs.field(default=0, init=False)
    """How many requests for tokens are not answered yet."""
    max_in_flight: int = attrs.field(default=0, init=False)
    """The largest `in_flight` so far: 1 if every refresh was a single flight."""

    @property
    def reused(self) -> int:
        """How often a spent refresh token was presented, without repeats in the grace period."""
        return sum(each.outcome == "reused" for each in self.presented)

    @property
    def repeats(self) -> int:
        """How often a refresh token was presented again, whatever the result."""
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
