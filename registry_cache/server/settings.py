"""gunicorn's settings and hooks, made from the configuration in force.

Called from gunicorn's configuration file in the master: at its start, and at each reload. A reload comes here only with
a configuration that has been checked (``registry_cache.server.reload``).
"""

from __future__ import annotations

import os
import signal
import ssl
import sys
from collections.abc import Callable
from math import ceil
from typing import Any

from registry_cache.config import Config, ConfigError, TlsConfig
from registry_cache.errors import StoreError
from registry_cache.runtime import trusted_proxies
from registry_cache.runtime.log import Log, capture_stderr, print_error
from registry_cache.runtime.tls import tls_context
from registry_cache.server import (
    active_config,
    bind,
    fd_limit,
    launcher,
    malloc,
    metrics_slots,
    reload,
    request_head,
    side_listeners,
    systemd,
)
from registry_cache.server.certificates import Certificates
from registry_cache.server.gunicorn_internals import Master
from registry_cache.server.listen_refusal import CannotListen
from registry_cache.server.memory_guard import MemoryGuard

_log = Log(__name__)

_MINIMUM_VERSION = {"tls1.2": ssl.TLSVersion.TLSv1_2, "tls1.3": ssl.TLSVersion.TLSv1_3}
_CLIENT_AUTH = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
# Beyond the readers that streams are limited to: the ones who get a 503, pings, manifests, idle connections.
_SPARE_CONNECTIONS = 1000


def load() -> dict[str, object]:
    """Return the settings and hooks by gunicorn's names.

    If the configuration is wrong, the report goes to standard error and SystemExit is raised: 2, or 1 for the store.
    """
    try:
        config = active_config.current()
    except (ConfigError, StoreError) as error:
        print_error(str(error), active_config.formatter_of(error))
        # gunicorn lets SystemExit pass where it prints any other exception with a traceback, and exits with 1.
        raise SystemExit(2 if isinstance(error, ConfigError) else 1) from error
    hooks = (
        pre_fork, post_fork, post_worker_init, on_starting, when_ready, on_reload, child_exit, pre_exec, on_exit
    )  # fmt: skip
    return _settings(config) | _tls_settings(config.http.tls) | {hook.__name__: hook for hook in hooks}


def _settings(config: Config) -> dict[str, object]:
    return {
        # A socket handed over (`--bind fd://N`, systemd's LISTEN_FDS) goes before this.
        "bind": bind.address(config),
        # Processes; each follows growing blobs on its own core.
        "workers": config.workers,
        # Thousands of slow readers a process: a thread each would not fit.
        "worker_class": "registry_cache.server.worker.Worker",
        # More than the readers, so that the reader who is one too many is told so and not left in the backlog.
        "worker_connections": config.readers + _SPARE_CONNECTIONS,
        # Longer than nginx keeps an idle connection (60 s): who closes first must be the one who knows of no request
        # under way.
        "keepalive": 65,
        # A worker whose loop has not turned for this long hangs in a system call: a full disk, a dead network mount.
        "timeout": 60,
        # How long streams may go on after a stop; after a reload they have reload.FINISH_SECONDS.
        # gunicorn counts whole seconds, and 0 would cut them all.
        "graceful_timeout": max(1, ceil(config.graceful_timeout.total_seconds())),
        "limit_request_line": request_head.LONGEST_LINE,
        # A client sends ten; a proxy adds a few.
        "limit_request_fields": 64,
        # A bearer token that someone sends along may be long.
        "limit_request_field_size": request_head.LONGEST_HEADER,
        # Whose X-Forwarded-Proto is believed: a proxy on this machine, unless gunicorn's own variable names others.
        "forwarded_allow_ips": os.environ.get(trusted_proxies.VARIABLE, trusted_proxies.DEFAULT),
        # By default such a proxy may also set SCRIPT_NAME, though few take that header out of what a client sends.
        "forwarder_headers": "",
        # The application writes one structured line a request; gunicorn's would be a second.
        "accesslog": None,
        # gunicorn's own lines are as many as the operator asked for.
        "loglevel": {"warn": "warning"}.get(config.log.level, config.log.level),
        # In the form of ours: every line of JSON is an object, and systemd's journal gets priorities.
        "logger_class": "registry_cache.server.gunicorn_log.GunicornLog",
        # What `ps` shows: the command line has some two hundred letters, and the master looks like its workers.
        "proc_name": "registry-cache",
        # Applies to a unix socket only: its group, such as nginx's, may connect, others may not.
        "umask": 0o117,
        # A heartbeat on a busy or failing disk would get a healthy worker killed.
        "worker_tmp_dir": "/dev/shm" if os.access("/dev/shm", os.W_OK) else None,  # noqa: S108 (a memory file system)
        # Otherwise gunicorn listens on a second socket in the user's home, for commands nobody sends.
        "control_socket_disable": True,
    }


