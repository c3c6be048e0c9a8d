"""TLS without a proxy in front: renewed certificates, clients' certificates, and handshakes that go wrong."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import shutil
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import gevent.socket
import pytest

from registry_cache.server import tls_handshake
from registry_cache.server.sockets import Socket, TlsSocket
from tests.harness.components import require
from tests.harness.fixture_types import MakeCache
from tests.harness.images import MiB, make_image, random_bytes
from tests.harness.programs import PROGRAM, environment, run
from tests.harness.raw_client import connect
from tests.harness.running import running_cache
from tests.harness.server import CacheServer
from tests.harness.tls import make_certificate
from tests.harness.upstream import FakeUpstream
from tests.harness.waiting import eventually

SECONDS = 20.0
NOT_USABLE = "the renewed certificate cannot be used: the one before stays"


class Pair:
    """A certificate for this machine with its key; as its own authority it is a client's certificate as well."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        make_certificate(folder)
        self.certificate, self.key = folder / "certificate.pem", folder / "key.pem"
        self.der = ssl.PEM_cert_to_DER_cert(self.certificate.read_text(encoding="ascii"))

    def settings(self, **more: object) -> dict[str, Any]:
        return {"http": {"tls": {"certificate": str(self.certificate), "key": str(self.key), **more}}}

    def trust(self, shown: Pair | None = None) -> ssl.SSLContext:
        """What a client needs that trusts this one, and shows the other."""
        context = ssl.create_default_context(cafile=self.certificate)
        if shown is not None:
            context.load_cert_chain(shown.certificate, shown.key)
        return context


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path / "pair")


def get(cache: CacheServer, trust: ssl.SSLContext, path: str = "/v2/") -> tuple[int, bytes]:
    connection = http.client.HTTPSConnection(cache.address, context=trust, timeout=SECONDS)
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()


