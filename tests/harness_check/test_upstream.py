"""The fake upstream serves like a registry, makes the faults it is told to, and its journal records what happened."""

import http.client
import socket
import time
from pathlib import Path

import pytest
import requests

from tests.harness.cdn import FakeCdn
from tests.harness.content import APP, OCI_INDEX, digest_of
from tests.harness.fixture_types import MakeUpstream
from tests.harness.images import KiB, MiB, make_artifact, make_fallback_tag, make_image, random_bytes
from tests.harness.pullers import Puller
from tests.harness.raw import RawServer
from tests.harness.tls import make_certificate
from tests.harness.upstream import FakeUpstream

DATA = random_bytes(1 * MiB, seed=1)
SECONDS = 30.0


@pytest.mark.parametrize(
    ("asked", "status", "span", "body"),
    [
        (None, 200, None, DATA),
        ("bytes=0-", 206, "bytes 0-1048575/1048576", DATA),
        ("bytes=100-199", 206, "bytes 100-199/1048576", DATA[100:200]),
        ("bytes=1048570-9999999", 206, "bytes 1048570-1048575/1048576", DATA[1048570:]),
        ("bytes=-6", 206, "bytes 1048570-1048575/1048576", DATA[-6:]),
        ("bytes=0-1,5-9", 200, None, DATA),
        ("bytes=1048576-", 416, "bytes */1048576", None),
    ],
)
def test_ranges(
    upstream: FakeUpstream, direct: Puller, asked: str | None, status: int, span: str | None, body: bytes | None
) -> None:
    answer = direct.blob(upstream.add_blob(DATA), headers={"Range": asked} if asked else {})
    assert (answer.status, answer.headers["Content-Range"]) == (status, span)
    assert body is None or answer.body == body


def test_manifests_by_tag_and_by_digest(upstream: FakeUpstream, direct: Puller) -> None:
    image = make_image(upstream, tag="1")
    head, by_digest = direct.head(f"/v2/{APP}/manifests/1"), direct.manifest(image.digest)

    assert head.body == b""
    assert head.headers["Content-Length"] == str(len(image.manifest))
    assert (by_digest.body, by_digest.headers["Content-Type"]) == (image.manifest, image.media_type)
    assert head.headers["Docker-Content-Digest"] == image.digest == digest_of(by_digest.body)
    assert upstream.counted_pulls == 1


def test_a_blob_belongs_to_its_repository(upstream: FakeUpstream, direct: Puller) -> None:
    blob = upstream.add_blob(DATA, "team/manifests/app")
    assert direct.blob(blob, "team/manifests/app").body == DATA
    assert direct.blob(blob, "team/other").status == 404


def test_tags_come_in_pages(upstream: FakeUpstream, direct: Puller) -> None:
    image = make_image(upstream, tag="b")
    for tag in ("c", "a"):
        upstream.tag(APP, tag, image.digest)
    first = direct.get(f"/v2/{APP}/tags/list?n=2")
    assert first.json() == {"name": APP, "tags": ["a", "b"]}
    assert first.headers["Link"] == f'</v2/{APP}/tags/list?n=2&last=b>; rel="next"'
    assert direct.get(f"/v2/{APP}/tags/list?n=2&last=b").json()["tags"] == ["c"]


def test_referrers_and_their_fallback_tag(upstream: FakeUpstream, direct: Puller) -> None:
    image = make_image(upstream)
    artifact = make_artifact(upstream, image.digest, artifact_type="application/x-test")
    listed = direct.get(f"/v2/{APP}/referrers/{image.digest}?artifactType=application/x-test")
    assert [entry["digest"] for entry in listed.json()["manifests"]] == [artifact]
    assert listed.headers["Content-Type"] == OCI_INDEX

    upstream.faults.no_referrers = True
    assert direct.get(f"/v2/{APP}/referrers/{image.digest}").status == 404
    assert direct.manifest(make_fallback_tag(upstream, image.digest)).json()["manifests"] == listed.json()["manifests"]


