"""The canary for the whole suite: no test may make the package show a secret (P17).

And how hard Hypothesis tries: twenty times as much for the proof (``PROOF=1``); and in CI the same
examples each time, so that a change is judged by what it changes.
"""

from __future__ import annotations

import os
import signal
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

import httpx
import httpx2
import pytest
import trio
from hypothesis import HealthCheck, is_hypothesis_test, settings
from trio.testing import MockClock

from .canary import Canary
from .proof import LONG, record

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from types import ModuleType

# A shell that starts the tests in the background has them, and what they start, ignore Control-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile(
    "proof", max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("ci", derandomize=True, deadline=None, database=None)
if LONG or os.environ.get("CI"):
    settings.load_profile("proof" if LONG else "ci")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Let ``usefixtures("autojump_clock")`` give the virtual clock to all async tests of a file.

    pytest-trio looks for a clock among a test's own parameters only.
    """
    used = {name for mark in item.iter_markers("usefixtures") for name in mark.args}
    if "autojump_clock" in used and iscoroutinefunction(getattr(item, "obj", None)):
        item.add_marker(pytest.mark.trio(run=run_with_virtual_clock))


def run_with_virtual_clock(function: Any, *, clock: Any, instruments: Any) -> Any:
    """Run a test; a clock that is among its parameters comes first."""
    clock = clock or MockClock(autojump_threshold=0)
    return trio.run(function, clock=clock, instruments=instruments)


@pytest.fixture(params=[httpx, httpx2], ids=["httpx", "httpx2"])
def library(request: pytest.FixtureRequest) -> ModuleType:
    """Run a test that takes it once with each of the two libraries."""
    library: ModuleType = request.param
    return library


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Count for the proof what was tried: the faults on sockets, and the examples of Hypothesis."""
    report = yield
    test = getattr(item, "obj", None)
    if report.when == "call" and "faults" in item.path.parts:
        record("faults over real sockets", cases=1, violations=report.failed)
    elif report.when == "call" and is_hypothesis_test(test):
        # A state machine keeps its settings in its class.
        of_class: Any = getattr(getattr(item, "cls", None), "settings", settings.default)
        tried: Any = getattr(test, "_hypothesis_internal_use_settings", of_class)
        record("examples of Hypothesis", cases=tried.max_examples, violations=report.failed)
    return report


@pytest.fixture(autouse=True)
def canary() -> Iterator[Canary]:
    """Watch what the package shows during a test; a secret in it makes the test fail."""
    canary = Canary()
    stop = canary.listen()
    with pytest.MonkeyPatch.context() as patch:
        canary.watch(patch)
        try:
            yield canary
        finally:
            stop()
    found = canary.found()
    canary.clear()
    assert not found, f"a secret showed in {found}"
