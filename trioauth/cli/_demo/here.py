"""The stage on this machine: a server of our own on a real socket, told what to do wrong."""

from __future__ import annotations

import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import attrs
import trio

from trioauth._core.policy import RefreshPolicy
from trioauth._errors import RefreshUnavailableError
from trioauth._opening import open_session
from trioauth.grants import RefreshTokenGrant
from trioauth.stores import FileStore
from trioauth.testing import AuthServer

from .client import library, open_client
from .here_report import Result, report
from .show import seen

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncGenerator

    from trioauth._session import Session

    from .client import Get
    from .crowd import Crowd
    from .report import Report
    from .show import Show

# Quick to try again, so that an outage of three seconds is worth watching.
_POLICY = RefreshPolicy(backoff=0.2, attempts=3, cooldown=0.4, timeout=10)
_LIMITS = {"max_connections": 50, "max_keepalive_connections": 20}
_API_DELAY, _TOKEN_DELAY, _SLOW = 0.02, 0.15, 0.6
_REUSE_GRACE = 10.0
_LONGEST_OUTAGE = 3.0
# How long all tasks may take to hear that the login is over.
_LAST_WORDS = 10.0


def _make_server(stage: Here) -> AuthServer:
    return AuthServer(lifetime=stage.lifetime, reuse_grace=_REUSE_GRACE)


@final
@attrs.define(eq=False)
class Here:
    """A server of `trioauth.testing`, on loopback."""

    lifetime: float = 2.0
    """Seconds that an access token lives."""
    server: AuthServer = attrs.field(
        default=attrs.Factory(_make_server, takes_self=True), init=False
    )
    revoked: bool = attrs.field(default=False, init=False)
    """The login may end from now on."""

    @property
    def rate(self) -> float:
        """What one process can send and answer in a second without sweating."""
        return 250.0

    @property
    def subtitle(self) -> str:
        """A few words about it."""
        return f"tokens that live {self.lifetime:g} s"

    def choose(self, chance: random.Random) -> str:
        """Return the path of the next request."""
        return f"/notes/{chance.randrange(1000)}"

    def unauthorized(self, crowd: Crowd) -> int:  # noqa: ARG002  # as all stages
        """Return how many 401s there were so far."""
        return self.server.ledger.unauthorized

    @asynccontextmanager
    async def open(self, show: Show) -> AsyncGenerator[tuple[Session, Get], None]:
        """Open a session that is logged in at a server of our own.

        Cancellation:
          Safe. Everything is closed.
        """
        server, httpx2 = self.server, show.options.httpx2
        limits: Any = _LIMITS
        with tempfile.TemporaryDirectory(prefix="trioauth-demo-") as folder:
            async with server.serve() as url:
                server.api_delay(_API_DELAY)
                server.delay(_TOKEN_DELAY)
                async with (
                    open_session(
                        RefreshTokenGrant(server.token_url, client_id=server.client_id),
                        tokens=server.log_in(),
                        store=FileStore(Path(folder) / "tokens.json"),
                        base_url=url,
                        policy=_POLICY,
                        observers=[show.crowd],
                        limits=library(httpx2=False).Limits(**limits),
                    ) as session,
                    open_client(
                        session,
                        url,
                        httpx2=httpx2,
                        limits=library(httpx2=httpx2).Limits(**limits),
                    ) as get,
                ):
                    yield session, get

    async def direct(self, show: Show, nursery: trio.Nursery) -> None:
        """Follow the script, in shares of the whole time.

        Cancellation:
          Safe.
        """
        server, crowd, seconds = self.server, show.crowd, show.options.seconds
        life = f"{self.lifetime:g} s"
        await show.until(0.14, f"all is well: a token lives {life}, renewed before it is old")
        server.expire()
        await show.until(0.32, "the API forgot the token before its time: 401s, one refresh")
        show.act = "the answer to a refresh gets lost: the token is rotated, and nobody knows"
        server.drop_answer()
        while not any(each.outcome == "dropped" for each in server.ledger.presented):
            await _refresh(show.session)
        await show.until(0.47, "all is well")
        server.down()
        # As long as planned, even if what was before took longer than that.
        outage = max(0.47, show.share) + min(_LONGEST_OUTAGE / seconds, 0.2)
        await show.until(outage, "the token endpoint is down (503)")
        server.recover()
        server.delay(_TOKEN_DELAY)
        await show.until(0.75, "the token endpoint is back")
        server.delay(_SLOW)
        server.expire()
        show.act = "the token endpoint is slow: of those who wait, half are cancelled"
        await trio.sleep(_SLOW / 2)
        for slot in crowd.waiting[::2]:
            show.replace(nursery, slot)
        await show.until(0.86, show.act)
        server.delay(_TOKEN_DELAY)
        await show.until(1.0, "all is well, for a last time")
        self.revoked = True
        show.act = "the login is revoked"
        server.revoke()
        await trio.sleep(_LAST_WORDS)
        # Nobody should be here any more to see this.
        show.left_running += len(crowd.alive)

    async def report(self, show: Show) -> Report:
        """Say what came of it.

        Cancellation:
          Safe.
        """
        await trio.lowlevel.checkpoint()
        ledger = self.server.ledger
        outcomes = [each.outcome for each in ledger.presented]
        counted = seen(show, unauthorized=ledger.unauthorized, wait_limit=_POLICY.timeout)
        return report(
            Result(
                **counted,
                rotations=ledger.refreshes,
                most_in_flight=ledger.max_in_flight,
                dropped=outcomes.count("dropped"),
                repeated=outcomes.count("repeated"),
                reused=outcomes.count("reused"),
                ended_early=show.crowd.ended is not None and not self.revoked,
            )
        )


async def _refresh(session: Session) -> None:
    try:
        await session.refresh()
    except RefreshUnavailableError as exc:
        await trio.sleep_until(exc.retry_at or 0.0)
