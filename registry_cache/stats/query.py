"""What somebody may ask the journal for: an image, a client or user, a digest.

nginx · library/nginx · docker.io/library/nginx     an image, by its last components
nginx:1.27                                          one tag of it
10.0.0.7 · ci-bot                                   a client's address, or a user's name
sha256:ab12 · ab12ab12ab12                          a digest, or the first letters of one
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from registry_cache.stats.journal import Pull

# Fewer letters of a digest could be a word as well.
_DIGEST = re.compile(r"(?:[a-z0-9+._-]+:)?[0-9a-f]{12,}", re.ASCII)
_ALGORITHM = re.compile(r"sha(?:256|512):[0-9a-f]*", re.ASCII)


class Query:
    """One question, as somebody has typed it."""

    def __init__(self, text: str) -> None:
        self._text = text.strip().removesuffix("…")
        self._digest = self._text if _ALGORITHM.fullmatch(self._text) or _DIGEST.fullmatch(self._text) else ""
        name, colon, tag = self._text.rpartition(":")
        # A colon before the last slash is the port of a registry.
        self._name, self._tag = (name, tag) if colon and "/" not in tag else (self._text, "")
        # A client's address may hold colons; its line has it as it is.
        last = self._name.rpartition("/")[2]
        self._marks = () if self._digest or not last else {_json_text(last), _json_text(self._text)}

    def lines(self, journal: bytes) -> Iterable[bytes]:
        """Return the lines of the journal that may belong to a pull that is meant, quickly, in their order."""
        # The digest may be that of a platform, whose line does not tell the tag: all others are needed.
        if not self._marks:
            return journal.splitlines()
        found: dict[int, bytes] = {}
        for mark in self._marks:
            at = journal.find(mark)
            while at >= 0:
                start, end = journal.rfind(b"\n", 0, at) + 1, journal.find(b"\n", at)
                end = end if end >= 0 else len(journal)
                found[start] = journal[start:end]
                at = journal.find(mark, end)
        return [line for _, line in sorted(found.items())]

    def means(self, pull: Pull) -> bool:
        """Tell whether the pull is meant."""
        if not self._text or self._text in (pull.client, pull.user):
            return True
        if self._digest and any(self._is_digest(each) for each in (pull.digest, *pull.platforms)):
            return True
        return self._is_image(pull, self._text, "") or self._is_image(pull, self._name, self._tag)

    def _is_digest(self, digest: str) -> bool:
        return digest.startswith(self._digest) or digest.partition(":")[2].startswith(self._digest)

    def _is_image(self, pull: Pull, name: str, tag: str) -> bool:
        whole = f"/{pull.upstream}/{pull.repository}"
        return bool(name) and whole.endswith(f"/{name}") and tag in ("", pull.tag)


def _json_text(text: str) -> bytes:
    return json.dumps(text)[1:-1].encode()
