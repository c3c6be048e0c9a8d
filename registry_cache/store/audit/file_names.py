"""Tell which names the layout gives to files and folders; a file with another name is foreign."""

from __future__ import annotations

import re

from registry_cache.errors import RegistryError
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import Repository, Tag
from registry_cache.store.layout import ALGORITHMS

_ROOT = {"layout", "ledger", "survey", "last-cleanup", "last-hand-on", "last-verify", "pins.json", "rules.json"}
_ROOT |= {"blobs", "partial", "pieces", "locks", "upstreams", "repositories", "quarantine", "statistics", "outbox"}
_ROOT |= {"bucket-away.json"}
# Put there by a file system or its administrator.
_ROOT |= {"lost+found"}

_LOCK = re.compile(r"[0-9a-f]+\.lock")
_LETTERS = re.compile(r"[0-9a-f]{2}")


def is_in_root(name: str) -> bool:
    return name in _ROOT


def is_algorithm(name: str) -> bool:
    return name in ALGORITHMS


def holds_locks(name: str) -> bool:
    return name in (*ALGORITHMS, "flights", "readers")


def is_lock(name: str) -> bool:
    return bool(_LOCK.fullmatch(name))


def is_letters(name: str) -> bool:
    """Tell whether ``name`` is that of a folder of blobs whose digests begin with it."""
    return bool(_LETTERS.fullmatch(name))


def digest_of(algorithm: str, name: str) -> Digest | None:
    """Return the digest that a file's name begins with."""
    try:
        return Digest.parse(f"{algorithm}:{name.partition('.')[0]}")
    except RegistryError:
        return None


def is_json(name: str) -> bool:
    return name.endswith(".json")


def is_component(name: str) -> bool:
    try:
        return bool(Repository.parse(name))
    except RegistryError:
        return False


def is_tag_record(name: str) -> bool:
    try:
        return is_json(name) and bool(Tag.parse(name.removesuffix(".json")))
    except RegistryError:
        return False
