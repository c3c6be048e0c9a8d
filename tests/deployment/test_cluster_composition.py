"""deploy/docker's composition of three nodes, Redis, an object store and a balancer: its parts fit together."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from registry_cache import cli
from registry_cache.commands import bucket, cleanup
from registry_cache.config import Config, load_config
from tests.harness import programs
from tests.harness.checkout import DOCKER, REPOSITORY

COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.cluster.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
NODES = ["node1", "node2", "node3"]
CONFIG = DOCKER / "config.cluster.yml"
NGINX = (DOCKER / "nginx.cluster.conf").read_text(encoding="utf-8")
SECRETS = {"CLUSTER_SECRET": "c" * 64, "REDIS_PASSWORD": "r" * 64, "S3_SECRET": "s" * 64}


def filled(text: str) -> str:
    """As compose fills in what .env has. Each variable must be required: an empty secret is none."""
    return re.sub(r"\$\{(\w+):\?\}", lambda found: SECRETS[found[1]], text)


def mounts(service: dict[str, Any]) -> dict[str, str]:
    """Target and source."""
    pairs = (volume.split(":") for volume in service["volumes"])
    return {target: source for source, target, *_ in pairs}


@pytest.fixture(scope="module", params=[*NODES, "bucket"])
def config(request: pytest.FixtureRequest) -> Config:
    """What a container of ours is configured with."""
    environ = {name: filled(value) for name, value in SERVICES[request.param]["environment"].items()}
    return load_config({**environ, "REGISTRY_CACHE_CONFIG": str(CONFIG)}, create=False)


def test_the_image_has_what_a_cluster_needs() -> None:
    for name in (*NODES, "bucket"):
        build = SERVICES[name]["build"]
        assert (DOCKER / build["context"]).resolve() == REPOSITORY
        assert build["args"] == {"EXTRAS": "[cluster]"}
        # Not the name of the other composition's image, which lacks it.
        assert SERVICES[name]["image"] == COMPOSE["name"] == "registry-cache-cluster"
    dockerfile = (REPOSITORY / SERVICES["node1"]["build"]["dockerfile"]).read_text(encoding="utf-8")
    assert re.search(r'^ARG EXTRAS=""$', dockerfile, re.MULTILINE)
    assert '".$EXTRAS"' in dockerfile


def test_each_file_is_there_and_each_node_has_a_store_of_its_own() -> None:
    for service in SERVICES.values():
        for source in mounts(service).values() if "volumes" in service else ():
            assert source in COMPOSE["volumes"] or source == "./tls" or (DOCKER / source).is_file(), source
    assert len({mounts(SERVICES[name])["/var/lib/registry-cache"] for name in NODES}) == 3
    for name in (*NODES, "bucket"):
        assert (DOCKER / mounts(SERVICES[name])["/etc/registry-cache/config.yml"]).resolve() == CONFIG
    assert [SERVICES[name]["hostname"] for name in NODES] == NODES


def test_a_node_finds_redis_and_the_object_store_and_has_the_passwords_that_these_want(config: Config) -> None:
    assert config.redis
    assert config.s3
    assert config.s3.secret_key
    assert config.redis.password
    assert config.s3.base_url == "http://s3:9000/registry-cache/"
    store = SERVICES["s3"]["environment"]
    assert config.s3.access_key == store["MINIO_ROOT_USER"]
    assert config.s3.secret_key.reveal() == filled(store["MINIO_ROOT_PASSWORD"]) == SECRETS["S3_SECRET"]
    words = [filled(word) for word in SERVICES["redis"]["command"]]
    assert words[words.index("--requirepass") + 1] == config.redis.password.reveal() == SECRETS["REDIS_PASSWORD"]
    assert config.http.secret
    assert config.http.secret.reveal() == SECRETS["CLUSTER_SECRET"]


def test_other_containers_reach_the_ports_that_the_configuration_has(config: Config) -> None:
    assert config.http.debug
    assert config.cluster
    ports = [config.http.addr.rpartition(":")[2], str(config.http.debug.port), config.cluster.addr.rpartition(":")[2]]
    for name in NODES:
        assert SERVICES[name]["expose"] == ports
        # Nodes trust what comes there to be signed, and nothing else protects the metrics.
        assert "ports" not in SERVICES[name]


def test_the_balancer_has_every_node() -> None:
    addresses = [SERVICES[name]["networks"]["cluster"]["ipv4_address"] for name in NODES]

    assert re.findall(r"server (\S+):5000 ", NGINX) == addresses
    assert SERVICES["balancer"]["ports"] == ["443:443"]
    assert set(SERVICES["balancer"]["depends_on"]) == set(NODES)
    for file in re.findall(r"ssl_certificate(?:_key)? (\S+);", NGINX):
        assert str(Path(file).parent) in mounts(SERVICES["balancer"])


def test_the_bucket_is_made_and_held_to_its_size(config: Config) -> None:
    [command] = SERVICES["bucket"]["command"]
    programs.succeed(["sh", "-n", "-c", command.replace("$$", "$")])
    making, cleaning = re.findall(r"registry-cache ([^;]+)", command)

    assert cli.make_parser().parse_args(shlex.split(making)).run is bucket.run
    assert cli.make_parser().parse_args(shlex.split(cleaning)).run is cleanup.run
    assert config.cluster
    assert config.cluster.max_size


def test_every_secret_is_asked_for_at_the_top_of_the_file() -> None:
    text = (DOCKER / "compose.cluster.yaml").read_text(encoding="utf-8")

    assert set(re.findall(r"\$\{(\w+)", text)) == set(SECRETS)
    assert set(re.findall(r"^#   (\w+)=", text, re.MULTILINE)) == set(SECRETS)
    assert "/deploy/docker/.env" in (REPOSITORY / ".gitignore").read_text(encoding="utf-8")
