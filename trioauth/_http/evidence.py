"""Which refreshes have helped against 401s (P4): pure, and bounded.

Some APIs answer 401 whatever the token is: then refreshing is futile, and must be bounded. So each
refresh that a 401 causes is counted for the place of that 401, an origin and a path, until
something proves that the refresh helped:

1. A 401 to the current token, not yet rejected: it causes a refresh, which is counted at once. (A
   late 401, or one to a token already rejected, causes no refresh and is not counted.)
2. The request that was refused is sent again and answered: the refresh helped. The count of the
   place goes back to zero.
3. Another request to the place is answered with a newer token, at least a minute later, and that
   token was never refused there: the refresh helped, too. (An earlier answer proves little: if one
   query of a path is always refused, its other queries are answered with each new token.)
4. The count reaches ``max_futile``: 401s of that place go to the caller, except for one refresh
   after each pause. Pauses begin with ``cooldown`` and double up to five minutes.
5. Sixteen places have an account of their own. All others share one, which only case 2 clears. No
   account is dropped to make room for another: an API could use that to be refreshed for ever.
6. ``Session.reject()`` has an account, too. No answer belongs to such a refresh, so it helped if
   the new token was not reported for a minute.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias, final

import attrs

from trioauth._core.retry import LONGEST_PAUSE
from trioauth._origins import Origin, origin_of

if TYPE_CHECKING:
    from trioauth._core.policy import RefreshPolicy
    from trioauth._origins import URLLike

MOST_PLACES = 16
"""How many places have an account of their own."""

SHORTEST_PAUSE = 1.0
"""Seconds that the first pause lasts at least, whatever ``cooldown`` is."""

PROBATION = 60.0
"""Seconds that a token must have worked to prove that the refresh helped (cases 3 and 6)."""

Place: TypeAlias = tuple[Origin, str]
"""An origin and a path."""


def place_of(url: URLLike) -> Place:
    """Return the place that a URL belongs to."""
    return origin_of(url), url.path


@final
@attrs.define(eq=False, repr=False)
class Account:
    """The count of refreshes that have not helped, for one place."""

    place: Place | None = attrs.field(default=None, repr=False)
    """The place; None for the shared account and that of reports."""
    count: int = 0
    """How many refreshes are counted; at most ``max_futile``."""
    refused: int = 0
    """The newest generation that was refused there."""
    counted: int = 0
    """The generation whose refusal caused the last counted refresh."""
    counted_at: float = -math.inf
    """When the last refresh was counted."""
    pause: float = 0.0
    """Seconds from ``counted_at`` in which 401s cause no refresh; 0 below ``max_futile``."""

    def forbids(self, now: float) -> bool:
        """Say whether a 401 must not cause a refresh now."""
        return now < self.counted_at + self.pause

    def charge(self, generation: int, now: float, policy: RefreshPolicy) -> None:
        """Count one more refresh, which the refusal of a generation causes."""
        self.counted = generation
        # Capped, as the pause is: a year of 401s must not make a number grow without end.
        self.count = min(self.count + 1, policy.max_futile)
        self.counted_at = now
        if self.count == policy.max_futile:
            longer = max(policy.cooldown, SHORTEST_PAUSE, 2 * self.pause)
            # So many seconds after an API is mended, 401s are refreshed again.
            self.pause = min(longer, LONGEST_PAUSE)

    def has_helped(self, generation: int, now: float) -> bool:
        """Say whether an answer to a generation now proves that the last refresh helped."""
        return generation > self.refused and now >= self.counted_at + PROBATION


@final
@attrs.define(eq=False, repr=False)
class Evidence:
    """The accounts of a session. No clock: ``now`` is an argument."""

    policy: RefreshPolicy
    accounts: dict[Place, Account] = attrs.field(
        factory=dict[Place, Account], init=False, repr=False
    )
    shared: Account = attrs.field(factory=Account, init=False)
    reports: Account = attrs.field(factory=Account, init=False)

    def charge(self, place: Place, generation: int, *, now: float) -> Account | None:
        """Count the refresh that a 401 is about to cause, unless it must not cause one.

        Args:
          place: Where the 401 came from.
          generation: The number of the refused generation: the current one, not yet rejected.
          now: The moment.

        Returns:
          The account, for `acquit` if the request is answered when it is sent again. None if the
          401 must not cause a refresh.
        """
        account = self.accounts.get(place)
        # Case 5: once sixteen places have an account, a new place uses the shared one.
        if account is None and len(self.accounts) < MOST_PLACES:
            account = self.accounts[place] = Account(place)
        account = account or self.shared
        account.refused = max(account.refused, generation)
        if account.forbids(now):
            return None
        account.charge(generation, now, self.policy)
        return account

    def charged(self, place: Place, generation: int) -> Account | None:
        """Return the account of a place if this generation was counted there last."""
        account = self.accounts.get(place, self.shared)
        return account if account.counted == generation else None

    def note_refused(self, place: Place, generation: int) -> None:
        """Note a 401 that causes no refresh of its own."""
        if (account := self.accounts.get(place)) is not None:
            account.refused = max(account.refused, generation)

    def note_answered(self, place: Place, generation: int, *, now: float) -> None:
        """Note that a request was answered (case 3)."""
        account = self.accounts.get(place)
        if account is not None and account.has_helped(generation, now):
            del self.accounts[place]

    def acquit(self, charged: Account) -> None:
        """Note that a refused request was answered when it was sent again (case 2)."""
        if charged is self.shared:
            # A new object: requests that were charged to the old one can't acquit this one.
            self.shared = Account()
        elif charged.place is not None and self.accounts.get(charged.place) is charged:
            del self.accounts[charged.place]

    def charge_report(self, generation: int, *, now: float) -> bool:
        """Count the refresh that a report is about to cause (case 6); False if it must not."""
        if self.reports.has_helped(generation, now):
            self.reports = Account()
        self.reports.refused = max(self.reports.refused, generation)
        if self.reports.forbids(now):
            return False
        self.reports.charge(generation, now, self.policy)
        return True

    def forbids(self, now: float) -> bool:
        """Say whether 401s of some place, or reports, must not cause a refresh now."""
        return any(
            account.forbids(now) for account in (*self.accounts.values(), self.shared, self.reports)
        )
