"""What nginx answered itself, counted from its log: once, whatever is restarted."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from registry_cache.config import load_config
from registry_cache.oci.digest import Digest
from registry_cache.runtime import event_queue, metrics
from registry_cache.runtime.event_queue import Answer
from registry_cache.stats import nginx_hits
from registry_cache.stats.calendar import DAY_SECONDS
from registry_cache.stats.nginx_hits import HitCounts, NginxHits, read_lines
from registry_cache.stats.recorder import Recorder
from registry_cache.stats.tally import Tally
from registry_cache.store.layout import Layout
from registry_cache.wiring.statistics import recorder_of
from tests.harness.statistics_rig import NOON, StatisticsRig

DURATION = "registry_cache_request_duration_seconds"
BLOB, MANIFEST = f"sha256:{'b' * 64}", f"sha256:{'c' * 64}"
LINE = (
    '10.0.0.7 2024-10-04T12:00:00+00:00 "GET /v2/library/nginx/{what} HTTP/1.1" 200 {size} 0.001 '
    'hit app=- id={at:.3f}-3-4 "docker/27 (linux) \\x22x\\x22" docker.io/library/nginx "{user}"'
)


def line(what: str, size: int = 0, at: float = NOON, user: str = "-") -> str:
    return LINE.format(what=what, size=size, at=at, user=user)


def read_line(text: str) -> Answer | None:
    found = list(read_lines(f"something else\n{text}\n"))
    return found[0].answer if found else None


def test_a_hit() -> None:
    answer = read_line(line(f"blobs/{BLOB}", 7))
    assert answer is not None
    assert (answer.at, answer.client, answer.user, answer.method, answer.kind) == (NOON, "10.0.0.7", "", "GET", "blob")
    assert (answer.upstream, answer.repository, answer.reference) == ("docker.io", "library/nginx", BLOB)
    assert (answer.outcome, answer.status, answer.size) == ("hit", 200, 7)


def test_a_user() -> None:
    answer = read_line(line(f"manifests/{MANIFEST}", 7, user="J\\xC3\\xB6rg \\x22Q\\x22"))
    assert answer is not None
    assert (answer.user, answer.digest) == ('Jörg "Q"', MANIFEST)


@pytest.mark.parametrize(
    "text",
    [
        "",
        line(f"blobs/{BLOB}").replace("app=-", "app=200"),
        line(f"blobs/{BLOB}").replace(" hit ", " - "),
        line(f"blobs/{BLOB}").replace(" 200 ", " 405 "),
        line(f"blobs/{BLOB}").replace("GET", "PUT"),
        line("manifests/1.27"),
        line(f"blobs/{BLOB}").replace("id=", "id=x"),
        line(f"blobs/{BLOB}").replace(" docker.io/library/nginx", " -"),
        # As the file before this version wrote it.
        line(f"blobs/{BLOB}").partition(" docker.io")[0],
        line(f"blobs/{BLOB}")[:-1],
        '10.0.0.7 - "\\x16\\x03 hit app=- " 400 0 0.0 - app=- id=1 "hit app=- /blobs/sha256:aa" - "-"',
    ],
)
def test_a_line_of_something_else(text: str) -> None:
    assert read_line(text) is None


class Following(StatisticsRig):
    """A process that folds and follows nginx' log."""

    def __init__(self, layout: Layout, log: Path) -> None:
        super().__init__(layout)
        self.log = log
        self.counted: list[Mapping[str, HitCounts]] = []
        self.used: dict[str, int] = {}
        self.start()

    def start(self) -> None:
        event_queue.events.clear()

        def use(digest: Digest, moment: int) -> None:
            self.used[str(digest)] = moment

        hits = NginxHits(
            str(self.log), Tally(journal=True, clients=True), self.counted.append, use, lambda seconds: None
        )
        self.recorder = Recorder(
            self.files, self.new_keeper(), Tally(journal=True, clients=True), hits, lambda seconds: None
        )
        self.recorder.write()

    def write(self, *lines: str) -> None:
        with self.log.open("a", encoding="utf-8") as file:
            file.writelines(f"{each}\n" for each in lines)

    def look(self) -> None:
        self.recorder.look()
        self.recorder.write()

    def kill(self) -> None:
        """Whatever it has not written is gone, and so is its lock."""
        self.keeper.release()


@pytest.fixture
def rig(layout: Layout, tmp_path: Path) -> Following:
    return Following(layout, tmp_path / "access.log")


