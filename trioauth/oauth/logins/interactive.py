"""InteractiveLogin: the way to log in that fits where the program runs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Literal, TypeAlias, final

import attrs
import trio

from trioauth._secrets import Unpicklable

from .lines import can_read
from .opening import look_around
from .steps import find_server

if TYPE_CHECKING:
    from trioauth._tokens import Tokens
    from trioauth.oauth.channel import BackChannel

    from .browser import BrowserLogin
    from .device import DeviceLogin
    from .opening import Surroundings

Way: TypeAlias = Literal["browser", "device", "paste"]


def choose(surroundings: Surroundings, *, has_device: bool, can_paste: bool) -> Way:
    """Choose a way (pure).

    1. A browser that can be opened here, and can reach a port here: ``browser``. Of all ways it is
       the hardest to misuse.
    2. Otherwise a code for another device, if the server has such: ``device``.
    3. Otherwise the person brings the address: ``paste``, if there is a keyboard to do it with.
    4. Otherwise ``browser``: the address is printed, and the port may have been forwarded.
    """
    if surroundings.can_open and not surroundings.container:
        return "browser"
    if has_device:
        return "device"
    return "paste" if can_paste else "browser"


@final
@attrs.frozen(kw_only=True)
class InteractiveLogin(Unpicklable):
    """One of the others, chosen by what is there: `OAuthClient.interactive`."""

    browser: BrowserLogin
    device: DeviceLogin
    way: Way | None = None
    surroundings: Surroundings | None = None

    async def __call__(self, endpoint: BackChannel, /) -> Tokens:
        """Choose, and log in.

        Cancellation:
          As that of the way that is chosen.

        Raises:
          LoginError: As the way that is chosen says, and so the others.
          GrantMisconfiguredError: The server does not accept this client, or its metadata can't be
              used.
          RefreshUnavailableError: No usable answer.
        """
        way = self.way or await self._choose(endpoint)
        if way == "device":
            return await self.device(endpoint)
        return await attrs.evolve(self.browser, paste=way == "paste")(endpoint)

    async def _choose(self, endpoint: BackChannel) -> Way:
        around = self.surroundings
        if around is None:
            around = await trio.to_thread.run_sync(look_around, abandon_on_cancel=True)
        server = await find_server(self.browser.client, endpoint)
        return choose(
            around,
            has_device=server.device_authorization_endpoint is not None,
            can_paste=can_read(sys.stdin),
        )
