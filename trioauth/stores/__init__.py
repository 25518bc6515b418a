"""Where tokens are kept: in memory, or in a file that several processes share.

A store of your own needs the three methods of `trioauth.TokenStore`, and no base class.

``_contract``  `Record`, the `TokenStore` protocol, and how a store is tried out
``_memory``    `MemoryStore`
``_file``      `FileStore`; below it:
``_hold``      the lock of a file, and who holds it
``_pin``       whether a lock file is still the one that was locked
``_disk``      reading and replacing a file, so that a crash leaves the old one or the new one
``_mounts``    what may not be renamed over

Imports from: the base.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._file import FileStore
    from ._memory import MemoryStore
else:
    # Not for type checkers: to them it would say that there is every name one can mistype.
    def __getattr__(name: str) -> object:
        # On first use: `import trioauth` loads no store, and only a lock on a file loads filelock.
        if name == "MemoryStore":
            from ._memory import MemoryStore

            return MemoryStore
        if name == "FileStore":
            from ._file import FileStore

            return FileStore
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["FileStore", "MemoryStore"]
