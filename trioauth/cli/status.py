"""``trioauth status``: which logins there are, until when, and where they are kept."""

from __future__ import annotations

import json
import math
import time
from typing import TYPE_CHECKING, Any, Final, Literal, final

import attrs
import trio

from trioauth._errors import Error, LoggedOutError
from trioauth._outcomes import REASONS
from trioauth._secrets import printable

from .exits import DONE, EPILOG, FAILED, NOT_LOGGED_IN, TRY_LATER, judge

if TYPE_CHECKING:
    import argparse

    from trioauth._identity import Identity
    from trioauth._outcomes import LogoutReason
    from trioauth._profiles.profile import Profile
    from trioauth.stores._contract import Record

_DESCRIPTION: Final = """\
Say of each login, or of one, whether it is there, until when its token is good, and where it is
kept. It looks into files, or the keyring, only, unless --check is given. No token is ever shown."""

Check = Literal["ok", "refused", "unavailable", "failed", "not renewable"]

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
    parser.set_defaults(run=run)


@final
@attrs.frozen(kw_only=True)
class Account:
    """Who has logged in, as the ID token said it."""

    sub: str
    name: str | None = None
    email: str | None = None

    @classmethod
    def of(cls, identity: Identity) -> Account:
        """Take from the claims what is of the type that it should be."""
        texts = {name: identity.claims.get(name) for name in ("name", "email")}
        known = {name: text for name, text in texts.items() if isinstance(text, str) and text}
        return cls(sub=identity.sub, **known)

    def __str__(self) -> str:
        # Of a server: it must not move the cursor, nor be more than a line.
        name, email, sub = (printable(each or "") for each in (self.name, self.email, self.sub))
        mail = f"<{email}>" if name and email else email
        return " ".join(filter(None, [name, mail, f"({sub})" if name or email else sub]))


@final
@attrs.frozen(kw_only=True)
class Shown:
    """What is said of one profile. No secrets."""

    name: str
    provider: str | None = None
    issuer: str | None = None
    server: str | None = None
    """The issuer, or else the token endpoint."""
    client_id: str | None = None
    login_hint: str | None = None
    """Who was to log in."""
    account: Account | None = None
    """Who did; None if the server does not say, or was not asked with the scope "openid"."""
    logged_in: bool = False
    scope: tuple[str, ...] = ()
    expires_at: int | None = None
    renewable: bool = False
    ended: LogoutReason | None = None
    """Why there is no login, if there was one."""
    ended_at: int | None = None
    stored_in: str | None = None
    check: Check | None = None
    error: str | None = None

    @property
    def code(self) -> int:
        """The exit code, if this were the only one."""
        if self.check == "unavailable":
            return TRY_LATER
        if self.error is not None:
            return FAILED
        return DONE if self.logged_in else NOT_LOGGED_IN


async def run(options: argparse.Namespace) -> int:
    """Show the logins.

    Cancellation:
      Safe. A refresh in the air gets a few seconds to land.

    Raises:
      ProfileError: There is no such profile.
    """
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
        shown = _with_record(shown, await store.load())
        if check and shown.logged_in:
            outcome, error = await _ask(profile, renewable=shown.renewable)
            shown = _with_record(shown, await store.load())
            shown = attrs.evolve(shown, check=outcome, error=error)
    except (Error, ModuleNotFoundError) as exc:
        if isinstance(exc, NoProfileError) and not is_all:
            raise
        return attrs.evolve(shown, error=str(exc))
    return shown


def _with_record(shown: Shown, record: Record | None) -> Shown:
    if record is None:
        return shown
    tokens = record.tokens
    if tokens is None:
        return attrs.evolve(
            shown,
            logged_in=False,
            account=None,
            scope=(),
            expires_at=None,
            renewable=False,
            ended=record.ended,
            ended_at=_whole(record.ended_at_unix),
        )
    expires_at = _whole(record.expires_at_unix)
    renewable = tokens.refresh_token is not None
    return attrs.evolve(
        shown,
        # Without a refresh token it ends when the access token does.
        logged_in=renewable or expires_at is None or expires_at > time.time(),
        account=None if tokens.identity is None else Account.of(tokens.identity),
        scope=tuple(sorted(tokens.scope)),
        expires_at=expires_at,
        renewable=renewable,
    )


def _whole(at: float | None) -> int | None:
    return None if at is None else math.floor(at)


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
    lines = [f"{shown.name}: {_state_words(shown, now)}"]
    rows = {
        "provider": shown.provider,
        "server": shown.server,
        "client": shown.client_id,
        "account": shown.login_hint if shown.account is None else str(shown.account),
        "scope": " ".join(shown.scope) or None,
        "token": _expiry_words(shown, now) if shown.logged_in else None,
        "kept in": shown.stored_in,
        "checked": None if shown.check is None else _CHECK_WORDS[shown.check],
        "problem": shown.error,
    }
    lines += [f"  {name:<9}{text}" for name, text in rows.items() if text is not None]
    return "\n".join(lines)


def _state_words(shown: Shown, now: float) -> str:
    if shown.logged_in:
        return "logged in"
    if shown.expires_at is not None:
        return f"not logged in: it expired {_ago(now - shown.expires_at)}, and can't be renewed"
    if shown.ended is None:
        return "not logged in"
    when = "" if shown.ended_at is None else f", {_ago(now - shown.ended_at)}"
    return f"not logged in: {REASONS[shown.ended]}{when}"


def _expiry_words(shown: Shown, now: float) -> str:
    how = "renewed when needed" if shown.renewable else "can't be renewed"
    if shown.expires_at is None:
        return f"good until a server refuses it, {how}"
    if shown.expires_at <= now:
        return f"expired {_ago(now - shown.expires_at)}, {how}"
    return f"good for {_span(shown.expires_at - now)}, {how}"


def _ago(seconds: float) -> str:
    return f"{_span(max(0.0, seconds))} ago"


def _span(seconds: float) -> str:
    for size, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {name}"
    return f"{seconds:.0f} seconds"
