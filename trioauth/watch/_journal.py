"""Journal: what a session remembers of its past, so that it can explain itself. A frozen value."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import attrs

from trioauth import events

if TYPE_CHECKING:
    from typing import TypeAlias

    from trioauth.events import Event

    _End: TypeAlias = events.RefreshLanded | events.RefreshFailed

PASSING = (events.WaitStarted, events.WaitEnded, events.RequestResent)
"""What is not remembered: there is one for each task, and those who count are counted elsewhere."""

_REMEMBERED = 24


@final
@attrs.frozen
class Note:
    """Something that happened."""

    at: float
    """When, on the session's clock (`trioauth._core.clock`), which counts the time asleep, too."""
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
    """Why the store does not have the newest; None if it has, or was not asked yet."""

    unsaved_since: float = 0.0
    """When it was first found to fail."""

    @property
    def last_refresh(self) -> tuple[Note, events.RefreshStarted, _End | None] | None:
        """How the last refresh began, and how it ended, if it has."""
        end: _End | None = None
        for note in reversed(self.notes):
            event = note.event
            if isinstance(event, events.RefreshStarted):
                # A refresh that a log-out overtook may end when the next one has begun.
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
                # A line for each would be twice as many lines, and say nothing new.
                return attrs.evolve(self, unsaved=None)
            case events.NotSaved() if self.unsaved is not None:
                # It is tried every few seconds, and must not push out how it began.
                return attrs.evolve(self, unsaved=event)
            case events.NotSaved():
                return attrs.evolve(self, notes=notes, unsaved=event, unsaved_since=at)
            case _:
                return attrs.evolve(self, notes=notes)
