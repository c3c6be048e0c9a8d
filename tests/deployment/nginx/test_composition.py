"""nginx as the files in deploy/docker have it, in front of one cache by TCP."""

import http.client
import json
import ssl
from collections.abc import Iterator

import pytest

from tests.harness.checkout import DEPLOY
from tests.harness.images import KiB, random_bytes
from tests.harness.nginx import Nginx
from tests.harness.nginx_rig import Behind, Secure
from tests.harness.tls import make_certificate

# Where the caches are: in the second file, two nodes of three are gone.
ALONE = {"http://cache:5000": "http://{}"}
NODES = {"172.30.50.11:5000": "127.0.0.1:1", "172.30.50.12:5000": "127.0.0.1:1", "172.30.50.13:5000": "{}"}
SECONDS = 60.0


@pytest.fixture(scope="module", params=[("nginx.conf", ALONE), ("nginx.cluster.conf", NODES)], ids=["alone", "nodes"])
def composed(
    request: pytest.FixtureRequest, shared_behind: Behind, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Secure]:
    """One more nginx in front of the same cache; of the file only names and places are changed."""
    file: str = request.param[0]
    caches: dict[str, str] = request.param[1]
    folder = tmp_path_factory.mktemp("composed")
    _, certificate = make_certificate(folder)

    def configure(address: str) -> str:
        places = {
            "listen 443 ssl;": f"listen {address} ssl;",
            "/etc/nginx/tls/fullchain.pem": str(certificate),
            "/etc/nginx/tls/privkey.pem": str(folder / "key.pem"),
            **{shipped: ours.format(shared_behind.cache.address) for shipped, ours in caches.items()},
        }
        text = (DEPLOY / "docker" / file).read_text(encoding="utf-8")
        for shipped, ours in places.items():
            assert shipped in text
            text = text.replace(shipped, ours)
        return text

    server = Nginx(folder / "nginx", configure)
    yield Secure(server, ssl.create_default_context(cafile=certificate))
    server.stop()


def ask(
    composed: Secure, path: str, method: str = "GET", body: bytes | None = None
) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPSConnection(composed.server.address, timeout=SECONDS, context=composed.client)
    try:
        connection.request(method, path, body)
        with connection.getresponse() as response:
            return response.status, response.headers, response.read()
    finally:
        connection.close()


def test_a_miss_and_a_hit(behind: Behind, composed: Secure) -> None:
    # Another blob for each of the two.
    name, data = behind.repository(), random_bytes(300 * KiB, seed=int(composed.server.address.partition(":")[2]))
    blob = behind.upstream.add_blob(data, name)
    for outcome in ("miss", "hit"):
        status, headers, body = ask(composed, f"/v2/{name}/blobs/{blob}")
        assert (status, headers["X-Cache"], body) == (200, outcome, data)
        assert headers["Server"] == "nginx"


def test_the_path_is_passed_on_as_it_was_written(composed: Secure) -> None:
    status, _, body = ask(composed, "/v2/library//app%2f/manifests/1")
    assert (status, json.loads(body)["errors"][0]["code"]) == (400, "NAME_INVALID")


def test_a_push_is_refused_by_the_cache(composed: Secure) -> None:
    status, headers, body = ask(composed, "/v2/library/app/blobs/uploads/", "POST", b"x" * 2000)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")
    assert json.loads(body)["errors"][0]["code"] == "UNSUPPORTED"


def test_metrics_are_not_for_those_outside(composed: Secure) -> None:
    status, _, body = ask(composed, "/metrics")
    assert status == 404
    assert b"registry_cache_" not in body
