"""For ``gunicorn -c gunicorn.conf.py wsgi:app`` from a checkout.

The settings, each with its reason, are in the package (``registry_cache.server.settings``): an installed wheel has no
checkout beside it, and ``registry-cache serve`` must be the same server.
"""

import runpy

# gunicorn reads the settings as this module's names, and runs it anew at each reload: an import would not.
globals().update(runpy.run_module("registry_cache.commands.gunicorn_settings"))