def test_hits_count_like_all_others(rig: Following) -> None:
    rig.write(line(f"blobs/{BLOB}", 1000, NOON + 60), line(f"manifests/{MANIFEST}", 30, NOON + 60))
    rig.write(line("manifests/1.27", at=NOON + 60))
    rig.look()
    sums = rig.statistics.sums(0)
    assert (sums.requests, sums.saved_bytes, sums.clients, sums.pulls) == ({"hit": 2}, 1030, 1, 1)
    assert [each.name for each in rig.statistics.top("saved", 0)] == ["docker.io/library/nginx"]
    assert [pull.digest for pull in rig.statistics.pulls()] == [MANIFEST]
    quick = Counter({0.001: 1})
    assert rig.counted == [{"blob": HitCounts(1, 1000, quick), "manifest": HitCounts(1, 30, quick)}]
    assert rig.used == {BLOB: (NOON + 60) * 1e9, MANIFEST: (NOON + 60) * 1e9}


def test_whoever_is_killed_counts_each_line_once(rig: Following) -> None:
    for number in range(1, 6):
        rig.write(line(f"blobs/{BLOB}", 1))
        rig.recorder.look()
        if number % 2:
            rig.recorder.write()
        rig.kill()
        rig.start()
    rig.look()
    assert rig.statistics.sums(0).served == {"hit": 5}
    assert sum(each["blob"].number for each in rig.counted) == 5


def test_nothing_is_lost_at_a_rotation_while_nobody_follows(rig: Following) -> None:
    rig.write(line(f"blobs/{BLOB}", 1))
    rig.look()
    rig.kill()
    rig.write(line(f"blobs/{BLOB}", 10))
    rig.log.rename(rig.log.with_name("access.log.1"))
    rig.start()
    rig.look()
    assert rig.statistics.sums(0).served == {"hit": 11}


def test_midnight(rig: Following) -> None:
    rig.now = NOON + DAY_SECONDS
    midnight = NOON + 43_200
    rig.write(line(f"blobs/{BLOB}", 1, midnight - 2))
    rig.write(line(f"blobs/{BLOB}", 10, midnight))
    # Another worker of nginx had this one still.
    rig.write(line(f"blobs/{BLOB}", 100, midnight - 1))
    # And a clock was put back.
    rig.write(line(f"blobs/{BLOB}", 1000, NOON))
    rig.write(line(f"blobs/{BLOB}", 10000, NOON + DAY_SECONDS))
    rig.look()
    assert rig.statistics.sums(0).served == {"hit": 11111}
    assert rig.statistics.sums(rig.now - 43_200).served == {"hit": 10110}
    rig.kill()
    rig.start()
    rig.look()
    assert rig.statistics.sums(0).served == {"hit": 11111}


def test_what_a_clock_that_was_ahead_has_left(rig: Following, monkeypatch: pytest.MonkeyPatch) -> None:
    """How far the log was read is the last word on it, and not the one that says it is."""
    year = 365 * DAY_SECONDS
    really = time.time_ns
    with monkeypatch.context() as ahead:
        ahead.setattr(time, "time_ns", lambda: really() + year * 10**9)
        rig.write(line(f"blobs/{BLOB}", 1, NOON + year))
        rig.look()
    for size in (10, 100, 1000):
        rig.write(line(f"blobs/{BLOB}", size))
        rig.look()
        rig.kill()
        rig.start()
    rig.look()
    assert rig.statistics.sums(NOON - 300).served == {"hit": 1111}


