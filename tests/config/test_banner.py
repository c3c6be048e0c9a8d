"""What the server says when it starts, and the TLS it speaks."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

from registry_cache.config import banner, load_config
from tests.harness.config_files import Loader
from tests.harness.tls import make_certificate


def test_a_mirror_of_docker_hub(loader: Loader) -> None:
    config = loader.load()

    assert list(banner.lines(config, [("127.0.0.1", 41234)])) == [
        "listening on http://127.0.0.1:41234",
        "mirroring docker.io (https://registry-1.docker.io)",
        f"storing under {config.root}",
        # The root folder is the loader's.
        "configured by built-in defaults and the environment",
        "keeping what was used in the last 168h, with 5% of the disk left free"
        "; what is older goes once a day, or by registry-cache cleanup",
        'paste into /etc/docker/daemon.json: {"registry-mirrors": ["http://127.0.0.1:41234"]}',
    ]


@pytest.mark.parametrize(
    ("address", "listening", "mirror"),
    [
        (("0.0.0.0", 5000), "http://0.0.0.0:5000", "http://127.0.0.1:5000"),  # noqa: S104
        (("::", 5000, 0, 0), "http://[::]:5000", "http://[::1]:5000"),
        (("192.0.2.1", 80), "http://192.0.2.1:80", "http://192.0.2.1:80"),
    ],
)
def test_addresses(loader: Loader, address: tuple[object, ...], listening: str, mirror: str) -> None:
    first, *_, last = banner.lines(loader.load(), [address])

    assert first == f"listening on {listening}"
    assert f'["{mirror}"]' in last


def test_what_configures_it_is_the_file_and_the_environment_if_that_says_anything(tmp_path: Path) -> None:
    file = tmp_path / "REGISTRY_config.yml"
    account = "proxy: {username: u, password_env: SECRET}"
    file.write_text(f"storage: {{filesystem: {{rootdirectory: {tmp_path / 'store'}}}}}\n{account}")
    # The password's variable is what the file names.
    environ = {"REGISTRY_CACHE_CONFIG": str(file), "SECRET": "hunter2"}

    assert f"configured by {file}" in banner.lines(load_config(environ), [])
    environ["REGISTRY_PROXY_TTL"] = "24h"
    assert f"configured by {file} and the environment" in banner.lines(load_config(environ), [])


def test_a_unix_socket_has_no_line_to_paste(loader: Loader) -> None:
    lines = list(banner.lines(loader.load("proxy: {ttl: 0}\nstorage: {min_free: 0}"), ["/run/cache.sock"]))

    assert lines[0] == "listening on unix:/run/cache.sock"
    assert lines[-1] == "keeping everything"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("storage: {max_size: 200 GB, min_free: 0}", "what was used in the last 168h, at most 200 GB"),
        (
            "storage: {max_size: 80%, min_free: 5000}",
            "what was used in the last 168h, at most 80% of the disk, with 5000 bytes left free",
        ),
        ("proxy: {ttl: 0}\nstorage: {min_free: 10GiB}", "everything, with 10GiB left free"),
    ],
)
def test_what_is_kept(loader: Loader, text: str, kept: str) -> None:
    lines = list(banner.lines(loader.load(text), []))

    older = "" if kept.startswith("everything") else "; what is older goes once a day, or by registry-cache cleanup"
    assert lines[-1] == f"keeping {kept}{older}"


def test_another_registry(loader: Loader) -> None:
    *_, last = banner.lines(loader.load("proxy: {remoteurl: 'https://ghcr.io'}"), [("127.0.0.1", 5000)])

    assert last.startswith("pull with: docker pull 127.0.0.1:5000/REPOSITORY:TAG; if it is a copy of Docker Hub, paste")


def test_what_has_no_effect_is_named_once(loader: Loader) -> None:
    config = loader.load("notifications: {endpoints: [a]}\ntags: {maxtags: 1}", REGISTRY_XYZ="1")

    assert list(banner.warnings(config)) == [
        "understood but without effect here: notifications, tags",
        "environment variable REGISTRY_XYZ names no key",
    ]


@pytest.mark.parametrize(
    ("addr", "tls", "clear"), [(":5000", False, True), ("127.0.0.1:5000", False, False), (":5000", True, False)]
)
def test_logins(loader: Loader, addr: str, tls: bool, clear: bool) -> None:
    users = loader.folder / "htpasswd"
    users.write_text(f"alice:$2y$05${'.' * 53}\n", encoding="utf-8")
    _, certificate = make_certificate(loader.folder)
    pair = f", tls: {{certificate: {certificate}, key: {loader.folder / 'key.pem'}}}" if tls else ""
    config = loader.load(f"http: {{addr: '{addr}'{pair}}}\nauth: {{htpasswd: {{realm: r, path: {users}}}}}")
    *_, guarded, pull = banner.lines(config, [("192.0.2.1", 5000)])

    assert guarded == f"clients must log in as a user of {users}"
    # Not as a mirror: no line for daemon.json.
    assert pull == "pull with: docker login 192.0.2.1:5000; docker pull 192.0.2.1:5000/REPOSITORY:TAG"
    mirrors, *others = banner.warnings(config)
    assert "do not name this server in registry-mirrors" in mirrors
    assert any("in the clear" in warning for warning in others) is clear


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("require-and-verify-client-cert", "clients must show a certificate from"),
        ("verify-client-cert-if-given", "without one they get in, too"),
    ],
)
def test_clients_certificates(loader: Loader, asked: str, said: str) -> None:
    _, certificate = make_certificate(loader.folder)
    files = f"certificate: {certificate}, key: {loader.folder / 'key.pem'}, clientcas: {certificate}"
    config = loader.load(f"http: {{tls: {{{files}, clientauth: {asked}}}}}")

    assert [line for line in banner.lines(config, []) if said in line]


@pytest.fixture
def settings(loader: Loader, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """gunicorn's settings for a server with TLS that asks for clients' certificates."""
    _, certificate = make_certificate(loader.folder)
    key = loader.folder / "key.pem"
    tls = f"{{certificate: {certificate}, key: {key}, clientcas: {certificate}}}"
    text = f"http: {{net: unix, addr: /run/c.sock, tls: {tls}}}"
    for name, value in loader.environ(text, {"REGISTRY_HTTP_TLS_MINIMUMTLS": "tls1.3"}).items():
        monkeypatch.setenv(name, value)
    # A process reads its configuration once; this one plays several.
    monkeypatch.setattr("registry_cache.server.active_config._held", [])
    from registry_cache.server.settings import load

    return load()


def test_gunicorns_settings(settings: dict[str, Any], tmp_path: Path) -> None:
    from gunicorn.config import Config

    gunicorn = Config()
    for name, value in settings.items():
        gunicorn.set(name, value)

    assert gunicorn.address == ["/run/c.sock"]
    assert (gunicorn.workers, gunicorn.worker_connections, gunicorn.graceful_timeout) == (2, 3000, 30)
    assert gunicorn.is_ssl
    assert gunicorn.certfile == str(tmp_path / "certificate.pem")


def test_the_tls_context(settings: dict[str, Any]) -> None:
    context = settings["ssl_context"](None, None)

    assert context.minimum_version == ssl.TLSVersion.TLSv1_3
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert len(context.get_ca_certs()) == 1


@pytest.mark.parametrize(
    ("text", "warned"),
    [
        ("proxy: {remoteurl: 'http://127.0.0.1:5000'}", "proxy.remoteurl is this server itself"),
        ("http: {addr: ':80'}\nproxy: {remoteurl: 'http://localhost'}", "proxy.remoteurl is this server itself"),
        ("http: {addr: '10.0.0.5:5000'}\nproxy: {remoteurl: 'http://10.0.0.5:5000'}", "proxy.remoteurl is this server"),
        ("proxy: {remoteurl: 'http://127.0.0.1:5001'}", None),
        ("http: {addr: '10.0.0.5:5000'}\nproxy: {remoteurl: 'http://127.0.0.1:5000'}", None),
        ("http: {net: unix, addr: /run/s}\nproxy: {remoteurl: 'http://127.0.0.1:5000'}", None),
        ("proxy: {remoteurl: 'http://10.0.0.6', username: me, password: x}", "proxy: the account's password crosses"),
        ("proxy: {remoteurl: 'http://10.0.0.6', exec: {command: env}}", "proxy: the account's password crosses"),
        ("proxy: {remoteurl: 'http://localhost:7000', username: me, password: x}", None),
        ("proxy: {remoteurl: 'https://10.0.0.6', username: me, password: x}", None),
        (
            "upstreams: {quay.io: {remoteurl: 'http://quay.io', username: me, password: x}}",
            "upstreams.quay.io: the account's password crosses",
        ),
    ],
)
def test_what_cannot_be_meant_of_an_upstream(loader: Loader, text: str, warned: str | None) -> None:
    warnings = list(banner.warnings(loader.load(text)))

    assert len(warnings) == (warned is not None)
    assert not warned or warnings[0].startswith(warned)


@pytest.mark.parametrize(
    ("text", "warned"),
    [
        ("storage: {max_size: 200}", "storage.max_size is 200 bytes, less than a layer"),
        ("storage: {min_free: 5B}", "storage.min_free is 5B, less than a layer"),
        ("storage: {max_size: 200GB, min_free: 0}", None),
        ("storage: {max_size: 80%}", None),
    ],
)
def test_a_size_without_its_unit(loader: Loader, text: str, warned: str | None) -> None:
    warnings = list(banner.warnings(loader.load(text)))

    assert len(warnings) == (warned is not None)
    assert warned is None or warnings[0].startswith(warned)
