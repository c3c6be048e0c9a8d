"""What a token tells of itself, and what registries say of tokens that they do not take. Pure."""

from __future__ import annotations

import base64
import binascii
import re

from registry_cache.oci.json_object import parse_object

# A token that begins to be good so short a time ago may not be good yet by a registry's clock (P76).
NEW_SECONDS = 1.0

# RFC 6750 has "invalid_token" for all of these; some say it in other words, or in the body alone. Not a word of access:
# "insufficient_scope", "denied".
_INVALID = re.compile(
    r"invalid[_ -](?:access[_ -])?token|expired[_ -]token|token[_ -](?:\w+[_ -]){0,3}(?:expired|invalid|revoked)"
    r"|token\b.{0,40}\bnot (?:yet |longer )?(?:valid|active)|not[_ -]yet[_ -](?:valid|active)|used before issued",
    re.IGNORECASE,
)


def says_invalid(*texts: str) -> bool:
    """Whether one of these says that a token is no longer good, or not yet: then another will do, or the same later."""
    return any(_INVALID.search(text) for text in texts)


def is_new(authorization: str, now: float) -> bool:
    """Whether the token in ``authorization`` begins to be good about ``now``, in seconds since 1970, or later.

    Only a JSON Web Token tells (RFC 7519 §4.1).
    """
    parts = authorization.rpartition(" ")[2].split(".")
    try:
        claims = parse_object(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))) if parts[1:] else None
    except (binascii.Error, ValueError):
        return False
    begins = [claims.get(name) for name in ("nbf", "iat")] if claims else []
    return any(isinstance(each, int | float) and each > now - NEW_SECONDS for each in begins)
