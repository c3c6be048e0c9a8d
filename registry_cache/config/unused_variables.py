"""Name the variables by which other programs find a proxy or trusted authorities, and which are not read here. Pure."""

from collections.abc import Iterator, Mapping, Sequence

from registry_cache.config.model import UpstreamConfig

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_AUTHORITIES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def unused_variables(environ: Mapping[str, str], upstreams: Sequence[UpstreamConfig]) -> Iterator[str]:
    """Yield a warning for the proxy and one for the authorities, if they are set and no upstream has the key for it."""
    proxies = [name for each in _PROXIES for name in (each, each.lower()) if environ.get(name)]
    if proxies and not any(each.http_proxy for each in upstreams):
        yield _warning(proxies, "give the proxy's URL as proxy.httpproxy, and as upstreams.NAME.httpproxy")
    authorities = [name for name in _AUTHORITIES if environ.get(name)]
    if authorities and not any(each.ca for each in upstreams):
        yield _warning(authorities, "name a file of authorities as proxy.ca, and as upstreams.NAME.ca")


def _warning(names: Sequence[str], remedy: str) -> str:
    verb = "is" if len(names) == 1 else "are"
    return f"{', '.join(names)} {verb} set and not read here; if upstreams need it, {remedy}"
