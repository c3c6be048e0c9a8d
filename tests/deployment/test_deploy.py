"""What an operator copies from deploy/: right for the programs that read it, and for our command line."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from registry_cache import cli
from registry_cache.commands import cleanup, serve, verify
from registry_cache.config import banner, load_config
from tests.harness import programs
from tests.harness.checkout import COMPOSE, CONFIGS, CRON, CRON_FILE, DEPLOY, DOCKER, DOCKERFILE, REPOSITORY, UNITS
from tests.harness.components import require
from tests.harness.tls import make_certificate

# crontab(5), the format of /etc/cron.d: five fields, a user, a command.
_FIELD = r"(?:\*|[0-9]+(?:-[0-9]+)?)(?:/[0-9]+)?(?:,(?:\*|[0-9]+(?:-[0-9]+)?)(?:/[0-9]+)?)*"
CRON_LINE = re.compile(rf"((?:{_FIELD} ){{5}})([a-z_][a-z0-9_-]*) (\S.*)", re.ASCII)
CRON_VARIABLE = re.compile(r"[A-Z_]+=\S*", re.ASCII)
RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


def unit_text(name: str) -> str:
    return (DEPLOY / "systemd" / name).read_text(encoding="utf-8")


def arguments(command: str) -> list[str]:
    """Our own arguments in a shell's command line."""
    words = shlex.split(command.partition(">")[0])
    assert Path(words[0]).name == "registry-cache"
    return words[1:]


def cron_lines() -> list[re.Match[str]]:
    """The lines that run something; every other one must be a variable, a comment or empty."""
    found = []
    for line in CRON.splitlines():
        match = CRON_LINE.fullmatch(line)
        if match:
            found.append(match)
        else:
            assert not line or line.startswith("#") or CRON_VARIABLE.fullmatch(line), line
    return found


def test_the_cron_file() -> None:
    # cron.d passes over names with a dot, and over a last line without its end.
    assert "." not in CRON_FILE.name
    assert CRON.endswith("\n")
    for line in cron_lines():
        assert "%" not in line[3]  # cron would make a line's end of it
        for field, (least, most) in zip(line[1].split(), RANGES, strict=True):
            assert all(least <= int(number) <= most for number in re.findall(r"[0-9]+", field))
        assert line[2] != "root"


def test_cron_itself_takes_the_lines(tmp_path: Path) -> None:
    """As a user's table, which has no column for the user."""
    table = tmp_path / "table"
    variables = [line for line in CRON.splitlines() if CRON_VARIABLE.fullmatch(line)]
    for lines, status in ((cron_lines(), 0), ([*cron_lines(), None], 1)):
        rows = [f"{line[1]}{line[3]}" if line else "61 * * * * x" for line in lines]
        table.write_text("\n".join([*variables, *rows, ""]), encoding="utf-8")
        done = programs.run([require("crontab"), "-n", str(table)])
        assert done.returncode == status, done.stderr


@pytest.mark.parametrize("line", ["60 * * * registry-cache x", "* * * * * x", "17 * * * * Registry x", "@hourly a b"])
def test_what_is_no_cron_line(line: str) -> None:
    assert not CRON_LINE.fullmatch(line)


def test_the_commands_are_ours() -> None:
    for (_, _, _, command), (name, run) in zip(
        [(line[0], *line.groups()) for line in cron_lines()],
        (("cleanup", cleanup.run), ("verify", verify.run)),
        strict=True,
    ):
        [unit] = re.findall(r"^ExecStart=(.+)$", unit_text(f"registry-cache-{name}.service"), re.MULTILINE)
        assert arguments(command) == arguments(unit)
        assert cli.make_parser().parse_args(arguments(command)).run is run
    [server] = re.findall(r"^ExecStart=(.+)$", unit_text("registry-cache.service"), re.MULTILINE)
    assert cli.make_parser().parse_args(arguments(server)).run is serve.run
    check, hang_up = re.findall(r"^ExecReload=(.+)$", unit_text("registry-cache.service"), re.MULTILINE)
    assert cli.make_parser().parse_args(arguments(check)).check
    assert hang_up == "/bin/kill -HUP $MAINPID"


@pytest.fixture
def units(tmp_path: Path) -> list[str]:
    """The units as systemd-analyze takes them: it wants the program to be there and executable."""
    for unit in UNITS:
        text = re.sub(r"^(Exec\w+)=\S+", r"\1=/bin/true", unit.read_text(encoding="utf-8"), flags=re.MULTILINE)
        (tmp_path / unit.name).write_text(text, encoding="utf-8")
    return [str(tmp_path / unit.name) for unit in UNITS]


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    return programs.run([require("systemd-analyze"), *words])


def test_systemd_accepts_the_units(units: list[str]) -> None:
    done = analyze("verify", "--man=no", *units)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_services_are_exposed_to_little(units: list[str]) -> None:
    """systemd's own measure, from 0 to 10: below 3 is what it calls OK, and a service without any sandbox has 9.6."""
    for unit in units:
        if unit.endswith(".service"):
            done = analyze("security", "--offline=true", "--threshold=25", unit)
            assert done.returncode == 0, done.stdout


