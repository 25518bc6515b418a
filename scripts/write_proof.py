"""Write docs/proof.md: what was tried, how many cases, and what broke.

    python scripts/write_proof.py RECORD.jsonl WORLDS.json FLEET.json

`make proof` makes all three: a record with one JSON object a line (see tests/proof.py), what the
simulated worlds have covered, and the lines of the table of fleets.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "proof.md"
BEGIN, END = "<!-- make proof writes from here -->\n", "<!-- to here -->\n"
FLEET = "<!-- make proof writes the fleets here -->\n"


def rows(record: Path) -> list[tuple[str, int, int, str]]:
    """Add up what was recorded under the same name, in the order of first mention."""
    cases: dict[str, int] = {}
    violations: dict[str, int] = {}
    notes: dict[str, list[str]] = {}
    for line in record.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        what = entry["what"]
        cases[what] = cases.get(what, 0) + entry["cases"]
        violations[what] = violations.get(what, 0) + entry["violations"]
        noted = notes.setdefault(what, [])
        if entry["note"] and entry["note"] not in noted:
            noted.append(entry["note"])
    return [(what, cases[what], violations[what], "; ".join(notes[what])) for what in cases]


def table(record: Path) -> str:
    """Return the Markdown table."""
    lines = ["| what was tried | cases | violations | |", "| --- | ---: | ---: | --- |"]
    lines += [
        f"| {what} | {cases:,} | {violations:,} | {note} |"
        for what, cases, violations, note in rows(record)
    ]
    return "\n".join(lines) + "\n"


def covered(worlds: Path) -> str:
    """Return what the simulated worlds have covered, in groups, as one line each."""
    counts: dict[str, int] = json.loads(worlds.read_text(encoding="utf-8"))["covered"]
    groups: dict[str, list[str]] = {}
    for name, count in counts.items():
        group, colon, what = name.partition(":")
        key = group.strip() if colon else "in all"
        groups.setdefault(key, []).append(f"{(what or name).strip()} {count:,}")
    lines = ["", "What happened in the simulated worlds:", ""]
    lines += [f"- {group}: {', '.join(whats)}" for group, whats in groups.items()]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Replace the generated part of the page."""
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    record, worlds, fleet = map(Path, sys.argv[1:])
    generated = table(record) + covered(worlds)
    upper, _, rest = after.partition(FLEET)
    _, _, lower = rest.partition(END)
    lines: list[str] = json.loads(fleet.read_text(encoding="utf-8"))
    after = upper + FLEET + "\n".join(lines) + "\n" + END + lower
    PAGE.write_text(before + BEGIN + generated + END + after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
