"""Read the store's folders and records, which may hold anything, and report what does not belong there."""

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
from registry_cache.store.audit.rehash import UNREADABLE
from registry_cache.store.disk import entries
from registry_cache.store.last_use import Tick

Covers = Callable[[str], bool]

_Record = TypeVar("_Record")


class Scan:
    """``report`` gets each fault; ``covers`` tells by a digest's hex what to examine; ``tick`` runs at each folder."""

    def __init__(self, report: Callable[[Fault], None], covers: Covers, tick: Tick) -> None:
        self._report = report
        self._covers = covers
        self._tick = tick

    def check_object(self, path: str, digest: Digest | None = None) -> None:
        """Report a record that is no JSON object."""

        def parse() -> dict[str, Any] | None:
            found = json.loads(disk.read_whole(path) or b"")
            return found if isinstance(found, dict) else None

        self.record(path, digest, parse)

    def record(self, path: str, digest: Digest | None, read: Callable[[], _Record | None]) -> _Record | None:
        """Return what ``read`` makes of a record; None if it is gone, or torn, which is reported."""
        why = "cannot be parsed"
        # Twice: it may have gone and come back between ``read`` and the question whether it is there.
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
        self._report(Fault("torn", path, why, digest))
        return None

    def digests(self, path: str, extensions: set[str]) -> list[tuple[Digest, os.DirEntry[str]]]:
        """Return what is named by a digest in the folders of all algorithms."""
        algorithms = self.known(path, file_names.is_algorithm, folders=True)
        return [each for folder in algorithms for each in self.of_algorithm(folder.path, folder.name, extensions)]

    def of_algorithm(
        self, path: str, algorithm: str, extensions: set[str], letters: str = ""
    ) -> list[tuple[Digest, os.DirEntry[str]]]:
        """Return what is named by a digest that this scan covers, with one of the ``extensions``."""

        def digest_of(name: str) -> Digest | None:
            is_ours = name.startswith(letters) and name.partition(".")[2] in extensions
            return file_names.digest_of(algorithm, name) if is_ours else None

        found = [(digest_of(entry.name), entry) for entry in self.known(path, digest_of, folders=False)]
        return [(digest, entry) for digest, entry in found if digest and self._covers(digest.hex)]

    def known(self, folder: str, ours: Callable[[str], object], folders: bool | None = None) -> list[os.DirEntry[str]]:
        """Return the entries of a folder that are ours, by name and by type; report the others."""
        self._tick()
        known = []
        for entry in self._entries(folder):
            if ours(entry.name) and folders in (None, entry.is_dir(follow_symlinks=False)):
                known.append(entry)
            elif not entry.name.startswith("."):
                self._report(Fault("foreign", entry.path, "not a name of ours"))
        return known

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        try:
            return entries(folder)
        except OSError as error:
            if error.errno not in {errno.EACCES, *UNREADABLE}:
                raise
            self._report(Fault("unreadable", folder, error.strerror or ""))
            return []
