"""List what the OpenID conformance suite asks of a client, and what we do, in docs/conformance.md.

python scripts/list_conformance.py          write it
python scripts/list_conformance.py --check  exit with 1 if it is stale
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "conformance.md"

if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from tests.oauth.conformance import ELSEWHERE, LEFT_OUT, PARTS, ROWS, Row  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Sequence

_INTRODUCTION = """\
# Conformance

<!-- Made by scripts/list_conformance.py; `make check` says when it is stale. -->

The OpenID Foundation has a suite that plays a server which does one thing wrong, and passes a
client that makes no further call. It was not run against this library, and nothing here is
certified. This is what it asks of a client with the authorization code flow, told in our own words,
and what this library does: in each test a server does that, and the test looks at the error, at the
claim that it names, and that no further request came
([test_conformance.py](../tests/oauth/test_conformance.py)). Rows named "ours" go further than the
suite.

ID tokens are validated with the extra `jose`, if `openid` is in the scope. A refusal at a log-in
leaves the session as it was. A refusal after a refresh leaves the old tokens in use, and the new
refresh token is kept to go on with. There is one exception: if the ID token names another person,
or another issuer, the login is over, because the new refresh token would keep that person's login.
"""


def page() -> str:
    """Return the whole page."""
    lines = [_INTRODUCTION]
    for part, title in PARTS.items():
        lines += [
            f"## {title}",
            "",
            "| module | what the server does | what we do |",
            "| --- | --- | --- |",
        ]
        for row in ROWS:
            if row.part == part:
                lines.append(f"| {row.module} | {row.does} | {_outcome(row)} |")
        for other in ELSEWHERE:
            if other.part == part:
                names = [_words(name) for name in other.tests]
                lines.append(f"| {other.module} | {other.does} | {'; '.join(names)} |")
        for left in LEFT_OUT:
            if left.part == part:
                lines.append(f"| {left.module} | | not tested: {left.why} |")
        lines.append("")
    return "\n".join(lines)


def _outcome(row: Row) -> str:
    if row.error is None:
        return "accept"
    names = "" if row.claim is None else f", `{row.claim}`"
    return f"`{row.error}`{names}" + ("; the login is over" if row.ends else "")


def _words(test: str) -> str:
    return test.removeprefix("test_").replace("_", " ")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, or check it."""
    parser = argparse.ArgumentParser(description="List what the conformance suite asks.")
    parser.add_argument("--check", action="store_true", help="exit with 1 if the page is stale")
    if not parser.parse_args(arguments).check:
        PAGE.write_text(page(), encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page():
        sys.stderr.write(f"{PAGE.name} is stale; run: python scripts/list_conformance.py\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
