"""What Prometheus sees: the same from whichever worker, whatever becomes of the workers, and only where it may."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.harness.components import require
from tests.harness.content import APP, digest_of
from tests.harness.fixture_types import MakeCache, MakePuller
from tests.harness.images import MiB, make_image, random_bytes
from tests.harness.pullers import Puller
from tests.harness.server import CacheServer
from tests.harness.tls import make_certificate
from tests.harness.upstream import FakeUpstream
from tests.harness.waiting import eventually
from tests.harness.workers import Workers

SIZE, HELD_AT = 4 * MiB, 1 * MiB


def scrape(puller: Puller, path: str = "/metrics") -> dict[str, float]:
    """Every sample without buckets, `name{label=value,…}` in the labels' order, without the prefix that all have."""
    answer = puller.get(path)
    assert answer.status == 200
    return {
        sample.name.removeprefix("registry_cache_")
        + (
            f"{{{','.join(f'{k}={v}' for k, v in sorted(sample.labels.items()))}}}" if sample.labels else ""
        ): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
        if "le" not in sample.labels
    }


def test_limits_and_outages_are_told(upstream: FakeUpstream, make_cache: MakeCache, make_puller: MakePuller) -> None:
    cache = make_cache()
    puller = make_puller(cache.url)
    name = f"{{upstream={upstream.url.removeprefix('http://')}}}"
    told = scrape(puller)
    assert (told[f"upstream_up{name}"], told[f"upstream_limited_until_seconds{name}"]) == (1, 0)
    assert f"upstream_pulls_left{name}" not in told

    make_image(upstream, tag="1")
    make_image(upstream, tag="2", seed=2)
    upstream.faults.rate_limit = 1
    assert puller.manifest("1").status == 200
    told = scrape(puller)
    assert (told[f"upstream_pull_limit{name}"], told[f"upstream_pulls_left{name}"]) == (1, 0)
    assert told[f"upstream_limited_until_seconds{name}"] == 0

    assert puller.manifest("2").status == 503
    told = scrape(puller)
    assert told[f"upstream_limited_until_seconds{name}"] > 0
    assert told["errors_total{error=TooManyRequests}"] == 1


def test_the_last_cleanup_and_the_last_verify_are_told(cache: CacheServer, puller: Puller) -> None:
    names = ("last_cleanup_timestamp_seconds", "last_verify_timestamp_seconds", "verify_faults")
    before = time.time()
    assert not [name for name in names if name in scrape(puller)]
    (foreign := cache.root / "foreign").write_bytes(b"not ours")
    cache.run("cleanup")
    cache.run("verify")
    cleanup, verify, faults = (scrape(puller)[name] for name in names)
    assert before - 1 <= cleanup <= verify <= time.time()
    assert faults == 1
    foreign.unlink()


def test_they_are_for_this_machine_alone(puller: Puller) -> None:
    assert puller.get("/metrics").headers["Content-Type"].startswith("text/plain")
    for header in ("X-Forwarded-For", "Forwarded"):
        assert puller.get("/metrics", {header: "203.0.113.7"}).status == 404


def test_whoever_is_asked_tells_of_all_workers(
    upstream: FakeUpstream, cache: CacheServer, puller: Puller, workers: Workers, make_puller: MakePuller
) -> None:
    make_image(upstream, tag="1")
    before = scrape(puller)
    for worker in (workers.first, workers.second, workers.second):
        with workers.only(worker):
            assert make_puller(cache.url).manifest("1").status == 200
    for worker in (workers.first, workers.second):
        with workers.only(worker):
            after = scrape(make_puller(cache.url))
        grown = {name: value - before.get(name, 0) for name, value in after.items()}
        assert grown["requests_total{kind=manifest,outcome=miss,status=2xx}"] == 1
        assert grown["requests_total{kind=manifest,outcome=revalidated,status=2xx}"] == 2
        assert grown["request_duration_seconds_count{kind=manifest,outcome=revalidated}"] == 2
        assert grown["served_bytes_total{outcome=revalidated}"] == 2 * grown["served_bytes_total{outcome=miss}"] > 0
        name = f"upstream={upstream.url.removeprefix('http://')}"
        assert grown[f"tag_revalidations_total{{result=same,{name}}}"] == 2
        assert grown[f"upstream_requests_total{{method=HEAD,status=2xx,{name}}}"] == 3
        assert grown[f"upstream_fetched_bytes_total{{{name}}}"] == grown["served_bytes_total{outcome=miss}"]
        assert after["workers"] == 2


def test_a_killed_worker_leaves_its_counts_and_takes_what_it_did_at_that_moment(
    upstream: FakeUpstream, cache: CacheServer, puller: Puller, workers: Workers, make_puller: MakePuller
) -> None:
    blob = upstream.add_blob(random_bytes(SIZE, seed="metrics"))
    upstream.faults.hold_at = HELD_AT
    before = scrape(puller)
    with workers.only(workers.first):
        doomed = make_puller(cache.url)
        for _ in range(5):
            assert doomed.get("/v2/").status == 200
        pull = doomed.start_blob(APP, blob)
        pull.wait_for(HELD_AT - 1)
    told = scrape(puller)
    assert (told["transfers_in_progress"], told["readers_in_progress"]) == (1, 1)

    upstream.hold_no_more()
    cache.kill_worker(workers.first)

    # Until the master has noticed, and the next worker has loaded.
    eventually(lambda: scrape(make_puller(cache.url))["workers"] == 2)
    eventually(lambda: scrape(make_puller(cache.url))["transfers_in_progress"] == 0)
    told = scrape(make_puller(cache.url))
    pings = "requests_total{kind=ping,outcome=none,status=2xx}"
    assert told["readers_in_progress"] == 0
    assert told[pings] - before.get(pings, 0) >= 5
    assert not pull.finish().complete
    # Somebody has to go on with what it left.
    assert digest_of(puller.blob(blob).body) == blob


