"""A self-signed certificate for 127.0.0.1 and localhost."""

import ssl
import subprocess
from pathlib import Path

from tests.harness.components import require

SUBJECT = "/CN=a certificate for tests"
EXTENSION = "subjectAltName=IP:127.0.0.1,IP:127.0.0.2,DNS:localhost"


def make_certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """The context for `FakeUpstream(tls=…)`, and the PEM file with which a client can trust it."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = [
        require("openssl"),
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ]
    command += ["-days", "2", "-subj", SUBJECT, "-addext", EXTENSION, "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context, certificate
