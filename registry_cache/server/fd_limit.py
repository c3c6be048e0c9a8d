"""How many files and connections a worker may have open. A shell's default, 1024, is too few."""

from __future__ import annotations

import resource

# The client's connection, and the file or the upstream's connection that it is fed from.
_FILES_PER_CONNECTION = 2
# The listener, the store's locks, gevent's own, the log.
_OTHER_FILES = 100
# Used if the hard limit is "unlimited": more is never needed, and some programs that we start close every number below.
_LIMIT_MAX = 1_048_576


def raise_limit() -> int:
    """Raise this process's limit as far as it may; return it. What is forked from now on has the same."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _LIMIT_MAX if hard == resource.RLIM_INFINITY else min(hard, _LIMIT_MAX)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return _LIMIT_MAX if soft == resource.RLIM_INFINITY else soft


def too_few(limit: int, connections: int) -> str | None:
    """Return what to tell the operator where a worker of so many connections would run out of ``limit``."""
    needed = connections * _FILES_PER_CONNECTION + _OTHER_FILES
    if limit >= needed:
        return None
    return (
        f"a worker may open {limit} files, and needs {needed} for its readers: "
        "raise the hard limit (LimitNOFILE= in the unit, ulimit -Hn), or lower server.readers"
    )
