"""Is killed at the k-th change of the disk of a cleanup, for every k, each over a copy of one store.

Started once, it forks for every k. The child kills itself right before the change, in the middle of it where that is a
write, and right behind it. Prints how often that was; the store behind the last of them is that of a pass that ended.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from registry_cache.policy.eviction import Bounds
from registry_cache.store.layout import Layout
from registry_cache.upkeep.cleanup import Cleanup
from tests.harness import store_rig

CHANGES = (*store_rig.CHANGES, "rmdir", "chmod")
WRITES = ("write", "pwrite")


@dataclass(frozen=True)
class Entry:
    """A folder, a file's ``data``, or another name of the file that was first seen as ``first``."""

    path: str
    found: os.stat_result
    data: bytes = b""
    attributes: tuple[tuple[str, bytes], ...] = ()
    first: str = ""


def entries_of(root: Path) -> list[Entry]:
    """Everything below ``root``, folders before what is in them. What reads them leaves no use behind."""
    found, first = [], dict[int, str]()
    for path in sorted(root.rglob("*")):
        name, seen = str(path.relative_to(root)), path.lstat()
        if path.is_dir():
            found.append(Entry(name, seen))
        elif seen.st_ino in first:
            found.append(Entry(name, seen, first=first[seen.st_ino]))
        else:
            first[seen.st_ino] = name
            attributes = tuple((each, os.getxattr(path, each)) for each in os.listxattr(path))
            found.append(Entry(name, seen, peek(path), attributes))
    return found


def peek(path: Path) -> bytes:
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NOATIME)) as file:
        return file.read()


def lay_out(entries: list[Entry], root: Path) -> None:
    """Make a folder of its own that holds the same."""
    root.mkdir()
    for entry in entries:
        path = root / entry.path
        if stat.S_ISDIR(entry.found.st_mode):
            path.mkdir()
        elif entry.first:
            os.link(root / entry.first, path)
        else:
            path.write_bytes(entry.data)
            for name, value in entry.attributes:
                os.setxattr(path, name, value)
            path.chmod(stat.S_IMODE(entry.found.st_mode))
    for entry in reversed(entries):
        os.utime(root / entry.path, ns=(entry.found.st_atime_ns, entry.found.st_mtime_ns))


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def mortal(name: str, last: int, count: list[int]) -> Callable[..., Any]:
    """Return ``os.<name>`` with a death at the ``last`` of all moments that are counted."""
    really = getattr(os, name)

    def at_a_moment(act: Callable[[], object] = lambda: None) -> None:
        count[0] += 1
        if count[0] == last:
            act()
            die()

    def function(*arguments: Any, **options: Any) -> Any:
        if name == "open" and not arguments[1] & (os.O_CREAT | os.O_TRUNC):
            return really(*arguments, **options)
        at_a_moment()
        if name in WRITES:
            descriptor, data, *rest = arguments
            at_a_moment(lambda: really(descriptor, data[: len(data) // 2], *rest))
        found = really(*arguments, **options)
        at_a_moment()
        return found

    return function


def live(root: Path, bounds: Bounds, now: float, last: int) -> None:
    count = [0]
    for name in CHANGES:
        setattr(os, name, mortal(name, last, count))
    assert Cleanup(Layout(root), bounds, now).run()


def main(template: Path, target: Path, now: float, ttl: float | None, max_size: int | None) -> None:
    # A process dies, the machine does not: what it wrote is there, without the wait for the disk.
    setattr(os, "fsync", lambda descriptor: None)  # noqa: B010 — mypy knows its signature
    bounds = Bounds(None if ttl is None else timedelta(seconds=ttl), max_size)
    entries = entries_of(template)
    for last in range(1, 2000):
        root = target / str(last)
        lay_out(entries, root)
        child = os.fork()
        if not child:
            code = 1
            try:
                live(root, bounds, now, last)
                code = 0
            finally:
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code == 0:
            print(last, flush=True)
            return
        if code != -signal.SIGKILL:
            sys.exit(f"at {last}: {code}")
    sys.exit("it never ends")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *json.loads(sys.argv[3]))
