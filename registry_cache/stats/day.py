"""Everything that is known of one day, and the file that it is in.

<root>/statistics/days/<YYYY-MM-DD>.json      five-minute sums, top lists, changes; after 30 days only the day's sums

The first line has the day's sums, so that whoever needs no more of a month reads no more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from registry_cache.runtime.event_queue import Change
from registry_cache.stats.space_saving import TopEntry
from registry_cache.stats.sums import Sums, total
from registry_cache.store import disk
from registry_cache.store.disk import ReadHandle

# Images by bytes that they saved, by blobs and manifests that had to be fetched, and by requests for their manifests;
# clients by these requests; tags by how often they moved.
TopKind = Literal["saved", "missed", "pulled", "clients", "moved"]
TOP_KINDS: tuple[TopKind, ...] = get_args(TopKind)

# The kind of a Change: a tag means another digest; was served though upstream did not confirm it; upstream refused;
# sent wrong bytes; does not have it any more; our own bytes were damaged.
ChangeKind = Literal["moved", "stale", "refused", "corrupt", "gone", "quarantined"]

VERSION = 1
# A first line has a name for each upstream, account and kind of error; of a longer one the whole day is read.
_MOST_HEAD = 1 << 14


@dataclass(frozen=True, slots=True)
class TopList:
    """The entries of one day's list, largest first; a name that is not among them has at most ``floor``."""

    entries: tuple[TopEntry, ...] = ()
    floor: int = 0


@dataclass(frozen=True, slots=True)
class Day:
    """One day. ``buckets``: sums by the start of their five minutes, none where nothing happened.

    ``sums``: of the whole day, with the number of its different clients. ``folded`` and ``open`` are the writer's own.
    """

    buckets: Mapping[int, Sums] = field(default_factory=dict)
    sums: Sums = field(default_factory=Sums)
    tops: Mapping[TopKind, TopList] = field(default_factory=dict)
    changes: tuple[Change, ...] = ()
    folded: tuple[str, ...] = ()
    open: Mapping[str, Any] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Return the file's bytes."""
        head = json.dumps({"version": VERSION, "sums": self.sums.document()}, separators=(",", ":"))
        values: dict[str, object] = {"buckets": {str(start): sums.document() for start, sums in self.buckets.items()}}
        values["tops"] = {
            kind: {"floor": each.floor, "entries": [[one.name, one.at_least, one.at_most] for one in each.entries]}
            for kind, each in self.tops.items()
            if each.entries
        }
        values |= {"changes": self.changes, "folded": self.folded, "open": self.open}
        rest = json.dumps({name: value for name, value in values.items() if value}, separators=(",", ":"))
        return (f"{head[:-1]},\n{rest[1:]}" if len(rest) > 2 else head).encode()

    @classmethod
    def decode(cls, data: bytes) -> Day:
        """Return the day of a file. Raises ValueError."""
        try:
            return cls._of(json.loads(data))
        except (TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ValueError(f"not a day's file: {error}") from error

    @classmethod
    def read(cls, path: str) -> Day:
        """Return the day at ``path``, an empty one where there is none that can be read. Raises OSError."""
        data = disk.read_whole(path)
        try:
            return cls.decode(data) if data else cls()
        except ValueError:
            return cls()

    @classmethod
    def read_sums(cls, path: str) -> Sums:
        """Return the sums of the day at ``path``, and look no further than needed. Raises OSError."""
        try:
            head, comma, _ = ReadHandle(disk.open_file(path)).read_at(0, _MOST_HEAD).partition(b",\n")
            document = json.loads(head + b"}") if comma else {}
            return Sums.of(document["sums"]) if document["version"] == VERSION else Sums()
        except FileNotFoundError:
            return Sums()
        except (ValueError, TypeError, KeyError, RecursionError):
            # Of a day that an earlier version wrote, or that is over for a month.
            return cls.read(path).sums

    @classmethod
    def _of(cls, document: Any) -> Day:
        if document["version"] != VERSION:
            raise ValueError("a day's file of another version")
        buckets = {int(start): Sums.of(each) for start, each in document.get("buckets", {}).items()}
        whole = Sums.of(document.get("sums", {}))
        sums = total(each for _, each in sorted(buckets.items())) if buckets else whole
        return cls(
            buckets=buckets,
            sums=replace(sums, clients=max(sums.clients, whole.clients, int(document.get("clients", 0)))),
            tops={kind: _top_list(each) for kind, each in document.get("tops", {}).items()},
            changes=tuple(Change(*each) for each in document.get("changes", ())),
            folded=tuple(document.get("folded", ())),
            open=document.get("open", {}),
        )


def _top_list(document: Any) -> TopList:
    return TopList(tuple(TopEntry(*each) for each in document["entries"]), int(document["floor"]))