def test_a_held_body_stops_exactly_there_and_goes_on(upstream: FakeUpstream, direct: Puller, blob: str) -> None:
    upstream.faults.hold_at = 300_000
    pulls = [direct.start_blob(APP, blob) for _ in range(3)]
    for pull in pulls:
        pull.wait_for(300_000)
    upstream.wait_until(lambda: sum(each.held for each in upstream.exchanges) == 3)
    assert upstream.peak_in_flight(blob) == upstream.in_flight(blob) == 3
    pulls[0].close()
    upstream.wait_until(lambda: upstream.exchanges[0].done or upstream.exchanges[1].done or upstream.exchanges[2].done)
    assert upstream.in_flight(blob) == 2

    upstream.faults.gate.set()
    results = [pull.finish() for pull in pulls]
    assert [(result.size, result.complete) for result in results] == [(300_000, False), (MiB, True), (MiB, True)]
    assert results[1].digest == blob
    assert (upstream.gets(blob), upstream.bytes_sent(blob)) == (3, 300_000 + 2 * MiB)


def test_cuts_one_per_attempt(upstream: FakeUpstream, direct: Puller, blob: str) -> None:
    upstream.faults.cut_after = [0, 5000]
    results = [direct.start_blob(APP, blob).finish() for _ in range(3)]
    assert [(result.size, result.complete) for result in results] == [(0, False), (5000, False), (MiB, True)]


def test_a_reset_is_an_error_not_an_end(upstream: FakeUpstream, direct: Puller, blob: str) -> None:
    upstream.faults.cut_after, upstream.faults.reset = 5000, True
    assert isinstance(direct.start_blob(APP, blob).finish().error, ConnectionResetError)


def test_one_byte_is_wrong_once(upstream: FakeUpstream, direct: Puller, blob: str) -> None:
    upstream.faults.corrupt_at, upstream.faults.corrupt_times = 700_000, 1
    wrong = direct.blob(blob, headers={"Range": "bytes=500000-"}).body
    assert [i for i, byte in enumerate(wrong) if byte != DATA[500_000 + i]] == [200_000]
    assert direct.blob(blob).body == DATA


def test_lengths_that_lie_and_lengths_that_are_missing(upstream: FakeUpstream, direct: Puller, blob: str) -> None:
    upstream.faults.length_lie = 10
    with pytest.raises(http.client.IncompleteRead):
        direct.blob(blob)
    upstream.faults.length_lie = -10
    assert direct.blob(blob).body == DATA[:-10]
    upstream.faults.length_lie, upstream.faults.no_length = 0, True
    assert direct.blob(blob).body == DATA
    upstream.faults.cut_after = 1000
    assert not direct.start_blob(APP, blob).finish().complete


def test_gzip_nobody_asked_for(upstream: FakeUpstream, direct: Puller) -> None:
    blob = upstream.add_blob(bytes(1000))
    upstream.faults.gzip = True
    answer = direct.blob(blob, headers={"Range": "bytes=10-"})
    assert (answer.status, answer.headers["Content-Encoding"]) == (200, "gzip")
    assert requests.get(f"{upstream.url}/v2/{APP}/blobs/{blob}", timeout=SECONDS).content == bytes(1000)


def test_faults_of_one_digest_leave_others_alone(upstream: FakeUpstream, direct: Puller) -> None:
    bad, good = upstream.add_blob(b"bad"), upstream.add_blob(b"good")
    upstream.faults.of(bad).cut_after = 1
    assert not direct.start_blob(APP, bad).finish().complete
    assert direct.start_blob(APP, good).finish().complete


