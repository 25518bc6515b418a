"""What OpenTelemetry is told: spans of refreshes and of waiting, and metrics."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import attrs
import httpx
import pytest
import trio
import trio.testing
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import trioauth
from trioauth import (
    GrantRefusedError,
    LoggedOutError,
    RefreshPolicy,
    RefreshUnavailableError,
    StoreError,
)
from trioauth.opentelemetry import Telemetry

from .both import FakeApi
from .canary import SECRET
from .fakes import FakeGrant, FakeStore, first_tokens
from .sessions import down, opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.trace import ReadableSpan

    from trioauth import Tokens

pytestmark = pytest.mark.usefixtures("autojump_clock")


@attrs.define
class Exported:
    """What was exported, and the observer that it came from."""

    spans: InMemorySpanExporter = attrs.field(factory=InMemorySpanExporter)
    reader: InMemoryMetricReader = attrs.field(factory=InMemoryMetricReader)
    tracers: TracerProvider = attrs.field(factory=TracerProvider)
    meters: MeterProvider = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        self.meters = MeterProvider([self.reader])

    def telemetry(self, **options: Any) -> Telemetry:
        return Telemetry(tracer_provider=self.tracers, meter_provider=self.meters, **options)

    @property
    def tracer(self) -> trace.Tracer:
        """The program's own."""
        return self.tracers.get_tracer("program")

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans.get_finished_spans() if span.name == name]

    def metrics(self) -> dict[str, dict[frozenset[Any], Any]]:
        """By name, then by attributes: the sum; of a histogram how many and their sum."""
        data = self.reader.get_metrics_data()
        found: dict[str, dict[frozenset[Any], Any]] = {}
        for metric in data.resource_metrics[0].scope_metrics[0].metrics if data else ():
            point: Any
            for point in metric.data.data_points:
                value = getattr(point, "value", None)
                if value is None:
                    value = (point.count, round(point.sum, 3))
                found.setdefault(metric.name, {})[frozenset(point.attributes.items())] = value
        return found


@pytest.fixture
def exported() -> Iterator[Exported]:
    exported = Exported()
    yield exported
    exported.tracers.shutdown()
    exported.meters.shutdown()


def by(**attributes: Any) -> frozenset[Any]:
    """Attributes of ours, with their names as Python can write them."""
    return frozenset((f"trioauth.{name.replace('__', '.')}", v) for name, v in attributes.items())


# --- traces --------------------------------------------------------------------------------


async def test_a_refresh_is_a_root_that_links_to_each_request_that_waited(
    exported: Exported,
) -> None:
    async def ask(name: str) -> None:
        with exported.tracer.start_as_current_span(name):
            await session.token()

    async with opened(tokens=first_tokens(0), observers=[exported.telemetry()]) as session:
        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(ask, f"GET {number}")
    [refresh] = exported.named("trioauth.refresh")
    requests = [exported.named(f"GET {number}")[0] for number in range(3)]
    assert refresh.parent is None
    assert [link.context.span_id for link in refresh.links].count(0) == 0
    linked = sorted(link.context.span_id for link in refresh.links)
    assert linked == sorted(request.context.span_id for request in requests), "each once"
    assert dict(refresh.attributes or {}) == {
        "trioauth.refresh.cause": "clock",
        "trioauth.refresh.number": 1,
        "trioauth.generation.replaced": 1,
        "trioauth.generation": 2,
        "trioauth.refresh.adopted": False,
        "trioauth.refresh.waited": 3,
    }
    assert refresh.status.status_code is trace.StatusCode.UNSET
    assert refresh.instrumentation_scope is not None
    assert refresh.instrumentation_scope.name == "trioauth"
    assert refresh.instrumentation_scope.version == trioauth.__version__


async def test_a_wait_is_in_the_trace_of_its_request_and_links_to_the_refresh(
    exported: Exported,
) -> None:
    async with opened(tokens=first_tokens(0), observers=[exported.telemetry()]) as session:
        with exported.tracer.start_as_current_span("GET /"):
            await session.token()
        session.reject(2)
        with exported.tracer.start_as_current_span("GET /"), trio.move_on_after(0.5):
            await session.token()
    for request, wait, refresh, cancelled in zip(
        exported.named("GET /"),
        exported.named("trioauth.wait"),
        exported.named("trioauth.refresh"),
        (False, True),
        strict=True,
    ):
        assert wait.parent is not None
        assert wait.parent.span_id == request.context.span_id
        assert [link.context.span_id for link in wait.links] == [refresh.context.span_id]
        assert (wait.attributes or {})["trioauth.wait.cancelled"] is cancelled


async def test_without_a_trace_there_is_a_refresh_and_no_wait(exported: Exported) -> None:
    async with opened(tokens=first_tokens(0), observers=[exported.telemetry()]) as session:
        await session.token()
    [span] = exported.spans.get_finished_spans()
    assert (span.name, list(span.links)) == ("trioauth.refresh", [])


async def test_a_refresh_that_fails_says_with_what(exported: Exported) -> None:
    grant = FakeGrant(script=[down(), GrantRefusedError("invalid_grant", "gone")])
    policy = RefreshPolicy(attempts=1)
    async with opened(grant, policy=policy, observers=[exported.telemetry()]) as session:
        with pytest.raises(RefreshUnavailableError):
            await session.refresh()
        await trio.sleep(10)
        with pytest.raises(LoggedOutError):
            await session.refresh()
    first, second = exported.named("trioauth.refresh")
    assert (first.attributes or {})["error.type"] == "RefreshUnavailableError"
    assert (second.attributes or {})["error.type"] == "GrantRefusedError"
    for span in (first, second):
        assert span.status.status_code is trace.StatusCode.ERROR
        assert "trioauth.generation" not in (span.attributes or {})
    assert second.status.description == "GrantRefusedError: invalid_grant: gone"


