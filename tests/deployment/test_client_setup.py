"""The lines that set up clients, for mirrors of all kinds; tests/clients pulls by them."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import PurePosixPath

import pytest
import yaml

from registry_cache.deployment.client_setup import CLIENTS, Mirror, steps

PLAIN = Mirror("http://mirror.example.com:5000", ["docker.io", "ghcr.io"])
TLS = Mirror("https://mirror.example.com", ["docker.io", "ghcr.io"])
PARSERS: dict[str, Callable[[str], object]] = {
    ".json": json.loads,
    ".toml": tomllib.loads,
    ".conf": tomllib.loads,
    ".yaml": yaml.safe_load,
}


@pytest.mark.parametrize("mirror", [PLAIN, TLS, Mirror("https://m", ["quay.io"], needs_login=True)])
@pytest.mark.parametrize("client", CLIENTS)
def test_each_file_can_be_read_by_its_program(client: str, mirror: Mirror) -> None:
    found = steps(client, mirror)
    assert found
    for step in found:
        assert step.title
        if step.file:
            assert PARSERS[PurePosixPath(step.file).suffix](step.text)


def test_docker() -> None:
    file, pulls = steps("docker", PLAIN)
    assert json.loads(file.text) == {
        "registry-mirrors": ["http://mirror.example.com:5000"],
        "insecure-registries": ["mirror.example.com:5000"],
    }
    assert pulls.text == "docker pull mirror.example.com:5000/ghcr.io/OWNER/IMAGE:TAG"
    assert json.loads(steps("docker", TLS)[0].text) == {"registry-mirrors": ["https://mirror.example.com"]}


def test_dockerd_is_never_told_to_mirror_by_a_cache_that_asks_for_a_login() -> None:
    """It would send the user's password for Docker Hub."""
    found = steps("docker", Mirror("https://mirror.example.com", ["docker.io"], needs_login=True))
    assert [step.text for step in found] == [
        "docker login mirror.example.com",
        "docker pull mirror.example.com/OWNER/IMAGE:TAG",
    ]


def test_the_default_upstream_has_no_name_in_the_path() -> None:
    conf = tomllib.loads(steps("podman", PLAIN)[0].text)["registry"]
    assert [(each["location"], each["mirror"]) for each in conf] == [
        ("docker.io", [{"location": "mirror.example.com:5000", "insecure": True}]),
        ("ghcr.io", [{"location": "mirror.example.com:5000/ghcr.io", "insecure": True}]),
    ]
    assert "insecure" not in steps("podman", TLS)[0].text


def test_containerd_goes_on_to_the_registry_itself() -> None:
    found = {step.file: tomllib.loads(step.text) for step in steps("containerd", PLAIN)}
    hub = found["/etc/containerd/certs.d/docker.io/hosts.toml"]
    assert hub["server"] == "https://registry-1.docker.io"
    # What older versions refuse is a comment.
    assert '["pull", "resolve", "referrers"]' in steps("containerd", PLAIN)[1].text
    assert hub["host"] == {"http://mirror.example.com:5000": {"capabilities": ["pull", "resolve"]}}
    assert found["/etc/containerd/certs.d/ghcr.io/hosts.toml"]["server"] == "https://ghcr.io"


def test_containerd_and_crio_have_a_place_for_the_login() -> None:
    asked = Mirror("https://mirror.example.com:444", ["docker.io"], needs_login=True)
    _, hub = steps("containerd", asked)
    host = tomllib.loads(hub.text)["host"]["https://mirror.example.com:444"]
    assert host == {"capabilities": ["pull", "resolve"], "header": {"Authorization": "Basic BASE64"}}
    # Others of the machine must not read it.
    assert hub.then == f"chmod 600 {hub.file}"
    assert steps("containerd", TLS)[1].then == ""

    _, login, config = steps("cri-o", asked)
    file = tomllib.loads(config.text)["crio"]["image"]["global_auth_file"]
    assert login.text == f"skopeo login --authfile {file} mirror.example.com:444"
    assert config.then == "systemctl restart crio"
    assert [step.then for step in steps("cri-o", TLS)] == ["systemctl restart crio"]
    plain = Mirror("http://mirror.example.com:5000", ["docker.io"], needs_login=True)
    assert steps("podman", plain)[1].text == "podman login --tls-verify=false mirror.example.com:5000"


