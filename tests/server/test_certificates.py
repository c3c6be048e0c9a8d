"""When a renewed certificate is taken, and what happens with one that cannot be."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import pytest

from registry_cache.server.certificates import CHECK_SECONDS, Certificates


class Files:
    """Two files, a clock, and what loads them: a context, or the error of the moment."""

    def __init__(self, folder: Path) -> None:
        self.files = [folder / "certificate.pem", folder / "key.pem"]
        self.seconds, self.loaded = 0.0, 0
        self.error: Exception | None = None
        self.change()
        self.certificates = Certificates(self.files, self.load, lambda: self.seconds)

    def change(self) -> None:
        for file in self.files:
            file.with_suffix(".new").write_bytes(os.urandom(8))
            file.with_suffix(".new").replace(file)

    def load(self) -> ssl.SSLContext:
        if self.error is not None:
            raise self.error
        self.loaded += 1
        return ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    def context(self, after: float = CHECK_SECONDS) -> ssl.SSLContext:
        self.seconds += after
        return self.certificates.context()


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_files_that_did_not_change_are_not_loaded_again(files: Files) -> None:
    assert len({id(files.context()) for _ in range(5)}) == 1
    assert files.loaded == 1


def test_a_change_is_seen_at_the_next_look(files: Files) -> None:
    before = files.context()
    files.change()

    assert files.context(CHECK_SECONDS / 2) is before
    assert files.context(CHECK_SECONDS / 2) is not before
    assert files.loaded == 2


def test_what_cannot_be_used_leaves_what_was_and_is_told_once(files: Files, caplog: pytest.LogCaptureFixture) -> None:
    before = files.context()
    files.change()
    mismatch = ssl.SSLError(1, "[X509: KEY_VALUES_MISMATCH] key values mismatch")
    mismatch.reason = "KEY_VALUES_MISMATCH"
    for error in (mismatch, mismatch, PermissionError(13, "Permission denied"), ValueError("odd")):
        files.error = error
        assert files.context() is before
    files.files[0].unlink()
    assert files.context() is before

    told = [getattr(record, "fields", {})["reason"] for record in caplog.records]
    assert told == ["key values mismatch", "permission denied", "not usable", "no such file or directory"]
    files.error = None
    files.change()
    assert files.context() is not before
