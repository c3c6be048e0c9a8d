"""Where things lie on the disk. Every path of the store is computed here and nowhere else.

    <root>/
      layout                                    the layout's version; refuse to start on anything else
      ledger                                    about how many bytes are stored
      pins.json                                 what the operator wants never to be evicted
      blobs/sha256/ab/ab12…                     verified, complete, immutable (0444)
      partial/sha256/ab12…  (+ .json)           append-only bytes of one download; its status
      locks/sha256/ab12….lock                   flock target of a digest's leader
      locks/flights/<hex>.lock                  flock target of one question to upstream
      locks/cleanup.lock                        flock target of the pass that evicts
      locks/pins.lock                           flock target of who changes the pins
      locks/verify.lock                         flock target of the pass that repairs
      quarantine/<day>/<what>  (+ .json)        damaged bytes, for a person to look at; what they were. Gone in a week
      upstreams/<upstream>.json                 what workers know of an upstream's limits and outages
      repositories/<upstream>/<name>/
        _tags/<tag>.json                        what the tag meant when upstream was last asked (asked at: mtime)
        _manifests/sha256/<hex>.<kind>          a hard link to the manifest's bytes
        _manifests/sha256/<hex>.json            media type, size, children, subject
        _blobs/sha256/<hex>                     membership: a hard link to the blob
        _referrers/sha256/<hex>.json            cached answer

Names are safe as paths because Repository, Tag and Digest cannot be made from anything else: no component of a
repository begins with ``_`` or ``.``, so ``_tags`` is no repository and ``..`` cannot occur.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from registry_cache.errors import StoreError
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import Repository, Tag
from registry_cache.store import disk

VERSION = b"1\n"
ALGORITHMS = ("sha256", "sha512")


class Layout:
    """The paths under one root, as strings. ``Layout.open`` makes or checks the folder; this only computes."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self._stamp = os.path.join(self.root, "layout")
        self._blobs = os.path.join(self.root, "blobs")
        self._partial = os.path.join(self.root, "partial")
        self._locks = os.path.join(self.root, "locks")
        self.repositories = os.path.join(self.root, "repositories")
        self.ledger = os.path.join(self.root, "ledger")
        self.pins = os.path.join(self.root, "pins.json")

    @classmethod
    def open(cls, root: Path) -> Layout:
        """Make the folder ready for use and return its layout; StoreError where it cannot be, or is another's."""
        layout = cls(root)
        with disk.store_errors(f"set up the store in {root}"):
            os.makedirs(root, exist_ok=True)
            if not layout._stamped():
                # Synced, or a power cut may leave bytes that are another version's.
                disk.write_whole(layout._stamp, VERSION, synced=True)
            for algorithm in ALGORITHMS:
                for folder in (layout._blobs, layout._partial, layout._locks):
                    os.makedirs(os.path.join(folder, algorithm), exist_ok=True)
            os.makedirs(os.path.join(layout._locks, "flights"), exist_ok=True)
            os.makedirs(layout.repositories, exist_ok=True)
        return layout

    @classmethod
    def find(cls, root: Path) -> Layout | None:
        """Return the layout of the store in ``root``, changing nothing; None where there is none. Raises StoreError."""
        layout = cls(root)
        with disk.store_errors(f"look at the store in {root}"):
            return layout if layout._stamped() else None

    def _stamped(self) -> bool:
        """Tell whether a store is here already; StoreError where it is another version's. Raises OSError."""
        found = disk.read_whole(self._stamp)
        if found and found.strip(b"\0") and found != VERSION:
            raise StoreError(
                f"{self.root} holds a store of layout {found[:20]!r}, this version reads {VERSION!r}: "
                "use the version that wrote it, or name an empty folder"
            )
        # Empty: a power cut between creating and writing the stamp; the folder is ours.
        return found == VERSION

    @property
    def blobs(self) -> str:
        """The folder of all blobs: algorithm, two letters, hex."""
        return self._blobs

    @property
    def partials(self) -> str:
        """The folder of all partials: algorithm, hex, and statuses beside them."""
        return self._partial

    @property
    def locks(self) -> str:
        """The folder of all locks: algorithm or ``flights``, and files in them."""
        return self._locks

    def blob(self, digest: Digest) -> str:
        return f"{self._blobs}/{digest.algorithm}/{digest.hex[:2]}/{digest.hex}"

    def partial(self, digest: Digest) -> str:
        return f"{self._partial}/{digest.algorithm}/{digest.hex}"

    def status(self, digest: Digest) -> str:
        return f"{self._partial}/{digest.algorithm}/{digest.hex}.json"

    def lock(self, digest: Digest) -> str:
        return f"{self._locks}/{digest.algorithm}/{digest.hex}.lock"

    def flight(self, key: str) -> str:
        return f"{self._locks}/flights/{hashlib.sha256(key.encode()).hexdigest()}.lock"

    def cleanup_lock(self) -> str:
        return f"{self._locks}/cleanup.lock"

    def pins_lock(self) -> str:
        return f"{self._locks}/pins.lock"

    def verify_lock(self) -> str:
        return f"{self._locks}/verify.lock"

    @property
    def quarantine(self) -> str:
        """The folder of damaged bytes: a folder a day."""
        return f"{self.root}/quarantine"

    def notice(self, upstream: str) -> str:
        return f"{self.root}/upstreams/{upstream}.json"

    def notice_lock(self, upstream: str) -> str:
        return self.flight(f"notice {upstream}")

    def repository(self, upstream: str, repository: Repository) -> str:
        return f"{self.repositories}/{upstream}/{repository}"

    def tags(self, upstream: str, repository: Repository) -> str:
        return f"{self.repositories}/{upstream}/{repository}/_tags"

    def tag(self, upstream: str, repository: Repository, tag: Tag) -> str:
        return f"{self.repositories}/{upstream}/{repository}/_tags/{tag}.json"

    def manifests(self, upstream: str, repository: Repository) -> str:
        """The folder of a repository's manifests: algorithm, hex and media type or ``json``."""
        return f"{self.repositories}/{upstream}/{repository}/_manifests"

    def manifest(self, upstream: str, repository: Repository, digest: Digest, extension: str) -> str:
        return f"{self.manifests(upstream, repository)}/{digest.algorithm}/{digest.hex}.{extension}"

    def membership(self, upstream: str, repository: Repository, digest: Digest) -> str:
        return f"{self.repositories}/{upstream}/{repository}/_blobs/{digest.algorithm}/{digest.hex}"

    def referrers(self, upstream: str, repository: Repository, digest: Digest) -> str:
        folder = f"{self.repositories}/{upstream}/{repository}/_referrers"
        return f"{folder}/{digest.algorithm}/{digest.hex}.json"
