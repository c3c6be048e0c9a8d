"""A month of statistics as a busy site has them, written as the server would; seeded, so that it is always the same."""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from registry_cache.runtime.event_queue import Change
from registry_cache.stats.calendar import DAY_SECONDS, day_of
from registry_cache.stats.clients import Clients
from registry_cache.stats.day import Day, TopKind, TopList
from registry_cache.stats.files import StatisticsFiles
from registry_cache.stats.space_saving import TopEntry
from registry_cache.stats.sums import Sums, total
from registry_cache.store.atomic_write import write_whole
from registry_cache.store.layout import Layout

GIB = 1024**3
IMAGES = [
    *(f"docker.io/library/{name}" for name in ("python", "node", "nginx", "postgres", "redis", "golang", "alpine")),
    *(f"ghcr.io/acme/{name}" for name in ("api", "web", "worker", "billing", "search")),
    "quay.io/prometheus/node-exporter",
]
CLIENTS = [f"10.0.{number // 200}.{number % 200 + 2}" for number in range(100)]
# It came every day, until four days ago.
GONE = CLIENTS[3]
DAYS = 30


def write_month(
    root: Path, *, images: Sequence[str] = IMAGES, clients: Sequence[str] = CLIENTS, changes: Iterable[Change] = ()
) -> Sums:
    """Write the files of a month that ends now into the store at `root`; return the sums of all of it."""
    now, chance = time.time(), random.Random("a month")
    files, seen, today = StatisticsFiles(Layout.open(root)), Clients(), day_of(now)
    days: list[Sums] = []
    for number in range(today - DAYS + 1, today + 1):
        start = number * DAY_SECONDS
        for each in clients:
            if each != GONE or number < today - 3:
                seen.see(each, min(start + 40_000, now))
        buckets = {at: _sums(at, chance) for at in range(start, min(start + DAY_SECONDS, int(now)), 300)}
        sums = total(each for _, each in sorted(buckets.items()))
        tops: dict[TopKind, TopList] = {
            "saved": _top(images, sums.saved_bytes),
            "missed": _top(images[::-1], 300),
            "pulled": _top(images, 900),
            "clients": _top(clients, 400),
        }
        kept = tuple(changes) if number == today else ()
        day = Day(buckets, replace(sums, clients=len(clients)), tops, kept)
        write_whole(files.day(number), day.encode())
        days.append(day.sums)
    write_whole(files.clients, json.dumps(seen.document()).encode())
    return total(days)


def _sums(at: int, chance: random.Random) -> Sums:
    hour = at % DAY_SECONDS / 3600
    load = (0.15 + max(0.0, math.sin((hour - 6) / 24 * 2 * math.pi)) ** 1.5) * chance.uniform(0.7, 1.3)
    hit, miss = int(load * 2 * GIB), int(load * chance.uniform(0.05, 0.25) * GIB)
    return Sums(
        requests={"hit": int(load * 300), "miss": int(load * 20), "revalidated": int(load * 60)},
        served={"hit": hit, "miss": miss, "join": miss // 2, "revalidated": int(load * 2e6)},
        fetched={"docker.io": miss * 7 // 10, "ghcr.io": miss - miss * 7 // 10},
        pulls=int(load * 40),
        clients=int(load * 20),
    )


def _top(names: Sequence[str], largest: int) -> TopList:
    amounts = (int(largest / (place + 1)) for place in range(len(names)))
    return TopList(tuple(TopEntry(name, amount, amount) for name, amount in zip(names, amounts, strict=True)))
