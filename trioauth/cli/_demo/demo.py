"""Demo: the show on a server of its own, on this machine."""

from __future__ import annotations

import tempfile
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import attrs
import httpx

from trioauth._core.policy import RefreshPolicy
from trioauth.stores import FileStore
from trioauth.testing import AuthServer

from .report import LONGEST_WAIT, checks, numbers
from .show import LIMITS, Show

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from trioauth._session import Session

    from .report import Check

API_DELAY, TOKEN_DELAY = 0.02, 0.15
"""Seconds that the API and the token endpoint take for an answer when all is well."""

# Quick to try again, so that an outage of three seconds is worth watching.
_POLICY = RefreshPolicy(backoff=0.2, attempts=3, cooldown=0.4, timeout=LONGEST_WAIT)
_REUSE_GRACE = 10.0
# Requests a second that one process can send and answer without sweating.
_RATE = 250.0


@final
@attrs.define(eq=False, kw_only=True)
class Demo(Show):
    """The show on a server of its own."""

    lifetime: float = 2.0
    """Seconds that an access token lives."""
    server: AuthServer = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.server = AuthServer(lifetime=self.lifetime, reuse_grace=_REUSE_GRACE)

    @property
    def _rate(self) -> float:
        return _RATE

    @asynccontextmanager
    async def _open(self) -> AsyncGenerator[Session, None]:
        server, library = self.server, self._library
        with tempfile.TemporaryDirectory(prefix="trioauth-demo-") as folder:
            async with (
                server.serve() as url,
                server.open_session(
                    store=FileStore(Path(folder) / "tokens.json"),
                    policy=_POLICY,
                    observers=[self.crowd, self.timeline],
                    limits=httpx.Limits(**LIMITS),
                ) as session,
            ):
                server.api_delay(API_DELAY)
                server.delay(TOKEN_DELAY)
                client: Any = nullcontext(session.http)
                if self.httpx2:
                    limits = library.Limits(**LIMITS)
                    client = session.attach(library.AsyncClient(base_url=url, limits=limits))
                async with client as http:
                    self.crowd.get = self.timeline.watch(http).get
                    yield session

    def _count_at_the_end(self) -> None:
        self.counts.add_server(self.server.ledger)

    @property
    def subtitle(self) -> str:
        """How many tasks, and how long a token lives."""
        return f"{self.tasks} tasks, tokens that live {self.lifetime:g} s"

    @property
    def unauthorized(self) -> int:
        """How many 401s the server has given until now."""
        return self.server.ledger.unauthorized

    def checks(self) -> Sequence[Check]:
        """Hold what was counted against the promises."""
        return checks(self.counts)

    def numbers(self) -> Sequence[tuple[str, object]]:
        """Give the figures, each with its name."""
        return numbers(self.counts)
