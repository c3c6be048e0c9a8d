"""Send entries of the outbox to the bucket, so that what is there is whole and right.

Bytes are hashed once more before they are sent: the bucket must never get what the disk has spoiled meanwhile.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from typing import IO

from registry_cache.bucket.errors import ObjectRefused
from registry_cache.bucket.objects import Objects
from registry_cache.errors import RegistryError
from registry_cache.oci import object_keys, signed_manifest
from registry_cache.oci.digest import Digest, Hasher
from registry_cache.oci.names import FullName, Repository, Tag
from registry_cache.store.outbox import BLOB, MANIFEST, OutboxEntry, open_bytes

_BLOCK = 1024 * 1024


class Delivery:
    """Sends to ``objects``; a blob of more than ``part_size`` bytes in parts of that size."""

    def __init__(self, objects: Objects, part_size: int) -> None:
        self._objects = objects
        self._part_size = part_size

    def send(self, entry: OutboxEntry) -> None:
        """Send one entry. Raises BucketAway; ObjectRefused where it can never be sent."""
        try:
            name = FullName(entry.upstream, Repository.parse(entry.repository))
            if entry.kind == BLOB:
                self._send_blob(entry, name, Digest.parse(entry.name))
            elif entry.kind == MANIFEST:
                self._send_manifest(entry, name, Digest.parse(entry.name))
            else:
                key = object_keys.tag(name, Tag.parse(entry.name))
                self._objects.replace(key, json.dumps(entry.record).encode(), "application/json")
        except RegistryError as error:
            raise ObjectRefused(error.message) from error

    def _send_blob(self, entry: OutboxEntry, name: FullName, digest: Digest) -> None:
        with open_bytes(entry) as file:
            size = os.fstat(file.fileno()).st_size
            key = object_keys.blob(digest)
            if size <= self._part_size:
                _require_right(file, digest)
                self._objects.put(key, file, size)
            elif not self._objects.has(key):
                # The bucket knows no condition on what is put in parts.
                self._send_parts(key, file, digest)
        # After its bytes: who reads this asks for them next.
        self._objects.put(object_keys.membership(name, digest), b"", 0)

    def _send_parts(self, key: str, file: IO[bytes], digest: Digest) -> None:
        hasher = digest.hasher()
        if not self._objects.put_parts(key, self._parts(file, hasher), lambda: digest.matches(hasher)):
            raise ObjectRefused(f"the disk has other bytes than those of {digest}")

    def _parts(self, file: IO[bytes], hasher: Hasher) -> Iterator[bytes]:
        while part := file.read(self._part_size):
            hasher.update(part)
            yield part

    def _send_manifest(self, entry: OutboxEntry, name: FullName, digest: Digest) -> None:
        key = object_keys.manifest(name, digest)
        with open_bytes(entry) as file:
            data = file.read()
        if not signed_manifest.is_named(data, digest):
            raise ObjectRefused(f"the disk has other bytes than those of {digest}")
        self._objects.put(key, data, len(data), entry.media_type)


def _require_right(file: IO[bytes], digest: Digest) -> None:
    """Raise ObjectRefused where the bytes are not those of ``digest``; go back to the first one."""
    hasher, read = digest.hasher(), _blocks(file)
    while block := read():
        hasher.update(block)
    if not digest.matches(hasher):
        raise ObjectRefused(f"the disk has other bytes than those of {digest}")
    file.seek(0)


def _blocks(file: IO[bytes]) -> Callable[[], bytes]:
    return lambda: file.read(_BLOCK)
