"""Signed manifests of schema 1, which are named by what was signed: their bytes without the signatures (P81).

Such a document is JSON with a list ``signatures``, put in before its last bracket. Each signature says how long what
stands before the list is, and how what was signed went on. Whether a signature is right is left to clients, as all
signatures are.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from registry_cache.oci import media_types
from registry_cache.oci.digest import Digest

SIGNED, UNSIGNED = media_types.SCHEMA_1

# Schema 1 has a few kilobytes for each layer. Parsing one of megabytes would hold up all clients.
MAX_SIZE = 512 * 1024

# What hostile bytes may make the parsers raise.
# JSON has numbers that no integer is: 1e999.
_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError, binascii.Error)


def digest_of(data: bytes, algorithm: str = "sha256") -> Digest:
    """Return the digest by which a registry names the manifest ``data``."""
    return Digest.of(signed_part(data) or data, algorithm)


def is_named(data: bytes, digest: Digest) -> bool:
    """Tell whether ``digest`` names the manifest ``data``: all of its bytes, or what was signed of them."""
    if Digest.of(data, digest.algorithm) == digest:
        return True
    part = signed_part(data)
    return part is not None and Digest.of(part, digest.algorithm) == digest


def signed_part(data: bytes) -> bytes | None:
    """Return what was signed of a manifest of schema 1; None for any other bytes.

    What was signed must be of schema 1 itself: otherwise bytes with something added to them could be kept under the
    digest of any other JSON, which clients would then refuse.
    """
    if not _may_be_signed(data):
        return None
    try:
        ends = {_end(each["protected"]) for each in json.loads(data)["signatures"]}
        [(length, tail)] = ends
        part = data[:length] + tail
        document = json.loads(part)
        is_schema_1 = document["schemaVersion"] == 1 and isinstance(document["fsLayers"], list)
    except _UNREADABLE:
        return None
    return part if is_schema_1 and 0 < length < len(data) else None


def digest_of_all(data: bytes, digest: Digest) -> Digest:
    """Return the digest of all of ``data``, a manifest that ``digest`` names."""
    return Digest.of(data, digest.algorithm) if _may_be_signed(data) else digest


def media_type_of(document: dict[str, object]) -> str:
    """Return the media type of a parsed manifest of schema 1, which holds none; "" for any other."""
    if document.get("schemaVersion") != 1 or not isinstance(document.get("fsLayers"), list):
        return ""
    return SIGNED if isinstance(document.get("signatures"), list) else UNSIGNED


def _may_be_signed(data: bytes) -> bool:
    return len(data) <= MAX_SIZE and b'"signatures"' in data


def _end(protected: str) -> tuple[int, bytes]:
    """Return how much of the document was signed, and what came after it then (JWS, "protected")."""
    header: Any = json.loads(_decode(protected))
    return int(header["formatLength"]), _decode(header["formatTail"])


def _decode(text: str) -> bytes:
    """Return what ``text`` is the unpadded URL-safe base64 of."""
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
