"""The session that a command opens: for the server alone, and without refreshes in the background.

A command is short: a refresh that is begun in the background would be cut off at its end, and with
it the new refresh token. So there is none, and what is needed is waited for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from trioauth._core.policy import RefreshPolicy
from trioauth._opening import open_session
from trioauth._profiles.client import client_of
from trioauth._profiles.keeping import store_of
from trioauth._profiles.opening import trust_of

from .speaking import observe

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractAsyncContextManager

    from trioauth._profiles.profile import Profile
    from trioauth._session import Session
    from trioauth.events import Observer
    from trioauth.oauth.client import OAuthClient

_POLICY: Final = RefreshPolicy(early=0)


def open_login(
    profile: Profile,
    client: OAuthClient | None = None,
    *,
    observers: Iterable[Observer] = (),
) -> AbstractAsyncContextManager[Session]:
    """Open the session of a profile.

    Args:
      profile: Whose.
      client: Its client, if that was made already.
      observers: Told beside the one that tells a person what did not go well.

    Cancellation:
      As `open_session`.

    Raises:
      ProfileError: The profile can't be used.
      StoreError: The store can't be read.
    """
    options: dict[str, Any] = {} if profile.ca_file is None else {"verify": trust_of(profile)}
    parts = urlsplit(profile.server)
    return open_session(
        client or client_of(profile),
        store=store_of(profile),
        # A session needs an origin; no request is made with this one.
        origins=[f"{parts.scheme}://{parts.netloc}"],
        policy=_POLICY,
        observers=[observe, *observers],
        **options,
    )
