"""The port that the redirect comes to: which one, and binding it (RFC 8252 7.3).

Three profiles are enough for the servers that we know of:

1. ``http://127.0.0.1/...`` (or ``[::1]``) with any free port: the server ignores the port.
2. ``http://localhost/...``: a browser may take it to either family of addresses, so both listen, on
   the same port number.
3. A list of ports, which the server was told: the first free one is taken.

Only loopback addresses are ever bound. Binding comes before a person is asked for anything, so
that a taken port is an error at once.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING, Final, final
from urllib.parse import urlsplit, urlunsplit

import attrs
import trio

from trioauth._errors import LoginError, system_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType

_V4: Final = (socket.AF_INET, "127.0.0.1")
_V6: Final = (socket.AF_INET6, "::1")
# Windows reserves ports for Hyper-V, and says 10013 (EACCES) as if they were in use. Even a port
# that it picked itself may be one of those.
_TAKEN: Final = frozenset({errno.EADDRINUSE, errno.EACCES, 10013, 10048})
# A machine without IPv6.
_NO_SUCH_FAMILY: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})
# How many free ports are tried: one family's free port may be taken in the other.
_TRIES: Final = 20
_BACKLOG: Final = 128
# A name of its own, so that tests can try both ways everywhere.
_ON_WINDOWS = os.name == "nt"
_RESERVED: Final = "netsh int ipv4 show excludedportrange protocol=tcp"


@final
@attrs.frozen
class Redirect:
    """A redirect URI on loopback, and the ports it may have."""

    uri: str
    """As registered; without a port unless it has just that one."""
    ports: tuple[int, ...] = ()
    """The ports it may have, in the order to try; none: any free one."""

    @classmethod
    def read(cls, uri: str, ports: Iterable[int] = ()) -> Redirect:
        """Check a redirect URI.

        Args:
          uri: ``http``, to 127.0.0.1, [::1], localhost or a name that ends in ``.localhost``.
          ports: Only if it has none of its own.

        Raises:
          ValueError: It is not such a URI, or the ports are said twice.
        """
        try:
            parts = urlsplit(uri)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            raise ValueError("redirect_uri can't be read as a URL") from None
        local = host in ("127.0.0.1", "::1") or f".{host}".endswith(".localhost")
        if parts.scheme != "http" or not local or "@" in parts.netloc or "#" in uri:
            raise ValueError(
                "redirect_uri must be http://127.0.0.1/..., http://[::1]/... or "
                "http://localhost/..., without user name and fragment"
            )
        if port is not None and tuple(ports):
            raise ValueError("redirect_uri has a port already: leave it out, or leave out ports=")
        return cls(uri, tuple(ports) if port is None else (port,))

    @property
    def path(self) -> str:
        """The path that a browser asks for."""
        return urlsplit(self.uri).path or "/"

    @property
    def addresses(self) -> tuple[tuple[socket.AddressFamily, str], ...]:
        """Where to listen."""
        host = urlsplit(self.uri).hostname
        return {"127.0.0.1": (_V4,), "::1": (_V6,)}.get(str(host), (_V4, _V6))

    def at(self, port: int) -> str:
        """Return the URI with a port: the very string that the server gets, twice."""
        parts = urlsplit(self.uri)
        host = parts.netloc if parts.port is None else parts.netloc.rpartition(":")[0]
        return urlunsplit(parts._replace(netloc=f"{host.rstrip(':')}:{port}"))


@final
@attrs.define(eq=False)
class Port:
    """A bound port: nothing else can take it, until the block ends."""

    redirect: Redirect
    number: int
    sockets: Sequence[socket.socket] = attrs.field(repr=False)

    @property
    def redirect_uri(self) -> str:
        """What both requests of the log-in must say."""
        return self.redirect.at(self.number)

    def listeners(self) -> list[trio.SocketListener]:
        """Return what accepts connections. Closing the port closes it, too."""
        return [trio.SocketListener(trio.socket.from_stdlib_socket(each)) for each in self.sockets]

    def close(self) -> None:
        """Free the port. Idempotent; not a checkpoint."""
        for each in self.sockets:
            each.close()

    def __enter__(self) -> Port:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def bind(redirect: Redirect) -> Port:
    """Bind the port of a redirect URI, or the first free one of its list. Not a checkpoint.

    Raises:
      LoginError: None of them can be had: ``no_port``. Says which were tried, and why not.
    """
    problems: dict[int, str] = {}
    for wanted in redirect.ports or (0,) * _TRIES:
        try:
            sockets = _listen(redirect, wanted)
        except OSError as exc:
            problems[wanted] = system_words(exc)
            if exc.errno not in _TAKEN:
                break
            continue
        return Port(redirect, _number_of(sockets[0]), sockets)
    # Outside the block above: the error has all that matters of the exception.
    raise LoginError("no_port", _explain(redirect, problems))


def _explain(redirect: Redirect, problems: dict[int, str]) -> str:
    host = urlsplit(redirect.uri).hostname
    tried = ", ".join(f"{port} ({why})" if port else why for port, why in problems.items())
    hint = f"; Windows reserves some: {_RESERVED}" if _ON_WINDOWS else ""
    which = "a free port" if 0 in problems else "any of the ports"
    return f"can't listen on {which} of {host}: {tried}{hint}"


def _listen(redirect: Redirect, port: int) -> list[socket.socket]:
    """Listen on the same port of all addresses; 0 picks one."""
    found: list[socket.socket] = []
    try:
        for family, address in redirect.addresses:
            try:
                found.append(_listen_at(family, address, port))
            except OSError as exc:
                # Without IPv6, no browser takes the name there.
                if found and exc.errno in _NO_SUCH_FAMILY:
                    continue
                raise
            port = _number_of(found[0])
    except BaseException:
        for each in found:
            each.close()
        raise
    return found


def _number_of(listening: socket.socket) -> int:
    number: int = listening.getsockname()[1]
    return number


def _listen_at(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        if _ON_WINDOWS:
            # There another program could bind the same port, and get the code. By name, since
            # type checkers elsewhere know of no such option.
            exclusive: int = getattr(socket, "SO_EXCLUSIVEADDRUSE")  # noqa: B009
            listening.setsockopt(socket.SOL_SOCKET, exclusive, 1)
        else:
            # A port of the list may still be waiting for the last log-in's connections to die.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind((address, port))
        listening.listen(_BACKLOG)
    except BaseException:
        listening.close()
        raise
    return listening
