"""The URL of a Redis server, a Sentinel or a Cluster, read and checked; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias, final
from urllib.parse import parse_qsl, unquote, urlsplit

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind: TypeAlias = Literal["server", "sentinel", "cluster"]

_SCHEMES: Final[Mapping[str, tuple[Kind, bool]]] = {
    "redis": ("server", False),
    "rediss": ("server", True),
    "unix": ("server", False),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
}
_FORMS: Final = (
    "redis://host:6379/0, rediss:// for TLS, unix:///path/to/socket, "
    "redis+sentinel://host:26379,host:26379/service, redis+cluster://host:6379,host:6379"
)
_OPTIONS: Final = {
    "unix": {"db"},
    "redis+sentinel": {"sentinel_username", "sentinel_password"},
    "rediss+sentinel": {"sentinel_username", "sentinel_password"},
}


@final
@attrs.frozen
class Address:
    """Where a server listens."""

    host: str
    """A name, an address, or the path of a Unix socket (it begins with a slash)."""
    port: int

    def __str__(self) -> str:
        if self.is_path:
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_path(self) -> bool:
        """Whether it is a Unix socket."""
        return self.host.startswith("/")


@final
@attrs.frozen
class Account:
    """How to log in at a server; no password means: not at all."""

    username: str | None = attrs.field(default=None, repr=False)
    password: str | None = attrs.field(default=None, repr=False)


@final
@attrs.frozen
class Target:
    """What a URL says."""

    kind: Kind
    addresses: tuple[Address, ...]
    """The server; or Sentinels, or nodes of the Cluster, any of which will do."""
    tls: bool
    account: Account
    db: int = 0
    service: str = ""
    """What the Sentinels call the primary."""
    sentinel_account: Account = attrs.field(factory=Account)

    def __str__(self) -> str:
        where = ", ".join(map(str, self.addresses))
        if self.kind == "sentinel":
            return f"{self.service!r} of the Redis Sentinel at {where}"
        if self.kind == "cluster":
            return f"the Redis Cluster at {where}"
        return f"Redis at {where}" + (" db " if self.addresses[0].is_path else "/") + str(self.db)


def read_url(url: str) -> Target:
    """Read a URL.

    Raises:
      ValueError: It can't be used. The message says why; it quotes nothing, because the URL may
          hold a password.
      TypeError: It is no str.
    """
    if not isinstance(url, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers
        raise TypeError(f"url must be a str, not {type(url).__name__}")
    try:
        return _read(url)
    except ValueError as exc:
        # Those of `urllib` quote the URL. Raised outside `except`, or they would be its context.
        problem = str(exc) if isinstance(exc, _WrongUrlError) else "can't be read"
    del url
    raise ValueError(f"the Redis URL {problem}; it must be such as {_FORMS}")


class _WrongUrlError(ValueError):
    """Its words are ours, and quote nothing."""


def _read(url: str) -> Target:
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    if scheme not in _SCHEMES:
        raise _WrongUrlError("has an unknown scheme")
    kind, tls = _SCHEMES[scheme]
    addresses: tuple[Address, ...]
    userinfo, _, hosts = parts.netloc.rpartition("@")
    username, _, password = userinfo.partition(":")
    if username and not password:
        raise _WrongUrlError("names a user without a password (write user:password@host)")
    if parts.fragment:
        raise _WrongUrlError('has a "#" in it (in a password, write it as %23)')
    options = _options_of(scheme, parts.query)
    path = unquote(parts.path)
    service, db = "", path.removeprefix("/")
    if scheme == "unix":
        addresses, db = (_socket_of(hosts, path),), options.get("db", "")
    else:
        default = 26379 if kind == "sentinel" else 6379
        addresses = tuple(_address_of(host, default) for host in hosts.split(","))
    if kind == "sentinel":
        service, _, db = db.partition("/")
    if kind == "sentinel" and not service:
        raise _WrongUrlError("does not name the service that the Sentinels watch")
    if kind == "server" and len(addresses) > 1:
        raise _WrongUrlError("names several servers (redis+cluster:// or redis+sentinel://?)")
    return Target(
        kind,
        addresses,
        tls,
        _account_of(username, password),
        db=_db_of(db, kind),
        service=service,
        sentinel_account=Account(
            options.get("sentinel_username"), options.get("sentinel_password")
        ),
    )


def _options_of(scheme: str, query: str) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    if options.keys() - _OPTIONS.get(scheme, set()):
        raise _WrongUrlError('has an option that is not known (in a password, write "?" as %3F)')
    return options


def _account_of(username: str, password: str) -> Account:
    if not password:
        return Account()
    return Account(unquote(username) or None, unquote(password))


def _socket_of(hosts: str, path: str) -> Address:
    if hosts or len(path) < 2:  # a slash and a name
        raise _WrongUrlError("must name a socket by its whole path (unix:///run/redis.sock)")
    return Address(path, 0)


def _address_of(text: str, default_port: int) -> Address:
    host, colon, port = unquote(text).rpartition(":")
    if not colon or text.endswith("]"):
        host, port = unquote(text), str(default_port)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise _WrongUrlError("has an IPv6 address without brackets, or two ports")
    if not host or host.startswith("/"):
        raise _WrongUrlError("names no host")
    if not port.isascii() or not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise _WrongUrlError("has a port that is not from 1 to 65535")
    return Address(host, int(port))


def _db_of(text: str, kind: str) -> int:
    if not text:
        return 0
    if not text.isascii() or not text.isdecimal() or len(text) > 9:
        raise _WrongUrlError("has a database that is not a number")
    if kind == "cluster" and int(text):
        raise _WrongUrlError("names a database; a Cluster has only database 0")
    return int(text)
