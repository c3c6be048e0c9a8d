"""The numbers as the page and the commands read them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from registry_cache.oci.digest import Digest
from registry_cache.oci.names import FullName, Repository
from registry_cache.runtime.event_queue import Change
from registry_cache.stats.calendar import DAY_SECONDS, day_of
from registry_cache.stats.clients import Clients
from registry_cache.stats.day import Day, TopList
from registry_cache.stats.files import StatisticsFiles
from registry_cache.stats.journal import Entry
from registry_cache.stats.space_saving import TopEntry
from registry_cache.stats.statistics import Statistics
from registry_cache.stats.sums import DiskUse, Sums
from registry_cache.store import atomic_write
from registry_cache.store.layout import Layout

# Noon of a day.
NOW = 20_000 * DAY_SECONDS + 43_200.0
INDEX, PLATFORM, OTHER = (f"sha256:{letter * 64}" for letter in "abc")


def write_day(layout: Layout, moment: float, day: Day) -> None:
    atomic_write.write_whole(StatisticsFiles(layout).day(day_of(moment)), day.encode())


def write_journal(layout: Layout, *entries: Entry) -> None:
    path = StatisticsFiles(layout).journal_piece(day_of(NOW), 0)
    atomic_write.write_whole(path, b"".join(each.encode() for each in entries))


def asked(seconds: float, reference: str, digest: str, method: str = "GET", **other: str) -> Entry:
    client, repository = other.get("client", "10.0.0.7"), other.get("repository", "library/nginx")
    user = other.get("user", "")
    return Entry(
        NOW + seconds, client, user, method, "docker.io", repository, reference, digest, "hit", 200, len(digest)
    )


def test_a_store_without_numbers_has_none(layout: Layout) -> None:
    statistics = Statistics(layout, lambda: NOW)
    assert statistics.sums(0) == Sums()
    assert not any((statistics.top("saved", 0), statistics.changes(0), statistics.pulls(), statistics.clients_gone()))
    assert [bucket.sums for bucket in statistics.series(NOW - 600, 300)] == [Sums()] * 3


def test_sums_of_a_span(layout: Layout) -> None:
    hour = Sums(requests={"hit": 3, "miss": 1}, served={"hit": 300, "miss": 100}, fetched={"docker.io": 100}, pulls=2)
    early = Sums(requests={"hit": 1}, served={"hit": 7}, disk=DiskUse(5, 10, 90), counted={"docker.io alice": 4})
    write_day(layout, NOW, Day(buckets={int(NOW) - 3600: early, int(NOW) - 300: hour}))
    # Older than a month: the day's own sums are all that is left.
    write_day(layout, NOW - 40 * DAY_SECONDS, Day(sums=Sums(requests={"stale": 9}, served={"stale": 1})))
    statistics = Statistics(layout, lambda: NOW)

    last_hour = statistics.sums(NOW - 600)
    assert (last_hour.requests, last_hour.saved_bytes, last_hour.saved_share) == (hour.requests, 300, 0.75)
    today = statistics.sums(NOW - DAY_SECONDS)
    assert (today.requests, today.disk) == ({"hit": 4, "miss": 1}, DiskUse(5, 10, 90))
    assert (today.counted_by_upstream(), today.fetched_bytes) == ({"docker.io": 4}, 100)
    assert statistics.sums(0).requests == {"hit": 4, "miss": 1, "stale": 9}


def test_a_series_has_no_gaps(layout: Layout) -> None:
    write_day(layout, NOW, Day(buckets={int(NOW) - 300: Sums(pulls=2), int(NOW): Sums(pulls=3)}))
    statistics = Statistics(layout, lambda: NOW + 10)
    assert [(bucket.at - NOW, bucket.sums.pulls) for bucket in statistics.series(NOW - 600, 300)] == [
        (-600, 0),
        (-300, 2),
        (0, 3),
    ]
    assert [bucket.sums.pulls for bucket in statistics.series(NOW - DAY_SECONDS, DAY_SECONDS)] == [0, 5]
    with pytest.raises(ValueError, match="multiple of 300"):
        statistics.series(NOW, 100)


def test_top_names_of_several_days(layout: Layout) -> None:
    write_day(layout, NOW, Day(tops={"saved": TopList((TopEntry("docker.io/library/nginx", 10, 10),), 0)}))
    yesterday = TopList((TopEntry("docker.io/library/redis", 8, 9), TopEntry("docker.io/library/nginx", 5, 6)), 2)
    write_day(layout, NOW - DAY_SECONDS, Day(tops={"saved": yesterday}))
    statistics = Statistics(layout, lambda: NOW)
    assert statistics.top("saved", NOW - DAY_SECONDS) == [
        TopEntry("docker.io/library/nginx", 15, 16),
        TopEntry("docker.io/library/redis", 8, 9),
    ]
    assert statistics.top("saved", NOW, count=1) == [TopEntry("docker.io/library/nginx", 10, 10)]


def test_what_changed_the_newest_first(layout: Layout) -> None:
    moved = Change(NOW - 60, "moved", "docker.io", "library/nginx", "1.27", INDEX, OTHER)
    stale = Change(NOW - 30, "stale", "docker.io", "library/redis", "7")
    write_day(layout, NOW, Day(changes=(moved, stale)))
    statistics = Statistics(layout, lambda: NOW)
    assert statistics.changes(NOW - 100) == [stale, moved]
    assert statistics.changes(NOW - 100, ("moved",)) == [moved]
    assert statistics.changes(NOW - 10, ("moved",)) == []


def test_a_file_that_was_replaced_is_read_again(layout: Layout) -> None:
    statistics = Statistics(layout, lambda: NOW)
    for pulls in (1, 2):
        write_day(layout, NOW, Day(buckets={int(NOW): Sums(pulls=pulls)}))
        assert statistics.sums(NOW).pulls == pulls


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"version":2}', b'{"version":1,"buckets":{"x":{}}}', b"\0" * 9])
def test_a_damaged_file_counts_as_none(layout: Layout, data: bytes) -> None:
    files = StatisticsFiles(layout)
    for path in (files.day(day_of(NOW)), files.clients, files.journal_piece(day_of(NOW), 0)):
        atomic_write.write_whole(path, data)
    statistics = Statistics(layout, lambda: NOW)
    assert statistics.sums(0) == Sums()
    assert not any((statistics.pulls(), statistics.clients_gone()))


def test_a_client_that_has_stopped_coming(layout: Layout) -> None:
    clients = Clients()
    for day in range(20, 0, -1):
        moment = NOW - day * DAY_SECONDS
        clients.see("10.0.0.1", moment)
        if day > 2:
            clients.see("10.0.0.2", moment)
        # Every fourth day is no reason to miss it on the second.
        if day % 4 == 3:
            clients.see("10.0.0.3", moment)
    clients.see("10.0.0.1", NOW)
    Path(layout.statistics).mkdir()
    Path(StatisticsFiles(layout).clients).write_text(json.dumps(clients.document()), encoding="utf-8")
    statistics = Statistics(layout, lambda: NOW)
    assert [(each.client, each.days, each.last_seen) for each in statistics.clients_gone()] == [
        ("10.0.0.2", 18, NOW - 3 * DAY_SECONDS)
    ]
    assert statistics.sums(NOW - DAY_SECONDS).clients == 1


def test_one_pull_is_a_head_by_tag_and_gets_by_digest(layout: Layout) -> None:
    path = layout.manifest(FullName("docker.io", Repository.parse("library/nginx")), Digest.parse(INDEX), "json")
    record = {"media_type": "application/vnd.oci.image.index.v1+json", "size": 3, "children": [[PLATFORM, 5]]}
    atomic_write.write_whole(path, json.dumps(record).encode())
    write_journal(
        layout,
        asked(-60, "1.27", INDEX, "HEAD", user="alice"),
        asked(-59, "1.27", INDEX, "HEAD", client="10.0.0.8"),
        asked(-58, INDEX, INDEX, user="alice"),
        asked(-57, PLATFORM, PLATFORM, user="alice"),
        # Another image of the same repository, by digest: no part of that pull.
        asked(-56, OTHER, OTHER, user="alice"),
    )
    statistics = Statistics(layout, lambda: NOW)
    other, second, first = statistics.pulls("nginx")
    assert (first.tag, first.digest, first.platforms, first.user) == ("1.27", INDEX, [PLATFORM], "alice")
    assert (second.client, second.tag, second.platforms) == ("10.0.0.8", "1.27", [])
    assert (other.image, other.platforms) == (f"docker.io/library/nginx@{OTHER}", [])


@pytest.mark.parametrize(
    ("methods", "count"),
    [(("HEAD", "GET"), 1), (("GET", "GET"), 2), (("HEAD", "HEAD"), 2), (("HEAD", "GET", "GET"), 2)],
)
def test_a_tag_that_is_asked_for_twice(layout: Layout, methods: Sequence[str], count: int) -> None:
    entries = [asked(number, "1.27", INDEX, method) for number, method in enumerate(methods)]
    # Two workers wrote them.
    write_journal(layout, *reversed(entries))
    assert len(Statistics(layout, lambda: NOW).pulls()) == count


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("", 3),
        ("nginx", 2),
        ("library/nginx", 2),
        ("docker.io/library/nginx:1.27", 1),
        ("nginx:1.28", 1),
        ("ginx", 0),
        ("10.0.0.7", 2),
        ("fe80::1", 1),
        ("alice", 1),
        (INDEX, 1),
        (INDEX[:20], 1),
        ("a" * 12, 1),
        ("sha256:", 3),
    ],
)
def test_what_may_be_asked_for(layout: Layout, query: str, count: int) -> None:
    write_journal(
        layout,
        asked(-9, "1.27", INDEX, "HEAD", user="alice"),
        asked(-8, "1.28", OTHER),
        asked(-7, "7", PLATFORM, repository="library/redis", client="fe80::1"),
    )
    assert len(Statistics(layout, lambda: NOW).pulls(query)) == count


def test_pulls_since_then_and_no_more_than_wanted(layout: Layout) -> None:
    write_journal(layout, *(asked(-number, f"v{number}", INDEX, "HEAD") for number in range(9, 0, -1)))
    statistics = Statistics(layout, lambda: NOW)
    assert [pull.tag for pull in statistics.pulls("nginx", NOW - 5, limit=2)] == ["v1", "v2"]
