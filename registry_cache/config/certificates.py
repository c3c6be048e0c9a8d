"""PEM files, tried at the start: a wrong one is an operator's problem now and not a client's at a handshake."""

import ssl
from pathlib import Path

from registry_cache.config.found import Found
from registry_cache.config.raw import KeyPath


def check_key_pair(found: Found, path: KeyPath, certificate: Path, key: Path) -> None:
    try:
        # The empty answer keeps OpenSSL from asking the terminal for a pass phrase.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:
        found.wrong(
            path,
            f"cannot use {certificate} with {key}: {_reason(error)}",
            "name PEM files that belong together, without pass phrase",
        )


def check_ca(found: Found, path: KeyPath, ca: Path) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(ca)
    except (OSError, ValueError) as error:
        found.wrong(path, f"cannot use {ca}: {_reason(error)}", "name a PEM file of certificates")


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not PEM").replace("_", " ").lower()
    return getattr(error, "strerror", None) or "not usable"
