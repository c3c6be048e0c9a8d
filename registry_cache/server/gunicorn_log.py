"""gunicorn's own log lines, in the form that ours have: gunicorn's setting ``logger_class`` names this class."""

from __future__ import annotations

from typing import Any

from gunicorn.glogging import Logger

from registry_cache.runtime import log
from registry_cache.server import active_config


class GunicornLog(Logger):
    """gunicorn's, whose lines go where ours go unless its own settings send them elsewhere."""

    def setup(self, cfg: Any) -> None:
        """Called by gunicorn at the start and at each reload."""
        super().setup(cfg)
        if cfg.errorlog == "-" and not (cfg.logconfig or cfg.logconfig_dict or cfg.logconfig_json):
            self.error_log.handlers[:] = [log.make_handler(active_config.current().log.formatter)]
