"""Origins: where a token may go (pure)."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from typing import TYPE_CHECKING, Protocol, TypeAlias, final

import attrs
import httpx

from ._errors import OriginError, printable

if TYPE_CHECKING:
    from collections.abc import Iterable

_DEFAULT_PORTS = {"http": 80, "https": 443}
# A WebSocket begins with a request to the same server (RFC 6455 3).
_HANDSHAKE = {"ws": "http", "wss": "https"}
_LOOPBACK = IPv4Network("127.0.0.0/8")
# A host name as httpx writes it: lower case, IDNA encoded. Anything else, such as a wildcard, would
# never be equal to the host of a request.
_HOST_NAME = re.compile(rb"[a-z0-9_.-]+")

Origin: TypeAlias = tuple[str, bytes, int]
"""Scheme, host as it goes over the wire, and effective port (RFC 9110 4.3.1)."""


class URLLike(Protocol):
    """The part of ``httpx.URL`` and ``httpx2.URL`` that is used here."""

    @property
    def scheme(self) -> str: ...
    @property
    def raw_host(self) -> bytes: ...
    @property
    def port(self) -> int | None: ...
    @property
    def path(self) -> str: ...
    @property
    def userinfo(self) -> bytes: ...


def _as_usual(origins: Origins) -> frozenset[tuple[str, bytes, int | None]]:
    return frozenset(
        (scheme, host, None if port == _DEFAULT_PORTS[scheme] else port)
        for scheme, host, port in origins.allowed
    )


@final
@attrs.frozen
class Origins:
    """The origins that may have the token, compared exactly.

    A WebSocket's ``wss`` counts as ``https``, and ``ws`` as ``http``, because its handshake is such
    a request.

    The URL object that is sent is compared, as its own library has parsed it. If a second
    parser read the URL differently, a token could go to a wrong host.
    """

    allowed: frozenset[Origin]
    # The same origins as httpx mostly writes them, with None for the default port. Looked at
    # first, because that is fast; most requests need no second look.
    _usual: frozenset[tuple[str, bytes, int | None]] = attrs.field(
        default=attrs.Factory(_as_usual, takes_self=True), init=False, eq=False, repr=False
    )

    @classmethod
    def of(cls, base_url: str, origins: Iterable[str]) -> Origins:
        """Read the origins that a program passed to `open_session`.

        Args:
          base_url: A URL whose origin may have the token; its path does not matter. "" for none.
          origins: More origins, each as a URL without path, query and fragment.

        Raises:
          ValueError: An origin can't be trusted with a token, or there is none. The message names
              the parameter.
          TypeError: Something is not a string. The message names the parameter.
        """
        if isinstance(origins, str):
            raise TypeError('origins must be several strings, not one: origins=["https://..."]')
        allowed = {read_origin("origins", origin) for origin in origins}
        if base_url != "":
            allowed.add(read_origin("base_url", base_url))
        if not allowed:
            raise ValueError(
                "nothing says where the token may go; pass base_url= or origins= "
                '(such as base_url="https://api.example.com")'
            )
        return cls(frozenset(allowed))

    def allows(self, url: URLLike) -> bool:
        """Say whether a request for this very URL may carry the token."""
        known = (url.scheme, url.raw_host, url.port) in self._usual or origin_of(
            url
        ) in self.allowed
        return known and not url.userinfo

    def check(self, url: URLLike) -> None:
        """Raise an error unless a request for this URL may carry the token.

        Raises:
          OriginError: It may not. The message names only the origin, because the rest of a URL may
              hold secrets.
        """
        if self.allows(url):
            return
        where = _describe(url)
        if url.userinfo:
            raise OriginError(
                f"a URL of {where} has a user name or password in it; with those the token is "
                "never sent. Take them out of the URL"
            )
        if url.scheme in {"http", "ws"} and not is_loopback(url.raw_host.decode("ascii")):
            raise OriginError(
                f"{where} is plain {url.scheme}; over that the token goes to loopback only. Use "
                f"{url.scheme}s, and add that origin to origins= if it is not the one of base_url="
            )
        # The origin of a WebSocket, as it has to be written in origins=.
        http = _HANDSHAKE.get(url.scheme)
        it = "it" if http is None else where.replace(url.scheme, http, 1)
        raise OriginError(
            f"{where} is not an origin the token was given for; if it is to be trusted with the "
            f"token, add {it} to origins=, else use a client of its own"
        )


def is_loopback(host: str) -> bool:
    """Say whether a host is this machine for certain: ``localhost``, 127.0.0.0/8 or ``::1``.

    Args:
      host: A name or an address, in the form of ``httpx.URL.host`` (IPv6 without brackets).
    """
    if host.lower() == "localhost":
        return True
    # Not `.is_loopback`: from Python 3.13 on that is true for ::ffff:127.0.0.1, too.
    try:
        return (
            IPv6Address(host) == IPv6Address(1) if ":" in host else IPv4Address(host) in _LOOPBACK
        )
    except ValueError:
        return False


def origin_of(url: URLLike) -> Origin:
    """Return the origin of a URL, however its port and an IPv6 address are written."""
    scheme, host, port = _HANDSHAKE.get(url.scheme, url.scheme), url.raw_host, url.port
    # httpx leaves out a default port, but not in "HTTPS://...:443". Compared with None, not by its
    # truth: port 0 must not count as the default, although httpcore takes it for that.
    if port is None:
        port = _DEFAULT_PORTS.get(scheme, 0)
    # httpx normalizes names and IPv4 addresses, but leaves IPv6 addresses as they were written.
    return scheme, _shortest(host) if b":" in host else host, port


def _shortest(host: bytes) -> bytes:
    return str(IPv6Address(host.decode("ascii"))).encode("ascii")


def _describe(url: URLLike) -> str:
    if not (url.scheme and url.raw_host):
        return "a URL without scheme or host"
    host = url.raw_host.decode("ascii")
    host = f"[{host}]" if ":" in host else host
    return printable(f"{url.scheme}://{host}" + ("" if url.port is None else f":{url.port}"))


def read_origin(parameter: str, value: str) -> Origin:
    if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers
        raise TypeError(f"{parameter} must be of type str, not {type(value).__name__}")
    url = _parse(value)
    if url is None:
        raise ValueError(f"{parameter} has a malformed URL")
    if url.scheme not in _DEFAULT_PORTS or not url.raw_host:
        raise ValueError(
            f'{parameter} must be absolute, and http(s), such as "https://api.example.com"'
        )
    if problem := _problem(parameter, url):
        raise ValueError(f"{parameter}: {_describe(url)} {problem}")
    return origin_of(url)


def _parse(value: str) -> httpx.URL | None:
    # The caller raises its error outside `except`: httpx's may quote a password, and would be its
    # `__context__`.
    try:
        url = httpx.URL(value)
        url.raw_host  # noqa: B018  # raises if httpx can't encode the host
    except (httpx.InvalidURL, UnicodeEncodeError):
        return None
    return url


def _problem(parameter: str, url: httpx.URL) -> str | None:
    host = url.raw_host.decode("ascii")
    if url.userinfo:
        return "must not have a user name or password in it"
    if ":" not in host and not _HOST_NAME.fullmatch(url.raw_host):
        return "must have one plain host name or address; wildcards are not supported"
    if not 0 < origin_of(url)[2] < 65536:
        return "must have a port from 1 to 65535"
    if url.scheme == "http" and not is_loopback(host):
        return "must be https; plain http is for loopback only"
    if parameter == "origins" and (url.raw_path != b"/" or url.fragment):
        return "must end there, without a path, query or fragment: a token goes to whole origins"
    return None
