"""Prove by an HMAC that something was written by a holder of the cluster's secret: notes in Redis, requests of peers.

Pure. A seal hides nothing, and does not say that what it seals is true: only that a holder of the secret wrote it.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Seconds that the clocks of two nodes may be apart. A request that somebody recorded is of no use for longer; it reads.
CLOCK_SKEW_SECONDS = 300.0

# The header of a peer's request: ``node;time;mac``.
HEADER = "Registry-Cache-Peer"
# The name in a query by which a peer is asked to get a blob that it lacks.
WANTED = "wanted"

_MAC_LENGTH = 64


class Seals:
    """Seals of one secret."""

    def __init__(self, secret: str) -> None:
        self._key = secret.encode(errors="surrogatepass")

    def seal(self, name: str, document: Mapping[str, object]) -> bytes:
        """Return ``document`` as bytes that ``open`` reads under this ``name``, and under no other."""
        text = json.dumps(document, separators=(",", ":"), sort_keys=True)
        return (self._mac("note", name, text) + text).encode()

    def open(self, name: str, data: bytes | None) -> dict[str, Any] | None:
        """Return the document; None for what nobody with our secret has written under ``name``."""
        try:
            text = (data or b"").decode()
            mac, body = text[:_MAC_LENGTH], text[_MAC_LENGTH:]
            if not hmac.compare_digest(mac.encode(), self._mac("note", name, body).encode()):
                return None
            document = json.loads(body)
        except (ValueError, RecursionError):
            return None
        return document if isinstance(document, dict) else None

    def sign(self, asked: AskedOfPeer, now: float) -> str:
        """Return the header's value for a request that is sent ``now``, in seconds since the epoch."""
        head = f"{asked.node};{now:.0f}"
        return f"{head};{self._mac('request', head, asked.method, asked.target, asked.range)}"

    def verify(self, header: str, asked: AskedOfPeer, now: float) -> AskedOfPeer | None:
        """Return ``asked`` with the node that the header names; None where it does not prove itself, or is old."""
        head, _, mac = header.rpartition(";")
        parts = head.split(";")
        if len(parts) != 2 or not parts[1].isdecimal() or len(parts[1]) > 12:
            return None
        expected = self._mac("request", head, asked.method, asked.target, asked.range)
        if not hmac.compare_digest(mac.encode(errors="replace"), expected.encode()):
            return None
        if abs(now - int(parts[1])) > CLOCK_SKEW_SECONDS:
            return None
        return AskedOfPeer(asked.method, asked.target, asked.range, parts[0])

    def _mac(self, *parts: str) -> str:
        # Lengths first: two lists of parts never make the same bytes.
        message = "".join(f"{len(part)}:{part}" for part in parts)
        return hmac.new(self._key, message.encode(errors="surrogatepass"), "sha256").hexdigest()


@dataclass(frozen=True, slots=True)
class AskedOfPeer:
    """A request of ``node``'s: ``target`` is path and query as they are sent, ``range`` the header or ""."""

    method: str
    target: str
    range: str
    node: str = ""
