"""``trioauth logout NAME``: end a login here, and at the server if it can be told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from .exits import DONE, EPILOG, FAILED

if TYPE_CHECKING:
    import argparse

    from trioauth._profiles.profile import Profile
    from trioauth.events import Event

_DESCRIPTION: Final = """\
End a login: its tokens are removed from this machine, and revoked at the server if that can be told
within a few seconds. The profile stays, so that "trioauth login NAME" is enough to log in anew. The
browser may go on remembering who you are: log out there, too, if you share it."""


def add_logout(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "logout", help="end a login", description=_DESCRIPTION, epilog=EPILOG
    )
    add: Any = parser.add_argument
    add("name", metavar="NAME", help="of the profile")
    add("--no-revoke", action="store_true", help="tell the server nothing")
    parser.set_defaults(run=run)


async def run(options: argparse.Namespace) -> int:
    """Log out.

    Cancellation:
      Safe. What has begun gets a few seconds to end.

    Raises:
      ProfileError: There is no such profile, or it can't be used.
      StoreError: The store can't be read.
    """
    from trioauth._profiles.files import load_profile

    return await end_login(load_profile(options.name), revoke=not options.no_revoke)


async def end_login(profile: Profile, *, revoke: bool) -> int:
    """End the login of a profile, and say how it went; return the exit code.

    Cancellation:
      Safe. What has begun gets a few seconds to end.

    Raises:
      ProfileError: The profile can't be used.
      StoreError: The store can't be read.
    """
    from trioauth.events import NotRevoked, NotSaved

    from .opening import open_login
    from .speaking import say

    failures: list[Event] = []
    async with open_login(profile, observers=[failures.append]) as session:
        if not session.logged_in:
            say(f"{profile.name}: was not logged in")
            return DONE
        await session.log_out(revoke=revoke)
    if any(isinstance(event, NotSaved) for event in failures):
        say(f"{profile.name}: the tokens could not be removed from this machine")
        return FAILED
    told = revoke and not any(isinstance(event, NotRevoked) for event in failures)
    say(f"{profile.name}: logged out" + ("" if told else " here; the server was not told"))
    return DONE
