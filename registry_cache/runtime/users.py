"""Users and groups by the names that the machine has for them, in place of numbers that an operator would look up."""

from __future__ import annotations

import grp
import os
import pwd


def name_of_user(uid: int | None = None) -> str:
    """Return how the machine calls a user (ourselves, if none is given), else its number, as in a container."""
    uid = os.geteuid() if uid is None else uid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def name_of_group(gid: int) -> str:
    """Return how the machine calls a group, else its number."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
