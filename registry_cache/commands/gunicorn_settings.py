"""The file that ``registry-cache serve`` names as gunicorn's configuration; gunicorn.conf.py runs it as well.

Here the server learns how to check that a store opens: it does not know the store itself.
"""

from registry_cache.commands.rules import rules_of
from registry_cache.config import Config
from registry_cache.errors import StoreError
from registry_cache.runtime.dependency_check import DependencyChanged
from registry_cache.runtime.log import Log, is_set_up, setup
from registry_cache.runtime.request_context import VIA  # noqa: F401 — chosen before workers are forked, so that all say the same
from registry_cache.store import server_rules
from registry_cache.store.layout import Layout

# gunicorn runs this file by its path, and so under another name than the package's.
_log = Log("registry_cache.commands.gunicorn_settings")


def load() -> dict[str, object]:
    """Return gunicorn's settings and hooks by name, read and checked now. Raises SystemExit with a message."""
    try:
        from registry_cache.server import active_config, settings
    except DependencyChanged as error:
        raise SystemExit(str(error)) from error

    def check_store(config: Config) -> None:
        if not is_set_up():
            # What the disk says is an event, before gunicorn's own first line.
            setup(config.log.level, config.log.formatter)
        Layout.open(config.root)

    def note_rules(config: Config) -> None:
        try:
            server_rules.remember(Layout(config.root), rules_of(config))
        except StoreError as error:
            _log.warning("could not note the rules that commands must keep to", error=error)

    active_config.check_with(check_store)
    active_config.note_with(note_rules)
    return settings.load()


# gunicorn takes this module's names for settings, and runs the file again at each reload.
globals().update(load())
