"""A session, a client and a person for the tests of log-ins."""

from __future__ import annotations

import errno
import socket
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import attrs
import trio

from trioauth import Invitation, MemoryStore, OAuthClient, Record, Session, StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AbstractAsyncContextManager

    from trioauth import Begun
    from trioauth.testing import AuthServer, Person


# Of this process: its open files, and the TCP sockets of all processes.
_OPEN_FILES = Path("/proc/self/fd")
_SOCKETS = Path("/proc/net/tcp")


def client_of(server: AuthServer, **options: Any) -> OAuthClient:
    filled_in: dict[str, Any] = {"issuer": server.issuer, "scope": "notes"}
    return OAuthClient(server.client_id, **{**filled_in, **options})


@asynccontextmanager
async def logged_out(
    server: AuthServer, client: OAuthClient, **options: Any
) -> AsyncGenerator[Session, None]:
    async with server.open_session(client, logged_in=False, **options) as session:
        yield session


@attrs.define(eq=False)
class Watched:
    """A prompt that keeps the invitation, and then does what a person does; by default nothing."""

    person: Person | None = None
    invitation: Invitation | None = None
    shown: trio.Event = attrs.field(factory=trio.Event)
    cancelled: bool = False

    async def __call__(self, invitation: Invitation, /) -> str | None:
        self.invitation = invitation
        self.shown.set()
        try:
            if self.person is not None:
                return await self.person(invitation)
            await trio.sleep_forever()
        except trio.Cancelled:
            self.cancelled = True
            raise

    @property
    def query(self) -> dict[str, list[str]]:
        assert self.invitation is not None
        return parse_qs(urlsplit(self.invitation.url).query)

    @property
    def port(self) -> int:
        """Where the listener is; only if the request was not pushed."""
        port = urlsplit(self.query["redirect_uri"][0]).port
        assert port is not None
        return port


@attrs.define(eq=False)
class FullStore:
    """A store that can't be written, and says so when it is asked."""

    inner: MemoryStore = attrs.field(factory=MemoryStore)

    def lock(self) -> AbstractAsyncContextManager[None]:
        return self.inner.lock()

    async def load(self) -> Record | None:
        return await self.inner.load()

    async def save(self, record: Record, *, expected: int) -> None:
        await self.inner.save(record, expected=expected)

    async def probe(self) -> None:
        await trio.lowlevel.checkpoint()
        raise StoreError("the disk is full")


@attrs.define(eq=False)
class Elsewhere:
    """A prompt for a person whose browser goes on when the log-in has ended."""

    person: Person
    nursery: trio.Nursery

    async def __call__(self, invitation: Invitation, /) -> str | None:
        self.nursery.start_soon(self.person, invitation)
        await trio.lowlevel.checkpoint()
        return None


async def brought_back(server: AuthServer, begun: Begun) -> str:
    """Where a browser ends that is sent to begin."""
    invitation = Invitation(
        kind="browser", url=begun.url, expires_at=0, client_id="notes", where="server.test"
    )
    address = await server.person()(invitation)
    assert address is not None
    return address


def is_free(port: int) -> bool:
    """Say whether nothing listens at a port, or only another process, which has taken it since."""
    with socket.socket() as attempt:
        if attempt.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED:
            return True
    if not _OPEN_FILES.is_dir():
        return False  # This system does not say who listens.
    listening = {
        f"socket:[{fields[9]}]"
        for fields in map(str.split, _SOCKETS.read_text("ascii").splitlines())
        if fields[3] == "0A" and int(fields[1].partition(":")[2], 16) == port
    }
    return listening.isdisjoint(map(_target, _OPEN_FILES.iterdir()))


def _target(link: Path) -> str:
    with suppress(OSError):  # It is closed by now.
        return str(link.readlink())
    return ""
