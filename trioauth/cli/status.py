"""``trioauth status``: which logins there are, until when, and where they are kept."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final

import attrs
import trio

from trioauth._errors import Error, LoggedOutError

from .exits import EPILOG, NOT_LOGGED_IN, TRY_LATER, judge
from .shown import Shown, expiry_words, state_words, with_record

if TYPE_CHECKING:
    import argparse

    from trioauth._profiles.profile import Profile

    from .shown import Check

_DESCRIPTION: Final = """\
Say of each login, or of one, whether it is there, until when its token is good, and where it is
kept. It looks into files, or the keyring, only, unless --check is given. No token is ever shown."""

_CHECK_WORDS: Final[dict[Check, str]] = {
    "ok": "renewed just now",
    "refused": "the server says that it is over",
    "unavailable": "the server can't be asked now",
    "failed": "could not be asked",
    "not renewable": "without a refresh token there is nothing to ask with",
}


def add_status(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "status", help="show the logins", description=_DESCRIPTION, epilog=EPILOG
    )
    add: Any = parser.add_argument
    add("name", metavar="NAME", nargs="?", help="of the profile (all of them)")
    add("--json", action="store_true", help="as JSON on stdout; times in epoch seconds")
    add("--check", action="store_true", help="ask the server, by renewing each login")
    add("--store", metavar="sqlite:PATH", help="the logins of a store that holds many, instead")
    add("--store-key-env", metavar="VARIABLE", help="with --store: what has the encryption key")
    add("--key", help="with --store: of one login only")
    add("--limit", type=int, default=100, help="with --store: how many logins, at most (100)")
    add("--after", metavar="KEY", default="", help="with --store: go on after this key")
    add("--show-keys", action="store_true", help="with --store: the keys; they may be personal")
    parser.set_defaults(run=run)


async def run(options: argparse.Namespace) -> int:
    """Show the logins.

    Cancellation:
      Safe. A refresh in the air gets a few seconds to land.

    Raises:
      ProfileError: There is no such profile.
      StoreError: The store can't be read.
      UsageError: The options contradict each other.
    """
    if options.store is not None:
        from .many import show_many

        return await show_many(options)
    from trioauth._profiles.files import profile_names

    from .speaking import hand_out, say

    names = profile_names() if options.name is None else [options.name]
    await trio.lowlevel.checkpoint()
    shown = list[Shown]()
    for name in names:
        shown.append(await _look_at(name, is_all=options.name is None, check=options.check))
    if options.json:
        hand_out(json.dumps({"profiles": [attrs.asdict(each) for each in shown]}, indent=1))
    elif shown:
        say("\n\n".join(_words(each, time.time()) for each in shown))
    else:
        say("there are no profiles; to log in: trioauth login NAME --issuer URL --client-id ID")
    return max((each.code for each in shown), default=NOT_LOGGED_IN)


async def _look_at(name: str, *, is_all: bool, check: bool) -> Shown:
    """Find out about one profile; what is wrong with it is said, and does not hide the others.

    Cancellation:
      As `run`.

    Raises:
      ProfileError: It is the only one, and there is none of that name.
    """
    from trioauth._profiles.client import client_of
    from trioauth._profiles.files import NoProfileError, load_profile
    from trioauth._profiles.keeping import place_of, store_of

    await trio.lowlevel.checkpoint()
    shown = Shown(name=name)
    try:
        profile = load_profile(name)
        shown = Shown(
            name=name,
            provider=profile.provider,
            issuer=profile.issuer,
            server=profile.server,
            client_id=profile.client_id,
            login_hint=profile.account,
        )
        client_of(profile)
        shown = attrs.evolve(shown, stored_in=place_of(profile))
        store = store_of(profile)
        shown = with_record(shown, await store.load())
        if check and shown.logged_in:
            outcome, error = await _ask(profile, renewable=shown.renewable)
            shown = with_record(shown, await store.load())
            shown = attrs.evolve(shown, check=outcome, error=error)
    except (Error, ModuleNotFoundError) as exc:
        if isinstance(exc, NoProfileError) and not is_all:
            raise
        return attrs.evolve(shown, error=str(exc))
    return shown


async def _ask(profile: Profile, *, renewable: bool) -> tuple[Check, str | None]:
    """Ask the server whether a login is still good, by renewing it.

    Cancellation:
      Safe. The refresh gets a few seconds to land.
    """
    from .opening import open_login

    await trio.lowlevel.checkpoint()
    if not renewable:
        return "not renewable", None
    try:
        async with open_login(profile) as session:
            await session.refresh()
    except LoggedOutError:
        return "refused", None
    except Error as exc:
        judged = judge(exc)
        assert judged is not None  # noqa: S101  # an error of ours
        return ("unavailable" if judged[0] == TRY_LATER else "failed"), judged[1]
    return "ok", None


def _words(shown: Shown, now: float) -> str:
    """Say it for a person."""
    lines = [f"{shown.name}: {state_words(shown, now)}"]
    rows = {
        "provider": shown.provider,
        "server": shown.server,
        "client": shown.client_id,
        "account": shown.login_hint if shown.account is None else str(shown.account),
        "scope": " ".join(shown.scope) or None,
        "token": expiry_words(shown, now) if shown.logged_in else None,
        "kept in": shown.stored_in,
        "checked": None if shown.check is None else _CHECK_WORDS[shown.check],
        "problem": shown.error,
    }
    lines += [f"  {name:<9}{text}" for name, text in rows.items() if text is not None]
    return "\n".join(lines)
