"""What is done about a fault: damaged bytes go into the quarantine with all their names, dead names are removed.

Under the digest's lock, so no download of it runs meanwhile; what is busy stays for the next pass. Killed anywhere,
what is left is a smaller store, or a fault that the next pass finds. Whoever reads keeps his descriptor.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from registry_cache.oci.digest import Digest
from registry_cache.oci.media_types import KINDS
from registry_cache.store import disk, locks, quarantine
from registry_cache.store.audit.fault import Fault
from registry_cache.store.disk import ReadHandle
from registry_cache.store.last_use import repositories
from registry_cache.store.layout import Layout

# Where an attempt ended, if not in words.
DONE = ""
BUSY = "busy: the next run looks again"

_DAMAGED = {"flipped", "size", "unreadable"}
_DEAD = {"dangling", "torn", "lost"}
_FOR_A_PERSON = {
    "foreign": "not ours: see what it is and move it away",
    "owner": "give it to the server's user",
    "unreadable": "look at the disk, and at who may read it",
}

_READABLE = 0o444


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
            self._set_aside(fault, fault.digest, fault.file)
        elif fault.kind in _DEAD:
            disk.remove(fault.path)
        elif fault.kind == "permissions":
            # Its bytes may be right: the next run finds out.
            os.chmod(fault.path, _READABLE)
        else:
            return _FOR_A_PERSON[fault.kind]
        return DONE

    def _set_aside(self, fault: Fault, digest: Digest, file: ReadHandle) -> None:
        path = fault.path
        if not file.is_at(path):
            return  # The server has healed it meanwhile.
        target = quarantine.place(self._layout, self._now, digest, os.fstat(file.fileno()).st_ino)
        _forget(path)
        kept = quarantine.take(path, target)
        # The blob's name first: no repository is given another name of it then.
        names = [path, *self._remove_names(digest, file, left=int(kept))]
        if kept:
            known = [os.path.relpath(name, self._layout.root) for name in names]
            quarantine.note(target, digest, f"{fault.kind}: {fault.detail}", known)

    def _remove_names(self, digest: Digest, file: ReadHandle, left: int) -> Iterator[str]:
        """Unlink every name of the file until it has ``left``; yield each. Raises OSError."""
        for name in self._names(digest):
            if os.fstat(file.fileno()).st_nlink <= left:
                return
            if file.is_at(name):
                _forget(name)
                disk.remove(name)
                yield name

    def _names(self, digest: Digest) -> Iterator[str]:
        """Yield every name that a digest's bytes can have."""
        yield self._layout.blob(digest)
        for folder in repositories(self._layout):
            yield f"{folder}/_blobs/{digest.algorithm}/{digest.hex}"
            yield from (f"{folder}/_manifests/{digest.algorithm}/{digest.hex}.{kind}" for kind in KINDS)


def _forget(path: str) -> None:
    """Remove the record of a manifest whose name this is: it is what makes the manifest known, so it goes first."""
    stem, dot, kind = path.rpartition(".")
    if dot and kind in KINDS:
        disk.remove(f"{stem}.json")
