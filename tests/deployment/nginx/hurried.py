"""The product for `gunicorn tests.deployment.nginx.hurried:app`, which lets clients go sixty times as soon."""

from registry_cache.server import send_timeout
from tests.harness.nginx_rig import FASTER

send_timeout.SEND_TIMEOUT_SECONDS /= FASTER
send_timeout.PROXY_SEND_TIMEOUT_SECONDS /= FASTER

from wsgi import app  # noqa: E402 — as in tests/harness/patient.py

__all__ = ["app"]
