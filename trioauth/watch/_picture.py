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
_Flight: TypeAlias = tuple[str, int]
"""A key, and a number: each session counts its own."""
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
@attrs.frozen
class Lane:
    """What happened to the login of one key, where there are several."""

    name: str
    """How the key is shown."""
    bands: Sequence[Band]
    flights: Sequence[Span]
    marks: Sequence[Mark]


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
    lanes: Sequence[Lane] = ()
    """One for each key. Then there are no bands, flights and marks of the session as a whole."""

    @property
    def all_flights(self) -> Sequence[Span]:
        """The flights of the session, or those of all lanes."""
        return [*self.flights, *(flight for lane in self.lanes for flight in lane.flights)]

    @property
    def summary(self) -> str:
        """Describe the picture in words."""
        bands = len(self.bands) + sum(len(lane.bands) for lane in self.lanes)
        counted = (
            *([(len(self.lanes), "key", "keys")] if self.lanes else []),
            (bands, "generation", "generations"),
            (len(self.all_flights), "refresh", "refreshes"),
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
    rows = _rows(happened, [(task, span) for task, _, span in waits], requests, end)
    passengers = Counter(flight for _, flight, _ in waits)
    lanes = _lanes(happened, end, passengers)
    only = Lane("", (), (), ())
    if all(event.key == "" for event in happened) and lanes:
        # A session by itself, without a key: the picture is its lane.
        [only], lanes = lanes, []
    return Picture(
        start=start,
        end=end,
        bands=only.bands,
        flights=only.flights,
        marks=only.marks,
        rows=rows,
        lanes=lanes,
    )


def _lanes(happened: Iterable[Event], end: float, passengers: Counter[_Flight]) -> list[Lane]:
    """Make a lane for each key, in the order in which they first appear."""
    by_key: dict[str, list[Event]] = {}
    for event in happened:
        by_key.setdefault(event.key, []).append(event)
    return [
        Lane(
            told[-1].shown_key or "(no key)",
            _bands(told, end),
            _flights(told, end, passengers),
            [mark for event in told if (mark := _mark(event))],
        )
        for told in by_key.values()
    ]


def _waits(happened: Iterable[Event], end: float) -> list[tuple[str, _Flight, Span]]:
    """Pair the beginnings and the ends of waits: task, flight, span."""
    waits: list[tuple[str, _Flight, Span]] = []
    begun: dict[tuple[str, _Flight, str], deque[float]] = {}
    for event in happened:
        match event:
            case events.WaitStarted(time=time, flight=flight, task=task):
                waiting = (task, (event.key, flight), _of_whom(event))
                begun.setdefault(waiting, deque()).append(time)
            case events.WaitEnded(time=time, flight=flight, task=task, cancelled=cancelled):
                # The beginning of this wait may have been dropped already.
                of_whom = _of_whom(event)
                if starts := begun.get((task, (event.key, flight), of_whom)):
                    kind: SpanKind = "wait-cancelled" if cancelled else "wait"
                    word = "was cancelled while it waited" if cancelled else "waited"
                    text = f"{word} for refresh {flight}{of_whom}"
                    span = Span(kind, starts.popleft(), time, text)
                    waits.append((task, (event.key, flight), span))
            case _:
                pass
    waits += [
        (task, flight, Span("wait", start, end, f"waits for refresh {flight[1]}{of_whom}"))
        for (task, flight, of_whom), starts in begun.items()
        for start in starts
    ]
    return waits


def _of_whom(event: Event) -> str:
    return f" of {printable(event.shown_key)}" if event.shown_key else ""


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


def _flights(happened: Iterable[Event], end: float, passengers: Counter[_Flight]) -> list[Span]:
    """Draw the flights of one session."""
    spans: list[Span] = []
    begun: dict[int, events.RefreshStarted] = {}

    def add(kind: SpanKind, flight: int, until: float, outcome: str) -> None:
        if (start := begun.pop(flight, None)) is not None:
            waited = passengers[start.key, flight]
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
