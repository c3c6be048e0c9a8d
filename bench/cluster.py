"""Three nodes over one Redis: what the upstream sends for one blob, how long clients wait, and what a fault costs.

    python -m bench.cluster [--size 48] [--folder DIR] [--out bench/results/cluster.txt]      `make bench-cluster`

Real nodes of two workers on loopback, a real Redis, a fake upstream in Python; every body is hashed. Beside it, in the
same run, three CNCF Distribution proxies over one folder, where `docker-registry` is installed. A line a row, and the
goal it is held to. Ratios hold for any machine; seconds are this machine's, on that day. Needs redis-server and wrk.
`--simulate` starts nothing: it prints what many nodes would cost, by bench/cluster_model.py.
"""

from __future__ import annotations

import argparse
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from bench import cluster_model
from bench.processor_time import cpu_of_a_gigabyte, cpu_seconds
from bench.systems import DISTRIBUTION, distribution
from tests.harness.cluster_rig import Cluster, Node
from tests.harness.content import APP
from tests.harness.images import make_image
from tests.harness.pullers import Pull, Puller, Result
from tests.harness.server import CacheServer
from tests.harness.upstream import FakeUpstream
from tests.harness.waiting import eventually

MIB = 1024 * 1024
CLIENTS = 10  # a node
SETTLE_SECONDS = 1.0
WARM_SECONDS = 2
WARM_PAIRS = 8


class Bench:
    """One cluster in front of one upstream; a new blob for each row."""

    def __init__(self, folder: Path, size: int) -> None:
        self.upstream = FakeUpstream()
        self.cluster = Cluster(folder, self.upstream.url)
        self.cluster.wait_until_ready()
        self.size = size
        self._seed = 0
        # Nobody takes a lease until Redis is known not to have been emptied a moment ago.
        time.sleep(4)

    def blob(self) -> str:
        self._seed += 1
        return self.upstream.add_blob(Random(self._seed).randbytes(self.size))

    def pull(self, blob: str, clients: int = 1) -> list[Pull]:
        return [puller.start_blob(APP, blob) for puller in self.cluster.pullers for _ in range(clients)]

    def ratio(self, blob: str) -> float:
        return self.upstream.bytes_sent(blob) / self.size

    def sent(self, blob: str) -> str:
        """What the registry sent, and by how many requests: the kernel of a node that stands still takes some, too."""
        return f"{self.ratio(blob):.3f} x by {self.upstream.gets(blob)} requests"

    def leader(self, blob: str) -> Node:
        eventually(lambda: self.cluster.leader_of(blob) is not None)
        found = self.cluster.leader_of(blob)
        assert found is not None
        return found

    def others(self, leader: Node, pulls: list[Pull]) -> list[Pull]:
        return [pull for node, pull in zip(self.cluster.nodes, pulls, strict=True) if node is not leader]

    def stop(self) -> None:
        self.upstream.faults.release()
        self.cluster.stop()
        self.upstream.stop()


def right(results: list[Result], blob: str) -> str:
    return f"{sum(result.digest == blob for result in results)} of {len(results)} right"


def herd(bench: Bench) -> str:
    blob = bench.blob()
    results = [pull.finish() for pull in bench.pull(blob, CLIENTS)]
    return f"{bench.ratio(blob):.3f} x, {right(results, blob)}"


def follower(bench: Bench) -> str:
    """First bytes of clients elsewhere while the download is under way."""
    blob = bench.blob()
    bench.upstream.faults.rate = 16 * MIB
    first = bench.cluster.pullers[0].start_blob(APP, blob)
    first.wait_for(2 * MIB)
    ours = [puller.start_blob(APP, blob) for puller in bench.cluster.pullers[1:] for _ in range(3)]
    seconds = [pull.finish().first_byte_seconds or 99 for pull in ours]
    bench.upstream.faults.rate = None
    first.finish()
    return f"{', '.join(f'{each * 1000:.0f}' for each in seconds)} ms"


