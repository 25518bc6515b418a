"""Reading the answer of a token endpoint: tokens, or which of the errors it is (pure).

With servers that speak OAuth the ``error`` code decides, not the status; what no code
decides, the status does:

===========================  ==================================================================
2xx with valid tokens        `Tokens`
2xx, JSON without            refused: whatever is handed out instead of tokens is a no
a status in ``refusing``     refused
429, 503                     unavailable, safe to repeat
an unknown code with a 4xx   unavailable, safe to repeat: the server has read it and done nothing
anything else                unavailable, and the refresh token may have been used: not JSON, cut
                             short, 3xx (never followed; one may come after the deed), other 5xx
===========================  ==================================================================
"""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final, TypeAlias, final
from urllib.parse import quote, quote_plus

import attrs

from trioauth._errors import (
    GrantMisconfiguredError,
    GrantRefusedError,
    RefreshUnavailableError,
    TokenResponseError,
    printable,
)
from trioauth._tokens import NotJSONError, Tokens, read_json_object

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    import httpx

    from trioauth._endpoint import Answer

Verdict: TypeAlias = type[GrantRefusedError] | type[GrantMisconfiguredError] | None
"""What an ``error`` code means; None for "unavailable"."""

OAUTH_CODES: Final[Mapping[str, Verdict]] = {
    # RFC 6749 5.2
    "invalid_grant": GrantRefusedError,
    "invalid_client": GrantMisconfiguredError,
    "unauthorized_client": GrantMisconfiguredError,
    "unsupported_grant_type": GrantMisconfiguredError,
    "invalid_scope": GrantMisconfiguredError,
    "invalid_request": GrantMisconfiguredError,
    # RFC 8707 2: the "resource" parameter.
    "invalid_target": GrantMisconfiguredError,
    # What GitHub says for invalid_client.
    "incorrect_client_credentials": GrantMisconfiguredError,
    # OpenID Connect Core 3.1.2.6: it takes the person to mend these.
    "interaction_required": GrantRefusedError,
    "login_required": GrantRefusedError,
    "account_selection_required": GrantRefusedError,
    "consent_required": GrantRefusedError,
    # RFC 6749 4.1.2.1: meant for another endpoint, and seen here.
    "temporarily_unavailable": None,
    "server_error": None,
}

_CHECK_CLIENT = "check client_id, client_secret and client_auth"
_ADVICE: Final[Mapping[str, str]] = {
    "invalid_client": _CHECK_CLIENT,
    "incorrect_client_credentials": _CHECK_CLIENT,
    "unauthorized_client": "the server's settings do not allow this client to do that",
    "unsupported_grant_type": "the server's settings do not allow this grant",
    "invalid_scope": "check scope",
}
"""What to mend, where the server gives no more than the code."""

BARE_REFUSALS: Final = frozenset({400, 401, 403})
"""How servers say no that say it with the status."""

_BUSY = frozenset({429, 503})
# What a web server says where there is no token endpoint.
_NOT_HERE = frozenset({404, 405})
# Of more digits it would not be about this century.
_DELAY = re.compile(r"[0-9]{1,10}")


