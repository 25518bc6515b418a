"""What ``trioauth status`` says of one login, and the words for it."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Literal, final

import attrs

from trioauth._outcomes import REASONS
from trioauth._secrets import printable

from .exits import DONE, FAILED, NOT_LOGGED_IN, TRY_LATER

if TYPE_CHECKING:
    from trioauth._identity import Identity
    from trioauth._outcomes import LogoutReason
    from trioauth.stores._contract import Record

Check = Literal["ok", "refused", "unavailable", "failed", "not renewable"]


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


def with_record(shown: Shown, record: Record | None) -> Shown:
    """Add what a store has."""
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


def state_words(shown: Shown, now: float) -> str:
    """Say whether there is a login, or why not."""
    if shown.logged_in:
        return "logged in"
    if shown.expires_at is not None:
        return f"not logged in: it expired {_ago(now - shown.expires_at)}, and can't be renewed"
    if shown.ended is None:
        return "not logged in"
    when = "" if shown.ended_at is None else f", {_ago(now - shown.ended_at)}"
    return f"not logged in: {REASONS[shown.ended]}{when}"


def expiry_words(shown: Shown, now: float) -> str:
    """Say until when the access token of a login is good."""
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
