"""Platforms of an index's children (image-spec, image-index.md), and which of them are wanted."""

from __future__ import annotations

import json
import platform as machine
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from registry_cache.errors import DigestInvalid
from registry_cache.oci.digest import Digest

_PART = re.compile(r"[a-z0-9._-]{1,64}", re.ASCII)

# Names that kernels and people use for architectures, and the ones of Go that every index uses.
_ARCHITECTURES = {
    "x86_64": "amd64",
    "i386": "386",
    "i686": "386",
    "aarch64": "arm64",
    "armv6l": "arm/v6",
    "armv7l": "arm/v7",
}
# Variants that say no more than their architecture; some indexes write them, others do not.
_PLAIN = {("amd64", "v1"), ("arm64", "v8")}


@dataclass(frozen=True, slots=True)
class Platform:
    """``os/architecture[/variant]``; without a variant it means each of them."""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Return the platform written in ``text``. Raises ValueError."""
        system, _, rest = text.lower().partition("/")
        parts = [system, *_ARCHITECTURES.get(rest, rest).split("/")]
        if not 2 <= len(parts) <= 3 or not all(_PART.fullmatch(part) for part in parts):
            raise ValueError(f"{text!r} is no platform: write it as linux/amd64 or linux/arm/v7")
        return _plain(*parts)

    def includes(self, other: Platform) -> bool:
        """Tell whether ``other`` is this platform, or a variant of it."""
        same = (self.os, self.architecture) == (other.os, other.architecture)
        return same and self.variant in ("", other.variant)

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


def this_machine() -> Platform:
    """Return the platform that a client on this machine pulls."""
    return Platform.parse(f"linux/{machine.machine()}")


def platforms(index: bytes) -> dict[Digest, list[Platform]]:
    """Return the platforms of each child of ``index``; children without one are left out.

    What cannot be parsed is skipped, as in ``parse_manifest``.
    """
    found: dict[Digest, list[Platform]] = {}
    for child in _children(index):
        try:
            values = [child["platform"].get(key, "") for key in ("os", "architecture", "variant")]
            found.setdefault(Digest.parse(child["digest"]), []).append(_plain(*map(str, values)))
        except (DigestInvalid, LookupError, TypeError, AttributeError):
            continue
    return found


def attestations(index: bytes) -> dict[Digest, Digest]:
    """Return which children of ``index`` attest how an image was made, and of which child each says so.

    BuildKit marks them by annotations. What cannot be parsed is skipped.
    """
    found: dict[Digest, Digest] = {}
    for child in _children(index):
        try:
            notes = child["annotations"]
            if notes["vnd.docker.reference.type"] == "attestation-manifest":
                found[Digest.parse(child["digest"])] = Digest.parse(notes["vnd.docker.reference.digest"])
        except (DigestInvalid, LookupError, TypeError, AttributeError):
            continue
    return found


def missing(wanted: Sequence[Platform], found: Sequence[Platform]) -> list[Platform]:
    """Return those of ``wanted`` that nothing in ``found`` matches."""
    return [each for each in wanted if not any(map(each.includes, found))]


def _plain(os: str, architecture: str, variant: str = "") -> Platform:
    return Platform(os, architecture, "" if (architecture, variant) in _PLAIN else variant)


def _children(index: bytes) -> list[Any]:
    try:
        children = json.loads(index)["manifests"]
    except (ValueError, RecursionError, LookupError, TypeError):
        return []
    return children if isinstance(children, list) else []
