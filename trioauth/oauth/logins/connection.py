"""One connection of the listener: one request is read, bounded; one page is sent; then it ends."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, final

import attrs
import h11
import trio

from . import pages

if TYPE_CHECKING:
    from .pages import Page

# Codes may be long, and browsers send all cookies of localhost, whatever port they are of.
_LARGEST_HEAD: Final = 65_536
_LARGEST_FORM: Final = 65_536
_CHUNK: Final = 16_384
# A connection may take so long to bring a request, and to take a page.
_READING: Final = 10.0
_SENDING: Final = 5.0
# A browser that has the page closes at once. If we close before it does, the page may be lost.
_DRAINING: Final = 1.0

# The first byte of TLS (RFC 8446 5.1), and of no HTTP request.
_TLS: Final = b"\x16"
_PREFETCH: Final = frozenset({b"sec-purpose", b"purpose", b"x-moz"})
_FORM: Final = b"application/x-www-form-urlencoded"

_BROKEN: Final = (trio.BrokenResourceError, trio.ClosedResourceError)

_logger = logging.getLogger("trioauth")


@final
@attrs.frozen
class Request:
    """What is used of a request."""

    method: str
    target: str = attrs.field(repr=False)
    """Path and query: it may have the code in it."""
    form: str = attrs.field(default="", repr=False)
    """The body of a POST."""
    prefetch: bool = False
    """Whether a browser only guesses that it will be wanted."""


@final
@attrs.define(eq=False)
class Connection:
    """A connection that just came in."""

    _stream: trio.SocketStream
    _http: h11.Connection = attrs.field(
        factory=lambda: h11.Connection(h11.SERVER, max_incomplete_event_size=_LARGEST_HEAD),
        init=False,
    )
    _wants_body: bool = attrs.field(default=True, init=False)

    async def read(self) -> Request | Page | None:
        """Read a request.

        Returns:
          The request; or the page that says what is wrong with it; or None, if nothing came in
          time, or nothing that could be answered.

        Cancellation:
          Safe.
        """
        with trio.move_on_after(_READING):
            try:
                return await self._read()
            except h11.RemoteProtocolError as exc:
                return pages.refused(exc.error_status_hint, "It is not HTTP as we know it")
            except _BROKEN:
                pass
        await trio.lowlevel.checkpoint()
        return None

    async def _read(self) -> Request | Page | None:
        request: Request | None = None
        form = bytearray()
        while True:
            match self._http.next_event():
                case h11.NEED_DATA:
                    data = await self._stream.receive_some(_CHUNK)
                    if request is None and data.startswith(_TLS):
                        _logger.info("the log-in's listener was asked for https; it has only http")
                        return None
                    self._http.receive_data(data)
                case h11.Request() as head:
                    request = _read_head(head)
                    self._wants_body = request.method != "HEAD"
                    if request.method != "POST":
                        return request
                    if not _is_form(head):
                        return pages.refused(415, "It has no form in it")
                case h11.Data(data=data):
                    form += data
                    if len(form) > _LARGEST_FORM:
                        return pages.refused(413, "It is too large")
                case h11.EndOfMessage() if request is not None:
                    return attrs.evolve(request, form=form.decode("ascii", "replace"))
                case _:
                    # It was closed before a request came.
                    return None

    async def send(self, page: Page, program: str, *, allow: str) -> None:
        """Send a page, and wait for a moment until the other side has it.

        Args:
          page: What to send.
          program: What the person knows the program by.
          allow: The methods that are answered, for a 405.

        Cancellation:
          Unsafe: part of the page may have been sent.
        """
        body = b"" if page.status == 204 else page.render(program)
        headers = [*pages.HEADERS, ("Connection", "close")]
        if page.status != 204:
            headers.append(("Content-Length", str(len(body))))
        if page.status == 405:
            headers.append(("Allow", allow))
        data = self._http.send(h11.Response(status_code=page.status, headers=headers)) or b""
        if body and self._wants_body:
            data += self._http.send(h11.Data(data=body)) or b""
        try:
            with trio.move_on_after(_SENDING):
                await self._stream.send_all(data)
                await self._stream.send_eof()
            with trio.move_on_after(_DRAINING):
                while await self._stream.receive_some(_CHUNK):
                    pass
        except _BROKEN:
            await trio.lowlevel.checkpoint()


def _read_head(head: h11.Request) -> Request:
    guesses = any(
        name in _PREFETCH and value.lower().startswith(b"prefetch") for name, value in head.headers
    )
    method, target = head.method.decode("ascii"), head.target.decode("ascii")
    return Request(method, target, prefetch=guesses)


def _is_form(head: h11.Request) -> bool:
    kinds = [value for name, value in head.headers if name == b"content-type"]
    return len(kinds) == 1 and kinds[0].partition(b";")[0].strip().lower() == _FORM
