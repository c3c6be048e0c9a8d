"""For ``gunicorn -c gunicorn.conf.py wsgi:app`` from a checkout.

The settings, each with its reason, are in the package: an installed wheel has no checkout beside it, and
``registry-cache serve`` must be the same server.
"""

from registry_cache.gunicorn_settings import *  # noqa: F403 (gunicorn reads the settings as this module's names)
