"""What may go wrong between nodes. None of it is ever an error of a client's: the next source is asked."""

from __future__ import annotations


class RedisAway(Exception):
    """Redis did not answer in time, or refused us."""