def test_scripted_answers(upstream: FakeUpstream, direct: Puller) -> None:
    make_image(upstream, tag="1")
    upstream.faults.answer("HEAD .*/manifests/1$", 503, times=1, Retry_After="7")
    assert direct.head(f"/v2/{APP}/manifests/1").headers["Retry-After"] == "7"
    assert direct.head(f"/v2/{APP}/manifests/1").status == 200
    upstream.faults.status = 500
    assert direct.manifest("1").status == 500
    upstream.reset_faults()
    assert direct.manifest("1").status == 200


def test_requests_that_wait_before_the_head(upstream: FakeUpstream, direct: Puller, blob: str) -> None:
    upstream.faults.hold_before = "GET .*/blobs/"
    pull = direct.start_blob(APP, blob)
    upstream.wait_until(lambda: upstream.asked("GET", blob)[0].held if upstream.gets(blob) else False)
    assert pull.status == 0
    upstream.faults.gate.set()
    assert pull.finish().complete


def test_tokens(upstream: FakeUpstream, direct: Puller) -> None:
    make_image(upstream, tag="1")
    upstream.faults.require_token, upstream.faults.token_field = True, "access_token"
    path = f"/v2/{APP}/manifests/1"

    challenge = direct.get(path).headers["WWW-Authenticate"]
    realm, service, scope = (part.split('"')[1] for part in challenge.split(","))
    token = direct.get(f"{realm.removeprefix(upstream.url)}?service={service}&scope={scope}").json()["access_token"]
    bearer = {"Authorization": f"Bearer {token}"}
    assert direct.get(path, bearer).status == 200
    assert 'error="insufficient_scope"' in direct.get("/v2/other/app/tags/list", bearer).headers["WWW-Authenticate"]
    upstream.tokens.revoke()
    assert 'error="invalid_token"' in direct.get(path, bearer).headers["WWW-Authenticate"]
    assert (len(upstream.token_requests), upstream.gets("1")) == (1, 1)


def test_private_repositories_need_a_user(upstream: FakeUpstream) -> None:
    make_image(upstream, tag="1")
    upstream.faults.private.add(APP)
    upstream.faults.users["me"] = "secret"

    def pull_with(user: tuple[str, str] | None) -> int:
        query = {"scope": f"repository:{APP}:pull"}
        answer = requests.get(f"{upstream.url}/token", params=query, auth=user, timeout=SECONDS)
        bearer = {"Authorization": f"Bearer {answer.json().get('token')}"}
        return requests.get(f"{upstream.url}/v2/{APP}/manifests/1", headers=bearer, timeout=SECONDS).status_code

    assert [pull_with(None), pull_with(("me", "wrong")), pull_with(("me", "secret"))] == [401, 401, 200]


def test_the_rate_limit_counts_manifest_gets_alone(upstream: FakeUpstream, direct: Puller) -> None:
    image = make_image(upstream, tag="1")
    upstream.faults.rate_limit = 1
    assert direct.head(f"/v2/{APP}/manifests/1").headers["ratelimit-remaining"] == "1;w=21600"
    assert direct.manifest("1").headers["ratelimit-remaining"] == "0;w=21600"
    refused = direct.manifest("1")
    assert (refused.status, refused.headers["Retry-After"]) == (429, "60")
    assert direct.blob(image.config).status == direct.head(f"/v2/{APP}/manifests/1").status == 200
    assert upstream.counted_pulls == 1


def test_a_tag_that_moves_between_head_and_get(upstream: FakeUpstream, direct: Puller) -> None:
    old, new = make_image(upstream, tag="1"), make_image(upstream, tag="2", seed=2)
    upstream.faults.move_tag_after_head["1"] = new.digest
    assert direct.head(f"/v2/{APP}/manifests/1").headers["Docker-Content-Digest"] == old.digest
    assert direct.manifest("1").body == new.manifest


