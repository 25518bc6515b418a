"""How the parts of the server fit together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._api import Api
from ._authorization import Authorization
from ._codes import Codes
from ._devices import Devices
from ._exchange import Exchange

if TYPE_CHECKING:
    from ._site import Site


def build_exchange(site: Site) -> Exchange:
    """Put both servers behind one door."""
    codes, devices = Codes(site), Devices(site)
    challenges = site.persona.resource_metadata == "challenge"
    api = Api(site.book, site.ledger, challenges=challenges)
    return Exchange(api, site, Authorization(site, codes, devices), codes, devices)
