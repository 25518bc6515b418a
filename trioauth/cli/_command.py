"""What ``python -m trioauth`` and the script ``trioauth`` do: read the command line, run it."""

from __future__ import annotations

import argparse
import importlib.util
from typing import TYPE_CHECKING

from trioauth._version import __version__

from ._demo.arguments import add_demo, complete
from ._demo.remedies import NoShow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._demo.report import Report
    from ._demo.show import Stage

_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says, and return the exit code.

    0: all went well. 1: the demo found a broken promise. 2: the command line makes no sense,
    something is not installed, or a person's own server gives no token, or does not take it. 130:
    interrupted.
    """
    parser = argparse.ArgumentParser(
        prog="trioauth",
        description="An HTTP client session for trio programs that stays logged in.",
    )
    parser.add_argument("--version", action="version", version=f"trioauth {__version__}")
    add_demo(parser.add_subparsers(dest="command", title="commands", metavar=""))
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 0
    try:
        is_own = complete(options)
        _check_installed(is_own=is_own, httpx2=options.httpx2)
        stage = _visit(options) if is_own else _stay(options)
        return _INTERRUPTED if stage is None else _play(stage, options)
    except (ImportError, NoShow) as exc:
        parser.exit(2, f"trioauth: {exc}\n")
    except KeyboardInterrupt:
        # It came before the demo had begun to listen.
        return _INTERRUPTED


def _check_installed(*, is_own: bool, httpx2: bool) -> None:
    needed = {"rich": "testing"}
    if not is_own:
        needed["hypercorn"] = "testing"
    if httpx2:
        needed["httpx2"] = "httpx2"
    for module, extra in needed.items():
        if importlib.util.find_spec(module) is None:
            raise ImportError(f'the demo needs {module}: pip install "trioauth[{extra}]"')


# What follows loads trio, httpx and more: not for --help.


def _stay(options: argparse.Namespace) -> Stage:
    from ._demo.here import Here

    return Here(options.lifetime)


def _visit(options: argparse.Namespace) -> Stage | None:
    """Prepare a visit to a person's own server; None if the person would rather not."""
    from trioauth._errors import StoreError

    from ._demo.visit import announce, may_go_on, prepare
    from ._demo.yours import Yours

    try:
        visit = prepare(options)
    except (ValueError, StoreError) as exc:
        raise NoShow(str(exc)) from None
    print(*announce(visit, options), "", sep="\n", flush=True)
    return Yours(visit) if may_go_on(yes=options.yes) else None


def _play(stage: Stage, options: argparse.Namespace) -> int:
    import logging

    import trio

    from ._demo.show import Options, Show, run
    from ._demo.view import tell, watch

    # What goes wrong is the show: it is not to be written across it.
    logging.getLogger("trioauth").addHandler(logging.NullHandler())
    chosen = Options(
        tasks=options.tasks,
        seconds=options.seconds,
        httpx2=options.httpx2,
        timeline=options.timeline,
        seed=options.seed,
    )

    async def play() -> Report:
        return await run(Show(chosen, stage), watch)

    report = trio.run(play)
    tell(report)
    return report.exit_code
