"""What each side does when something goes wrong: the table of docs/comparison.md.

    python -m benchmarks.peers                print it
    python -m benchmarks.peers --write-page   put it into the page

Each side is asked the same questions on a virtual clock, in front of the same strict server: its
refresh tokens rotate, and one that is presented twice ends the login. What is counted is what
that server saw; the words are made from it.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import logging
import platform
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import parse_qs

import attrs
import httpx
import trio
import trio.testing

from ._sides import (
    AUTHLIB,
    AZURE,
    HTTPX_AUTH,
    LOCK,
    MCP,
    OPENERS,
    OURS,
    AzureClient,
    World,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from types import ModuleType

PAGE = Path(__file__).parent.parent / "docs" / "comparison.md"
BEGIN, END = "<!-- python -m benchmarks.peers -->", "<!-- until here -->"

SIDES = {
    "trioauth": OURS["httpx2"],
    "pasted lock": LOCK["httpx2"],
    "Authlib": AUTHLIB,
    "MCP SDK": MCP,
    "azure-core": AZURE,
    "httpx-auth": HTTPX_AUTH,
}
# Whose versions matter.
_PACKAGES = ("trioauth", "authlib", "mcp", "azure-core", "httpx-auth", "httpx2", "httpx", "trio")
_TASKS = 20
_API_SECONDS, _TOKEN_SECONDS = 0.1, 1.0


@attrs.define
class StrictWorld(World):
    """A world that rotates, and takes a refresh token that comes twice for theft."""

    over: bool = False
    """The login: nothing is accepted any more."""
    refused_before: int = 0
    """Access tokens of lower numbers are refused."""
    presented: list[str] = attrs.field(factory=list)
    calls: int = 0
    """Of the token endpoint."""
    strangers: list[str | None] = attrs.field(factory=list)
    """What came in the header of requests to another host."""
    in_the_air: int = 0
    most_in_the_air: int = 0
    blocked: bool = False
    """Whether the whole program waited for a refresh."""

    def transport(self, library: ModuleType) -> dict[str, Any]:
        """Return the option that leads a client here."""
        return {"transport": library.MockTransport(partial(self._serve, library))}

    def blocking_transport(self) -> dict[str, Any]:
        """Return the same for a synchronous client, which can only ask for tokens."""
        return {"transport": httpx.MockTransport(self._issue_to_one_who_blocks)}

    async def _serve(self, library: Any, request: Any) -> Any:
        if request.url.path == self.token_path:
            # What the server has done is done, whether or not its answer arrives.
            answer = self._issue(library, request)
            await trio.sleep(_TOKEN_SECONDS)
            return answer
        signature = request.headers.get("Authorization")
        if request.url.host != "api.test":
            self.strangers.append(signature)
            return library.Response(200)
        if request.method != "GET" or request.url.path.startswith("/.well-known"):
            return library.Response(404)
        self.in_the_air += 1
        self.most_in_the_air = max(self.most_in_the_air, self.in_the_air)
        try:
            await trio.sleep(_API_SECONDS)
        finally:
            self.in_the_air -= 1
        return library.Response(200 if self._accepts(signature) else 401)

    def _accepts(self, signature: str | None) -> bool:
        _, _, number = (signature or "").partition("Bearer access-")
        return not self.over and number.isdigit() and int(number) >= self.refused_before

    def _issue_to_one_who_blocks(self, request: httpx.Request) -> Any:
        self.blocked = True
        return self._issue(httpx, request)

    def _issue(self, library: Any, request: Any) -> Any:
        self.calls += 1
        if self.token_status != 200:
            return library.Response(self.token_status)
        form = parse_qs(request.content.decode())
        for token in form.get("refresh_token", []):
            self.over = self.over or token in self.presented
            self.presented.append(token)
        if self.over:
            return library.Response(400, json={"error": "invalid_grant"})
        return self._tokens(library)


# --- questions ------------------------------------------------------------------------------------

Question: TypeAlias = "Callable[[Any, StrictWorld], Awaitable[str]]"


async def _status(client: Any, url: str = "/me") -> int | str:
    """Make a request; return the status, or the name of the error."""
    try:
        return int((await client.get(url)).status_code)
    except Exception as exc:  # noqa: BLE001  # that is the question
        return type(exc).__name__


async def _all(client: Any, number: int = _TASKS) -> list[int | str]:
    found: list[int | str] = []

    async def one() -> None:
        found.append(await _status(client))

    async with trio.open_nursery() as nursery:
        for _ in range(number):
            nursery.start_soon(one)
    return found


def _answered(found: list[int | str]) -> str:
    others = sorted({str(each) for each in found if each != 200})
    return f"{found.count(200)} answered" + (f" ({', '.join(others)})" if others else "")


def _refreshes(world: StrictWorld) -> str:
    return "1 refresh" if world.refreshes == 1 else f"{world.refreshes or 'no'} refreshes"


async def cancelled(client: Any, world: StrictWorld) -> str:
    """A request is cancelled while the server's answer with the new tokens is on its way."""
    with trio.move_on_after(_TOKEN_SECONDS / 2) as scope:
        await _status(client)
    if not scope.cancelled_caught:
        return "can't be cancelled there"
    status = await _status(client)
    if world.over:
        return "the spent refresh token is presented again: **a new login is needed**"
    if status != 200:
        return f"{status}: **a new login is needed**"
    return f"still logged in, {_refreshes(world)}"


