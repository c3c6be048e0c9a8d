"""Where things lie on the disk. Every path of the store is computed here, and below a repository in ``repositories``.

    <root>/
      layout                                    the layout's version; refuse to start on anything else
      ledger                                    about how many bytes are stored
      last-cleanup                              empty; its mtime is when a cleanup last came to its end
      last-verify                               what the last verify left; its mtime is when that ended
      rules.json                                what its server keeps and for how long, for commands
      pins.json                                 what the operator wants never to be evicted
      blobs/sha256/ab/ab12…                     verified, complete, immutable (0440)
      partial/sha256/ab12…  (+ .json)           append-only bytes of one download; its status
      pieces/<upstream>/sha256/ab12…            ranges of a blob that is not whole: a sparse file, a map before it
      locks/sha256/ab12….lock                   flock target of a digest's leader
      locks/flights/<hex>.lock                  flock target of one question to upstream
      locks/readers/<hex>.lock                  held by a process that has downloads: how many readers each has
      locks/cleanup.lock                        flock target of the cleanup that evicts
      locks/pins.lock                           flock target of whoever changes the pins
      locks/survey.lock                         flock target of the survey under way
      locks/verify.lock                         flock target of the verify that repairs
      locks/sender.lock                         flock target of the process that writes to the bucket
      locks/pin-exchange.lock                   … of the worker that exchanges pins with other nodes
      last-hand-on                              empty; its mtime is when the bucket was last told what is used here
      bucket-away.json                          since when the bucket accepts nothing, and why
      outbox/<when>-<random>.json (+ .bytes)    what is still to be sent to the bucket: ``outbox``
      quarantine/<day>/<what>  (+ .json)        damaged bytes for a person to look at, kept for a week; what they were
      upstreams/<upstream>.json                 what workers know of an upstream's limits and outages
      survey                                    names of all repositories and some sums, for the page
      statistics/                               what was counted: docs/reference.md draws it
      repositories/<upstream>/<name>/
        _tags/<tag>.json                        what the tag meant when upstream was last asked (asked at: mtime)
        _manifests/sha256/<hex>.<kind>          a hard link to the manifest's bytes; nginx reads the media type from it
        _manifests/sha256/<hex>.json            media type, size, children, subject
        _blobs/sha256/<hex>                     membership: a hard link to the blob
        _referrers/sha256/<hex>.json            cached answer

Names are safe as paths because Repository, Tag and Digest cannot be made from anything else: no component of a
repository begins with ``_`` or ``.``, so ``_tags`` is never a repository and ``..`` cannot occur. Membership is a hard
link, so a path that can be read straight off the URL is both the permission to read and the bytes, and nginx can serve
it. What ``ls`` and ``flock`` say is the state of a blob; no process's memory is authoritative.

    state       on disk                                   lock   a crash here leaves
    ABSENT      nothing                                   free   ABSENT
    CLAIMED     nothing yet                               held   ABSENT: the kernel frees the lock
    GROWING     partial and status                        held   ORPHANED
    VERIFYING   partial complete, synced, digest compared held   ORPHANED: the next leader re-hashes it and commits
    COMMITTED   a name under blobs/                       free   COMMITTED
    FAILED      status with an error; partial unlinked    free   FAILED until the next claim or a cleanup
    ORPHANED    partial                                   free   the next request, or a follower, claims and resumes it
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from registry_cache.errors import StoreError
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import FullName, Tag
from registry_cache.runtime.users import name_of_user
from registry_cache.store import atomic_write, disk, modes

VERSION = b"1\n"
ALGORITHMS = ("sha256", "sha512")

# The parts of a repository's folder.
TAGS, MANIFESTS, MEMBERSHIPS, REFERRERS = "_tags", "_manifests", "_blobs", "_referrers"


@contextmanager
def _rights(root: Path) -> Iterator[None]:
    """Let an error over a part of the store that is another user's say so: as after one start as root."""
    try:
        yield
    except PermissionError as error:
        raise StoreError(
            f"user {name_of_user()} may not use {error.filename or root}: run this as the user whose store it is, or "
            f"give all of it to one: chown -R USER {root}"
        ) from error