def test_k3s_has_a_place_for_the_login_and_names_both_units() -> None:
    [plain] = steps("k3s", PLAIN)
    assert yaml.safe_load(plain.text) == {
        "mirrors": {name: {"endpoint": [PLAIN.url]} for name in ("docker.io", "ghcr.io")},
    }
    assert plain.then == "systemctl restart k3s || systemctl restart k3s-agent"
    [asked] = steps("k3s", Mirror("https://mirror.example.com:444", ["docker.io"], needs_login=True))
    login = {"username": "NAME", "password": "PASSWORD"}
    assert yaml.safe_load(asked.text)["configs"] == {"mirror.example.com:444": {"auth": login}}


def test_a_builder_s_mirror_names_other_registries_in_the_path() -> None:
    """Its snapshotter for eStargz says nowhere else which registry it means."""
    [plain, _], [tls, _] = steps("buildkit", PLAIN), steps("buildkit", TLS)
    assert tomllib.loads(plain.text)["registry"] == {
        "docker.io": {"mirrors": ["mirror.example.com:5000"]},
        "ghcr.io": {"mirrors": ["mirror.example.com:5000/ghcr.io"]},
        "mirror.example.com:5000": {"http": True},
    }
    assert list(tomllib.loads(tls.text)["registry"]) == ["docker.io", "ghcr.io"]


def test_a_builder_uses_the_login_of_who_builds() -> None:
    first, *_ = steps("buildkit", Mirror("https://mirror.example.com", ["docker.io"], needs_login=True))
    assert first.text == "docker login mirror.example.com"
    assert [step.title for step in steps("buildkit", PLAIN)] == ["For a builder", "Make one by it"]


def test_a_host_without_a_dot_is_never_taken_for_a_folder_of_docker_hubs() -> None:
    """`docker pull mirror/owner/app` asks Docker Hub, and podman's file has an error; `mirror:443` is a registry."""
    tls, plain = (Mirror(f"{scheme}://mirror", ["docker.io", "ghcr.io"]) for scheme in ("https", "http"))
    docker, podman, buildkit = (steps(client, tls)[0] for client in ("docker", "podman", "buildkit"))

    assert json.loads(docker.text) == {"registry-mirrors": ["https://mirror"]}
    assert steps("docker", tls)[-1].text == "docker pull mirror:443/ghcr.io/OWNER/IMAGE:TAG"
    assert json.loads(steps("docker", plain)[0].text)["insecure-registries"] == ["mirror:80"]
    assert 'location = "mirror:443/ghcr.io"' in podman.text
    assert 'mirrors = ["mirror:443"]' in buildkit.text
    assert Mirror("http://localhost", ["docker.io"]).address == "localhost"
    assert Mirror("http://mirror:5000", ["docker.io"]).address == "mirror:5000"


def test_a_registry_of_plain_http_is_written_so_for_when_the_mirror_is_away() -> None:
    mirror = Mirror("https://mirror.lan", ["docker.io", "registry.lan:5000"], plain={"registry.lan:5000"})
    hub, lan = steps("containerd", mirror)[1:]
    registries = tomllib.loads(steps("podman", mirror)[0].text)["registry"]
    buildkit = tomllib.loads(steps("buildkit", mirror)[0].text)["registry"]

    assert hub.text.startswith('server = "https://registry-1.docker.io"\n')
    assert lan.text.startswith('server = "http://registry.lan:5000"\n')
    assert [each.get("insecure") for each in registries] == [None, True]
    assert [each["mirror"][0].get("insecure") for each in registries] == [None, None]
    assert buildkit["registry.lan:5000"] == {"mirrors": ["mirror.lan/registry.lan:5000"], "http": True}
    assert "http" not in buildkit["docker.io"]
