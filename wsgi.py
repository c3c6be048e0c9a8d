"""The WSGI application, for ``gunicorn -c gunicorn.conf.py wsgi:app``."""

from registry_cache.app import create_app
from registry_cache.config import load_config

app = create_app(load_config())