# --- metrics -------------------------------------------------------------------------------


async def test_what_happens_is_measured(exported: Exported) -> None:
    class Revoking(FakeGrant):
        told = 0

        async def revoke(self, tokens: Tokens, endpoint: object) -> bool:
            self.told += 1
            if self.told == 2:
                raise OSError("no route")
            return True

    api = FakeApi(latency=0, refused={"access-0"})
    store = FakeStore()
    grant = Revoking(script=[])
    async with opened(
        grant,
        store=store,
        transport=httpx.MockTransport(api),
        policy=RefreshPolicy(attempts=1, cooldown=5),
        observers=[exported.telemetry()],
    ) as session:
        await session.get("/")
        with trio.move_on_after(0.25):
            await session.refresh()
        await trio.sleep(2)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.refresh)
            nursery.start_soon(session.refresh)
            await trio.testing.wait_all_tasks_blocked()
            assert exported.metrics()["trioauth.wait.active_tasks"] == {by(): 2}
        await session.log_out()
        await session.log_in(first_tokens())
        store.fail_save = StoreError("full")
        await session.log_out()
        store.fail_save = None
        await session.log_in(first_tokens())
        grant.script.append(GrantRefusedError("invalid_grant"))
        with pytest.raises(LoggedOutError):
            await session.refresh()
    metrics = exported.metrics()
    cause = "trioauth.refresh.cause"
    assert metrics["trioauth.refresh.duration"] == {
        frozenset({(cause, "rejected")}): (1, 1.0),
        frozenset({(cause, "asked_for")}): (2, 2.0),
        frozenset({(cause, "asked_for"), ("error.type", "GrantRefusedError")}): (1, 0.5),
    }
    assert metrics["trioauth.wait.duration"] == {
        by(wait__cancelled=False): (4, 3.5),
        by(wait__cancelled=True): (1, 0.25),
    }
    assert metrics["trioauth.wait.active_tasks"] == {by(): 0}
    assert metrics["trioauth.resends"] == {by(): 1}
    assert metrics["trioauth.logins"] == {by(): 3}
    assert metrics["trioauth.logouts"] == {
        by(logout__reason="asked"): 2,
        by(logout__reason="refused"): 1,
    }
    assert metrics["trioauth.saves"][frozenset({("error.type", "StoreError")})] >= 1
    assert metrics["trioauth.saves"][by()] >= 7
    assert metrics["trioauth.revocations"] == {by(): 1, frozenset({("error.type", "OSError")}): 1}


async def test_units_and_buckets_suit_seconds(exported: Exported) -> None:
    async with opened(tokens=first_tokens(0), observers=[exported.telemetry()]) as session:
        await session.token()
    data = exported.reader.get_metrics_data()
    assert data is not None
    [scope] = data.resource_metrics[0].scope_metrics
    assert (scope.scope.name, scope.scope.version) == ("trioauth", trioauth.__version__)
    units = {metric.name: metric.unit for metric in scope.metrics}
    assert units == {
        "trioauth.refresh.duration": "s",
        "trioauth.wait.duration": "s",
        "trioauth.wait.active_tasks": "{task}",
        "trioauth.logins": "{login}",
        "trioauth.saves": "{save}",
    }
    for metric in scope.metrics:
        for point in metric.data.data_points:
            bounds = getattr(point, "explicit_bounds", (30.0,))
            assert bounds[-1] == 30.0


async def test_attributes_of_the_programs_own_are_said_of_everything(exported: Exported) -> None:
    telemetry = exported.telemetry(attributes={"session": "alice"})
    grant = FakeGrant(script=[GrantRefusedError("invalid_grant")])
    async with opened(grant, tokens=first_tokens(0), observers=[telemetry]) as session:
        with exported.tracer.start_as_current_span("GET /"), pytest.raises(LoggedOutError):
            await session.token()
    for span in (*exported.named("trioauth.refresh"), *exported.named("trioauth.wait")):
        assert (span.attributes or {})["session"] == "alice"
    for points in exported.metrics().values():
        assert all(("session", "alice") in point for point in points)


# --- with nothing behind it ----------------------------------------------------------------


async def test_without_an_sdk_it_does_nothing() -> None:
    async with opened(tokens=first_tokens(0), observers=[Telemetry()]) as session:
        assert await session.token() == "access-1"
        await session.log_out()


async def test_no_secret_is_exported(exported: Exported) -> None:
    grant = FakeGrant(script=[KeyError("hunter2"), GrantRefusedError("invalid_grant")])
    policy = RefreshPolicy(attempts=1)
    async with opened(grant, policy=policy, observers=[exported.telemetry()]) as session:
        for error in (RefreshUnavailableError, LoggedOutError):
            with exported.tracer.start_as_current_span("GET /"), pytest.raises(error):
                await session.refresh()
            await trio.sleep(20)
    shown = "".join(span.to_json() for span in exported.named("trioauth.refresh"))
    shown += "".join(span.to_json() for span in exported.named("trioauth.wait"))
    shown += repr(exported.metrics())
    assert "KeyError" in shown
    assert "hunter2" not in shown
    assert not SECRET.search(shown)


def test_where_it_is_not_installed_the_error_says_how_to_install_it() -> None:
    program = "import sys; sys.modules['opentelemetry'] = None; import trioauth.opentelemetry"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stderr.strip().endswith('pip install "trioauth[opentelemetry]"')
