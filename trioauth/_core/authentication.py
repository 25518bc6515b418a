"""Authentication: what the session says of a response, in ``response.extensions["trioauth"]``."""

from __future__ import annotations

from typing import Literal, TypeAlias, final

import attrs

NotResent: TypeAlias = Literal["body", "futile", "again", "step_up", "not_ours", "policy"]


@final
@attrs.frozen
class Authentication:
    """How a request was authenticated: ``response.extensions["trioauth"]``."""

    generation: int
    """The tokens it was sent with, the last time."""

    attempts: int = 1
    """How often it was sent: once, twice, or three times; see `RefreshPolicy.settle`, too."""

    not_resent: NotResent | None = None
    """Why a refused request was not sent again, if it was not:

    ``body``
        Its body can't be sent twice. A refresh is under way: the next try works.
    ``futile``
        Refreshing was of no use there the last few times; see `RefreshPolicy.max_futile`.
    ``again``
        It was refused with a token just renewed, too.
    ``step_up``
        The API asks for something that a refresh can't give, such as another login or more
        scope: `trioauth.challenge` tells what.
    ``not_ours``
        The refused request carried no token of this session: a redirect led to another origin.
    ``policy``
        A 401, but ``open_session(is_rejected=...)`` does not take it for a refusal of the token.
    """
