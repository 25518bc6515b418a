"""P5: how often a refresh token of unknown fate is presented, and when.

1. The flight that lost the answer presents it at most twice more, within ten seconds.
2. Then all who share the store leave it alone: ten seconds, twenty, ... five minutes. After each
   pause it is presented until one more answer is lost.
3. Where the store has failed, a session may not know what others have lost: it knows what it has
   lost itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs
import trio

if TYPE_CHECKING:
    from .ledger import Issue, Ledger, Presentation, Stay
    from .store import Store
    from .weather import Weather

_TINY: Final = 1e-6
_REPEATS: Final = 2
_WITHIN: Final = 10.0
_FIRST_PAUSE: Final = 10.0
_LONGEST_PAUSE: Final = 300.0


@attrs.define(eq=False)
class _Losses:
    """What is known of one refresh token."""

    pauses: int = 0
    """How many there were, or have begun."""
    first_at: float | None = None
    """When the first of those was presented whose answers were lost in a row."""
    lost_at: float = 0.0
    """When the last answer was lost."""
    since: int = 0
    """How often it was presented since the first of those answers was lost."""


@attrs.define(eq=False)
class Quiet:
    """What is known of all refresh tokens, by those who may know it."""

    ledger: Ledger
    weather: Weather
    _losses: dict[tuple[object, Issue], _Losses] = attrs.field(factory=dict)
    _unmarked: dict[Stay, list[tuple[Store, Issue, _Losses]]] = attrs.field(factory=dict)
    """What the flights in the air have not marked yet, with what was known before."""

    def _now(self) -> float:
        return trio.current_time() + self.weather.forward

    def _known_to(self, stay: Stay, store: Store, issue: Issue) -> list[_Losses]:
        # Of a login that has ended here, a session marks nothing any more; not even if the answer
        # is lost when the session has been left, as happens to a grant that can't be cancelled.
        ended = stay.login is not issue.login
        told = not (store.troubled or store.mixed or ended)
        return [
            self._losses.setdefault((who, issue), _Losses())
            for who in (stay, *((store,) if told else ()))
        ]

    def not_told(self, store: Store) -> None:
        """Take in that the store did not take something: perhaps that an answer was lost."""
        for who, issue in list(self._losses):
            if who is store:
                del self._losses[who, issue]

    def landed(self, stay: Stay) -> None:
        """Take in that a flight is over: what it has lost is marked now."""
        self._unmarked.pop(stay, None)

    def logged_out(self, stay: Stay) -> None:
        """Take in that a login has ended: a flight that is in the air marks nothing any more."""
        for store, issue, before in reversed(self._unmarked.pop(stay, ())):
            self._losses[store, issue] = before

    def presented(self, shown: Presentation, store: Store) -> None:
        """Check that a refresh token may be presented now."""
        for losses in self._known_to(shown.stay, store, shown.issue):
            self._check(shown, losses)

    def _check(self, shown: Presentation, losses: _Losses) -> None:
        if losses.first_at is None:
            return
        self.ledger.count("refresh tokens presented again")
        now = self._now()
        losses.since += 1
        within = now <= losses.first_at + _WITHIN + _TINY
        if losses.pauses == 0 and losses.since <= _REPEATS and within:
            return
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**losses.pauses)
        if now < losses.lost_at + pause - _TINY:
            self.ledger.violate(
                "P5",
                f"{shown.stay.name} presents {shown.issue.name}, {now - losses.lost_at:.2f} s "
                f"after its answer was lost; the pause is {pause:.0f} s",
            )
        losses.pauses, losses.first_at, losses.since = losses.pauses + 1, None, 0

    def lost(self, shown: Presentation, store: Store) -> None:
        """Take in that the one who presented a refresh token does not know what became of it."""
        before = self._losses.get((store, shown.issue), _Losses())
        unmarked = store, shown.issue, attrs.evolve(before)
        self._unmarked.setdefault(shown.stay, []).append(unmarked)
        for losses in self._known_to(shown.stay, store, shown.issue):
            if losses.first_at is None:
                losses.first_at, losses.since = shown.at + self.weather.forward, 0
            losses.lost_at = self._now()
