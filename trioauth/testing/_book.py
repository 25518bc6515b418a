"""Which tokens were issued, and what they are worth. Pure: takes ``now``."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, final

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._ledger import Outcome


@final
@attrs.frozen
class Granted:
    """What a person has granted to a client. What it says of the person isn't in its ``repr``."""

    client_id: str
    subject: str
    scopes: tuple[str, ...] = ()
    offline: bool = False
    """With a refresh token."""
    claims: Mapping[str, object] = attrs.field(factory=dict[str, object], repr=False)
    nonce: str | None = attrs.field(default=None, repr=False)
    since: float | None = None
    """When the person was there, if that is to be told."""
    acr: str | None = None
    """How they showed who they are (OpenID Connect Core 2)."""
    resource: str = ""
    """For which APIs, separated by spaces (RFC 8707)."""
    for_api: bool = True
    """The API takes the tokens; otherwise userinfo alone does."""

    def covers(self, resource: str) -> bool:
        """Say whether tokens may be asked for these APIs: of those granted, if any were named."""
        return not self.resource or set(resource.split()) <= set(self.resource.split())


@final
@attrs.define(eq=False)
class Login:
    """A login: all the tokens that descend from one act of logging in."""

    number: int
    granted: Granted | None = None
    """What was asked for; None if nothing was: `AuthServer.log_in`, or a client by itself."""
    generation: int = 0
    """How many sets of tokens it has had."""
    over: bool = False
    auth_time: int | None = None
    """When the person was there, on the wall clock, as the first ID token said it."""


@final
@attrs.define(eq=False)
class AccessToken:
    """What the server knows about an access token."""

    number: int
    login: Login
    generation: int
    since: float | None
    """When its life began; None if it was issued outside trio, where there is no such time."""
    revoked: bool = False


@final
@attrs.frozen
class Issued:
    """One set of tokens. Secrets don't show in its ``repr``."""

    access_token: str = attrs.field(repr=False)
    refresh_token: str | None = attrs.field(repr=False)
    login: Login


@final
@attrs.define(eq=False)
class RefreshToken:
    """What the server knows about a refresh token."""

    number: int
    login: Login
    generation: int
    spent_at: float = 0.0
    successors: Issued | None = None
    """What it was exchanged for; set when it is spent."""


@final
@attrs.define(eq=False)
class Book:
    """Every token ever issued."""

    lifetime: float | None
    rotate: bool
    reuse_grace: float
    spends: bool = True
    """A rotated refresh token is no good any more."""
    replaces: bool = False
    """With new tokens, the login's older access tokens are no good any more."""
    logins: list[Login] = attrs.field(factory=list[Login], init=False)
    _access: dict[str, AccessToken] = attrs.field(
        factory=dict[str, AccessToken], init=False, repr=False
    )
    _refresh: dict[str, RefreshToken] = attrs.field(
        factory=dict[str, RefreshToken], init=False, repr=False
    )
    _last_expired: int = attrs.field(default=0, init=False)
    _client_login: Login | None = attrs.field(default=None, init=False)

    def log_in(self, now: float | None, granted: Granted | None = None) -> Issued:
        """Start a login, as a human would."""
        with_refresh_token = granted is None or granted.offline
        return self._issue(self._open_login(granted), now, with_refresh_token=with_refresh_token)

    def issue_to_client(self, now: float) -> Issued:
        """Issue an access token to the client itself; all of these are one login."""
        if self._client_login is None or self._client_login.over:
            self._client_login = self._open_login()
        return self._issue(self._client_login, now, with_refresh_token=False)

    def redeem(self, token: RefreshToken | None, now: float) -> tuple[Outcome, Issued | None]:
        """Exchange a refresh token, once (RFC 9700 4.14.2)."""
        if token is None:
            return "refused", None
        login = token.login
        if token.successors is not None:
            if self._forgives(token, now):
                return "repeated", token.successors
            # Either the thief or the victim is late. The server can't tell which, and ends it.
            login.over = True
            return "reused", None
        if login.over:
            return "refused", None
        issued = self._issue(login, now, with_refresh_token=self.rotate)
        if self.replaces:
            self._end_older(login)
        if not (self.rotate and self.spends):
            return "kept", issued
        token.spent_at, token.successors = now, issued
        return "rotated", issued

    def find_access(self, secret: str | None) -> AccessToken | None:
        """Return what is known about an access token, good or not."""
        return self._access.get(secret or "")

    def find_refresh(self, secret: str | None) -> RefreshToken | None:
        """Return what is known about a refresh token, good or not."""
        return self._refresh.get(secret or "")

    def is_good(self, token: AccessToken, now: float) -> bool:
        """Say whether the API lets this access token in."""
        if token.since is None:
            token.since = now
        return not (
            token.revoked
            or token.login.over
            or token.number <= self._last_expired
            or (self.lifetime is not None and now >= token.since + self.lifetime)
        )

    def revoke(self, secret: str) -> None:
        """End what the token stands for; a refresh token is the whole login (RFC 7009 2.1)."""
        if (refresh := self.find_refresh(secret)) is not None:
            refresh.login.over = True
        elif (access := self.find_access(secret)) is not None:
            access.revoked = True

    def revoke_all(self) -> None:
        """End every login."""
        for login in self.logins:
            login.over = True

    def expire_all(self) -> None:
        """End the life of every access token issued so far."""
        self._last_expired = len(self._access)

    def _open_login(self, granted: Granted | None = None) -> Login:
        login = Login(len(self.logins) + 1, granted)
        self.logins.append(login)
        return login

    def _issue(self, login: Login, now: float | None, *, with_refresh_token: bool) -> Issued:
        login.generation += 1
        # The canary lets a test look for leaked tokens without knowing them.
        name = f"canary-{login.number}-{login.generation}-{secrets.token_hex(12)}"
        access = f"at-{name}"
        self._access[access] = AccessToken(len(self._access) + 1, login, login.generation, now)
        if not with_refresh_token:
            return Issued(access, None, login)
        refresh = f"rt-{name}"
        self._refresh[refresh] = RefreshToken(len(self._refresh) + 1, login, login.generation)
        return Issued(access, refresh, login)

    def _end_older(self, login: Login) -> None:
        for token in self._access.values():
            if token.login is login and token.generation < login.generation:
                token.revoked = True

    def _forgives(self, token: RefreshToken, now: float) -> bool:
        # Once a successor was used, the answer did arrive, and a repeat is no accident.
        return (
            self.reuse_grace > 0
            and now - token.spent_at <= self.reuse_grace
            and token.login.generation == token.generation + 1
            and not token.login.over
        )
