"""Where the workers keep their metrics, and who goes on with them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from registry_cache.server.metrics_slots import MetricsSlots
from tests.harness.checkout import REPOSITORY
from tests.harness.programs import succeed


def files(slots: MetricsSlots) -> set[str]:
    return {file.name for file in Path(slots.folder).iterdir()}


def test_a_slot_is_the_lowest_that_nobody_has(tmp_path: Path) -> None:
    slots = MetricsSlots(str(tmp_path))
    assert [slots.take([]), slots.take([0]), slots.take([0, 2]), slots.take([1, 2])] == [0, 1, 1, 0]
    assert len(files(slots)) == 6
    slots.remove()
    assert list(tmp_path.iterdir()) == []


def test_the_next_worker_of_a_slot_goes_on_with_its_counts_and_not_with_its_gauges(tmp_path: Path) -> None:
    slots = MetricsSlots(str(tmp_path))
    slot = slots.take([])
    for number in range(2):
        # As a worker would: what it holds is gone with its process.
        values = succeed([sys.executable, "-c", WORKER, slots.folder, str(slot)], cwd=REPOSITORY)
        assert json.loads(values) == [3 * (number + 1), 1]
        assert slots.take([]) == slot
    slots.remove()


WORKER = """
import json, os, sys
from prometheus_client import CollectorRegistry, values
from prometheus_client.multiprocess import MultiProcessCollector
os.environ["PROMETHEUS_MULTIPROC_DIR"] = sys.argv[1]
values.ValueClass = values.MultiProcessValue(lambda: int(sys.argv[2]))
from registry_cache.runtime import metrics
for _ in range(3):
    metrics.count_answer("ping", None, 200, 2, 0.1, 0.1)
metrics.change_readers(1)
registry = CollectorRegistry()
MultiProcessCollector(registry)
labels = {"kind": "ping", "outcome": "none", "status": "2xx"}
print(json.dumps([registry.get_sample_value("registry_cache_requests_total", labels),
                  registry.get_sample_value("registry_cache_readers_in_progress")]))
"""


def test_the_folder_of_a_killed_master_is_swept_up_and_one_in_use_is_not(tmp_path: Path) -> None:
    alive = MetricsSlots(str(tmp_path))
    (tmp_path / "registry-cache-metrics-dead").mkdir()
    (tmp_path / "somebody-elses").mkdir()
    other = MetricsSlots(str(tmp_path))
    assert {file.name for file in tmp_path.iterdir()} == {
        Path(alive.folder).name, Path(other.folder).name, "somebody-elses",
    }  # fmt: skip
    alive.remove()
    other.remove()