def speed(bench: Bench) -> str:
    """A follower elsewhere against a cold pull of another blob, both alone and in turn; CPU of the node that gives."""
    cold, near, cpu, bare = [], [], [], []
    first, second, *_ = bench.cluster.pullers
    node = bench.cluster.nodes[0]
    for _ in range(5):
        blob = bench.blob()
        cold.append(first.start_blob(APP, blob).finish().seconds)
        # Until it has committed what it has just sent, which is no part of giving it.
        time.sleep(SETTLE_SECONDS)
        before = cpu_seconds(node)
        near.append(second.start_blob(APP, blob).finish().seconds)
        cpu.append((cpu_seconds(node) - before) / (bench.size / 1e9))
        bare.append(cpu_of_a_gigabyte(node.blob_file(blob)))
    rate = statistics.median(cold) / statistics.median(near)
    cost = (
        f"{statistics.median(cpu):.2f} s of CPU a GB at the node that has it, {statistics.median(bare):.2f} by sendfile"
    )
    return f"{rate:.2f} of a cold pull's rate; {cost}"


def fault(bench: Bench, strike: Callable[[Node], None], mend: Callable[[Node], None]) -> str:
    """Strike the leader in mid-download; how long the others stand still, and what the upstream sends in all."""
    blob = bench.blob()
    bench.upstream.faults.rate = 8 * MIB
    pulls = bench.pull(blob)
    for pull in pulls:
        pull.wait_for(bench.size // 4)
    leader = bench.leader(blob)
    others = bench.others(leader, pulls)
    strike(leader)
    pause = longest_pause(others)
    bench.upstream.faults.rate = None
    results = [pull.finish() for pull in others]
    mend(leader)
    return f"{bench.sent(blob)}, {right(results, blob)}, a pause of {pause:.1f} s"


def longest_pause(pulls: list[Pull]) -> float:
    """The longest time without a new byte, until each has two MiB more."""
    goal = [pull.size + 2 * MIB for pull in pulls]
    sizes, since, longest = [pull.size for pull in pulls], [time.monotonic()] * len(pulls), 0.0
    while any(pull.size < end for pull, end in zip(pulls, goal, strict=True)):
        for number, pull in enumerate(pulls):
            if pull.size != sizes[number]:
                longest = max(longest, time.monotonic() - since[number])
                sizes[number], since[number] = pull.size, time.monotonic()
        time.sleep(0.01)
        assert time.monotonic() - min(since) < 60, "nothing moves"
    return longest


def killed(bench: Bench) -> str:
    return fault(bench, lambda node: node.lose_power(), restart)


def stopped(bench: Bench) -> str:
    return fault(bench, lambda node: node.stand_still(), lambda node: node.wake())


def worker_killed(bench: Bench) -> str:
    def strike(node: Node) -> None:
        node.kill_worker(node.workers()[0])

    return fault(bench, strike, lambda node: None)


def restart(node: Node) -> None:
    node.start()
    node.workers()


def woken(bench: Bench) -> str:
    """The leader stands still for as long as it takes to replace it, and wakes up."""
    blob = bench.blob()
    bench.upstream.faults.rate = 4 * MIB
    pulls = bench.pull(blob)
    for pull in pulls:
        pull.wait_for(bench.size // 8)
    leader = bench.leader(blob)
    leader.stand_still()
    eventually(lambda: bench.leader(blob) is not leader)
    leader.wake()
    began = time.monotonic()
    eventually(lambda: "another node leads this download now" in leader.log_text())
    noticed = time.monotonic() - began
    bench.upstream.faults.rate = None
    results = [pull.finish() for pull in pulls]
    return f"{bench.sent(blob)}, {right(results, blob)}, noticed in {noticed:.1f} s"


def redis_away(bench: Bench) -> str:
    blob = bench.blob()
    bench.cluster.redis.stop()
    results = [pull.finish() for pull in bench.pull(blob, 3)]
    bench.cluster.redis.start()
    time.sleep(4)
    return f"{bench.sent(blob)}, {right(results, blob)}"


def redis_emptied(bench: Bench) -> str:
    blob = bench.blob()
    bench.upstream.faults.rate = 8 * MIB
    first = bench.cluster.pullers[0].start_blob(APP, blob)
    first.wait_for(2 * MIB)
    bench.cluster.redis.stop()
    bench.cluster.redis.start()
    others = [puller.start_blob(APP, blob) for puller in bench.cluster.pullers[1:] for _ in range(3)]
    results = [pull.finish() for pull in [first, *others]]
    bench.upstream.faults.rate = None
    return f"{bench.sent(blob)}, {right(results, blob)}"


def wrong_bytes(bench: Bench) -> str:
    blob = bench.blob()
    faults = bench.upstream.faults.of(blob)
    faults.corrupt_at = bench.size - 1000
    results = [pull.finish() for pull in bench.pull(blob, 3)]
    return (
        f"{sum(result.complete for result in results)} of {len(results)} complete, {bench.upstream.gets(blob)} requests"
    )


def tags(bench: Bench) -> str:
    told = []
    for temperature in ("cold", "warm"):
        if temperature == "cold":
            make_image(bench.upstream, tag="bench")
        bench.upstream.forget()
        bench.upstream.faults.delay = 0.5
        pullers = bench.cluster.pullers * CLIENTS
        with ThreadPoolExecutor(len(pullers)) as pool:
            statuses = {answer.status for answer in pool.map(lambda puller: puller.manifest("bench"), pullers)}
        bench.upstream.faults.delay = 0
        heads = len(bench.upstream.requests("HEAD", "/manifests/"))
        told.append(f"{temperature}: {heads} HEAD, {bench.upstream.counted_pulls} GET, {statuses}")
    return "; ".join(told)


def warm(bench: Bench, folder: Path) -> str:
    """Hits of a blob of 16 KiB and of a manifest, with and without a cluster, in turn."""
    # Both new, so that neither has a past.
    alone = CacheServer(folder / "alone", bench.upstream.url)
    node = Node("node4", folder / "node4", bench.upstream.url, bench.cluster.redis)
    try:
        image = make_image(bench.upstream, tag="warm")
        blob = bench.upstream.add_blob(Random(0).randbytes(16 * 1024))
        paths = [f"/v2/{APP}/blobs/{blob}", f"/v2/{APP}/manifests/{image.digest}"]
        for server in (node, alone):
            for path in paths:
                with Puller(server.url) as puller:
                    assert puller.get(path).status == 200
        told = []
        for path, what in zip(paths, ("blob", "manifest"), strict=True):
            ratios = []
            for number in range(WARM_PAIRS):
                # Each is the first of its pair as often as the other.
                first, second = (node, alone) if number % 2 else (alone, node)
                costs = {server: cpu_of_a_hit(server, path) for server in (first, second)}
                ratios.append(costs[alone] / costs[node])
            told.append(f"{what} {statistics.median(ratios):.2f}")
        memory = [statistics.mean(server.rss(pid) for pid in server.workers()) / MIB for server in (node, alone)]
        more = memory[0] - memory[1]
        return f"{', '.join(told)} times the hits without, a second of CPU; memory a worker {more:+.1f} MiB"
    finally:
        alone.stop()
        node.stop()


def cpu_of_a_hit(server: CacheServer, path: str) -> float:
    """Seconds of CPU; the rate alone says more of what else the machine does."""
    before = cpu_seconds(server)
    hits = wrk(server.url + path) * WARM_SECONDS
    return (cpu_seconds(server) - before) / hits


def wrk(url: str) -> float:
    command = ["wrk", "-t1", "-c8", f"-d{WARM_SECONDS}s", url]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    found = re.search(r"Requests/sec:\s+([0-9.]+)", printed)
    assert found is not None, printed
    return float(found[1])


def distributions(bench: Bench, folder: Path) -> str:
    """The same clients through three CNCF Distribution proxies over one folder."""
    program = distribution(DISTRIBUTION)
    if program is None:
        return "docker-registry is not installed"
    with ExitStack() as stack:
        urls = [stack.enter_context(proxy(program, folder / "distribution", bench, number)) for number in range(3)]
        blob = bench.blob()
        pullers = [stack.enter_context(Puller(url)) for url in urls]
        results = [
            pull.finish() for pull in [puller.start_blob(APP, blob) for puller in pullers for _ in range(CLIENTS)]
        ]
        return f"{bench.ratio(blob):.3f} x, {right(results, blob)}"


@contextmanager
def proxy(program: str, folder: Path, bench: Bench, number: int) -> Iterator[str]:
    folder.mkdir(exist_ok=True)
    config, log = folder / f"{number}.yml", folder / f"{number}.log"
    config.write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {folder}/store}}}}\n"
        f"http: {{addr: '127.0.0.1:0', secret: bench}}\nredis: {{addr: '{bench.cluster.redis.address}'}}\n"
        f"proxy: {{remoteurl: '{bench.upstream.url}'}}\n"
    )
    with log.open("ab") as out:
        process = subprocess.Popen([program, "serve", str(config)], stdout=out, stderr=out, env={"HOME": str(folder)})
    try:
        eventually(lambda: b"listening on" in log.read_bytes())
        found = re.search(r"listening on ([0-9.:]+)", log.read_text())
        assert found is not None
        yield f"http://{found[1]}"
    finally:
        process.terminate()
        process.wait(30)


