"""List the promises and the tests that bear their numbers in docs/promises.md.

python scripts/list_promises.py          write it
python scripts/list_promises.py --check  exit with 1 if it is stale, or a promise has no test
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "promises.md"

PROMISES = {
    "One refresh": {
        1: "There is at most one refresh per generation of tokens, however many tasks need it, by "
        "the clock or by a 401.",
        2: "A late 401, for tokens that were replaced meanwhile, never refreshes: the request is "
        "sent again with the current ones.",
        3: "While tokens are known to be bad, no request is sent with them; new requests wait.",
        4: "A request is authenticated at most twice, and sent again only if its body can be. "
        "What is sent again is the request that was refused. An API that answers 401 whatever the "
        "token causes a bounded number of refreshes.",
        5: "A refresh token is presented once. If the answer was lost, a refresh presents it at "
        "most twice more, within ten seconds, under the same lock, after looking in the store.",
    },
    "Cancellation": {
        6: "Cancelling any task neither stops nor delays the refresh, and the cancelled task "
        "leaves at once.",
        7: "Rotated tokens are in the store before any task wakes up with them.",
        8: "A refresh in the air when the session is left gets `close_grace` seconds to land and "
        "be stored. Then it is cancelled, and nothing is left running.",
        9: "The auth flow holds nothing while a request is out: httpx may drop it anywhere.",
        10: "A 401 that is acted on is read before its request waits, and the token endpoint has a "
        "pool of its own: waiting requests don't starve the refresh they wait for.",
    },
    "Logged out": {
        11: "When the login ends, every waiting task gets its own `LoggedOutError` from one cause, "
        "later requests get it at once, and observers are told before anybody wakes.",
        12: "Tasks in `session.open_nursery()` live exactly as long as the login.",
        13: "A request of one login is never sent with the tokens of another.",
        14: "A network fault, a 5xx, a 429 or a captive portal logs nobody out.",
    },
    "Where a token goes": {
        15: "Only to the origins it was given for, never over plain http but to loopback, never to "
        "a redirect's foreign target.",
        16: "The token endpoint's client follows no redirect, caps what it reads, and asks for no "
        "compression.",
        17: "No secret shows in a `repr`, log line, event, exception, traceback or pickle.",
    },
    "Manners": {
        18: "With a fresh token a request costs no lock, no await and no checkpoint of ours.",
        19: "An exception from the `async with` block comes out as itself.",
        20: "Nothing waits for ever: one deadline bounds a refresh with its retries and the store.",
    },
}

_TEST = re.compile(r"^(?:async )?def (test_p(\d\d)_\w+)", re.MULTILINE)


def tests() -> dict[int, list[tuple[str, str]]]:
    """Return the tests of each promise: file and name."""
    found: dict[int, list[tuple[str, str]]] = {}
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        if "node_modules" in file.parts:
            continue
        for name, number in _TEST.findall(file.read_text(encoding="utf-8")):
            found.setdefault(int(number), []).append((file.relative_to(ROOT).as_posix(), name))
    return found


def page() -> str:
    """Return the whole page."""
    found = tests()
    lines = [
        "# Promises",
        "",
        "<!-- Made by scripts/list_promises.py; `make check` says when it is stale. -->",
        "",
        "What the library promises, and the tests that bear a promise's number.",
    ]
    for heading, promises in PROMISES.items():
        lines += ["", f"## {heading}"]
        for number, text in promises.items():
            lines += ["", f"**P{number}.** {text}", ""]
            for file, name in found.get(number, []):
                words = name.split("_", 2)[2].replace("_", " ")
                lines.append(f"- {words} ([{file}](../{file}))")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the page, or check it."""
    parser = argparse.ArgumentParser(description="List the promises and their tests.")
    parser.add_argument("--check", action="store_true", help="exit with 1 if the page is stale")
    check = parser.parse_args().check
    known = {number for promises in PROMISES.values() for number in promises}
    if untested := sorted(known - tests().keys()):
        sys.stderr.write(f"no test bears the number of these promises: {untested}\n")
        return 1
    if not check:
        PAGE.write_text(page(), encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page():
        sys.stderr.write(f"{PAGE.name} is stale; run: python scripts/list_promises.py\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
