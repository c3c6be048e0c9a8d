"""The private or undocumented names of dependencies that ``gunicorn_internals`` uses, and what for."""

from __future__ import annotations

from registry_cache.runtime.dependency_check import Internal

_APPLICATION = "gunicorn.app.base:Application"
_ARBITER = "gunicorn.arbiter:Arbiter"
_WORKER = "gunicorn.workers.base:Worker"
_ASYNC = "gunicorn.workers.base_async:AsyncWorker"
_GEVENT_WORKER = "gunicorn.workers.ggevent:GeventWorker"
_WSGI = "gunicorn.http.wsgi"
_MESSAGE = "gunicorn.http.message:Message"
_UNREADER = "gunicorn.http.unreader:"
_SOCKET = "gevent._socketcommon:SocketMixin"
_TLS_SOCKET = "gevent.ssl:SSLSocket"
_VALUES = "prometheus_client.values"
_HISTOGRAM = "prometheus_client.metrics:Histogram"

_SIGNAL = ("self", "sig", "frame")
_HANDLE = ("self", "listener", "client", "addr")
_HANDLE_REQUEST = ("self", "listener_name", "req", "sock", "addr")
_ALLOWED = ("ip_str", "allow_list", "networks")
_WRITE_ERROR = ("sock", "status_int", "reason", "mesg")

