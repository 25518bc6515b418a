"""Visit: the show with a person's own login, on their own servers. One refresh, and no more.

What is asked of the servers, and what is not:

1. The API is asked for one address, with GET, at a rate that is told before.
2. One refresh token is presented. If the token has expired already, that is the refresh; otherwise
   the session is told, once, that a server has refused its token. `OneRefresh` sees to it that
   there is no other, whatever the API answers and however short its tokens live.
3. Nothing is revoked. The new tokens are in the store of the profile, as after any refresh.

The counts are what the session tells of itself: the server's own are not ours to read.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final, final
from urllib.parse import urlsplit

import attrs
import httpx
import trio

from trioauth._core.policy import RefreshPolicy
from trioauth._errors import RefreshUnavailableError
from trioauth._opening import open_session
from trioauth._origins import Origins
from trioauth._profiles.client import client_of
from trioauth._profiles.keeping import store_of
from trioauth._profiles.opening import trust_of
from trioauth._secrets import Unpicklable
from trioauth.cli.exits import FailedError, UsageError, not_logged_in

from .report import PATIENCE, checks_of_a_visit, numbers_of_a_visit
from .show import LIMITS, Show

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Sequence

    from trioauth._profiles.profile import Profile
    from trioauth._session import Session
    from trioauth._tokens import Tokens
    from trioauth.oauth.channel import BackChannel
    from trioauth.oauth.client import OAuthClient

    from .report import Check

# None in the background, so that the tasks are seen to wait. After a failure no other begins.
_POLICY: Final = RefreshPolicy(early=0, cooldown=60, timeout=PATIENCE)
# Requests a second: it is somebody's API.
_RATE: Final = 20.0
# How long the tasks may take to get to the point where they wait.
_MOMENT: Final = 0.05


@final
@attrs.define(eq=False, repr=False)
class OneRefresh(Unpicklable):
    """The client of the profile, as a grant that presents one refresh token."""

    client: OAuthClient
    is_spent: bool = False
    _presented: Tokens | None = None
    needs_refresh_token: bool = attrs.field(default=True, init=False)

    @property
    def owner(self) -> str:
        """Whose tokens these are: those of the client."""
        return self.client.owner

    async def __call__(self, tokens: Tokens | None, endpoint: BackChannel, /) -> Tokens:
        """Refresh once. The same token may be presented again if an answer is lost (P5).

        Cancellation:
          As the client's refresh.

        Raises:
          RefreshUnavailableError: There was one already; or the server gave no usable answer.
          GrantError: The server refuses.
        """
        # Another one than before: an answer that was of no use has brought a new refresh token.
        is_another = tokens != (self._presented or tokens)
        if self.is_spent or is_another:
            await trio.lowlevel.checkpoint()
            raise RefreshUnavailableError(
                "the demo has made the one refresh that it said", safe_to_repeat=True
            )
        self._presented = tokens
        renewed = await self.client(tokens, endpoint)
        self.is_spent = True
        return renewed


@final
@attrs.define(eq=False, kw_only=True)
class Visit(Show):
    """The show with a person's own login."""

    profile: Profile
    api: str
    """What all tasks ask for."""
    tasks: int = 20
    seconds: float = 6.0
    _grant: OneRefresh = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        try:
            httpx.URL(self.api)
            Origins.of("", [self._origin])
        except (ValueError, httpx.InvalidURL) as exc:
            raise UsageError(f"--api: {exc}") from None
        self._grant = OneRefresh(client_of(self.profile))

    @property
    def _rate(self) -> float:
        return _RATE

    @property
    def _url(self) -> str | None:
        return self.api

    @property
    def _origin(self) -> str:
        parts = urlsplit(self.api)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def announcement(self) -> str:
        """What will be asked of the servers."""
        requests = round(self.tasks * self.seconds / self.crowd.pause)
        return (
            f"With the login of {self.profile.name}, {self.tasks} tasks ask for {self.api}, about "
            f"{requests} times in {self.seconds:g} s. One refresh is spent, and nothing is revoked."
        )

    @asynccontextmanager
    async def _open(self) -> AsyncGenerator[Session, None]:
        """Open a session with the login of the profile.

        Raises:
          NotLoggedInError: There is none.
          FailedError: It can't be renewed.
        """
        profile, store, library = self.profile, store_of(self.profile), self._library
        verify: ssl.SSLContext | bool = True if profile.ca_file is None else trust_of(profile)
        async with open_session(
            self._grant,
            store=store,
            origins=[self._origin],
            policy=_POLICY,
            observers=[self.crowd, self.timeline],
            limits=httpx.Limits(**LIMITS),
            verify=verify,
        ) as session:
            if not session.logged_in:
                raise not_logged_in(profile.name, session.state)
            record = await store.load()
            if record is None or record.tokens is None or record.tokens.refresh_token is None:
                raise FailedError(
                    f"the login of {profile.name} can't be renewed, because the server gave no "
                    "refresh token: there is nothing to show"
                )
            self.crowd.begin()
            client: Any = nullcontext(session.http)
            if self.httpx2:
                client = session.attach(
                    library.AsyncClient(limits=library.Limits(**LIMITS), verify=verify)
                )
            async with client as http:
                self.crowd.get = self.timeline.watch(http).get
                yield session

    async def carry_out(self, nursery: trio.Nursery) -> None:
        """Let all tasks need one refresh at the same time, and cancel half of those that wait.

        1. The token has expired: the tasks wait for the refresh that this causes.
        2. It is good: after a while the session is told that it was refused, unless the API did
           that itself.

        Cancellation:
          Safe.
        """
        crowd, session, counts = self.crowd, self.session, self.counts
        name = f"{self.tasks} tasks, one refresh; half of those that wait are cancelled"
        try:
            session.token_nowait()
        except trio.WouldBlock:
            self.phase = f"the token has expired: {name}"
        else:
            await self.until(0.4, "all is well: the tasks ask your API")
            self.phase = f"the token is reported as refused: {name}"
        if not counts.refreshes:
            session.reject(session.generation)
        if not crowd.landing.is_set():
            crowd.ring()
            with trio.move_on_after(_MOMENT):
                await crowd.wait_all_wait(self.tasks)
            for slot in crowd.waiting[::2]:
                crowd.replace(nursery, slot)
        await crowd.landing.wait()
        if counts.landed:
            counts.lasted = True
            await self.until(1.0, "the new token is there: the tasks go on")

    def _count_at_the_end(self) -> None:
        self.counts.rotations = int(self._grant.is_spent)

    @property
    def subtitle(self) -> str:
        """How many tasks, and whose login."""
        return f"{self.tasks} tasks, with the login of {self.profile.name}"

    @property
    def unauthorized(self) -> int:
        """How many 401s the tasks have seen until now."""
        counts = self.counts
        return counts.resent + counts.refused_once + counts.refused_twice

    def checks(self) -> Sequence[Check]:
        """Hold what was counted against the promises."""
        return checks_of_a_visit(self.counts)

    def numbers(self) -> Sequence[tuple[str, object]]:
        """Give the figures, each with its name."""
        return numbers_of_a_visit(self.counts, self.unauthorized)
