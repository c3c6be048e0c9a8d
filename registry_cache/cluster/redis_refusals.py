"""What to do about a Redis that answers, and refuses. Knows the words of Redis, and what redis-py calls its errors.

For a node all of it is one state: away. What differs is what a person has to do.
"""

from __future__ import annotations

# What an account must be allowed, as Redis' access lists say it.
RIGHTS = "~rc:1:* +@read +@write +eval +time"

_SIGN_IN = "compare redis.username and redis.password with what Redis has"
_ALLOW = f"allow the account what nodes need: ACL SETUSER {{name}} {RIGHTS}"
_PRIMARY = "name in redis.addrs the primary, or an address that moves with it: this is a replica, and nodes write"
_NO_CLUSTER = "name a Redis in redis.addrs that is no part of a Redis Cluster"
_REMEDIES = {
    "AuthenticationError": _SIGN_IN,
    "NoPermissionError": _ALLOW,
    # Of a command that a script calls.
    "can't run this command": _ALLOW,
    "unknown command": "do not rename or forbid commands there: nodes need EVAL",
    "ReadOnlyError": _PRIMARY,
    "READONLY": _PRIMARY,
    "MasterDownError": _PRIMARY,
    "MASTERDOWN": _PRIMARY,
    "NOREPLICAS": "give it the replicas that min-replicas-to-write wants, or set that to 0: nodes need none",
    "OutOfMemoryError": "raise its maxmemory, or let it evict: maxmemory-policy volatile-lru",
    "OOM command": "raise its maxmemory, or let it evict: maxmemory-policy volatile-lru",
    "MISCONF": 'mend its disk, or let it keep nothing there (save ""): nodes need nothing after a restart',
    "BusyLoadingError": "wait: it reads what it had kept",
    "BUSY": "find out whose script runs there: those of nodes take less than a millisecond",
    # By its word alone in an older redis-py.
    "ClusterDownError": _NO_CLUSTER,
    "CLUSTERDOWN": _NO_CLUSTER,
    "MovedError": _NO_CLUSTER,
    "MOVED ": _NO_CLUSTER,
    "AskError": _NO_CLUSTER,
    "max number of clients": "raise its maxclients: a worker has up to 32 connections",
    "DB index": "set redis.db to a number that it has",
    "protected mode": "give it a password, and redis.password",
}


def remedy(kind: str, words: str, username: str | None = None) -> str:
    """Return what to do about an error that redis-py calls ``kind``, of the account ``username``.

    "" where there is no more to say than for a Redis that is out of reach.
    """
    for sign, found in _REMEDIES.items():
        if sign == kind or sign in words:
            return found.replace("{name}", username or "default")
    return ""
