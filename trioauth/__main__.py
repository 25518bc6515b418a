"""``python -m trioauth``: the command line."""

from __future__ import annotations

import sys

from .cli.main import main

__all__ = ["main"]

if __name__ == "__main__":  # pragma: no branch  # imported by the script trioauth
    sys.exit(main())
