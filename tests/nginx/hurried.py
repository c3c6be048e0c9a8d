"""The product's application for `gunicorn tests.nginx.hurried:app`, which lets clients go sixty times as soon."""

from registry_cache import connection
from tests.nginx.faster import FASTER

connection.SEND_SECONDS /= FASTER
connection.PROXY_SECONDS /= FASTER

from wsgi import app  # noqa: E402 — as in tests/server/patient.py

__all__ = ["app"]
