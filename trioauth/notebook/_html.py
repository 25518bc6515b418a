"""How sessions, tokens and states look in a notebook. Pure: a value in, a small table out.

Each value is text that was escaped, and none is a secret. Colours are the theme's own, where there
is one (Jupyter's CSS variables); otherwise those of the text around. There is no style sheet and no
script, which a notebook that isn't trusted would not show.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any, TypeAlias

from trioauth._core.login_state import LoggedIn, LoggedOut
from trioauth._core.state import Closed
from trioauth._core.statistics import Statistics
from trioauth._errors import careful, printable
from trioauth._session import Session
from trioauth._tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from trioauth._outcomes import LogoutReason

    Row: TypeAlias = tuple[str, str]

_COLOURS = {
    "logged in": "var(--jp-success-color1, #178f68)",
    "logged out": "var(--jp-error-color1, #cf3a53)",
    "closed": "#8793a3",
}
_LEFT = "text-align:left;vertical-align:top;color:inherit;"

_REASONS: dict[LogoutReason, str] = {
    "never_logged_in": "nobody has logged in yet",
    "asked": "the program logged out",
    "refused": "the server said no",
    "unavailable": "the server could not be asked",
    "replaced": "a new login took its place",
    "elsewhere": "another process logged out",
}
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def of_session(session: Session) -> str:
    """Draw a session: its state, how long the token is good, and how many tasks wait."""
    closed = isinstance(session._machine.state, Closed)
    rows = _rows_of_statistics(session.statistics(), closed=closed)
    return _table("Session", "closed" if closed else _word(session.state), rows)


def of_statistics(statistics: Statistics) -> str:
    """Draw statistics: the same, for the moment at which they were taken."""
    return _table("Statistics", _word(statistics.state), _rows_of_statistics(statistics))


def of_state(state: LoggedIn | LoggedOut) -> str:
    """Draw a state."""
    return _table(type(state).__name__, _word(state), _rows_of_state(state))


def of_tokens(tokens: Tokens) -> str:
    """Draw tokens: all fields but the secrets."""
    rows = [
        ("access token", "hidden"),
        ("refresh token", "none" if tokens.refresh_token is None else "hidden"),
        ("good for", "unknown" if tokens.expires_in is None else in_time(tokens.expires_in)),
        ("scope", _scope(tokens.scope)),
    ]
    return _table("Tokens", "", rows)


DRAWN: tuple[tuple[type, Callable[[Any], str]], ...] = (
    (Session, of_session),
    (Statistics, of_statistics),
    (LoggedIn, of_state),
    (LoggedOut, of_state),
    (Tokens, of_tokens),
)
"""What can be drawn, and by which function."""


def in_time(seconds: float) -> str:
    """Write a duration roughly, for a person to read."""
    if seconds <= 0:
        return "nothing: expired"
    if seconds < 1:
        return "less than a second"
    for unit, name, most in ((1, "s", 99), (_MINUTE, "min", 99), (_HOUR, "h", 47)):
        if round(seconds / unit) <= most:
            return f"{round(seconds / unit)} {name}"
    return f"{round(seconds / _DAY):,} days"


def _rows_of_statistics(statistics: Statistics, *, closed: bool = False) -> Iterable[Row]:
    yield from _rows_of_state(statistics.state)
    if statistics.seconds_until_expiry is not None:
        yield "token good for", in_time(statistics.seconds_until_expiry)
    elif isinstance(statistics.state, LoggedIn) and not closed:
        yield "token good for", "unknown: until a server refuses it"
    if not closed:
        yield "waiting", _count(statistics.tasks_waiting, "task", "nobody")
    yield "refreshes", str(statistics.refreshes)
    yield "sent again", _count(statistics.retries, "request", "nothing")
    if statistics.rejections:
        yield "refused early", _count(statistics.rejections, "generation", "none")
    if not statistics.saved:
        yield "store", "does not have the newest news"
    if statistics.last_failure is not None:
        yield "last failure", statistics.last_failure


def _rows_of_state(state: LoggedIn | LoggedOut) -> Iterable[Row]:
    if isinstance(state, LoggedIn):
        yield "generation", str(state.generation)
        if state.scope:
            yield "scope", _scope(state.scope)
        return
    yield "because", _REASONS[state.reason]
    if state.cause is not None:
        yield "cause", careful(state.cause)


def _count(number: int, what: str, nothing: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}" if number else nothing


def _scope(scope: frozenset[str]) -> str:
    return " ".join(sorted(scope)) or "not said"


def _word(state: LoggedIn | LoggedOut) -> str:
    return "logged in" if isinstance(state, LoggedIn) else "logged out"


def _table(title: str, state: str, rows: Iterable[Row]) -> str:
    dot = f' <span style="color:{_COLOURS[state]}">●</span> {state}' if state else ""
    lines = [
        f'<tr><th colspan="2" style="{_LEFT}font-weight:normal"><b>{title}</b>{dot}</th></tr>',
        *(
            f'<tr><td style="{_LEFT}opacity:.75">{name}</td>'
            f'<td style="{_LEFT}">{escape(printable(value))}</td></tr>'
            for name, value in rows
        ),
    ]
    style = "border-collapse:collapse;color:var(--jp-ui-font-color1, inherit)"
    return "\n".join([f'<table class="trioauth" style="{style}">', *lines, "</table>"])