def _tls_settings(tls: TlsConfig | None) -> dict[str, object]:
    """Return no settings without ``tls``: gunicorn's own --certfile works as it does elsewhere."""
    if tls is None:
        return {}
    # Held by the master, so that a worker that is forked while the files do not match has those of before.
    certificates = Certificates((tls.certificate, tls.key, *tls.client_cas), lambda: _tls_context(tls))

    def ssl_context(_settings: Any, _default_factory: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        """Return what the next handshake is to use; called for each."""
        return certificates.context()

    # By these two names gunicorn knows that it is to speak TLS. It reads neither file: see ssl_context.
    return {"certfile": str(tls.certificate), "keyfile": str(tls.key), "ssl_context": ssl_context}


def _tls_context(tls: TlsConfig) -> ssl.SSLContext:
    """Load what ``http.tls`` names. Raises OSError, ValueError."""
    context = tls_context(ssl.Purpose.CLIENT_AUTH)
    # The empty answer keeps OpenSSL from asking the terminal for a pass phrase.
    context.load_cert_chain(tls.certificate, tls.key, password="")
    context.minimum_version = _MINIMUM_VERSION[tls.minimum_version]
    context.verify_mode = _CLIENT_AUTH[tls.client_auth]
    for ca in tls.client_cas:
        context.load_verify_locations(ca)
    if tls.ciphers:
        context.set_ciphers(":".join(tls.ciphers))
    # A client that offers h2 as well would otherwise get no answer, and some take that for a refusal.
    context.set_alpn_protocols(["http/1.1"])
    return context


def pre_fork(server: Master, worker: Any) -> None:
    """A worker is about to be forked."""
    metrics_slots.before_fork(server, worker)


def post_fork(_server: Master, worker: Any) -> None:
    """Let a stop end a worker that is still loading.

    Until it has handlers of its own it has the master's, which would swallow the signal, and the master would wait for
    it as long as for a stream under way.
    """
    for stop in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(stop, lambda *_: os._exit(0))
    metrics_slots.after_fork(worker)
    malloc.keep_chunks()


def post_worker_init(_worker: Any) -> None:
    """A worker has loaded the application."""
    systemd.end_master_before()


def on_starting(server: Any) -> None:
    """Before anything else: gunicorn's master becomes ours, and holds what every worker inherits."""
    command = [*launcher.command_of_this_process(), *sys.argv[1:]]
    Master.take_over(server, command, reload.use_new_config, MemoryGuard())
    capture_stderr(active_config.current().log.formatter)
    try:
        bind.check_at_start(server)
        for side in side_listeners.ALL:
            side.start(server)
    except CannotListen as error:
        print_error(str(error), active_config.current().log.formatter)
        raise SystemExit(1) from error
    metrics_slots.start(server.cfg.worker_tmp_dir)


def when_ready(server: Master) -> None:
    """The server listens; the workers are still to be forked."""
    _listen_beside(server)
    reload.announce(server)
    if os.geteuid() == 0:
        _log.warning("running as root: run it as a user of its own, as deploy/systemd and deploy/docker do")
    warning = fd_limit.too_few(fd_limit.raise_limit(), server.cfg.worker_connections)
    if warning:
        _log.warning(warning)


def _listen_beside(server: Master) -> None:
    for side in side_listeners.ALL:
        side.listen(server)


def on_reload(server: Master) -> None:
    """The new settings are in force; the new workers are still to be forked, and the old ones to be stopped."""
    _listen_beside(server)
    reload.begin_generation(server)


def child_exit(server: Master, worker: Any) -> None:
    """A worker has ended."""
    metrics_slots.worker_ended(worker)
    reload.keep_serving(server)


def pre_exec(server: Master) -> None:
    """This process is about to become the next master."""
    for side in side_listeners.ALL:
        side.hand_over(server)


def on_exit(_server: Master) -> None:
    """The last worker has ended, and so do we."""
    # A second TERM (each new worker sends one after USR2) would kill the interpreter that is ending: status -15, not 0.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    metrics_slots.stop()
