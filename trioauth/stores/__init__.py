"""Where tokens are kept: in memory, or in files that several processes share.

A store of your own needs the three methods of `trioauth.TokenStore`, and no base class. One for
many logins needs the method of `trioauth.KeyedStore`.

``_contract``  `Record`, the protocols `TokenStore` and `KeyedStore`, their optional methods; what
               a key is
``_memory``    `MemoryStore`, `KeyedMemoryStore`
``_turns``     locks by key, for the tasks of one run
``_file``      `FileStore`; below it:
``_hold``      the locks of a file, kept until the last thread under them has ended
``_pin``       whether a lock file is still the one that was locked
``_disk``      reading and replacing a file, so that a crash leaves the old one or the new one
``_mounts``    whether a file is mounted by itself, so that it can't be replaced; on which file
               system
``_sqlite``    `SQLiteStore`; besides those above, below it:
``_key_locks`` a lock for each key, which dies with its holder
``_database``  rows in a file of SQLite

Imports from: the base.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._file import FileStore
    from ._memory import KeyedMemoryStore, MemoryStore
    from ._sqlite import SQLiteStore
else:
    _LATER = {
        "_file": ("FileStore",),
        "_memory": ("KeyedMemoryStore", "MemoryStore"),
        "_sqlite": ("SQLiteStore",),
    }

    # Hidden from type checkers: a module `__getattr__` would make typos type-check.
    def __getattr__(name: str) -> object:
        # On first use: `import trioauth` loads no store, and only a lock on a file loads filelock.
        for module, names in _LATER.items():
            if name in names:
                return getattr(import_module(f".{module}", __name__), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["FileStore", "KeyedMemoryStore", "MemoryStore", "SQLiteStore"]
