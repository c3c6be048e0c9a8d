"""The parts of being watched that need no server, what deploy/ has for it, and what the documents say of it."""

from __future__ import annotations

import ast
import contextlib
import errno
import json
import re
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from flask import Flask
from prometheus_client.core import CollectorRegistry

from registry_cache.api import health, hooks
from registry_cache.api.health import Readiness
from registry_cache.api.metrics import BuildCollector, StoreCollector, StoreState, UpstreamCollector, UpstreamState
from registry_cache.runtime import metrics, upstream_wait
from registry_cache.runtime.trusted_proxies import Proxies
from registry_cache.server.metrics_slots import MetricsSlots
from registry_cache.store import disk
from registry_cache.store.layout import Layout
from registry_cache.store.readiness import FRESH_SECONDS, ReadinessProbe
from tests.harness.checkout import REPOSITORY
from tests.harness.components import require
from tests.harness.programs import succeed

DASHBOARD = json.loads((REPOSITORY / "deploy" / "grafana" / "registry-cache.json").read_text(encoding="utf-8"))
PROMETHEUS = REPOSITORY / "deploy" / "prometheus"
FIRED = Path(__file__).with_name("alerts.yml")
PAGE = (REPOSITORY / "docs" / "reference.md").read_text(encoding="utf-8")
# `say` and `tell` are what functions call the method that they have chosen by level.
LOGGED = re.compile(r"_?log\.(debug|info|warning|error|exception)|say|tell")
NAME = re.compile(r"\bregistry_cache_[a-z_]+")


# Where numbers are kept.


def files(board: MetricsSlots) -> set[str]:
    return {file.name for file in Path(board.folder).iterdir()}


def test_a_slot_is_the_lowest_that_nobody_has(tmp_path: Path) -> None:
    board = MetricsSlots(str(tmp_path))
    assert [board.take([]), board.take([0]), board.take([0, 2]), board.take([1, 2])] == [0, 1, 1, 0]
    assert len(files(board)) == 6
    board.remove()
    assert list(tmp_path.iterdir()) == []


def test_the_next_worker_of_a_slot_goes_on_with_its_counts_and_not_with_its_gauges(tmp_path: Path) -> None:
    board = MetricsSlots(str(tmp_path))
    slot = board.take([])
    for number in range(2):
        # As a worker would: what it holds is gone with its process.
        values = succeed([sys.executable, "-c", WORKER, board.folder, str(slot)], cwd=REPOSITORY)
        assert json.loads(values) == [3 * (number + 1), 1]
        assert board.take([]) == slot
    board.remove()


