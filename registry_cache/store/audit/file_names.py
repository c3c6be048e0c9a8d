"""Which names the layout gives to files and folders: what has another one is foreign."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable

from registry_cache.errors import RegistryError
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import Repository, Tag
from registry_cache.store.layout import ALGORITHMS

# What a file system or its administrator puts into the root is not foreign.
_ROOT = {"layout", "ledger", "pins.json", "blobs", "partial", "locks", "upstreams", "repositories", "quarantine"}
_ROOT |= {"lost+found"}

_LOCK = re.compile(r"[0-9a-f]+\.lock")
_LETTERS = re.compile(r"[0-9a-f]{2}")


def in_root(name: str) -> bool:
    return name in _ROOT


def is_algorithm(name: str) -> bool:
    return name in ALGORITHMS


def has_locks(name: str) -> bool:
    return name in (*ALGORITHMS, "flights")


def is_lock(name: str) -> bool:
    return bool(_LOCK.fullmatch(name))


def is_letters(name: str) -> bool:
    """Tell whether ``name`` is of a folder of blobs that begin with it."""
    return bool(_LETTERS.fullmatch(name))


def digest_of(algorithm: str) -> Callable[[str], Digest | None]:
    """Return a function that reads the digest that a file's name begins with."""

    def read(name: str) -> Digest | None:
        with contextlib.suppress(RegistryError):
            return Digest.parse(f"{algorithm}:{name.partition('.')[0]}")
        return None

    return read


def is_json(name: str) -> bool:
    return name.endswith(".json")


def is_component(name: str) -> bool:
    with contextlib.suppress(RegistryError):
        return bool(Repository.parse(name))
    return False


def is_tag_record(name: str) -> bool:
    with contextlib.suppress(RegistryError):
        return is_json(name) and bool(Tag.parse(name.removesuffix(".json")))
    return False
