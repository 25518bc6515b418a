"""What ``python -m trioauth`` and the script ``trioauth`` do: read the command line, run it."""

from __future__ import annotations

import argparse
import importlib.util
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trioauth._version import __version__

from .exits import DONE, FAILED, INTERRUPTED, NOT_LOGGED_IN, TERMINATED, TRY_LATER, USAGE, judge
from .speaking import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._demo.show import Plan, Show

_DESCRIPTION = """\
Run many tasks against a real server on this machine whose tokens live two seconds, cancel some at
random, take the token endpoint down, lose an answer, and at last revoke the login. With --profile
run them with your own login against your own API: one refresh is spent, and nothing is revoked."""

_EPILOG = """\
Exit code: 0, all promises were kept; 1, one was broken, or it failed; 2, the command line makes no
sense, or something is not installed; 3, not logged in; 4, the server can't be asked now: try
later; 130, interrupted."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says, and return the exit code; see `exits`."""
    parser = argparse.ArgumentParser(
        prog="trioauth",
        description="An HTTP client session for trio programs that stays logged in.",
    )
    parser.add_argument("--version", action="version", version=f"trioauth {__version__}")
    _add_demo(parser.add_subparsers(dest="command", title="commands", metavar=""))
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return DONE
    if (problem := _problem(options)) is not None:
        say(f"trioauth: {problem}")
        return USAGE
    try:
        return _run_demo(options)
    except BaseException as exc:  # noqa: ASYNC103  # outside trio: nothing is cancelled any more
        # A KeyboardInterrupt came before the demo had begun to listen, or after.
        judged = judge(exc)
        if judged is None:
            raise
        code, words = judged
    if words:
        say(f"trioauth: {words}")
    return code


def _add_demo(commands: Any) -> None:
    demo = commands.add_parser(
        "demo",
        help="many tasks, one refresh, and everything that can go wrong",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    add: Any = demo.add_argument
    add("--tasks", type=_whole, metavar="N", help="how many (200; with --profile 20)")
    add("--seconds", type=_number, metavar="S", help="how long (15; with --profile 6)")
    add("--lifetime", type=_number, metavar="S", help="of an access token (2)")
    add("--httpx2", action="store_true", help="with a client of httpx2 instead of httpx")
    add("--timeline", type=Path, metavar="FILE.svg", help="draw what happened")
    add("--seed", type=int, metavar="N", help="of what is left to chance")
    own = demo.add_argument_group("with a login of your own")
    own.add_argument("--profile", metavar="NAME", help="that trioauth login NAME has made")
    own.add_argument("--api", metavar="URL", help="an address of your API that GET can ask for")


def _problem(options: argparse.Namespace) -> str | None:
    """Say why the demo can't be run as the command line says; None if it can."""
    if (options.profile is None) != (options.api is None):
        return "the demo needs --profile and --api, or neither"
    if options.profile is not None and options.lifetime is not None:
        return "--lifetime: with --profile your server says how long its tokens live"
    needed = [("rich", "testing")]
    if options.profile is None:
        needed.append(("hypercorn", "testing"))
    if options.httpx2:
        needed.append(("httpx2", "httpx2"))
    for module, extra in needed:
        if importlib.util.find_spec(module) is None:
            return f'the demo needs {module}: pip install "trioauth[{extra}]"'
    return None


def _run_demo(options: argparse.Namespace) -> int:
    # This loads trio, httpx and more: not for --help.
    import logging

    import trio

    from trioauth._signals import cancel_on_sigterm

    from ._demo.show import run
    from ._demo.view import tell, watch

    # What goes wrong is what the demo shows: the log is not to be written across it.
    logging.getLogger("trioauth").addHandler(logging.NullHandler())
    show, plan = _made(options)

    async def play() -> int:
        # A refresh in the air gets a few seconds to land, as after a Ctrl-C.
        with cancel_on_sigterm():
            return DONE if await run(show, plan, watch) else INTERRUPTED
        return TERMINATED

    if (code := trio.run(play)) != DONE:
        return code
    tell(show)
    if options.timeline is not None:
        show.timeline.save(options.timeline)
    if show.counts.lasted and not show.counts.requests:
        say(f"trioauth: {options.api} gave no answer that is a success: is it the right address?")
        return FAILED
    return _code(show)


def _made(options: argparse.Namespace) -> tuple[Show, Plan]:
    """Make the show that was asked for, and its plan.

    Raises:
      ProfileError: There is no such profile, or it can't be used.
    """
    from functools import partial

    names = ("tasks", "seconds", "lifetime", "httpx2", "seed")
    said = {name: value for name in names if (value := getattr(options, name)) is not None}
    if options.profile is None:
        from ._demo.demo import Demo
        from ._demo.plan import carry_out

        demo = Demo(**said)
        return demo, partial(carry_out, demo)
    from trioauth._profiles.files import load_profile

    from ._demo.visit import Visit

    visit = Visit(profile=load_profile(options.profile), api=options.api, **said)
    say(visit.announcement)
    return visit, visit.carry_out


def _code(show: Show) -> int:
    """Return the exit code; without a refresh there was nothing to keep a promise about."""
    counts = show.counts
    if any(not each.kept for each in show.checks()):
        return FAILED
    if counts.lasted:
        return DONE
    return TRY_LATER if counts.ended is None else NOT_LOGGED_IN


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
