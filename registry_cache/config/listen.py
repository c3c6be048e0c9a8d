"""Where and how to listen: address, socket, TLS."""

import os
import re
from pathlib import Path

from registry_cache.config import schema
from registry_cache.config.certificates import check_ca, check_key_pair
from registry_cache.config.found import Found
from registry_cache.config.model import DebugConfig, HttpConfig, TlsConfig

# The kernel's sockaddr_un ends here; a longer path fails at bind with words nobody understands.
LONGEST_SOCKET = 107

_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]*):([0-9]{1,6})")
_TLS: tuple[schema.AnySetting, ...] = (
    schema.TLS_CERTIFICATE,
    schema.TLS_KEY,
    schema.TLS_CLIENT_CAS,
    schema.TLS_CLIENT_AUTH,
    schema.TLS_MINIMUM,
    schema.TLS_CIPHERS,
)


def http_config(found: Found) -> HttpConfig:
    """The ``http`` section; ``:5000`` is the empty host, which means all interfaces."""
    text = found.need(schema.HTTP_ADDR)
    host, port, socket = "", 0, None
    if not found.well(schema.HTTP_ADDR, schema.HTTP_NET):
        pass
    elif found.need(schema.HTTP_NET) == "unix":
        socket = Path(text)
        if not text.startswith("/") or len(os.fsencode(text)) > LONGEST_SOCKET:
            found.wrong(schema.HTTP_ADDR.at(()), "is no socket's path", "name a file, such as /run/registry-cache.sock")
    else:
        host, port = _address(found, schema.HTTP_ADDR, text, 5000)
    headers = found.get(schema.HTTP_HEADERS) or {}
    debug = _debug(found, (host, port) if socket is None else None)
    return HttpConfig(host, port, socket, headers, _tls(found), debug, found.need(schema.HTTP_ACCEL))


def _address(found: Found, setting: schema.Setting[str], text: str, example: int) -> tuple[str, int]:
    """Host and port; nothing where it is reported to be none."""
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match[2]) > 65535:
        remedy = f"write 127.0.0.1:{example}, or :{example} for all"
        found.wrong(setting.at(()), f"{text[:80]!r} is no host:port", remedy)
        return "", 0
    return match[1].strip("[]"), int(match[2])


def _debug(found: Found, main: tuple[str, int] | None) -> DebugConfig | None:
    text = found.get(schema.DEBUG_ADDR)
    if not text or not found.well(schema.DEBUG_ADDR, schema.PROMETHEUS_ENABLED, schema.PROMETHEUS_PATH):
        return None
    host, port = _address(found, schema.DEBUG_ADDR, text, 5001)
    if port and (host, port) == main:
        found.wrong(schema.DEBUG_ADDR.at(()), "is http.addr, too", "give it a port of its own, such as 127.0.0.1:5001")
    metrics = found.need(schema.PROMETHEUS_PATH) if found.need(schema.PROMETHEUS_ENABLED) else None
    return DebugConfig(host, port, metrics)


def _tls(found: Found) -> TlsConfig | None:
    certificate, key = found.get(schema.TLS_CERTIFICATE), found.get(schema.TLS_KEY)
    cas = found.get(schema.TLS_CLIENT_CAS) or ()
    if not any(map(found.given, _TLS)) or not found.well(*_TLS):
        return None
    if certificate is None or key is None:
        missing = schema.TLS_KEY if certificate else schema.TLS_CERTIFICATE
        found.wrong(missing.at(()), "is missing: TLS would be off", "give http.tls.certificate and http.tls.key, both")
        return None
    check_key_pair(found, schema.TLS_CERTIFICATE.at(()), certificate, key)
    for ca in cas:
        check_ca(found, schema.TLS_CLIENT_CAS.at(()), ca)
    ciphers = _ciphers(found)
    client_auth = schema.CLIENT_AUTHS[found.need(schema.TLS_CLIENT_AUTH)]
    if not cas and client_auth != "none" and found.given(schema.TLS_CLIENT_AUTH):
        found.wrong(
            schema.TLS_CLIENT_AUTH.at(()), "verifies nothing without http.tls.clientcas", "give both, or neither"
        )
    if found.text(schema.TLS_MINIMUM).lower() in schema.OLD_TLS_VERSIONS:
        found.ignored.append("http.tls.minimumtls")
    return TlsConfig(certificate, key, cas, client_auth if cas else "none", found.need(schema.TLS_MINIMUM), ciphers)


def _ciphers(found: Found) -> tuple[str, ...]:
    """OpenSSL's names of the suites given; those that are too weak are named as without effect."""
    given = found.get(schema.TLS_CIPHERS) or ()
    weak = [name for name in given if name in schema.WEAK_CIPHERS]
    if weak and len(weak) == len(given):
        remedy = f"name others, such as {next(iter(schema.CIPHERS))}, or leave it out"
        found.wrong(schema.TLS_CIPHERS.at(()), "names only suites without forward secrecy or without AEAD", remedy)
    elif weak:
        found.ignored.append(f"http.tls.ciphersuites {', '.join(weak)}")
    return tuple(filter(None, (schema.CIPHERS[name] for name in given if name not in weak)))
