"""Test whether the disk under a store does what the store needs, in a folder that is removed afterwards."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from registry_cache.errors import StoreError
from registry_cache.runtime.check_step import Step
from registry_cache.runtime.users import name_of_user
from registry_cache.store import atomic_write, locks
from registry_cache.store.inventory import disk_space, existing

# Less than this is a few layers of today's images.
LITTLE_ROOM = 2 * 1024**3

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_ATTRIBUTE = "user.registry_cache.selftest"


def examine(root: Path) -> Iterator[Step]:
    """Try the folder ``root``, or where it would be made; stops where it cannot be written."""
    there = existing(str(root))
    try:
        with tempfile.TemporaryDirectory(prefix=".registry-cache-check-", dir=there) as folder:
            sample = os.path.join(folder, "sample")
            atomic_write.write_whole(sample, b"sample")
            made = "" if there == str(root) else "; it does not exist yet: serve makes it"
            yield _others(root) or Step("folder", "ok", f"user {name_of_user()} can write under {root}{made}")
            yield _free(there)
            yield _hard_links(folder, sample)
            yield _attributes(sample)
            yield _locks(os.path.join(folder, "lock"))
    except (OSError, StoreError) as error:
        yield _unwritable(there, error)


def _others(root: Path) -> Step | None:
    """Return what is wrong where a part of the store is another user's, as after one start as root."""
    for path in (root / "layout", *(folder for folder in root.glob("*/") if not folder.name.startswith("."))):
        wanted = os.R_OK | (os.W_OK | os.X_OK if path.is_dir() else 0)
        if path.exists() and not os.access(path, wanted, effective_ids=True):
            told = f"user {name_of_user()} may not use {path}, which is user {name_of_user(path.stat().st_uid)}'s"
            return Step("folder", "failed", told, f"give all of it to one user: chown -R {name_of_user()} {root}")
    return None


def _unwritable(folder: str, error: OSError | StoreError) -> Step:
    cause = error if isinstance(error, OSError) else error.__cause__
    reason = getattr(cause, "strerror", None) or error
    remedy = f"give it to user {name_of_user()}, or name another in storage.filesystem.rootdirectory"
    if getattr(cause, "errno", None) in _NO_ROOM:
        remedy = "free some room: pulls are passed through meanwhile, and not kept"
    elif getattr(cause, "errno", None) == errno.EROFS:
        # As the kernel makes it after an error; whose folder it is changes nothing.
        remedy = "look at dmesg, and mount it for writing, or name another in storage.filesystem.rootdirectory"
    return Step("folder", "failed", f"cannot write in {folder}: {reason}", remedy)


def _free(folder: str) -> Step:
    found = disk_space(folder)
    words = f"{found.free / 1024**3:.1f} of {found.total / 1024**3:.1f} GiB are free"
    if found.free < LITTLE_ROOM:
        return Step("room", "warning", words, "what finds no room is passed through and not kept: free some")
    return Step("room", "ok", words)


def _hard_links(folder: str, sample: str) -> Step:
    try:
        os.link(sample, os.path.join(folder, "second"))
    except OSError as error:
        remedy = (
            "symbolic links stand in, so one blob has one copy still, but the link count does not tell which are unused"
        )
        return Step("hard links", "warning", f"not possible here: {error.strerror or error}", remedy)
    return Step("hard links", "ok", "a blob of several repositories is stored once")


def _attributes(sample: str) -> Step:
    try:
        os.setxattr(sample, _ATTRIBUTE, b"1")
    except OSError as error:
        remedy = "the size of a blob is not compared when it is opened: one that the disk has cut short is not noticed"
        return Step("attributes", "warning", f"not possible here: {error.strerror or error}", remedy)
    return Step("attributes", "ok", "a blob that the disk cuts short is noticed when it is opened")


def _locks(path: str) -> Step:
    remedy = "put the store on a local disk: without locks each worker downloads for itself and may spoil another's"
    try:
        with locks.LockFile(path) as lock, locks.LockFile(path) as other:
            excluded = lock.acquire() and not other.acquire()
    except OSError as error:
        return Step("locks", "failed", f"flock does not work here: {error.strerror or error}", remedy)
    if not excluded:
        return Step("locks", "failed", "flock lets two hold one lock here", remedy)
    return Step("locks", "ok", "one leader a download")
