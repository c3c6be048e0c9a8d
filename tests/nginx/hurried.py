"""The product's application for `gunicorn tests.nginx.hurried:app`, which lets clients go sixty times as soon."""

from registry_cache import worker
from tests.nginx.faster import FASTER

worker.SEND_SECONDS /= FASTER
worker.PROXY_SECONDS /= FASTER

from wsgi import app  # noqa: E402 — as in tests/server/patient.py

__all__ = ["app"]