def test_a_scrape_while_pulls_run(upstream: FakeUpstream, cache: CacheServer, puller: Puller) -> None:
    blob = upstream.add_blob(random_bytes(SIZE, seed="while pulls run"))
    upstream.faults.hold_at = HELD_AT
    before = scrape(puller)
    pulls = [puller.start_blob(APP, blob) for _ in range(3)]
    for pull in pulls:
        pull.wait_for(HELD_AT - 1)
    told = scrape(puller)
    assert (told["transfers_in_progress"], told["readers_in_progress"]) == (1, 3)

    upstream.faults.gate.set()
    assert [pull.finish().digest for pull in pulls] == [blob] * 3

    def grown(name: str) -> float:
        return scrape(puller).get(name, 0) - before.get(name, 0)

    # A worker counts what it has sent after the client has got it.
    eventually(
        lambda: grown("served_bytes_total{outcome=join}") + grown("served_bytes_total{outcome=miss}") == 3 * SIZE
    )
    eventually(lambda: scrape(puller)["readers_in_progress"] == 0)
    assert grown(f"upstream_fetched_bytes_total{{upstream={upstream.url.removeprefix('http://')}}}") == SIZE
    text = puller.get("/metrics").body
    done = subprocess.run(
        [require("promtool"), "check", "metrics"], input=text, capture_output=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_an_address_for_those_who_watch(
    make_cache: MakeCache, make_puller: MakePuller, tmp_path: Path, upstream: FakeUpstream
) -> None:
    """Plain HTTP beside TLS, nothing but metrics and health, without a login, the same after a reload."""
    _, certificate = make_certificate(tmp_path)
    users = tmp_path / "htpasswd"
    users.write_text(f"alice:$2y$10${'.' * 53}\n", encoding="utf-8")
    tls = {"certificate": str(certificate), "key": str(tmp_path / "key.pem")}
    debug = {"addr": "127.0.0.1:0", "prometheus": {"path": "/prom"}}
    config = {"http": {"tls": tls, "debug": debug}, "auth": {"htpasswd": {"realm": "r", "path": str(users)}}}
    cache = make_cache(config, workers=1)
    [worker] = cache.workers()
    said = re.search(r"info metrics and health on (http://127\.0\.0\.1:[0-9]+)", cache.log_text())
    assert said
    watcher = make_puller(said[1])

    assert scrape(watcher, "/prom")["workers"] == 1
    assert watcher.get("/healthz").json() == {"status": "ok"}
    assert watcher.get("/readyz").json() == {"status": "ok", "store": "ok"}
    assert watcher.get("/debug/health").json() == {}
    assert [watcher.get(path).status for path in ("/", "/v2/", f"/v2/{APP}/tags/list", "/metrics")] == [404] * 4
    assert not re.search(" path=/(healthz|readyz|prom|debug)", cache.log_text())

    os.kill(int(Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[1]), signal.SIGHUP)
    eventually(lambda: "info reloaded" in cache.log_text())
    assert scrape(make_puller(said[1]), "/prom")["workers"] >= 1


def test_an_upstream_outage_is_no_reason_to_send_clients_away(upstream: FakeUpstream, puller: Puller) -> None:
    upstream.faults.status = 503
    assert (puller.get("/healthz").status, puller.get("/readyz").status) == (200, 200)
    assert upstream.exchanges == []


def test_an_address_that_is_taken_is_said_at_the_start(cache: CacheServer, tmp_path: Path) -> None:
    file = tmp_path / "config.yml"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        settings = yaml.safe_load(cache.config_file.read_text()) | {"http": {"debug": {"addr": address}}}
        file.write_text(yaml.safe_dump(settings))
        done = cache.run("--config", str(file), "serve", "--", "--bind", "127.0.0.1:0")
    assert done.returncode == 1
    assert f"http.debug.addr: cannot listen on {address}: something listens there already" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_line_tells_what_upstream_cost(upstream: FakeUpstream, cache: CacheServer, puller: Puller) -> None:
    image = make_image(upstream, tag="1")
    begin = len(cache.log_text())
    upstream.faults.delay = 0.2
    assert puller.manifest("1").status == 200
    assert puller.manifest(image.digest).headers["X-Cache"] == "hit"
    asked, hit = (line for line in cache.log_text()[begin:].splitlines() if " info request " in line)
    told = {name: float(value) for name, value in re.findall(r" (\w*seconds)=([0-9.]+)", asked)}
    assert 0.4 <= told["upstream_seconds"] <= told["first_byte_seconds"] <= told["seconds"]
    assert "upstream_seconds" not in hit
