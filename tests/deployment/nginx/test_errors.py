"""Errors are the spec's JSON, also where nginx itself finds them; and a push is refused before its body."""

import pytest

from tests.harness import raw_client
from tests.harness.images import KiB, MiB, random_bytes
from tests.harness.nginx_rig import Behind, running
from tests.harness.programs import short_folder

DIGEST = f"sha256:{'0' * 64}"


@pytest.mark.parametrize(
    ("request_line", "headers", "status", "code"),
    [
        (b"GET /v2/ HTTP/1.1", b"", 400, "UNSUPPORTED"),
        (b"GET /v2/ HTTP/1.1", b"Host: a b\r\n", 400, "UNSUPPORTED"),
        (b"GET /v2/" + b"a" * 9000 + b" HTTP/1.1", b"Host: x\r\n", 414, "NAME_INVALID"),
        (b"GET /v2/ HTTP/1.1", b"Host: x\r\nX-Long: " + b"a" * 9000 + b"\r\n", 400, "UNSUPPORTED"),
        (b"GET /v2/ HTTP/1.1", b"Host: x\r\nContent-Length: 5000\r\n", 413, "SIZE_INVALID"),
        (b"GET /v2/ HTTP/1.1", b"Host: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400, "UNSUPPORTED"),
        (b"GET /v2/%00 HTTP/1.1", b"Host: x\r\n", 400, "UNSUPPORTED"),
        (b"GET /v2/../../etc/passwd HTTP/1.1", b"Host: x\r\n", 400, "UNSUPPORTED"),
        (b"GET /_registry-cache/blobs/sha256/00/00 HTTP/1.1", b"Host: x\r\n", 404, "NAME_UNKNOWN"),
        (b"GET /_registry-cache/errors/503 HTTP/1.1", b"Host: x\r\n", 404, "NAME_UNKNOWN"),
        (b"TRACE /v2/ HTTP/1.1", b"Host: x\r\n", 405, "UNSUPPORTED"),
        (b"GET /v2/ HTTP/9.1", b"Host: x\r\n", 400, "UNSUPPORTED"),
        (b"GET /v2/ HTTP/1.1", b"Host: x\r\nTransfer-Encoding: odd\r\n", 400, "UNSUPPORTED"),
    ],
)
def test_nginx_own_errors(behind: Behind, request_line: bytes, headers: bytes, status: int, code: str) -> None:
    answer = raw_client.ask(behind.nginx.address, request_line + b"\r\n" + headers + b"\r\n")

    assert (answer.status, answer.headers["Content-Type"]) == (status, "application/json")
    assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert answer.json()["errors"][0]["code"] == code


def test_a_head_whose_url_is_too_long(behind: Behind) -> None:
    answer = raw_client.ask(behind.nginx.address, b"HEAD /v2/" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")

    assert (answer.status, answer.headers["X-Content-Type-Options"]) == (414, "nosniff")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_push_is_refused_before_its_body(behind: Behind, method: str) -> None:
    request = f"{method} /v2/team/app/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nContent-Length: {10**10}\r\n\r\n"

    answer = raw_client.ask(behind.nginx.address, request.encode())

    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
    assert answer.body == behind.app.request(method, "/v2/team/app/blobs/uploads/").body


def test_without_the_application_hits_are_served_and_the_rest_is_told_to_wait() -> None:
    with short_folder() as folder, running(folder) as behind:
        blob = behind.upstream.add_blob(random_bytes(KiB, seed=1), "library/app")
        behind.app.blob(blob, "library/app")
        (folder / "http.sock").rename(folder / "elsewhere")

        hit = behind.direct.blob(blob, "library/app")
        miss = behind.direct.get(f"/v2/library/app/blobs/{DIGEST}")
        (folder / "elsewhere").rename(folder / "http.sock")  # gunicorn wants to remove it

    assert (hit.status, hit.headers["X-Cache"]) == (200, "hit")
    assert (miss.status, miss.json()["errors"][0]["code"]) == (503, "UNAVAILABLE")
    assert miss.headers["Retry-After"] == "2"


def test_a_slow_blob_is_not_collected_by_nginx(behind: Behind) -> None:
    name = behind.repository()
    blob = behind.upstream.add_blob(random_bytes(2 * MiB, seed=5), name)
    behind.upstream.faults.of(blob).hold_at = 1 * MiB

    pull = behind.direct.start_blob(name, blob)
    pull.wait_for(1 * MiB - 128 * KiB)  # while upstream holds back the rest
    behind.upstream.faults.of(blob).gate.set()

    assert pull.finish().digest == blob


def test_the_applications_log_has_the_clients_address_and_nginx_request_id(behind: Behind) -> None:
    answer = behind.direct.get("/v2/", {"X-Forwarded-For": "203.0.113.9", "X-Request-Id": "mine"})
    request_id = answer.headers["X-Request-Id"]

    assert request_id != "mine"
    assert behind.passed_on(answer) == "200"
    assert f"id={request_id} client=127.0.0.1 " in behind.cache.log_text()


def test_metrics_are_not_for_the_world(behind: Behind) -> None:
    assert behind.app.get("/metrics").status == 200
    assert behind.direct.get("/metrics").status == 404
