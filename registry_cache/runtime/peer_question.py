"""A question that one node of a cluster may ask another, such as what a tag means. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

# Where a node is asked; what it is asked follows. The answer is sealed under ``answer_name``.
ANSWERS = "/cluster/answers/"


@dataclass(frozen=True, slots=True)
class SharedQuestion:
    """A question about a ``reference`` of a repository; its ``kind``: "tag", "manifest", "referrers" or "blob".

    ``str`` is its name for all nodes.
    """

    kind: str
    upstream: str
    repository: str
    reference: str

    def __str__(self) -> str:
        between = ":" if self.kind == "tag" else "@"
        return f"{self.kind} {self.upstream}/{self.repository}{between}{self.reference}"

    @property
    def place(self) -> str:
        """What says which node it belongs to: of a digest its hex, so that a manifest is where it is looked for."""
        return str(self) if self.kind == "tag" else self.reference.rpartition(":")[2]

    def target(self, nonce: str) -> str:
        """Return the path and the query, as they are sent; ``nonce``: never used before, so no old answer fits."""
        name, reference = quote(self.repository, safe="/"), quote(self.reference, safe=":")
        return f"{ANSWERS}{self.kind}/{name}/{reference}?ns={quote(self.upstream, safe='')}&nonce={nonce}"


def answer_name(target: str) -> str:
    """Return the name under which the answer to a request for ``target`` is sealed."""
    return f"answer {target}"
