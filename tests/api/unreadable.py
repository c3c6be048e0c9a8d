"""The product's application for `gunicorn tests.api.unreadable:app`, on a disk that does not give every byte.

What a file's attribute names, and all behind it, fails with EIO, as a bad sector does.
"""

import errno
import os

from tests.harness.bad_sectors import ATTRIBUTE

_sendfile, _pread = os.sendfile, os.pread


def _check(descriptor: int, offset: int, length: int) -> int:
    """Return how many of ``length`` bytes the disk gives. Raises OSError where that is none."""
    try:
        bad = int(os.getxattr(descriptor, ATTRIBUTE))
    except OSError:
        return length
    if offset >= bad:
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    return min(length, bad - offset)


def _sendfile_or_not(out_fd: int, in_fd: int, offset: int | None, count: int) -> int:
    return _sendfile(out_fd, in_fd, offset, _check(in_fd, offset or 0, count))


def _pread_or_not(file: int, length: int, offset: int) -> bytes:
    return _pread(file, _check(file, offset, length), offset)


os.sendfile, os.pread = _sendfile_or_not, _pread_or_not

from wsgi import app  # noqa: E402 — as in patient.py

__all__ = ["app"]
