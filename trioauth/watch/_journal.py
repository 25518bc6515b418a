"""Journal: what a session remembers for `Session.explain`. A frozen value."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import attrs

from trioauth import events

if TYPE_CHECKING:
    from typing import TypeAlias

    from trioauth.events import Event

    _End: TypeAlias = events.RefreshLanded | events.RefreshFailed

PASSING = (events.WaitStarted, events.WaitEnded, events.RequestResent)
"""Events that are not remembered: each task makes some, and `Session.statistics` counts them."""

_REMEMBERED = 24


@final
@attrs.frozen
class Note:
    """Something that happened."""

    at: float
    """When, on the session's clock (`trioauth._core.clock`), which also counts time asleep."""
    event: Event


@final
@attrs.frozen
class Journal:
    """The last few refreshes, log-ins and log-outs, and how long things have been going wrong."""

    notes: tuple[Note, ...] = ()
    """The oldest first."""

    failures: int = 0
    """Refreshes that failed in a row, up to now."""

    failing_since: float = 0.0
    """When the first of them failed."""

    failed_at: float = 0.0
    """When the last of them failed."""

    unsaved: events.NotSaved | None = None
    """Why the last save failed; None if it did not, or if nothing was saved yet."""

    unsaved_since: float = 0.0
    """When the first of the failed saves in a row was."""

    @property
    def last_refresh(self) -> tuple[Note, events.RefreshStarted, _End | None] | None:
        """How the last refresh began, and how it ended, if it has."""
        end: _End | None = None
        for note in reversed(self.notes):
            event = note.event
            if isinstance(event, events.RefreshStarted):
                # After a log-out, a refresh may end when the next one has begun already.
                same = end is not None and end.flight == event.flight
                return note, event, end if same else None
            if end is None and isinstance(event, events.RefreshLanded | events.RefreshFailed):
                end = event
        return None

    def last(self, kind: type[Event]) -> Note | None:
        """Return the last event of a kind, if it is remembered."""
        return next((note for note in reversed(self.notes) if isinstance(note.event, kind)), None)

    def noting(self, event: Event, *, at: float) -> Journal:
        """Return a journal that has this event, too."""
        note = Note(at, event)
        notes = (*self.notes[1 - _REMEMBERED :], note)
        match event:
            case events.RefreshFailed():
                since = self.failing_since if self.failures else at
                return attrs.evolve(
                    self,
                    notes=notes,
                    failures=self.failures + 1,
                    failing_since=since,
                    failed_at=at,
                )
            case events.RefreshLanded() | events.LoggedIn():
                return attrs.evolve(self, notes=notes, failures=0)
            case events.Saved():
                # No note: each refresh would then have two lines, and the second says nothing new.
                return attrs.evolve(self, unsaved=None)
            case events.NotSaved() if self.unsaved is not None:
                # No note: saving is tried every few seconds, and would push out the first failure.
                return attrs.evolve(self, unsaved=event)
            case events.NotSaved():
                return attrs.evolve(self, notes=notes, unsaved=event, unsaved_since=at)
            case _:
                return attrs.evolve(self, notes=notes)
