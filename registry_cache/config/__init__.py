"""The configuration: one YAML file in CNCF Distribution's format, overridden by the environment.

Knows the format, the defaults and what is wrong with a value. Does not know what a value is used for: only ``server``
and the composition roots read a Config, inner code takes ``max_age: timedelta``.
"""

from registry_cache.config.load import load_config
from registry_cache.config.model import Config, LogConfig, TlsConfig, UpstreamConfig
from registry_cache.config.problems import ConfigError, Problem
from registry_cache.config.secret import Secret

__all__ = [
    "Config",
    "ConfigError",
    "LogConfig",
    "Problem",
    "Secret",
    "TlsConfig",
    "UpstreamConfig",
    "load_config",
]
