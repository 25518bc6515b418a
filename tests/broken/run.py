"""Run a test, or some worlds, against a broken copy of the package."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import trioauth

if TYPE_CHECKING:
    from collections.abc import Generator

    from .variant import Variant

_PACKAGE = Path(trioauth.__file__).parent
_TESTS = Path(__file__).parents[1]

# A session in use, where nobody disturbs it: each variant passes it.
FAIR_WEATHER = "tests/test_broken.py::test_a_session_works_in_fair_weather"

# In seconds: far more than a test takes, or so many worlds. A run that hangs has noticed, too.
_PATIENCE = 60
_WORLDS_AT_A_TIME = 50


def broken_sources(variant: Variant) -> dict[Path, str]:
    """Return the modules that a variant changes, changed, by their paths in the package.

    Raises:
      LookupError: The code has moved on, and the variant must follow.
    """
    sources: dict[Path, str] = {}
    for edit in variant.edits:
        places = {
            path: source.count(edit.old)
            for path, source in _sources(edit.module, sources).items()
            if edit.old in source
        }
        if sum(places.values()) != 1:
            raise LookupError(
                f"{variant.name!r}: {sum(places.values())} places in modules called {edit.module} "
                f"are like {edit.old!r}; change tests/broken as the code was changed"
            )
        (path,) = places
        sources[path] = _sources(edit.module, sources)[path].replace(edit.old, edit.new)
    return sources


def _sources(module: str, changed: dict[Path, str]) -> dict[Path, str]:
    paths = [path.relative_to(_PACKAGE) for path in _PACKAGE.rglob("*.py")]
    return {
        path: changed.get(path) or (_PACKAGE / path).read_text(encoding="utf-8")
        for path in paths
        if path.stem.lstrip("_") == module
    }


@contextmanager
def broken_copy(variant: Variant) -> Generator[Path, None, None]:
    """Make a folder in which the package is broken and the tests are as they are."""
    sources = broken_sources(variant)
    with TemporaryDirectory() as name:
        folder = Path(name)
        unwanted = shutil.ignore_patterns("__pycache__")
        shutil.copytree(_PACKAGE, folder / "trioauth", ignore=unwanted)
        for path, source in sources.items():
            (folder / "trioauth" / path).write_text(source, encoding="utf-8")
        (folder / "tests").symlink_to(_TESTS)
        shutil.copy(_TESTS.parent / "pyproject.toml", folder)
        yield folder


def fails(folder: Path, *arguments: str) -> bool:
    """Say whether ``python -m ARGUMENTS`` fails in a folder, as a test does, not as a crash."""
    # Not what a run that measures coverage has set up for the processes it starts, nor the proof.
    meant_for_us = ("COVERAGE", "PROOF")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(meant_for_us)}
    command = [sys.executable, "-B", "-m", *arguments]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return True
    # A variant that leaves a scope of trio open ends the whole world.
    if "Cancel scope stack corrupted" in done.stderr:
        return True
    # A run that ends with a traceback has no report.
    if done.returncode > 1 or (done.returncode == 1 and not done.stdout):
        raise RuntimeError(f"{' '.join(command)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode == 1


def works_in_fair_weather(folder: Path) -> bool:
    """Say whether the mistake is one that a first look does not show."""
    return not fails(folder, "pytest", "-q", "-x", "-p", "no:cacheprovider", FAIR_WEATHER)


def test_catches(variant: Variant, folder: Path) -> bool:
    """Say whether the test that a variant names fails."""
    return fails(folder, "pytest", "-q", "-x", "-p", "no:cacheprovider", variant.caught_by)


def simulation_catches(folder: Path, worlds: int) -> bool:
    """Say whether some simulated worlds show it."""
    for start in range(0, worlds, _WORLDS_AT_A_TIME):
        seeds = f"{start}:{min(worlds, start + _WORLDS_AT_A_TIME)}"
        if fails(folder, "tests.simulation", "--seeds", seeds, "--stop-at-first"):
            return True
    return False
