"""``python -m trioauth``: the demo."""

from __future__ import annotations

import argparse
import importlib.util
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says, and return the exit code.

    0: all went well. 1: the demo found a broken promise. 2: the command line makes no sense, or
    something is not installed. 130: interrupted.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 0
    try:
        _check_installed(options.httpx2)
        return _demo(options)
    except ImportError as exc:
        parser.exit(2, f"trioauth: {exc}\n")
    except KeyboardInterrupt:
        # It came before the demo had begun to listen.
        return _INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="trioauth",
        description="An HTTP client session for trio programs that stays logged in.",
    )
    parser.add_argument("--version", action="version", version=f"trioauth {__version__}")
    commands = parser.add_subparsers(dest="command", title="commands", metavar="")
    demo = commands.add_parser(
        "demo",
        help="many tasks, one refresh, and everything that can go wrong",
        description="Run many tasks against a real server on this machine whose tokens live two "
        "seconds, cancel some at random, take the token endpoint down, lose an answer, and at "
        "last revoke the login. Exits with 1 if a promise was broken.",
    )
    add: Any = demo.add_argument
    add("--tasks", type=_whole, default=200, metavar="N", help="how many (200)")
    add("--seconds", type=_seconds, default=15.0, metavar="S", help="how long (15)")
    add("--lifetime", type=_seconds, default=2.0, metavar="S", help="of an access token (2)")
    add("--httpx2", action="store_true", help="with a client of httpx2 instead of httpx")
    add("--timeline", type=Path, metavar="FILE.svg", help="draw what happened")
    add("--seed", type=int, metavar="N", help="of what is left to chance")
    return parser


def _whole(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {number}")
    return number


def _seconds(text: str) -> float:
    seconds = float(text)
    if not (math.isfinite(seconds) and seconds > 0):
        raise argparse.ArgumentTypeError(f"must be more than 0 seconds, not {text}")
    return seconds


def _check_installed(httpx2: bool) -> None:  # noqa: FBT001  # named as the option
    needed = {"hypercorn": "testing", "rich": "testing"} | ({"httpx2": "httpx2"} if httpx2 else {})
    for module, extra in needed.items():
        if importlib.util.find_spec(module) is None:
            raise ImportError(f'the demo needs {module}: pip install "trioauth[{extra}]"')


def _demo(options: argparse.Namespace) -> int:
    # Not loaded for --help.
    import logging

    import trio

    from ._demo import Options, run
    from ._demo_report import kept
    from ._demo_view import tell, watch

    # What goes wrong is the show: it is not to be written across it.
    logging.getLogger("trioauth").addHandler(logging.NullHandler())
    chosen = {name: value for name, value in vars(options).items() if name != "command"}
    result = trio.run(run, Options(**chosen), watch)
    if result is None:
        return _INTERRUPTED
    tell(result)
    return 0 if kept(result) else 1


if __name__ == "__main__":
    sys.exit(main())
