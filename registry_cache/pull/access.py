"""May a repository have a blob that another one brought here? Upstream says: cached is not authorised (P53)."""

from __future__ import annotations

from registry_cache.oci.digest import Digest
from registry_cache.pull.single_flight import MachineFlights, NoteFormat
from registry_cache.pull.target import PullTarget

_SIZE_NOTE: NoteFormat[int | None] = NoteFormat(
    lambda size: {"size": size}, lambda note: None if note["size"] is None else int(note["size"])
)


class Access:
    """The access of one request. ``proven``: upstream has said that this repository contains the blob.

    ``size`` in bytes is what it said then, None for nothing.
    """

    def __init__(self, target: PullTarget, digest: Digest, flights: MachineFlights) -> None:
        self.proven = False
        self.size: int | None = None
        self._target = target
        self._digest = digest
        self._flights = flights

    def prove(self) -> None:
        """Ask upstream, once, whether the repository contains the blob.

        Those who ask at once for the same blob of the same repository share the answer. Raises BlobUnknown, Denied,
        TooManyRequests, UpstreamError.
        """
        if not self.proven:
            self.size = self._flights.run(f"blob {self._target}@{self._digest}", self._ask, _SIZE_NOTE)
            self.proven = True

    def _ask(self) -> int | None:
        return self._target.upstream.head_blob(self._target.repository, self._digest)