class Layout:
    """The paths under one root, as strings. ``Layout.open`` makes or checks the folder; the rest only computes.

    Folders: ``blobs`` has algorithm, two letters and hex; ``partials`` algorithm and hex, with statuses beside them;
    ``pieces`` upstream, algorithm and hex; ``locks`` algorithm, ``flights`` or ``readers``; ``quarantine`` a folder a
    day.
    """

    def __init__(self, root: Path) -> None:
        # Without links, so that where an open file lies can be compared to where it should.
        self.root = os.path.realpath(root)
        self.blobs = f"{self.root}/blobs"
        self.partials = f"{self.root}/partial"
        self.pieces = f"{self.root}/pieces"
        self.locks = f"{self.root}/locks"
        self.reader_notes = f"{self.locks}/readers"
        self.quarantine = f"{self.root}/quarantine"
        self.upstreams = f"{self.root}/upstreams"
        self.survey = f"{self.root}/survey"
        self.statistics = f"{self.root}/statistics"
        self.repositories = f"{self.root}/repositories"
        self.ledger = f"{self.root}/ledger"
        self.last_cleanup = f"{self.root}/last-cleanup"
        self.last_verify = f"{self.root}/last-verify"
        self.rules = f"{self.root}/rules.json"
        self.pins = f"{self.root}/pins.json"
        self.outbox = f"{self.root}/outbox"
        self.bucket_away = f"{self.root}/bucket-away.json"
        self.last_hand_on = f"{self.root}/last-hand-on"
        self.sender_lock = f"{self.locks}/sender.lock"
        self.cleanup_lock = f"{self.locks}/cleanup.lock"
        self.pins_lock = f"{self.locks}/pins.lock"
        self.pin_exchange_lock = f"{self.locks}/pin-exchange.lock"
        self.survey_lock = f"{self.locks}/survey.lock"
        self.verify_lock = f"{self.locks}/verify.lock"
        self._version = f"{self.root}/layout"

    @classmethod
    def open(cls, root: Path) -> Layout:
        """Make the folder ready for use and return its layout; StoreError where that fails or it is another's."""
        layout = cls(root)
        with disk.store_errors(f"set up the store in {root}"), _rights(root):
            modes.make_folders(layout.root)
            if not layout._has_version():
                # Synced, or a power cut may leave bytes that look like another version.
                atomic_write.write_whole(layout._version, VERSION, synced=True)
            for algorithm in ALGORITHMS:
                for folder in (layout.blobs, layout.partials, layout.locks):
                    modes.make_folders(f"{folder}/{algorithm}")
            modes.make_folders(f"{layout.locks}/flights")
            modes.make_folders(layout.repositories)
            modes.make_folders(layout.pieces)
            for folder in (layout.blobs, layout.partials, layout.pieces, layout.locks, layout.repositories):
                modes.close_to_others(folder)
        return layout

    @classmethod
    def find(cls, root: Path) -> Layout | None:
        """Return the layout of the store in ``root`` and change nothing; None if there is none. Raises StoreError."""
        layout = cls(root)
        with disk.store_errors(f"look at the store in {root}"), _rights(root):
            return layout if layout._has_version() else None

    def _has_version(self) -> bool:
        """Tell whether a store is here already; StoreError where it has another version. Raises OSError."""
        found = disk.read_whole(self._version)
        if found and found.strip(b"\0") and found != VERSION:
            raise StoreError(
                f"{self.root} holds a store of layout {_word(found)}, this version reads {_word(VERSION)}: "
                "use the version that wrote it, or name an empty folder"
            )
        # Empty: the power was cut between creating and writing the file, and the folder is ours.
        return found == VERSION

    def blob(self, digest: Digest) -> str:
        return f"{self.blobs}/{digest.algorithm}/{digest.hex[:2]}/{digest.hex}"

    def partial(self, digest: Digest) -> str:
        return f"{self.partials}/{digest.algorithm}/{digest.hex}"

    def status(self, digest: Digest) -> str:
        return f"{self.partials}/{digest.algorithm}/{digest.hex}.json"

    def pieces_of(self, upstream: str, digest: Digest) -> str:
        return f"{self.pieces}/{upstream}/{digest.algorithm}/{digest.hex}"

    def lock(self, digest: Digest) -> str:
        return f"{self.locks}/{digest.algorithm}/{digest.hex}.lock"

    def flight(self, key: str) -> str:
        return f"{self.locks}/flights/{hashlib.sha256(key.encode()).hexdigest()}.lock"

    def upstream_note(self, upstream: str) -> str:
        return f"{self.upstreams}/{upstream}.json"

    def upstream_note_lock(self, upstream: str) -> str:
        return self.flight(f"notice {upstream}")

    def repository(self, name: FullName) -> str:
        return f"{self.repositories}/{name.upstream}/{name.repository}"

    def tags(self, name: FullName) -> str:
        return f"{self.repositories}/{name.upstream}/{name.repository}/{TAGS}"

    def tag(self, name: FullName, tag: Tag) -> str:
        return f"{self.repositories}/{name.upstream}/{name.repository}/{TAGS}/{tag}.json"

    def manifest(self, name: FullName, digest: Digest, extension: str) -> str:
        folder = f"{self.repositories}/{name.upstream}/{name.repository}/{MANIFESTS}"
        return f"{folder}/{digest.algorithm}/{digest.hex}.{extension}"

    def membership(self, name: FullName, digest: Digest) -> str:
        return f"{self.repositories}/{name.upstream}/{name.repository}/{MEMBERSHIPS}/{digest.algorithm}/{digest.hex}"

    def referrers(self, name: FullName, digest: Digest) -> str:
        folder = f"{self.repositories}/{name.upstream}/{name.repository}/{REFERRERS}"
        return f"{folder}/{digest.algorithm}/{digest.hex}.json"


def _word(found: bytes) -> str:
    """Return a layout's number as a person writes it, and of anything else what can be printed."""
    return ascii(found[:20].decode(errors="replace").strip()).strip("'\"")
