"""How long the proof takes, and what goes into its table.

`make test` tries a little of everything, `make proof` a lot (``PROOF=1``). Both run the
same tests. Each says how many cases it tried; with ``PROOF_RECORD=FILE`` this is kept
there, one JSON object a line, for ``scripts/write_proof.py``.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

LONG = os.environ.get("PROOF") == "1"


def record(what: str, *, cases: int, violations: int = 0, note: str = "") -> None:
    """Keep what was tried, for the table."""
    path = os.environ.get("PROOF_RECORD")
    if path:
        row = {"what": what, "cases": cases, "violations": violations, "note": note}
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
