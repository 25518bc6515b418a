"""What the command line says: all of it on stderr, but for what a program asked for (P29)."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from trioauth.events import NotRevoked, NotSaved

if TYPE_CHECKING:
    from trioauth.events import Event


def say(text: str) -> None:
    """Write lines for a person, on stderr."""
    print(text, file=sys.stderr, flush=True)


def hand_out(text: str) -> None:
    """Write on stdout what another program asked for: nothing else ever goes there.

    Raises:
      BrokenPipeError: The reader has gone; then stdout is not touched any more.
    """
    try:
        # With "\n" on Windows, too: what reads it takes a "\r" for a part of the token.
        sys.stdout.flush()
        sys.stdout.buffer.write(f"{text}\n".encode())
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        # Or Python tries once more when it exits, and complains.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


def observe(event: Event) -> None:
    """Tell a person what did not go well, though the command goes on."""
    if isinstance(event, NotSaved | NotRevoked):
        say(f"trioauth: {event}")
