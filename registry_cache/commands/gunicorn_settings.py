"""The file that ``registry-cache serve`` names as gunicorn's configuration; gunicorn.conf.py runs it as well.

Here the server learns how to check that a store opens: it does not know the store itself.
"""

from registry_cache.config import Config
from registry_cache.server.dependency_check import DependencyChanged
from registry_cache.store.layout import Layout


def load() -> dict[str, object]:
    """Return gunicorn's settings and hooks by name, read and checked now. Raises SystemExit with a message."""
    try:
        from registry_cache.server import active_config, settings
    except DependencyChanged as error:
        raise SystemExit(str(error)) from error

    def check_store(config: Config) -> None:
        Layout.open(config.root)

    active_config.check_with(check_store)
    return settings.load()


# gunicorn takes this module's names for settings, and runs the file anew at each reload.
globals().update(load())
