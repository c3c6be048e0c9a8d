"""Warn at the start of what is no error: unused variables, an old certificate, an old registry's content and others."""

import contextlib
import os
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from registry_cache.config.certificate_dates import validity_of
from registry_cache.config.model import Config, TlsConfig, UpstreamConfig
from registry_cache.config.readable import cannot_read

# By these other programs find a proxy and trusted authorities.
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_AUTHORITIES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def start_warnings(config: Config, environ: Mapping[str, str], now: datetime, *, needs_helpers: bool) -> Iterator[str]:
    """Yield a warning for each; a missing credential helper is named where it ``needs_helpers``."""
    yield from _unused_variables(environ, config.upstreams)
    yield from _old_registry(config.root)
    if config.http.tls:
        yield from _old_certificate(config.http.tls, now)
    yield from _unreadable_log(config.statistics.nginx_log)
    if needs_helpers:
        yield from _missing_helpers(environ, config.upstreams)


def _unused_variables(environ: Mapping[str, str], upstreams: Sequence[UpstreamConfig]) -> Iterator[str]:
    """Warn of the proxy and of the authorities, if they are set and no upstream has the key for them."""
    proxies = [name for each in _PROXIES for name in (each, each.lower()) if environ.get(name)]
    if proxies and not any(each.http_proxy for each in upstreams):
        yield _unused(proxies, "give the proxy's URL as proxy.httpproxy, and as upstreams.NAME.httpproxy")
    authorities = [name for name in _AUTHORITIES if environ.get(name)]
    if authorities and not any(each.ca for each in upstreams):
        yield _unused(authorities, "name a file of authorities as proxy.ca, and as upstreams.NAME.ca")


def _unused(names: Sequence[str], remedy: str) -> str:
    verb = "is" if len(names) == 1 else "are"
    return f"{', '.join(names)} {verb} set and not read here; if upstreams need it, {remedy}"


def _old_registry(root: Path) -> Iterator[str]:
    """Warn if the folder is also a registry:2's: whoever reuses its configuration expects its content."""
    if os.path.isdir(root / "docker/registry/v2/repositories"):
        yield (
            f"{root} has the content of a registry:2 in it, and none of that is served until it is taken over: "
            f"registry-cache import {shlex.quote(str(root))}, then remove {root / 'docker'}"
        )


def _old_certificate(tls: TlsConfig, now: datetime) -> Iterator[str]:
    # One that cannot be read is told as an error of its key.
    with contextlib.suppress(OSError, ValueError):
        if trouble := validity_of(Path(tls.certificate).read_text(encoding="utf-8", errors="replace")).trouble(now):
            yield f"http.tls.certificate: {tls.certificate} {trouble}"


def _unreadable_log(path: Path | None) -> Iterator[str]:
    """Warn if we may not read nginx' log; one that is not there yet is made when nginx starts."""
    if path is None:
        return
    may_enter = os.access(path.parent, os.X_OK, effective_ids=True) or not path.parent.is_dir()
    if may_enter and (not path.exists() or os.access(path, os.R_OK, effective_ids=True)):
        return
    refusal = cannot_read(str(path), PermissionError())
    yield f"statistics.nginx_log: {refusal.what}, so its hits are not counted; {refusal.remedy}"


def _missing_helpers(environ: Mapping[str, str], upstreams: Sequence[UpstreamConfig]) -> Iterator[str]:
    """Warn of credential helpers that are not installed. They are no error: what is cached is served without them."""
    for each in upstreams:
        program = each.credential_helper
        if program and shutil.which(program, path=environ.get("PATH")) is None:
            yield f"there is no program {program} on the PATH: until it is installed, {each.name} gives nothing new"
