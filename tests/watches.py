"""Wall clocks beside trio's mock clock, and a server whose tokens live as long as it likes."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
import httpx
import pytest
import trio

from trioauth import Tokens
from trioauth._core.clock import Clock

from .both import FakeApi, token_of
from .sessions import opened

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trioauth import Session, TokenEndpoint

YEAR = 365 * 86400.0


@attrs.define
class Wall:
    """A wall clock: trio's clock is the one that stops while the machine sleeps."""

    ahead: float = 1e9
    """What it has over trio's clock."""

    def sleep_machine(self, seconds: float) -> None:
        """Suspend the machine: trio's clock stands still, and this one goes on."""
        self.ahead += seconds

    def set(self, seconds: float) -> None:
        """Set it forward, or back."""
        self.ahead += seconds

    def now(self) -> float:
        return trio.current_time() + self.ahead

    @asynccontextmanager
    async def opened(self, grant: Any = None, **options: Any) -> AsyncGenerator[Session, None]:
        """Open a session on a machine with this wall clock."""

        def put_on(clock: Clock) -> None:
            clock._wall, clock._running = self.now, trio.current_time
            clock._ahead = self.ahead

        async with AsyncExitStack() as stack:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Clock, "__attrs_post_init__", put_on)
                session = await stack.enter_async_context(opened(grant, **options))
            yield session


@attrs.define
class Server:
    """A grant and an API: what it says of a token's life, and how long that is."""

    says: float | None = 3600
    lives: float = 3600
    only_the_newest: bool = False
    """A refresh ends the access tokens from before."""
    born: dict[str | None, float] = attrs.field(factory=dict)
    presented: list[str | None] = attrs.field(factory=list)
    api: FakeApi = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.api = FakeApi(answer=self._answer)

    async def __call__(self, tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
        self.presented.append(None if tokens is None else tokens.refresh_token)
        await trio.sleep(0.05)
        return self.issue()

    def issue(self) -> Tokens:
        if self.only_the_newest:
            self.born = dict.fromkeys(self.born, -self.lives)
        number = len(self.born)
        self.born[f"access-{number}"] = trio.current_time()
        return Tokens(f"access-{number}", f"refresh-{number}", self.says)

    @property
    def refreshes(self) -> int:
        """How often it was asked; nothing was presented twice."""
        assert len(self.presented) == len(set(self.presented))
        return len(self.presented)

    @property
    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self.api)

    def _answer(self, request: Any) -> Any:
        token = token_of(request)
        good = trio.current_time() < self.born[token] + self.lives
        return httpx.Response(200 if good else 401)


async def ask(session: Session, times: int, *, every: float) -> list[Any]:
    """Ask again and again; return the responses."""
    responses = []
    for _ in range(times):
        responses.append(await session.get("/"))
        await trio.sleep(every)
    return responses
