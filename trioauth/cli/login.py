"""``trioauth login NAME``: a person logs in, and the login is kept under a name."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import trio

from trioauth._profiles.client import client_of
from trioauth._profiles.errors import ProfileError
from trioauth._profiles.keeping import place_of, store_of
from trioauth.oauth.logins.obtained import remedy
from trioauth.oauth.logins.prompt import TerminalPrompt
from trioauth.stores._contract import Record

from .exits import DONE, UsageError
from .opening import open_login
from .settings import add_options, changed, earlier, read_input
from .speaking import say

if TYPE_CHECKING:
    import argparse
    from collections.abc import Awaitable, Callable
    from typing import TypeAlias

    from trioauth._profiles.files import NewProfile
    from trioauth._profiles.profile import Profile
    from trioauth._tokens import Tokens
    from trioauth.oauth.channel import BackChannel
    from trioauth.oauth.client import OAuthClient

    from .settings import Given

    _Obtain: TypeAlias = Callable[[BackChannel], Awaitable[Tokens]]

_OTHER_WAYS: Final = (
    "trioauth login --device shows a code to type elsewhere; --paste takes the last address"
)
# How long a server may take for an answer that no person is needed for.
_PATIENCE: Final = 30.0


def add_login(commands: Any) -> None:
    """Add the command."""
    add_options(commands, run)


async def run(options: argparse.Namespace) -> int:
    """Log in, and keep the login and its profile.

    In this order, so that nothing is asked of a person that could not be kept (P23), and nothing is
    left of a log-in that does not succeed (P24):

    1. The settings make sense; the profile can be written.
    2. The session proves that the store can be written, and the person logs in.
    3. The profile is written, and then the tokens.
    4. If the profile's tokens were in another place before, they are removed from there.

    Cancellation:
      Safe until the person has logged in; then the login is completed.

    Raises:
      UsageError: The settings make no sense.
      LoginError: The person did not log in.
      Error: Why it could not be done.
    """
    before = earlier(options)
    given = read_input(options)
    try:
        new = changed(before, options, given)
        client = client_of(new.profile, secret=new.secret)
        obtain = _way(client, new.profile, given, opens=False if options.no_open else None)
    except (ValueError, ProfileError) as exc:
        raise UsageError(str(exc)) from None
    new.prove_writable()
    async with open_login(new.profile, client) as session:
        await session.log_in(partial(_obtain, new, obtain))
        # A person was asked, so the client knows the server by now: this sends no request.
        server = None if given.tokens else await client.server_of(session.back_channel)
    if before is not None and place_of(before) != place_of(new.profile):
        await _forget(before)
    wanted = None if server is None else remedy(server, scope=client.scope, parameters=client.more)
    await _tell(new.profile, wanted)
    return DONE


def _way(client: OAuthClient, profile: Profile, given: Given, *, opens: bool | None) -> _Obtain:
    """Return how the tokens are obtained.

    Raises:
      ValueError: The profile's redirect URI or parameters can't be used.
    """
    if given.tokens is not None:
        return partial(_take, client, given.tokens, must_renew=given.must_renew)
    hint = {} if profile.account is None else {"login_hint": profile.account}
    return client.interactive(
        way=profile.way,
        prompt=TerminalPrompt(open_browser=opens, other_ways=_OTHER_WAYS),
        parameters=hint,
        program="trioauth",
    )


async def _take(
    client: OAuthClient, tokens: Tokens, endpoint: BackChannel, *, must_renew: bool
) -> Tokens:
    """Return tokens that were there already; of a refresh token alone, what it gives.

    Cancellation:
      Unsafe, for a server that rotates, if they must be renewed: the new tokens may be lost.

    Raises:
      GrantError: The server refuses.
      RefreshUnavailableError: No usable answer.
      trio.TooSlowError: It took too long.
    """
    await trio.lowlevel.checkpoint()
    if not must_renew:
        return tokens
    with trio.fail_after(_PATIENCE):
        return await client(tokens, endpoint)


async def _obtain(new: NewProfile, obtain: _Obtain, endpoint: BackChannel) -> Tokens:
    """Obtain the tokens, and write the profile.

    Cancellation:
      As the way to log in.

    Raises:
      StoreError: The profile can't be written.
      Exception: Whatever the way to log in raises; then nothing was written.
    """
    tokens = await obtain(endpoint)
    # Before the tokens: a profile without a login is easily told, a login without one is not found.
    new.write()
    return tokens


async def _forget(before: Profile) -> None:
    """Remove the tokens that a profile had under other settings.

    They are not revoked: some servers would revoke the new ones along with them.

    Cancellation:
      All or nothing.

    Raises:
      StoreError: They can't be removed.
    """
    store = store_of(before)
    async with store.lock():
        record = await store.load()
        if record is not None and record.tokens is not None:
            number = record.generation
            gone = Record(number + 1, owner=record.owner, ended="replaced")
            await store.save(gone, expected=number)


async def _tell(profile: Profile, wanted: str | None) -> None:
    """Say that it is done, and what a person should know.

    Args:
      profile: What was logged in to.
      wanted: What the server wants to be asked for, so that it gives a refresh token; None if it
          was not asked for tokens.

    Cancellation:
      Safe.
    """
    record = await store_of(profile).load()
    say(f"{profile.name}: logged in at {profile.server}")
    if record is not None and record.tokens is not None and record.tokens.refresh_token is None:
        say("There is no refresh token: when the access token has expired, log in again.")
        if wanted is not None:
            say(f"{wanted}.")
