"""Can a host be reached at all: its name, and a connection. Knows neither HTTP nor TLS."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from registry_cache.errors import UpstreamTimeout
from registry_cache.upstream.deadline import bounded
from registry_cache.upstream.diagnose.steps import Failed, Step, Target
from registry_cache.upstream.session import origin

# Of socket.getaddrinfo: family, kind, protocol, canonical name, address.
Address = tuple[Any, ...]
Resolve = Callable[..., Sequence[Address]]


class Reach:
    """The way to an upstream, or to the proxy before it. ``patience`` in seconds a step."""

    def __init__(self, target: Target, resolve: Resolve, patience: float) -> None:
        _, self._host, self._port = origin(target.proxy or target.url)
        self._target = target
        self._place = target.key("httpproxy" if target.proxy else "remoteurl")
        self._resolve = resolve
        self._patience = patience

    def steps(self) -> Iterator[Step]:
        """Yield what was tried. Raises Failed."""
        addresses = self._addresses()
        shown = dict.fromkeys(str(each[4][0]) for each in addresses)
        yield Step("name", "ok", f"{self._host} is {', '.join(shown)}")
        yield Step("connection", "ok", f"{self._connect(addresses)} accepts connections")

    def _addresses(self) -> Sequence[Address]:
        try:
            return bounded(
                self._patience,
                f"resolved {self._host}",
                lambda: self._resolve(self._host, self._port, type=socket.SOCK_STREAM),
            )
        except UpstreamTimeout:
            words = f"no name server has answered for {self._host} in {self._patience:g} s"
            raise Failed("name", words, "check this machine's name servers (/etc/resolv.conf)") from None
        except (OSError, UnicodeError) as error:
            words = f"{self._host} has no address: {getattr(error, 'strerror', None) or error}"
            raise Failed("name", words, f"check {self._place}, and this machine's name servers") from None

    def _connect(self, addresses: Sequence[Address]) -> str:
        """Return where a connection was accepted."""
        there = f"{self._host} port {self._port}"
        try:
            return bounded(self._patience, f"connected to {there}", lambda: _first(addresses, self._patience))
        except (UpstreamTimeout, TimeoutError):
            words = f"{there} has been silent for {self._patience:g} s"
            other = "" if self._target.proxy else f", or set {self._target.key('httpproxy')} if only a proxy leads out"
            raise Failed("connection", words, f"let it through the firewall{other}") from None
        except ConnectionRefusedError:
            words = f"{there} refuses connections"
            raise Failed("connection", words, f"start what should listen there, or correct {self._place}") from None
        except OSError as error:
            words = f"{there} cannot be reached: {error.strerror or error}"
            raise Failed("connection", words, f"check this machine's network, and {self._place}") from None


def _first(addresses: Sequence[Address], seconds: float) -> str:
    """Return the first address that accepts a connection; raises the last one's OSError."""
    last = OSError("it has no address")
    for family, kind, protocol, _, address in addresses:
        try:
            with socket.socket(family, kind, protocol) as connection:
                connection.settimeout(seconds)
                connection.connect(address)
                return f"{address[0]} port {address[1]}"
        except OSError as error:
            last = error
    raise last
