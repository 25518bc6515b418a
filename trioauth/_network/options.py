"""The options of `httpx.AsyncClient` that `open_session` and `open_sessions` take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping, Sequence

    import httpx

Primitive: TypeAlias = str | int | float | bool | None

NETWORK_OPTIONS = frozenset(
    {"transport", "mounts", "proxy", "verify", "cert", "trust_env", "http1", "http2"}
)
"""The options that say how to reach the network: they hold for the token endpoint's client, too."""


class SharedOptions(TypedDict, total=False):
    """The options of `httpx.AsyncClient` that `open_sessions` takes for all of its sessions."""

    params: httpx.QueryParams | Mapping[str, Primitive | Sequence[Primitive]] | str | bytes
    headers: Mapping[str, str] | Sequence[tuple[str, str]] | httpx.Headers
    verify: ssl.SSLContext | str | bool
    cert: str | tuple[str, str] | tuple[str, str, str]
    http1: bool
    http2: bool
    proxy: str | httpx.URL | httpx.Proxy
    mounts: Mapping[str, httpx.AsyncBaseTransport | None]
    timeout: (
        float | tuple[float | None, float | None, float | None, float | None] | httpx.Timeout | None
    )
    follow_redirects: bool
    limits: httpx.Limits
    max_redirects: int
    event_hooks: Mapping[str, list[Callable[..., Any]]]
    transport: httpx.AsyncBaseTransport
    trust_env: bool
    default_encoding: str | Callable[[bytes], str]


class ClientOptions(SharedOptions, total=False):
    """The options of `httpx.AsyncClient`, without ``auth``, the session's, and ``base_url``."""

    cookies: httpx.Cookies | dict[str, str] | list[tuple[str, str]]
