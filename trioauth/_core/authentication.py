"""Authentication: how a request was authenticated, in ``response.extensions["trioauth"]``."""

from __future__ import annotations

from typing import Literal, TypeAlias, final

import attrs

NotResent: TypeAlias = Literal["body", "futile", "again", "step_up", "not_ours", "policy"]


@final
@attrs.frozen
class Authentication:
    """How a request was authenticated: ``response.extensions["trioauth"]``."""

    generation: int
    """The number of the tokens that it was last sent with."""

    attempts: int = 1
    """How often it was sent: 1; 2 after a refresh; 3 if that refresh only found tokens in the
    store, or with `RefreshPolicy.settle`."""

    not_resent: NotResent | None = None
    """Why a 401 was returned instead of sending the request again; None if there was no such 401:

    ``body``
        Its body can't be sent twice. A refresh is under way: the next try works.
    ``futile``
        The last refreshes did not help there; see `RefreshPolicy.max_futile`.
    ``again``
        It was refused with the renewed token, too.
    ``step_up``
        The API asks for something that a refresh can't give, such as another login or more
        scope: `trioauth.challenge` tells what.
    ``not_ours``
        The refused request carried no token of this session: a redirect led to another origin.
    ``policy``
        A 401, but ``open_session(is_rejected=...)`` does not take it for a refusal of the token.
    """
