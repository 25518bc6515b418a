"""Where tokens are kept: in memory, in a file that several processes share, or in a keyring.

A store of your own needs the three methods of `trioauth.TokenStore`, and no base class.

``_contract``  `Record`, the `TokenStore` protocol, and a call of its optional method ``probe``
``_memory``    `MemoryStore`
``_file``      `FileStore`
``_keyring``   `KeyringStore`; below it:
``_entry``     an entry of the system's keyring, through the package keyring
``_place``     below `FileStore` and `KeyringStore`: a lock file, and a thread to work under it
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
    from ._keyring import KeyringStore
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
        if name == "KeyringStore":
            from ._keyring import KeyringStore

            return KeyringStore
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["FileStore", "KeyringStore", "MemoryStore"]
