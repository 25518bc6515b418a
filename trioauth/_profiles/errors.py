"""What can be wrong with a profile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trioauth._errors import Error

if TYPE_CHECKING:
    import os


class ProfileError(Error):
    """There is no such profile, or it can't be read or used. Nothing was overwritten.

    What to do: what the message says; ``trioauth login NAME`` writes a profile.
    """

    path: str | None = None
    """The file of the profile; None if there is no such profile."""

    def __init__(self, message: str, *, path: str | os.PathLike[str] | None = None) -> None:
        super().__init__(message)
        self.path = None if path is None else str(path)


# As the other errors: named in tracebacks by where it is caught from.
ProfileError.__module__ = "trioauth"
