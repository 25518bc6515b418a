"""``trioauth profiles``: which profiles there are; show or remove one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import trio

from .exits import DONE, EPILOG

if TYPE_CHECKING:
    import argparse

_DESCRIPTION: Final = """\
List the profiles that "trioauth login" has written. With --show, show one; with --remove, end its
login and remove it. A profile is a small TOML file, without secrets, that may be edited."""


def add_profiles(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "profiles", help="list, show or remove profiles", description=_DESCRIPTION, epilog=EPILOG
    )
    one_of = parser.add_mutually_exclusive_group()
    one_of.add_argument("--show", metavar="NAME", help="show the file of a profile")
    one_of.add_argument("--remove", metavar="NAME", help="log out, and remove the profile")
    one_of.add_argument("--json", action="store_true", help="the names and files, on stdout")
    parser.set_defaults(run=run)


async def run(options: argparse.Namespace) -> int:
    """List, show or remove profiles.

    Cancellation:
      Safe. What has begun gets a few seconds to end.

    Raises:
      ProfileError: There is no such profile, or it can't be used.
      StoreError: The login can't be ended, or the profile can't be removed.
    """
    from trioauth._profiles.files import load_profile, profile_names, remove_profile
    from trioauth._profiles.places import profile_file

    from .logout import end_login
    from .speaking import hand_out, say

    await trio.lowlevel.checkpoint()
    if options.show is not None:
        profile = load_profile(options.show)
        say(f"{profile_file(profile.name)}:\n\n{profile.to_toml().rstrip()}")
        return DONE
    if options.remove is not None:
        code = await end_login(load_profile(options.remove), revoke=True)
        if code == DONE:
            remove_profile(options.remove)
            say(f"{options.remove}: the profile is removed")
        return code
    names = profile_names()
    if options.json:
        files = [{"name": name, "file": str(profile_file(name))} for name in names]
        hand_out(json.dumps({"profiles": files}, indent=1))
    else:
        say("\n".join(names) or "there are no profiles")
    return DONE
