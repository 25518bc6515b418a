"""Reading the answer of a token endpoint: tokens, or which of the errors it is (pure).

With servers that speak OAuth the ``error`` code decides, not the status; what no code
decides, the status does:

===========================  ==================================================================
2xx with valid tokens        `Tokens`
a known refusal, by a code   refused, whatever the status: `OAUTH_CODES`, and the grant's own
a code about the client      misconfigured, whatever the status
2xx, tokens of another type  misconfigured
a status in ``statuses``     refused
2xx, JSON without tokens     unavailable, and the refresh token may have been used; refused if
                             ``no_tokens``
429, 503                     unavailable, safe to repeat
an unknown code with a 4xx   unavailable, safe to repeat: the server has read it and done nothing
anything else                unavailable, and the refresh token may have been used: not JSON, cut
                             short, 3xx (never followed; one may come after the deed), other 5xx
===========================  ==================================================================

A 2xx answer that can't be used may have a new refresh token, and then the old one may be spent.
The error carries it, hidden (`Error._rotated`), and such an answer never counts as refused for
having no tokens.
"""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final, TypeAlias, cast, final

import attrs

from trioauth._codes import ADVICE, OAUTH_CODES
from trioauth._errors import (
    Error,
    GrantError,
    GrantMisconfiguredError,
    GrantRefusedError,
    RefreshUnavailableError,
    TokenResponseError,
)
from trioauth._secrets import Secrets, printable
from trioauth._tokens import NotJSONError, Tokens, decode_object

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    import httpx

    from trioauth._codes import Verdict

    from .channel import Answer

Failure: TypeAlias = GrantRefusedError | GrantMisconfiguredError | RefreshUnavailableError

BARE_REFUSALS: Final = frozenset({400, 401, 403})
"""How servers say no that say it with the status."""

_BUSY = frozenset({429, 503})
# What a web server says where there is no token endpoint.
_NOT_HERE = frozenset({404, 405})
# Of more digits it would not be about this century.
_DELAY = re.compile(r"[0-9]{1,10}")

_NO_SECRETS = Secrets()


@final
@attrs.frozen
class Rules:
    """How a server says no; by default as OAuth has it."""

    codes: Mapping[str, Verdict] = OAUTH_CODES
    """What the ``error`` codes mean."""
    refusals: Mapping[str, frozenset[str]] = attrs.field(factory=dict[str, "frozenset[str]"])
    """More that refuse: by the member they are in, or its path with dots between the names."""
    statuses: Collection[int] = ()
    """Statuses that refuse, unless a code says otherwise."""
    no_tokens: bool = False
    """Whether a 2xx with JSON that holds no valid tokens refuses."""
    settings: bool = False
    """Whether the grant has settings for this, so that a message can name them."""


OAUTH: Final = Rules()


def find(body: object, path: str) -> object:
    """Return the member at a path with dots between the names; None if there is none."""
    for name in path.split("."):
        if not isinstance(body, dict):
            return None
        body = cast("dict[str, object]", body).get(name)
    return body


@final
@attrs.frozen
class _Said:
    """What an answer says in words, fit to be shown."""

    code: str | None = None
    description: str | None = None
    refuses: bool = False
    """Whether it is one of the grant's own refusals."""
    is_json: bool = False

    @classmethod
    def by(cls, answer: Answer, secrets: Secrets, rules: Rules) -> _Said:
        body, problem = decode_object(answer.body)

        def read(name: str) -> str | None:
            value = body.get(name)
            if not isinstance(value, str) or not value:
                return None
            # A code that is known is no secret, even if a short secret happens to be a part of it.
            return value if value in rules.codes else printable(value, secrets=secrets)

        refusal = _refusal(body, rules.refusals)
        return cls(
            refusal or read("error"),
            read("error_description"),
            refusal is not None,
            not isinstance(problem, NotJSONError),
        )


def _refusal(body: Mapping[str, object], refusals: Mapping[str, frozenset[str]]) -> str | None:
    """Return the code by which an answer refuses, of those that the grant was told."""
    for path, codes in refusals.items():
        value = find(body, path)
        # A number is the same code as its digits; but True is not 1.
        code = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
        if code in codes:
            return code
    return None


def secrets_of(tokens: Tokens | None, *others: str) -> Secrets:
    """Return what must not be seen: the tokens that are to be renewed, and what else was sent."""
    if tokens is None:
        return Secrets(others)
    return Secrets(filter(None, (*others, tokens.access_token, tokens.refresh_token)))


def read_answer(
    answer: Answer,
    tokens: Tokens | None = None,
    *,
    secrets: Secrets = _NO_SECRETS,
    read: Callable[[Mapping[str, object]], Tokens] = Tokens.from_response,
    rules: Rules = OAUTH,
) -> Tokens:
    """Return the tokens in an answer, or raise what it is instead.

    Args:
      answer: What the server sent.
      tokens: The ones to be renewed.
      secrets: What else was sent to it. Neither is seen in an error, even if the server echoes it.
      read: Makes tokens of a JSON object, or raises `TokenResponseError`, or `GrantError`.
      rules: How the server says no.

    Raises:
      GrantRefusedError: The server said no.
      GrantMisconfiguredError: The server doesn't accept the client, or such a request.
      RefreshUnavailableError: It is no answer to the question.
    """
    problem: Error | None = None
    if answer.is_success:
        found = _read_body(answer.body, read)
        if isinstance(found, Tokens):
            return found
        problem = found
    hidden = secrets_of(tokens, *secrets)
    error = failure(answer, secrets=hidden, rules=rules, problem=problem, tokens=tokens)
    # Raised only here: the frames below have the answer in their variables.
    raise error from (problem if type(problem) is TokenResponseError else None)


