"""Variables of other programs that are set and not read: each kind is named once, with the key to use."""

from __future__ import annotations

import pytest

from tests.harness.config_files import Loader
from tests.harness.tls import make_certificate

PROXY = "if upstreams need it, give the proxy's URL as proxy.httpproxy, and as upstreams.NAME.httpproxy"
CA = "if upstreams need it, name a file of authorities as proxy.ca, and as upstreams.NAME.ca"


@pytest.mark.parametrize(
    ("environ", "warnings"),
    [
        ({}, ()),
        ({"HTTPS_PROXY": "", "SSL_CERT_FILE": ""}, ()),
        (
            {"NO_PROXY": "10.0.0.0/8", "https_proxy": "http://p:1"},
            (f"https_proxy, NO_PROXY are set and not read here; {PROXY}",),
        ),
        ({"REQUESTS_CA_BUNDLE": "/ca.pem"}, (f"REQUESTS_CA_BUNDLE is set and not read here; {CA}",)),
        (
            {"HTTP_PROXY": "x", "SSL_CERT_FILE": "y"},
            (f"HTTP_PROXY is set and not read here; {PROXY}", f"SSL_CERT_FILE is set and not read here; {CA}"),
        ),
    ],
)
def test_what_is_set_and_not_read(loader: Loader, environ: dict[str, str], warnings: tuple[str, ...]) -> None:
    assert loader.load(**environ).warnings == warnings


def test_whoever_knows_the_keys_is_not_told(loader: Loader) -> None:
    _, certificate = make_certificate(loader.folder)
    text = f"proxy: {{httpproxy: 'http://p:1', ca: {certificate}}}"
    assert loader.load(text, HTTPS_PROXY="http://p:1", SSL_CERT_FILE="/ca.pem").warnings == ()
