"""A certificate of the server's own that clients refuse for its dates, or soon will, is told at the start."""

from __future__ import annotations

import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_cache.config.certificate_dates import validity_of
from registry_cache.config.start_warnings import start_warnings
from tests.harness.components import require
from tests.harness.config_files import Loader


def certificate(folder: Path, days: int) -> Path:
    """Make a certificate that is valid from now on, and its key."""
    name, key = folder / "own.pem", folder / "own.key"
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=mirror.example.com"]
    command = [require("openssl"), "req", "-x509", *new, "-days", str(days), "-keyout", str(key), "-out", str(name)]
    subprocess.run(command, check=True, capture_output=True)
    return name


@pytest.mark.parametrize("days", [90, 20_000])
def test_the_dates_are_those_that_openssl_tells(tmp_path: Path, days: int) -> None:
    """From the year 2050 on they are written in another form."""
    file = certificate(tmp_path, days)
    command = [require("openssl"), "x509", "-noout", "-startdate", "-enddate", "-in", str(file)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    wanted = [datetime.strptime(line.partition("=")[2], "%b %d %H:%M:%S %Y %Z").replace(tzinfo=UTC) for line in told]
    found = validity_of(f"# of mirror.example.com\n{file.read_text()}{file.read_text()}")
    assert [found.begins, found.ends] == wanted


@pytest.mark.parametrize(
    ("passed", "words"),
    [
        (timedelta(days=-1), "and clients refuse it until then: is the clock right?"),
        (timedelta(days=1), ""),
        (timedelta(days=74), ""),
        (timedelta(days=76), "and clients refuse it then: see why nothing has renewed it yet"),
        (timedelta(days=91), "and clients refuse it: renew it; the new one is used at once"),
    ],
)
def test_what_clients_refuse_is_told(loader: Loader, passed: timedelta, words: str) -> None:
    file = certificate(loader.folder, 90)
    config = loader.load(f"http: {{tls: {{certificate: {file}, key: {file.with_suffix('.key')}}}}}")
    begins = validity_of(file.read_text()).begins
    told = list(start_warnings(config, {}, begins + passed, needs_helpers=False))
    assert len(told) == bool(words)
    if words:
        assert told[0].startswith(f"http.tls.certificate: {file} ")
        assert told[0].endswith(words)


@given(st.text() | st.binary().map(ssl.DER_cert_to_PEM_cert))
def test_any_other_text_is_no_certificate(text: str) -> None:
    with pytest.raises(ValueError, match="this is no certificate in PEM"):
        validity_of(text)
