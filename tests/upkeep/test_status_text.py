"""What a status report says of facts that are new, old, or none; and how its numbers look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from registry_cache.oci.digest import Digest
from registry_cache.store.inventory import DiskSpace, StoreCounts, Unfinished
from registry_cache.store.last_use import StoredBlob
from registry_cache.upkeep.report import ago, json_document, size, text_lines
from registry_cache.upkeep.status import KnownUpstream, upstream_status
from registry_cache.upkeep.status_text import StatusReport
from registry_cache.upstream.rate_limits import Limits

MiB = 1024**2
TODAY = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
NOW = TODAY.timestamp()
DIGEST = Digest("sha256", "ab12" * 16)
SEEN = Limits(limit=100, window=21600, remaining=7, source="203.0.113.7", seen_at=NOW - 300)
HELD = Unfinished(DIGEST, 12 * MiB, True, 24 * MiB, "docker.io", "library/app", since=NOW - 60, readers=1)
EMPTY = StatusReport(TODAY, [], StoreCounts(), [], "/store", True, DiskSpace(10 * MiB, 5 * MiB))


def told(limits: Limits, down: Mapping[str, object] | None = None, now: float = NOW) -> str:
    """What is said of an upstream, behind its name."""
    known = KnownUpstream("docker.io", "https://registry-1.docker.io", limits, down or {})
    report = replace(EMPTY, now=datetime.fromtimestamp(now, UTC), upstreams=[upstream_status(known, now)])
    return list(text_lines(report))[1].removeprefix("  docker.io  ")


def line(transfer: Unfinished) -> str:
    found = list(text_lines(replace(EMPTY, transfers=[transfer])))
    return found[found.index("transfers") + 1].strip()


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (Limits(), "ok"),
        (SEEN, "ok; 7 of 100 pulls left in 6 h, counted for 203.0.113.7, seen 5 min ago"),
        (
            replace(SEEN, seen_at=NOW - 21600),
            "ok; 7 of 100 pulls were left 6 h ago, counted for 203.0.113.7; that count is over",
        ),
        # A refusal that has ended: what was left when it began says nothing any more.
        (
            replace(SEEN, remaining=0, source=None, counted_until=NOW - 1),
            "ok; 0 of 100 pulls were left 5 min ago; that count is over",
        ),
        (
            replace(SEEN, counted_until=NOW + 67),
            "limited until 12:01:07 (7 of 100 pulls left in 6 h, counted for 203.0.113.7, seen 5 min ago)",
        ),
        (Limits(seen_at=NOW, counted_until=NOW + 67), "limited until 12:01:07"),
        (Limits(seen_at=NOW, all_until=NOW + 86_400), "limited until 2026-02-01 12:00:00, for everything"),
        (Limits(seen_at=NOW - 10, all_until=NOW - 5, counted_until=NOW), "ok"),
        # A clock that was set back: nothing was seen in the future.
        (replace(SEEN, window=None, source=None, seen_at=NOW + 60), "ok; 7 of 100 pulls left, seen 0 s ago"),
        (replace(SEEN, source="\x1b[2Jhub"), "ok; 7 of 100 pulls left in 6 h, counted for ?[2Jhub, seen 5 min ago"),
    ],
)
def test_limits(limits: Limits, expected: str) -> None:
    assert told(limits) == expected


def test_an_outage() -> None:
    down = {"since": NOW - 750, "cause": "docker.io was silent"}
    assert told(Limits(), down) == "down since 11:47:30 (12 min): docker.io was silent"
    assert told(SEEN, down).endswith(
        "docker.io was silent; 7 of 100 pulls left in 6 h, counted for 203.0.113.7, seen 5 min ago"
    )


def test_a_notice_of_an_outage_that_makes_no_sense_is_none() -> None:
    assert told(Limits(), {"since": "yesterday"}) == "ok"


def test_times_are_those_of_the_reader() -> None:
    known = KnownUpstream("a", "https://a", Limits(counted_until=NOW + 67), {})
    report = replace(EMPTY, upstreams=[upstream_status(known, NOW)])
    assert "limited until 13:01:07" in "\n".join(
        text_lines(replace(report, now=TODAY.astimezone(timezone(timedelta(hours=1)))))
    )


@pytest.mark.parametrize(
    ("transfer", "expected"),
    [
        (
            HELD,
            "[##########----------]  50 %  12.0 MiB of 24.0 MiB  sha256:ab12ab12ab12 of library/app from docker.io, "
            "1 reader",
        ),
        (
            replace(HELD, bytes=9 * MiB, readers=24),
            "[#######-------------]  37 %  9.0 MiB of 24.0 MiB  sha256:ab12ab12ab12 of library/app from docker.io, "
            "24 readers",
        ),
        (replace(HELD, bytes=0), "[--------------------]   0 %  0 B of 24.0 MiB"),
        (replace(HELD, bytes=24 * MiB - 1), "[###################-]  99 %"),
        (replace(HELD, bytes=24 * MiB), "[####################] 100 %"),
        # A size that lied.
        (replace(HELD, bytes=25 * MiB), "[####################] 100 %"),
        (
            Unfinished(DIGEST, 12 * MiB, True),
            "[????????????????????]        12.0 MiB of unknown size  sha256:ab12ab12ab12",
        ),
        (
            replace(HELD, running=False),
            "interrupted at 12.0 MiB of 24.0 MiB, resumed by the next pull: "
            "sha256:ab12ab12ab12 of library/app from docker.io",
        ),
        (
            Unfinished(DIGEST, 5, False, error="upstream\nfailed"),
            "interrupted at 5 B, resumed by the next pull: sha256:ab12ab12ab12 (upstream?failed)",
        ),
    ],
)
def test_transfers(transfer: Unfinished, expected: str) -> None:
    assert line(transfer).startswith(expected)


def test_what_is_cached_and_the_disk() -> None:
    report = replace(EMPTY, cached=StoreCounts(1, 2, 3, 1, 1536, 8 * MiB), transfers=[HELD])
    text = "\n".join(text_lines(report))
    assert "  1 repository, 2 tags, 3 manifests, 1 blob\n  1.5 KiB\n" in text
    assert text.endswith("disk\n  /store uses 20.0 MiB\n  5.0 MiB of 10.0 MiB are free on its file system")


def test_a_store_that_does_not_exist() -> None:
    text = "\n".join(text_lines(replace(EMPTY, exists=False)))
    assert "transfers\n  none\ndisk\n  /store holds no store yet: serve makes it\n" in text


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (24 * MiB, "24.0 MiB"), (5 * 1024**6, "5120.0 PiB")],
)
def test_sizes(count: int, expected: str) -> None:
    assert size(count) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(-3, "0 s"), (59, "59 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (172_800, "2 d")],
)
def test_spans(seconds: float, expected: str) -> None:
    assert ago(seconds) == expected


def test_the_document() -> None:
    known = KnownUpstream("docker.io", "https://registry-1.docker.io", replace(SEEN, counted_until=NOW + 67), {})
    report = replace(
        EMPTY,
        upstreams=[upstream_status(known, NOW)],
        cached=StoreCounts(1, 2, 3, 4, 5, 6),
        transfers=[HELD],
        in_pieces=[StoredBlob(DIGEST, MiB, 0)],
    )
    assert "  ranges of 1 more blob: 1.0 MiB" in text_lines(report)
    assert json_document(report) == {
        "version": 1,
        "at": "2026-01-31T12:00:00Z",
        "upstreams": [
            {
                "name": "docker.io",
                "url": "https://registry-1.docker.io",
                "state": "limited",
                "limited_until": "2026-01-31T12:01:07Z",
                "limited": "pulls",
                "down_since": None,
                "cause": None,
                "pulls": {
                    "left": 7,
                    "limit": 100,
                    "window_seconds": 21600,
                    "source": "203.0.113.7",
                    "seen_at": "2026-01-31T11:55:00Z",
                    "current": True,
                },
            }
        ],
        "cached": {"repositories": 1, "tags": 2, "manifests": 3, "blobs": 4, "bytes": 5},
        "in_pieces": {"blobs": 1, "bytes": MiB},
        "transfers": [
            {
                "digest": str(DIGEST),
                "upstream": "docker.io",
                "repository": "library/app",
                "state": "running",
                "bytes": 12 * MiB,
                "size": 24 * MiB,
                "percent": 50,
                "readers": 1,
                "since": "2026-01-31T11:59:00Z",
                "error": None,
            }
        ],
        "bucket": None,
        "store": {"root": "/store", "exists": True, "used": 13 * MiB + 6, "free": 5 * MiB, "total": 10 * MiB},
    }
