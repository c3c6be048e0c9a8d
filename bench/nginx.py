"""The nginx processes: plain files as the limit, a near registry, and what `registry-cache nginx` prints.

The text around each ``server`` says what Debian's nginx.conf says, but for folders, and for as many connections as the
crowd of followers needs.
"""

import os
import socket
from collections.abc import Mapping
from pathlib import Path

from bench.content import MANIFEST_TYPE, REPOSITORY
from bench.processes import Program
from bench.shaped import CDN_HOST, TOKEN

# Of a near registry: nginx' own counts.
STATUS = "/bench/status"

_FRAME = """\
daemon off;
pid {folder}/pid;
error_log {folder}/error.log;
worker_processes auto;
worker_rlimit_nofile 16384;
{user}
events {{ worker_connections 4096; }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    sendfile on;
    tcp_nopush on;
    types_hash_max_size 2048;
    default_type application/octet-stream;
    access_log {folder}/access.log;
    gzip on;
    include {folder}/conf.d/*.conf;
}}
"""

_PLAIN = """\
server {{
    listen {address};
    root {content};
    location ~ /manifests/ {{ default_type {manifest}; }}
    location = /v2/ {{ return 200 "{{}}"; }}
}}
"""

# A registry and its CDN. What counts are the CDN's bytes, a line a body.
_REGISTRY = """\
log_format bodies "$status $body_bytes_sent $request_method";
map $uri $registry_digest {{
    ~/manifests/(?<named>sha256:[0-9a-f]+)$ $named;
{tags}
}}
server {{
    listen {address};
    access_log off;
    root {content};
    keepalive_requests 1000000;
    location = {status} {{ stub_status; }}
    location = /token {{
        default_type application/json;
        return 200 '{{"token":"{token}","access_token":"{token}","expires_in":300}}';
    }}
    location /v2/ {{
        if ($http_authorization != "Bearer {token}") {{
            add_header WWW-Authenticate 'Bearer realm="http://{address}/token",service="bench"' always;
            return 401;
        }}
        if ($uri ~ /blobs/) {{ return 307 http://{cdn}$uri; }}
        if ($uri = /v2/) {{ return 200 "{{}}"; }}
        default_type {manifest};
        add_header Docker-Content-Digest $registry_digest;
    }}
}}
server {{
    listen {cdn};
    access_log {bodies} bodies;
    root {content};
    limit_rate {rate};
}}
"""


def listener(host: str = "127.0.0.1") -> socket.socket:
    """A socket on a port of the kernel's choice; nginx is handed it, and whoever calls closes it."""
    opened = socket.create_server((host, 0), backlog=4096)
    # nginx takes it as it is: a worker that came second to a connection would wait for another one, with all its own.
    opened.setblocking(False)
    return opened


def name(opened: socket.socket) -> str:
    """``host:port``."""
    host, port = opened.getsockname()
    return f"{host}:{port}"


def start(folder: Path, configuration: str, listeners: list[socket.socket]) -> Program:
    """Run nginx in ``folder`` with this file in its conf.d. Raises RuntimeError."""
    (folder / "conf.d").mkdir(parents=True)
    (folder / "conf.d" / "bench.conf").write_text(configuration, encoding="utf-8")
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(_FRAME.format(folder=folder, user=user), encoding="utf-8")
    handed = [each.fileno() for each in listeners]
    # How nginx is handed sockets when it replaces itself; those of the same address it need not open.
    environment = {"NGINX": "".join(f"{each};" for each in handed)}
    command = ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
    program = Program(command, folder / "output", environment, handed)
    program.wait_for(lambda: "started" if (folder / "pid").exists() else None)
    return program


def plain(address: str, content: Path) -> str:
    """The same files under the same URLs, and nothing else."""
    return _PLAIN.format(address=address, content=content, manifest=MANIFEST_TYPE)


def registry(address: str, cdn: str, content: Path, tags: Mapping[str, str], bodies: Path, rate: int) -> str:
    """A registry whose CDN sends ``rate`` bytes a second to each connection (0: no bound), and logs to ``bodies``."""
    lines = "".join(f"    /v2/{REPOSITORY}/manifests/{tag} {digest};\n" for tag, digest in tags.items())
    return _REGISTRY.format(
        address=address,
        cdn=cdn,
        content=content,
        tags=lines,
        bodies=bodies,
        rate=rate,
        token=TOKEN,
        status=STATUS,
        manifest=MANIFEST_TYPE,
    )


def cdn_listener() -> socket.socket:
    """For the host that blobs are redirected to."""
    return listener(CDN_HOST)