@final
class Secrets(tuple[str, ...]):
    """What must not be seen in an error, nor in the variables of a frame that it was raised in.

    Those are what crash reporters send along.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "<hidden>"


_NO_SECRETS = Secrets()


@final
@attrs.frozen
class _Said:
    """What an answer says in words, fit to be shown."""

    code: str | None = None
    description: str | None = None

    @classmethod
    def by(cls, answer: Answer, secrets: Secrets, known: Collection[str]) -> _Said:
        try:
            body = read_json_object(answer.body)
        except TokenResponseError:
            return cls()
        hidden = Secrets(form for secret in secrets for form in _forms(secret))

        def read(name: str) -> str | None:
            value = body.get(name)
            if not isinstance(value, str) or not value:
                return None
            # A code that is known is no secret, even if a short secret happens to be a part of it.
            return value if value in known else printable(value, secrets=hidden)

        return cls(read("error"), read("error_description"))


def _forms(secret: str) -> set[str]:
    # Some servers echo what they got, as it was encoded in a form.
    return {secret, quote(secret, safe=""), quote_plus(secret)}


def secrets_of(tokens: Tokens | None, *others: str) -> Secrets:
    """Return what must not be seen: the tokens that are to be renewed, and what else was sent."""
    if tokens is None:
        return Secrets(others)
    return Secrets(filter(None, (*others, tokens.access_token, tokens.refresh_token)))


def read_answer(
    answer: Answer,
    *,
    secrets: Secrets = _NO_SECRETS,
    read: Callable[[Mapping[str, object]], Tokens] = Tokens.from_response,
    codes: Mapping[str, Verdict] = OAUTH_CODES,
    refusing: Collection[int] = (),
) -> Tokens:
    """Return the tokens in an answer, or raise what it is instead.

    Args:
      answer: What the server sent.
      secrets: What was sent to it and must not be seen in an error, even if the server echoes it.
      read: Makes tokens of a JSON object, or raises `TokenResponseError`.
      codes: What the ``error`` codes mean.
      refusing: Statuses that mean "refused", unless the code says otherwise.

    Raises:
      GrantRefusedError: The server said no.
      GrantMisconfiguredError: The server doesn't accept the client, or such a request.
      RefreshUnavailableError: It is no answer to the question.
    """
    problem: TokenResponseError | None = None
    if answer.is_success:
        try:
            return read(read_json_object(answer.body))
        except NotJSONError:
            pass  # Not from whoever hands out tokens: nothing is known.
        except TokenResponseError as exc:
            # Without the frames that it came through, whose variables hold the answer.
            problem = exc.with_traceback(None)
    raise failure(
        answer, secrets=secrets, codes=codes, refusing=refusing, problem=problem
    ) from problem


def failure(
    answer: Answer,
    *,
    secrets: Secrets = _NO_SECRETS,
    codes: Mapping[str, Verdict] = OAUTH_CODES,
    refusing: Collection[int] = (),
    problem: TokenResponseError | None = None,
) -> GrantRefusedError | GrantMisconfiguredError | RefreshUnavailableError:
    """Return the error that an answer is; see `read_answer`.

    Args:
      answer: What the server sent.
      secrets: What must not be seen in the error.
      codes: What the ``error`` codes mean.
      refusing: Statuses that mean "refused", unless the code says otherwise.
      problem: What is wrong with its tokens, if it is a JSON answer that should have some.
    """
    said = _Said.by(answer, secrets, codes)
    verdict: Verdict = None
    if said.code is not None and said.code in codes:
        verdict = codes[said.code]
    elif problem is not None or answer.status in refusing:
        verdict = GrantRefusedError
    if verdict is None:
        return _unavailable(answer, said)
    code = said.code or ("refused" if problem is None else "invalid_response")
    advice = _ADVICE.get(code, "") if verdict is GrantMisconfiguredError else ""
    status = "; ".join(filter(None, (f"status {answer.status}", advice)))
    return verdict(code, said.description or str(problem or status))


def _unavailable(answer: Answer, said: _Said) -> RefreshUnavailableError:
    status = answer.status
    if 300 <= status < 400:
        hint = "a redirect, which is never followed; is the URL right?"
    elif answer.is_success and said.code is None:
        hint = "not JSON: cut short, or from somebody in between"
    else:
        hint = ": ".join(filter(None, (said.code, said.description))) or "without an error code"
        if said.code is None and status in _NOT_HERE:
            hint += "; is the URL right?"
    told = said.code not in (None, "server_error") and 400 <= status < 500
    return RefreshUnavailableError(
        f"the server answered with status {status} ({hint})",
        retry_after=read_retry_after(answer.headers),
        safe_to_repeat=status in _BUSY or told or said.code == "temporarily_unavailable",
    )


def read_retry_after(headers: httpx.Headers) -> float | None:
    """Return the seconds that ``Retry-After`` asks for (RFC 9110 10.2.3); None if there are none.

    A date counts from the answer's own ``Date``, so that the two clocks need not agree. One that is
    past, or garbage, counts as none.
    """
    value: str = headers.get("Retry-After", "").strip()
    if _DELAY.fullmatch(value):
        return float(value)
    until, date = _read_date(value), _read_date(headers.get("Date", ""))
    if until is None or date is None or until < date:
        return None
    return until - date


def _read_date(value: str) -> float | None:
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    return date.timestamp() if date.tzinfo is not None else None
