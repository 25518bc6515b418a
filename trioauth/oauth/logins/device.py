"""DeviceLogin: a person types a code on any device (RFC 8628)."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias, final
from urllib.parse import urlsplit

import attrs
import trio

from trioauth._errors import (
    GrantMisconfiguredError,
    LoginDeclinedError,
    LoginError,
    LoginTimeoutError,
    RefreshUnavailableError,
)
from trioauth._secrets import Secrets, Unpicklable
from trioauth._tokens import decode_object
from trioauth.oauth.answers import failure, read_retry_after
from trioauth.oauth.fields import copied
from trioauth.oauth.form import Form, Parameters
from trioauth.oauth.identity import identify
from trioauth.oauth.options import check_parameters

from .obtained import read_first_tokens, said, tell_if_not_renewable
from .prompt import Invitation, default_prompt
from .schedule import Now, Schedule
from .steps import bounded, find_server, with_prompt

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trioauth._tokens import Tokens
    from trioauth.oauth.channel import Answer, BackChannel
    from trioauth.oauth.metadata import AuthorizationServer

    from .prompt import Prompt
    from .steps import LoginClient

_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
# RFC 8628 3.5; the second names are Entra's.
_DECLINED: Final = frozenset({"access_denied", "authorization_declined"})
_EXPIRED: Final = frozenset({"expired_token", "code_expired"})
_TRY_BROWSER: Final = (
    "an organisation may block log-ins by device, or a server may have none; try the browser"
)


@final
@attrs.frozen
class Codes(Unpicklable):
    """What the server answers to a device (RFC 8628 3.2)."""

    device_code: str = attrs.field(repr=False)
    user_code: str = attrs.field(repr=False)
    url: str
    complete_url: str | None = attrs.field(repr=False)
    interval: object
    expires_in: object


@final
@attrs.frozen
class SlowDown:
    """The server was asked too often."""

    interval: object
    retry_after: float | None


@final
@attrs.frozen
class Pending:
    """The person has not decided yet."""

    retry_after: float | None


Poll: TypeAlias = SlowDown | Pending | None


def device_form(*, scope: str, more: Parameters) -> Form:
    """Build the form that asks for codes (RFC 8628 3.1)."""
    form = Form(more)
    if scope:
        form["scope"] = scope
    return form


def read_codes(answer: Answer) -> Codes:
    """Read the answer to a device.

    Raises:
      LoginError: The server has no log-in by device, or not for this client.
      GrantMisconfiguredError: The server does not accept the client, or what it asks for.
      RefreshUnavailableError: No usable answer.
    """
    codes = _codes_in(answer) if answer.is_success else None
    if codes is None:
        # Not where the members of the answer are among the variables.
        raise _no_codes(answer)
    return codes


def _codes_in(answer: Answer) -> Codes | None:
    body, _ = decode_object(answer.body)

    def text(*names: str) -> str | None:
        found = [value for name in names if isinstance(value := body.get(name), str) and value]
        return found[0] if found else None

    # Google has names of its own for the addresses.
    url = text("verification_uri", "verification_url")
    complete_url = text("verification_uri_complete", "verification_url_complete")
    device_code, user_code = text("device_code"), text("user_code")
    if not (device_code and user_code and url):
        return None
    interval, expires_in = body.get("interval"), body.get("expires_in")
    return Codes(device_code, user_code, url, complete_url, interval, expires_in)


def _no_codes(answer: Answer) -> Exception:
    error = failure(answer)
    if isinstance(error, RefreshUnavailableError) and (
        answer.status == 429 or answer.status >= 500
    ):
        return error
    if isinstance(error, GrantMisconfiguredError) and error.error != "unauthorized_client":
        return error
    return LoginError("no_device_login", f"the server gave no code ({error}); {_TRY_BROWSER}")


def read_poll(answer: Answer) -> Poll:
    """Say what the answer to a question is if it is not the last one; None if it is.

    By its ``error``, whatever the status.
    """
    body, _ = decode_object(answer.body)
    retry_after = read_retry_after(answer.headers)
    match body.get("error"):
        case "authorization_pending":
            return Pending(retry_after)
        case "slow_down":
            return SlowDown(body.get("interval"), retry_after)
        case _:
            return None


def _now() -> Now:
    return Now(trio.current_time(), time.time())


def after(schedule: Schedule, poll: Pending | SlowDown) -> Schedule:
    """Go on after an answer that was not the last one."""
    if isinstance(poll, Pending):
        return schedule.pending(_now(), retry_after=poll.retry_after)
    return schedule.slow_down(_now(), interval=poll.interval, retry_after=poll.retry_after)


def read_last(answer: Answer, client: LoginClient) -> Tokens:
    """Read the answer that ends a log-in by device.

    Raises:
      LoginDeclinedError: The person said no.
      LoginTimeoutError: The codes have expired.
      LoginError: The server said no in another way.
      GrantMisconfiguredError: The server does not accept the client.
      RefreshUnavailableError: It is no answer: to be asked again.
    """
    code, words = said(answer, "error"), said(answer, "error_description")
    if code is not None and code in _DECLINED:
        raise LoginDeclinedError(code, words)
    if code in _EXPIRED:
        raise expired(words)
    return read_first_tokens(answer, scope=client.scope, rules=client.rules)


def expired(words: str | None = None) -> LoginTimeoutError:
    """Return the error of codes that were not entered in time."""
    return LoginTimeoutError("expired_token", words or "the code was not entered in time")


async def _wait_until_due(schedule: Schedule) -> None:
    """Wait until the server may be asked.

    Cancellation:
      Safe.

    Raises:
      LoginTimeoutError: The codes have expired.
    """
    await trio.lowlevel.checkpoint()
    while pause := schedule.wait(_now()):  # noqa: ASYNC110  # for the clocks, of which one is not trio's
        await trio.sleep(pause)
    if schedule.expired(_now()):
        raise expired()


@final
@attrs.frozen(kw_only=True)
class DeviceLogin(Unpicklable):
    """A log-in by a code that is typed elsewhere (RFC 8628): `OAuthClient.device`."""

    client: LoginClient
    prompt: Prompt | None = None
    parameters: Mapping[str, str] = attrs.field(
        factory=dict[str, str],
        converter=copied,
        validator=check_parameters,
        repr=False,
        hash=False,
    )
    program: str | None = None

    async def __call__(self, endpoint: BackChannel, /) -> Tokens:
        """Show the person a code, and return the tokens when they have entered it.

        Cancellation:
          Safe until the person has agreed; then the server may have issued tokens that are never
          used. No task is left (P24).

        Raises:
          LoginDeclinedError: The person said no.
          LoginTimeoutError: The code was not entered in time.
          LoginError: The server refused.
          IdentityError: The ID token was refused.
          GrantMisconfiguredError: The server does not accept this client, or its metadata can't be
              used.
          RefreshUnavailableError: No usable answer to the first request.
        """
        client = self.client
        server = await find_server(client, endpoint)
        told = {**client.more, **self.parameters}
        form = device_form(scope=client.scope, more=told)
        url = server.endpoint("device_authorization_endpoint")
        # There must be one, or the person would log in for nothing (P23).
        server.endpoint("token_endpoint")
        ask = partial(client.ask, endpoint, url, form)
        codes = read_codes(await bounded(ask, "asking for a code"))
        schedule = Schedule.begin(_now(), interval=codes.interval, expires_in=codes.expires_in)
        came, answer = await with_prompt(
            self.prompt or default_prompt(),
            self._invitation(codes, schedule),
            partial(self._poll, endpoint, server, codes, schedule),
            pasted=lambda _: None,
            undecided=lambda: True,
        )
        # After the last question: if the keys can't be had now, asking again is of no use.
        check = partial(identify, came, answer, client, endpoint, parameters=told)
        tokens = await bounded(check, "validating the ID token")
        tell_if_not_renewable(tokens, server, scope=client.scope, parameters=told)
        return tokens

    def _invitation(self, codes: Codes, schedule: Schedule) -> Invitation:
        return Invitation(
            kind="device",
            url=codes.url,
            user_code=codes.user_code,
            complete_url=codes.complete_url,
            expires_at=trio.current_time() + schedule.lifetime,
            client_id=self.program or self.client.client_id,
            where=urlsplit(codes.url).hostname or "",
        )

    async def _poll(
        self, endpoint: BackChannel, server: AuthorizationServer, codes: Codes, schedule: Schedule
    ) -> tuple[Tokens, Answer]:
        """Ask until the person has decided (RFC 8628 3.4, 3.5)."""
        client, url = self.client, server.endpoint("token_endpoint")
        form = Form({"grant_type": _GRANT, "device_code": codes.device_code})
        # Asked anew each time: a proof is used once (P27).
        ask = partial(client.ask, endpoint, url, form, secrets=Secrets((codes.device_code,)))
        while True:
            await _wait_until_due(schedule)
            try:
                answer = await bounded(ask, "asking whether the person has agreed")
                found = read_poll(answer)
                if found is None:
                    return read_last(answer, client), answer
            except RefreshUnavailableError as exc:
                # The person may have agreed already: no fault ends this.
                schedule = schedule.fault(_now(), retry_after=exc.retry_after)
            else:
                schedule = after(schedule, found)
