"""The image of deploy/docker, built from its Dockerfile as it is, and run with the settings of its composition.

By buildah, podman and runc, in a network where nobody is to be asked: below FROM is a stand-in (base_image.py). What no
test here does is what `docker compose` itself would: name services and publish ports.
"""

import json
import re
import resource
import shlex
import subprocess
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.clients import base_image
from tests.clients.containers import policy
from tests.harness.checkout import COMPOSE, DOCKER, DOCKERFILE, REPOSITORY
from tests.harness.components import require
from tests.harness.content import digest_of
from tests.harness.images import KiB, random_bytes
from tests.harness.network import own_network
from tests.harness.programs import CLIENT_SECONDS, NO_WAY_OUT, environment, run, short_folder, succeed
from tests.harness.pullers import Puller
from tests.harness.upstream import FakeUpstream

pytestmark = pytest.mark.needs_root

BUILD_SECONDS = 150
SAY_SECONDS = 60.0  # from the start of a container to the output that a test waits for
STOP_SECONDS = 120.0  # more than any grace period here
IMAGE = "registry-cache"
[HEALTHY] = [json.loads(rest.partition("CMD ")[2]) for word, rest in DOCKERFILE if word == "HEALTHCHECK"]
# Keys of a service that are for compose and not for the engine; and restart, which would hide an exit.
COMPOSES_OWN = {"image", "build", "expose", "depends_on", "restart"}
CONTAINERS = """\
[containers]
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
# Otherwise the locks are shared with every podman of this machine.
lock_type = "file"
"""


def limit(name: str, wanted: int) -> str:
    """The option with `wanted`, or with less where more needs a capability that root of a sandbox lacks."""
    _, most = resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))
    number = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
    return f"--ulimit={name}={number}:{number}"


class Engine:
    """buildah and podman over one storage, all in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._started: list[Container] = []
        self._policy = str(policy(folder))
        (folder / "registries.conf").write_text("", encoding="utf-8")
        (folder / "containers.conf").write_text(CONTAINERS, encoding="utf-8")
        self._env = environment(
            folder / "home",
            CONTAINERS_REGISTRIES_CONF=str(folder / "registries.conf"),
            CONTAINERS_CONF=str(folder / "containers.conf"),
            # Health checks would use a timer of systemd, which may not run here.
            DISABLE_HC_SYSTEMD="true",
        )
        storage = ["--root", str(folder / "root"), "--runroot", str(folder / "run"), "--storage-driver", "vfs"]
        self._buildah = [require("buildah"), *storage]
        self._podman = [require("podman"), *storage, "--tmpdir", str(folder / "tmp"), "--runtime", require("runc")]

    def output(self, *arguments: str) -> str:
        return succeed([*self._podman, *arguments], self._env)

    def status(self, *arguments: str, seconds: float = CLIENT_SECONDS) -> int:
        return run([*self._podman, *arguments], self._env, seconds).returncode

    def build(self) -> None:
        """Build the unchanged Dockerfile as the documentation says, after importing its base image."""
        [base] = {rest.split()[0] for word, rest in DOCKERFILE if word == "FROM"}
        tar, scratch = self.folder / "base.tar", self.folder / "wheels"
        scratch.mkdir()
        base_image.make_base(tar, scratch)
        path = f"ENV PATH={base_image.PATH}"
        self.output("import", "--quiet", "--change", path, str(tar), f"docker.io/library/{base}")
        tar.unlink()
        # As docker does: the OCI format has no health check.
        build = ["bud", "--format", "docker", "--isolation", "chroot", "--pull-never", "--quiet"]
        build += ["--signature-policy", self._policy, "--file", str(DOCKER / "Dockerfile"), "--tag", IMAGE]
        done = run([*self._buildah, *build, str(REPOSITORY)], self._env, BUILD_SECONDS)
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self, name: str, *options: str) -> "Container":
        # podman's default limits are higher than allowed here; and docker passes no proxy on to containers.
        files = [] if any(option.startswith("--ulimit=nofile") for option in options) else [limit("nofile", 1024)]
        ours = ["--name", name, *files, limit("nproc", 4096), "--http-proxy=false"]
        self._started.append(Container(self, name, [*self._podman, "run", *ours, *options], self._env))
        return self._started[-1]

    def remove_all(self) -> None:
        """Remove all containers and volumes."""
        self.output("rm", "--all", "--force", "--time", "0", "--volumes")
        self.output("volume", "prune", "--force")
        while self._started:
            self._started.pop().wait()

    def written(self, name: str) -> set[str]:
        """The paths that differ from the image, outside of volumes and tmpfs."""
        changes: dict[str, list[str]] = json.loads(self.output("diff", "--format", "json", name))
        # Changed by the engine, which mounts hosts and resolv.conf there.
        return {path for paths in changes.values() for path in paths} - {"/etc"}


class Container:
    """A container in the foreground; its exit status is podman's."""

    def __init__(self, engine: Engine, name: str, command: list[str], env: Mapping[str, str]) -> None:
        self._engine, self.name, self.said, self._ended = engine, name, "", False
        self._heard = threading.Condition()
        self._process = subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                with self._heard:
                    self.said += line
                    self._heard.notify_all()
        with self._heard:
            self._ended = True
            self._heard.notify_all()

    def wait_for(self, words: str) -> None:
        """Wait until it has printed this."""
        with self._heard:
            self._heard.wait_for(lambda: words in self.said or self._ended, SAY_SECONDS)
            assert words in self.said, self.said

    def process(self) -> dict[str, str]:
        """/proc/PID/status of its first process."""
        pid = self._engine.output("inspect", "--format", "{{.State.Pid}}", self.name).strip()
        lines = Path("/proc", pid, "status").read_text(encoding="utf-8").splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}

    def status_of(self, command: list[str]) -> int:
        """Run a command inside; its exit status."""
        return self._engine.status("exec", self.name, *command)

    def stop(self) -> int:
        """Stop it with the image's signal and the container's grace period; its exit status."""
        assert self._engine.status("stop", self.name, seconds=STOP_SECONDS) == 0
        return self.wait()

    def wait(self) -> int:
        """Its exit status, once it has ended."""
        status = self._process.wait(STOP_SECONDS)
        self._reader.join(STOP_SECONDS)
        return status


