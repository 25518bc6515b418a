"""Reading and writing profiles. All of it blocks, for no longer than a small file takes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, final

import attrs

from trioauth.stores._disk import explained, make_folder, prove_replaceable, replace

from .errors import ProfileError
from .places import config_folder, profile_file, secret_file
from .profile import Profile

if TYPE_CHECKING:
    from pathlib import Path

# No profile is larger, in characters.
_LARGEST = 100_000
_SUFFIX = ".toml"


@final
class NoProfileError(ProfileError):
    """There is no profile of that name."""


NoProfileError.__module__ = "trioauth"
NoProfileError.__qualname__ = NoProfileError.__name__ = "ProfileError"


def profile_names() -> list[str]:
    """Return the names of the profiles that there are, sorted."""
    folder = config_folder()
    if not folder.is_dir():
        return []
    files = [file for file in folder.iterdir() if file.suffix == _SUFFIX]
    return sorted(file.stem for file in files if re.match("[A-Za-z0-9]", file.name))


def load_profile(name: str) -> Profile:
    """Read a profile.

    Raises:
      ProfileError: There is none of that name, or it can't be used.
      ModuleNotFoundError: platformdirs is not installed.
    """
    try:
        path = profile_file(name)
    except ValueError as exc:
        raise NoProfileError(str(exc)) from None
    if (text := _read(path)) is None:
        there = ", ".join(profile_names()) or "none at all"
        raise NoProfileError(
            f"there is no profile {name!r} (there are: {there}); "
            f"trioauth login {name} --issuer URL --client-id ID makes it"
        )
    try:
        return Profile.from_toml(name, text)
    except ValueError as exc:
        problem = str(exc)
    raise ProfileError(f"{path} can't be used: {problem}; mend it, or log in anew", path=path)


def find_profile(name: str) -> Profile | None:
    """Read a profile; None if there is none of that name.

    Raises:
      ProfileError: It can't be used.
      ValueError: No profile can have that name.
    """
    profile_file(name)
    try:
        return load_profile(name)
    except NoProfileError:
        return None


def _read(path: Path) -> str | None:
    # A profile may be a link: people keep their settings in a repository.
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_LARGEST + 1)
    except FileNotFoundError:
        return None
    except (OSError, UnicodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8"
        raise ProfileError(f"{path} can't be read: {reason}", path=path) from exc
    if len(text) > _LARGEST:
        raise ProfileError(f"{path} is no profile: it is too large", path=path)
    return text


@final
@attrs.frozen
class NewProfile:
    """A profile that is to be written once its login is there."""

    profile: Profile
    secret: str | None = attrs.field(default=None, repr=False)
    """The client's secret, if it is to be kept in `secret_file`."""

    def prove_writable(self) -> None:
        """Do all that `write` does, but for what counts (P23).

        Raises:
          StoreError: `write` would fail; says why, and what to do.
        """
        for path, text in self._files():
            with explained("make the folder of", path):
                make_folder(path.parent)
            prove_replaceable(path, len(text))

    def write(self) -> None:
        """Write the profile, whole or not at all, and private.

        Raises:
          StoreError: It can't be written. What was there is still there.
        """
        for path, text in self._files():
            with explained("make the folder of", path):
                make_folder(path.parent)
            replace(path, text.encode())

    def _files(self) -> list[tuple[Path, str]]:
        # If it is a link, where it leads is written.
        profile = (profile_file(self.profile.name).resolve(), self.profile.to_toml())
        secret = self.secret
        return [profile] if secret is None else [(secret_file(self.profile.name), secret), profile]


def remove_profile(name: str) -> None:
    """Remove a profile, and the secret that was kept for it.

    Raises:
      StoreError: It can't be removed.
    """
    for path in (secret_file(name), profile_file(name)):
        with explained("remove", path):
            path.unlink(missing_ok=True)
