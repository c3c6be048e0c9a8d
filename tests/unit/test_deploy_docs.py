"""docs/deploying.md and docs/insecure.md: what is typed is a shell's, and the certificate is one that works.

Links, configurations and clients' files are test_documents'; the set-up is typed whole by tests/setup.
"""

import re
import subprocess
from pathlib import Path

import pytest

from registry_cache.config import load_config
from tests.harness.components import require

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {name: (DOCS / name).read_text(encoding="utf-8") for name in ("deploying.md", "insecure.md")}


@pytest.mark.parametrize("page", PAGES)
def test_commands_are_a_shells(page: str) -> None:
    commands = re.findall(r"^```sh(?: \w+)?\n(.*?)^```$", PAGES[page], re.MULTILINE | re.DOTALL)

    assert commands
    for command in commands:
        subprocess.run(["sh", "-n", "-c", command], check=True, timeout=10)


def test_the_self_signed_certificate_can_be_served(tmp_path: Path) -> None:
    require("openssl")
    [command] = re.findall(r"^```sh certificate\n(.*?)^```$", PAGES["insecure.md"], re.MULTILINE | re.DOTALL)
    subprocess.run(["sh", "-ec", command], cwd=tmp_path, check=True, capture_output=True, timeout=30)
    files = {"CERTIFICATE": "fullchain.pem", "KEY": "privkey.pem"}
    environ = {f"REGISTRY_HTTP_TLS_{key}": str(tmp_path / name) for key, name in files.items()}

    config = load_config({"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(tmp_path / "store"), **environ})

    assert config.http.tls is not None
