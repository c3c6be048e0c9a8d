"""PEM files that cannot be used: which of the two it is, and what to do."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.harness.components import require
from tests.harness.config_files import Loader
from tests.harness.tls import make_certificate

CERTIFICATE, KEY = "http.tls.certificate", "http.tls.key"


@pytest.fixture
def files(loader: Loader) -> dict[str, Path]:
    """A certificate and its key, the key under a pass phrase, the certificate as DER, and what is neither."""
    _, certificate = make_certificate(loader.folder)
    key, locked, der, empty = (loader.folder / name for name in ("key.pem", "locked.pem", "c.der", "empty"))
    openssl = require("openssl")
    for arguments in (
        ["pkey", "-in", str(key), "-aes128", "-passout", "pass:hunter2", "-out", str(locked)],
        ["x509", "-in", str(certificate), "-outform", "der", "-out", str(der)],
    ):
        subprocess.run([openssl, *arguments], check=True, capture_output=True)
    empty.touch()
    return {"certificate": certificate, "key": key, "locked": locked, "der": der, "empty": empty}


@pytest.mark.parametrize(
    ("certificate", "key", "reported"),
    [
        ("der", "key", {CERTIFICATE: "has no certificate in PEM"}),
        ("certificate", "empty", {KEY: "has no key in PEM"}),
        ("certificate", "locked", {KEY: "is locked by a pass phrase"}),
        ("key", "certificate", {CERTIFICATE: "has no certificate in PEM", KEY: "has no key in PEM"}),
    ],
)
def test_the_file_that_is_not_what_it_should_be_is_named(
    loader: Loader, files: dict[str, Path], certificate: str, key: str, reported: dict[str, str]
) -> None:
    named = {CERTIFICATE: files[certificate], KEY: files[key]}
    problems = loader.problems(f"http: {{tls: {{certificate: {named[CERTIFICATE]}, key: {named[KEY]}}}}}")

    assert problems.keys() == reported.keys()
    for path, words in reported.items():
        assert problems[path].what.startswith(f"{named[path]} {words}")


def test_a_key_of_another_certificate_is_told_of_both(loader: Loader, files: dict[str, Path]) -> None:
    other = loader.folder / "other"
    other.mkdir()
    make_certificate(other)
    problems = loader.problems(f"http: {{tls: {{certificate: {files['certificate']}, key: {other / 'key.pem'}}}}}")

    assert "mismatch; name PEM files that belong together" in str(problems[CERTIFICATE])
