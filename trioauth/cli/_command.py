"""What ``python -m trioauth`` and the script ``trioauth`` do: read the command line, run it."""

from __future__ import annotations

import argparse
import importlib.util
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trioauth._version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

_INTERRUPTED = 130

_DESCRIPTION = """\
Run many tasks against a real server on this machine whose tokens live two seconds, cancel some at
random, take the token endpoint down, lose an answer, and at last revoke the login."""

_EPILOG = """\
Exit code: 0, all promises were kept; 1, one was broken; 2, something is not installed."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says, and return the exit code.

    0: all went well. 1: the demo found a broken promise. 2: the command line makes no sense, or
    something is not installed. 130: interrupted.
    """
    parser = argparse.ArgumentParser(
        prog="trioauth",
        description="An HTTP client session for trio programs that stays logged in.",
    )
    parser.add_argument("--version", action="version", version=f"trioauth {__version__}")
    _add_demo(parser.add_subparsers(dest="command", title="commands", metavar=""))
    options = vars(parser.parse_args(arguments))
    if options.pop("command") is None:
        parser.print_help()
        return 0
    for module, extra in (("rich", "testing"), ("hypercorn", "testing"), ("httpx2", "httpx2")):
        needed = module != "httpx2" or options["httpx2"]
        if needed and importlib.util.find_spec(module) is None:
            parser.exit(2, f'trioauth: the demo needs {module}: pip install "trioauth[{extra}]"\n')
    try:
        return _run_demo(**options)
    except KeyboardInterrupt:
        # It came before the demo had begun to listen, or after.
        return _INTERRUPTED


def _add_demo(commands: Any) -> None:
    demo = commands.add_parser(
        "demo",
        help="many tasks, one refresh, and everything that can go wrong",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    add: Any = demo.add_argument
    add("--tasks", type=_whole, default=200, metavar="N", help="how many (%(default)d)")
    add("--seconds", type=_number, default=15.0, metavar="S", help="how long (%(default)g)")
    add(
        "--lifetime",
        type=_number,
        default=2.0,
        metavar="S",
        help="of an access token (%(default)g)",
    )
    add("--httpx2", action="store_true", help="with a client of httpx2 instead of httpx")
    add("--timeline", type=Path, metavar="FILE.svg", help="draw what happened")
    add("--seed", type=int, metavar="N", help="of what is left to chance")


def _run_demo(*, timeline: Path | None, **options: Any) -> int:
    # This loads trio, httpx and more: not for --help.
    import logging

    import trio

    from ._demo.demo import Demo, run
    from ._demo.plan import carry_out
    from ._demo.report import checks
    from ._demo.view import tell, watch

    # What goes wrong is what the demo shows: the log is not to be written across it.
    logging.getLogger("trioauth").addHandler(logging.NullHandler())
    demo = Demo(**options)
    if not trio.run(run, demo, carry_out, watch):
        return _INTERRUPTED
    tell(demo)
    if timeline is not None:
        demo.timeline.save(timeline)
    return 0 if all(each.kept for each in checks(demo.counts)) else 1


def _whole(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {number}")
    return number


def _number(text: str) -> float:
    number = float(text)
    if not (math.isfinite(number) and number > 0):
        raise argparse.ArgumentTypeError(f"must be more than 0, not {text}")
    return number
