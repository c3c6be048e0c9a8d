"""Say why a file that the configuration names cannot be read: which file, by whom, and what would help."""

import os
import stat
from pathlib import Path

from registry_cache.config.problems import InvalidValue
from registry_cache.runtime.users import name_of_group, name_of_user


def check_readable(path: Path) -> None:
    """Raise InvalidValue if the file cannot be read by the user that we are."""
    try:
        with open(path, "rb") as file:
            file.read(1)
    except (OSError, ValueError) as error:
        raise cannot_read(str(path), error) from None


def cannot_read(path: str, error: OSError | ValueError) -> InvalidValue:
    """Return what to raise for an error of reading the file."""
    if isinstance(error, PermissionError):
        return _no_right(path)
    reason = getattr(error, "strerror", None) or "not a file name"
    return InvalidValue(f"cannot read {path}: {reason}", "name a file that this user may read")


def _no_right(path: str) -> InvalidValue:
    user, group = name_of_user(), name_of_group(os.getegid())
    for folder in reversed(Path(os.path.abspath(path)).parents):
        if os.path.isdir(folder) and not os.access(folder, os.X_OK, effective_ids=True):
            what = f"cannot read {path}: user {user} may not enter {folder}"
            remedy = f"let it in, or put the file elsewhere: chgrp {group} {folder}; chmod g+x {folder}"
            return InvalidValue(what, _by_its_group(folder, stat.S_IXGRP, user) or remedy)
    what = f"cannot read {path}: user {user} may not"
    return InvalidValue(
        what, _by_its_group(path, stat.S_IRGRP, user) or f"let it: chgrp {group} {path}; chmod g+r {path}"
    )


def _by_its_group(path: str | Path, right: int, user: str) -> str | None:
    """Return what helps where a group has the right already: to give the file to another would take it from that one.

    So it is with the configuration, which belongs to the server's group, and with Debian's folder of private keys.
    """
    try:
        found = os.stat(path)
    except OSError:
        return None
    if not found.st_mode & right or found.st_gid == 0:
        return None
    group = name_of_group(found.st_gid)
    return f"group {group} may: run this as root or as a member of it, or add this user to it: adduser {user} {group}"
