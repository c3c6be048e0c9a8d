"""The Flask application."""

from __future__ import annotations

from flask import Flask

from registry_cache import log
from registry_cache.api import blobs, handlers, listings, manifests, metrics
from registry_cache.config import Config, load_config
from registry_cache.wiring import build


def create_app(config: Config) -> Flask:
    """Return the application for ``config``. Raises StoreError where the store cannot be opened."""
    log.setup(config.log.level, config.log.formatter)
    services = build(config)
    app = Flask("registry_cache", static_folder=None)
    # Names are taken as they are written: a redirect to a tidier URL would lose a client's digest check.
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = False
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    handlers.register(app, config.http.headers)
    app.register_blueprint(manifests.blueprint(services.upstreams, services.manifests))
    app.register_blueprint(blobs.blueprint(services.upstreams, services.blobs))
    app.register_blueprint(listings.blueprint(services.upstreams, services.listing))
    app.register_blueprint(metrics.blueprint(services.upstream_states))
    return app


def from_environment() -> Flask:
    """Return the application for the configuration that the environment names; what ``registry-cache serve`` runs."""
    return create_app(load_config())
