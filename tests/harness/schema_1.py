"""Manifests of schema 1, signed as Docker's libtrust signs JSON: the signatures go in before the last bracket."""

from __future__ import annotations

import base64
import json
from typing import Any

END = b"\n}"


def signed(document: dict[str, Any] | None = None, signers: int = 1) -> tuple[bytes, bytes]:
    """What is signed, by which the manifest is named, and the whole."""
    document = document or {
        "schemaVersion": 1,
        "name": "library/app",
        "tag": "latest",
        "architecture": "amd64",
        "fsLayers": [{"blobSum": "sha256:" + "a3" * 32}],
        "history": [{"v1Compatibility": "{}"}],
    }
    part = json.dumps(document, indent=3).encode()
    signature = {
        "header": {"alg": "ES256"},
        "signature": encoded(b"what only clients look at"),
        "protected": encoded(
            json.dumps({"formatLength": len(part) - len(END), "formatTail": encoded(END)}).encode(),
        ),
    }
    signatures = json.dumps([signature] * signers).encode()
    return part, part.removesuffix(END) + b',\n   "signatures": ' + signatures + END


def encoded(data: bytes) -> str:
    """URL-safe base64 without its padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
