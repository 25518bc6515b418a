"""Where tokens are kept: in memory, in files that processes share, in a keyring, on a server.

A store of your own needs the three methods of `trioauth.TokenStore`, and no base class. One for
many logins needs the method of `trioauth.KeyedStore`.

``_contract``  `Record`, the protocols `TokenStore` and `KeyedStore`, their optional methods; what
               a key is
``_memory``    `MemoryStore`, `KeyedMemoryStore`
``_forget``    deleting the record of a login that has ended
``_turns``     locks by key, for the tasks of one run
``_encrypted`` `EncryptedStore`, `KeyedEncryptedStore`; below them:
``_cipher``    records that only those can read who have a key
``_keyring``   `KeyringStore`; below it:
``_entry``     an entry of the system's keyring, through the package keyring
``_file``      `FileStore`; below it, and below `KeyringStore`:
``_place``     a lock file for tasks and processes, and a thread to work under it
``_hold``      the locks of a file
``_workers``   who works under a lock: a task and its threads, the last of which unlocks
``_pin``       whether a lock file is still the one that was locked
``_disk``      reading and replacing a file, so that a crash leaves the old one or the new one
``_mounts``    whether a file is mounted by itself, so that it can't be replaced; on which file
               system
``_sqlite``    `SQLiteStore`; besides those above, below it:
``_key_locks`` a lock for each key, which dies with its holder
``_database``  rows in a file of SQLite
``redis``      `RedisStore`, in a folder of its own

Imports from: the base, ``stores/redis``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._encrypted import EncryptedStore, KeyedEncryptedStore
    from ._file import FileStore
    from ._keyring import KeyringStore
    from ._memory import KeyedMemoryStore, MemoryStore
    from ._sqlite import SQLiteStore
    from .redis.store import RedisStore
else:
    _LATER = {
        "_encrypted": ("EncryptedStore", "KeyedEncryptedStore"),
        "_file": ("FileStore",),
        "_keyring": ("KeyringStore",),
        "_memory": ("KeyedMemoryStore", "MemoryStore"),
        "redis.store": ("RedisStore",),
        "_sqlite": ("SQLiteStore",),
    }

    # Hidden from type checkers: a module `__getattr__` would make typos type-check.
    def __getattr__(name: str) -> object:
        # On first use: `import trioauth` loads no store, and only a lock on a file loads filelock.
        for module, names in _LATER.items():
            if name in names:
                return getattr(import_module(f".{module}", __name__), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "EncryptedStore",
    "FileStore",
    "KeyedEncryptedStore",
    "KeyedMemoryStore",
    "KeyringStore",
    "MemoryStore",
    "RedisStore",
    "SQLiteStore",
]
