"""Why a TLS connection failed, and what an operator can do, in words."""

from __future__ import annotations

import ssl

# OpenSSL's X509_V_ERR_… numbers (x509_vfy.h).
_NOT_YET_VALID, _EXPIRED = 9, 10
_UNKNOWN_AUTHORITY = (18, 19, 20, 21)
_OTHER_NAME = (62, 64)

# A chain of exceptions is under ten long: ours, requests', two of urllib3's. The bound ends one that loops.
_MAX_EXCEPTIONS = 50


def tls_failure(error: BaseException, name: str, keys: str, ca: str | None) -> tuple[str, str] | None:
    """Return what is wrong and what to do where ``error`` comes from TLS; None where it does not.

    ``keys``: where the upstream ``name`` is in the configuration. ``ca``: the CA bundle that is configured there.
    """
    cause = _ssl_error(error)
    if cause is None:
        return None
    if isinstance(cause, ssl.SSLCertVerificationError):
        return _certificate_failure(cause, name, keys, ca)
    reason = str(cause.reason or cause)
    if "WRONG_VERSION_NUMBER" in reason or "RECORD_LAYER" in reason:
        return f"{name} does not speak TLS there", f"check {keys}.remoteurl: is it http://, or another port?"
    if "CERTIFICATE_REQUIRED" in reason or "BAD_CERTIFICATE" in reason or "HANDSHAKE_FAILURE" in reason:
        remedy = f"set {keys}.clientcertificate and {keys}.clientkey to one that it takes"
        return f"{name} refused the connection as it does without a client's certificate ({reason})", remedy
    return f"the connection to {name} failed: {reason}", f"ask who runs {name}"


def _certificate_failure(cause: ssl.SSLCertVerificationError, name: str, keys: str, ca: str | None) -> tuple[str, str]:
    code = cause.verify_code
    if code in _UNKNOWN_AUTHORITY:
        who = f"none of the authorities in {ca}" if ca else "an unknown authority"
        remedy = f"set {keys}.ca to the CA bundle, or {keys}.insecure"
        return f"the certificate of {name} is signed by {who}", remedy
    if code in (_EXPIRED, _NOT_YET_VALID):
        when = "has expired" if code == _EXPIRED else "is not valid yet"
        return f"the certificate of {name} {when}", "have it renewed there, and check this machine's clock"
    if code in _OTHER_NAME:
        return f"the certificate of {name} is for another name", f"write in {keys}.remoteurl a name that is in it"
    return f"the certificate of {name} is not accepted: {cause.verify_message}", f"set {keys}.ca, or {keys}.insecure"


def _ssl_error(error: BaseException) -> ssl.SSLError | None:
    """Return the ssl module's own error inside ``error``, however it is wrapped."""
    pending, seen = [error], set[int]()
    while pending and len(seen) < _MAX_EXCEPTIONS:
        found = pending.pop()
        if isinstance(found, ssl.SSLError):
            return found
        if id(found) not in seen:
            seen.add(id(found))
            inner = (getattr(found, "reason", None), found.__cause__, found.__context__, *found.args)
            pending += [each for each in inner if isinstance(each, BaseException)]
    return None
