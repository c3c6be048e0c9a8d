"""``registry-cache nginx``"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping

from registry_cache.api.cors import has_cors
from registry_cache.commands.command import CommandError
from registry_cache.commands.start import start
from registry_cache.config import Config
from registry_cache.deployment import nginx
from registry_cache.deployment.nginx import Site
from registry_cache.deployment.nginx_routes import Registry
from registry_cache.store.atomic_write import replacing, write_all

# Where certbot puts what it fetched for a name.
_CERTIFICATE = "/etc/letsencrypt/live/{}/fullchain.pem"
_KEY = "/etc/letsencrypt/live/{}/privkey.pem"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--name",
        default="registry.example.com",
        help="what clients call this server (default: %(default)s)",
    )
    parser.add_argument("--certificate", metavar="FILE", help="the certificate, its chain too (default: certbot's)")
    parser.add_argument("--key", metavar="FILE", help="the certificate's key (default: certbot's)")
    parser.add_argument("--plain", action="store_true", help="plain HTTP, for a network that is trusted")
    parser.add_argument(
        "--listen", action="append", metavar="ADDRESS", help="a port, or host:port; repeatable (default: 443)"
    )
    parser.add_argument("--output", metavar="FILE", help="write there, whole or not at all (default: standard output)")
    parser.add_argument("--page", action="store_true", help="show the page of http.debug.addr at /ui/, to who may pull")
    parser.add_argument("--socket", metavar="FILE", help="the cache's socket, where systemd made it and not http.addr")


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print nginx' configuration for this cache, or replace a file by it; makes no folder."""
    config = start(arguments, environ, file=sys.stderr)
    try:
        text = nginx.render(_site(config, arguments))
    except nginx.NginxValueError as error:
        raise CommandError(str(error)) from error
    if not arguments.output:
        print(text, end="")
        return 0
    try:
        # nginx may read at any moment, and must not see half a file.
        with replacing(arguments.output, make_folders=False, private=False) as descriptor:
            write_all(descriptor, text.encode())
    except OSError as error:
        raise CommandError(f"cannot write {arguments.output}: {error.strerror}", 1) from error
    return 0


def _site(config: Config, arguments: argparse.Namespace) -> Site:
    socket = arguments.socket or (str(config.http.socket) if config.http.socket else None)
    if socket is None:
        raise CommandError(_NO_SOCKET)
    if not socket.startswith("/"):
        raise CommandError(
            f"--socket: {socket!r} is no path from the root: write one, as /run/registry-cache/http.sock"
        )
    if config.http.tls:
        raise CommandError(_TLS_TWICE)
    port = "80" if arguments.plain else "443"
    return nginx.Site(
        root=str(config.root),
        registries=[Registry(each.name, each.aliases) for each in config.upstreams],
        socket=socket,
        listen=arguments.listen or [port, f"[::]:{port}"],
        server_name=arguments.name,
        certificate="" if arguments.plain else arguments.certificate or _CERTIFICATE.format(arguments.name),
        key="" if arguments.plain else arguments.key or _KEY.format(arguments.name),
        headers=config.http.headers,
        auth=config.auth is not None,
        cors=has_cors(config.http.headers),
        page=_page(config) if arguments.page else "",
        log=str(config.statistics.nginx_log or nginx.LOG),
        read_timeout_seconds=nginx.read_timeout_seconds(each.read_timeout.total_seconds() for each in config.upstreams),
    )


def _page(config: Config) -> str:
    """Return where nginx finds the page. Raises CommandError."""
    debug = config.http.debug
    if debug is None or not debug.is_loopback or not debug.port:
        raise CommandError(_NO_PAGE)
    if config.auth is None:
        raise CommandError(_OPEN_PAGE)
    return f"[{debug.host}]:{debug.port}" if ":" in debug.host else f"{debug.host}:{debug.port}"


_NO_PAGE = "--page: nginx finds the page on this machine: set http.debug.addr to an address such as 127.0.0.1:5001"
_OPEN_PAGE = (
    "--page: the page tells who pulls what, and nginx would show it to everybody: configure users (auth.htpasswd), and "
    "it asks for their passwords"
)
_NO_SOCKET = (
    "http.net is tcp, and nginx in front talks to a socket, which no client can reach: set http.net to unix and "
    "http.addr to a file such as /run/registry-cache/http.sock, or name systemd's with --socket"
)
_TLS_TWICE = "http.tls is for a cache without nginx: remove it, and give the files with --certificate and --key"