@pytest.mark.parametrize("status", [302, 307])
def test_blobs_from_the_cdn(upstream: FakeUpstream, cdn: FakeCdn, status: int, blob: str) -> None:
    upstream.faults.redirect_blobs_to, upstream.faults.redirect_status = cdn, status
    upstream.faults.set_cookie, cdn.one_use = True, True
    with requests.Session() as session:
        session.headers["Range"] = "bytes=10-"
        answer = session.get(f"{upstream.url}/v2/{APP}/blobs/{blob}", auth=("me", "secret"), timeout=SECONDS)
        assert (answer.status_code, answer.content) == (206, DATA[10:])
        assert session.get(answer.url, timeout=SECONDS).status_code == 403
    assert (upstream.gets(blob), upstream.bytes_sent(blob), cdn.bytes_sent(blob)) == (1, 0, MiB - 10)


def test_the_cdn_tells_on_whoever_sends_it_credentials(upstream: FakeUpstream, cdn: FakeCdn) -> None:
    upstream.faults.redirect_blobs_to = cdn
    url = cdn.presign(upstream.add_blob(DATA), DATA, upstream.faults)
    requests.get(url, auth=("me", "secret"), timeout=SECONDS)
    assert "Authorization" in cdn.problems.pop()


def test_strict_tells_of_what_no_client_should_ask(upstream: FakeUpstream, direct: Puller) -> None:
    assert direct.request("POST", f"/v2/{APP}/blobs/uploads/").status == 405
    assert direct.get("/v1/search").status == 404
    assert len(upstream.problems) == 2
    upstream.problems.clear()


def test_it_goes_away_and_comes_back_on_its_port(upstream: FakeUpstream, direct: Puller) -> None:
    upstream.stop()
    with pytest.raises(ConnectionRefusedError):
        direct.get("/v2/")
    upstream.start()
    assert direct.get("/v2/").status == 200


def test_pacing(upstream: FakeUpstream, direct: Puller, blob: str) -> None:
    upstream.faults.rate = 4 * MiB
    assert direct.start_blob(APP, blob).finish().seconds > 0.2


def test_plain_blobs_come_fast_enough_to_measure_others(upstream: FakeUpstream, direct: Puller) -> None:
    data = bytes(64 * MiB)
    blob = upstream.add_blob(data)
    with socket.create_connection(tuple(upstream.address.split(":"))) as connection:  # type: ignore[arg-type]
        connection.sendall(f"GET /v2/{APP}/blobs/{blob} HTTP/1.1\r\n\r\n".encode())
        # Processor time of this process, which is both ends, so that a busy machine makes no difference.
        began, received, buffer = time.process_time(), 0, bytearray(256 * KiB)
        while received < len(data):
            received += connection.recv_into(buffer)
    assert received / (time.process_time() - began) > 100 * MiB


def test_tls(make_upstream: MakeUpstream, tmp_path: Path) -> None:
    context, certificate = make_certificate(tmp_path)
    upstream = make_upstream(tls=context)
    assert requests.get(f"{upstream.url}/v2/", verify=str(certificate), timeout=SECONDS).status_code == 200
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(f"{upstream.url}/v2/", timeout=SECONDS)


def test_a_tls_hello_on_the_plain_port_is_answered_in_http(upstream: FakeUpstream) -> None:
    with socket.create_connection(("127.0.0.1", int(upstream.url.rsplit(":")[-1]))) as connection:
        connection.sendall(b"\x16\x03\x01\x00\x05hello")
        assert connection.recv(100).startswith(b"HTTP/1.0 400")


def test_raw_bytes() -> None:
    server = RawServer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", b"nonsense")
    try:
        assert requests.get(server.url, timeout=SECONDS).text == "hi"
        with pytest.raises(requests.exceptions.ConnectionError):
            requests.get(server.url, timeout=SECONDS)
        assert server.requests[0].startswith(b"GET / HTTP/1.1\r\n")
    finally:
        server.stop()


def test_nothing_leaves_this_machine() -> None:
    with pytest.raises(OSError, match="tests stay on this machine"):
        socket.create_connection(("192.0.2.1", 80), timeout=1)
