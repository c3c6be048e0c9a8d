"""Make HTML from a template: everything that a stranger may have chosen is escaped and shortened."""

from __future__ import annotations

import hashlib
import pkgutil
import time
from collections.abc import Iterator, Mapping

from jinja2 import Environment, FunctionLoader, StrictUndefined

from registry_cache.ui import words

# Pieces of a page after which others have a turn: clients of the registry wait meanwhile.
_TURN = 32

# What the pages load, by name, and its media type.
ASSETS: Mapping[str, str] = {
    "style.css": "text/css",
    "script.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}


def asset(name: str) -> bytes:
    """Return one of ``ASSETS``."""
    return _data(f"static/{name}")


class Renderer:
    """Renders the templates of this package. ``common``: values that every template may use."""

    def __init__(self, **common: object) -> None:
        self._environment = Environment(
            loader=FunctionLoader(lambda name: _data(f"templates/{name}").decode()),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {name: getattr(words, name) for name in words.__all__}
        # With the bytes in its URL an asset may be kept for good, and a new version is loaded at once.
        stamp = hashlib.sha256(b"".join(map(asset, ASSETS))).hexdigest()[:8]
        self._environment.globals |= {"assets": stamp, **common}

    def render(self, template: str, **values: object) -> bytes:
        """Return a page."""
        pieces = self._environment.get_template(template).generate(**values)
        return "".join(_in_turns(pieces)).encode()


def _in_turns(pieces: Iterator[str]) -> Iterator[str]:
    for number, piece in enumerate(pieces):
        if number % _TURN == _TURN - 1:
            time.sleep(0)
        yield piece


def _data(name: str) -> bytes:
    found = pkgutil.get_data(__package__, name)
    assert found is not None  # noqa: S101 (package data, which the wheel's test counts)
    return found
