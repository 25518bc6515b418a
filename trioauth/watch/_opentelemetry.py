"""Telemetry: an observer for OpenTelemetry. ``trioauth.opentelemetry`` says what it records."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import attrs
import trio

from trioauth import events
from trioauth._version import __version__

try:
    from opentelemetry import metrics, trace
    from opentelemetry.context import Context
except ImportError as _missing:
    raise ImportError(
        'trioauth.opentelemetry needs opentelemetry-api: pip install "trioauth[opentelemetry]"'
    ) from _missing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, TracerProvider
    from opentelemetry.util.types import AttributeValue

    from trioauth.events import Event

__all__ = ["Telemetry"]

_SCOPE = "trioauth"
# In seconds: from a server next door to `RefreshPolicy.timeout`.
_BOUNDARIES = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

_CAUSE = "trioauth.refresh.cause"
_ERROR = "error.type"


@final
@attrs.define(eq=False)
class _Refresh:
    """A refresh in the air."""

    span: Span
    cause: events.RefreshCause
    linked: set[int] = attrs.field(factory=set[int])
    """The ids of the spans that this span links to."""

    def link(self, other: Span) -> None:
        """Link to another span, once."""
        context = other.get_span_context()
        if context.is_valid and context.span_id not in self.linked:
            self.linked.add(context.span_id)
            self.span.add_link(context)


@final
class Telemetry:
    """Tell OpenTelemetry what a session does.

    Pass a new one to each session::

        async with trioauth.open_session(grant, ..., observers=[Telemetry()]) as session:
            ...

    Args:
      attributes: Attributes of every span and measurement, such as the name of the session. Use few
          different values, and no secrets. By default none.
      tracer_provider: Where traces go; None (the default) for the global one.
      meter_provider: Where metrics go; None (the default) for the global one.
    """

    def __init__(
        self,
        *,
        attributes: Mapping[str, str] | None = None,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        self._attributes: dict[str, AttributeValue] = dict(attributes or {})
        self._tracer = trace.get_tracer(_SCOPE, __version__, tracer_provider)
        self._refreshes: dict[int, _Refresh] = {}
        self._waits: dict[trio.lowlevel.Task, tuple[float, Span | None]] = {}
        meter = metrics.get_meter(_SCOPE, __version__, meter_provider)
        self._refresh_duration = meter.create_histogram(
            "trioauth.refresh.duration",
            "s",
            "How long refreshes took.",
            explicit_bucket_boundaries_advisory=_BOUNDARIES,
        )
        self._wait_duration = meter.create_histogram(
            "trioauth.wait.duration",
            "s",
            "How long tasks waited for a refresh.",
            explicit_bucket_boundaries_advisory=_BOUNDARIES,
        )
        self._waiting = meter.create_up_down_counter(
            "trioauth.wait.active_tasks", "{task}", "Tasks that wait for a refresh now."
        )
        self._resends = meter.create_counter(
            "trioauth.resends", "{request}", "Requests that were sent again after a 401."
        )
        self._logins = meter.create_counter("trioauth.logins", "{login}", "Logins that began.")
        self._logouts = meter.create_counter("trioauth.logouts", "{logout}", "Logins that ended.")
        self._saves = meter.create_counter("trioauth.saves", "{save}", "Writes to the token store.")
        self._revocations = meter.create_counter(
            "trioauth.revocations", "{request}", "Log-outs that the server was to be told of."
        )

    def __call__(self, event: Event) -> None:
        """Record an event. Not a checkpoint."""
        match event:
            case events.RefreshStarted():
                self._refresh_started(event)
            case events.RefreshLanded() | events.RefreshFailed():
                self._refresh_ended(event)
            case events.WaitStarted():
                self._wait_started(event)
            case events.WaitEnded():
                self._wait_ended(event)
            case events.RequestResent():
                self._resends.add(1, self._attributes)
            case events.LoggedIn():
                self._logins.add(1, self._attributes)
            case events.LoggedOut(reason=reason):
                self._logouts.add(1, self._attributes | {"trioauth.logout.reason": reason})
            case events.Saved():
                self._saves.add(1, self._attributes)
            case events.NotSaved(error=error):
                self._saves.add(1, self._attributes | {_ERROR: error})
            case events.Revoked():
                self._revocations.add(1, self._attributes)
            case _:
                self._revocations.add(1, self._attributes | {_ERROR: event.error})

    # --- refreshes -------------------------------------------------------------------------

    def _refresh_started(self, event: events.RefreshStarted) -> None:
        attributes = self._attributes | {
            _CAUSE: event.cause,
            "trioauth.refresh.number": event.flight,
            "trioauth.generation.replaced": event.generation,
        }
        # Its own root, not a child: it may go on after the request that started it has ended.
        span = self._tracer.start_span("trioauth.refresh", Context(), attributes=attributes)
        refresh = self._refreshes[event.flight] = _Refresh(span, event.cause)
        refresh.link(trace.get_current_span())

    def _refresh_ended(self, event: events.RefreshLanded | events.RefreshFailed) -> None:
        refresh = self._refreshes.pop(event.flight)
        measured: dict[str, AttributeValue] = self._attributes | {_CAUSE: refresh.cause}
        if isinstance(event, events.RefreshLanded):
            refresh.span.set_attribute("trioauth.generation", event.generation)
            refresh.span.set_attribute("trioauth.refresh.adopted", event.adopted)
        else:
            measured[_ERROR] = event.error
            refresh.span.set_attribute(_ERROR, event.error)
            refresh.span.set_status(trace.StatusCode.ERROR, event.words or event.error)
        refresh.span.set_attribute("trioauth.refresh.waited", event.waited)
        refresh.span.end()
        self._refresh_duration.record(event.took, measured)

    # --- waiting: these are called in the task that waits ----------------------------------

    def _wait_started(self, event: events.WaitStarted) -> None:
        refresh, request = self._refreshes[event.flight], trace.get_current_span()
        refresh.link(request)
        span: Span | None = None
        if request.get_span_context().is_valid:
            span = self._tracer.start_span(
                "trioauth.wait",
                attributes=self._attributes | {"trioauth.refresh.number": event.flight},
                links=[trace.Link(refresh.span.get_span_context())],
            )
        self._waits[trio.lowlevel.current_task()] = event.time, span
        self._waiting.add(1, self._attributes)

    def _wait_ended(self, event: events.WaitEnded) -> None:
        started, span = self._waits.pop(trio.lowlevel.current_task())
        self._waiting.add(-1, self._attributes)
        cancelled: dict[str, AttributeValue] = {"trioauth.wait.cancelled": event.cancelled}
        self._wait_duration.record(event.time - started, self._attributes | cancelled)
        if span is not None:
            span.set_attributes(cancelled)
            span.end()
