"""TLS contexts that take the private authorities which curl, Go and Python 3.11 take (P77)."""

from __future__ import annotations

import ssl


def tls_context(purpose: ssl.Purpose = ssl.Purpose.SERVER_AUTH, ca: str | None = None) -> ssl.SSLContext:
    """Return Python's default context, without the strict rules of X.509 that are part of it since Python 3.13.

    ``ca``: a file of authorities instead of the system's. Raises OSError, ssl.SSLError.
    """
    context = ssl.create_default_context(purpose, cafile=ca)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
