"""What the documents on deploying type: it is a shell's, and its certificates and users are such that work.

Links, configurations and clients' files are test_documents'; the set-up is typed whole by tests/deployment/setup.
"""

import re
import ssl
from pathlib import Path

import pytest

from registry_cache.config import load_config
from tests.harness.checkout import DOCS
from tests.harness.components import require
from tests.harness.programs import succeed

PAGES = {
    name: (DOCS / name).read_text(encoding="utf-8")
    for name in ("auth.md", "deploying.md", "insecure.md", "nginx.md", "operations.md")
}


@pytest.mark.parametrize("page", PAGES)
def test_commands_are_a_shells(page: str) -> None:
    commands = re.findall(r"^```sh(?: \w+)?\n(.*?)^```$", PAGES[page], re.MULTILINE | re.DOTALL)

    assert commands
    for command in commands:
        succeed(["sh", "-n", "-c", command])


def test_the_self_signed_certificate_can_be_served(tmp_path: Path) -> None:
    require("openssl")
    type_block("insecure.md", "certificate", tmp_path)
    files = {"CERTIFICATE": "fullchain.pem", "KEY": "privkey.pem"}
    environ = {f"REGISTRY_HTTP_TLS_{key}": str(tmp_path / name) for key, name in files.items()}

    config = load_config({"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(tmp_path / "store"), **environ})

    assert config.http.tls is not None


def test_the_clients_certificate_is_one_of_the_authoritys(tmp_path: Path) -> None:
    require("openssl")
    type_block("auth.md", "certificates", tmp_path)
    asked = ["openssl", "verify", "-purpose", "sslclient", "-CAfile", "clients-ca.pem", "client.cert"]
    succeed(asked, cwd=tmp_path)
    shown = ssl.create_default_context(cafile=tmp_path / "clients-ca.pem")

    shown.load_cert_chain(tmp_path / "client.cert", tmp_path / "client.key")


def type_block(page: str, language: str, folder: Path) -> None:
    """Type the page's one block that is marked so."""
    [commands] = re.findall(rf"^```sh {language}\n(.*?)^```$", PAGES[page], re.MULTILINE | re.DOTALL)
    succeed(["sh", "-ec", commands], cwd=folder)
