"""A person who logs in where a program asks them to, without a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, final
from urllib.parse import urlencode, urlsplit

from ._messages import Answer, Request

if TYPE_CHECKING:
    from ._exchange import Exchange


class Invitation(Protocol):
    """What a prompt is given, as far as a `Person` looks at it."""

    @property
    def kind(self) -> str:
        """What is asked: ``browser``, ``device`` or ``paste``."""
        ...

    @property
    def url(self) -> str:
        """Where to go."""
        ...

    @property
    def user_code(self) -> str | None:
        """What to enter there, for a device."""
        ...


@final
class Person:
    """A prompt for log-ins, made by `AuthServer.person`.

    It opens the address that it is shown, waits until `AuthServer.approve` or `AuthServer.deny`
    says what the person decides, and is sent back to the program: by pasting the address, or by
    going there. For a device it enters the code.
    """

    def __init__(self, exchange: Exchange, follows: bool) -> None:  # noqa: FBT001  # made in one place
        self._exchange = exchange
        self._follows = follows
        self.page: str | None = None
        """What the browser showed in the end: the program's page, or the server's."""

    async def __call__(self, invitation: Invitation, /) -> str | None:
        """Go where the invitation says.

        Cancellation:
          Safe. The person closes the browser.

        Returns:
          The address that the person was sent to, if they paste it, or None.
        """
        url = invitation.url
        if invitation.kind == "device":
            query = urlencode({"user_code": invitation.user_code or ""})
            url = f"{url.partition('?')[0]}?{query}"
        location = await self._open(url)
        if location is None or not self._follows:
            return location
        import httpx  # httpx is slow to import

        async with httpx.AsyncClient(trust_env=False, timeout=None) as browser:  # noqa: S113  # a person waits
            self.page = (await browser.get(location)).text
        return None

    async def _open(self, url: str) -> str | None:
        """Open an address of the server, in memory, and return where it sends the browser."""
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        answer = await self._exchange(Request("GET", parts.path, parts.query, origin=origin))
        if not isinstance(answer, Answer):
            self.page = answer.value
            return None
        location = dict(answer.headers).get("Location")
        if location is None:
            self.page = b"".join(answer.parts).decode()
        return location
