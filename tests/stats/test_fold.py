"""What processes counted, folded into days: exactly once, whatever crashes, and bounded."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

from registry_cache.errors import StoreError
from registry_cache.runtime.event_queue import Amount, Change
from registry_cache.stats import fold as fold_module
from registry_cache.stats.calendar import DAY_SECONDS, day_of
from registry_cache.stats.files import StatisticsFiles
from registry_cache.stats.fold import hash_of
from registry_cache.stats.journal_file import JournalBounds
from registry_cache.stats.keeper import Keeper
from registry_cache.stats.statistics import Statistics
from registry_cache.stats.sums import DiskUse
from registry_cache.store.layout import Layout
from tests.harness import crasher
from tests.harness.programs import succeed
from tests.harness.statistics_rig import BOUNDS, DIGEST, NOON, StatisticsRig, answer
from tests.harness.store_rig import open_store


@pytest.fixture
def rig(layout: Layout) -> StatisticsRig:
    return StatisticsRig(layout)


def test_whoever_folds_goes_on_where_another_ended(rig: StatisticsRig) -> None:
    for number in range(3):
        rig.count(answer(), answer(reference=DIGEST), Amount(NOON, "fetched", "docker.io", 5))
        rig.fold_as_another()
        sums = rig.statistics.sums(NOON - 300)
        assert (sums.requests, sums.fetched_bytes) == ({"hit": 2 * number + 2}, 5 * number + 5)
        # By tag each time; what the same client asks for by digest belongs to that.
        assert (sums.pulls, sums.clients) == (number + 1, 1)


def test_what_is_asked_for_by_digest_alone_is_one_pull(rig: StatisticsRig) -> None:
    for _ in range(2):
        rig.count(answer(reference=DIGEST), answer(reference="sha256:" + "b" * 64))
        rig.count(answer(reference=DIGEST, client="10.0.0.8"))
        rig.fold_as_another()
    assert rig.statistics.sums(NOON - 300).pulls == 2
    # The tag's request was another process's, and comes later.
    rig.count(answer(method="HEAD"))
    rig.fold()
    assert rig.statistics.sums(NOON - 300).pulls == 2


def test_two_days_in_one_process(rig: StatisticsRig) -> None:
    rig.count(answer(NOON - DAY_SECONDS), answer(NOON))
    rig.fold()
    assert rig.statistics.sums(NOON - 300).pulls == 1
    assert rig.statistics.sums(NOON - 2 * DAY_SECONDS).pulls == 2
    assert len(rig.statistics.pulls("nginx")) == 2


def test_only_one_folds(rig: StatisticsRig) -> None:
    first = rig.keeper
    assert first.hold()
    second = rig.new_keeper()
    assert not second.hold()
    first.release()
    assert second.hold()


def test_a_crash_at_any_change_counts_nothing_twice_and_loses_nothing_that_was_written(tmp_path: Path) -> None:
    count = int(succeed([sys.executable, "-m", crasher.__name__, str(tmp_path), "statistics"], cwd=os.getcwd()))
    assert count > 20
    whole = 0
    for number in range(1, count + 1):
        layout = open_store(tmp_path / str(number)).layout
        keeper = Keeper(StatisticsFiles(layout), BOUNDS, now=lambda: crasher.COUNTED_AT, clients=True)
        assert keeper.hold()
        keeper.fold()
        statistics = Statistics(layout, lambda: crasher.COUNTED_AT)
        pulls = statistics.sums(0).pulls
        assert pulls in (0, 1, 11, 111)
        assert len(statistics.pulls()) == pulls
        assert [each.at_most for each in statistics.top("clients", 0)] == ([pulls] if pulls else [])
        whole += pulls == 111
    assert whole > 5


@pytest.mark.parametrize("code", ["ENOSPC", "EIO"])
def test_a_full_disk_loses_nothing(rig: StatisticsRig, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    really = os.rename
    rig.count(answer())
    refuses = [True]

    def rename(source: str, target: str) -> None:
        if refuses and "/days/" in target:
            raise OSError(getattr(errno, code), code)
        really(source, target)

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(StoreError):
        rig.fold()
    refuses.clear()
    rig.fold()
    assert rig.statistics.sums(0).requests == {"hit": 1}
    assert len(rig.statistics.pulls()) == 1


def test_half_a_file_of_counts_is_passed_over(rig: StatisticsRig) -> None:
    Path(rig.files.incoming).mkdir(parents=True)
    Path(rig.files.new_incoming(day_of(NOON))).write_bytes(b'{"buckets":')
    Path(rig.files.incoming, "somebody-elses").write_bytes(b"")
    rig.count(answer())
    rig.fold()
    assert rig.statistics.sums(0).pulls == 1
    assert os.listdir(rig.files.incoming) == ["somebody-elses"]


def test_a_month_later_the_days_sums_are_left_and_two_years_later_nothing(rig: StatisticsRig) -> None:
    rig.count(answer(), answer(NOON - 3600, client="10.0.0.8", outcome="miss"))
    rig.fold()
    before = rig.statistics.sums(0)
    assert (before.requests, before.clients) == ({"hit": 1, "miss": 1}, 2)
    for days, kept in ((2, True), (31, True), (731, False)):
        rig.now = NOON + days * DAY_SECONDS
        rig.fold()
        after = rig.statistics.sums(0)
        assert (after.requests, after.clients) == ((before.requests, 2) if kept else ({}, 0 if days > 32 else 2))
        assert bool(rig.statistics.top("clients", 0)) is (days < 31)
    # What a server that was stopped for a month had left has no place any more.
    rig.count(answer(NOON + 31 * DAY_SECONDS))
    rig.fold()
    assert rig.statistics.sums(0).requests == {}
    assert os.listdir(rig.files.incoming) == []


def test_counts_of_a_day_that_is_over_still_find_its_journal(rig: StatisticsRig) -> None:
    rig.count(answer())
    rig.fold()
    rig.now = NOON + DAY_SECONDS
    rig.fold()
    rig.count(answer(NOON + 1))
    rig.fold_as_another()
    assert len(rig.statistics.pulls()) == 2


def test_a_finished_day_keeps_a_hundred_names(rig: StatisticsRig) -> None:
    rig.count(*(answer(repository=f"team/image-{number}", size=number) for number in range(1, 700)))
    rig.fold()
    assert len(rig.statistics.top("saved", 0, count=1000)) == fold_module.COUNTERS
    rig.now = NOON + DAY_SECONDS
    rig.fold()
    found = rig.statistics.top("saved", 0, count=1000)
    assert len(found) == fold_module.NAMES
    for each in found:
        assert each.at_least <= int(each.name.rpartition("-")[2]) <= each.at_most


def test_the_disk_as_it_was_last(rig: StatisticsRig) -> None:
    uses = [DiskUse(1, 10, 20), DiskUse(2, 10, 19), None]
    rig.new_keeper(disk=lambda: uses.pop(0))
    for _ in range(3):
        rig.count(answer())
        rig.fold()
    assert rig.statistics.sums(NOON - 300).disk == DiskUse(2, 10, 19)


def test_the_journal_is_bounded_in_bytes_and_days(rig: StatisticsRig) -> None:
    rig.new_keeper(JournalBounds(days=2, size=16_000))
    for number in range(200):
        rig.now = NOON + number
        rig.count(answer(rig.now, client=f"10.0.0.{number}"))
        rig.fold()
        # A piece more at most, all the time.
        assert sum(path.stat().st_size for path in Path(rig.files.journal).iterdir()) <= 16_000 + 2_000
    rig.now += 4000
    rig.fold()
    pulls = rig.statistics.pulls()
    assert 50 < len(pulls) < 100
    assert pulls[0].client == "10.0.0.199"
    assert sum(path.stat().st_size for path in Path(rig.files.journal).iterdir()) <= 16_000
    rig.now += 2 * DAY_SECONDS
    rig.fold()
    assert rig.statistics.pulls() == []


def test_without_a_journal_nobody_is_in_it(rig: StatisticsRig) -> None:
    rig.count(answer())
    rig.fold()
    rig.keeper.release()
    rig.new_keeper(JournalBounds(days=0, size=1))
    rig.count(answer())
    rig.fold()
    assert (rig.statistics.pulls(), rig.statistics.sums(0).pulls) == ([], 2)


def test_without_clients_there_are_numbers_alone(rig: StatisticsRig) -> None:
    rig.count(answer(user="alice"), answer(reference=DIGEST), clients=False)
    rig.fold()
    assert rig.statistics.sums(0).pulls == 1
    assert (rig.statistics.pulls(), rig.statistics.top("clients", 0)) == ([], [])
    for path in Path(rig.files.folder).rglob("*.json"):
        assert b"10.0.0.7" not in path.read_bytes()
        assert b"alice" not in path.read_bytes()


def test_what_was_remembered_of_clients_is_erased_where_they_are_not_wanted(rig: StatisticsRig) -> None:
    for ago in (3, 0):
        rig.now = NOON - ago * DAY_SECONDS
        rig.count(answer(rig.now, user="alice"), answer(rig.now, reference=DIGEST), answer(rig.now, kind="blob"))
        rig.fold()
    before = rig.statistics.sums(0)
    assert traces(rig) == {"days", "clients.json", "journal"}
    # Of a process that was killed, and that knew them.
    rig.count(answer(reference=DIGEST, user="alice", repository="library/redis"))
    assert "incoming" in traces(rig)

    rig.keeper.release()
    rig.new_keeper(JournalBounds(0, 0), clients=False)
    rig.fold()
    assert traces(rig) == set()
    after = rig.statistics.sums(0)
    assert (after.requests, after.pulls) == ({"hit": before.requests["hit"] + 1}, before.pulls + 1)
    assert rig.statistics.clients_gone() == []
    # Nothing is counted twice afterwards.
    rig.fold_as_another()
    assert rig.statistics.sums(0) == after


def traces(rig: StatisticsRig) -> set[str]:
    """Which parts of the statistics tell of a client, as it is or by what it hashes to."""
    whole = Path(rig.files.folder)
    texts = {b"10.0.0.7", b"alice", hash_of("10.0.0.7").encode(), hash_of("10.0.0.7 docker.io/library/nginx").encode()}
    paths = [path for path in whole.rglob("*") if path.is_file() and any(text in path.read_bytes() for text in texts)]
    return {path.relative_to(whole).parts[0] for path in paths}


def test_what_needs_a_look(rig: StatisticsRig) -> None:
    rig.count(
        answer(outcome="stale"),
        answer(NOON + 1, outcome="stale"),
        answer(NOON + 2, outcome="", status=403, failure="Denied"),
        answer(NOON + 3, kind="blob", reference=DIGEST, failure="UpstreamCorrupt"),
        Change(NOON + 4, "moved", "docker.io", "library/nginx", "1.27", DIGEST, "sha256:b"),
    )
    rig.fold()
    changes = rig.statistics.changes(0)
    assert [(each.kind, each.at - NOON) for each in changes] == [
        *(("moved", 4), ("corrupt", 3), ("refused", 2), ("stale", 1)),
    ]
    assert [each.name for each in rig.statistics.top("moved", 0)] == ["docker.io/library/nginx:1.27"]


def test_a_flood_of_changes_is_bounded(rig: StatisticsRig) -> None:
    rig.count(*(answer(NOON + n, reference=f"v{n}", outcome="stale") for n in range(fold_module.MOST_CHANGES + 9)))
    rig.fold()
    rig.keeper.release()
    assert len(Statistics(Layout(Path(rig.files.folder).parent)).changes(0)) == fold_module.MOST_CHANGES


def test_clients_that_come_after_a_clock_that_was_ahead(rig: StatisticsRig) -> None:
    rig.now = NOON + 400 * DAY_SECONDS
    rig.count(answer(rig.now))
    rig.fold()
    for number in range(6):
        rig.now = NOON + number * DAY_SECONDS
        rig.count(answer(rig.now))
        rig.fold_as_another()
    assert rig.statistics.clients_since(NOON - 300) == 1
    assert [each.days for each in rig.statistics.clients_gone(rig.now + 9 * DAY_SECONDS)] == [6]
