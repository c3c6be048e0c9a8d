"""Repair faults: damaged bytes move into the quarantine and lose all their names, dead names are removed.

Under the digest's lock, so no download of it runs meanwhile; what is busy is left to the next verify. Killed anywhere,
it leaves a smaller store, or a fault that the next verify finds. A reader keeps its descriptor.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from registry_cache.oci.digest import Digest
from registry_cache.oci.media_types import KINDS
from registry_cache.runtime import event_queue
from registry_cache.store import disk, locks, modes, quarantine
from registry_cache.store.audit.fault import Fault
from registry_cache.store.disk import ReadHandle
from registry_cache.store.layout import Layout
from registry_cache.store.repositories import record_of, repositories

# Outcomes of an attempt; any other says why it failed.
DONE = ""
BUSY = "busy: the next run looks again"

_DAMAGED = {"flipped", "size", "unreadable"}
_DEAD = {"dangling", "torn", "lost"}
_REMEDIES = {
    "foreign": "not ours: look at what it is, and move it away",
    "owner": "change its owner to the server's user",
    "unreadable": "check the disk, and who may read it",
}

# Repositories of one blob that are told one by one; a base layer is in thousands.
_MOST_CHANGES = 20

_READABLE = modes.SEALED


class Repairs:
    """Repairs of one store; ``now`` in seconds since the epoch names the quarantine's folder."""

    def __init__(self, layout: Layout, now: float) -> None:
        self._layout = layout
        self._now = now

    def repair(self, fault: Fault) -> str:
        """Repair ``fault``: DONE, or why not."""
        try:
            if fault.digest is None:
                return self._repair(fault)
            with locks.hold_if_free(self._layout.lock(fault.digest)) as held:
                return self._repair(fault) if held else BUSY
        except OSError as error:
            return error.strerror or str(error)

    def _repair(self, fault: Fault) -> str:
        if fault.kind in _DAMAGED and fault.digest and fault.file:
            self._quarantine(fault, fault.digest, fault.file)
        elif fault.kind in _DEAD:
            disk.remove(fault.path)
        elif fault.kind == "permissions":
            # Its bytes may be right: the next verify finds out.
            os.chmod(fault.path, _READABLE)
        else:
            return _REMEDIES[fault.kind]
        return DONE

    def _quarantine(self, fault: Fault, digest: Digest, file: ReadHandle) -> None:
        path = fault.path
        if not file.is_at(path):
            return  # The server has replaced it meanwhile.
        target = quarantine.path_for(self._layout, self._now, digest, os.fstat(file.fileno()).st_ino)
        _remove_record(path)
        is_kept = quarantine.move(path, target)
        # The blob's name first: then no repository can be given another name of it.
        names = [path, *self._remove_names(digest, file, left=int(is_kept))]
        if is_kept:
            known = [os.path.relpath(name, self._layout.root) for name in names]
            quarantine.write_note(target, digest, f"{fault.kind}: {fault.detail}", known)
            self._note_change(digest, names)

    def _note_change(self, digest: Digest, names: Iterable[str]) -> None:
        """Let the statistics tell in which repositories these bytes were."""
        inside = f"{self._layout.repositories}/"
        owners = {name.removeprefix(inside).partition("/_")[0] for name in names if name.startswith(inside)}
        for owner in sorted(owners)[:_MOST_CHANGES]:
            upstream, _, repository = owner.partition("/")
            event_queue.add_change("quarantined", upstream, repository, str(digest))

    def _remove_names(self, digest: Digest, file: ReadHandle, left: int) -> Iterator[str]:
        """Unlink names of the file until it has ``left`` links; yield each. Raises OSError."""
        for name in self._names(digest):
            if os.fstat(file.fileno()).st_nlink <= left:
                return
            if file.is_at(name):
                _remove_record(name)
                disk.remove(name)
                yield name

    def _names(self, digest: Digest) -> Iterator[str]:
        """Yield every name that a digest's bytes can have."""
        yield self._layout.blob(digest)
        for folder in repositories(self._layout):
            yield from folder.names_of(digest)


def _remove_record(path: str) -> None:
    """Remove the record of the manifest with this name, if it is one: it makes the manifest known, so it goes first."""
    if path.rpartition(".")[2] in KINDS:
        disk.remove(record_of(path))
