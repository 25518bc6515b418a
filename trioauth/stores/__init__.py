"""Where tokens are kept: in memory, or in a file that several processes share.

A store of your own needs the three methods of `trioauth.TokenStore`, and no base class.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._memory import MemoryStore

if TYPE_CHECKING:
    from ._file import FileStore
else:
    # Not for type checkers: to them it would say that there is every name one can mistype.
    def __getattr__(name: str) -> object:
        # Made on first use, so that only those who lock files import filelock.
        if name == "FileStore":
            from ._file import FileStore

            return FileStore
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["FileStore", "MemoryStore"]
