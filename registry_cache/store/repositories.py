"""What repositories hold, read from the names in their folders: tags, manifests, memberships, cached referrers.

One module to look into ``repositories/``; ``layout`` draws it. What comes or goes meanwhile may be missed.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import time
from collections.abc import Iterator

from registry_cache.errors import DigestInvalid
from registry_cache.oci.digest import Digest
from registry_cache.oci.media_types import KINDS
from registry_cache.store.disk import entries
from registry_cache.store.layout import MANIFESTS, MEMBERSHIPS, REFERRERS, TAGS, Layout

_Entry = os.DirEntry[str]

# Entries after which others have a turn, where a client waits for a look into a folder of any size.
_TURN = 1000


class RepositoryFolder:
    """The folder of one repository at ``path``. Its methods raise OSError."""

    def __init__(self, path: str) -> None:
        self.path = path

    def tags(self) -> list[_Entry]:
        """Return the records of its tags."""
        return _records(f"{self.path}/{TAGS}")

    def manifests(self) -> Iterator[tuple[_Entry, Digest, str]]:
        """Yield (entry, digest, kind) of every name of a manifest."""
        for algorithm in entries(f"{self.path}/{MANIFESTS}"):
            for entry in entries(algorithm.path):
                stem, _, kind = entry.name.partition(".")
                if kind and kind != "json":
                    with contextlib.suppress(DigestInvalid):
                        yield entry, Digest.parse(f"{algorithm.name}:{stem}"), kind

    def manifest_records(self) -> Iterator[_Entry]:
        """Yield the records of its manifests."""
        for algorithm in entries(f"{self.path}/{MANIFESTS}"):
            yield from _records(algorithm.path)

    def lost_records(self) -> Iterator[_Entry]:
        """Yield the records of manifests whose bytes are gone."""
        for algorithm in entries(f"{self.path}/{MANIFESTS}"):
            # Bytes come before records, so a record that was here before this look has lost its manifest.
            records = _records(algorithm.path)
            stems = {entry.name.partition(".")[0] for entry in entries(algorithm.path) if not _is_json(entry)}
            yield from (entry for entry in records if entry.name.removesuffix(".json") not in stems)

    def newest_manifest_records(self, count: int) -> list[str]:
        """Return the paths of the ``count`` records of manifests that were written or used last, the latest first."""
        found: list[tuple[int, str]] = []
        for number, entry in enumerate(self.manifest_records()):
            if number % _TURN == _TURN - 1:
                time.sleep(0)
            with contextlib.suppress(FileNotFoundError):
                found.append((entry.stat().st_ctime_ns, entry.path))
        return [path for _, path in heapq.nlargest(count, found)]

    def memberships(self) -> Iterator[tuple[str, _Entry]]:
        """Yield (algorithm, entry) of every blob that the repository is known to contain."""
        for algorithm in entries(f"{self.path}/{MEMBERSHIPS}"):
            yield from ((algorithm.name, entry) for entry in entries(algorithm.path))

    def referrers(self) -> Iterator[_Entry]:
        """Yield the cached answers about referrers."""
        for algorithm in entries(f"{self.path}/{REFERRERS}"):
            yield from _records(algorithm.path)

    def names_of(self, digest: Digest) -> Iterator[str]:
        """Yield every path at which the repository may have the bytes of ``digest``; it need not exist."""
        yield self.membership(digest)
        yield from (self.manifest(digest, kind) for kind in KINDS)

    def membership(self, digest: Digest) -> str:
        return f"{self.path}/{MEMBERSHIPS}/{digest.algorithm}/{digest.hex}"

    def manifest(self, digest: Digest, extension: str) -> str:
        return f"{self.path}/{MANIFESTS}/{digest.algorithm}/{digest.hex}.{extension}"

    def has_content(self) -> bool:
        """Tell whether it has, or had, a tag or a manifest; a folder left empty goes with the next cleanup."""
        return any(os.path.isdir(f"{self.path}/{part}") for part in (TAGS, MANIFESTS))


def record_of(name: str) -> str:
    """Return the path of the record beside a manifest's ``name``, which ends in its kind."""
    return f"{name.rpartition('.')[0]}.json"


def repositories(layout: Layout, upstream: str = "") -> Iterator[RepositoryFolder]:
    """Yield the folder of every repository of an upstream, or of all, parents before children. Raises OSError."""
    pending = [entry.path for entry in entries(layout.repositories) if upstream in ("", entry.name)]
    # A link may lead out of the store, or round in a circle.
    while pending:
        folder = pending.pop()
        found = [entry for entry in entries(folder) if not entry.name.startswith(".") and not entry.is_symlink()]
        if any(entry.name.startswith("_") for entry in found):
            yield RepositoryFolder(folder)
        pending += [entry.path for entry in found if not entry.name.startswith("_")]


def catalog(folder: str, after: str) -> Iterator[str]:
    """Yield the repositories under ``folder`` with a tag or a manifest, in lexical order of their parts.

    Only those that come after ``after``. Folders that lie wholly before it are not opened, so a page costs what the
    page holds. Raises OSError.
    """
    yield from _walk(folder, "", after.split("/") if after else [])


def _walk(folder: str, prefix: str, after: list[str]) -> Iterator[str]:
    first = after[0] if after else ""
    for entry in sorted(entries(folder), key=lambda entry: entry.name):
        if entry.name.startswith(("_", ".")) or entry.name < first or entry.is_symlink():
            continue
        is_first = entry.name == first
        # With ``after`` a/b: a itself came before it, and of a only what comes after b is left.
        if not is_first and any(_holds_record(f"{entry.path}/{part}") for part in (TAGS, MANIFESTS)):
            yield f"{prefix}{entry.name}"
        yield from _walk(entry.path, f"{prefix}{entry.name}/", after[1:] if is_first else [])


def _holds_record(folder: str) -> bool:
    """Tell whether there is a record in ``folder`` or in a folder of it; emptied folders stay behind."""
    try:
        with os.scandir(folder) as found:
            return any(_holds_record(entry.path) if entry.is_dir() else is_record(entry) for entry in found)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _records(folder: str) -> list[_Entry]:
    return [entry for entry in entries(folder) if is_record(entry)]


def is_record(entry: _Entry) -> bool:
    """Tell whether ``entry`` is a record; one that is being written begins with a dot."""
    return _is_json(entry) and not entry.name.startswith(".")


def _is_json(entry: _Entry) -> bool:
    return entry.name.endswith(".json")
