"""The ``http`` section: address, socket, TLS."""

import os
import re
from dataclasses import replace
from pathlib import Path

from registry_cache.config.certificates import check_ca, check_key_pair
from registry_cache.config.given import Given
from registry_cache.config.model import DebugConfig, HttpConfig, TlsConfig
from registry_cache.config.settings import settings_of
from registry_cache.config.tls import CIPHERS, CLIENT_AUTHS, OLD_TLS_VERSIONS, WEAK_CIPHERS

# The length of the path in the kernel's sockaddr_un; a longer one fails at bind with an error that says nothing.
LONGEST_SOCKET = 107

_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]*):([0-9]{1,6})")
_DEBUG, _TLS = ([setting.path for setting in settings_of(model)] for model in (DebugConfig, TlsConfig))


def http_config(given: Given) -> HttpConfig:
    """Return the ``http`` section; ``:5000`` is the empty host, which means all interfaces."""
    http = given.read(HttpConfig, host="", port=0, socket=None, debug=None, tls=None)
    if not given.valid("http.addr", "http.net"):
        pass
    elif http.net == "unix":
        http = replace(http, socket=Path(http.addr))
        if not http.addr.startswith("/"):
            given.refuse("http.addr", "is not the path of a socket", "name a file, such as /run/registry-cache.sock")
        elif len(os.fsencode(http.addr)) > LONGEST_SOCKET:
            told = f"is longer than the {LONGEST_SOCKET} bytes that a socket's path may have"
            given.refuse("http.addr", told, "name a shorter one, such as /run/registry-cache.sock")
    else:
        host, port = parse_address(given, "http.addr", 5000)
        http = replace(http, host=host, port=port)
    debug = _debug(given, http)
    return replace(http, debug=debug, tls=_tls(given))


def parse_address(given: Given, path: str, example: int) -> tuple[str, int]:
    """Return host and port; "" and 0 where the text is reported to be neither."""
    text = given.value(path)
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match[2]) > 65535:
        given.refuse(path, f"{text[:80]!r} is not host:port", f"write 127.0.0.1:{example}, or :{example} for all")
        return "", 0
    return match[1].strip("[]"), int(match[2])


def _debug(given: Given, http: HttpConfig) -> DebugConfig | None:
    if not given.value("http.debug.addr") or not given.valid(*_DEBUG):
        return None
    host, port = parse_address(given, "http.debug.addr", 5001)
    if port and http.socket is None and (host, port) == (http.host, http.port):
        given.refuse("http.debug.addr", "is http.addr, too", "give it a port of its own, such as 127.0.0.1:5001")
    debug = given.read(DebugConfig, host=host, port=port, metrics=None)
    return replace(debug, metrics=debug.prometheus_path if debug.prometheus_enabled else None)


def _tls(given: Given) -> TlsConfig | None:
    if not any(map(given.has, _TLS)) or not given.valid(*_TLS):
        return None
    if missing := [path for path in ("http.tls.certificate", "http.tls.key") if not given.has(path)]:
        given.refuse(missing[0], "is missing: TLS would be off", "give http.tls.certificate and http.tls.key, both")
        return None
    tls = given.read(TlsConfig, client_auth="none", ciphers=())
    check_key_pair(given, "http.tls.certificate", "http.tls.key", tls.certificate, tls.key)
    for ca in tls.client_cas:
        check_ca(given, "http.tls.clientcas", ca)
    _check_ciphers(given, tls)
    client_auth = CLIENT_AUTHS[tls.client_auth_word]
    if not tls.client_cas and client_auth != "none" and given.has("http.tls.clientauth"):
        given.refuse("http.tls.clientauth", "verifies nothing without http.tls.clientcas", "give both, or neither")
    if given.text("http.tls.minimumtls").lower() in OLD_TLS_VERSIONS:
        given.ignored.append("http.tls.minimumtls")
    ciphers = tuple(filter(None, (CIPHERS.get(name) for name in tls.cipher_suites)))
    return replace(tls, client_auth=client_auth if tls.client_cas else "none", ciphers=ciphers)


def _check_ciphers(given: Given, tls: TlsConfig) -> None:
    """Name the suites that are too weak as having no effect; refuse a list of no others."""
    weak = [name for name in tls.cipher_suites if name in WEAK_CIPHERS]
    if weak and len(weak) == len(tls.cipher_suites):
        remedy = f"name others, such as {next(iter(CIPHERS))}, or leave it out"
        given.refuse("http.tls.ciphersuites", "names only suites without forward secrecy or without AEAD", remedy)
    elif weak:
        given.ignored.append(f"http.tls.ciphersuites {', '.join(weak)}")
