"""A pattern of images, as an operator pins them: ``library/postgres:16``, ``owner/*:v1.*``, ``owner/app@sha256:…``.

``*`` stands for any run of characters within one part of a name or within a tag; ``**`` for any number of parts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from registry_cache.errors import DigestInvalid, ManifestUnknown, NameInvalid
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import DEFAULT_TAG, MAX_NAME_LENGTH, Repository, Tag

_WILD = "*"
_PARTS = re.compile(r"(\*+)")
# The characters of names and of tags, and stars.
_NAME_CHARACTERS = re.compile(r"[a-z0-9._/*-]+", re.ASCII)
_TAG_CHARACTERS = re.compile(r"[a-zA-Z0-9._*-]{1,128}", re.ASCII)


@dataclass(frozen=True, slots=True)
class ImagePattern:
    """Images of repositories that match ``repository``: those whose tag matches ``tag``, or that with ``digest``."""

    repository: str
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> ImagePattern:
        """Return the pattern in ``text``, without a registry. Raises NameInvalid, ManifestUnknown, DigestInvalid."""
        path, at, digest = text.partition("@")
        name, colon, tag = path.partition(":")
        if at and colon:
            raise DigestInvalid(f"{text[:200]!r} names a tag and a digest: pin one or the other")
        if at:
            return cls(_repository(name), digest=Digest.parse(digest))
        return cls(_repository(name), tag=_tag(tag if colon else DEFAULT_TAG))

    @property
    def matches_many_repositories(self) -> bool:
        """Tell whether more than one repository may match."""
        return _WILD in self.repository

    def matches_repository(self, name: str) -> bool:
        return _matches(self.repository, name)

    def matches_tag(self, tag: str) -> bool:
        return self.tag is not None and _matches(self.tag, tag)

    def __str__(self) -> str:
        return f"{self.repository}@{self.digest}" if self.digest else f"{self.repository}:{self.tag}"


def _repository(name: str) -> str:
    if _WILD not in name:
        return str(Repository.parse(name))
    parts = name.split("/")
    if len(name) > MAX_NAME_LENGTH or not _NAME_CHARACTERS.fullmatch(name) or "" in parts:
        raise NameInvalid(f"{name[:200]!r} is no pattern of repositories: want a name with * for what may vary")
    return name


def _tag(tag: str) -> str:
    if _WILD not in tag:
        return str(Tag.parse(tag))
    if not _TAG_CHARACTERS.fullmatch(tag):
        raise ManifestUnknown(f"{tag[:200]!r} is no pattern of tags: want a tag with * for what may vary")
    return tag


def _matches(pattern: str, text: str) -> bool:
    """Follow all alternatives at once: a regular expression with many stars may take exponential time."""
    ends = {0}
    for part in _PARTS.split(pattern):
        if _WILD in part:
            ends = {end for start in ends for end in range(start, _reach(part, text, start) + 1)}
        else:
            ends = {end + len(part) for end in ends if text.startswith(part, end)}
    return len(text) in ends


def _reach(stars: str, text: str, start: int) -> int:
    """Return the end of the longest run from ``start`` that ``stars`` may stand for."""
    slash = text.find("/", start) if len(stars) == 1 else -1
    return slash if slash >= 0 else len(text)