async def refused(client: Any, world: StrictWorld) -> str:
    """The API refuses the access token, which looks good, for many tasks at once."""
    world.refused_before = 1
    found = await _all(client)
    return f"{_answered(found)}, {_refreshes(world)}"


async def expired(client: Any, world: StrictWorld) -> str:
    """Many tasks find the token expired by the clock."""
    found = await _all(client)
    return f"{_answered(found)}, {_refreshes(world)}"


async def down(client: Any, world: StrictWorld) -> str:
    """The token endpoint answers 503 to many tasks whose token has expired, and later recovers."""
    world.token_status = 503
    await _all(client)
    calls = world.calls
    world.token_status = 200
    await trio.sleep(60)
    status = await _status(client)
    after = "still logged in" if status == 200 else f"{status}: **a new login is needed**"
    return f"asked {calls} times; {after}" if calls > 1 else f"asked once; {after}"


async def stranger(client: Any, world: StrictWorld) -> str:
    """A request to another host."""
    error = await _status(client, "https://elsewhere.test/")
    if not world.strangers:
        return f"`{error}`, nothing is sent"
    return "**the token is sent along**" if world.strangers[0] else "sent without the token"


async def concurrent(client: Any, world: StrictWorld) -> str:
    """Many requests at once with a fresh token."""
    await _all(client)
    return f"{world.most_in_the_air} at once"


async def early(client: Any, world: StrictWorld) -> str:
    """A request with a token that is good for a little longer."""
    if isinstance(client, AzureClient):
        await _status(client)  # It has no token before.
    began = trio.current_time()
    await _status(client)
    if world.blocked or trio.current_time() - began > _API_SECONDS + 0.01:
        return "waits for a refresh"
    return "goes on at once; renewed meanwhile" if world.calls else "goes on at once"


async def meanwhile(client: Any, world: StrictWorld) -> str:  # noqa: ARG001  # as all of them
    """What the rest of the program does during a refresh."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await trio.sleep(_TOKEN_SECONDS / 10)
            ticks += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tick)
        await _status(client)
        nursery.cancel_scope.cancel()
    # The answer of the API takes one tick, and the refresh ten.
    return "goes on" if ticks > 5 else "stands still"


_LIFETIME = 3600.0
_FRESH, _EXPIRED, _EARLY = _LIFETIME, -10.0, 20.0

QUESTIONS: dict[str, tuple[Question, float]] = {
    "A request is cancelled after the server has rotated": (cancelled, _EXPIRED),
    f"The API answers 401 to {_TASKS} tasks": (refused, _FRESH),
    f"{_TASKS} tasks find the token expired": (expired, _EXPIRED),
    f"The token endpoint answers 503 to {_TASKS} tasks, and recovers": (down, _EXPIRED),
    f"A request when the token has {_EARLY:.0f} s left": (early, _EARLY),
    "The rest of the program during a refresh": (meanwhile, _EXPIRED),
    f"{_TASKS} requests with a fresh token": (concurrent, _FRESH),
    "A request to another host": (stranger, _FRESH),
}
"""Each with how many seconds the first token has left."""


async def _ask(side: str, question: Question, left: float) -> str:
    world = StrictWorld(expires_in=left, lifetime=_LIFETIME, refused_before=int(left < 0))
    if side in OURS.values():
        # It goes by trio's clock, and by the age of the tokens: they get old first.
        world.expires_in = _LIFETIME
    async with OPENERS[side](world) as client:
        if side in OURS.values():
            await trio.sleep(_LIFETIME - left)
        return await question(client, world)


def answer(side: str, title: str) -> str:
    """Ask one side one question, in a run of its own."""
    clock = trio.testing.MockClock(autojump_threshold=0)
    # Whom we compare with may have something to say about it.
    silent = logging.root.manager.disable
    logging.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return trio.run(_ask, SIDES[side], *QUESTIONS[title], clock=clock)
    finally:
        logging.disable(silent)


def table() -> Iterator[str]:
    """Give the lines of the table."""
    yield f"| what happens | {' | '.join(SIDES)} |"
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
    lines = "\n".join(table())
    if not parser.parse_args().write_page:
        sys.stdout.write(f"{lines}\n")
        return
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{lines}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
