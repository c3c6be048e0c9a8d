"""What is kept of referrers of a digest that is not here.

Clients may ask for any digest of any name. What nobody has must leave no file for good, nor any number of large ones
where a hostile upstream says that much refers to it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from registry_cache.oci.digest import Digest
from registry_cache.oci.names import FullName
from registry_cache.pull.target import PullTarget
from registry_cache.pull.tolerant_records import TolerantRecords

# An answer may have so many bytes, and a repository so many answers.
MAX_SIZE = 64 * 1024
MAX_OF_A_REPOSITORY = 1000
# In a worker, of repositories of which nothing else is here: a registry may say yes to any name. The oldest go.
MAX_OF_UNKNOWN_NAMES = 100


class UnknownReferrers:
    """Safe to share between threads."""

    def __init__(self, records: TolerantRecords) -> None:
        self._records = records
        self._mutex = threading.Lock()
        self._of_unknown_names: OrderedDict[tuple[FullName, Digest], PullTarget] = OrderedDict()

    def keep(self, target: PullTarget, digest: Digest, document: bytes) -> None:
        """Keep an answer, if there is room for it."""
        if len(document) > MAX_SIZE or self._records.count_referrers(target) >= MAX_OF_A_REPOSITORY:
            return
        self._records.keep_referrers(target, digest, document)
        if self._records.has_content(target):
            return
        with self._mutex:
            self._of_unknown_names[target.name, digest] = target
            is_full = len(self._of_unknown_names) > MAX_OF_UNKNOWN_NAMES
            oldest = self._of_unknown_names.popitem(last=False) if is_full else None
        if oldest:
            (_, digest), target = oldest
            # Meanwhile it may have been pulled from.
            if not self._records.has_content(target):
                self._records.forget_referrers(target, digest)
