"""A store in a folder, and processes that share it: what the tests of store/ and pull/ have in common."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from registry_cache.errors import RegistryError
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import FullName, Repository, Tag
from registry_cache.store.blobs import Blobs
from registry_cache.store.layout import Layout
from registry_cache.store.partial_downloads import Partials
from registry_cache.store.records import Records

HUB = "docker.io"
APP = Repository.parse("library/app")
OTHER = Repository.parse("library/other")
HUB_APP, HUB_OTHER = FullName(HUB, APP), FullName(HUB, OTHER)
LATEST = Tag.parse("latest")

# Everything by which the store changes a disk.
CHANGES = (
    *("open", "write", "pwrite", "ftruncate", "mkdir", "link", "symlink", "unlink"),
    *("rename", "setxattr", "fchmod", "fsync", "utime"),
)
# For a process that answers a line with a line: long enough for a loaded machine, short of pytest's own limit.
CHILD_SECONDS = 60


@dataclass(frozen=True)
class Store:
    layout: Layout
    blobs: Blobs
    partials: Partials
    records: Records

    def put(self, data: bytes, algorithm: str = "sha256") -> Digest:
        """Bring a blob here as a download does, known to no repository."""
        digest = Digest.of(data, algorithm)
        claim = self.partials.claim(digest)
        assert claim is not None
        with claim, claim.partial() as partial:
            if data[partial.size :]:
                partial.append(data[partial.size :])
            partial.commit()
        return digest

    def read(self, digest: Digest, repository: Repository = APP) -> bytes | None:
        found = self.blobs.open(FullName(HUB, repository), digest)
        return found.file.read_at(0, found.size + 1) if found else None

    def files(self, under: str = "") -> set[str]:
        """Every file below the root's folder ``under``, by its path from the root."""
        root = Path(self.layout.root)
        return {str(path.relative_to(root)) for path in (root / under).rglob("*") if not path.is_dir()}

    def wrong_blobs(self) -> list[Path]:
        """Names under ``blobs/`` that promise what their bytes are not."""
        named = [path for path in (Path(self.layout.root) / "blobs").rglob("[!.]*") if path.is_file()]
        return [path for path in named if Digest.of(path.read_bytes(), path.parts[-3]).hex != path.name]


def open_store(root: Path) -> Store:
    layout = Layout.open(root)
    blobs = Blobs(layout)
    return Store(layout, blobs, Partials(layout), Records(layout, blobs))


def descriptors() -> set[str]:
    """Which files this process has open; sockets come and go with the threads of tests before this one."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue
        if target.startswith("/") and not target.startswith(("/dev/", "/proc/")):
            found.add(f"{name} {target}")
    return found


def obey_modes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse to write read-only files, as the kernel does to everyone but root, whom tests often run as."""
    really_open = os.open

    def careful(path: str, flags: int, *rest: Any, **options: Any) -> int:
        writes = flags & os.O_ACCMODE != os.O_RDONLY
        if writes and os.path.exists(path) and not os.stat(path).st_mode & 0o200:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return really_open(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", careful)


def fail_at(monkeypatch: pytest.MonkeyPatch, name: str, number: int, code: int, under: Path) -> Callable[[], int]:
    """Make the ``number``-th call of ``os.<name>`` from now on fail with ``code``; returns how many there were.

    Calls that name a file elsewhere than ``under`` are let through uncounted.
    """
    really = getattr(os, name)
    calls = 0

    def failing(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        elsewhere = isinstance(arguments[0], str) and not arguments[0].startswith(str(under))
        if not elsewhere:
            calls += 1
            if calls == number:
                raise OSError(code, os.strerror(code))
        return really(*arguments, **options)

    monkeypatch.setattr(os, name, failing)
    return lambda: calls


def each_failing_call(
    name: str, code: int, root: Path, act: Callable[[Store], object]
) -> Iterator[tuple[Store, RegistryError | None]]:
    """Yield (store, error) of ``act`` in stores below ``root``, in each of which another call of ``os.<name>`` fails.

    At least one fails and in the end none does; a wrong blob or an open descriptor is left nowhere.
    """
    before = descriptors()
    for number in range(1, 20):
        store = open_store(root / str(number))
        with pytest.MonkeyPatch.context() as patched:
            calls = fail_at(patched, name, number, code, root)
            error = failure(partial(act, store))
        assert not store.wrong_blobs()
        yield store, error
        if calls() < number:
            break
    else:
        raise AssertionError("every call failed")
    assert number > 1
    assert not descriptors() - before


class Child:
    """A process of its own that runs ``source`` and says lines."""

    def __init__(self, source: str, *arguments: object) -> None:
        command = [sys.executable, "-c", source, *map(str, arguments)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def hears(self, line: str = "") -> None:
        assert self.process.stdin
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def says(self) -> str:
        """Its next line; "" at its end."""
        assert self.process.stdout
        return self.process.stdout.readline().rstrip("\n")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(CHILD_SECONDS)


@contextmanager
def children(source: str, *arguments: object, count: int = 1) -> Iterator[list[Child]]:
    """Processes that are gone at the end, whatever happens."""
    started = [Child(source, *arguments) for _ in range(count)]
    try:
        yield started
    finally:
        for child in started:
            child.kill()
            for pipe in (child.process.stdin, child.process.stdout):
                if pipe:
                    pipe.close()


def failure(act: Callable[[], object]) -> RegistryError | None:
    """Return the error that ``act`` ends with, if it does."""
    try:
        act()
    except RegistryError as error:
        return error
    return None
