"""Check that CHANGELOG.md has the form of Keep a Changelog and fits the package.

Exit status 1, with a line for each mistake, if it does not. What is checked:

1. "Unreleased" comes first, once; then the versions, newest first, each with its day.
2. The newest version is that of trioauth/_version.py.
3. Each version says what was added, changed, ..., in the six words for it, and says something.
4. A link inside the repository leads to a file that is there.
"""

from __future__ import annotations

import datetime as dt
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
KINDS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")

_VERSION = re.compile(r"\[(\d+)\.(\d+)\.(\d+)\] - (\S+)")
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def mistakes(text: str, version: str) -> Iterator[str]:
    """Say what is wrong with a changelog.

    Args:
      text: All of it.
      version: Of the package.
    """
    if not text.startswith("# Changelog\n"):
        yield "line 1: the title is not '# Changelog'"
    sections = _sections(text, "## ")
    titles = [title for _, title, _ in sections]
    if titles[:1] != ["[Unreleased]"] or titles.count("[Unreleased]") > 1:
        yield "'## [Unreleased]' does not come first, or comes more than once"
    yield from _wrong_versions(sections, version)
    for number, title, body in sections:
        yield from _wrong_entries(number, title, body)
    for number, line in enumerate(text.splitlines(), 1):
        for target in _LINK.findall(line):
            path, _, _ = target.partition("#")
            if not target.startswith("https://") and not (ROOT / path).exists():
                yield f"line {number}: {target} is neither a file here nor an https address"


def _sections(text: str, mark: str) -> list[tuple[int, str, str]]:
    """Cut a text at its headings: the number of the heading's line, the heading, what follows."""
    found: list[tuple[int, str, str]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith(mark):
            found.append((number, line.removeprefix(mark), ""))
        elif found:
            start, title, body = found[-1]
            found[-1] = start, title, f"{body}{line}\n"
    return found


def _wrong_versions(sections: list[tuple[int, str, str]], version: str) -> Iterator[str]:
    released: list[tuple[tuple[int, ...], dt.date]] = []
    for number, title, _ in sections:
        if title == "[Unreleased]":
            continue
        match = _VERSION.fullmatch(title)
        if match is None:
            yield f"line {number}: {title!r} is not like '[1.2.3] - 2026-01-31'"
            continue
        try:
            day = dt.date.fromisoformat(match[4])
        except ValueError:
            yield f"line {number}: {match[4]} is not a day of the calendar"
            continue
        released.append((tuple(map(int, match.group(1, 2, 3))), day))
    numbers = [each for each, _ in released]
    days = [day for _, day in released]
    if numbers != sorted(set(numbers), reverse=True) or days != sorted(days, reverse=True):
        yield "the versions do not stand newest first, each once"
    newest = ".".join(map(str, numbers[0])) if numbers else "none"
    if newest != version:
        yield f"the newest version is {newest}, but trioauth/_version.py says {version}"


def _wrong_entries(number: int, title: str, body: str) -> Iterator[str]:
    """Look at one version; `number` is the line of its heading."""
    kinds = _sections(body, "### ")
    if not kinds and title != "[Unreleased]":
        yield f"line {number}: {title} says nothing"
    names: set[str] = set()
    for offset, kind, entries in kinds:
        line = number + offset
        if kind not in KINDS:
            yield f"line {line}: {kind!r} is none of {', '.join(KINDS)}"
        if kind in names:
            yield f"line {line}: {title} has {kind!r} more than once"
        names.add(kind)
        if not entries.strip():
            yield f"line {line}: {kind!r} of {title} says nothing"
        for after, entry in enumerate(entries.splitlines(), 1):
            if entry and not entry.startswith(("- ", "  ")):
                yield f"line {line + after}: neither an entry ('- ...') nor its next line"


def main() -> int:
    """Print the mistakes."""
    source = (ROOT / "trioauth" / "_version.py").read_text("utf-8")
    match = re.search(r'^__version__ = "(.+)"$', source, re.MULTILINE)
    assert match is not None
    found = list(mistakes((ROOT / "CHANGELOG.md").read_text("utf-8"), match[1]))
    sys.stderr.writelines(f"CHANGELOG.md: {mistake}\n" for mistake in found)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
