"""What a Redis server's refusal means, and what to do about it, in words of ours.

A server's own words are never quoted: they may repeat what it was sent.
"""

from __future__ import annotations

import re
from typing import Final

# The words that some errors begin with, also within those of a script of Redis 6.
_CODE = re.compile(r"(?:^|-)([A-Z]{3,20}) ")

_MEANINGS: Final = {
    "NOAUTH": "wants a password: put it into the URL (redis://user:password@host)",
    "WRONGPASS": "refused the user name or the password: mend them in the URL",
    "NOPERM": (
        "does not let this user do that: its ACL must allow the keys and channels of the prefix "
        "(~prefix* &prefix*) and +@read +@write +@scripting +@pubsub +@connection +time, "
        "and for replicas= or a Sentinel +wait +role"
    ),
    "READONLY": (
        "is a read-only replica: name the primary in the URL, or use redis+sentinel://; after a "
        "failover it may pass by itself"
    ),
    "OOM": (
        "is out of memory: raise its maxmemory, or delete other data (and let maxmemory-policy be "
        "noeviction, or it may delete logins)"
    ),
    "MISCONF": (
        "can't save its data to its disk and takes no writes: look at its disk and its log, and "
        "mend that"
    ),
    "NOREPLICAS": "has too few replicas to take writes (min-replicas-to-write): start them",
    "LOADING": "is still loading its data: wait until it has",
    "MASTERDOWN": "is a replica that has lost its primary: name the primary, or wait for it",
    "BUSY": "is busy with another program's script: end that (SCRIPT KILL)",
    "CLUSTERDOWN": "belongs to a Cluster that is down: look at CLUSTER INFO, and mend that",
    "TRYAGAIN": "belongs to a Cluster that is just moving this login to another node: wait",
    "CROSSSLOT": "belongs to a Cluster: use redis+cluster://",
    "MOVED": "belongs to a Cluster: use redis+cluster://",
    "WRONGTYPE": (
        "holds something else under the key of this login, which was not touched: choose another "
        "prefix="
    ),
    "NOPROTO": "is too old: Redis 6 or newer is needed",
    "DB": "has no database of that number: mend it in the URL",
    "PRIMARY": "is not known to the Sentinels, or none of them answers: look at the Sentinels",
    "STALE": "is not the primary any more: the Sentinels are choosing another one; wait",
    "CLIENTS": "has as many clients as it may have: raise its maxclients",
    "ERR": "refused the command: look at its log and its version (Redis 6 or newer is needed)",
}

# The classes that coredis makes of some codes; it takes the code off the message then.
_CLASSES: Final = {
    "AuthenticationRequiredError": "NOAUTH",
    "AuthenticationFailureError": "WRONGPASS",
    "AuthorizationError": "NOPERM",
    "ReadOnlyError": "READONLY",
    "BusyLoadingError": "LOADING",
    "ClusterDownError": "CLUSTERDOWN",
    "ClusterCrossSlotError": "CROSSSLOT",
    "MovedError": "MOVED",
    "AskError": "MOVED",
    "WrongTypeError": "WRONGTYPE",
    "ProtocolError": "NOPROTO",
    "UnknownCommandError": "NOPROTO",
    "PrimaryNotFoundError": "PRIMARY",
    "StalePrimaryError": "STALE",
}
_PHRASES: Final = {
    "max number of clients": "CLIENTS",
    "db index is out of range": "DB",
    # What a script was not allowed to do, as Redis 7 says it.
    "user executing the script": "NOPERM",
}


def code_of(error: BaseException) -> str:
    """Return the code of a refusal, a key of the meanings above; "" if it is none."""
    kinds = [kind.__name__ for kind in type(error).__mro__]
    for kind in kinds:
        if kind in _CLASSES:
            return _CLASSES[kind]
    words = str(error)
    for phrase, code in _PHRASES.items():
        if phrase in words.lower():
            return code
    match = _CODE.search(words)
    if match and match[1] in _MEANINGS:
        return match[1]
    return "ERR" if "ResponseError" in kinds else ""


def meaning_of(code: str) -> str:
    """Return what a code means, as the end of a sentence that begins with the server."""
    return _MEANINGS[code]
