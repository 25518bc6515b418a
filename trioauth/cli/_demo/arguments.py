"""What the command line of the demo takes. Loaded for ``--help``, so it loads next to nothing."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

_TASKS, _SECONDS, _LIFETIME = 200, 15.0, 2.0
# For somebody else's server.
_FEW_TASKS, _MORE_SECONDS, _RATE = 20, 20.0, 10.0

_DESCRIPTION = """\
Run many tasks against a real server on this machine whose tokens live two seconds, cancel some at
random, take the token endpoint down, lose an answer, and at last revoke the login. Or run a few
against a server of your own, and let go wrong what can go wrong on this side of the network."""

_EPILOG = """\
Secrets are never on the command line: a refresh token is taken from the environment variable
TRIOAUTH_REFRESH_TOKEN, a client secret from TRIOAUTH_CLIENT_SECRET; in a terminal they are asked
for. Exit code: 0, all promises were kept; 1, one was broken; 2, it could not go on."""


def add_demo(commands: Any) -> None:
    """Add the command."""
    demo = commands.add_parser(
        "demo",
        help="many tasks, one refresh, and everything that can go wrong",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    demo.set_defaults(error=demo.error)
    add: Any = demo.add_argument
    add("--tasks", type=_whole, metavar="N", help=f"how many ({_TASKS}; yours: {_FEW_TASKS})")
    add("--seconds", type=_number, metavar="S", help=f"how long ({_SECONDS:g}; yours: "
        f"{_MORE_SECONDS:g})")  # fmt: skip
    add("--lifetime", type=_number, metavar="S", help=f"of an access token ({_LIFETIME:g})")
    add("--httpx2", action="store_true", help="with a client of httpx2 instead of httpx")
    add("--timeline", type=Path, metavar="FILE.svg", help="draw what happened")
    add("--seed", type=int, metavar="N", help="of what is left to chance")
    yours = demo.add_argument_group(
        "a server of your own", "The first three go together. It says what it will do, and asks."
    )
    add = yours.add_argument
    add("--token-url", metavar="URL", help="its token endpoint")
    add("--client-id", metavar="ID", help="what it knows you as")
    add("--api", metavar="URL", help="what to GET, with a token of it")
    add("--scope", metavar="SCOPE", help="asked for at each refresh")
    add(
        "--client-auth",
        choices=("client_secret_basic", "client_secret_post"),
        help="how to send the client secret (the first)",
    )
    add("--rate", type=_number, metavar="N", help=f"requests a second, at most ({_RATE:g})")
    add("--store", metavar="FILE", help="keeps the tokens (trioauth-demo-HOST-....json, here)")
    add("--log-out", action="store_true", help="log out at the end")
    add("--revoke-url", metavar="URL", help="and revoke the tokens there (RFC 7009)")
    add("--yes", action="store_true", help="do not ask before it begins")


def complete(options: argparse.Namespace) -> bool:
    """Fill in what was left open; return whether it is about a server of one's own.

    What does not go together is said, and ends the program.
    """
    needed = {"--token-url": options.token_url, "--client-id": options.client_id,
              "--api": options.api}  # fmt: skip
    missing = [name for name, value in needed.items() if not value]
    is_own = len(missing) < len(needed)
    more = {
        "--scope": options.scope,
        "--client-auth": options.client_auth,
        "--rate": options.rate,
        "--store": options.store,
        "--log-out": options.log_out,
        "--revoke-url": options.revoke_url,
        "--yes": options.yes,
    }
    given = [name for name, value in more.items() if value]
    if missing and (is_own or given):
        about = "--token-url, --client-id and --api go together"
        options.error(
            f"{about}: add {' and '.join(missing)}" if is_own else
            f"{', '.join(given)}: that is for a server of your own. {about}"
        )  # fmt: skip
    if is_own and options.lifetime is not None:
        options.error("--lifetime: how long its tokens live is for your server to say")
    if options.revoke_url and not options.log_out:
        options.error("--revoke-url is for --log-out: add that, or you stay logged in")
    options.tasks = options.tasks or (_FEW_TASKS if is_own else _TASKS)
    options.seconds = options.seconds or (_MORE_SECONDS if is_own else _SECONDS)
    options.lifetime = options.lifetime or _LIFETIME
    options.rate = options.rate or _RATE
    options.scope = options.scope or ""
    return is_own


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
