"""Looking into the store's folders and records, where anything may lie: what is not as it should be is told."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from typing import Any, TypeVar

from registry_cache.errors import RegistryError
from registry_cache.oci.digest import Digest
from registry_cache.store import disk
from registry_cache.store.audit import file_names
from registry_cache.store.audit.fault import Fault
from registry_cache.store.audit.rehash import BROKEN
from registry_cache.store.last_use import Tick, entries

Covers = Callable[[str], bool]
Right = Callable[[dict[str, Any]], bool]

_Record = TypeVar("_Record")


class Scan:
    """``found`` is told each fault; ``covers`` tells by a digest's hex what is looked at; ``tick`` at each folder."""

    def __init__(self, found: Callable[[Fault], None], covers: Covers, tick: Tick) -> None:
        self._found = found
        self._covers = covers
        self._tick = tick

    def document(
        self, path: str, digest: Digest | None = None, right: Right = lambda found: True
    ) -> dict[str, Any] | None:
        """Return the JSON object of a record; None where it is gone, or torn, which is told."""
        return self.record(path, digest, lambda: _parsed(path, right))

    def record(self, path: str, digest: Digest | None, read: Callable[[], _Record | None]) -> _Record | None:
        """Return what ``read`` makes of a record; None where it is gone, or torn, which is told."""
        why = "cannot be parsed"
        # A second look: it may have gone and come again between a look and the question whether it is there.
        for _ in range(2):
            try:
                found = read()
                if found is not None:
                    return found
            except OSError as error:
                why = error.strerror or ""
            except RegistryError as error:
                why = error.message
            except (ValueError, RecursionError):
                why = "cannot be parsed"
            if not os.path.lexists(path):
                return None
        self._found(Fault("torn", path, why, digest))
        return None

    def digests(self, path: str, kinds: set[str]) -> list[tuple[Digest, os.DirEntry[str]]]:
        """Return what is named by a digest in the folders of all algorithms."""
        algorithms = self.known(path, file_names.is_algorithm, folders=True)
        return [each for folder in algorithms for each in self.of_algorithm(folder.path, folder.name, kinds)]

    def of_algorithm(
        self, path: str, algorithm: str, kinds: set[str], letters: str = ""
    ) -> list[tuple[Digest, os.DirEntry[str]]]:
        """Return what is named by a digest of this look, with an ending of ``kinds``."""
        named = file_names.digest_of(algorithm)

        def ours(name: str) -> bool:
            return name.startswith(letters) and name.partition(".")[2] in kinds and named(name) is not None

        found = [(named(entry.name), entry) for entry in self.known(path, ours, folders=False)]
        return [(digest, entry) for digest, entry in found if digest and self._covers(digest.hex)]

    def known(self, folder: str, ours: Callable[[str], object], folders: bool | None = None) -> list[os.DirEntry[str]]:
        """Return the entries of a folder that are ours, by name and by what they are; tell the others."""
        self._tick()
        known = []
        for entry in self._entries(folder):
            if ours(entry.name) and folders in (None, entry.is_dir(follow_symlinks=False)):
                known.append(entry)
            elif not entry.name.startswith("."):
                self._found(Fault("foreign", entry.path, "not a name of ours"))
        return known

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        try:
            return entries(folder)
        except OSError as error:
            if error.errno not in {errno.EACCES, *BROKEN}:
                raise
            self._found(Fault("unreadable", folder, error.strerror or ""))
            return []


def _parsed(path: str, right: Right) -> dict[str, Any] | None:
    found = json.loads(disk.read_whole(path) or b"")
    return found if isinstance(found, dict) and right(found) else None
