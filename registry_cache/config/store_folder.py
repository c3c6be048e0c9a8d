"""Try the folder that everything is stored in: an operator learns of a wrong one now, and not its first client."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from registry_cache.config.given import Given
from registry_cache.config.schema import ROOT
from registry_cache.runtime.users import name_of_user

# The sandbox of a unit looks the same from inside as a disk that the kernel has made read-only.
READ_ONLY = "it is read-only here: by its systemd unit, or its disk is, perhaps since an error"
READ_ONLY_REMEDY = "name it in the unit's ReadWritePaths, or look at dmesg and mount it for writing"

_FULL = (errno.ENOSPC, errno.EDQUOT)


def check_store_folder(given: Given, root: Path, *, create: bool) -> None:
    """Report a folder that cannot be written, and make one that is missing if ``create``."""
    try:
        _try(root, create)
    except (OSError, ValueError) as error:
        reason, remedy = _told(root, error)
        given.refuse(ROOT, f"cannot store under {root}: {reason}", remedy)


def _try(root: Path, create: bool) -> None:
    if create and not root.exists():
        root.mkdir(parents=True, exist_ok=True)
        # Whatever the umask: nginx reads it as a member of the group, and other users must not.
        root.chmod(0o750)
    if root.exists():
        _write(root)
        return
    parent = next(folder for folder in root.parents if folder.exists())
    if not (parent.is_dir() and os.access(parent, os.W_OK | os.X_OK)):
        raise PermissionError(errno.EACCES, f"{parent} is not a folder that this user may write in")


def _write(root: Path) -> None:
    try:
        # os.access says yes to root even on a read-only mount. This file leaves no trace.
        with tempfile.TemporaryFile(dir=root):
            pass
    except OSError as error:
        # With a full disk a server that restarts goes on: what is here is served, and all else passed through.
        if error.errno not in _FULL:
            raise


def _told(root: Path, error: OSError | ValueError) -> tuple[str, str]:
    """Return why it cannot be, and what to do."""
    number = getattr(error, "errno", None)
    if number == errno.EROFS:
        return READ_ONLY, f"{READ_ONLY_REMEDY}, or name another folder"
    if number in _FULL:
        return "the disk is full", "make room: df, and df --inodes, tell what is short"
    reason = getattr(error, "strerror", None) or "not a file name"
    if os.path.islink(root) and not os.path.exists(root):
        # What the kernel says of it when a folder is made there is "File exists".
        reason = f"it is a link to {os.readlink(root)}, which leads nowhere"
    remedy = f"name a folder that user {name_of_user()} may write in, or give it that one"
    # Where we may not enter a folder above it, pathlib would raise.
    if number in (errno.EACCES, errno.EPERM) and os.path.isdir(root):
        if owner := _store_owner(root):
            # To give it away would take it from the server that runs on it.
            return f"user {owner} owns this store", f"run this as root or as user {owner}, or name another folder"
        remedy += f": chown -R {name_of_user()} {root}"
    return reason, remedy


def _store_owner(root: Path) -> str | None:
    """Return who has a store there; None where there is none yet, or it is root's or our own."""
    found = os.stat(root)
    # Others may not look into a store: whoever may neither read it nor enter it meets somebody's private folder.
    is_store = os.path.exists(root / "layout") or not os.access(root, os.X_OK, effective_ids=True)
    return name_of_user(found.st_uid) if is_store and found.st_uid not in (0, os.geteuid()) else None
