"""P4: how many refreshes 401s may cause, as the servers can tell it.

The library keeps an account for each path; so does this, in its own way. Where the servers can't
know what the library knows, this forgives more: so what it objects to is wrong for certain.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import attrs
import trio

if TYPE_CHECKING:
    from .ledger import Ledger, Sent, Stay
    from .weather import Weather

_TINY: Final = 1e-6
_MOST_PLACES: Final = 16
_LONGEST_PAUSE: Final = 300.0
_PROBATION: Final = 60.0
_OTHERS: Final = "all other paths"
_REPORTS: Final = "reports"


@attrs.define(eq=False)
class Account:
    """The refreshes that one path of the API has caused, since one was shown to help."""

    count: int = 0
    at: float = 0.0
    pause: float = 0.0


@attrs.define(eq=False)
class Futility:
    """The accounts of all sessions."""

    ledger: Ledger
    weather: Weather
    _accounts: dict[tuple[Stay, str], Account] = attrs.field(factory=dict)
    _refusals: Counter[tuple[Stay, str]] = attrs.field(factory=Counter)

    def _now(self) -> float:
        return trio.current_time() + self.weather.forward

    def _account(self, stay: Stay, path: str) -> Account:
        own = sum(each is stay and at[0] == "/" for each, at in self._accounts)
        if path[0] == "/" and (stay, path) not in self._accounts and own >= _MOST_PLACES:
            path = _OTHERS
        return self._accounts.setdefault((stay, path), Account())

    def answered(self, sent: Sent) -> None:
        """Take in what the API said to a request."""
        stay, account = sent.stay, self._accounts.get((sent.stay, sent.path))
        if sent.curable:
            self._refusals[stay, sent.path] += 1
        elif sent.again:
            self._accounts.pop((stay, sent.path), None)
            self._accounts.pop((stay, _OTHERS), None)
            for path in sent.after:
                self._accounts.pop((stay, path), None)
        elif account is not None and self._now() >= account.at + _PROBATION - 1:
            self._accounts.pop((stay, sent.path))

    def refreshed(self, sent: Sent) -> None:
        """Check a refresh that a 401 has caused."""
        self._charge(sent.stay, self._account(sent.stay, sent.path), sent.path)

    def reported(self, stay: Stay, *, heeded: bool) -> None:
        """Check what became of a report: it is bounded as well."""
        account = self._account(stay, _REPORTS)
        if heeded:
            if self._now() >= account.at + _PROBATION - 1:
                account.count, account.pause = 0, 0.0
            self._charge(stay, account, _REPORTS)
        elif account.count < stay.program.policy.max_futile:
            self.ledger.violate("P4", f"{stay.name}: a report is ignored for no reason")
        else:
            self.ledger.count("reports ignored")

    def _charge(self, stay: Stay, account: Account, what: str) -> None:
        policy, now = stay.program.policy, self._now()
        if account.pause and now < account.at + account.pause - _TINY:
            self.ledger.violate("P4", f"{stay.name} refreshes once more, in vain, for {what}")
        account.count, account.at = account.count + 1, now
        if account.count >= policy.max_futile:
            longer = max(policy.cooldown, 1.0, 2 * account.pause)
            account.pause = min(_LONGEST_PAUSE, longer)

    def handed_back(self, sent: Sent) -> None:
        """Check a 401 that the caller got because refreshing was of no use."""
        paths = sum(stay is sent.stay for stay, _ in self._refusals)
        most = sent.stay.program.policy.max_futile
        if self._refusals[sent.stay, sent.path] <= most and paths <= _MOST_PLACES:
            self.ledger.violate(
                "P4", f"{sent.id} got its 401 back although little is held against {sent.path}"
            )
