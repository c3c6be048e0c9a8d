"""Where Redis is, how to log in, and what is sent there. Imports no redis: that is an extra."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Command = Sequence[str | bytes | int | float]


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisAddress:
    """Where Redis is and how to log in. ``ca``, ``certificate`` and ``key`` are files; ``tls`` without ``ca``: the
    system's authorities.
    """

    host: str
    port: int
    username: str | None = None
    password: str | None = None
    db: int = 0
    tls: bool = False
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None

    def __repr__(self) -> str:
        return f"RedisAddress({self.host}:{self.port})"
