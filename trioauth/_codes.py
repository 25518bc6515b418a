"""What the ``error`` codes of token endpoints mean: data, with its sources.

A login ends only by a code that is a refusal here, or is named in a grant's ``refusals``. A code
that is not listed means "unavailable", because to wait costs less than to end a login wrongly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from ._errors import GrantMisconfiguredError, GrantRefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping

Verdict: TypeAlias = type[GrantRefusedError] | type[GrantMisconfiguredError] | None
"""What an ``error`` code means; None for "unavailable"."""

OAUTH_CODES: Final[Mapping[str, Verdict]] = {
    # RFC 6749 5.2
    "invalid_grant": GrantRefusedError,
    "invalid_client": GrantMisconfiguredError,
    "unauthorized_client": GrantMisconfiguredError,
    "unsupported_grant_type": GrantMisconfiguredError,
    "invalid_scope": GrantMisconfiguredError,
    "invalid_request": GrantMisconfiguredError,
    # RFC 6749 4.1.2.1: defined for the authorization endpoint; token endpoints send them, too.
    "temporarily_unavailable": None,
    "server_error": None,
    # RFC 8707 2: the "resource" parameter.
    "invalid_target": GrantMisconfiguredError,
    # RFC 7591 3.2.2, and what servers say of a pushed request.
    "invalid_redirect_uri": GrantMisconfiguredError,
    "invalid_client_metadata": GrantMisconfiguredError,
    # OpenID Connect Core 3.1.2.6: only the person can mend these. Entra says the first when
    # its rules ask for a second factor ("Handling error codes in your application").
    "interaction_required": GrantRefusedError,
    "login_required": GrantRefusedError,
    "account_selection_required": GrantRefusedError,
    "consent_required": GrantRefusedError,
    # Entra: on MSAL's list of codes that need a new login (InteractionRequiredAuthErrorCodes).
    "bad_token": GrantRefusedError,
    # GitHub, with status 200: "Troubleshooting OAuth app access token request errors". The first is
    # its answer to a refresh token that is spent or expired.
    "bad_refresh_token": GrantRefusedError,
    "incorrect_client_credentials": GrantMisconfiguredError,
    # Slack, with 200 and "ok": false; the errors of its method oauth.v2.access. Not `invalid_auth`,
    # which may be about the address that the request came from.
    "invalid_refresh_token": GrantRefusedError,
    "token_expired": GrantRefusedError,
    "token_revoked": GrantRefusedError,
    "account_inactive": GrantRefusedError,
    "bad_client_secret": GrantMisconfiguredError,
    "invalid_client_id": GrantMisconfiguredError,
}

_CHECK_CLIENT = "check client_id, and the secret or the key that proves it"
ADVICE: Final[Mapping[str, str]] = {
    "invalid_client": _CHECK_CLIENT,
    "incorrect_client_credentials": _CHECK_CLIENT,
    "bad_client_secret": _CHECK_CLIENT,
    "invalid_client_id": _CHECK_CLIENT,
    "unauthorized_client": "the server's settings do not allow this client to do that",
    "unsupported_grant_type": "the server's settings do not allow this grant",
    "invalid_scope": "check scope",
}
"""What to mend, for answers that have a code and no description."""
