"""Repository names, tags and references, by the grammars of distribution-spec, "Pulling manifests"."""

from __future__ import annotations

import re
from typing import NamedTuple

from registry_cache.errors import DigestInvalid, ManifestUnknown, NameInvalid
from registry_cache.oci.digest import Digest

# Distribution limits name and host together to 255 characters; clients do too.
MAX_NAME_LENGTH = 255

# The tag of an image name that has none.
DEFAULT_TAG = "latest"

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*", re.ASCII)
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", re.ASCII)


class Repository(str):
    """A repository name. Its components never begin with a dot or an underscore, so it is safe as a relative path."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Repository:
        """Return the name written in ``text``; NameInvalid where the spec's grammar says no."""
        if len(text) > MAX_NAME_LENGTH or not _NAME.fullmatch(text):
            shown = text if len(text) <= 80 else text[:77] + "…"
            raise NameInvalid(
                f"{shown!r} is not a repository name: want lower-case letters, digits and single . _ - between them, "
                f"parts divided by /, at most {MAX_NAME_LENGTH} characters"
            )
        return cls(text)


class FullName(NamedTuple):
    """A repository at an upstream, as one whole: two upstreams may each have a repository of the same name."""

    upstream: str
    repository: Repository

    def __str__(self) -> str:
        """As it is written before a tag: ``docker.io/library/nginx``."""
        return f"{self.upstream}/{self.repository}"


class Tag(str):
    """A tag; safe as a file name."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Tag:
        """Return the tag written in ``text``; ManifestUnknown if the grammar forbids it, so it cannot exist."""
        if not _TAG.fullmatch(text):
            shown = text if len(text) <= 80 else text[:77] + "…"
            raise ManifestUnknown(f"{shown!r} is no tag: the grammar does not allow it, so no manifest has it")
        return cls(text)


Reference = Tag | Digest


def parse_reference(text: str) -> Reference:
    """Return what a manifest URL names: a digest where there is a colon (no tag has one), else a tag.

    Raises DigestInvalid or ManifestUnknown.
    """
    return Digest.parse(text) if ":" in text else Tag.parse(text)


def fallback_tag(digest: Digest) -> Tag:
    """Return the tag of a subject's index in a registry without the referrers API ("Referrers Tag Schema")."""
    if len(digest.algorithm) > 32:
        raise DigestInvalid(f"no referrers tag for the algorithm {digest.algorithm!r}")
    return Tag(f"{digest.algorithm}-{digest.hex[:64]}")


def refuse_url(text: str) -> None:
    """Raise NameInvalid for an image as skopeo writes it, and as a browser's address line has it."""
    _, is_url, rest = text.partition("://")
    if is_url:
        raise NameInvalid(f"{text[:200]!r} is a URL: write the image alone, as {rest[:200]}")


def split_image_name(text: str) -> tuple[str, Reference]:
    """Return (registry and repository, unparsed) and the reference of ``[registry/]repository[:tag][@digest]``.

    A digest wins over a tag; without either the tag is ``latest``.

    Raises DigestInvalid, ManifestUnknown, NameInvalid.
    """
    refuse_url(text)
    name, at, digest = text.partition("@")
    # A colon before the last slash is the port of a registry.
    path, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        path, tag = name, DEFAULT_TAG
    return path, Digest.parse(digest) if at else Tag.parse(tag)
