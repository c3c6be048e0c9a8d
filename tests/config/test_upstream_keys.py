"""Keys of an upstream's connections reach what they are for."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry_cache.config import load_config
from registry_cache.upstream.session import Session
from registry_cache.wiring.upstreams import session


@pytest.mark.parametrize(
    ("keys", "idle", "is_strict"),
    [("", 60.0, False), ("  idle_timeout: 5s\n  strict_tls: true\n  http_redirects: true\n", 5.0, True)],
)
def test_what_is_written_is_what_is_used(tmp_path: Path, keys: str, idle: float, is_strict: bool) -> None:
    file = tmp_path / "config.yml"
    file.write_text(f"storage: {{filesystem: {{rootdirectory: {tmp_path}}}}}\nproxy:\n  remoteurl: http://a\n{keys}")
    config = load_config({"REGISTRY_CACHE_CONFIG": str(file)}).default_upstream
    made: Session = session(config)
    assert (made._timeouts.idle, made._tls.is_strict) == (idle, is_strict)
    assert config.http_redirects is is_strict