def shown(cache: CacheServer) -> bytes | None:
    """The certificate that a new connection is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with connect(cache.address, SECONDS) as plain, context.wrap_socket(plain) as secure:
        return secure.getpeercert(binary_form=True)


def replace(new: Path, old: Path) -> None:
    """As certbot and cert-manager do: never a file that is half written."""
    beside = old.with_suffix(".new")
    shutil.copy(new, beside)
    beside.replace(old)


def test_a_renewed_certificate_is_shown_and_a_transfer_under_way_finishes(
    upstream: FakeUpstream, make_cache: MakeCache, pair: Pair, tmp_path: Path
) -> None:
    renewed, trust = Pair(tmp_path / "renewed"), pair.trust()
    # One worker may look at the files later than the other.
    trust.load_verify_locations(renewed.certificate)
    cache = make_cache(pair.settings())
    blob = upstream.add_blob(data := random_bytes(4 * MiB, seed=1))

    # Between the two files nothing belongs together. Workers that start now show what was, and so do they later.
    first = cache.workers()
    replace(renewed.certificate, pair.certificate)
    for pid in first:
        cache.kill_worker(pid)
    eventually(lambda: shown(cache) == pair.der and NOT_USABLE in cache.log_text())
    assert not set(first) & set(cache.workers())

    upstream.faults.hold_at = 1 * MiB
    path = f"/v2/library/app/blobs/{blob}"
    answers: list[tuple[int, bytes]] = []
    pull = threading.Thread(target=lambda: answers.append(get(cache, trust, path)))
    pull.start()
    upstream.wait_until(lambda: upstream.gets(blob) == 1)
    replace(renewed.key, pair.key)
    eventually(lambda: shown(cache) == renewed.der)
    upstream.faults.gate.set()
    pull.join(SECONDS)

    assert answers == [(200, data)]
    assert cache.log_text().count(NOT_USABLE) <= len(cache.workers())
    # By now it is a hit; OpenSSL sends it, and not the kernel.
    assert get(cache, trust, path) == (200, data)


def test_files_that_do_not_belong_together_stop_the_start(pair: Pair, tmp_path: Path) -> None:
    other, config = Pair(tmp_path / "other"), tmp_path / "config.yml"
    config.write_text(f"http: {{tls: {{certificate: {pair.certificate}, key: {other.key}}}}}", encoding="utf-8")
    command = [PROGRAM, "--config", str(config), "serve"]
    env = environment(tmp_path, REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY=str(tmp_path / "store"))
    result = run(command, env)

    assert result.returncode == 2
    assert "http.tls.certificate" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_socket_in_the_file_system_speaks_tls_too(
    pair: Pair, shared_upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Who comes by it has no address."""
    folder = tmp_path_factory.mktemp("unix")
    with (
        running_cache(folder, shared_upstream, config=pair.settings(), workers=1, unix=folder / "s"),
        socket.socket(socket.AF_UNIX) as plain,
    ):
        plain.settimeout(SECONDS)
        plain.connect(str(folder / "s"))
        with pair.trust().wrap_socket(plain, server_hostname="127.0.0.1") as secure:
            secure.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
            assert secure.recv(4096).startswith(b"HTTP/1.1 200 ")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Whom the strict server lets in; its own certificate as well."""
    return Pair(tmp_path_factory.mktemp("tls") / "client")


@pytest.fixture(scope="module")
def strict(
    shared_upstream: FakeUpstream, client: Pair, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CacheServer]:
    """A server that wants to see a certificate. Its certificate's authority is the clients', too."""
    settings = client.settings(clientcas=[str(client.certificate)])
    with running_cache(tmp_path_factory.mktemp("strict"), shared_upstream, config=settings) as server:
        yield server
    assert "[ERROR]" not in server.log_text()


def test_a_client_without_a_certificate_gets_an_alert(strict: CacheServer, client: Pair, pair: Pair) -> None:
    for _ in range(4):
        with pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"):
            get(strict, client.trust())
    with pytest.raises(ssl.SSLError, match="UNKNOWN_CA"):
        get(strict, client.trust(pair))
    assert get(strict, client.trust(client))[0] == 200

    # A worker says it after the alert has left: the client may read the log before.
    eventually(lambda: "certificate is not from http.tls.clientcas" in strict.log_text())
    told = strict.log_text()
    assert f"clients must show a certificate from {client.certificate}" in told
    assert 1 <= told.count("the client shows no certificate") <= len(strict.workers())


def test_skopeo_copies_an_image_with_a_clients_certificate(
    upstream: FakeUpstream, strict: CacheServer, client: Pair, tmp_path: Path
) -> None:
    image = make_image(upstream, tag="1", layers=2, layer_size=2 * MiB)
    folder = tmp_path / "certificates"
    folder.mkdir()
    for source, name in (
        (client.certificate, "ca.crt"),
        (client.certificate, "client.cert"),
        (client.key, "client.key"),
    ):
        shutil.copy(source, folder / name)
    copy = [require("skopeo"), "--insecure-policy", "copy", f"--src-cert-dir={folder}"]
    result = run([*copy, f"docker://{strict.address}/library/app:1", f"dir:{tmp_path / 'copy'}"], environment(tmp_path))

    assert result.returncode == 0, result.stderr
    for layer in image.layers:
        copied = (tmp_path / "copy" / layer.partition(":")[2]).read_bytes()
        assert f"sha256:{hashlib.sha256(copied).hexdigest()}" == layer


def test_what_is_no_handshake_ends_without_a_trace(strict: CacheServer, client: Pair) -> None:
    with connect(strict.address, SECONDS) as connection:
        connection.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"400" in (answer := b"".join(iter(lambda: connection.recv(4096), b"")))
        assert tls_handshake.TLS_ONLY.encode() in answer
    for said in (b"", b"\x00\x01\x02", b"\x16\x03\x01", b"\x16\x03\x01\x00\x05hello"):
        with connect(strict.address, SECONDS) as connection:
            connection.sendall(said)
            # Bytes that nobody read: the kernel may reset the connection, also before our half is shut.
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(4096):
                    pass
    # After a handshake that is right: no TLS record.
    with (
        connect(strict.address, SECONDS) as plain,
        client.trust(client).wrap_socket(plain, server_hostname="127.0.0.1") as secure,
    ):
        os.write(secure.fileno(), b"GET /v2/ HTTP/1.1\r\n\r\n")
        with contextlib.suppress(OSError):
            while secure.recv(4096):
                pass
    # The fixture looks for errors in the log.
    assert get(strict, client.trust(client))[0] == 200


def test_versions_and_protocols(strict: CacheServer) -> None:
    def agreed(option: str, *more: str) -> str:
        command = [require("openssl"), "s_client", "-connect", strict.address, option, *more]
        done = run(command, input="")
        return done.stdout + done.stderr

    assert "ALPN protocol: http/1.1" in agreed("-tls1_2", "-alpn", "h2,http/1.1")
    assert "New, TLSv1.3" in agreed("-tls1_3")
    assert "alert protocol version" in agreed("-tls1_1", "-cipher", "ALL:@SECLEVEL=0")


@pytest.mark.parametrize(
    "say", [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01"], ids=["nothing", "a byte", "a hello's begin"]
)
def test_a_handshake_has_its_time(monkeypatch: pytest.MonkeyPatch, pair: Pair, say: bytes) -> None:
    monkeypatch.setattr(tls_handshake, "HANDSHAKE_TIMEOUT_SECONDS", 0.2)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    accepted, theirs = gevent.socket.socketpair()
    ours = Socket(accepted.family, accepted.type, accepted.proto, fileno=accepted.detach())
    theirs.sendall(say)

    # However often it says a byte more.
    trickle = gevent.spawn(_trickle, theirs) if len(say) > 1 else None
    with gevent.Timeout(SECONDS):
        assert tls_handshake.Handshakes(TlsSocket, lambda: context).wrap(ours) is None
        with contextlib.suppress(OSError):
            while theirs.recv(4096):
                pass
    if trickle is not None:
        trickle.kill()
    theirs.close()


def _trickle(connection: Any) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection.sendall(b"\x00")
            gevent.sleep(0.05)
