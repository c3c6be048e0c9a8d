"""The product's application for `gunicorn tests.server.hasty:app`, impatient with requests that are half sent."""

from registry_cache.server import worker

SECONDS = 0.5

worker.HEAD_TIMEOUT_SECONDS = SECONDS

from wsgi import app  # noqa: E402 — as in patient.py

__all__ = ["app"]
