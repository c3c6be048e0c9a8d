"""Where a registry has sent us for a blob, for the next ranges of it: each that goes there spares it a request.

Such an address is signed for one blob and opens it to whoever has it. It is used for the repository that it was given
for, by the account that it was given to, for a minute; and it goes nowhere else.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from cachetools import TTLCache

from registry_cache.oci.digest import Digest
from registry_cache.oci.names import Repository
from registry_cache.upstream.network.zones import Reach

# An access that upstream takes back ends so much later for ranges that come by this way. Addresses are good for some
# minutes mostly; one that is not is refused, and the registry is asked.
GOOD_SECONDS = 60.0
# Blobs whose addresses are remembered: more are not read by ranges within a minute.
_MOST_REMEMBERED = 1000


# The account's name, the repository, and the digest.
Blob = tuple[str, Repository, Digest]


@dataclass(frozen=True, slots=True)
class BlobAddress:
    """``url``: where the registry sent us; ``reach``: on which networks that host may be."""

    url: str
    reach: Reach


_UNKNOWN = BlobAddress("", frozenset())


class BlobAddresses:
    """The addresses that one upstream gave. Safe to share between threads. ``clock``: time.monotonic, but in tests."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._mutex = threading.Lock()
        # None for a blob whose addresses are good once: to try each a second time would cost a request for nothing.
        self._known: TTLCache[Blob, BlobAddress | None] = TTLCache(_MOST_REMEMBERED, GOOD_SECONDS, clock)
        self._worked: TTLCache[Blob, bool] = TTLCache(_MOST_REMEMBERED, GOOD_SECONDS, clock)

    def find(self, blob: Blob) -> BlobAddress | None:
        """Return where to ask for ``blob``; None for the registry."""
        with self._mutex:
            return self._known.get(blob)

    def remember(self, blob: Blob, address: BlobAddress) -> None:
        """Remember an address that has brought bytes. Its minute begins when it was given, not when it is used."""
        with self._mutex:
            known = self._known.get(blob, _UNKNOWN)
            if known == address:
                self._worked[blob] = True
            elif known is not None:
                self._known[blob] = address

    def refuse(self, blob: Blob) -> None:
        """Note that an address was refused. Where it never worked, no other is remembered for a minute."""
        with self._mutex:
            if not self._worked.pop(blob, False):
                self._known[blob] = None
            else:
                self._known.pop(blob, None)

    def forget(self, blob: Blob) -> None:
        """Ask the registry next: what came from there broke off, or was wrong."""
        with self._mutex:
            if self._known.get(blob):
                del self._known[blob]
