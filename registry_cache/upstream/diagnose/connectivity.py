"""Can a host be reached at all: does its name resolve, does it accept a connection? Knows neither HTTP nor TLS."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from registry_cache.errors import UpstreamTimeout
from registry_cache.runtime.check_step import Step
from registry_cache.upstream.deadline import run_with_timeout
from registry_cache.upstream.diagnose.steps import CheckTarget, StepFailed
from registry_cache.upstream.network.url import DEFAULT_PORTS

# As socket.getaddrinfo returns it: family, kind, protocol, canonical name, address.
Address = tuple[Any, ...]
Resolve = Callable[..., Sequence[Address]]


class Connectivity:
    """Tries to reach an upstream, or the proxy in front of it; each step takes ``timeout_seconds`` at most."""

    def __init__(self, target: CheckTarget, resolve: Resolve, timeout_seconds: float) -> None:
        there = urlsplit(target.proxy or target.url)
        self._host, self._port = there.hostname or "", there.port or DEFAULT_PORTS[there.scheme]
        self._target = target
        self._key = target.key("httpproxy" if target.proxy else "remoteurl")
        self._resolve = resolve
        self._timeout = timeout_seconds

    def steps(self) -> Iterator[Step]:
        """Yield what was tried. Raises StepFailed."""
        addresses = self._addresses()
        shown = dict.fromkeys(str(each[4][0]) for each in addresses)
        yield Step("name", "ok", f"{self._host} is {', '.join(shown)}")
        yield Step("connection", "ok", f"{self._connect(addresses)} accepts connections")

    def _addresses(self) -> Sequence[Address]:
        try:
            return run_with_timeout(
                self._timeout,
                f"resolved {self._host}",
                lambda: self._resolve(self._host, self._port, type=socket.SOCK_STREAM),
            )
        except UpstreamTimeout:
            words = f"no name server has answered for {self._host} in {self._timeout:g} s"
            raise StepFailed("name", words, "check this machine's name servers (/etc/resolv.conf)") from None
        except (OSError, UnicodeError) as error:
            words = f"{self._host} has no address: {getattr(error, 'strerror', None) or error}"
            raise StepFailed("name", words, f"check {self._key}, and this machine's name servers") from None

    def _connect(self, addresses: Sequence[Address]) -> str:
        """Return the address that accepted a connection."""
        there = f"{self._host} port {self._port}"
        try:
            return run_with_timeout(
                self._timeout, f"connected to {there}", lambda: _first_reachable(addresses, self._timeout)
            )
        except (UpstreamTimeout, TimeoutError):
            words = f"{there} has been silent for {self._timeout:g} s"
            other = "" if self._target.proxy else f", or set {self._target.key('httpproxy')} if only a proxy leads out"
            raise StepFailed("connection", words, f"let it through the firewall{other}") from None
        except ConnectionRefusedError:
            words = f"{there} refuses connections"
            raise StepFailed("connection", words, f"start what should listen there, or correct {self._key}") from None
        except OSError as error:
            words = f"{there} cannot be reached: {error.strerror or error}"
            raise StepFailed("connection", words, f"check this machine's network, and {self._key}") from None


def _first_reachable(addresses: Sequence[Address], seconds: float) -> str:
    """Return the first address that accepts a connection; raise the last one's OSError."""
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
