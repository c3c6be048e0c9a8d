"""The set-up of docs/deploying.md, typed from the page itself, as root of a machine whose files stay as they are."""

import json
import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest

from registry_cache import __version__
from tests.harness.components import require

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs" / "deploying.md").read_text(encoding="utf-8")
STEPS = re.findall(r"^```sh setup\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
HERE = Path(__file__).parent
SECONDS = 160
# The test's own: what came of it, told in the same shell.
QUESTIONS = """
stat --format 'store %U %G %a' /var/lib/registry-cache
stat --format 'config %U %G %a' /etc/registry-cache/config.yml
stat --format 'blobs %U %a' /var/lib/registry-cache/blobs
cat /etc/docker/daemon.json
"""


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """A checkout after `make dist`, and stand-ins for what needs Debian's archive or systemd."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "checkout" / "dist").mkdir(parents=True)
    (tmp_path / "checkout" / "deploy").symlink_to(REPOSITORY / "deploy")
    wheel(tmp_path / "checkout" / "dist")
    program(tmp_path / "bin" / "systemctl", (HERE / "systemctl.py").read_text(encoding="utf-8"))
    program(tmp_path / "bin" / "journalctl", f'#!/bin/sh\ncat "{tmp_path}/journal"\n')
    # Whether it is in Debian is apt-cache's knowledge; that what is installed suffices is what the rest of it shows.
    program(tmp_path / "bin" / "apt-get", '#!/bin/sh\ncase "$1" in update | install) ;; *) exit 1 ;; esac\n')
    return tmp_path


def program(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


def wheel(folder: Path) -> None:
    """The package as `make dist` makes it, without asking an index for what builds one."""
    name = f"registry_cache-{__version__}"
    known = distribution("registry-cache")
    with zipfile.ZipFile(folder / f"{name}-py3-none-any.whl", "w") as archive:
        for file in sorted((REPOSITORY / "registry_cache").rglob("*.py")):
            archive.write(file, file.relative_to(REPOSITORY))
        archive.writestr(f"{name}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        metadata = f"Metadata-Version: 2.1\nName: registry-cache\nVersion: {__version__}\n"
        archive.writestr(f"{name}.dist-info/METADATA", metadata)
        scripts = "".join(f"{each.name} = {each.value}\n" for each in known.entry_points)
        archive.writestr(f"{name}.dist-info/entry_points.txt", f"[console_scripts]\n{scripts}")
        archive.writestr(f"{name}.dist-info/RECORD", "")


@pytest.mark.skipif(os.geteuid() != 0 and not os.environ.get("CI"), reason="it takes root to set a machine up")
def test_the_page_sets_a_machine_up(scratch: Path) -> None:
    for needed in ("unshare", "setpriv", "adduser", "curl", "ip"):
        require(needed)
    script = scratch / "script"
    script.write_text("".join(STEPS) + QUESTIONS, encoding="utf-8")
    namespaces = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"]
    inside = [sys.executable, str(HERE / "inside.py"), str(scratch), sysconfig.get_path("purelib"), str(script)]

    done = subprocess.run([*namespaces, *inside], capture_output=True, text=True, timeout=SECONDS, check=False)

    assert done.returncode == 0, done.stdout + done.stderr + journal(scratch)
    said = done.stdout.splitlines()
    assert {"store registry-cache registry-cache 750", "config root registry-cache 640"} <= {*said}
    assert "blobs registry-cache 750" in said
    assert "{}" in done.stdout
    assert json.loads(said[-1]) == {"registry-mirrors": ["http://127.0.0.1:5000"]}
    assert "info listening on http://0.0.0.0:5000" in done.stdout
    assert "running as root" not in done.stdout
    assert "Traceback" not in journal(scratch)


def journal(scratch: Path) -> str:
    path = scratch / "journal"
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def test_the_page_has_steps() -> None:
    assert len(STEPS) == 6
