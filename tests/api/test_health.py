"""What `/readyz` says."""

from __future__ import annotations

import pytest
from flask import Flask

from registry_cache.api import health, hooks
from registry_cache.api.health import Readiness
from registry_cache.runtime.trusted_proxies import Proxies


@pytest.mark.parametrize(
    ("found", "status", "document"),
    [
        (Readiness(True, "ok"), 200, {"status": "ok", "store": "ok"}),
        (Readiness(True, "full"), 200, {"status": "ok", "store": "full"}),
        (Readiness(False, "failing"), 503, {"status": "unready", "store": "failing"}),
    ],
)
def test_readiness_is_a_status_and_a_word(found: Readiness, status: int, document: dict[str, str]) -> None:
    app = Flask("test")
    hooks.register(app, {}, Proxies())
    health.register(app)
    app.register_blueprint(health.blueprint(lambda: found))
    answer = app.test_client().get("/readyz")
    assert (answer.status_code, answer.json, answer.headers["Cache-Control"]) == (status, document, "no-store")
