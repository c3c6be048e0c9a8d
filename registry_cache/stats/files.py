"""Where the statistics are stored.

<root>/statistics/
  days/<YYYY-MM-DD>.json                one day: see day.py
  clients.json                          when each client was last seen: see clients.py
  journal/<YYYY-MM-DD>.<piece>.jsonl    who asked for which manifest: see journal.py
  incoming/<YYYY-MM-DD>.<letters>.json  counts of one process that are not in a day yet: see tally.py
  lock                                  flock target of the process that folds them
"""

from __future__ import annotations

import json
import os
import secrets
import time

from registry_cache.stats.calendar import day_name, day_named
from registry_cache.stats.clients import Clients
from registry_cache.store import disk
from registry_cache.store.layout import Layout


class StatisticsFiles:
    """The paths below ``<root>/statistics``, and lists of what is there."""

    def __init__(self, layout: Layout) -> None:
        self.folder = layout.statistics
        self.days = f"{self.folder}/days"
        self.journal = f"{self.folder}/journal"
        self.incoming = f"{self.folder}/incoming"
        self.clients = f"{self.folder}/clients.json"
        self.lock = f"{self.folder}/lock"

    def day(self, day: int) -> str:
        return f"{self.days}/{day_name(day)}.json"

    def new_incoming(self, day: int) -> str:
        """Return a new name for counts of a day."""
        # The moment first, so that names sort by it.
        return f"{self.incoming}/{day_name(day)}.{time.time_ns():x}-{secrets.token_hex(4)}.json"

    def known_days(self) -> list[int]:
        """Return the days that have a file, oldest first. Raises OSError."""
        names = (os.path.splitext(entry.name) for entry in disk.entries(self.days))
        found = (day_named(name) for name, ending in names if ending == ".json")
        return sorted(day for day in found if day is not None)

    def journal_piece(self, day: int, piece: int) -> str:
        return f"{self.journal}/{day_name(day)}.{piece:04}.jsonl"

    def journal_pieces(self) -> list[tuple[int, int, str]]:
        """Return (day, piece, path) of the journal's files, oldest first. Raises OSError."""
        found = []
        for entry in disk.entries(self.journal):
            day, (_, _, piece) = day_named(entry.name), entry.name.removesuffix(".jsonl").rpartition(".")
            if day is not None and piece.isdecimal():
                found.append((day, int(piece), entry.path))
        return sorted(found)

    def read_clients(self) -> Clients:
        """Return what is known of clients; nothing where the file is missing or damaged. Raises OSError."""
        data = disk.read_whole(self.clients)
        try:
            return Clients.of(json.loads(data)) if data else Clients()
        except (ValueError, TypeError, RecursionError):
            return Clients()
