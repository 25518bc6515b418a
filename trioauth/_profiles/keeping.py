"""Where the tokens of a profile are kept: in a file, or in the keyring of the system."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from .places import keyring_user, login_file

if TYPE_CHECKING:
    from trioauth.stores import FileStore, KeyringStore

    from .profile import Profile

    LoginStore: TypeAlias = FileStore | KeyringStore


def store_of(profile: Profile) -> LoginStore:
    """Return the store of the tokens of a profile; what it needs on disk is made when needed.

    Raises:
      ModuleNotFoundError: The tokens are to be in the keyring, and keyring is not installed.
    """
    path = login_file(profile)
    if profile.store == "keyring":
        # Imported when used: keyring is an extra.
        from trioauth.stores import KeyringStore

        # Its lock is beside the files of the logins, so that all of it is in one folder.
        return KeyringStore(username=keyring_user(profile), lock_path=path)
    from trioauth.stores import FileStore

    return FileStore(path)


def place_of(profile: Profile) -> str:
    """Say where the tokens of a profile are: no two logins have the same place."""
    if profile.store == "keyring":
        return f"the keyring, as trioauth/{keyring_user(profile)}"
    return str(login_file(profile))
