"""What this node asks the registry for another one that does not see Redis."""

from __future__ import annotations

from registry_cache.errors import NotHeld
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import Tag, parse_reference
from registry_cache.pull.access import answer_size
from registry_cache.pull.cluster.questions import NearQuestions
from registry_cache.pull.listing import Listing
from registry_cache.pull.manifest import ManifestPull
from registry_cache.pull.target import PullTarget


class PeerAnswers:
    """Asks as for clients of this node, but no other node in turn."""

    def __init__(self, manifests: ManifestPull, listing: Listing, near: NearQuestions) -> None:
        self._manifests = manifests
        self._listing = listing
        self._near = near

    def answer(self, kind: str, target: PullTarget, reference: str) -> dict[str, object]:
        """Return the outcome of a question (``SharedQuestion``), as nodes share it; {} for one that is not shared.

        Raises DigestInvalid, ManifestUnknown, and NotHeld for a question that we do not know.
        """
        about = parse_reference(reference)
        if isinstance(about, Digest):
            if kind == "manifest":
                return self._manifests.answer_manifest(target, about)
            if kind == "referrers":
                return self._listing.answer_referrers(target, about)
            if kind == "blob":
                return answer_size(self._near, target, about)
        elif kind == "tag" and isinstance(about, Tag):
            return self._manifests.answer_tag(target, about)
        raise NotHeld("no node asks another one this")
