"""The product for `gunicorn tests.deployment.nginx.hurried:app`, which lets clients go sixty times as soon."""

from registry_cache.server import sockets
from tests.harness.nginx_rig import FASTER

sockets.SEND_SECONDS /= FASTER
sockets.PROXY_SECONDS /= FASTER

from wsgi import app  # noqa: E402 — as in tests/harness/patient.py

__all__ = ["app"]
