"""Where profiles and logins are: folders, and the names of files."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from .profile import check_name

if TYPE_CHECKING:
    from .profile import Profile

HOME: Final = "TRIOAUTH_HOME"
"""An environment variable: a folder for all of it, instead of those of the system."""

_ODD: Final = re.compile(r"[^a-z0-9.-]+")


def config_folder() -> Path:
    """Return the folder of the profiles.

    Raises:
      ModuleNotFoundError: platformdirs is not installed.
    """
    return _folder("config", "user_config_path") / "profiles"


def state_folder() -> Path:
    """Return the folder of what is secret: logins, and secrets of clients.

    Raises:
      ModuleNotFoundError: platformdirs is not installed.
    """
    return _folder("state", "user_state_path")


def _folder(name: str, function: str) -> Path:
    if home := os.environ.get(HOME):
        return Path(home).expanduser().absolute() / name
    try:
        import platformdirs
    except ModuleNotFoundError:
        missing = (
            'profiles need platformdirs: pip install "trioauth[cli]"; or name a folder in the '
            f"environment variable {HOME}"
        )
    else:
        folder: Path = getattr(platformdirs, function)("trioauth", appauthor=False)
        return folder
    raise ModuleNotFoundError(missing, name="platformdirs")


def profile_file(name: str) -> Path:
    """Return the file of a profile.

    Raises:
      ValueError: No profile can have that name.
    """
    check_name(name)
    return config_folder() / f"{name}.toml"


def secret_file(name: str) -> Path:
    """Return the file that keeps the client's secret if it came from stdin."""
    return state_folder() / "secrets" / name


def login_file(profile: Profile) -> Path:
    """Return the file of the tokens of a profile.

    Its name says whose they are and what for: server, client, account, resources, parameters and
    scopes. Where one of these changes, the old tokens are not found any more. Without an account
    the profile's name stands for one.
    """
    account = profile.account
    who = [
        profile.server,
        profile.id,
        ["account", account] if account else ["profile", profile.name],
        sorted(profile.resource),
        sorted(profile.parameters.items()),
        sorted(set(profile.scope.split())),
    ]
    digest = hashlib.sha256(json.dumps(who).encode()).hexdigest()[:32]
    host = _ODD.sub("-", (urlsplit(profile.server).hostname or "").lower())[:100]
    return state_folder() / "logins" / f"{host}-{digest}.json"


def keyring_user(profile: Profile) -> str:
    """Return the user name of the keyring's entry that has the tokens of a profile.

    A person has one keyring, whatever folder the environment variable names: so a login of such a
    folder has a name of its own.
    """
    name = login_file(profile).stem
    if not os.environ.get(HOME):
        return name
    return f"{name}-{hashlib.sha256(str(state_folder()).encode()).hexdigest()[:8]}"
