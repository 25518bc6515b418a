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
        "the clock or by a 401, in however many processes share the store.",
        2: "A late 401, for tokens that were already replaced, never refreshes: the request is "
        "sent again with the current ones.",
        3: "While tokens are known to be bad, no request is sent with them; new requests wait.",
        4: "A request is authenticated at most twice; a third time only if the second token was "
        "adopted from the store and not renewed, or if `settle` says so. It is sent again only if "
        "its body can be. What is sent again is the request that was refused. The refreshes that "
        "401s cause are bounded, whatever the API and its callers do: after `max_futile` of them "
        "without a sign that they helped, an origin and path is refreshed for once per pause, and "
        "no pause is longer than five minutes. `reject()` is bounded in the same way.",
        5: "A refresh token is presented once. If its answer was lost, the same flight presents it "
        "at most twice more, within ten seconds, under the same lock, after looking in the store. "
        "After that all who share the store leave it alone for a pause that grows from ten seconds "
        "to five minutes, and then present it once. If it is refused after an answer was lost, the "
        "error says that an answer was lost.",
    },
    "Cancellation": {
        6: "Cancelling any task neither stops nor delays the refresh, and the cancelled task "
        "leaves at once.",
        7: "Rotated tokens are in the store before any task wakes up with them; also those of an "
        "answer that is otherwise of no use.",
        8: "A refresh in the air when the session is left, by a signal, too, gets `close_grace` "
        "seconds to land and be stored. Then it is cancelled, and nothing is left running. What "
        "could not be stored is said at the end, in the log and as an event.",
        9: "The auth flow holds nothing while a request is out: httpx may drop it anywhere.",
        10: "A 401 that is acted on is read or closed, bounded, before its request waits, and the "
        "refresh that it causes starts first. The token endpoint has a pool of its own: waiting "
        "requests don't starve the refresh they wait for.",
    },
    "Logged out": {
        11: "When the login ends, every waiting task gets its own `LoggedOutError` from one cause, "
        "later requests get it at once, and observers are told before any task wakes. A session "
        "without a login looks into a shared store when it is asked, at most once a second, and "
        "adopts a login that was made elsewhere. Cookies of an ended login are dropped, and none "
        "is taken in later; configured ones stay.",
        12: "Tasks in `session.open_nursery()` live exactly as long as the login.",
        13: "A request belongs to the login that there was when the program built it, whatever it "
        "waited for since. It is never sent with the tokens of another.",
        14: "A network fault, a 5xx, a 429, a captive portal, an empty 400, or JSON without tokens "
        "and without a known refusal ends no login.",
    },
    "Where a token goes": {
        15: "Only to the origins it was given for, never over plain http but to loopback, and then "
        "never through a proxy; never to a redirect's foreign target. A record in a store says "
        "whose it is, and is used for no other client.",
        16: "The token endpoint's client follows no redirect, reads one megabyte at most, "
        "compressed or not, and asks for no compression.",
        17: "No secret shows in a `repr`, log line, event, exception, traceback or pickle.",
    },
    "Manners": {
        18: "With a fresh token a request costs no lock, no await and no checkpoint of ours.",
        19: "An exception from the `async with` block comes out as itself.",
        20: "Nothing waits for ever. One deadline bounds a refresh with its retries and the store, "
        "whatever the grant does, and counts time awake. Waiting for a connection is bounded, too, "
        "unless the program says `pool=None`.",
        21: "Control-C, wherever it comes, and whatever a program's callback raises (`SystemExit` "
        "included), leaves no flight without an owner and no task waiting for one for ever.",
        22: "Misuse across sessions, threads and runs is one clear error: a client signed by two "
        "open sessions, or a session used from another thread or another run of trio.",
    },
    "Many logins": {
        30: "Keys are isolated. A request of one key never carries a token, cookie, header or "
        "pending log-in of another key.",
        33: "An idle login costs only its record: no task, no client, no TLS context, no timer.",
        34: "No operation costs more because there are more logins. Nothing looks through all of "
        "them, in memory or in a store, except closing.",
    },
    # P26, and the proofs in P27, are about sender-constrained tokens, which are not there yet.
    "Logging in": {
        23: "Nothing is asked of a person before everything else is ready: the store has been "
        "proven writable, the server's endpoints are known, and the redirect port is bound.",
        24: "A log-in cleans up after itself, whether it succeeds, fails or is cancelled at any "
        "checkpoint: no open port, no task, no temporary file and no partial login is left.",
        25: "Exactly one callback completes a log-in: the exact path, the right `state`, the right "
        "`iss`, once. Every other request to the port gets an answer or a timeout, and changes "
        "nothing.",
        27: "Each client assertion is used once: every attempt has a new `jti`.",
        28: "An ID token is used only after validation: issuer, audience, `azp`, times, nonce, "
        "algorithm and signature. On refresh it must name the same subject.",
    },
    "The command line": {
        29: "The command line writes a token to stdout, alone, and only when asked. What is for "
        "people goes to stderr.",
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
    failed = False
    if untested := sorted(known - tests().keys()):
        sys.stderr.write(f"no test bears the number of these promises: {untested}\n")
        failed = True
    if not check:
        PAGE.write_text(page(), encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page():
        sys.stderr.write(f"{PAGE.name} is stale; run: python scripts/list_promises.py\n")
        failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
