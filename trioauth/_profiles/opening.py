"""open_profile: a session with the login that a person has made on the command line."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from trioauth import _challenge
from trioauth._core.policy import RefreshPolicy
from trioauth._opening import open_session

from .client import client_of
from .errors import ProfileError
from .files import load_profile
from .keeping import store_of
from .places import profile_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractAsyncContextManager

    from trioauth._network.options import ClientOptions
    from trioauth._session import Session
    from trioauth.events import Observer

    from .profile import Profile

_DEFAULT_POLICY = RefreshPolicy()


def open_profile(
    name: str,
    *,
    base_url: str = "",
    origins: Iterable[str] = (),
    policy: RefreshPolicy = _DEFAULT_POLICY,
    observers: Iterable[Observer] = (),
    is_rejected: Callable[[Any], bool] = _challenge.is_rejected,
    **client_options: Unpack[ClientOptions],
) -> AbstractAsyncContextManager[Session]:
    """Open a session with the login that ``trioauth login NAME`` has made on this machine.

    The tokens stay where the command line keeps them, in a file or in the keyring, so that this
    program, others and ``trioauth token NAME`` share one login, and refresh once for all of them. A
    login that is made while the session is open is adopted, too. Needs the extra ``cli``.

    Use it like this::

        async with trioauth.open_profile("notes", base_url="https://api.example.com") as session:
            response = await session.get("/me")

    The profile is read at once, from a small file; so is the secret of the client.

    Args:
      name: Of the profile, as on the command line.
      base_url: As `open_session` has it, and so the others. The profile does not say where the
          token may go: the program does.
      origins: As `open_session` has it.
      policy: As `open_session` has it.
      observers: As `open_session` has it.
      is_rejected: As `open_session` has it.
      client_options: As `open_session` has it.

    Cancellation:
      As `open_session`: delayed, for up to ``close_grace`` seconds, if a refresh is in the air when
      you leave.

    Raises:
      ProfileError: There is no such profile, or it can't be used; says what to do.
      ModuleNotFoundError: platformdirs is not installed; or keyring, and the tokens are there.
      ValueError: As `open_session`, and so the others.
      TypeError: As `open_session`.
      RuntimeError: As `open_session`.
      StoreError: As `open_session`.
    """
    profile = load_profile(name)
    if profile.ca_file is not None and "verify" not in client_options:
        client_options["verify"] = trust_of(profile)
    return open_session(
        client_of(profile),
        store=store_of(profile),
        base_url=base_url,
        origins=origins,
        policy=policy,
        observers=observers,
        is_rejected=is_rejected,
        **client_options,
    )


def trust_of(profile: Profile) -> ssl.SSLContext:
    """Return a TLS context that trusts whom a profile with a ``ca_file`` says, and no one else.

    Raises:
      ProfileError: The file can't be read.
    """
    file = Path(str(profile.ca_file)).expanduser()
    try:
        return ssl.create_default_context(cafile=file)
    except OSError as exc:  # An `ssl.SSLError` is one.
        raise ProfileError(
            f"the profile {profile.name!r} can't be used: ca_file {file} can't be read as PEM "
            f"({exc.strerror})",
            path=profile_file(profile.name),
        ) from exc
