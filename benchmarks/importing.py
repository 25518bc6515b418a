"""What `import trioauth` takes, in interpreters of their own, from bytecode as usual."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from ._measure import Times
from ._server import ROOT

if TYPE_CHECKING:
    from ._report import Report

_PROGRAM = """
import time
{first}
started = time.process_time()
{second}
print(time.process_time() - started)
"""
_SIDES = {
    "trio, httpx": ("", "import trio, httpx"),
    "trioauth": ("", "import trioauth"),
    "httpx alone": ("import trio", "import httpx"),
    "httpx2 alone": ("import trio", "import httpx2"),
    "trioauth after trio, httpx": ("import trio, httpx", "import trioauth"),
}


def run(report: Report) -> None:
    """Measure it: CPU time, so that other programs on the machine count for little."""
    with TemporaryDirectory() as folder:
        rounds = _measured(report.rounds(20), folder, warm=report.effort != "count")
    times = Times(rounds)
    for name in _SIDES:
        report.add("import", name, "import", times.of(name).scaled(1e3), unit="ms")
    added = times.added("trioauth", "trio, httpx").scaled(1e3)
    what = "import trioauth over import trio, httpx"
    report.add("import", "trioauth", what, added, unit="ms", aim=30)
    report.ratio(
        "import", "trioauth", "time over import trio, httpx", times.ratio("trioauth", "trio, httpx")
    )


def _measured(rounds: int, folder: str, *, warm: bool) -> dict[str, list[float]]:
    order, shuffle = list(_SIDES), random.Random(0).shuffle  # noqa: S311  # no secret
    seconds: dict[str, list[float]] = {name: [] for name in order}
    # Bytecode of its own: an installed package has it, whatever this environment says.
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": folder}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    for number in range(0 if warm else 1, rounds + 1):
        shuffle(order)
        for name in order:
            first, second = _SIDES[name]
            done = subprocess.run(  # noqa: S603
                [sys.executable, "-c", _PROGRAM.format(first=first, second=second)],
                capture_output=True,
                text=True,
                check=True,
                env=environment,
                cwd=ROOT,
            )
            # The first round writes the bytecode.
            if number:
                seconds[name].append(float(done.stdout))
    return seconds
