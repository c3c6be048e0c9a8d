"""Contexts of our own take private authorities by the rules of Python 3.11, whatever Python this is."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from registry_cache.runtime.tls import tls_context
from tests.harness.tls import make_certificate


@pytest.mark.parametrize("purpose", [ssl.Purpose.SERVER_AUTH, ssl.Purpose.CLIENT_AUTH])
def test_the_strict_rules_of_a_newer_python_are_left_out_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, purpose: ssl.Purpose
) -> None:
    create = ssl.create_default_context

    def as_of_python_3_13(purpose: ssl.Purpose, cafile: str | None) -> ssl.SSLContext:
        context = create(purpose, cafile=cafile)
        context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
        return context

    monkeypatch.setattr(ssl, "create_default_context", as_of_python_3_13)
    _, ca = make_certificate(tmp_path)
    context = tls_context(purpose, str(ca))
    assert not context.verify_flags & ssl.VERIFY_X509_STRICT
    assert context.verify_flags & ssl.VERIFY_X509_PARTIAL_CHAIN
    assert context.check_hostname is (purpose is ssl.Purpose.SERVER_AUTH)
    assert context.verify_mode == (ssl.CERT_REQUIRED if purpose is ssl.Purpose.SERVER_AUTH else ssl.CERT_NONE)
    assert [each["subject"] for each in context.get_ca_certs()]
