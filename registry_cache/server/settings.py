"""gunicorn's settings, from the configuration. Run by ``gunicorn -c`` in the master: at its start, and at each reload.

Each public name here is a setting of gunicorn's; what the settings are made from has a leading underscore, because
``config`` is a setting's name, too. At a start with a configuration that cannot be, the report goes to standard error
and the exit status is 2. A reload comes here only with one that was found right (``registry_cache.server.reload``).
"""

import os as _os
import signal as _signal
import ssl as _ssl
import sys as _sys
from math import ceil as _ceil
from typing import Any as _Any

from registry_cache.config import Config as _Config
from registry_cache.config import ConfigError as _ConfigError
from registry_cache.config import TlsConfig as _TlsConfig
from registry_cache.errors import StoreError as _StoreError
from registry_cache.runtime import trusted_proxies as _proxies
from registry_cache.runtime.log import Log as _Log
from registry_cache.server import active_config as _in_force
from registry_cache.server import debug_listener as _watched
from registry_cache.server import fd_limit as _descriptors
from registry_cache.server import malloc as _allocator
from registry_cache.server import memory_guard as _grown
from registry_cache.server import reload as _reload
from registry_cache.server.certificates import Certificates as _Certificates

_LOG = _Log("registry_cache.server.settings")
_MINIMUM = {"tls1.2": _ssl.TLSVersion.TLSv1_2, "tls1.3": _ssl.TLSVersion.TLSv1_3}
_CLIENT_AUTH = {"none": _ssl.CERT_NONE, "optional": _ssl.CERT_OPTIONAL, "required": _ssl.CERT_REQUIRED}
# Beyond the readers that streams are limited to: the ones who get a 503, pings, manifests, idle connections.
_SPARE_CONNECTIONS = 1000


def _config_or_stop() -> _Config:
    try:
        return _in_force.current()
    except (_ConfigError, _StoreError) as error:
        print(error, file=_sys.stderr)
        # gunicorn lets SystemExit pass where it prints any other exception with a traceback, and exits with 1.
        raise SystemExit(2 if isinstance(error, _ConfigError) else 1) from error


_config = _config_or_stop()
_tls: _TlsConfig | None = _config.http.tls

# A socket handed over (`--bind fd://N`, systemd's LISTEN_FDS) goes before this.
bind = _reload.address(_config)
# Processes; each follows growing blobs on its own core.
workers = _config.workers
# Thousands of slow readers a process: a thread each would not fit.
worker_class = "registry_cache.server.worker.Worker"
# More than the readers, so that the reader who is one too many is told so and not left in the backlog.
worker_connections = _config.readers + _SPARE_CONNECTIONS
# Longer than nginx keeps an idle connection (60 s): who closes first must be the one who knows of no request under way.
keepalive = 65
# A worker whose loop has not turned for this long hangs in a system call: a full disk, a dead network mount.
timeout = 60
# How long streams may go on after a stop; after a reload they have reload.FINISH_SECONDS.
# gunicorn counts whole seconds, and 0 would cut them all.
graceful_timeout = max(1, _ceil(_config.graceful_timeout.total_seconds()))
# A name (255), a digest (135), `ns` and `last`, with room; what is longer is no pull.
limit_request_line = 4094
# A client sends ten; a proxy adds a few.
limit_request_fields = 64
# A bearer token that someone sends along may be long.
limit_request_field_size = 8190
# Whose X-Forwarded-Proto is believed: a proxy on this machine, unless gunicorn's own variable names others.
forwarded_allow_ips = _os.environ.get(_proxies.VARIABLE, _proxies.DEFAULT)
# By default it also believes such a proxy what SCRIPT_NAME is, though few take that header out of what a client sends.
forwarder_headers = ""
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
    # By these gunicorn knows that it is to speak TLS. It reads neither: see ssl_context.
    certfile = str(_tls.certificate)
    keyfile = str(_tls.key)


def _tls_context(tls: _TlsConfig) -> _ssl.SSLContext:
    """Load what ``http.tls`` names. Raises OSError, ValueError."""
    context = _ssl.create_default_context(_ssl.Purpose.CLIENT_AUTH)
    # The empty answer keeps OpenSSL from asking the terminal for a pass phrase.
    context.load_cert_chain(tls.certificate, tls.key, password="")
    context.minimum_version = _MINIMUM[tls.minimum_version]
    context.verify_mode = _CLIENT_AUTH[tls.client_auth]
    for ca in tls.client_cas:
        context.load_verify_locations(ca)
    if tls.ciphers:
        context.set_ciphers(":".join(tls.ciphers))
    # Else a client that offers h2 as well is told nothing, and some take that for a no.
    context.set_alpn_protocols(["http/1.1"])
    return context


def _certificates(tls: _TlsConfig) -> _Certificates:
    """Held by the master, so that a worker that is forked while the files do not match has those of before."""
    return _Certificates((tls.certificate, tls.key, *tls.client_cas), lambda: _tls_context(tls))


_shown = _certificates(_tls) if _tls is not None else None


def ssl_context(_settings: _Any, default_factory: _Any) -> _ssl.SSLContext:
    """What the next handshake is to use; called for each. ``default_factory`` is for gunicorn's own --certfile."""
    return default_factory() if _shown is None else _shown.context()


def pre_fork(server: _Any, worker: _Any) -> None:
    """A worker is about to be forked."""
    _watched.fork(server, worker)


def post_fork(_server: _Any, worker: _Any) -> None:
    """Let a stop end a worker that is still loading.

    Until it has handlers of its own it has the master's, which would swallow the signal, and the master would wait for
    it as long as for a stream under way.
    """
    for stop in (_signal.SIGINT, _signal.SIGQUIT, _signal.SIGTERM):
        _signal.signal(stop, lambda *_: _os._exit(0))
    _watched.forked(worker)
    _allocator.keep_chunks()


def on_starting(server: _Any) -> None:
    """Before anything else: what a signal does, and what every worker inherits."""
    _reload.install(server)
    _grown.install(server)
    try:
        _reload.check_address(server)
        _watched.start(server, worker_tmp_dir)
    except (_reload.Refused, _watched.Unusable) as error:
        print(error, file=_sys.stderr)
        raise SystemExit(1) from error


def when_ready(server: _Any) -> None:
    """The server listens; the workers are still to be forked."""
    _watched.listen(server)
    _reload.announce(server)
    if _os.geteuid() == 0:
        _LOG.warning("running as root: run it as a user of its own, as deploy/systemd and deploy/docker do")
    warning = _descriptors.too_few(_descriptors.raise_limit(), worker_connections)
    if warning:
        _LOG.warning(warning)


def on_reload(server: _Any) -> None:
    """The new settings are in force; the new workers are still to be forked, and the old ones to be stopped."""
    _watched.listen(server)
    _reload.replaced(server)


def child_exit(server: _Any, worker: _Any) -> None:
    """A worker has ended."""
    _watched.ended(worker)
    _reload.keep_serving(server)


def pre_exec(server: _Any) -> None:
    """This process is about to become the next master."""
    _watched.hand_over(server)


def on_exit(_server: _Any) -> None:
    """The last worker has ended, and so do we."""
    _watched.stop()
