"""What the documents have an operator type, from the pages themselves, on a machine whose files stay as they are."""

import re
import subprocess
import sys
import sysconfig
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest

from registry_cache import __version__
from tests.harness.checkout import DOCS, REPOSITORY
from tests.harness.components import require
from tests.harness.programs import run

HERE = Path(__file__).parent
SECONDS = 160
PASSWORD = "correct horse"
NAME = "mirror.example.com"
MANUAL = ".TH registry-cache 1"


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks that a page marks so."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


STEPS = blocks("deploying.md", "sh setup")
[UPGRADE], [HOOK], CERTIFICATE = (blocks("deploying.md", f"sh {word}") for word in ("upgrade", "renewed", "certbot"))
[USERS] = blocks("auth.md", "sh users")
[EXTRAS] = blocks("deploying.md", "sh extras")
[STATUS] = blocks("operations.md", "sh status")
GROUP, NGINX = blocks("nginx.md", "sh setup")
[BEHIND, *_] = blocks("nginx.md", "yaml")
# The tests' own, told in the same shell: what is asked of the machine, and what an operator's editor would do.
QUESTIONS = """
stat --format 'store %U %G %a' /var/lib/registry-cache
stat --format 'config %U %G %a' /etc/registry-cache/config.yml
stat --format 'blobs %U %a' /var/lib/registry-cache/blobs
cat /etc/docker/daemon.json
"""
# As Debian installs the machine.
BARE = """
rm -rf /etc/bash_completion.d /usr/local/share/man/man1
"""
COMPLETED = """
bash -c '. /etc/bash_completion.d/registry-cache; complete -p registry-cache'
cat /usr/local/share/man/man1/registry-cache.1
"""
NEWER = """
cp "$SCRATCH"/newer/*.whl dist/
"""
REPLACED = """
ls /opt/registry-cache/lib/python3*/site-packages/registry_cache/newer.py
install -m 0755 "$SCRATCH/renewed" /etc/registry-cache/renewed
"""
# Nobody is refused, however often someone asks meanwhile.
RESTARTED = """
systemctl restart registry-cache &
for _ in $(seq 30); do curl --silent --show-error --fail http://127.0.0.1:5000/v2/ >/dev/null; done
wait $!
echo restarted
"""
# A configuration that cannot be fails the reload, and the mirror serves on; one that can be is taken over.
RELOADED = """
cp -p /etc/registry-cache/config.yml "$SCRATCH/good.yml"
echo 'sotrage: {}' >>/etc/registry-cache/config.yml
systemctl reload registry-cache || echo "not reloaded: $?"
curl --silent --show-error --fail http://127.0.0.1:5000/v2/ >/dev/null
cp -p "$SCRATCH/good.yml" /etc/registry-cache/config.yml
systemctl reload registry-cache
echo reloaded
"""
CERTIFIED = """
curl --silent --show-error --fail --retry 10 --retry-connrefused --write-out ' by 443\\n' http://127.0.0.1:443/v2/
stat --format 'certificate %U %G %a' /etc/registry-cache/tls/*.pem
"""
# Here they are not beside the program. Not for pip, which would find the package itself there.
DEPENDENCIES = """
export PYTHONPATH=/opt/dependencies
"""
LET_IN = f"""
runuser -u registry-cache -- cat /etc/registry-cache/htpasswd
htpasswd -vb /etc/registry-cache/htpasswd alice '{PASSWORD}'
"""
RECONFIGURED = """
install -m 0640 -g registry-cache "$SCRATCH/behind.yml" /etc/registry-cache/config.yml
"""
# A blob that nobody has to pull: what nginx must be allowed to read.
PULLED = f"""
cd /var/lib/registry-cache/repositories
digest=$(printf hello | sha256sum | cut -d ' ' -f 1)
runuser -u registry-cache -- sh -euc "umask 027
    mkdir -p docker.io/library/app/_blobs/sha256
    printf hello >docker.io/library/app/_blobs/sha256/$digest"
ask() {{
    curl --silent --show-error --fail --retry 10 --retry-connrefused --include \
        --cacert /etc/letsencrypt/live/{NAME}/fullchain.pem --resolve {NAME}:443:127.0.0.1 "https://{NAME}/v2/$1"
}}
ask ""
ask "library/app/blobs/sha256:$digest"
"""


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """A checkout after `make dist`, and stand-ins for what needs Debian's archive or systemd."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "checkout" / "dist").mkdir(parents=True)
    (tmp_path / "checkout" / "deploy").symlink_to(REPOSITORY / "deploy")
    wheel(tmp_path / "checkout" / "dist")
    constraints = subprocess.check_output([sys.executable, REPOSITORY / "tools" / "constraints.py", "registry-cache"])
    (tmp_path / "checkout" / "dist" / "constraints.txt").write_bytes(constraints)
    wheel(tmp_path / "newer", newer=True)
    (tmp_path / "renewed").write_text(HOOK, encoding="utf-8")
    (tmp_path / "behind.yml").write_text(BEHIND, encoding="utf-8")
    program(tmp_path / "bin" / "certbot", (HERE / "certbot.py").read_text(encoding="utf-8"))
    program(tmp_path / "bin" / "systemctl", (HERE / "systemctl.py").read_text(encoding="utf-8"))
    program(tmp_path / "bin" / "journalctl", f'#!/bin/sh\ncat "{tmp_path}/journal"\n')
    # Whether it is in Debian is apt-cache's knowledge; that what is installed suffices is what the rest of it shows.
    program(tmp_path / "bin" / "apt-get", '#!/bin/sh\ncase "$1" in update | install) ;; *) exit 1 ;; esac\n')
    return tmp_path


def program(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


def wheel(folder: Path, *, newer: bool = False) -> None:
    """The package as `make dist` makes it, without asking an index for what builds one."""
    folder.mkdir(exist_ok=True)
    name = f"registry_cache-{__version__}"
    known = distribution("registry-cache")
    with zipfile.ZipFile(folder / f"{name}-py3-none-any.whl", "w") as archive:
        for file in sorted((REPOSITORY / "registry_cache").rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                archive.write(file, file.relative_to(REPOSITORY))
        archive.writestr(f"{name}.data/data/share/man/man1/registry-cache.1", f"{MANUAL}\n")
        if newer:
            archive.writestr("registry_cache/newer.py", "")
        archive.writestr(f"{name}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        metadata = f"Metadata-Version: 2.1\nName: registry-cache\nVersion: {__version__}\n"
        archive.writestr(f"{name}.dist-info/METADATA", metadata)
        scripts = "".join(f"{each.name} = {each.value}\n" for each in known.entry_points)
        archive.writestr(f"{name}.dist-info/entry_points.txt", f"[console_scripts]\n{scripts}")
        archive.writestr(f"{name}.dist-info/RECORD", "")


@pytest.mark.needs_root
def test_the_page_sets_a_machine_up(scratch: Path) -> None:
    typed = "".join(STEPS) + QUESTIONS + NEWER + UPGRADE + REPLACED + RESTARTED + DEPENDENCIES + RELOADED
    typed += BARE + EXTRAS + COMPLETED
    typed += "".join(CERTIFICATE) + CERTIFIED + USERS + LET_IN + DEPENDENCIES + STATUS

    done = type_all(scratch, typed)

    said = done.splitlines()
    assert {"store registry-cache registry-cache 750", "config root registry-cache 640"} <= {*said}
    assert "blobs registry-cache 750" in said
    assert '{"registry-mirrors": ["http://127.0.0.1:5000"]}' in said
    assert "{}" in done
    assert re.search(r"^complete .* registry-cache$", done, re.MULTILINE)
    assert MANUAL in said
    assert "info listening on http://0.0.0.0:5000" in done
    assert said.count("certificate root registry-cache 640") == 2
    assert "0 repositories, 0 tags, 0 manifests, 0 blobs" in done
    assert re.search(r"^alice:\$2y\$10\$", done, re.MULTILINE)
    assert "running as root" not in done
    assert {"restarted", "not reloaded: 2", "reloaded"} <= {*said}
    assert "{} by 443" in done
    assert "warning http.addr (:5000) has no effect" in journal(scratch)


@pytest.mark.needs_root
def test_the_page_puts_nginx_in_front(scratch: Path) -> None:
    require("nginx")

    done = type_all(scratch, "".join(STEPS) + DEPENDENCIES + RECONFIGURED + GROUP + NGINX + PULLED)

    assert "\n{}" in done
    assert done.lower().count("server: nginx\n") == 2
    assert "x-cache: hit" in done.lower()
    assert done.endswith("\n\nhello")


def type_all(scratch: Path, commands: str) -> str:
    """Type them; what they said on standard output."""
    for needed in ("unshare", "setpriv", "adduser", "curl", "ip", "openssl", "runuser", "htpasswd"):
        require(needed)
    script = scratch / "script"
    script.write_text(commands, encoding="utf-8")
    namespaces = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"]
    inside = [sys.executable, str(HERE / "inside.py"), str(scratch), sysconfig.get_path("purelib"), str(script)]

    # Without a terminal htpasswd asks standard input.
    done = run([*namespaces, *inside], seconds=SECONDS, input=f"{PASSWORD}\n" * 2, start_new_session=True)

    assert done.returncode == 0, done.stdout + done.stderr + journal(scratch)
    assert "Traceback" not in journal(scratch)
    return done.stdout


def journal(scratch: Path) -> str:
    path = scratch / "journal"
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def test_the_page_has_steps() -> None:
    assert len(STEPS) == 6
