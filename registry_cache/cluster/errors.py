"""What may go wrong between nodes. None of it is ever an error of a client's: the next source is asked."""

from __future__ import annotations


class RedisAway(Exception):
    """Redis did not answer in time, or refused us. ``remedy``: what to do about a refusal, "" for anything else."""

    def __init__(self, words: str, remedy: str = "") -> None:
        super().__init__(words)
        self.remedy = remedy
