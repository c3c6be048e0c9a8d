"""gunicorn's settings, from the configuration. Loaded by ``gunicorn -c`` in the master, before any worker is forked.

Each public name here is a setting of gunicorn's; what the settings are made from has a leading underscore, because
``gunicorn.conf.py`` imports everything else and ``config`` is a setting's name, too. On a configuration that cannot
be, the report goes to standard error and the exit status is 2.
"""

import os as _os
import signal as _signal
import ssl as _ssl
import sys as _sys
from math import ceil as _ceil
from typing import Any as _Any

from registry_cache import log as _log
from registry_cache.config import Config as _Config
from registry_cache.config import ConfigError as _ConfigError
from registry_cache.config import TlsConfig as _TlsConfig
from registry_cache.config import banner as _banner
from registry_cache.config import load_config as _load_config

_LOG = _log.Log(__name__)
_MINIMUM = {"tls1.2": _ssl.TLSVersion.TLSv1_2, "tls1.3": _ssl.TLSVersion.TLSv1_3}
_CLIENT_AUTH = {"none": _ssl.CERT_NONE, "optional": _ssl.CERT_OPTIONAL, "required": _ssl.CERT_REQUIRED}
# Beyond the readers that streams are limited to: the ones who get a 503, pings, manifests, idle connections.
_SPARE_CONNECTIONS = 1000


def _config_or_stop() -> _Config:
    try:
        return _load_config()
    except _ConfigError as error:
        print(error, file=_sys.stderr)
        # gunicorn lets SystemExit pass where it prints any other exception with a traceback, and exits with 1.
        raise SystemExit(2) from error


def _bind(loaded: _Config) -> str:
    if loaded.http.socket is not None:
        return f"unix:{loaded.http.socket}"
    host = loaded.http.host or "0.0.0.0"  # noqa: S104 (the operator wrote `:5000`, which means all interfaces)
    return f"[{host}]:{loaded.http.port}" if ":" in host else f"{host}:{loaded.http.port}"


_config = _config_or_stop()
_tls: _TlsConfig | None = _config.http.tls

# A socket handed over (`--bind fd://N`, systemd's LISTEN_FDS) goes before this.
bind = _bind(_config)
# Processes; each follows growing blobs on its own core.
workers = _config.workers
# Thousands of slow readers a process: a thread each would not fit.
worker_class = "registry_cache.worker.Worker"
# More than the readers, so that the reader who is one too many is told so and not left in the backlog.
worker_connections = _config.readers + _SPARE_CONNECTIONS
# Longer than nginx keeps an idle connection (60 s): who closes first must be the one who knows of no request under way.
keepalive = 65
# A worker whose loop has not turned for this long hangs in a system call: a full disk, a dead network mount.
timeout = 60
# How long streams may go on after a stop; gunicorn counts whole seconds, and 0 would cut them all.
graceful_timeout = max(1, _ceil(_config.graceful_timeout.total_seconds()))
# A name (255), a digest (135), `ns` and `last`, with room; what is longer is no pull.
limit_request_line = 4094
# A client sends ten; a proxy adds a few.
limit_request_fields = 64
# A bearer token that someone sends along may be long.
limit_request_field_size = 8190
# Whose X-Forwarded-Proto is believed: a proxy on this machine, unless gunicorn's own variable names others.
forwarded_allow_ips = _os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1,::1")
# The application writes one structured line a request; gunicorn's would be a second.
accesslog = None
# gunicorn's own lines are as many as the operator asked for.
loglevel = {"warn": "warning"}.get(_config.log.level, _config.log.level)
# What `ps` shows, where setproctitle is installed.
proc_name = "registry-cache"
# Applies to a unix socket only: its group, such as nginx's, may connect, others may not.
umask = 0o117
# A heartbeat on a busy or failing disk would get a healthy worker killed.
worker_tmp_dir = "/dev/shm" if _os.access("/dev/shm", _os.W_OK) else None  # noqa: S108 (a memory file system)
# Otherwise gunicorn listens on a second socket in the user's home, for commands nobody sends.
control_socket_disable = True

if _tls is not None:
    certfile = str(_tls.certificate)
    keyfile = str(_tls.key)
    cert_reqs = int(_CLIENT_AUTH[_tls.client_auth])
    # Of TLS 1.2; None: OpenSSL's own choice.
    ciphers = ":".join(_tls.ciphers) or None


def ssl_context(_settings: _Any, default_factory: _Any) -> _ssl.SSLContext:
    """The context that gunicorn makes, with what it has no setting for: several client CAs and a minimum version."""
    context: _ssl.SSLContext = default_factory()
    if _tls is not None:
        context.minimum_version = _MINIMUM[_tls.minimum_version]
        for ca in _tls.client_cas:
            context.load_verify_locations(ca)
    return context


def post_fork(_server: _Any, _worker: _Any) -> None:
    """Let a stop end a worker that is still loading.

    Until it has handlers of its own it has the master's, which would swallow the signal, and the master would wait for
    it as long as for a stream under way.
    """
    for stop in (_signal.SIGINT, _signal.SIGQUIT, _signal.SIGTERM):
        _signal.signal(stop, lambda *_: _os._exit(0))


def when_ready(server: _Any) -> None:
    """Say where we listen, what we mirror, where and for how long it is kept, and what to paste into daemon.json."""
    _log.setup(_config.log.level, _config.log.formatter)
    # The sockets' own names: with port 0 or a socket handed over, the configuration does not know the address.
    addresses = [listener.getsockname() for listener in server.LISTENERS]
    for line in _banner.lines(_config, addresses):
        _LOG.info(line)
    for warning in _banner.warnings(_config):
        _LOG.warning(warning)
