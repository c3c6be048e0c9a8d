"""What deploy/ has for monitoring and docs/reference.md says of metrics and log lines: all of it is there."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client.core import CollectorRegistry

from registry_cache.api.metrics import (
    BucketCollector,
    BucketState,
    BuildCollector,
    StoreCollector,
    StoreState,
    UpstreamCollector,
    UpstreamState,
)
from registry_cache.runtime import metrics
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


@pytest.fixture(scope="module")
def names() -> set[str]:
    """Every name that a scrape can have."""
    registry = CollectorRegistry()
    state = UpstreamState("docker.io", True, 100, 99, 0.0)
    for collector in (
        BuildCollector(),
        StoreCollector(lambda: StoreState(1, 2, 1, 3.0, 4.0, 0)),
        BucketCollector(lambda: BucketState(1, 2.0)),
        StoreCollector(lambda: StoreState(1, 2, 1, 3.0, 4.0, 0, 0)),
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