ROWS: list[tuple[str, str, Callable[[Bench], str]]] = [
    ("30 cold clients over 3 nodes", "1.00 x", herd),
    ("first byte elsewhere, download under way", "< 300 ms", follower),
    ("a node that follows or fetches from a peer", ">= 0.85; <= 0.35 s", speed),
    ("kill -9 of the leading node", "<= 1.05 x, < 1 s", killed),
    ("the leading node stopped (SIGSTOP), its port accepts", "<= 1.05 x, < 8 s", stopped),
    ("stopped, replaced, and woken (SIGCONT)", "+ what its socket held", woken),
    ("a leading node's worker killed", "<= 1.05 x", worker_killed),
    ("Redis away", "1.00 x, no error", redis_away),
    ("Redis restarted empty", "1.00 x", redis_emptied),
    ("wrong bytes from the registry", "0 complete, 2 requests", wrong_bytes),
    ("a tag, 30 clients over 3 nodes", "1 HEAD, 1 GET", tags),
]


HITS = "hits with and without a cluster"
OTHERS = "30 cold clients over 3 CNCF Distribution proxies"


def simulate(out: Path | None) -> None:
    """Print what many nodes would cost, and write it down with the command that did."""
    lines = ["python -m bench.cluster --simulate", "", *cluster_model.lines()]
    print("\n".join(lines))
    if out:
        out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Print a line per row, and write all of them down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=48, help="of a blob, in MiB")
    parser.add_argument("--row", help="only rows with these words")
    parser.add_argument("--folder", help="on which disk; else TMPDIR's")
    parser.add_argument("--out", type=Path, help="also write the lines there")
    parser.add_argument("--simulate", action="store_true", help="of 10, 100 and 1,000 nodes, by arithmetic")
    given = parser.parse_args()
    if given.simulate:
        simulate(given.out)
        return
    if missing := [program for program in ("redis-server", "wrk") if shutil.which(program) is None]:
        sys.exit(f"not installed: {', '.join(missing)}")
    lines = [f"three nodes of two workers, one blob of {given.size} MiB a row; {datetime.now(UTC):%Y-%m-%d}"]

    def tell(what: str, goal: str, found: str) -> None:
        lines.append(f"{what:<54}{goal:<26}{found}")
        print(lines[-1], flush=True)

    def wanted(what: str) -> bool:
        return given.row is None or given.row in what

    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        bench = Bench(folder / "cluster", given.size * MIB)
        try:
            for what, goal, row in filter(lambda each: wanted(each[0]), ROWS):
                tell(what, goal, row(bench))
            if wanted(HITS):
                tell(HITS, ">= 0.95; <= +15 MB", warm(bench, folder))
            if wanted(OTHERS):
                tell(OTHERS, "", distributions(bench, folder))
        finally:
            bench.stop()
    if given.out:
        given.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
