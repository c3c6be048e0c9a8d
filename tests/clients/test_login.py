"""Real clients of a cache that requires a login: pulls by name work; as a mirror of dockerd it does harm (P4)."""

from __future__ import annotations

import base64
import json
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest

from tests.clients.containerd import Ctr
from tests.clients.dockerd import Docker, running_dockerd
from tests.clients.mirror import HUB, Mirror, native
from tests.clients.skopeo import Skopeo
from tests.harness.running import running, running_cache
from tests.harness.upstream import FakeUpstream

USER, PASSWORD = "alice", "correct horse"
HUB_USER, HUB_PASSWORD = "somebody", "a password of Docker Hub's"


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Mirror]:
    """A mirror with one user."""
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    (tmp_path / "htpasswd").write_text(f"{USER}:{hashed}\n", encoding="utf-8")
    config = {
        "auth": {"htpasswd": {"realm": "cache", "path": str(tmp_path / "htpasswd")}},
        "proxy": {"aliases": [HUB]},
    }
    with running(FakeUpstream()) as upstream, running_cache(tmp_path / "cache", upstream, config=config) as cache:
        yield Mirror(cache, upstream, upstream)


@pytest.fixture
def docker(guarded: Mirror, tmp_path: Path) -> Iterator[Docker]:
    """The docker command of a daemon that has the cache as its mirror."""
    with running_dockerd(guarded) as folder:
        yield Docker(folder, tmp_path)


@pytest.mark.needs_root
def test_docker_pulls_by_name_and_gives_a_mirror_the_hubs_password(
    guarded: Mirror, docker: Docker, tmp_path: Path
) -> None:
    address, index = guarded.cache.address, guarded.add_index("docker")
    # A user who is logged in to Docker Hub pulls from it.
    known = {"auth": base64.b64encode(f"{HUB_USER}:{HUB_PASSWORD}".encode()).decode()}
    (tmp_path / "home" / ".docker").mkdir()
    (tmp_path / "home" / ".docker" / "config.json").write_text(
        json.dumps({"auths": {"https://index.docker.io/v1/": known}}), encoding="utf-8"
    )
    assert docker.pull(f"{index.repository}:1").returncode != 0
    assert f"login failed client=127.0.0.1 user={HUB_USER}" in guarded.cache.log_text()
    assert guarded.upstream.requests() == []

    docker.output("login", "--username", USER, "--password", PASSWORD, address)
    name = f"{address}/{index.repository}:1"
    docker.output("pull", name)
    (found,) = json.loads(docker.output("image", "inspect", name))
    assert found["Id"] == native(index).config
    assert HUB_PASSWORD not in guarded.cache.log_text()


def test_skopeo_has_a_login_of_its_own_for_a_mirror(guarded: Mirror, tmp_path: Path) -> None:
    """So have podman and CRI-O, which use the same library: they send the mirror's login, not the registry's.

    It logs in by what `setup` says for CRI-O.
    """
    index = guarded.add_index("oci")
    lines = guarded.setup("cri-o")
    logins = tomllib.loads(lines["/etc/crio/crio.conf.d/20-mirror.conf"])["crio"]["image"]["global_auth_file"]
    skopeo = Skopeo(tmp_path, guarded, REGISTRY_AUTH_FILE=str(tmp_path / "auth.json"))
    program, *words = lines[""].replace(logins, str(tmp_path / "auth.json")).split()
    assert program == "skopeo"
    skopeo.output(*words, f"--username={USER}", f"--password={PASSWORD}")

    skopeo.output("copy", f"docker://{HUB}/{index.repository}:1", f"dir:{tmp_path / 'copy'}")
    assert {blob.partition(":")[2] for blob in native(index).blobs} <= {
        file.name for file in (tmp_path / "copy").iterdir()
    }
    assert "login failed" not in guarded.cache.log_text()


@pytest.mark.needs_root
def test_containerd_sends_the_login_that_its_file_has(guarded: Mirror, containerd: Path, tmp_path: Path) -> None:
    """By what `setup` says, with the token made as it says; to the mirror alone."""
    index = guarded.add_index("oci")
    name, ctr = f"{HUB}/{index.repository}:1", Ctr(containerd, tmp_path / "hosts", guarded)
    assert ctr.pull(name).returncode != 0

    lines = guarded.setup("containerd")[f"/etc/containerd/certs.d/{HUB}/hosts.toml"]
    [make] = [line.partition("prints: ")[2] for line in lines.splitlines() if "prints: " in line]
    shell = make.replace("NAME:PASSWORD", f"{USER}:{PASSWORD}")
    token = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=True, timeout=20).stdout
    file = lines.replace('"Basic BASE64"', f'"Basic {token}"')
    (tmp_path / "hosts" / HUB / "hosts.toml").write_text(file, encoding="utf-8")
    assert ctr.pull(name).returncode == 0
    ctr.check(name, index)
