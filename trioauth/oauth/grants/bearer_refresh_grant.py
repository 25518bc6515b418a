"""BearerRefreshGrant: for a server with a refresh endpoint of its own making."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast, final

import attrs
import trio

from trioauth._errors import GrantRefusedError, TokenResponseError
from trioauth._secrets import Secrets, Unpicklable
from trioauth._tokens import Tokens
from trioauth.oauth.answers import BARE_REFUSALS, Rules, find, read_answer, secrets_of
from trioauth.oauth.channel import TokenRequest
from trioauth.oauth.fields import (
    check_endpoint,
    check_strings,
    check_text,
    copied,
    owner_of,
    to_refusals,
)
from trioauth.oauth.revocation import send_revocation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trioauth.oauth.channel import Answer, BackChannel

# RFC 9110 5.1 and 5.5, less what is neither ASCII nor safe.
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"(?:[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?)?")

# Said by the status; the error codes of RFC 6749 mean nothing here.
_NO_CODES: Final[dict[str, Any]] = {}


def _check_headers(_: object, attribute: attrs.Attribute[Any], value: Mapping[str, str]) -> None:
    check_strings(_, attribute, value)
    for name, text in value.items():
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"{attribute.name} has a malformed name: {name!r}")
        if name.lower() == "authorization":
            raise ValueError(
                f"{attribute.name} must not have {name!r}: the grant sends that itself"
            )
        if not _HEADER_VALUE.fullmatch(text):
            raise ValueError(f"{attribute.name}: the value of {name!r} must be one line of ASCII")


def _check_path(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    check_text(_, attribute, value)
    if "" in cast("str", value).split("."):
        raise ValueError(f'{attribute.name} must be names with dots between, such as "data.token"')


@final
@attrs.frozen
class BearerRefreshGrant(Unpicklable):
    """New tokens from an endpoint that takes the refresh token as ``Authorization: Bearer``.

    Many applications have such a ``POST /auth/refresh`` of their own making, with JSON back. They
    say no with 400, 401 or 403, or with JSON that holds no tokens; what else they answer counts as
    unavailable. For a server that says such things when it is only busy, or behind a proxy that
    does, set ``bare_status_refuses=False``, and name in ``refusals`` what ends a login.

    Where a member of the answer is to be found is said by its name, or for one inside others by all
    the names with dots between: ``access_token="data.tokens.access"``. It can't be pickled,
    because headers may hold a secret.

    Args:
      url: The server's URL for refreshing: https, or loopback.
      access_token: Where the access token is; required.
      refresh_token: Where the refresh token is; the one before is kept if there is none.
      expires_in: Where the lifetime in seconds is; unknown if there is none.
      token_type: Where the type is; ``Bearer`` if there is none.
      headers: More headers to send, such as an API key.
      json: A JSON body to send, unless None.
      logout_url: Where `Session.log_out` POSTs the refresh token, as a Bearer, too: https, or
          loopback. None for nowhere.
      bare_status_refuses: Whether 400, 401, 403 and JSON without valid tokens end the login. False
          for a server that says so with a code.
      refusals: Codes that end the login, whatever the status, by the member of the answer they are
          in: ``{"error": ["session_over"], "reason.code": [17]}``.

    Raises:
      ValueError: Tokens may not be sent to such a URL, or a parameter is not what it must be; names
          the parameter.
      TypeError: Something is not of its type; names the parameter.
    """

    url: str = attrs.field(validator=check_endpoint)
    access_token: str = attrs.field(default="accessToken", kw_only=True, validator=_check_path)
    refresh_token: str = attrs.field(default="refreshToken", kw_only=True, validator=_check_path)
    expires_in: str = attrs.field(default="expiresIn", kw_only=True, validator=_check_path)
    token_type: str = attrs.field(default="tokenType", kw_only=True, validator=_check_path)
    headers: Mapping[str, str] = attrs.field(
        factory=dict[str, str],
        kw_only=True,
        converter=copied,
        validator=_check_headers,
        repr=False,
    )
    json: object = attrs.field(default=None, kw_only=True, repr=False)
    logout_url: str | None = attrs.field(
        default=None, kw_only=True, validator=attrs.validators.optional(check_endpoint)
    )
    bare_status_refuses: bool = attrs.field(
        default=True, kw_only=True, validator=attrs.validators.instance_of(bool)
    )
    refusals: Mapping[str, frozenset[str]] = attrs.field(
        factory=dict[str, "frozenset[str]"], kw_only=True, converter=to_refusals
    )

    @property
    def owner(self) -> str:
        """Whose tokens these are: the URL, without its query."""
        return owner_of(self.url)

    needs_refresh_token: ClassVar[bool] = True
    unattended: ClassVar[bool] = False

    async def __call__(self, tokens: Tokens | None, endpoint: BackChannel, /) -> Tokens:
        """Refresh.

        Cancellation:
          Unsafe, for a server that rotates: the new tokens may be lost.

        Raises:
          GrantRefusedError: The server said no, or there is no refresh token.
          RefreshUnavailableError: No usable answer.
        """
        answer = await endpoint.send(self.request(tokens))
        return self.read(answer, tokens)

    def request(self, tokens: Tokens | None) -> TokenRequest:
        """Build the request.

        Raises:
          GrantRefusedError: There is no refresh token.
        """
        if tokens is None or tokens.refresh_token is None:
            raise GrantRefusedError(
                "no_refresh_token", "without one there is nothing to refresh with; log in again"
            )
        return self._request(self.url, tokens.refresh_token, self.json)

    def read(self, answer: Answer, tokens: Tokens | None) -> Tokens:
        """Read the answer.

        Args:
          answer: What the server sent.
          tokens: The ones to be renewed: they don't show in an error, even if the server echoes
              them.

        Raises:
          GrantRefusedError: The server said no.
          RefreshUnavailableError: No usable answer.
        """
        bare = self.bare_status_refuses
        rules = Rules(
            codes=_NO_CODES,
            refusals=self.refusals,
            statuses=BARE_REFUSALS if bare else (),
            no_tokens=bare,
            settings=True,
        )
        secrets = Secrets(self.headers.values())
        return read_answer(answer, tokens, secrets=secrets, read=self._read_tokens, rules=rules)

    async def revoke(self, tokens: Tokens, endpoint: BackChannel) -> bool:
        """Log out at ``logout_url``; return False if there is none, or no refresh token.

        Cancellation:
          Unsafe. The server may or may not have revoked the tokens.

        Raises:
          GrantError: The server did not accept the request: they still work.
          RefreshUnavailableError: No usable answer; they may still work.
        """
        if self.logout_url is None or tokens.refresh_token is None:
            await trio.lowlevel.checkpoint()
            return False
        request = self._request(self.logout_url, tokens.refresh_token)
        secrets = secrets_of(tokens, *self.headers.values())
        await send_revocation(partial(endpoint.send, request), secrets=secrets)
        return True

    def _request(self, url: str, refresh_token: str, json: object = None) -> TokenRequest:
        headers = {**self.headers, "Authorization": f"Bearer {refresh_token}"}
        return TokenRequest(url, json=json, headers=headers)

    def _read_tokens(self, body: Mapping[str, object]) -> Tokens:
        names = ("access_token", "refresh_token", "expires_in", "token_type")
        members = {name: find(body, getattr(self, name)) for name in names}
        if members["access_token"] is not None:
            return Tokens.from_response(members)
        error = TokenResponseError(f"there is no {self.access_token} in it")
        rotated = members["refresh_token"]
        # Beside an error it may be a word about the one that was sent.
        error._rotated = rotated if isinstance(rotated, str) and not body.get("error") else None
        # The variables of this frame are shown by crash reporters.
        del body, members, rotated
        raise error
