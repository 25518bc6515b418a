"""How each library logs a person in: the second table of docs/comparison.md.

    python -m benchmarks.peer_logins                print it
    python -m benchmarks.peer_logins --write-page   put it into the page

Each side is asked the same questions in front of the same server, on a socket: `AuthServer` of
`trioauth.testing`, which is ordered to say something wrong. The words are made from what it saw
and from what the library raised or logged. It takes a minute and a half.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import logging
import platform
import sys
import threading
import time
import warnings
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import parse_qs, urlsplit

import attrs
import trio

from trioauth.testing import Persona

from ._login_sides import SIDES
from ._login_world import (
    Refused,
    come_back,
    hold_open,
    in_background,
    is_free,
    open_world,
    port_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ._login_sides import Side
    from ._login_world import World

    Question: TypeAlias = Callable[[Side, World], str]

PAGE = Path(__file__).parent.parent / "docs" / "comparison.md"
BEGIN, END = "<!-- python -m benchmarks.peer_logins -->", "<!-- until here -->"
_PACKAGES = (
    "trioauth",
    "authlib",
    "requests_oauth2client",
    "google-auth-oauthlib",
    "msal",
    "mcp",
)
# Seconds: until a question counts as unanswered, and until a person is given up or not.
_DEADLINE, _PATIENCE, _LONG = 90.0, 1, 30
_INTERVAL, _SLOWER_BY = 1.0, 5.0
# What a timer may be early by.
_SLACK = 0.1


def _error(side: Side, world: World, **changes: str) -> str | None:
    """Log in with a callback that was changed like this; return the name of the error, if any."""
    try:
        side.log_in(world, lambda url: [world.browse(url, **changes)])
    except Exception as exc:  # noqa: BLE001  # that is the question
        return type(exc).__name__
    return None


# --- two halves -----------------------------------------------------------------------------------


def logs_in(side: Side, world: World) -> str:
    """The server answers as it should."""
    error = _error(side, world)
    return f"**`{error}`**" if error else "logs in"


def pkce(side: Side, world: World) -> str:
    """PKCE, without being told to."""
    said: list[str] = []

    def note(url: str) -> list[str]:
        said.extend(parse_qs(urlsplit(url).query).get("code_challenge_method", []))
        return [world.browse(url)]

    # Without PKCE the server refuses.
    with suppress(Exception):
        attrs.evolve(side, bare=True).log_in(world, note)
    return said[0] if said else "**no**"


def callback(side: Side, world: World, **changes: str) -> str:
    """A callback that is not the one of this log-in."""
    error = _error(side, world, **changes)
    sent = "**the code is sent**" if world.server.ledger.calls["token"] else "nothing sent"
    return f"`{error}`, {sent}" if error else sent


def id_token(side: Side, world: World, **lie: str) -> str:
    """An ID token with a claim that is wrong."""
    if not side.knows_id_tokens:
        return "no ID tokens"
    world.server.lie(id_token=lie)
    error = _error(side, world)
    return f"`{error}`" if error else "**logs in**"


def pushed(side: Side, world: World) -> str:
    """The server takes nothing but pushed requests."""
    error = _error(side, world)
    if error is None:
        return "pushes it, and logs in"
    if side.can_push and _error(attrs.evolve(side, pushes=True), world) is None:
        return "logs in, if the program pushes it"
    return "**refused**" if error == Refused.__name__ else f"**`{error}`**"


def not_renewable(side: Side, world: World) -> str:
    """No refresh token comes."""
    error = _error(side, world)
    if error:
        return f"`{error}`"
    return "says so" if any("refresh" in line for line in world.said) else "says nothing"


# --- a port of its own ----------------------------------------------------------------------------


def another_first(side: Side, world: World) -> str:
    """Another callback comes before the right one, to the port or to the web application."""

    def both(url: str) -> list[str]:
        right = world.browse(url)
        return [right.replace("state=", "state=another"), right]

    def browser(url: str) -> None:
        in_background(partial(come_back, url, both(url)))

    try:
        try:
            side.listen(world, browser, _LONG)
        except NotImplementedError:
            side.log_in(world, both)
    except Exception as exc:  # noqa: BLE001  # that is the question
        return f"`{type(exc).__name__}`: **the log-in is over**"
    return "logs in"


def connection_ahead(side: Side, world: World) -> str:
    """The browser has opened a connection to the port before, and comes back by another one."""
    closed = threading.Event()

    def browser(url: str) -> None:
        then = partial(come_back, url, [world.browse(url)])
        in_background(partial(hold_open, port_of(url), closed, then))

    try:
        side.listen(world, browser, _LONG)
    except NotImplementedError:
        return "no port of its own"
    except Exception as exc:  # noqa: BLE001  # that is the question
        return f"`{type(exc).__name__}`: **the log-in is over**"
    waited = closed.is_set()
    closed.set()
    return "logs in when that connection is closed" if waited else "logs in"


def given_up(side: Side, world: World) -> str:
    """The person never comes back."""
    ports: list[int] = []
    try:
        side.listen(world, lambda url: ports.append(port_of(url)), _PATIENCE)
    except NotImplementedError:
        return "no port of its own"
    except Exception as exc:  # noqa: BLE001  # that is the question
        error = type(exc).__name__
    return f"`{error}`, {'free' if is_free(ports[0]) else '**still taken**'}"


# --- devices --------------------------------------------------------------------------------------


def interval(side: Side, world: World) -> str:
    """The person takes a while."""
    world.server.fail(400, error="authorization_pending", times=2)
    return _polls(side, world, _INTERVAL)


def slow_down(side: Side, world: World) -> str:
    """The server asks for longer pauses, once."""
    world.server.fail(400, error="slow_down")
    world.server.fail(400, error="authorization_pending")
    return _polls(side, world, _INTERVAL + _SLOWER_BY)


def _polls(side: Side, world: World, least: float) -> str:
    try:
        side.device(world)
    except NotImplementedError:
        return "no device flow"
    except Exception as exc:  # noqa: BLE001  # that is the question
        return f"**`{type(exc).__name__}`**"
    # The last one may not have been noted yet.
    time.sleep(_SLACK)
    pauses = [after - before for before, after in zip(world.polls, world.polls[1:], strict=False)]
    if len(pauses) == 2 and min(pauses) > least - _SLACK:
        return "kept"
    return f"**asks again after {min(pauses):.1f} s**"


# --- the table ------------------------------------------------------------------------------------

_PLAIN = Persona(interval=_INTERVAL)
# It offers no pushed requests, so that the address that the browser opens says all.
_ADDRESSES = attrs.evolve(
    _PLAIN,
    endpoints={name: path for name, path in _PLAIN.endpoints.items() if name != "par"},
)

QUESTIONS: dict[str, tuple[Question, Persona]] = {
    "The server answers as it should": (logs_in, _PLAIN),
    "PKCE, unless the program says otherwise (RFC 7636)": (pkce, _ADDRESSES),
    "A callback with another `state`": (partial(callback, state="another"), _PLAIN),
    "A callback with the `iss` of another server (RFC 9207)": (
        partial(callback, iss="https://evil.test"),
        _PLAIN,
    ),
    "A callback with another `state`, and then the right one": (another_first, _PLAIN),
    "An ID token for another client": (partial(id_token, aud="another"), _PLAIN),
    "An ID token of another issuer": (partial(id_token, iss="https://evil.test"), _PLAIN),
    "An ID token with another `nonce`": (partial(id_token, nonce="another"), _PLAIN),
    "The server takes pushed requests only (RFC 9126)": (
        pushed,
        attrs.evolve(_PLAIN, requires_par=True),
    ),
    "No refresh token comes": (not_renewable, attrs.evolve(_PLAIN, refresh_tokens=False)),
    "The browser opens a connection ahead, and uses another": (connection_ahead, _ADDRESSES),
    "The person never comes back: the error, and the port": (given_up, _ADDRESSES),
    f"Device: the interval of {_INTERVAL:.0f} s": (interval, _PLAIN),
    "Device: `slow_down` (RFC 8628 3.5)": (slow_down, _PLAIN),
}
"""Each with the server in front of which it is asked."""


async def _ask(side: Side, question: Question, persona: Persona) -> str:
    async with open_world(persona, side.secret) as world:
        with trio.fail_after(_DEADLINE):
            return await trio.to_thread.run_sync(question, side, world, abandon_on_cancel=True)


def answer(side: str, title: str) -> str:
    """Ask one side one question, in a run of its own."""
    with warnings.catch_warnings():
        # So that they can be read beside what is logged.
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        try:
            return trio.run(_ask, SIDES[side](), *QUESTIONS[title])
        finally:
            logging.captureWarnings(capture=False)


def table() -> Iterator[str]:
    """Give the lines of the table."""
    yield f"| a person logs in | {' | '.join(SIDES)} |"
    yield f"| --- |{' --- |' * len(SIDES)}"
    for title in QUESTIONS:
        yield f"| {title} | {' | '.join(answer(side, title) for side in SIDES)} |"
    yield ""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES)
    yield f"{versions}, Python {platform.python_version()}."


def main() -> None:
    """Print the table, or put it into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write-page", action="store_true")
    write_page = parser.parse_args().write_page
    lines = "\n".join(table())
    if not write_page:
        sys.stdout.write(f"{lines}\n")
        return
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{lines}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
