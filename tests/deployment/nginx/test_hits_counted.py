"""What nginx answers itself counts like what the cache answers: before and after its log is rotated."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from registry_cache.stats.files import StatisticsFiles
from registry_cache.stats.journal_file import JournalBounds
from registry_cache.stats.keeper import Keeper
from registry_cache.stats.nginx_hits import NginxHits
from registry_cache.stats.recorder import Recorder
from registry_cache.stats.statistics import Statistics
from registry_cache.stats.tally import Tally
from registry_cache.store import log_file
from registry_cache.store.layout import Layout
from tests.harness.images import make_image, random_bytes
from tests.harness.nginx_rig import running
from tests.harness.programs import short_folder
from tests.harness.pull_rig import holding
from tests.harness.waiting import eventually

SIZE = 200_000


def test_hits_of_nginx_are_in_the_numbers_that_last(monkeypatch: pytest.MonkeyPatch) -> None:
    with short_folder() as folder:
        log = folder / "access.log"
        with running(folder, {"statistics": {"nginx_log": str(log)}}) as behind:
            layout = Layout(behind.cache.root)
            name = behind.repository()
            blob = behind.upstream.add_blob(random_bytes(SIZE, seed="counted"), name)
            image = make_image(behind.upstream, name, layers=1)
            blob_path, manifest_path = f"/v2/{name}/blobs/{blob}", f"/v2/{name}/manifests/{image.digest}"
            assert behind.direct.get(blob_path).status == 200
            assert behind.direct.get(f"/v2/{name}/manifests/1").status == 200
            for _ in range(3):
                assert behind.passed_on(behind.direct.get(blob_path)) == "-"
            assert behind.passed_on(behind.direct.head(blob_path)) == "-"
            # What is not plain is the application's.
            assert behind.passed_on(behind.direct.get(blob_path, {"Range": "bytes=0-9"})) != "-"
            # A log that nobody had seen before it was rotated is nobody's to count.
            eventually(lambda: any(holding(worker, str(log)) for worker in behind.cache.workers()))
            rotate(log, folder)
            assert behind.passed_on(behind.direct.get(manifest_path)) == "-"
        # The server has read the old file; whoever follows next goes on there.
        statistics = Statistics(layout)
        assert statistics.sums(0).requests == {"miss": 2, "hit": 5}
        monkeypatch.setattr(log_file, "OLD_FILE_SECONDS", -1.0)
        follow(layout, log)

        sums, size = statistics.sums(0), len(image.manifest)
        assert sums.requests == {"miss": 2, "hit": 6}
        assert sums.served["hit"] == 3 * SIZE + 10 + size
        assert sums.pulls == 1
        [saved] = statistics.top("saved", 0)
        assert saved.name.endswith(f"/{name}")
        assert saved.at_least == 3 * SIZE + 10 + size
        # The tag's GET, and that of its digest, which nginx answered.
        [pull] = statistics.pulls(name)
        assert (pull.tag, pull.digest) == ("1", image.digest)


def rotate(log: Path, folder: Path) -> None:
    """As logrotate does it, with Debian's script for nginx."""
    log.rename(log.with_name("access.log.1"))
    os.kill(int((folder / "nginx" / "pid").read_text(encoding="utf-8")), signal.SIGUSR1)
    eventually(log.exists)


def follow(layout: Layout, log: Path) -> None:
    """As a server that is started, for some looks."""
    files = StatisticsFiles(layout)
    hits = NginxHits(str(log), Tally(journal=True, clients=True))
    recorder = Recorder(
        files, Keeper(files, JournalBounds(7, 1 << 20), clients=True), Tally(journal=True, clients=True), hits
    )
    recorder.write()
    for _ in range(4):
        recorder.look()
    recorder.end()
