"""An HTTP client session for trio programs that stays logged in.

A map of the package. Each floor imports from those above it in this list, and from no other; each
folder's docstring is the map of that folder. ``CONTRIBUTING.md`` walks through it with a request.

The base:

``_version``    the version, for ``User-Agent``
``_secrets``    what keeps secrets out of texts, reprs and pickles
``_raising``    raising an exception that a nursery has put into a group
``_outcomes``   why a refresh began, why a login ended
``_errors``     what can go wrong, by what to do next; what may be said of an exception
``_codes``      what the error codes of servers mean: data, with its sources
``_identity``   `Identity`: who has logged in
``_tokens``     `Tokens`; the answer of a token endpoint -> Tokens (pure)
``_origins``    where a token may go (pure)
``_challenge``  what a server says with a 401, and what of it a refresh can cure (pure)
``events``      what observers are told

Then, a folder each:

``stores``      where tokens are kept
``watch``       what a session tells of itself: log, journal, timeline, OpenTelemetry
``_network``    TLS, pools and proxies
``oauth``       what is said to an authorization server: `OAuthClient`, its server, how it proves
                itself; ``oauth/grants``: without a human; ``oauth/logins``: with one
``_core``       what a session knows, decides and does about tokens
``_http``       how a request gets its token, and what a 401 means

The session:

``_session``    `Session`
``_arguments``  what is checked of what a program passes
``_block``      the ``async with`` block: the only nursery
``_opening``    `open_session`: how a session is put together
``_members``    the sessions of many keys that are in memory
``_following``  they look into the store when it hints at a change
``_sessions``   `Sessions`
``_opening_many``
                `open_sessions`: what the sessions of many keys share
``_signals``    `cancel_on_sigterm`: a program that is told to stop loses no login

The doors, modules that only give public names to what is in a folder:

``grants``, ``providers``, ``timeline``, ``opentelemetry``

Logins by name:

``_profiles``   `open_profile`: the logins that the command line keeps

And what uses a session as programs do:

``testing``     what we test with, for everybody
``notebook``    one trio run behind the cells of a notebook
``cli``         the command line, which ``__main__`` calls: ``login``, ``token``, ...; the demo

Nothing of ``testing``, ``notebook``, ``cli``, ``timeline``, ``opentelemetry``, ``_profiles`` and
``_signals``, no client, no grant and no store is imported before it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from . import events
from ._challenge import Challenge, challenge, challenges
from ._core.authentication import Authentication
from ._core.login_state import LoggedIn, LoggedOut
from ._core.policy import RefreshPolicy
from ._core.statistics import Statistics
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
from ._identity import Identity
from ._opening import open_session
from ._outcomes import LogoutReason
from ._session import Session
from ._tokens import Tokens
from ._version import __version__
from .oauth.channel import Answer, BackChannel, TokenEndpoint, TokenRequest
from .oauth.grant import Grant
from .stores._contract import KeyedStore, Record, TokenStore

if TYPE_CHECKING:
    from . import grants as grants
    from . import providers as providers
    from ._opening_many import open_sessions
    from ._profiles.errors import ProfileError
    from ._profiles.opening import open_profile
    from ._sessions import Sessions, SessionsStatistics
    from ._signals import cancel_on_sigterm
    from .grants import BearerRefreshGrant, ClientCredentialsGrant, RefreshTokenGrant
    from .oauth.authentication import (
        ClientAuthentication,
        ClientSecretBasic,
        ClientSecretJWT,
        ClientSecretPost,
        PrivateKeyJWT,
    )
    from .oauth.client import OAuthClient
    from .oauth.logins.halves import Begun
    from .oauth.logins.prompt import Invitation, NotebookPrompt, Prompt, TerminalPrompt
    from .oauth.metadata import AuthorizationServer
    from .oauth.resource_client import ResourceClient
    from .stores import (
        EncryptedStore,
        FileStore,
        KeyedEncryptedStore,
        KeyedMemoryStore,
        KeyringStore,
        MemoryStore,
        RedisStore,
        SQLiteStore,
    )
else:
    # Not for type checkers: to them it would say that there is every name one can mistype.
    # What is imported when it is first used, and from where.
    _LATER = {
        "grants": ("BearerRefreshGrant", "ClientCredentialsGrant", "RefreshTokenGrant"),
        "oauth.authentication": (
            "ClientAuthentication",
            "ClientSecretBasic",
            "ClientSecretJWT",
            "ClientSecretPost",
            "PrivateKeyJWT",
        ),
        "oauth.client": ("OAuthClient",),
        "oauth.logins.halves": ("Begun",),
        "oauth.logins.prompt": ("Invitation", "NotebookPrompt", "Prompt", "TerminalPrompt"),
        "oauth.metadata": ("AuthorizationServer",),
        "oauth.resource_client": ("ResourceClient",),
        "stores": (
            "EncryptedStore",
            "FileStore",
            "KeyedEncryptedStore",
            "KeyedMemoryStore",
            "KeyringStore",
            "MemoryStore",
            "RedisStore",
            "SQLiteStore",
        ),
        "_opening_many": ("open_sessions",),
        "_sessions": ("Sessions", "SessionsStatistics"),
        "_profiles.errors": ("ProfileError",),
        "_profiles.opening": ("open_profile",),
        "_signals": ("cancel_on_sigterm",),
    }

    def __getattr__(name: str) -> object:
        if name in {"grants", "providers"}:
            return import_module(f".{name}", __name__)
        for module, names in _LATER.items():
            if name in names:
                return getattr(import_module(f".{module}", __name__), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "Answer",
    "Authentication",
    "AuthorizationServer",
    "BackChannel",
    "BearerRefreshGrant",
    "Begun",
    "Challenge",
    "ClientAuthentication",
    "ClientCredentialsGrant",
    "ClientSecretBasic",
    "ClientSecretJWT",
    "ClientSecretPost",
    "EncryptedStore",
    "Error",
    "FileStore",
    "Grant",
    "GrantError",
    "GrantMisconfiguredError",
    "GrantRefusedError",
    "Identity",
    "IdentityError",
    "Invitation",
    "KeyedEncryptedStore",
    "KeyedMemoryStore",
    "KeyedStore",
    "KeyringStore",
    "LoggedIn",
    "LoggedOut",
    "LoggedOutError",
    "LoginDeclinedError",
    "LoginError",
    "LoginTimeoutError",
    "LogoutReason",
    "MemoryStore",
    "MetadataError",
    "NotebookPrompt",
    "OAuthClient",
    "OriginError",
    "PrivateKeyJWT",
    "ProfileError",
    "Prompt",
    "Record",
    "RedisStore",
    "RefreshPolicy",
    "RefreshTokenGrant",
    "RefreshUnavailableError",
    "ResourceClient",
    "SQLiteStore",
    "Session",
    "Sessions",
    "SessionsStatistics",
    "Statistics",
    "StoreConflictError",
    "StoreError",
    "TerminalPrompt",
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
    "open_profile",
    "open_session",
    "open_sessions",
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