def test_what_a_full_disk_refused_is_read_again(rig: Following, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.write(line(f"blobs/{BLOB}", 1))
    really = os.rename
    refused: list[str] = []

    def rename(source: str, target: str) -> None:
        if "/incoming/" in target and not refused:
            refused.append(target)
            raise OSError(28, "No space left on device")
        really(source, target)

    monkeypatch.setattr(os, "rename", rename)
    rig.look()
    assert refused
    rig.look()
    rig.look()
    assert rig.statistics.sums(0).served == {"hit": 1}


def test_a_log_that_may_not_be_read(layout: Layout, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.mkdir()
    rig = Following(layout, log)
    rig.look()
    assert rig.statistics.sums(0).requests == {}
    log.rmdir()
    rig.write(line(f"blobs/{BLOB}", 1))
    rig.look()
    rig.look()
    assert rig.statistics.sums(0).requests == {"hit": 1}


def test_many_lines_alike_count_as_each_would_by_itself(rig: Following) -> None:
    lines = [line(f"blobs/{BLOB}", 1, NOON + number / 100) for number in range(40)]
    lines += [line(f"blobs/{BLOB}", 10), line(f"manifests/{MANIFEST}", 100), line(f"blobs/{BLOB}").replace("hit", "-")]
    lines += [line(f"blobs/{BLOB}", 1000).replace("10.0.0.7", "10.0.0.8")]
    rig.write(*lines)
    # Later, in other five minutes: each by itself.
    rig.write(*(line(f"blobs/{BLOB}", 10_000, NOON + minutes * 60) for minutes in (1, 6, 11)))
    rig.look()
    sums = rig.statistics.sums(0)
    assert (sums.requests, sums.served, sums.clients) == ({"hit": 46}, {"hit": 31_150}, 2)
    rig.now = NOON + 900
    assert [each.sums.requests for each in rig.statistics.series(NOON, 300)] == [
        *({"hit": 44}, {"hit": 1}, {"hit": 1}, {}),
    ]
    assert len(rig.statistics.pulls()) == 1


def test_hits_whose_words_look_like_something_else(rig: Following) -> None:
    named = line(f"blobs/{BLOB}", 1).replace("library/nginx", "team/manifests/id.000-1-2")
    rig.write(named, named.replace("docker/27", "/manifests/ id=1.000-1-2 hit app=- "))
    rig.write(line(f"manifests/{MANIFEST}", 10).replace("library/nginx", "team/blobs"))
    # One of ours, whose client calls itself by nginx' words.
    rig.write(line(f"blobs/{BLOB}", 100).replace("app=-", "app=200").replace("docker/27", "x hit app=- id=1.000-1-2"))
    rig.look()
    assert rig.statistics.sums(0).served == {"hit": 12}
    assert {each.name: each.at_most for each in rig.statistics.top("saved", 0)} == {
        "docker.io/team/manifests/id.000-1-2": 2,
        "docker.io/team/blobs": 10,
    }


def test_no_client_says_when_the_hits_of_others_were(rig: Following) -> None:
    """Nor, then, when their blobs were used, and whether they are the first to go."""
    later = f"{NOON + 40 * DAY_SECONDS:.3f}"
    request, own = f"GET /x id={later}-3-4 HTTP/1.1", f"id={NOON:.3f}-3-4"
    rig.write(f'10.0.0.9 2024-10-04T12:00:00+00:00 "{request}" 400 0 0.001 - app=- {own} "-" - "-"')
    rig.write(line(f"blobs/{BLOB}", 1))
    rig.write(line("manifests/1.27").replace("docker/27", f"x hit app=- id={later}-3-4"))
    rig.look()
    assert rig.statistics.sums(0).served == {"hit": 1}
    assert rig.used == {BLOB: NOON * 1e9}


def test_nothing_grows_while_no_two_lines_are_alike(rig: Following, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nginx_hits, "_MOST_DIFFERENT", 10)
    monkeypatch.setattr(nginx_hits, "_SLICE_BYTES", 2000)
    count_alike, held = NginxHits._count_alike, []

    def note(hits: NginxHits) -> None:
        held.append(len(hits._alike))
        count_alike(hits)

    monkeypatch.setattr(NginxHits, "_count_alike", note)
    rig.write(*(line(f"blobs/{BLOB}", size) for size in range(100)))
    rig.look()
    assert rig.statistics.sums(0).served == {"hit": sum(range(100))}
    # Those, and a slice's: a line has over a hundred bytes.
    assert 10 < max(held) <= 10 + 2000 // 100


def test_metrics_have_nginx_hits_and_how_long_they_took(layout: Layout, tmp_path: Path) -> None:
    log, labels = tmp_path / "access.log", {"kind": "blob", "outcome": "hit"}
    environ = {"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": layout.root, "REGISTRY_STATISTICS_NGINX_LOG": str(log)}
    recorder = recorder_of(load_config(environ), layout)
    recorder.write()
    total, bucket = (f"{DURATION}_sum", labels), (f"{DURATION}_bucket", {**labels, "le": "0.25"})
    before = [metrics.REGISTRY.get_sample_value(*each) or 0.0 for each in (total, bucket)]
    slow = line(f"blobs/{BLOB}", 1).replace(" 0.001 ", " 0.250 ")
    log.write_text(f"{slow}\n" * 4, encoding="utf-8")
    recorder.look()
    recorder.end()
    assert metrics.REGISTRY.get_sample_value(*total) == before[0] + 1.0
    assert metrics.REGISTRY.get_sample_value(*bucket) == before[1] + 4
