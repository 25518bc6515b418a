"""What a program must remember of an API beside the tokens: its client, and its last login.

It lies in a small private file of its own, beside that of the tokens, and not in their record: a
client must outlive a log-out, and one that was registered must outlive a log-in that was given up,
or each would register another.

**The login** says which server has issued the tokens, and to which client. A refresh goes by that
alone: an API that changes what it says of itself must not get the refresh token of another
server. **The client** is the one that the next log-in uses.

Several processes: the file is locked while a client is chosen or registered, and when a log-in has
come back; it is replaced as a whole, and read without the lock. Two log-ins at once may register a
client each: the login of the file is that of the last one that came back.
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, cast, final

import attrs
import trio

from trioauth._secrets import Unpicklable
from trioauth._tokens import decode_object

from .registration import Registration

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping
    from os import PathLike

_VERSION: Final = 1


@final
@attrs.frozen(kw_only=True)
class Binding(Unpicklable):
    """A client at a server, and what it asks for there."""

    issuer: str | None
    """Of the server; None if the program has named endpoints alone."""
    client: Registration
    registered: bool = False
    """Whether it has registered itself, and may do so again."""
    redirect_uri: str
    ports: tuple[int, ...] = ()
    scope: str = ""
    resource: tuple[str, ...] = ()
    awaited: bool = False
    """Whether a log-in with it has begun, and not come back. A server that has forgotten a client
    shows that to the person alone."""


@final
@attrs.frozen
class Kept(Unpicklable):
    """What the file holds."""

    client: Binding | None = None
    login: Binding | None = None

    def to_text(self) -> str:
        """Return it as text; may hold a client's secret."""
        return json.dumps({"version": _VERSION, **attrs.asdict(self)})

    @classmethod
    def from_text(cls, data: bytes) -> Kept:
        """Read what `to_text` returned.

        Raises:
          ValueError: It is not such a text. Does not quote it.
        """
        body, problem = decode_object(data)
        if problem is None and body.get("version") == _VERSION:
            try:
                return cls(_binding(body["client"]), _binding(body["login"]))
            except (TypeError, KeyError, ValueError):
                pass  # raised below, without what was found there
        raise ValueError("it is not what this program keeps of an API")


def _binding(value: object) -> Binding | None:
    if value is None:
        return None
    members = dict(cast("Mapping[str, Any]", value))
    members["ports"] = tuple(members["ports"])
    members["resource"] = tuple(members["resource"])
    members["client"] = Registration(**members["client"])
    return Binding(**members)


@final
@attrs.define(eq=False)
class Keep:
    """Where it is kept: in a file, or as long as this object lives.

    Args:
      path: Of the file; None: in memory.
    """

    path: str | PathLike[str] | None = None
    _kept: Kept = attrs.field(factory=Kept, init=False, repr=False)
    _turn: trio.Lock = attrs.field(factory=trio.Lock, init=False, repr=False)
    _file: Any = attrs.field(default=None, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if self.path is not None:
            # Here, because in memory filelock is not needed.
            from trioauth.stores import FileStore

            self._file = FileStore(self.path)

    @asynccontextmanager
    async def lock(self) -> AsyncGenerator[None, None]:
        """Exclude all others who change it.

        Cancellation:
          Safe.

        Raises:
          StoreError: The file can't be locked.
        """
        async with self._turn:
            if self._file is None:
                yield
            else:
                async with self._file.lock():
                    yield

    async def load(self) -> Kept:
        """Return what is kept.

        Cancellation:
          Safe.

        Raises:
          StoreError: There is a file that can't be read, or is another's.
        """
        if self._file is None:
            await trio.lowlevel.checkpoint()
            return self._kept
        return await trio.to_thread.run_sync(self._load, abandon_on_cancel=True)

    async def save(self, kept: Kept) -> None:
        """Keep something else. Needs the lock.

        Cancellation:
          All or nothing. Delayed while the disk writes.

        Raises:
          StoreError: It can't be written. What was there is still there.
        """
        if self._file is None:
            await trio.lowlevel.checkpoint()
            self._kept = kept
        else:
            await trio.to_thread.run_sync(self._save, kept)

    def _load(self) -> Kept:
        from trioauth.stores._disk import read, refused

        data = read(self._file.path)
        if data is None:
            return Kept()
        try:
            return Kept.from_text(data)
        except ValueError as exc:
            reason = str(exc)
        # Out here, so that no `__context__` leads to what was in the file, nor a frame's variable.
        del data
        raise refused(self._file.path, reason)

    def _save(self, kept: Kept) -> None:
        from trioauth.stores._disk import replace

        replace(self._file.path, kept.to_text().encode())
