"""An HTTP client session for trio programs that stays logged in.

A map of the package, in reading order:

``_tokens``     `Tokens`; the answer of a token endpoint -> Tokens (pure)
``_policy``     `RefreshPolicy`: when to refresh, how often to try, how long to wait
``_errors``     what can go wrong, by what to do next; what may be said of an exception
``_codes``      what the error codes of servers mean: data, with its sources
``_secrets``    what keeps secrets out of texts, reprs and pickles
``_outcomes``   why a refresh began, why a login ended
``_flight``     Generation, Login, Flight: what is held, and what is on its way
``_state``      states, decisions, transitions (pure)
``_retry``      when another try makes sense (pure)
``_machine``    the state of a session, the one place where it changes, and who is told
``_vault``      the store, as one session sees it
``_records``    from generations to what the store keeps, and back
``_renewal``    the flight that brings the next generation
``_logins``     the flights that begin and end logins
``_flights``    changes of credentials in the air: taking off, landing, closing
``_timers``     what a session does without being asked
``_source``     what tasks ask for a token, and wait for one
``_asking``     one task asks a person to log in, the others wait
``_session``    `Session`
``_opening``    `open_session`: how it is put together; the only nursery
``_store``      `Record` and the `TokenStore` protocol
``_signals``    `cancel_on_sigterm`: a program that is told to stop loses no login
``_clock``      the one place where wall time meets trio time
``_auth``       the auth flow: sign, and on a 401 once more; ``_httpx``, ``_httpx2`` are its ends
``_signing``    what the flow decides; ``_authentication`` is what it says of a response
``_evidence``   what 401s have shown about refreshing (pure)
``_refusal``    reading a 401, but not without end
``_client``     the session's own httpx client; ``_client_options`` what it takes
``_limiter``    who waits for a connection; ``_belonging`` which login a request belongs to
``_network``    TLS, pools and proxies; ``_lookups`` names while all threads are busy
``_endpoint``   `BackChannel`: the client for authorization servers
``_origins``    where a token may go (pure)
``_challenge``  WWW-Authenticate: what a refresh can cure and what not (pure)
``events``      what observers are told
``_log``        the same, in the log; ``_journal`` remembers it for `Session.explain` (``_explain``)
``timeline``    an observer that draws what happened
``opentelemetry``  one that tells OpenTelemetry (an extra)
``notebook``    one trio run behind the cells of a notebook; ``_cells`` runs them, ``_html`` draws
``oauth``       `OAuthClient`: clients, servers, log-ins; its ``grants`` are what grants are made of
``grants``, ``stores``, ``testing``  batteries

Nothing of ``oauth`` (but its ``grants``), ``stores``, ``testing``, ``timeline``, ``opentelemetry``
and ``notebook`` is imported before it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import events
from ._authentication import Authentication
from ._challenge import Challenge, challenge, challenges
from ._endpoint import Answer, BackChannel, TokenEndpoint, TokenRequest
from ._errors import (
    Error,
    GrantError,
    GrantMisconfiguredError,
    GrantRefusedError,
    IdentityError,
    LoggedOutError,
    LoginDeclinedError,
    LoginError,
    LoginTimeoutError,
    MetadataError,
    OriginError,
    RefreshUnavailableError,
    StoreConflictError,
    StoreError,
    TokenResponseError,
)
from ._grant import Grant
from ._opening import open_session
from ._outcomes import LogoutReason
from ._policy import RefreshPolicy
from ._session import Session, Statistics
from ._signals import cancel_on_sigterm
from ._state import LoggedIn, LoggedOut
from ._store import Record, TokenStore
from ._tokens import Tokens
from ._version import __version__
from .grants import BearerRefreshGrant, ClientCredentialsGrant, RefreshTokenGrant

if TYPE_CHECKING:
    from .oauth.authentication import (
        ClientAuthentication,
        ClientSecretBasic,
        ClientSecretJWT,
        ClientSecretPost,
        PrivateKeyJWT,
    )
    from .oauth.client import OAuthClient
    from .oauth.metadata import AuthorizationServer
    from .stores import FileStore, MemoryStore
else:
    # What is imported when it is first used, and from where.
    _LAZY = {
        "AuthorizationServer": "oauth.metadata",
        "ClientAuthentication": "oauth.authentication",
        "ClientSecretBasic": "oauth.authentication",
        "ClientSecretJWT": "oauth.authentication",
        "ClientSecretPost": "oauth.authentication",
        "FileStore": "stores",
        "MemoryStore": "stores",
        "OAuthClient": "oauth.client",
        "PrivateKeyJWT": "oauth.authentication",
    }

    # Not for type checkers: to them it would say that there is every name one can mistype.
    def __getattr__(name: str) -> object:
        if name in _LAZY:
            from importlib import import_module

            return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "Answer",
    "Authentication",
    "AuthorizationServer",
    "BackChannel",
    "BearerRefreshGrant",
    "Challenge",
    "ClientAuthentication",
    "ClientCredentialsGrant",
    "ClientSecretBasic",
    "ClientSecretJWT",
    "ClientSecretPost",
    "Error",
    "FileStore",
    "Grant",
    "GrantError",
    "GrantMisconfiguredError",
    "GrantRefusedError",
    "IdentityError",
    "LoggedIn",
    "LoggedOut",
    "LoggedOutError",
    "LoginDeclinedError",
    "LoginError",
    "LoginTimeoutError",
    "LogoutReason",
    "MemoryStore",
    "MetadataError",
    "OAuthClient",
    "OriginError",
    "PrivateKeyJWT",
    "Record",
    "RefreshPolicy",
    "RefreshTokenGrant",
    "RefreshUnavailableError",
    "Session",
    "Statistics",
    "StoreConflictError",
    "StoreError",
    "TokenEndpoint",
    "TokenRequest",
    "TokenResponseError",
    "TokenStore",
    "Tokens",
    "__version__",
    "cancel_on_sigterm",
    "challenge",
    "challenges",
    "events",
    "open_session",
]

# Exceptions are named in tracebacks by where they are caught from.
for _error in (
    Error,
    GrantError,
    GrantMisconfiguredError,
    GrantRefusedError,
    IdentityError,
    LoggedOutError,
    LoginDeclinedError,
    LoginError,
    LoginTimeoutError,
    MetadataError,
    OriginError,
    RefreshUnavailableError,
    StoreConflictError,
    StoreError,
    TokenResponseError,
):
    _error.__module__ = __name__
del _error


def __dir__() -> list[str]:
    return sorted(__all__)
