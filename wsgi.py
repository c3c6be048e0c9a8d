"""The WSGI application, for ``gunicorn -c gunicorn.conf.py wsgi:app``."""

from registry_cache.app import from_environment

app = from_environment()
