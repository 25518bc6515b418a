"""Say what got worse since the committed figures: ``python benchmarks/check.py [NEW.json]``.

Only what means the same on every machine is compared: ratios and counts. A ratio is worse if even
the lower end of its interval lies above the upper end of the committed one, by a hundredth at
least; a count is worse if it is greater. It needs nothing but Python. Exits with 1 if
anything is worse.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
_SLACK = 1.01


def main() -> int:
    """Compare, print, and return how to exit."""
    new_path = Path(sys.argv[1]) if len(sys.argv) > 1 else _HERE / "last.json"
    new, old = _guarded(new_path), _guarded(_HERE / "results.json")
    worse = better = missing = 0
    for key, before in old.items():
        now = new.get(key)
        if now is None or now["value"] is None:
            missing += 1
            continue
        if _above(now, before):
            worse += 1
            sys.stdout.write(f"worse   {_words(key)}: {_shown(before)} -> {_shown(now)}\n")
        elif _above(before, now):
            better += 1
            sys.stdout.write(f"better  {_words(key)}: {_shown(before)} -> {_shown(now)}\n")
    same = len(old) - worse - better - missing
    sys.stdout.write(
        f"{worse} worse, {better} better, {same} the same within the noise, "
        f"{missing} not measured in {new_path}\n"
    )
    return 1 if worse else 0


def _guarded(path: Path) -> dict[tuple[str, ...], dict[str, Any]]:
    figures = json.loads(path.read_text())["figures"]
    return {
        (figure["case"], figure["side"], figure["what"]): figure
        for figure in figures
        # What peers do is not ours to guard.
        if figure["guard"] and figure["value"] is not None and _ours(figure["side"])
    }


def _ours(side: str) -> bool:
    return side.startswith(("trioauth", "FileStore", "await token", "token_nowait"))


def _above(one: dict[str, Any], other: dict[str, Any]) -> bool:
    if one["low"] is None or other["high"] is None:
        return bool(one["value"] > other["value"])
    return bool(one["low"] > other["high"] * _SLACK)


def _words(key: tuple[str, ...]) -> str:
    return ", ".join(key)


def _shown(figure: dict[str, Any]) -> str:
    if figure["low"] is None:
        return f"{figure['value']:g}"
    return f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"


if __name__ == "__main__":
    sys.exit(main())