def _read_body(body: bytes, read: Callable[[Mapping[str, object]], Tokens]) -> Tokens | Error:
    """Return the tokens in the body of an answer, or what is wrong with it."""
    members, problem = decode_object(body)
    if isinstance(problem, NotJSONError):
        # Not JSON, so not from the token endpoint: nothing is known.
        return problem
    try:
        found: Tokens | Error = read(members)
    except (TokenResponseError, RefreshUnavailableError, GrantError) as exc:
        # Without the frames that it came through, whose variables hold the answer.
        found = exc.with_traceback(None)
    if problem is None:
        return found
    # A member that occurs twice makes an answer useless, whatever the others say.
    problem._rotated = found.refresh_token if isinstance(found, Tokens) else found._rotated
    return problem


def failure(
    answer: Answer,
    *,
    secrets: Secrets = _NO_SECRETS,
    rules: Rules = OAUTH,
    problem: Error | None = None,
    tokens: Tokens | None = None,
) -> Failure:
    """Return the error that an answer is; see `read_answer`.

    Args:
      answer: What the server sent.
      secrets: What must not be seen in the error, besides what the answer hides itself.
      rules: How the server says no.
      problem: What is wrong with it, if its status says that it should have tokens.
      tokens: The ones to be renewed: their refresh token is no new one.
    """
    said = _Said.by(answer, Secrets((*secrets, *answer._sent)), rules)
    rotated = None if problem is None else problem._rotated
    if tokens is not None and rotated == tokens.refresh_token:
        rotated = None
    error = _judge(answer, said, rules, problem, rotates=rotated is not None)
    error._rotated = rotated
    return error


def _judge(
    answer: Answer, said: _Said, rules: Rules, problem: Error | None, *, rotates: bool
) -> Failure:
    verdict: Verdict = None
    is_json = problem is not None and said.is_json
    if said.refuses:
        verdict = GrantRefusedError
    elif said.code is not None and said.code in rules.codes:
        verdict = rules.codes[said.code]
    elif isinstance(problem, GrantMisconfiguredError):
        return problem
    elif answer.status in rules.statuses or (rules.no_tokens and is_json and not rotates):
        verdict = GrantRefusedError
    if verdict is None:
        return _unavailable(answer, said, rules, problem)
    code = said.code or ("invalid_response" if is_json else "refused")
    advice = ADVICE.get(code, "") if verdict is GrantMisconfiguredError else ""
    status = "; ".join(filter(None, (f"status {answer.status}", advice)))
    return verdict(code, said.description or (str(problem) if is_json else status))


def _unavailable(
    answer: Answer, said: _Said, rules: Rules, problem: Error | None
) -> RefreshUnavailableError:
    status = answer.status
    told = said.code not in (None, "server_error") and 400 <= status < 500
    return RefreshUnavailableError(
        f"the server answered with status {status} ({_hint(answer, said, rules, problem)})",
        retry_after=read_retry_after(answer.headers),
        safe_to_repeat=status in _BUSY or told or said.code == "temporarily_unavailable",
    )


def _hint(answer: Answer, said: _Said, rules: Rules, problem: Error | None) -> str:
    """Say what is odd about an answer, and which setting would make it a refusal."""
    status = answer.status
    if 300 <= status < 400:
        return "a redirect, which is never followed; is the URL right?"
    if answer.is_success and not said.is_json:
        return "not JSON: cut short, or from a proxy in between"
    if said.code is not None:
        hint = ": ".join(filter(None, (said.code, said.description)))
        if rules.settings and said.code not in rules.codes:
            hint += "; if that ends a login, name it in refusals="
        return hint
    if problem is not None:
        return f"no tokens: {problem}"
    if status in _NOT_HERE:
        return "without an error code; is the URL right?"
    if rules.settings and status in BARE_REFUSALS:
        return (
            "without an error code; if that is how this server ends a login, set "
            "bare_status_refuses=True"
        )
    return "without an error code"


def scopes_in(scope: frozenset[str], known: Collection[str]) -> frozenset[str]:
    """Return the scopes of an answer, also if there are commas in between (GitHub, Slack).

    A comma may be a part of a scope (RFC 6749 3.3). So it counts only if what is between commas was
    known before.

    Args:
      scope: As it was read, by blanks.
      known: The scopes that were asked for, or granted before.
    """
    if scope <= set(known):
        return scope
    parts = frozenset(part for each in scope for part in each.split(",") if part)
    return scope if parts.isdisjoint(known) else parts


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
    except (ValueError, OverflowError):
        return None
    return date.timestamp() if date.tzinfo is not None else None
