"""PEM files, tried at the start: the operator learns of a wrong one now, and not a client at a handshake."""

import ssl
from pathlib import Path

from registry_cache.config.given import Given


def check_key_pair(given: Given, path: str, certificate: Path, key: Path) -> None:
    try:
        # The empty answer keeps OpenSSL from asking the terminal for a pass phrase.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:
        what = f"cannot use {certificate} with {key}: {_reason(error)}"
        given.refuse(path, what, "name PEM files that belong together, without pass phrase")


def check_ca(given: Given, path: str, ca: Path) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(ca)
    except (OSError, ValueError) as error:
        given.refuse(path, f"cannot use {ca}: {_reason(error)}", "name a PEM file of certificates")


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not PEM").replace("_", " ").lower()
    return getattr(error, "strerror", None) or "not usable"
