"""Figures: what was measured, what was aimed at; as a table and as JSON."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import attrs

import trioauth

from ._measure import Spread
from ._sides import PEERS

if TYPE_CHECKING:
    from collections.abc import Mapping

Unit: TypeAlias = Literal["times", "µs", "ms", "s", "B", "KB", ""]
"""None at all: a count."""
Effort: TypeAlias = Literal["full", "quick", "count"]
"""All rounds; a tenth of them; or one small round of each case, without the peers, for what it
counts: that is what the tests run."""
Side: TypeAlias = str

_PACKAGES = (
    "trio", "httpx", "httpcore", "httpx2", "httpcore2", "anyio", "attrs", "filelock",
    "authlib", "mcp", "azure-core", "httpx-auth",
)  # fmt: skip


@attrs.frozen
class Figure:
    """One measured value."""

    case: str
    side: Side
    what: str
    value: float | None
    """None: that side can't do it, or did not end; ``note`` says why."""
    unit: Unit = ""
    low: float | None = None
    high: float | None = None
    aim: float | None = None
    """At most this."""
    guard: bool = False
    """Whether `check.py` should see it get worse: it means the same on every machine."""
    note: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """Return what no other figure is."""
        return self.case, self.side, self.what

    @property
    def is_count(self) -> bool:
        """Whether it is a count with an aim: it must be met on every machine, each time."""
        return self.aim is not None and not self.unit

    @property
    def met(self) -> bool | None:
        """Whether the aim is met; None if there is none."""
        return None if self.aim is None or self.value is None else self.value <= self.aim

    @property
    def verdict(self) -> str:
        """Say it in a word or a few."""
        if self.aim is None or self.met is None:
            return ""
        if not self.met and self.low is not None and self.low <= self.aim:
            return "missed within the noise"
        return "met" if self.met else "missed"

    def shown(self) -> str:
        """Write the value with its unit and its interval."""
        if self.value is None:
            return "-"
        text = with_unit(self.value, self.unit)
        if self.low is not None and self.high is not None:
            text += f" ({plain(self.low)} to {plain(self.high)})"
        return text

    def shown_aim(self) -> str:
        """Write the aim with its unit."""
        return "" if self.aim is None else f"at most {with_unit(self.aim, self.unit)}"


def plain(value: float) -> str:
    """Write a number with as many digits as one wants to read."""
    if value == round(value) and abs(value) < 1e9:
        return f"{value:,.0f}"
    size = abs(value)
    decimals = 0 if size >= 1000 else 1 if size >= 100 else 2 if size >= 10 else 3
    return f"{value:,.{decimals}f}"


def with_unit(value: float, unit: str) -> str:
    """Write a number and its unit."""
    return f"{plain(value)} {unit}".strip()


@attrs.define
class Report:
    """All that a run finds out."""

    effort: Effort = "full"
    figures: list[Figure] = attrs.field(factory=list)
    series: dict[str, dict[str, list[tuple[float, float]]]] = attrs.field(factory=dict)
    """For the charts of growth: chart, side, points."""

    def rounds(self, usual: int) -> int:
        """Return how many rounds to measure."""
        return {"full": usual, "quick": max(3, usual // 10), "count": 1}[self.effort]

    def sizes(self, usual: Mapping[int, int], *, quick: int) -> dict[int, int]:
        """Choose among sizes, each with its rounds: all, the first few, or the first."""
        count = {"full": len(usual), "quick": quick, "count": 1}[self.effort]
        return {size: self.rounds(rounds) for size, rounds in list(usual.items())[:count]}

    def sides(self, *names: Side) -> list[Side]:
        """Leave out the peers where only counting is wanted: they need not be installed."""
        return [name for name in names if self.effort != "count" or name not in PEERS]

    def add(
        self, case: str, side: Side, what: str, value: Spread | float | None, **rest: Any
    ) -> None:
        """Take in a value, and say it at once."""
        if isinstance(value, Spread):
            rest |= {"low": value.low, "high": value.high}
            value = value.median
        figure = Figure(case, side, what, value, **rest)
        self.figures.append(figure)
        say(line(figure))

    def ratio(self, case: str, side: Side, what: str, value: Spread, **rest: Any) -> None:
        """Take in a ratio: of those `check.py` keeps watch."""
        self.add(case, side, what, value, unit="times", guard=True, **rest)

    def count(self, case: str, side: Side, what: str, value: float, **rest: Any) -> None:
        """Take in a number that must be exactly the same everywhere."""
        self.add(case, side, what, value, guard=True, **rest)

    def cannot(self, case: str, side: Side, why: str) -> None:
        """Take in that a side can't do it."""
        self.add(case, side, "", None, note=why)

    def point(self, chart: str, side: Side, x: float, y: float) -> None:
        """Take in a point of a chart of growth."""
        self.series.setdefault(chart, {}).setdefault(side, []).append((x, y))

    def write(self, path: Path) -> None:
        """Write all of it as JSON."""
        content = {
            "machine": machine(),
            "versions": versions(),
            "effort": self.effort,
            "figures": [attrs.asdict(figure) for figure in self.figures],
            "series": self.series,
        }
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def line(figure: Figure) -> str:
    """Write a figure as a line of the table."""
    what = figure.what or "can't:"
    value = figure.shown() if figure.value is not None else figure.note
    aim = f"  [{figure.shown_aim()}: {figure.verdict}]" if figure.aim is not None else ""
    return f"{figure.case:<12} {figure.side:<24} {what:<44} {value}{aim}"


def load(path: Path) -> dict[str, Any]:
    """Read what `Report.write` has written; the figures as figures."""
    content: dict[str, Any] = json.loads(path.read_text())
    content["figures"] = [Figure(**figure) for figure in content["figures"]]
    return content


def machine() -> dict[str, str]:
    """Say what this was measured on."""
    model = platform.machine()
    details = Path("/proc/cpuinfo")
    for row in details.read_text().splitlines() if details.exists() else ():
        if row.startswith("model name"):
            model = row.partition(":")[2].strip()
            break
    return {
        "cpu": model,
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def versions() -> dict[str, str]:
    """Say which packages were measured."""
    # Of the folder that is measured, which need not be the one that is installed.
    found = {"trioauth": trioauth.__version__}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def say(text: str) -> None:
    """Print a line now."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
