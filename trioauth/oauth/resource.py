"""What an API says of itself: which authorization server it has (RFC 9728).

The theory, as far as it decides something here:

1. An API names its metadata in the challenge of a 401 (``resource_metadata``, RFC 9728 5.1). If it
   doesn't, they lie at an address that is made of the API's (3.1), or at the root of its host.
2. Metadata count only if their ``resource`` covers the address that was asked for: the same
   origin, and a path that leads there. Otherwise an API could have the tokens of another.
3. So they are never to be had from another origin, either.
4. Where there are none, the API's own host may be the authorization server: so it was with MCP
   before there was RFC 9728.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final, cast, final
from urllib.parse import urlsplit

import attrs
import httpx
import trio

from trioauth._challenge import challenge
from trioauth._errors import MetadataError, RefreshUnavailableError, printable
from trioauth._origins import read_origin
from trioauth._tokens import decode_object

from .channel import check_endpoint_url
from .discovery import find_document
from .metadata import check_issuer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trioauth._challenge import Challenge

    from .channel import Answer, BackChannel

_WELL_KNOWN: Final = "/.well-known/oauth-protected-resource"
# An API may answer a request without a token with a stream that does not end.
_LONGEST_PROBE: Final = 10.0


def check_resource_url(url: str, name: str) -> None:
    """Let the address of an API pass.

    Args:
      url: Must be absolute, https or loopback, without query and fragment.
      name: The parameter it was passed in.

    Raises:
      ValueError: It is not such a URL; names the parameter.
      TypeError: It is not a string; names the parameter.
    """
    check_endpoint_url(url, name)
    if "?" in url:
        raise ValueError(f"{name} must not have a query: it names an API, and not one request")


@final
@attrs.frozen
class ProtectedResource:
    """What an API says of itself, by the names of RFC 9728 2; empty where it does not say."""

    resource: str | None = None
    authorization_servers: tuple[str, ...] = ()
    scopes_supported: tuple[str, ...] = ()
    challenged_scope: tuple[str, ...] = ()
    """What its challenge asked for (RFC 6750 3)."""
    tried: str = ""
    """Where it said nothing, in words."""


def resource_urls(url: str) -> tuple[str, ...]:
    """Return where the metadata of an API may lie, in the order in which to look.

    Args:
      url: Of the API.
    """
    parts = urlsplit(url)
    root = f"{parts.scheme}://{parts.netloc}{_WELL_KNOWN}"
    # A slash at the end counts (RFC 9728 3.1 removes only one that stands alone).
    return (root,) if parts.path in ("", "/") else (root + parts.path, root)


def covers(resource: str, url: str) -> bool:
    """Say whether the metadata of a resource are about this address, too."""
    try:
        check_resource_url(resource, "resource")
    except ValueError:
        return False
    if read_origin("resource", resource) != read_origin("url", url):
        return False
    return f"{urlsplit(url).path.rstrip('/')}/".startswith(
        f"{urlsplit(resource).path.rstrip('/')}/"
    )


def read_resource(body: bytes, url: str) -> ProtectedResource:
    """Read the metadata of an API (RFC 9728 3.2).

    Strictly where something is at stake: whose they are, and whom they name. What else is odd
    counts as not said.

    Args:
      body: The document.
      url: Of the API that was asked for.

    Raises:
      MetadataError: They can't be used; names the member that is wrong.
    """
    members, problem = decode_object(body)
    if problem is not None:
        raise MetadataError(f"the metadata of the API {url} can't be used: {problem}")
    resource = members.get("resource")
    if not isinstance(resource, str) or not covers(resource, url):
        said = repr(printable(resource)) if isinstance(resource, str) else "no resource"
        raise MetadataError(
            f"the metadata of the API {url!r} are about {said}, which does not cover it (RFC 9728 "
            "3.3); if that is the API that you mean, pass its address",
            member="resource",
        )
    servers = _strings(members.get("authorization_servers"))
    for issuer in servers[:1]:
        _check_server(issuer, url)
    return ProtectedResource(resource, servers, _strings(members.get("scopes_supported")))


def _strings(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        return ()
    return tuple(each for each in cast("list[object]", value) if isinstance(each, str))


def _check_server(issuer: str, url: str) -> None:
    """Let the issuer pass that will be asked."""
    problem = ""
    try:
        check_issuer(issuer, "authorization_servers")
    except ValueError as exc:
        problem = str(exc)
    if not problem and urlsplit(issuer).scheme != "https" and urlsplit(url).scheme == "https":
        problem = "authorization_servers must be https, because the API is"
    if problem:
        raise MetadataError(
            f"the metadata of the API {url} can't be used: {problem}; if you know a better one, "
            "pass issuer=",
            member="authorization_servers",
        )


async def find_resource(
    url: str, endpoint: BackChannel, challenged: Challenge | None = None
) -> ProtectedResource:
    """Find out what an API says of itself; once a session, then from `BackChannel.cache`.

    Args:
      url: Of the API.
      endpoint: The session's way out.
      challenged: The challenge of its 401, if there was one. Otherwise it is asked for one.

    Cancellation:
      Safe. Nothing is remembered.

    Raises:
      MetadataError: What it says can't be used.
      RefreshUnavailableError: No usable answer; ``safe_to_repeat``.
    """
    key = ("resource", url, challenged)
    if key in endpoint.cache:
        await trio.lowlevel.checkpoint()
        return cast("ProtectedResource", endpoint.cache[key])
    if challenged is None:
        challenged = await _probe(url, endpoint)
    said: Mapping[str, str] = {} if challenged is None else challenged.parameters
    urls = resource_urls(url)
    if "resource_metadata" in said:
        _check_place(said["resource_metadata"], url)
        urls = tuple(dict.fromkeys((said["resource_metadata"], *urls)))
    body, tried = await find_document(urls, endpoint, f"the metadata of the API {url}")
    found = ProtectedResource() if body is None else read_resource(body, url)
    scope = tuple(said.get("scope", "").split())
    found = attrs.evolve(found, challenged_scope=scope, tried=tried)
    endpoint.cache[key] = found
    return found


def _check_place(place: str, url: str) -> None:
    """Let the address of metadata pass that the API itself has, and no other host."""
    problem = ""
    try:
        check_endpoint_url(place, "it")
        if read_origin("it", place) != read_origin("url", url):
            problem = "it is of another origin"
    except ValueError as exc:
        problem = str(exc)
    if problem:
        raise MetadataError(
            f"the API {url} says that its metadata are at {printable(place)!r}, where they are not "
            f"fetched: {problem}",
            member="resource_metadata",
        )


async def _probe(url: str, endpoint: BackChannel) -> Challenge | None:
    """Ask the API without a token, and return its challenge; None if there is none to be had.

    Cancellation:
      Safe: a GET.
    """
    answer: Answer | None = None
    with trio.move_on_after(_LONGEST_PROBE):
        await trio.lowlevel.checkpoint()
        # The answer may be too large, or a stream. If the API is down, so is the next address.
        with suppress(RefreshUnavailableError):
            answer = await endpoint.fetch(url)
    if answer is None or answer.status != 401:
        return None
    return challenge(httpx.Response(answer.status, headers=answer.headers))
