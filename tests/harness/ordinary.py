"""Be an ordinary user for a moment: root may read everything, and so shows nothing of what others may not."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager

NOBODY = 65534


@contextmanager
def ordinary_user() -> Iterator[str]:
    """Yield that user's name; whoever runs the tests as one is already there."""
    me = os.geteuid()
    if me == 0:
        os.seteuid(NOBODY)
    try:
        yield pwd.getpwuid(os.geteuid()).pw_name
    finally:
        os.seteuid(me)
