"""How this server names itself in requests to registries, to recognize one that was redirected back to it.

gunicorn's master imports this before it forks its workers, and so all of them say the same.
"""

from __future__ import annotations

import secrets

# A protocol's version and a pseudonym (RFC 9110 §7.6.3): a host name could be another cache's as well.
VIA = f"1.1 registry-cache-{secrets.token_hex(8)}"


def is_ours(header: str) -> bool:
    """Return whether a request with these values of ``Via`` comes from this server."""
    return VIA in header
