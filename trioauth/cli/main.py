"""What ``python -m trioauth`` and the script ``trioauth`` do: read the command line, run it."""

from __future__ import annotations

import argparse
import logging
import sys
from typing import TYPE_CHECKING, Any

import trio

from trioauth._signals import cancel_on_sigterm
from trioauth._version import __version__

from .exits import DONE, EPILOG, FAILED, TERMINATED, judge
from .login import add_login
from .logout import add_logout
from .profiles import add_profiles
from .speaking import say
from .status import add_status
from .token import add_token

if TYPE_CHECKING:
    from collections.abc import Sequence

_DESCRIPTION = """\
An HTTP client session for trio programs that stays logged in. On the command line: log in once,
and hand the token to other programs. Only what they ask for goes to stdout, all else to stderr."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says, and return the exit code; see `exits`."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if words[:1] == ["demo"]:
        # It reads its own, and needs packages that the others do not.
        from ._command import main as demo

        return demo(words)
    options = _parser().parse_args(words)
    if options.command is None:
        _parser().print_help()
        return DONE
    if options.verbose:
        logging.basicConfig(stream=sys.stderr, level=logging.DEBUG, format="%(message)s")
        logging.getLogger("trioauth").setLevel(logging.DEBUG)
        logging.getLogger().setLevel(logging.WARNING)
    else:
        # What goes wrong is said below, once.
        logging.getLogger("trioauth").addHandler(logging.NullHandler())
    return _carry_out(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="trioauth", description=_DESCRIPTION, epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"trioauth {__version__}")
    parser.add_argument("-v", "--verbose", action="store_true", help="tell what happens")
    commands: Any = parser.add_subparsers(dest="command", title="commands", metavar="")
    add_login(commands)
    add_token(commands)
    add_status(commands)
    add_logout(commands)
    add_profiles(commands)
    commands.add_parser("demo", help="many tasks, one refresh, and everything that can go wrong")
    return parser


def _carry_out(options: argparse.Namespace) -> int:
    try:
        return trio.run(_run, options)
    except BrokenPipeError:
        return FAILED
    except BaseException as exc:  # noqa: ASYNC103  # outside trio: nothing is cancelled any more
        judged = judge(exc)
        if judged is None:
            raise
        code, words = judged
    if words:
        say(f"trioauth: {words}")
    return code


async def _run(options: argparse.Namespace) -> int:
    """Run a command.

    Cancellation:
      As the command.

    Raises:
      Exception: What the command raises.
    """
    with cancel_on_sigterm():
        code: int = await options.run(options)
        return code
    return TERMINATED