@pytest.fixture(scope="module")
def built() -> Iterator[Engine]:
    """An engine that has built the image, in a network for this module."""
    with short_folder() as folder, own_network():
        engine = Engine(folder)
        engine.build()
        yield engine


@pytest.fixture
def engine(built: Engine) -> Iterator[Engine]:
    """The same; its containers and volumes are removed at the end."""
    yield built
    built.remove_all()


def as_composed(service: Mapping[str, Any], config: Path) -> list[str]:
    """The options of podman for what docker compose would ask for a service; `config` is its config.yml."""
    options = [] if "network_mode" in service else ["--network=host"]
    for key, value in service.items():
        match key:
            case "read_only":
                # podman would mount tmpfs where docker does not.
                options += [f"--read-only={json.dumps(value)}", "--read-only-tmpfs=false"]
            case "cap_drop":
                options += [f"--cap-drop={each}" for each in value]
            case "security_opt":
                options += [f"--security-opt={each}" for each in value]
            case "tmpfs":
                options += [f"--tmpfs={each}" for each in value]
            case "volumes":
                options += [f"--volume={each.replace('./config.yml', str(config))}" for each in value]
            case "environment":
                options += [f"--env={name}={given}" for name, given in value.items()]
            case "ulimits":
                options += [limit(name, wanted) for name, wanted in value.items()]
            case "stop_grace_period":
                options.append(f"--stop-timeout={value.removesuffix('s')}")
            case "network_mode":
                options.append(f"--network={value}")
            case "entrypoint":
                options.append(f"--entrypoint={json.dumps(value)}")
            case "healthcheck":
                assert value == {"disable": True}
                options.append("--no-healthcheck")
            case "command":
                pass
            case _:
                assert key in COMPOSES_OWN, f"what is {key} to an engine?"
    return [*options, IMAGE, *(word.replace("$$", "$") for word in service.get("command", []))]


