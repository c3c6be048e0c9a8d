"""The product's application for `gunicorn tests.server.crowded:app`: few connections may send no head."""

from registry_cache.server import half_sent

MOST = 4

half_sent.MAX_PER_ADDRESS = MOST
half_sent.PATIENT_SECONDS = 0.5
half_sent.LOOK_SECONDS = 0.1

from wsgi import app  # noqa: E402 — as in patient.py

__all__ = ["app"]
