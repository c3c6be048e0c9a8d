"""Decide whether the page answers to a Host header. Pure.

A site that a browser visits can give its own name our address (DNS rebinding), and would read the page as its own. It
cannot do so with an address, nor with a name that is not its to give.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection

_LOCAL = "localhost"
_PORT = re.compile(r":[0-9]{1,5}\Z")


def is_ours(host: str, names: Collection[str]) -> bool:
    """Tell whether ``host``, a header's value, is an address, this machine's own name for itself, or in ``names``."""
    name = _PORT.sub("", host).lower()
    return name == _LOCAL or name in names or _is_address(name)


def _is_address(name: str) -> bool:
    bare = name[1:-1] if name[:1] == "[" and name[-1:] == "]" else name
    try:
        return (ipaddress.ip_address(bare).version == 6) == (bare != name)
    except ValueError:
        return False
