"""What `/readyz` and `/debug/health` say."""

from __future__ import annotations

import pytest
from flask import Flask

from registry_cache.api import health, hooks
from registry_cache.api.health import Readiness
from registry_cache.runtime.connection import ENVIRON_KEY, Connection
from registry_cache.runtime.trusted_proxies import Proxies

BY_DEBUG_ADDRESS = {ENVIRON_KEY: Connection(by_debug_address=True)}


@pytest.mark.parametrize(
    ("found", "status", "document", "failing"),
    [
        (Readiness(True, "ok"), 200, {"status": "ok", "store": "ok"}, []),
        (Readiness(True, "full"), 200, {"status": "ok", "store": "full"}, []),
        (Readiness(False, "failing"), 503, {"status": "unready", "store": "failing"}, ["storagedriver_filesystem"]),
    ],
)
def test_readiness_is_a_status_and_a_word(
    found: Readiness, status: int, document: dict[str, str], failing: list[str]
) -> None:
    app = Flask("test")
    hooks.register(app, {}, Proxies())
    health.register(app, {})
    app.register_blueprint(health.blueprint(lambda: found))
    client = app.test_client()
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json, answer.headers["Cache-Control"]) == (status, document, "no-store")

    assert client.get("/debug/health").status_code == 404
    answer = client.get("/debug/health", environ_overrides=BY_DEBUG_ADDRESS)
    assert (answer.status_code, list(answer.get_json()), answer.headers["Cache-Control"]) == (
        status,
        failing,
        "no-store",
    )