def test_the_units_belong_together() -> None:
    assert {unit.name for unit in UNITS} == {
        "registry-cache.service", "registry-cache.socket",
        "registry-cache-cleanup.service", "registry-cache-cleanup.timer",
        "registry-cache-verify.service", "registry-cache-verify.timer",
    }  # fmt: skip
    service, sweeper, verifier = (unit_text(f"registry-cache{name}.service") for name in ("", "-cleanup", "-verify"))
    for key in ("User", "Group", "StateDirectory", "UMask", "Environment"):
        for other in (sweeper, verifier):
            assert re.findall(rf"^{key}=.*$", service, re.MULTILINE) == re.findall(rf"^{key}=.*$", other, re.MULTILINE)
    # They differ in what they do, and not in what they may.
    assert sweeper.partition("StateDirectory")[2] == verifier.partition("StateDirectory")[2]


def test_a_stop_has_the_time_that_the_server_takes() -> None:
    """A reload under way and the stop itself take server.graceful_timeout each."""
    [seconds] = re.findall(r"^TimeoutStopSec=([0-9]+)$", unit_text("registry-cache.service"), re.MULTILINE)
    for file in CONFIGS:
        grace = load_config({"REGISTRY_CACHE_CONFIG": str(file)}, create=False).graceful_timeout.total_seconds()
        assert 2 * grace < int(seconds)
        assert 2 * grace < float(COMPOSE["services"]["cache"]["stop_grace_period"].removesuffix("s"))


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.parent.name)
def test_the_configurations_are_right(file: Path) -> None:
    config = load_config({"REGISTRY_CACHE_CONFIG": str(file)}, create=False)

    assert [*banner.warnings(config)] == []
    assert str(config.root) == "/var/lib/registry-cache"
    assert (config.http.host, config.http.port) == ("", 5000)


def test_what_the_example_has_as_comments_is_right_as_well(tmp_path: Path) -> None:
    """Each `# key: value` that could be uncommented is a key, once its line is."""
    text = re.sub(
        r"^( *)# ((?: *)[a-z_]+:(?: \S+)?)$", r"\1\2", CONFIGS[0].read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    key, certificate = tmp_path / "privkey.pem", tmp_path / "fullchain.pem"
    make_certificate(tmp_path)
    (tmp_path / "key.pem").rename(key)
    (tmp_path / "certificate.pem").rename(certificate)
    (tmp_path / "hub-token").write_text("secret", encoding="utf-8")
    text = text.replace("/etc/registry-cache/tls", str(tmp_path)).replace("/etc/registry-cache", str(tmp_path))
    (tmp_path / "config.yml").write_text(text, encoding="utf-8")

    config = load_config({"REGISTRY_CACHE_CONFIG": str(tmp_path / "config.yml")}, create=False)

    assert config.http.tls is not None
    assert config.default_upstream.username == "someone"


def test_the_image_is_made_from_what_there_is() -> None:
    """Every COPY of the build's context is a file, and one that .dockerignore lets in."""
    allowed = [line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    sources = []
    for word, rest in DOCKERFILE:
        if word == "COPY" and not rest.startswith("--from="):
            sources += rest.split()[:-1]

    assert sorted(sources) == sorted(allowed)
    assert all((REPOSITORY / source).exists() for source in sources)


def test_the_image_serves_as_nobody_in_particular() -> None:
    last = dict(DOCKERFILE)
    healthy = json.loads(last["HEALTHCHECK"].partition("CMD ")[2])

    assert [word for word, _ in DOCKERFILE].count("FROM") == 2
    assert re.fullmatch(r"[1-9][0-9]*:[1-9][0-9]*", last["USER"])
    assert last["STOPSIGNAL"] == "SIGTERM"
    assert last["VOLUME"] == "/var/lib/registry-cache"
    assert last["EXPOSE"] == "5000"
    assert compile(healthy[-1], "HEALTHCHECK", "exec")
    # Where it answers also with a certificate or a login.
    debug = load_config({"REGISTRY_CACHE_CONFIG": str(DOCKER / "config.yml")}, create=False).http.debug
    assert debug
    assert f"http://127.0.0.1:{debug.port}/healthz" in healthy[-1]
    [program], words = json.loads(last["ENTRYPOINT"]), json.loads(last["CMD"])
    assert cli.make_parser().parse_args(arguments(shlex.join([program, *words]))).run is serve.run


def test_the_composition_fits_together() -> None:
    services = COMPOSE["services"]
    for name in ("cache", "cleanup"):
        service = services[name]
        assert (DOCKER / service["build"]["context"]).resolve() == REPOSITORY
        assert (REPOSITORY / service["build"]["dockerfile"]).is_file()
        assert "store:/var/lib/registry-cache" in service["volumes"]
    for service in services.values():
        for source, target in (volume.split(":")[:2] for volume in service["volumes"]):
            known = source in COMPOSE["volumes"] or source == "./tls" or (DOCKER / source).is_file()
            assert known, source
            assert target.startswith("/")
    [command] = services["cleanup"]["command"]
    programs.succeed(["sh", "-n", "-c", command.replace("$$", "$")])
    [cleaning] = re.findall(r"registry-cache [^;]+", command)
    assert cli.make_parser().parse_args(arguments(cleaning)).run is cleanup.run


def test_nginx_in_the_composition_reaches_the_cache() -> None:
    nginx = (DOCKER / "nginx.conf").read_text(encoding="utf-8")
    mounts = dict(volume.split(":")[:2] for volume in COMPOSE["services"]["nginx"]["volumes"])

    assert "set $cache http://cache:5000;" in nginx
    assert COMPOSE["services"]["cache"]["expose"][0] == "5000"
    assert "listen 443 ssl;" in nginx
    assert COMPOSE["services"]["nginx"]["ports"] == ["443:443"]
    for file in re.findall(r"ssl_certificate(?:_key)? (\S+);", nginx):
        assert str(Path(file).parent) == mounts["./tls"]
