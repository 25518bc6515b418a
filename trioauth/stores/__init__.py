"""Where tokens are kept: in memory, or in a file that several processes share.

A store of your own needs the three methods of `trioauth.TokenStore`, and no base class.

``_contract``  `Record`, the `TokenStore` protocol, and a call of its optional method ``probe``
``_memory``    `MemoryStore`
``_file``      `FileStore`; below it:
``_hold``      the locks of a file, kept until the last thread under them has ended
``_pin``       whether a lock file is still the one that was locked
``_disk``      reading and replacing a file, so that a crash leaves the old one or the new one
``_mounts``    whether a file is mounted by itself, so that it can't be replaced

Imports from: the base.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._file import FileStore
    from ._memory import MemoryStore
else:
    # Hidden from type checkers: a module `__getattr__` would make typos type-check.
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
