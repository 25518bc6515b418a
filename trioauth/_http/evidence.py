"""What 401s have shown about refreshing (P4): pure, and bounded whatever an API and its callers do.

An API may answer 401 whatever the token. So each refresh that a 401 causes is held against the
place that was refused, an origin and a path, until something shows that the refresh helped:

1. A 401 refuses a token that nothing is known against: it causes a refresh, which is counted at
   once. (A 401 to a token that is known to be bad causes none, and is not counted.)
2. A request that was refused with the token that was counted is sent again and answered: the
   refresh helped. Forget all.
3. A request to the same place is answered with a newer token, at least a minute later, and that
   token was never refused there: the refresh helped. Forget all. (Less proves little: where one
   query of a path is refused for good, others are answered with each new token.)
4. ``max_futile`` refreshes are counted: 401s of that place are handed back, except for one
   refresh after each pause. Pauses begin with ``cooldown`` and double up to five minutes.
5. Sixteen places have an account of their own. All others share one, which only case 2 clears: a
   place is never forgotten to make room for another.
6. ``Session.reject()`` has an account, too. No answer can speak for such a refresh, so it helped
   if nothing was reported of the new token for a minute.
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
"""So many places have an account of their own."""

SHORTEST_PAUSE = 1.0
"""The first pause is at least so many seconds long, whatever ``cooldown`` is."""

PROBATION = 60.0
"""A token that has worked for so many seconds shows that the refresh helped."""

Place: TypeAlias = tuple[Origin, str]
"""An origin and a path."""


def place_of(url: URLLike) -> Place:
    """Return the place that a URL belongs to."""
    return origin_of(url), url.path


@final
@attrs.define(eq=False, repr=False)
class Account:
    """The refreshes that are held against one place."""

    place: Place | None = attrs.field(default=None, repr=False)
    """Whose it is; None if it belongs to no single place."""
    count: int = 0
    """How many there are; it stops at ``max_futile``."""
    refused: int = 0
    """The newest generation that was refused there."""
    counted: int = 0
    """The generation whose refusal was counted last."""
    counted_at: float = -math.inf
    """When the last refresh was counted."""
    pause: float = 0.0
    """Seconds from then to the next one; 0 while fewer than ``max_futile`` are counted."""

    def forbids(self, now: float) -> bool:
        """Say whether a 401 must be handed back."""
        return now < self.counted_at + self.pause

    def charge(self, generation: int, now: float, policy: RefreshPolicy) -> None:
        """Count one refresh more, which the refusal of a generation causes."""
        self.counted = generation
        self.count = min(self.count + 1, policy.max_futile)
        self.counted_at = now
        if self.count == policy.max_futile:
            longer = max(policy.cooldown, SHORTEST_PAUSE, 2 * self.pause)
            # So many seconds after an API is mended, 401s are refreshed again.
            self.pause = min(longer, LONGEST_PAUSE)

    def has_helped(self, generation: int, now: float) -> bool:
        """Say whether a generation shows, by being used now, that the last refresh helped."""
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
        """Count the refresh that a 401 is about to cause; None if it must not cause one.

        Args:
          place: Where the 401 came from.
          generation: The current one, which is not known to be bad yet.
          now: The moment.

        Returns:
          What to give to `acquit` if the request is answered when it is sent again.
        """
        account = self.accounts.get(place)
        if account is None and len(self.accounts) < MOST_PLACES:
            account = self.accounts[place] = Account(place)
        account = account or self.shared
        account.refused = max(account.refused, generation)
        if account.forbids(now):
            return None
        account.charge(generation, now, self.policy)
        return account

    def charged(self, place: Place, generation: int) -> Account | None:
        """Return the account in which the refusal of a generation at a place was counted last."""
        account = self.accounts.get(place, self.shared)
        return account if account.counted == generation else None

    def note_refused(self, place: Place, generation: int) -> None:
        """Note a 401 that causes no refresh of its own."""
        if (account := self.accounts.get(place)) is not None:
            account.refused = max(account.refused, generation)

    def note_answered(self, place: Place, generation: int, *, now: float) -> None:
        """Note that a request was not refused."""
        account = self.accounts.get(place)
        if account is not None and account.has_helped(generation, now):
            del self.accounts[place]

    def acquit(self, charged: Account) -> None:
        """Note that a request was answered which had been refused with the counted token."""
        if charged is self.shared:
            self.shared = Account()
        elif charged.place is not None and self.accounts.get(charged.place) is charged:
            del self.accounts[charged.place]

    def charge_report(self, generation: int, *, now: float) -> bool:
        """Count the refresh that a report is about to cause; False if it must not cause one."""
        if self.reports.has_helped(generation, now):
            self.reports = Account()
        self.reports.refused = max(self.reports.refused, generation)
        if self.reports.forbids(now):
            return False
        self.reports.charge(generation, now, self.policy)
        return True

    def forbids(self, now: float) -> bool:
        """Say whether 401s, or reports, are of no consequence somewhere."""
        return any(
            account.forbids(now) for account in (*self.accounts.values(), self.shared, self.reports)
        )
