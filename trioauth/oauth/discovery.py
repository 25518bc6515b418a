"""Discovery: from an issuer to what is known of the server (RFC 8414, OpenID Discovery 1.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import trio

from trioauth._errors import MetadataError, RefreshUnavailableError
from trioauth._tokens import NotJSONError, decode_object

from .answers import read_retry_after
from .metadata import AuthorizationServer, check_issuer, read_metadata, well_known_urls

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .channel import Answer, BackChannel


async def discover(issuer: str, endpoint: BackChannel) -> AuthorizationServer:
    """Find out about a server; once a session, then from `BackChannel.cache`.

    Each of `well_known_urls` is asked in turn. What comes of an answer:

    1. 2xx with JSON: these are the metadata. If they can't be used, no other address is asked.
    2. 2xx with anything else, 3xx, 4xx: the server does not know this address: the next one. Many
       answer with a page, or lead to one.
    3. 429, 5xx, no answer: it may know it, and can't say so now.

    Args:
      issuer: What the server calls itself, or the address of its metadata.
      endpoint: The session's way to the server.

    Cancellation:
      Safe. Nothing is remembered.

    Raises:
      MetadataError: There are no metadata, or they can't be used.
      RefreshUnavailableError: No usable answer; ``safe_to_repeat``.
      ValueError: The issuer is no URL that may be asked.
    """
    check_issuer(issuer, "issuer")
    key = ("metadata", issuer)
    if key in endpoint.cache:
        await trio.lowlevel.checkpoint()
        return cast("AuthorizationServer", endpoint.cache[key])
    found, tried = await find_document(well_known_urls(issuer), endpoint, "the endpoints")
    if found is None:
        raise MetadataError(
            f"no metadata of {issuer} found: tried {tried}. Is the issuer right? For a server "
            "without metadata pass server=AuthorizationServer(token_endpoint=..., ...)"
        )
    server = read_metadata(found, issuer)
    endpoint.cache[key] = server
    return server


async def find_document(
    urls: Iterable[str], endpoint: BackChannel, what: str
) -> tuple[bytes | None, str]:
    """Fetch the first JSON document of several addresses; see `discover`.

    Args:
      urls: Where it may lie, in the order to look.
      endpoint: The session's way to the server.
      what: What is in it, for the error.

    Cancellation:
      Safe. Nothing is remembered.

    Returns:
      The document, None if there is none; and what was tried in vain, in words.

    Raises:
      RefreshUnavailableError: No usable answer; ``safe_to_repeat``.
    """
    tried: list[str] = []
    for url in urls:
        answer = await endpoint.fetch(url)
        if answer.status == 429 or answer.status >= 500:
            raise RefreshUnavailableError(
                f"{url} answered with status {answer.status}, so {what} are not known",
                retry_after=read_retry_after(answer.headers),
                safe_to_repeat=True,
            )
        problem = _problem(answer)
        if not problem:
            return answer.body, ", ".join(tried)
        tried.append(f"{url} ({problem})")
    await trio.lowlevel.checkpoint()
    return None, ", ".join(tried)


def _problem(answer: Answer) -> str:
    """Say why an answer holds no metadata; "" if it holds any."""
    if not answer.is_success:
        redirect = ", a redirect, which is not followed" if 300 <= answer.status < 400 else ""
        return f"status {answer.status}{redirect}"
    _, problem = decode_object(answer.body)
    return "not JSON" if isinstance(problem, NotJSONError) else ""
