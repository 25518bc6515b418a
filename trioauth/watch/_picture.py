"""Picture: what a timeline shows, as rows and spans, made from what was recorded (pure)."""

from __future__ import annotations

import re
from collections import Counter, deque
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Literal, TypeAlias, final

import attrs

from trioauth import events
from trioauth._errors import printable
from trioauth._outcomes import CAUSES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from trioauth.events import Event, RefreshCause

    from ._request import Request, RequestEnd

SpanKind: TypeAlias = Literal[
    "wait", "wait-cancelled",
    "request", "request-failed", "request-cancelled",
    "landed", "adopted", "failed", "airborne",
]  # fmt: skip
MarkKind: TypeAlias = Literal["resent", "logged-in", "logged-out", "note", "trouble"]

_REQUEST_KINDS: dict[RequestEnd, SpanKind] = {
    "running": "request",
    "answered": "request",
    "failed": "request-failed",
    "cancelled": "request-cancelled",
}
# Numbers of more digits than that are sorted as text.
_DIGITS = 18

_CAUSE_LABELS: dict[RefreshCause, str] = {
    "clock": "token old",
    "rejected": "401",
    "asked_for": "asked for",
}


@final
@attrs.frozen
class Span:
    """Something that took time."""

    kind: SpanKind
    start: float
    end: float
    text: str
    """The text that is shown when the mouse is over it."""
    label: str = ""
    """The text that is always shown, if there is room."""


@final
@attrs.frozen
class Mark:
    """Something that happened at one moment."""

    kind: MarkKind
    time: float
    text: str


@final
@attrs.frozen
class Band:
    """The time in which a generation was the current one."""

    generation: int
    start: float
    end: float


@final
@attrs.define(eq=False)
class Row:
    """The row of a task; tasks of one name share it if they do not overlap."""

    name: str
    spans: list[Span] = attrs.field(factory=list[Span])
    marks: list[Mark] = attrs.field(factory=list[Mark])
    _busy: dict[bool, Span | None] = attrs.field(factory=lambda: {False: None, True: None})
    """The last request (False) and the last wait (True)."""

    def fits(self, span: Span) -> Literal["inside", "beside"] | None:
        """Say whether a span fits this row: a wait inside its request, or a span after the rest."""
        wait = _is_wait(span)
        other, same = self._busy[not wait], self._busy[wait]
        if same is not None and same.end > span.start:
            return None
        if other is None or other.end <= span.start:
            return "beside"
        return "inside" if wait and other.end >= span.end else None

    def add(self, span: Span) -> None:
        """Add a span."""
        self.spans.append(span)
        self._busy[_is_wait(span)] = span


@final
@attrs.frozen(kw_only=True)
class Picture:
    """Everything that there is to draw, with times of trio's clock."""

    start: float
    end: float
    bands: Sequence[Band]
    flights: Sequence[Span]
    marks: Sequence[Mark]
    """Of the session as a whole."""
    rows: Sequence[Row]

    @property
    def summary(self) -> str:
        """Describe the picture in words."""
        counted = (
            (len(self.bands), "generation", "generations"),
            (len(self.flights), "refresh", "refreshes"),
            (len(self.rows), "task", "tasks"),
        )
        words = [f"{n} {one if n == 1 else many}" for n, one, many in counted]
        return ", ".join([f"{self.end - self.start:.1f} s", *words])


def compose(happened: Iterable[Event], requests: Iterable[Request]) -> Picture:
    """Make a picture of what was recorded."""
    happened, requests = list(happened), list(requests)
    times = [event.time for event in happened] + [request.started for request in requests]
    times += [request.ended for request in requests if request.ended is not None]
    start, end = min(times, default=0.0), max(times, default=0.0)
    waits = _waits(happened, end)
    passengers = Counter(flight for _, flight, _ in waits)
    return Picture(
        start=start,
        end=end,
        bands=_bands(happened, end),
        flights=_flights(happened, end, passengers),
        marks=[mark for event in happened if (mark := _mark(event))],
        rows=_rows(happened, [(task, span) for task, _, span in waits], requests, end),
    )


def _waits(happened: Iterable[Event], end: float) -> list[tuple[str, int, Span]]:
    """Pair the beginnings and the ends of waits: task, flight, span."""
    waits: list[tuple[str, int, Span]] = []
    begun: dict[tuple[str, int], deque[float]] = {}
    for event in happened:
        match event:
            case events.WaitStarted(time=time, flight=flight, task=task):
                begun.setdefault((task, flight), deque()).append(time)
            case events.WaitEnded(time=time, flight=flight, task=task, cancelled=cancelled):
                # The beginning of this wait may have been dropped already.
                if starts := begun.get((task, flight)):
                    kind: SpanKind = "wait-cancelled" if cancelled else "wait"
                    word = "was cancelled while it waited" if cancelled else "waited"
                    text = f"{word} for refresh {flight}"
                    waits.append((task, flight, Span(kind, starts.popleft(), time, text)))
            case _:
                pass
    waits += [
        (task, flight, Span("wait", start, end, f"waits for refresh {flight}"))
        for (task, flight), starts in begun.items()
        for start in starts
    ]
    return waits


