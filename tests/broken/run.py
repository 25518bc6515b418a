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

    from .variants import Variant

_PACKAGE = Path(trioauth.__file__).parent
_TESTS = Path(__file__).parents[1]

# A session in use, where nobody disturbs it: each variant passes it.
FAIR_WEATHER = "tests/test_broken.py::test_a_session_works_in_fair_weather"

# Far more than a test takes; one that hangs has noticed as well.
_PATIENCE = 120


def broken_sources(variant: Variant) -> dict[str, str]:
    """Return the files of the package that a variant changes, changed.

    Raises:
      LookupError: The code has moved on, and the variant must follow.
    """
    sources: dict[str, str] = {}
    for edit in variant.edits:
        source = sources.get(edit.file) or (_PACKAGE / edit.file).read_text(encoding="utf-8")
        if source.count(edit.old) != 1:
            raise LookupError(
                f"{variant.name!r}: {edit.file} has {source.count(edit.old)} places like "
                f"{edit.old!r}; change tests/broken/variants.py as the code was changed"
            )
        sources[edit.file] = source.replace(edit.old, edit.new)
    return sources


@contextmanager
def broken_copy(variant: Variant) -> Generator[Path, None, None]:
    """Make a folder in which the package is broken and the tests are as they are."""
    sources = broken_sources(variant)
    with TemporaryDirectory() as name:
        folder = Path(name)
        unwanted = shutil.ignore_patterns("__pycache__")
        shutil.copytree(_PACKAGE, folder / "trioauth", ignore=unwanted)
        for file, source in sources.items():
            (folder / "trioauth" / file).write_text(source, encoding="utf-8")
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
    if done.returncode > 1:
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
    return fails(folder, "tests.simulation", "--seeds", f"0:{worlds}", "--stop-at-first")
