"""The pages that a browser gets at the end of a log-in (pure).

They load nothing, run nothing, and tell no other site where they were: the address of the page has
the code in it (RFC 9700 4.2.4). Each value in them is escaped.
"""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import Final, final

import attrs

from trioauth._errors import printable

_STYLE: Final = (
    ":root{color-scheme:light dark}"
    "body{font:1.1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:18vh auto 0;padding:0 1.5rem}"
    "h1{font-size:1.5rem}"
    "p{margin:.6rem 0}"
    "small{opacity:.7}"
)
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

# "data:" is for the empty icon: without it a browser asks for /favicon.ico.
_POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

HEADERS: Final = (
    ("Content-Type", "text/html; charset=utf-8"),
    ("Cache-Control", "no-store"),
    ("Referrer-Policy", "no-referrer"),
    ("Content-Security-Policy", _POLICY),
    ("X-Content-Type-Options", "nosniff"),
)
"""What goes with each page."""


@final
@attrs.frozen
class Page:
    """A page, before it is HTML."""

    status: int
    title: str
    lines: tuple[str, ...]

    def render(self, program: str) -> bytes:
        """Return the HTML.

        Args:
          program: What the person knows the program by.
        """
        title, program = escape(self.title), escape(printable(program))
        lines = "".join(f"<p>{escape(line)}</p>" for line in self.lines)
        return (
            '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width">'
            '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
            f"<title>{title} - {program}</title><style>{_STYLE}</style></head>"
            f"<body><h1>{title}</h1>{lines}<p><small>{program}</small></p></body></html>"
        ).encode()


SUCCEEDED: Final = Page(
    200,
    "You are logged in",
    ("You can close this tab and go back to the program.",),
)
RECEIVED: Final = Page(
    200,
    "Almost done",
    ("The program has the server's answer. Go back to it to see how the log-in ends.",),
)
PREFETCHED: Final = Page(204, "", ())
NOT_FOUND: Final = Page(404, "There is nothing here", ("This port only waits for a log-in.",))


def failed(what: str, description: str | None = None) -> Page:
    """Say that a log-in has failed, and why."""
    return Page(
        400,
        "You are not logged in",
        (
            ": ".join(filter(None, (printable(what), description and printable(description)))),
            "You can close this tab and go back to the program.",
        ),
    )


def not_accepted(why: str) -> Page:
    """Say that this was not the callback of the log-in, which waits on."""
    return Page(
        400,
        "This answer was not accepted",
        (
            f"What was wrong with it: {printable(why)}.",
            "The program still waits for the log-in that it began.",
            "If you began none, close this tab.",
        ),
    )


def refused(status: int, why: str) -> Page:
    """Say what is wrong with a request, of whatever kind."""
    return Page(status, "This request can't be answered", (f"{printable(why)}.",))
