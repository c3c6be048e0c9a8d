"""Try PEM files at the start, so that the operator learns of a wrong one before a client does at a handshake."""

import ssl
from pathlib import Path

from registry_cache.config.given import Given
from registry_cache.config.problems import InvalidValue
from registry_cache.config.readable import check_readable

# Of a file that is named by mistake, such as a device that never ends.
_MOST_BYTES = 1024 * 1024


def check_key_pair(given: Given, certificate_path: str, key_path: str, certificate: Path, key: Path) -> None:
    """Report files that cannot be used. ``…_path``: the keys of the configuration that name them."""
    # OpenSSL does not tell which of the two it may not read.
    if not all([_is_readable(given, certificate_path, certificate), _is_readable(given, key_path, key)]):
        return
    try:
        # The empty answer keeps OpenSSL from asking the terminal for a pass phrase.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:
        if not all([_has_certificate(given, certificate_path, certificate), _has_key(given, key_path, key)]):
            return
        what = f"cannot use {certificate} with {key}: {_reason(error)}"
        given.refuse(certificate_path, what, "name PEM files that belong together, without pass phrase")


def _has_certificate(given: Given, path: str, file: Path) -> bool:
    """Report a file that is not what OpenSSL looks for, of which it says ``not PEM`` without saying of which."""
    if b"-----BEGIN CERTIFICATE-----" in _beginning(file):
        return True
    given.refuse(path, f"{file} has no certificate in PEM", "name one that holds -----BEGIN CERTIFICATE-----")
    return False


def _has_key(given: Given, path: str, file: Path) -> bool:
    text = _beginning(file)
    if b"ENCRYPTED" in text:
        remedy = f"take it away: openssl pkey -in {file} -out FILE"
        given.refuse(path, f"{file} is locked by a pass phrase, which nobody can type here", remedy)
    elif b"PRIVATE KEY-----" not in text:
        given.refuse(path, f"{file} has no key in PEM", "name one that holds -----BEGIN PRIVATE KEY-----")
    else:
        return True
    return False


def _beginning(file: Path) -> bytes:
    with open(file, "rb") as opened:
        return opened.read(_MOST_BYTES)


def check_ca(given: Given, path: str, ca: Path) -> None:
    if not _is_readable(given, path, ca):
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(ca)
    except (OSError, ValueError) as error:
        given.refuse(path, f"cannot use {ca}: {_reason(error)}", "name a PEM file of certificates")


def _is_readable(given: Given, path: str, file: Path) -> bool:
    try:
        check_readable(file)
    except InvalidValue as error:
        given.refuse(path, error.what, error.remedy)
        return False
    return True


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not PEM").replace("_", " ").lower()
    return getattr(error, "strerror", None) or "not usable"