WORKER = """
import json, os, sys
from prometheus_client import CollectorRegistry, values
from prometheus_client.multiprocess import MultiProcessCollector
os.environ["PROMETHEUS_MULTIPROC_DIR"] = sys.argv[1]
values.ValueClass = values.MultiProcessValue(lambda: int(sys.argv[2]))
from registry_cache.runtime import metrics
for _ in range(3):
    metrics.answered("ping", None, 200, 2, 0.1, 0.1)
metrics.readers(1)
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


# Whom a request comes from.


@pytest.mark.parametrize(
    ("named", "peer", "forwarded", "client"),
    [
        ("127.0.0.1,::1", "192.0.2.1", None, "192.0.2.1"),
        ("127.0.0.1,::1", "192.0.2.1", "203.0.113.7", "192.0.2.1"),
        ("127.0.0.1,::1", "127.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("127.0.0.1,::1", "::1", "6.6.6.6, 2001:db8::7", "2001:db8::7"),
        ("10.0.0.0/8", "10.1.2.3", "203.0.113.7", "203.0.113.7"),
        ("10.0.0.0/8", "127.0.0.1", "203.0.113.7", "127.0.0.1"),
        ("*", "192.0.2.1", "203.0.113.7", "203.0.113.7"),
        ("nonsense", "127.0.0.1", "203.0.113.7", "127.0.0.1"),
        ("", "", "6.6.6.6, 203.0.113.7", "203.0.113.7"),
        ("", "", None, None),
        ("", "", "unknown\n", None),
        ("*", "127.0.0.1", "<script>", "127.0.0.1"),
    ],
)
def test_a_proxy_is_believed_by_its_address(named: str, peer: str, forwarded: str | None, client: str | None) -> None:
    assert Proxies(named).client(peer, forwarded) == client


def test_gunicorns_own_variable_names_them() -> None:
    assert Proxies.of({"FORWARDED_ALLOW_IPS": "192.0.2.1"}).client("192.0.2.1", "203.0.113.7") == "203.0.113.7"
    assert Proxies.of({}).client("127.0.0.1", "203.0.113.7") == "203.0.113.7"


# How long a request waited.


def test_waits_inside_of_waits_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(100))
    monkeypatch.setattr("registry_cache.runtime.upstream_wait.time.monotonic", lambda: next(now))
    watch = upstream_wait.begin()
    with upstream_wait.waiting(), upstream_wait.waiting():
        pass
    with contextlib.suppress(ValueError), upstream_wait.waiting():
        raise ValueError
    assert watch.seconds == 2


def test_another_threads_waits_are_not_ours() -> None:
    watch = upstream_wait.begin()

    def wait() -> None:
        with upstream_wait.waiting():
            pass

    thread = threading.Thread(target=wait)
    thread.start()
    thread.join()
    assert watch.seconds == 0


# Whether traffic may come.


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    monkeypatch.setattr("registry_cache.store.readiness.PATIENCE", 60.0)
    return Layout.open(tmp_path / "store")


def test_a_store_that_can_be_written_is_ok(layout: Layout) -> None:
    assert ReadinessProbe(layout).check() == "ok"
    assert list(Path(layout.locks).glob(".*")) == []


@pytest.mark.parametrize(
    ("number", "word"),
    [(errno.ENOSPC, "full"), (errno.EDQUOT, "full"), (errno.EROFS, "failing"), (errno.EIO, "failing")],
)
def test_what_the_disk_says(layout: Layout, number: int, word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, data: bytes) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(disk, "write_whole", refuse)
    assert ReadinessProbe(layout).check() == word


def test_a_look_is_good_for_seconds(layout: Layout) -> None:
    now = [100.0]
    probe = ReadinessProbe(layout, lambda: now[0])
    assert probe.check() == "ok"
    shutil.rmtree(layout.root)
    now[0] += FRESH_SECONDS / 2
    assert probe.check() == "ok"
    now[0] += FRESH_SECONDS
    assert probe.check() == "failing"


def test_a_disk_that_hangs_fails(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    monkeypatch.setattr("registry_cache.store.readiness.PATIENCE", 0.05)
    monkeypatch.setattr(disk, "write_whole", lambda path, data: gate.wait(30))
    probe = ReadinessProbe(layout)
    assert [probe.check(), probe.check()] == ["failing", "failing"]
    gate.set()


# What deploy/ and the documents say of metrics.


@pytest.fixture(scope="module")
def names() -> set[str]:
    """Every name that a scrape can have."""
    registry = CollectorRegistry()
    state = UpstreamState("docker.io", True, 100, 99, 0.0)
    for collector in (
        BuildCollector(),
        StoreCollector(lambda: StoreState(1, 2, 1)),
        UpstreamCollector(lambda: [state]),
    ):
        registry.register(collector)
    found = set()
    for family in [*registry.collect(), *metrics.REGISTRY.collect()]:
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""])
        found |= {family.name + suffix for suffix in suffixes}
    return found


def expressions() -> Iterator[str]:
    for panel in DASHBOARD["panels"]:
        yield from (target["expr"] for target in panel.get("targets", []))


def test_the_dashboard_asks_for_what_there_is(names: set[str]) -> None:
    asked = {name for expression in expressions() for name in NAME.findall(expression)}
    assert asked <= names
    # Who watches sees everything that is told, but for the parts of histograms that quantiles do not need.
    assert {name for name in names if not name.endswith(("_sum", "_count", "_info"))} <= asked


def test_the_dashboards_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        grid = panel["gridPos"]
        cells = {(grid["x"] + x, grid["y"] + y) for x in range(grid["w"]) for y in range(grid["h"])}
        assert not cells & taken, panel["title"]
        assert grid["x"] + grid["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_the_alerts_ask_for_what_there_is(names: set[str]) -> None:
    assert set(NAME.findall((PROMETHEUS / "rules.yml").read_text(encoding="utf-8"))) <= names


def test_the_page_has_every_metric_and_no_other(names: set[str]) -> None:
    section = PAGE.split("\n## Metrics: `/metrics`\n")[1].split("\n## ")[0]
    families = {re.sub(r"_(bucket|sum|count)$", "", name) if "_duration_" in name else name for name in names}
    told = set(re.findall(r"^\| `(registry_cache_[a-z_]+)`", section, re.MULTILINE))
    assert told == families
    assert set(NAME.findall(PAGE)) <= names | families


def test_the_page_has_every_alert() -> None:
    rules = yaml.safe_load((PROMETHEUS / "rules.yml").read_text(encoding="utf-8"))["groups"][0]["rules"]
    assert [rule["alert"] for rule in rules if f"`{rule['alert']}`" not in PAGE] == []


def promtool(*words: str) -> None:
    succeed([require("promtool"), *words])


def test_prometheus_takes_the_files() -> None:
    promtool("check", "rules", str(PROMETHEUS / "rules.yml"))
    promtool("check", "config", str(PROMETHEUS / "scrape.yml"))


def test_every_alert_fires_in_its_time_and_none_while_all_is_well() -> None:
    rules = yaml.safe_load((PROMETHEUS / "rules.yml").read_text(encoding="utf-8"))["groups"][0]["rules"]
    wrong, _ = yaml.safe_load(FIRED.read_text(encoding="utf-8"))["tests"]
    fired = wrong["promql_expr_test"][-1]["exp_samples"]

    promtool("test", "rules", str(FIRED))
    assert {re.findall(r'"(.+)"', each["labels"])[0] for each in fired} == {rule["alert"] for rule in rules}


def test_prometheus_takes_the_dashboards_expressions(tmp_path: Path) -> None:
    values = {"$__rate_interval": "5m", "$__range": "6h", "$instance": ".*"}
    asked = [re.sub(r"\$\w+", lambda found: values[found[0]], expression) for expression in expressions()]
    rules = [{"record": f"panel:{number}", "expr": expression} for number, expression in enumerate(asked)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    promtool("check", "rules", str(tmp_path / "rules.yml"))


# What the log says.


def events() -> dict[str, str]:
    """Each event that the package writes in so many words, and where."""
    found = {}
    for file in sorted((REPOSITORY / "registry_cache").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and node.args):
                continue
            if LOGGED.fullmatch(ast.unparse(node.func).lower()) and isinstance(node.args[0], ast.Constant):
                found[str(node.args[0].value)] = file.name
    return found


def test_the_page_explains_every_event() -> None:
    section = PAGE.split("\n## Log lines\n")[1].split("\n## ")[0]
    assert len(events()) > 40
    assert {event: file for event, file in events().items() if f"`{event}`" not in section} == {}


@pytest.mark.parametrize(
    ("found", "status", "document"),
    [
        (Readiness(True, "ok"), 200, {"status": "ok", "store": "ok"}),
        (Readiness(True, "full"), 200, {"status": "ok", "store": "full"}),
        (Readiness(False, "failing"), 503, {"status": "unready", "store": "failing"}),
    ],
)
def test_readiness_is_a_status_and_a_word(found: Readiness, status: int, document: dict[str, str]) -> None:
    app = Flask("test")
    hooks.register(app, {}, Proxies())
    health.register(app)
    app.register_blueprint(health.blueprint(lambda: found))
    answer = app.test_client().get("/readyz")
    assert (answer.status_code, answer.json, answer.headers["Cache-Control"]) == (status, document, "no-store")
