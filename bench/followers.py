"""How a crowd of followers of one growing blob does, and how long `/v2/` takes meanwhile, by gunicorn worker class.

    python -m bench.followers                        the shipped worker and gunicorn's gthread, 20, 200, 1,000 clients
    python -m bench.followers --clients 1000 --worker registry_cache.server.worker.Worker

Real gunicorn with two workers on loopback, a fake upstream that paces one transfer, a crowd in a process of its own
that compares every byte, and a ping of `/v2/` every 50 ms. A line per run. Compare lines with each other: absolute
figures are this machine's.
"""

import argparse
import http.client
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.harness.images import random_bytes
from tests.harness.pullers import Puller
from tests.harness.server import CacheServer
from tests.harness.upstream import FakeUpstream

MIB = 1024 * 1024
SHIPPED = "registry_cache.server.worker.Worker"
PING_SECONDS = 0.05


@dataclass
class Watch:
    """Pings `/v2/` and reads the workers' resident memory until told to stop."""

    cache: CacheServer
    pings: list[float] = field(default_factory=list)
    resident: int = 0
    done: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        host, port = self.cache.address.split(":")
        while not self.done.wait(PING_SECONDS):
            began = time.monotonic()
            connection = http.client.HTTPConnection(host, int(port), timeout=60)
            connection.request("GET", "/v2/")
            connection.getresponse().read()
            connection.close()
            self.pings.append(time.monotonic() - began)
            self.resident = max(self.resident, *(self.cache.rss(pid) for pid in self.cache.workers()))


def measure(worker: str, clients: int, size: int, rate: int) -> str:
    """One run, as a line of the table."""
    upstream = FakeUpstream()
    with tempfile.TemporaryDirectory() as folder:
        # One thread a client and some for pings: a thread class cannot follow with fewer.
        arguments = f"--worker-class {worker} --threads {clients + 16}"
        cache = CacheServer(Path(folder), upstream.url, environment={"GUNICORN_CMD_ARGS": arguments})
        data = random_bytes(size, seed=clients)
        blob = upstream.add_blob(data)
        upstream.faults.rate = rate
        puller = Puller(cache.url)
        try:
            while not all(puller.get("/v2/").status == 200 for _ in range(8)):
                pass
            watch = Watch(cache)
            watcher = threading.Thread(target=watch.run)
            watcher.start()
            result = puller.start_crowd(clients, "library/app", blob, data).finish()
            watch.done.set()
            watcher.join()
        finally:
            cache.close()
            upstream.stop()
    pings = sorted(watch.pings)
    return (
        f"{worker.rpartition('.')[2]:8} {clients:8} {result.right:8} {clients * size / result.seconds / 1e6:9.0f} "
        f"{pings[len(pings) // 2] * 1000:9.0f} {pings[int(len(pings) * 0.99)] * 1000:9.0f} {pings[-1] * 1000:9.0f} "
        f"{watch.resident / 1e6:8.0f} {upstream.bytes_sent(blob) / size:10.2f}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, nargs="+", default=[20, 200, 1000])
    parser.add_argument("--worker", nargs="+", default=[SHIPPED, "gthread"])
    parser.add_argument("--size", type=int, default=50, help="MiB of the blob")
    parser.add_argument("--rate", type=int, default=20, help="MiB/s that the upstream sends")
    arguments = parser.parse_args()
    print("worker    clients    right      MB/s  ping p50  ping p99  ping max  rss MB  upstream x", flush=True)
    for clients in arguments.clients:
        for worker in arguments.worker:
            print(measure(worker, clients, arguments.size * MIB, arguments.rate * MIB), flush=True)


if __name__ == "__main__":
    main()
