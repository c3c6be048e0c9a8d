"""One cache, many registries, each with names, content, account and certificate of its own; none that is not listed."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.harness.content import APP
from tests.harness.images import KiB, make_artifact, make_image, random_bytes
from tests.harness.journal import Exchange
from tests.harness.loopback import Loopback
from tests.harness.pullers import Answer, Puller
from tests.harness.raw import RawServer
from tests.harness.server import CacheServer
from tests.harness.telling import code, message, told
from tests.harness.tls import make_certificate
from tests.harness.upstream import FakeUpstream
from tests.harness.wire import Reply

EXTRA = "owner/app"
ABSENT = "sha256:" + "0" * 64
PASSWORD = "s3cret-of-the-team"


class HttpProxy(Loopback):
    """Answers whatever it is asked to fetch with 404, and remembers it."""

    def answer(self, exchange: Exchange) -> Reply:
        return Reply(404, [("Content-Type", "application/json")], b'{"errors":[{"code":"X","message":"by proxy"}]}')


@dataclass
class World:
    """What the cache knows: ``default``, ``hub`` as docker.io, ``extra`` as ghcr.io, ``team`` with an account, …"""

    cache: CacheServer
    default: FakeUpstream
    hub: FakeUpstream
    extra: FakeUpstream
    team: FakeUpstream
    secure: FakeUpstream
    proxy: HttpProxy
    puller: Puller

    @property
    def everyone(self) -> list[FakeUpstream]:
        return [self.default, self.hub, self.extra, self.team, self.secure]


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("many")
    context, certificate = make_certificate(folder)
    ours = folder / "ours"
    ours.mkdir()
    make_certificate(ours)
    # Clients must show the certificate that the operator gave the cache.
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(ours / "certificate.pem")
    default, hub, extra, team = (FakeUpstream() for _ in range(4))
    secure, proxy = FakeUpstream(tls=context), HttpProxy()
    shown: dict[str, Any] = {"clientcertificate": str(ours / "certificate.pem"), "clientkey": str(ours / "key.pem")}
    upstreams: dict[str, dict[str, Any]] = {
        "docker.io": {"remoteurl": hub.url},
        "ghcr.io": {"remoteurl": extra.url, "aliases": ["extra.example", "extra.example:8443"]},
        "team.example": {"remoteurl": team.url, "username": "me", "password": PASSWORD},
        "secure.example": {"remoteurl": secure.url, "ca": str(certificate), **shown},
        "lax.example": {"remoteurl": secure.url, "insecure": True, **shown},
        "strict.example": {"remoteurl": secure.url, **shown},
        "nameless.example": {"remoteurl": secure.url, "ca": str(certificate)},
        "far.example": {"remoteurl": "http://registry.far.example", "httpproxy": proxy.url},
    }
    cache = CacheServer(folder / "cache", default.url, config={"upstreams": upstreams}, workers=1)
    world = World(cache, default, hub, extra, team, secure, proxy, Puller(cache.url))
    yield world
    cache.stop()
    for each in [*world.everyone, proxy]:
        each.stop()
        assert not each.problems


@pytest.fixture
def world(everything: World) -> Iterator[World]:
    """With no faults; and nothing asked yet."""
    for each in [*everything.everyone, everything.proxy]:
        each.forget()
    yield everything
    for each in everything.everyone:
        each.reset_faults()


def asked(world: World) -> list[str]:
    """What reached any upstream."""
    return [f"{each.method} {each.path}" for upstream in world.everyone for each in upstream.exchanges]


def test_an_upstream_is_named_by_the_query_by_the_path_or_by_nothing(world: World) -> None:
    default = make_image(world.default, EXTRA, tag="1", seed=401)
    extra = make_image(world.extra, EXTRA, tag="1", seed=402)
    path = f"/v2/{EXTRA}/manifests/1"

    plain = world.puller.get(path)
    assert told(plain) == (200, "miss", default.digest)
    assert "OCI-Namespace" not in plain.headers

    for name in ("ghcr.io", "GHCR.io", "extra.example", "extra.example:8443"):
        by_query = world.puller.get(f"{path}?ns={name}")
        assert told(by_query)[::2] == (200, extra.digest)
        assert by_query.headers["OCI-Namespace"] == name
    for name in ("ghcr.io", "extra.example", "extra.example:8443"):
        by_path = world.puller.get(f"/v2/{name}/{EXTRA}/manifests/1")
        assert told(by_path) == (200, "revalidated", extra.digest)
        assert "OCI-Namespace" not in by_path.headers
    assert world.extra.counted_pulls == world.default.counted_pulls == 1


def test_an_upstream_may_be_named_by_query_and_path_at_once(world: World) -> None:
    extra = make_image(world.extra, EXTRA, tag="1", seed=405)
    for name, query in (("ghcr.io", "ghcr.io"), ("extra.example", "ghcr.io"), ("ghcr.io", "extra.example")):
        answer = world.puller.get(f"/v2/{name}/{EXTRA}/manifests/{extra.digest}?ns={query}")
        assert (answer.status, answer.body, answer.headers["OCI-Namespace"]) == (200, extra.manifest, query)
    # Another registry's name is a name like any other.
    assert world.puller.get(f"/v2/team.example/{EXTRA}/manifests/{extra.digest}?ns=ghcr.io").status == 404
    assert any(f"/v2/team.example/{EXTRA}/" in each for each in asked(world))
    page = world.puller.get(f"/v2/ghcr.io/{EXTRA}/tags/list?n=1&ns=ghcr.io")
    assert page.json()["name"] == f"ghcr.io/{EXTRA}"


def test_errors_echo_the_namespace_too(world: World) -> None:
    answer = world.puller.get("/v2/no/such/manifests/1?ns=ghcr.io")
    assert code(answer) == (404, "MANIFEST_UNKNOWN")
    assert answer.headers["OCI-Namespace"] == "ghcr.io"


@pytest.mark.parametrize("name", ["docker.io", "registry-1.docker.io", "index.docker.io", "registry.hub.docker.com"])
def test_docker_hub_by_any_of_its_names(world: World, name: str) -> None:
    image = make_image(world.hub, tag="1", seed=403)
    assert told(world.puller.get(f"/v2/{APP}/manifests/1?ns={name}"))[::2] == (200, image.digest)
    assert told(world.puller.get(f"/v2/{name}/{APP}/manifests/1"))[::2] == (200, image.digest)
    # The short name, for which docker sends the long one and people do not.
    assert told(world.puller.get(f"/v2/app/manifests/1?ns={name}"))[::2] == (200, image.digest)
    assert told(world.puller.get(f"/v2/{name}/app/manifests/1"))[::2] == (200, image.digest)


def test_only_docker_hub_has_official_images(world: World) -> None:
    assert world.puller.get("/v2/ghcr.io/app/manifests/1").status == 404
    assert world.puller.get("/v2/app/manifests/1?ns=ghcr.io").status == 404
    assert {each.path for each in world.extra.exchanges} == {"/v2/app/manifests/1"}


@pytest.mark.parametrize(
    "name",
    [
        *("evil.example", "quay.io", "127.0.0.1", "127.0.0.1:5000", "localhost:5000", "[::1]", "169.254.169.254"),
        *(
            "ghcr.io.evil.example",
            "evil.example/ghcr.io",
            "user:password@ghcr.io",
            "ghcr.io:443",
            "../ghcr.io",
            "ghcr.io.",
        ),
        *("http://ghcr.io", "x" * 5, "%00", "%0d%0aHost:%20evil", "docker.io%20"),
    ],
)
def test_a_name_that_is_not_listed_is_a_404_that_says_so_and_no_connection(world: World, name: str) -> None:
    for path in ("manifests/1", f"blobs/{ABSENT}", "tags/list", f"referrers/{ABSENT}"):
        answer = world.puller.get(f"/v2/{EXTRA}/{path}?ns={name}")
        assert code(answer) == (404, "NAME_UNKNOWN")
        assert "is not a registry that this cache mirrors" in message(answer)
    if name.isalpha():
        assert f"'{name}'" in message(answer)
    assert asked(world) == []
    assert world.proxy.exchanges == []


def test_by_path_what_is_not_listed_is_the_default_registrys_affair(world: World) -> None:
    """This default is not Docker Hub: an own registry may well have names with a dot in them."""
    answer = world.puller.get("/v2/evil.example/owner/app/manifests/1")
    assert code(answer) == (404, "MANIFEST_UNKNOWN")
    assert asked(world) == ["HEAD /v2/evil.example/owner/app/manifests/1"]


def test_the_same_content_is_downloaded_once_and_kept_once_and_access_does_not_leak(world: World) -> None:
    data = random_bytes(200 * KiB, "the same")
    blob = world.extra.add_blob(data, EXTRA)
    world.default.add_blob(data, EXTRA)
    assert world.puller.start_blob(f"ghcr.io/{EXTRA}", blob).finish().digest == blob

    # Elsewhere it must be proven, by some bytes, and is not fetched again.
    for _ in range(2):
        assert world.puller.blob(blob, EXTRA).body == data
    assert (world.extra.gets(blob), world.default.gets(blob), world.default.heads(blob)) == (1, 1, 0)
    assert world.extra.bytes_sent(blob) == len(data)
    assert world.default.bytes_sent(blob) == 4 * KiB
    assert len([*world.cache.root.glob(f"blobs/*/*/{blob.partition(':')[2]}")]) == 1

    # Here, but not there; and not in another repository of the same registry.
    for path in (f"docker.io/{EXTRA}", "ghcr.io/owner/other", f"team.example/{EXTRA}"):
        answer = world.puller.blob(blob, path)
        assert answer.status in (403, 404), path
        assert data not in answer.body
        assert world.puller.head(f"/v2/{path}/blobs/{blob}").status in (403, 404)


@pytest.mark.parametrize(
    "liar", [{}, {"Content_Range": "bytes 0-4095/204800"}, {"Content_Type": "application/octet-stream"}]
)
def test_another_registrys_content_is_not_given_by_word(world: World, liar: dict[str, str]) -> None:
    """Whoever is told a digest can say yes to it."""
    data = random_bytes(200 * KiB, f"by word {liar}")
    blob = world.extra.add_blob(data, EXTRA)
    image = make_image(world.extra, EXTRA, tag="word", layers=1, seed=405 + len(str(liar)))
    for path in (f"blobs/{blob}", f"manifests/{image.digest}"):
        assert world.puller.get(f"/v2/ghcr.io/{EXTRA}/{path}").status == 200
    kind = "application/vnd.oci.image.manifest.v1+json"
    world.default.faults.answer("HEAD /v2/evil/", 200, data, Content_Type=kind, Docker_Content_Digest=image.digest)
    world.default.faults.answer(
        "GET /v2/evil/", 206 if "Content_Range" in liar else 200, b"x" * len(data), None, **liar
    )
    for path in (f"blobs/{blob}", f"manifests/{image.digest}", "manifests/latest"):
        answer = world.puller.get(f"/v2/evil/app/{path}")
        assert answer.status in (404, 502, 503)
        assert answer.body not in (data, image.manifest)


def test_another_registrys_download_is_not_joined_by_word(world: World) -> None:
    data = random_bytes(1024 * KiB, "joined by word")
    blob = world.extra.add_blob(data, EXTRA)
    world.default.add_blob(data, EXTRA)
    world.extra.faults.hold_at = 512 * KiB
    first = world.puller.start_blob(f"ghcr.io/{EXTRA}", blob)
    first.wait_for(256 * KiB)
    world.default.faults.answer("HEAD /v2/evil/", 200, data)
    assert world.puller.blob(blob, "evil/app").status == 404
    second = world.puller.start_blob(EXTRA, blob)
    world.extra.faults.release()
    assert [first.finish().digest, second.finish().digest] == [blob, blob]
    assert world.extra.bytes_sent(blob) == len(data)


def test_lists_keep_the_form_in_which_the_client_asked(world: World) -> None:
    for tag in "abc":
        make_image(world.extra, "owner/tags", tag=tag, layers=1, seed=404)
    for path, query in (
        ("/v2/ghcr.io/owner/tags/tags/list", {}),
        ("/v2/owner/tags/tags/list", {"ns": ["extra.example"]}),
    ):
        form = f"&ns={query['ns'][0]}" if query else ""
        seen, url = [], f"{path}?n=2{form}"
        while url:
            answer = world.puller.get(url)
            assert answer.json()["name"] == path[len("/v2/") : -len("/tags/list")]
            seen += answer.json()["tags"]
            url = next_page(answer)
            if url:
                assert urlsplit(url).path == path
                assert parse_qs(urlsplit(url).query) == {"n": ["2"], "last": ["b"], **query}
        assert seen == ["a", "b", "c"]


def next_page(answer: Answer) -> str:
    link = answer.headers.get("Link", "")
    return link[1 : link.index(">")] if link else ""


def test_referrers_of_another_registry(world: World) -> None:
    image = make_image(world.extra, EXTRA, tag="signed", seed=405)
    artifact = make_artifact(world.extra, image.digest, EXTRA)
    for path in (f"/v2/ghcr.io/{EXTRA}/referrers/{image.digest}", f"/v2/{EXTRA}/referrers/{image.digest}?ns=ghcr.io"):
        assert [each["digest"] for each in world.puller.get(path).json()["manifests"]] == [artifact]


def test_an_account_is_for_its_own_registry_alone(world: World) -> None:
    image = make_image(world.team, "team/app", tag="1", seed=406)
    for upstream in world.everyone:
        upstream.faults.require_token = True
    world.team.faults.private.add("team/app")
    world.team.faults.users["me"] = PASSWORD

    assert told(world.puller.manifest("1", "team.example/team/app")) == (200, "miss", image.digest)
    for path in ("", "docker.io/", "ghcr.io/", "secure.example/"):
        world.puller.manifest("nothing", f"{path}team/app")
        world.puller.blob(ABSENT, f"{path}team/app")

    # The account was told to its own token server, and a token to its own registry.
    assert any("Basic" in each.headers.get("Authorization", "") for each in world.team.token_requests)
    for upstream in world.everyone:
        tokens = upstream.token_requests
        assert tokens
        if upstream is not world.team:
            assert [each.headers["Authorization"] for each in upstream.token_requests] == [None] * len(tokens)
            assert all("me" not in each.query.get("account", []) for each in tokens)
    assert PASSWORD not in world.cache.log_text()


def test_a_registry_with_a_certificate_authority_of_its_own(world: World) -> None:
    image = make_image(world.secure, EXTRA, tag="1", seed=407)
    for name in ("secure.example", "lax.example"):
        assert told(world.puller.manifest("1", f"{name}/{EXTRA}")) == (200, "miss", image.digest)
        assert world.puller.start_blob(f"{name}/{EXTRA}", image.layers[0]).finish().digest == image.layers[0]
    for name in ("strict.example", "nameless.example"):
        answer = world.puller.manifest("1", f"{name}/{EXTRA}")
        assert code(answer) == (503, "UNAVAILABLE")
        assert name in message(answer)
    assert "certificate" in message(world.puller.manifest("1", f"strict.example/{EXTRA}"))


def test_a_registry_behind_a_proxy_is_asked_through_it_and_no_other_is(world: World) -> None:
    answer = world.puller.manifest("1", f"far.example/{EXTRA}")
    assert code(answer) == (404, "MANIFEST_UNKNOWN")
    assert "by proxy" in message(answer) or "unknown to far.example" in message(answer)
    assert {each.headers["Host"] for each in world.proxy.exchanges} == {"registry.far.example"}
    asked_there = len(world.proxy.exchanges)
    world.puller.manifest("nothing", EXTRA)
    world.puller.manifest("nothing", f"ghcr.io/{EXTRA}")
    assert len(world.proxy.exchanges) == asked_there


def test_before_docker_hub_a_path_with_a_registry_that_is_not_listed_connects_nowhere(tmp_path: Path) -> None:
    """The default is Docker Hub, so the first segment of a path with a dot in it is a registry's name."""
    # Whatever would be sent to Docker Hub or anywhere else goes to this proxy instead.
    proxy = RawServer(b"HTTP/1.1 502 no\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    config = {"proxy": {"remoteurl": "https://registry-1.docker.io", "httpproxy": proxy.url}}
    cache = CacheServer(tmp_path / "hub", "", config=config, workers=1)
    with Puller(cache.url) as puller:
        for name in ("evil.example", "ghcr.io", "127.0.0.1:5000", "169.254.169.254"):
            for path in ("manifests/1", f"blobs/{ABSENT}", "tags/list"):
                answer = puller.get(f"/v2/{name}/owner/app/{path}")
                assert code(answer) == (404, "NAME_UNKNOWN")
                assert f"'{name}' is not a registry that this cache mirrors" in message(answer)
        assert proxy.requests == []
        assert puller.get("/v2/library/app/manifests/1").status == 503
        assert proxy.requests
        assert proxy.requests[0].startswith(b"CONNECT registry-1.docker.io:443 ")
    cache.stop()
    proxy.stop()