def test_what_is_built_says_how_to_run_it(engine: Engine) -> None:
    """Runs first, so that the build has a whole test's time-out."""
    [image] = json.loads(engine.output("image", "inspect", IMAGE))
    config = image["Config"]
    assert (config["User"], config["StopSignal"]) == ("10001:10001", "SIGTERM")
    assert (config["Entrypoint"], config["Cmd"]) == (["registry-cache"], ["serve"])
    assert [*config["Volumes"], *config["ExposedPorts"]] == ["/var/lib/registry-cache", "5000/tcp"]
    assert image["Healthcheck"]["Test"] == ["CMD", *HEALTHY]


def test_the_composition(engine: Engine, upstream: FakeUpstream) -> None:
    """The cache and the cleanup of its volume; nginx has its own tests."""
    blob = upstream.add_blob(random_bytes(300 * KiB, seed=1))
    settings = yaml.safe_load((DOCKER / "config.yml").read_text(encoding="utf-8"))
    settings["proxy"] = {"remoteurl": upstream.url}
    settings["storage"]["min_free"] = 0  # this machine's disk may be nearly full
    config = engine.folder / "config.yml"
    config.write_text(yaml.safe_dump(settings), encoding="utf-8")

    cache = engine.start("cache", *as_composed(COMPOSE["services"]["cache"], config))
    cache.wait_for("Booting worker")
    puller = Puller("http://127.0.0.1:5000")
    assert puller.get("/v2/", {"X-Forwarded-For": "192.0.2.7"}).status == 200
    cache.wait_for("client=192.0.2.7")
    pulls = [puller.blob(blob) for _ in range(2)]
    assert [(digest_of(pull.body), pull.headers["X-Cache"]) for pull in pulls] == [(blob, "miss"), (blob, "hit")]
    assert upstream.gets(blob) == 1

    process = cache.process()
    assert {*process["Uid"].split(), *process["Gid"].split()} == {"10001"}
    assert {int(process[name], 16) for name in ("CapEff", "CapPrm", "CapBnd")} == {0}
    assert process["NoNewPrivs"] == "1"
    assert engine.status("healthcheck", "run", "cache") == 0
    assert cache.status_of(HEALTHY) == 0
    assert " 1 blob\n" in engine.output("exec", "cache", "registry-cache", "status")

    cleanup = engine.start("cleanup", *as_composed(COMPOSE["services"]["cleanup"], config))
    cleanup.wait_for("evicted 0 of 1 blob,")
    assert cleanup.process()["Uid"].split() == ["10001"] * 4
    assert cleanup.status_of(HEALTHY) == 1, "no server is in its network"
    assert cleanup.stop() == 0

    assert puller.blob(blob).headers["X-Cache"] == "hit"
    assert cache.stop() == 0
    for container in (cache, cleanup):
        assert "Traceback" not in container.said
        assert "Read-only file system" not in container.said
        assert engine.written(container.name) == set()


def test_the_image_alone_as_the_page_has_it(engine: Engine) -> None:
    """The image's own configuration, a writable root file system, and a proxy for everything outside."""
    page = (REPOSITORY / "docs" / "deploying.md").read_text(encoding="utf-8").replace("\\\n", " ")
    build, start, ask = re.findall(r"^docker ((?:build|run|exec) .+)$", page, re.MULTILINE)
    assert build == f"build -f deploy/docker/Dockerfile -t {IMAGE} ."
    # Run it in the foreground, in this network, and without restarts.
    for option in ("run", "--detach", "--name mirror", "--restart unless-stopped", "--publish 127.0.0.1:5000:5000"):
        assert f"{option} " in start
        start = start.replace(f"{option} ", "")

    mirror = engine.start("mirror", "--network=host", f"--env=HTTP_PROXY={NO_WAY_OUT}", *shlex.split(start))
    mirror.wait_for("Booting worker")
    assert Puller("http://127.0.0.1:5000").get("/v2/").status == 200
    assert engine.status("healthcheck", "run", "mirror") == 0
    assert "0 blobs" in engine.output(*shlex.split(ask))
    assert mirror.stop() == 0
    assert "Traceback" not in mirror.said
    assert engine.written("mirror") == set()
