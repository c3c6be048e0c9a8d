"""TLS in front: the same hits, by TLS 1.2 and up only; and whoever speaks plain HTTP is told so as JSON."""

import http.client
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry_cache.deployment import nginx
from tests.harness import raw_client
from tests.harness.images import KiB, random_bytes
from tests.harness.nginx import Nginx
from tests.harness.nginx_rig import Behind, Secure, site
from tests.harness.pullers import SILENCE_SECONDS
from tests.harness.telling import code
from tests.harness.tls import make_certificate


@pytest.fixture(scope="module")
def secure(shared_behind: Behind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    """One more nginx in front of the same cache."""
    folder = tmp_path_factory.mktemp("tls")
    _, certificate = make_certificate(folder)
    behind, key = shared_behind, Path(folder, "key.pem")

    def configure(address: str) -> str:
        socket, log = behind.access_log.with_name("http.sock"), folder / "access.log"
        more = {"certificate": str(certificate), "key": str(key)}
        return nginx.render(site(behind.cache, behind.upstream, socket, address, log, **more))

    server = Nginx(folder / "nginx", configure)
    yield Secure(server, ssl.create_default_context(cafile=certificate))
    server.stop()


def test_a_hit(behind: Behind, secure: Secure) -> None:
    name = behind.repository()
    data = random_bytes(64 * KiB, seed=20)
    blob = behind.upstream.add_blob(data, name)
    behind.direct.blob(blob, name)

    connection = http.client.HTTPSConnection(secure.server.address, timeout=SILENCE_SECONDS, context=secure.client)
    connection.request("GET", f"/v2/{name}/blobs/{blob}")
    with connection.getresponse() as response:
        assert response.read() == data
        assert response.headers["X-Cache"] == "hit"
    connection.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_versions(secure: Secure, version: ssl.TLSVersion) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    connection = http.client.HTTPSConnection(secure.server.address, timeout=SILENCE_SECONDS, context=context)
    connection.request("GET", "/v2/")
    assert connection.getresponse().status == 200
    connection.close()


def test_what_is_older_is_not_offered(behind: Behind) -> None:
    text = nginx.render(site(behind.cache, behind.upstream, Path("s"), "443", Path("l"), certificate="c", key="k"))

    assert "ssl_protocols TLSv1.2 TLSv1.3;" in text


def test_plain_http_to_this_port(secure: Secure) -> None:
    answer = raw_client.ask(secure.server.address, b"GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

    assert code(answer) == (400, "UNSUPPORTED")