def _bands(happened: Iterable[Event], end: float) -> list[Band]:
    """Let each generation last until the next one comes, or until the login ends (0)."""
    changes: list[tuple[int, float]] = []
    for event in happened:
        match event:
            case (
                events.LoggedIn(time=time, generation=number)
                | events.RefreshLanded(time=time, generation=number)
            ):
                changes.append((number, time))
            case events.LoggedOut(time=time):
                changes.append((0, time))
            case _:
                pass
    # A landing without a new generation ends no band.
    firsts = [next(same) for _, same in groupby(changes, itemgetter(0))]
    ends = [time for _, time in firsts[1:]] + [end]
    return [Band(*first, until) for first, until in zip(firsts, ends, strict=False) if first[0]]


def _flights(happened: Iterable[Event], end: float, passengers: Counter[int]) -> list[Span]:
    spans: list[Span] = []
    begun: dict[int, events.RefreshStarted] = {}

    def add(kind: SpanKind, flight: int, until: float, outcome: str) -> None:
        if (start := begun.pop(flight, None)) is not None:
            waited = passengers[flight]
            text = (
                f"refresh {flight}, because {CAUSES[start.cause]}: {outcome}; "
                f"{waited} {'task' if waited == 1 else 'tasks'} waited"
            )
            spans.append(Span(kind, start.time, until, text, _CAUSE_LABELS[start.cause]))

    for event in happened:
        match event:
            case events.RefreshStarted(flight=flight):
                begun[flight] = event
            case events.RefreshLanded(time=time, flight=flight, generation=number, adopted=adopted):
                outcome = f"generation {number}" + (", found in the store" if adopted else "")
                add("adopted" if adopted else "landed", flight, time, outcome)
            case events.RefreshFailed(time=time, flight=flight, error=error):
                add("failed", flight, time, f"failed with {error}")
            case _:
                pass
    for flight in list(begun):
        add("airborne", flight, end, "still in the air")
    return spans


def _mark(event: Event) -> Mark | None:
    match event:
        case events.LoggedIn(time=time, generation=number):
            return Mark("logged-in", time, f"logged in: generation {number}")
        case events.LoggedOut(time=time, reason=reason):
            return Mark("logged-out", time, f"logged out: {reason}")
        case events.NotSaved(time=time, generation=number, error=error):
            return Mark("trouble", time, f"generation {number} was not saved: {error}")
        case events.NotRevoked(time=time, error=error):
            return Mark("trouble", time, f"not revoked: {error}")
        case events.Revoked(time=time):
            return Mark("note", time, "the tokens were revoked")
        case _:
            return None


def _rows(
    happened: Iterable[Event],
    waits: Iterable[tuple[str, Span]],
    requests: Iterable[Request],
    end: float,
) -> list[Row]:
    spans = [*waits, *((request.task, _request_span(request, end)) for request in requests)]
    rows: dict[str, list[Row]] = {}
    # Sorted so that a request comes before the waits inside it.
    for task, span in sorted(spans, key=lambda item: (item[1].start, _is_wait(item[1]))):
        row = _find_row(rows.setdefault(task, []), span)
        if row is None:
            row = Row(task)
            rows[task].append(row)
        row.add(span)
    for event in happened:
        if isinstance(event, events.RequestResent) and event.task in rows:
            text = (
                f"sent again with generation {event.generation}, "
                f"after generation {event.refused} was refused"
            )
            _row_at(rows[event.task], event.time).marks.append(Mark("resent", event.time, text))
    return [row for task in sorted(rows, key=_natural) for row in rows[task]]


def _natural(name: str) -> str:
    """Make a key for sorting: task 2 comes before task 10."""
    return re.sub(r"[0-9]+", lambda digits: digits[0].zfill(_DIGITS), name)


def _find_row(rows: Sequence[Row], span: Span) -> Row | None:
    free: Row | None = None
    for row in rows:
        place = row.fits(span)
        if place == "inside":
            return row
        if place == "beside":
            free = free or row
    return free


def _row_at(rows: Sequence[Row], time: float) -> Row:
    """Find the row where something happened at that time."""
    busy = (row for row in rows if any(span.start <= time <= span.end for span in row.spans))
    return next(busy, rows[0])


def _request_span(request: Request, end: float) -> Span:
    outcome = request.end if request.outcome is None else printable(str(request.outcome))
    until = end if request.ended is None else request.ended
    text = f"{printable(request.label)}: {outcome}"
    kind = _REQUEST_KINDS[request.end]
    if isinstance(request.outcome, int) and request.outcome >= 400:
        # An HTTP status that is an error (RFC 9110 15).
        kind = "request-failed"
    return Span(kind, request.started, until, text)


def _is_wait(span: Span) -> bool:
    return span.kind in ("wait", "wait-cancelled")