INTERNALS = (
    # The master.
    Internal(f"{_APPLICATION}.chdir", "a server that imports nothing from its folder", ("self",), "load_config"),
    Internal(f"{_ARBITER}.handle_hup", "a reload that is tried first", ("self",), "run", "handle_%s"),
    Internal(f"{_ARBITER}.manage_workers", "a look at the workers' memory", ("self",), "run"),
    Internal(f"{_ARBITER}.spawn_worker", "new workers beside old ones", ("self",), "spawn_workers"),
    Internal(f"{_ARBITER}.num_workers", "new workers beside old ones", None, "manage_workers"),
    Internal(f"{_ARBITER}.WORKERS", "new workers beside old ones", None, "manage_workers"),
    Internal(f"{_ARBITER}.LISTENERS", "listeners beside the main one", None, "reload"),
    Internal(f"{_ARBITER}.systemd", "sockets that are not ours to close", None, "start", instance=True),
    Internal(f"{_ARBITER}.START_CTX", "the command that USR2 runs", None, "reexec"),
    Internal("gunicorn.config:Config.env_orig", "a socket for USR2", None, f"{_ARBITER}.reexec", instance=True),
    Internal("gunicorn.config:Config.settings", "an address by --bind", None, "__getattr__", instance=True),
    Internal("gunicorn.sock:TCPSocket", "listeners beside the main one", ("address", "conf", "log", "fd")),
    Internal("gunicorn.sock:TCP6Socket", "listeners beside the main one", ("address", "conf", "log", "fd")),
    # The worker.
    Internal(f"{_GEVENT_WORKER}.patch", "listeners that know their address", ("self",), "init_process"),
    Internal(f"{_GEVENT_WORKER}.sockets", "listeners that know their address", None, "run", instance=True),
    Internal(f"{_GEVENT_WORKER}.server_class", "how many connections a turn accepts", None, "run"),
    Internal(f"{_WORKER}.load_wsgi", "what the application is told", ("self",), "init_process"),
    Internal(f"{_WORKER}.wsgi", "what the application is told", None, f"{_ASYNC}.handle_request", instance=True),
    Internal(f"{_WSGI}:default_environ", "what the application is told", None, "default_environ", "gunicorn.socket"),
    Internal(f"{_WORKER}.init_signals", "one INT and not two", ("self",), "init_process"),
    Internal(f"{_GEVENT_WORKER}.handle_quit", "one exit and not two", _SIGNAL, f"{_WORKER}.init_signals"),
    Internal(f"{_GEVENT_WORKER}.notify", "connections that end at a stop", ("self",), "run"),
    Internal(f"{_GEVENT_WORKER}.ppid", "answers that end without a master", None, "notify", instance=True),
    Internal(f"{_GEVENT_WORKER}.alive", "connections that end at a stop", None, "run", instance=True),
    Internal(f"{_GEVENT_WORKER}.run", "downloads that end before the worker", ("self",), f"{_WORKER}.init_process"),
    Internal(f"{_GEVENT_WORKER}.timeout_ctx", "bounds of a request's head", ("self",), f"{_ASYNC}.handle"),
    Internal(f"{_GEVENT_WORKER}.handle", "TLS, and who is served first", _HANDLE, "run"),
    Internal(f"{_GEVENT_WORKER}.handle_request", "bodies nobody reads", _HANDLE_REQUEST, f"{_ASYNC}.handle"),
    Internal(f"{_MESSAGE}.force_close", "bodies nobody reads", ("self",)),
    Internal(f"{_MESSAGE}._expected_100_continue", "bodies nobody reads", None, f"{_WSGI}:create", instance=True),
    Internal(f"{_MESSAGE}.headers", "bodies nobody reads", None, f"{_WSGI}:create", instance=True),
    Internal(
        "gunicorn.http.parser:SocketUnreader",
        "heads in any number of pieces",
        None,
        "gunicorn.http.parser:Parser.__init__",
    ),
    Internal(f"{_UNREADER}SocketUnreader.__init__", "heads in any number of pieces", ("self", "sock", "max_chunk")),
    Internal(
        f"{_UNREADER}Unreader.read", "heads in any number of pieces", None, "gunicorn.http.message:Request.get_data"
    ),
    Internal(f"{_UNREADER}SocketUnreader.chunk", "heads in any number of pieces", None, f"{_UNREADER}Unreader.read"),
    Internal(f"{_UNREADER}Unreader.buf", "heads in any number of pieces", None, "read", instance=True),
    Internal(f"{_MESSAGE}.version", "requests without Host", None, "should_close", instance=True),
    # Answers.
    Internal("gunicorn.util:write_error", "errors in JSON", _WRITE_ERROR, f"{_WORKER}.handle_error"),
    Internal(f"{_WSGI}:Response", "parts of files, and a head with its body", ("req", "sock", "cfg"), "create"),
    Internal(f"{_WSGI}:Response.close", "a head without a body", ("self",), f"{_ASYNC}.handle_request"),
    Internal(f"{_WSGI}:Response.write", "parts of files", ("self", "arg"), f"{_ASYNC}.handle_request"),
    Internal(f"{_WSGI}:Response.send_headers", "parts of files", ("self",), "write"),
    Internal(f"{_WSGI}:Response.sent", "parts of files", None, "write", instance=True),
    Internal(f"{_WSGI}:Response.response_length", "parts of files", None, "write", instance=True),
    Internal("gunicorn.config:Config.__getattr__", "settings without a call", ("self", "name")),
    Internal("gunicorn.util:http_date", "one date a second", ("timestamp",), f"{_WSGI}:Response.default_headers"),
    Internal(f"{_WSGI}:WSGIErrorsWrapper", "one stream of errors", ("cfg",), "base_environ"),
    Internal("gunicorn.http.message:_ip_in_allow_list", "peers that are believed", _ALLOWED),
    # Connections.
    Internal(f"{_SOCKET}._wait", "clients that read nothing", None, "send"),
    Internal(f"{_TLS_SOCKET}._wait", "clients that read nothing", None, "send"),
    Internal(f"{_SOCKET}._write_event", "clients that read nothing", None, "send", instance=True),
    Internal(f"{_TLS_SOCKET}._write_event", "clients that read nothing", None, "send", instance=True),
    Internal(f"{_SOCKET}._read_event", "clients that send no request", None, "recv", instance=True),
    Internal(f"{_TLS_SOCKET}._read_event", "clients that send no request", None, "read", instance=True),
    Internal(f"{_TLS_SOCKET}.__init__", "renewed certificates", None, "gevent.ssl:SSLContext.wrap_socket", "_context"),
    # Metrics.
    Internal(f"{_HISTOGRAM}._sum", "many durations at once", None, "observe", instance=True),
    Internal(f"{_HISTOGRAM}._buckets", "many durations at once", None, "observe", instance=True),
    Internal(f"{_HISTOGRAM}._upper_bounds", "many durations at once", None, "observe", instance=True),
    Internal(f"{_VALUES}:ValueClass", "metrics by slots", None, "prometheus_client.metrics:Counter._metric_init"),
    Internal(
        f"{_VALUES}:MultiProcessValue", "metrics by slots", ("process_identifier",), "MultiProcessValue", "{}_{}.db"
    ),
)
