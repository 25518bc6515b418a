"""Calling a log-in with check_login in between it and its server."""

from __future__ import annotations

import inspect
import os
import re
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, final
from urllib.parse import parse_qs

import attrs
import httpx
import trio

from trioauth._tokens import Tokens
from trioauth.oauth.channel import BackChannel

from ._conformance import broken, kind, shows

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

# What in a form no error may show (RFC 6749, 7523, 7636, 8628), and in an answer.
_SECRET = (
    "assertion",
    "client_assertion",
    "client_secret",
    "code",
    "code_verifier",
    "device_code",
    "password",
    "refresh_token",
)
_IN_JSON = re.compile(
    r'"(?:access_?token|refresh_?token|id_token|device_code|password|client_secret)"'
    r'\s*:\s*"([^"]+)"',
    re.IGNORECASE,
)


def count_sockets() -> int:
    """Count the open sockets of this process; 0 where that can't be found out."""
    count = 0
    with suppress(OSError):
        # Linux and macOS have it; one of these is that of the listing, and closed by now.
        for name in os.listdir("/dev/fd"):  # noqa: PTH208  # numbers, no paths
            with suppress(OSError):
                count += stat.S_ISSOCK(os.fstat(int(name)).st_mode)
    return count


@final
@attrs.frozen
class Left:
    """What a log-in could leave behind, as far as it can be counted."""

    sockets: int
    tasks: int

    @classmethod
    def look(cls) -> Left:
        """Count."""
        return cls(count_sockets(), trio.lowlevel.current_statistics().tasks_living)

    def check(self, when: str) -> None:
        """Compare with what there is now.

        Raises:
          AssertionError: There is more than there was.
        """
        now = Left.look()
        if now.sockets > self.sockets:
            broken(
                f"a log-in must leave no port and no connection open, and did {when}: close each"
                " socket in a `with` block"
            )
        if now.tasks > self.tasks:
            broken(
                f"a log-in must leave no task running, and did {when}: start tasks in a nursery of"
                " your own, not in a system task, and cancel it at the end"
            )


@final
@attrs.define(eq=False)
class Line(httpx.AsyncBaseTransport):
    """Between a log-in and its server: counts, listens, and breaks when it was told to."""

    _to: httpx.AsyncBaseTransport
    broken_from: float = attrs.field(default=float("inf"), init=False)
    """From which request on, counted from 1."""
    break_with: Callable[[httpx.Request], Awaitable[httpx.Response]] | None = attrs.field(
        default=None, init=False
    )
    requests: int = attrs.field(default=0, init=False)
    secrets: set[str] = attrs.field(factory=set[str], init=False, repr=False)
    """What was heard, and must not be seen."""
    reached: trio.Event = attrs.field(factory=trio.Event, init=False)
    """Whether a request came that was not let through."""

    def expect(
        self,
        broken_from: float = float("inf"),
        break_with: Callable[[httpx.Request], Awaitable[httpx.Response]] | None = None,
    ) -> None:
        """Get ready for the next call."""
        self.broken_from, self.break_with = broken_from, break_with
        self.requests, self.reached = 0, trio.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Let a request through, or don't.

        Cancellation:
          As that of the server.
        """
        await trio.lowlevel.checkpoint()
        self.requests += 1
        sent = await request.aread()
        self._listen(sent.decode("utf-8", "replace"))
        if self.requests >= self.broken_from and self.break_with is not None:
            self.reached.set()
            return await self.break_with(request)
        response = await self._to.handle_async_request(request)
        answer = await response.aread()
        self._listen(answer.decode("utf-8", "replace"))
        headers = [
            (name, value)
            for name, value in response.headers.multi_items()
            if name.lower() not in ("content-length", "transfer-encoding")
        ]
        return httpx.Response(response.status_code, headers=headers, content=answer)

    def _listen(self, text: str) -> None:
        form = parse_qs(text)
        self.secrets |= {value for name in _SECRET for value in form.get(name, ())}
        self.secrets |= set(_IN_JSON.findall(text))


@final
@attrs.frozen
class Ended:
    """How one call of the log-in ended."""

    tokens: Tokens | None
    error: Exception | None
    requests: int

    @property
    def did(self) -> str:
        """What it did, for a sentence that says what it should have done."""
        return "returned tokens" if self.error is None else f"raised {kind(self.error)}"


@final
@attrs.define(eq=False)
class LoginCaller:
    """Calls a log-in, and sees to what holds whatever comes of it."""

    log_in: Callable[[BackChannel], Awaitable[Tokens]]
    line: Line
    secrets: tuple[str, ...]
    patience: float

    def open_channel(self) -> BackChannel:
        """Make a channel that knows nothing yet."""
        return BackChannel(lambda: httpx.AsyncClient(transport=self.line))

    def ask(self, channel: BackChannel) -> Awaitable[object]:
        """Call the log-in, which makes something to be awaited."""
        asking: object = self.log_in(channel)
        if not inspect.isawaitable(asking):
            broken("a log-in must be async, and this one is not: define it with `async def`")
        return asking

    async def call(self, when: str) -> Ended:
        """Call the log-in once, and see to what holds whatever comes of it.

        Args:
          when: What was done to it, for a sentence.
        """
        before = Left.look()
        result: object = None
        error: Exception | None = None
        channel = self.open_channel()
        asking = self.ask(channel)
        with trio.move_on_after(self.patience) as scope:
            try:
                result = await asking
            except Exception as exc:  # noqa: BLE001  # whatever it is, it is the news
                error = exc
        await channel.aclose()
        if scope.cancelled_caught:
            broken(
                f"a log-in must come to an end {when}, and took more than {self.patience:g}"
                " seconds: wait for a person within trio.fail_after(...), and on a clock that jumps"
            )
        before.check(when)
        if error is not None and shows(error, (*self.line.secrets, *self.secrets)):
            broken(
                f"a log-in's error must show no secret, and its {kind(error)} does {when} (or one"
                " that it came from): quote nothing of a request or an answer, and raise it outside"
                " the `except` block of another that does"
            )
        if error is None and not isinstance(result, Tokens):
            broken(
                f"a log-in must return trioauth.Tokens, and returned a {kind(result)}:"
                " Tokens.from_response() reads what a server sent"
            )
        tokens = result if isinstance(result, Tokens) else None
        return Ended(tokens, error, self.line.requests)
