"""The Flask application."""

from __future__ import annotations

import atexit
import contextlib
import os

from flask import Flask

from registry_cache.api import auth, blobs, front_page, health, hooks, listings, manifests, metrics, peers
from registry_cache.api.application import Application
from registry_cache.config import Config
from registry_cache.runtime import log
from registry_cache.runtime import metrics as runtime_metrics
from registry_cache.runtime.trusted_proxies import Proxies
from registry_cache.server import active_config
from registry_cache.stats.recorder import Recorder
from registry_cache.ui import blueprint as ui
from registry_cache.wiring.services import Services, build


def create_app(config: Config) -> Flask:
    """Return the application for ``config``. Raises StoreError where the store cannot be opened."""
    log.setup(config.log.level, config.log.formatter)
    return _application(config, build(config))


def from_environment() -> Flask:
    """Return the application for the configuration in force; what gunicorn's workers run."""
    config = active_config.current()
    log.setup(config.log.level, config.log.formatter)
    services = build(config)
    services.daily_pass.begin()
    services.recorder.begin()
    # What was counted since the last write; a worker that is killed loses that.
    atexit.register(_end, services.recorder)
    if services.membership is not None:
        services.membership.begin()
    if services.sender is not None:
        services.sender.begin()
    return _application(config, services)


def _end(recorder: Recorder) -> None:
    # gunicorn's QUIT exits from a greenlet, which may have its turn only while this waits for its own to fold: the log
    # would have a traceback. What was counted is written before that wait, and another process folds it.
    with contextlib.suppress(SystemExit):
        recorder.end()


def _application(config: Config, services: Services) -> Flask:
    app = Application()
    hooks.register(app, config.http.headers, Proxies.of(os.environ))
    health.register(app, {ui.NAME: ui.POLICY})
    peers.register(app, services.peer_gate)
    if services.guard is not None:
        auth.register(app, services.guard)
    app.register_blueprint(manifests.blueprint(services.upstreams, services.manifests))
    app.register_blueprint(
        blobs.blueprint(services.upstreams, services.blobs, services.accel, redirects=config.redirects_to_bucket)
    )
    app.register_blueprint(listings.blueprint(services.upstreams, services.listing))
    debug = config.http.debug.metrics if config.http.debug else None
    app.register_blueprint(
        metrics.blueprint(services.upstream_states, services.store_state, debug, services.bucket_state)
    )
    app.register_blueprint(health.blueprint(services.readiness))
    app.register_blueprint(peers.blueprint(services.peer_gate, services.upstreams, services.peer_answers))
    app.register_blueprint(front_page.blueprint())
    if services.page is not None:
        app.register_blueprint(ui.blueprint(*services.page))
    runtime_metrics.set_serving()
    return app
