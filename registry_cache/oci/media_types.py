"""Media types of manifests, and the short kinds that stand for them in file names."""

from __future__ import annotations

import re

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"

SIGNED_SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"
UNSIGNED_SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+json"
SCHEMA_1 = (SIGNED_SCHEMA_1, UNSIGNED_SCHEMA_1)
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
OCI_ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json"

# Sent upstream whatever the client accepts: a registry that does not see indexes accepted may answer with one
# platform's manifest instead, under the same tag (P26). Old schema 1 is left out: today's clients do not take it.
ACCEPT_MANIFEST = ", ".join((OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST, "*/*;q=0.1"))

# nginx maps the kind to the media type, so a kind is a file extension.
_KINDS = {
    OCI_INDEX: "oci-index",
    OCI_MANIFEST: "oci-manifest",
    DOCKER_INDEX: "docker-index",
    DOCKER_MANIFEST: "docker-manifest",
}
_KNOWN = frozenset((*_KINDS, *SCHEMA_1, OCI_ARTIFACT))
OTHER_KIND = "other"
KINDS = (*_KINDS.values(), OTHER_KIND)

# RFC 6838 §4.2. Nothing else becomes a header of ours: it could break the line or be megabytes long.
_NAME = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
_MEDIA_TYPE = re.compile(rf"{_NAME}/{_NAME}", re.ASCII)
# What manifests have, with a suffix that no browser shows as a page: +xml may hold scripts, whatever stands before it.
_MANIFEST_TYPE = re.compile(
    r"application/vnd\.[a-z0-9][a-z0-9._-]{0,100}(?:\+(?!(?:ht|x)ml$)[a-z0-9]{1,20})?", re.ASCII
)
# A manifest that neither upstream nor its own words say anything of.
UNKNOWN = "application/json"


def is_known(media_type: str) -> bool:
    """Tell whether ``media_type`` is one of manifests that the specs know."""
    return media_type in _KNOWN


def kind_of(media_type: str) -> str:
    """Return the file extension for a manifest of ``media_type``."""
    return _KINDS.get(media_type, OTHER_KIND)


def is_media_type(text: str) -> bool:
    """Tell whether ``text`` is a bare media type, without parameters."""
    return bool(_MEDIA_TYPE.fullmatch(text))


def of_manifest(content_type: str | None) -> str:
    """Return the bare media type of a Content-Type, if it may be a manifest's; "" otherwise.

    Manifests' types are vendors' (RFC 6838 §3.2). What a web server or a storage writes of any file, such as
    ``application/octet-stream``, ``text/plain`` or ``application/x-directory``, says nothing of what is in it. And what
    a browser would show, such as ``text/html`` or ``image/svg+xml``, would run scripts in the cache's own name.
    """
    media_type = without_parameters(content_type)
    return media_type if _MANIFEST_TYPE.fullmatch(media_type) else ""


def without_parameters(content_type: str | None) -> str:
    """Return the bare media type of a Content-Type header; "" where there is none (P38)."""
    return (content_type or "").partition(";")[0].strip().lower()
