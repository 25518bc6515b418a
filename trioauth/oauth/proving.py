"""Adding a client's proof to a request, whichever function makes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trioauth._errors import GrantMisconfiguredError

from .channel import TokenRequest
from .grants.unattended import before_sending

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .authentication import ClientAuthentication


async def prove(
    request: TokenRequest, auth: ClientAuthentication, client_id: str, audience: str
) -> TokenRequest:
    """Return a request with the proof added.

    Cancellation:
      As the function that adds it: nothing has been sent.

    Raises:
      RefreshUnavailableError: The function failed; ``safe_to_repeat``.
      GrantMisconfiguredError: It returned something else.
    """
    what = "the client authentication (auth=)"
    proven = await before_sending(auth, what, request, client_id, audience)
    if isinstance(proven, TokenRequest):
        return proven
    kind = type(proven).__name__
    # The variables of this frame are shown by crash reporters.
    del proven
    raise GrantMisconfiguredError(
        "unusable_authentication", f"auth= must return a TokenRequest, not a {kind}"
    )


def added_by(request: TokenRequest, proven: TokenRequest) -> Iterable[str]:
    """Return what a proof has added to a request: not to be seen in an error."""
    before, after = request.data or {}, proven.data or {}
    for name, value in after.items():
        if name not in {"client_id", "client_assertion_type"} and value != before.get(name):
            yield from (value,) if isinstance(value, str) else value
    for value in proven.headers.values():
        # Without the scheme, which may stand in any error.
        yield value.rpartition(" ")[2]
