"""A week of a busy mirror through the numbers that last, and what they cost a hit.

    python -m bench.statistics_load [--quick] [--days 7] [--folder DIR]

1. 2,000 clients and 20,000 images for a week on a clock of its own, counted by two processes' tallies and folded as a
   server folds them, with a kill of everything each day: every sum to the byte against the load's own count, the names
   of the top lists against the true ones, bytes on the disk, memory, and seconds of the process that folds.
2. nginx' log followed: CPU of a line, where lines are alike and where no two are.
3. Real servers, and ``wrk``: CPU of a warm hit with the numbers and without, in turn; gunicorn alone, and behind nginx
   with its log followed.
"""

from __future__ import annotations

import argparse
import random
import re
import resource
import statistics
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench.figures import serve
from bench.processes import cpu_seconds
from registry_cache.runtime.event_queue import Amount, Answer
from registry_cache.stats.calendar import DAY_SECONDS
from registry_cache.stats.files import StatisticsFiles
from registry_cache.stats.journal_file import JournalBounds
from registry_cache.stats.keeper import Keeper
from registry_cache.stats.nginx_hits import NginxHits
from registry_cache.stats.recorder import WRITE_SECONDS
from registry_cache.stats.statistics import Statistics
from registry_cache.stats.sums import SAVING, DiskUse
from registry_cache.stats.tally import Tally
from registry_cache.store.atomic_write import write_whole
from registry_cache.store.layout import Layout
from tests.harness.components import require
from tests.harness.images import make_image, random_bytes
from tests.harness.nginx_rig import running
from tests.harness.programs import short_folder
from tests.harness.server import CacheServer

CLIENTS, IMAGES = 2_000, 20_000
PULLS_A_DAY = 40_000
BEGIN = 20_000 * DAY_SECONDS
JOURNAL = JournalBounds(days=7, size=64_000_000)
# A server folds three times a minute; here a week would take an hour with that.
FOLD_SECONDS = 300.0
_ROUNDS, _SECONDS = 9, 4
_CONNECTIONS = 32


@dataclass
class Truth:
    """The load's own count, which shares nothing with what it measures."""

    requests: Counter[str] = field(default_factory=Counter)
    served: Counter[str] = field(default_factory=Counter)
    fetched: Counter[str] = field(default_factory=Counter)
    saved: Counter[str] = field(default_factory=Counter)
    tags: int = 0
    clients: set[str] = field(default_factory=set)

    def note(self, answer: Answer) -> None:
        self.requests[answer.outcome] += 1
        self.served[answer.outcome] += answer.size
        self.clients.add(answer.client)
        if answer.outcome in SAVING:
            self.saved[f"{answer.upstream}/{answer.repository}"] += answer.size
        self.tags += answer.kind == "manifest" and ":" not in answer.reference


def week(days: int, pulls: int, seed: int = 1) -> Iterator[Answer | Amount]:
    """Yield what happens: pulls of a HEAD, two manifests and up to six layers, those of popular images more often."""
    chance = random.Random(seed)
    clients = [f"10.{number >> 8}.{number & 255}.7" for number in range(CLIENTS)]
    # As registries have it: the hundredth image is asked for a fortieth as often as the first.
    weights = [1 / (rank + 1) ** 0.8 for rank in range(IMAGES)]
    cumulative = [0.0]
    for weight in weights:
        cumulative.append(cumulative[-1] + weight)
    for day in range(days):
        moments = sorted(chance.uniform(0, DAY_SECONDS) for _ in range(pulls))
        ranks = chance.choices(range(IMAGES), cum_weights=cumulative[1:], k=pulls)
        for moment, rank in zip(moments, ranks, strict=True):
            yield from pull(chance, BEGIN + day * DAY_SECONDS + moment, chance.choice(clients), rank)


def pull(chance: random.Random, at: float, client: str, rank: int) -> Iterator[Answer | Amount]:
    upstream, repository = ("docker.io", "ghcr.io")[rank % 2], f"team-{rank % 97}/image-{rank}"
    index, platform = f"sha256:{rank:064x}", f"sha256:{rank + IMAGES:064x}"

    def answer(method: str, kind: str, reference: str, outcome: str, size: int) -> Answer:
        digest = index if kind == "manifest" else ""
        return Answer(at, client, "", method, kind, upstream, repository, reference, digest, outcome, 200, size, "")

    word = "miss" if chance.random() < 0.05 else "hit"
    yield answer("HEAD", "manifest", "1.0", "revalidated", 0)
    yield answer("GET", "manifest", index, word, 1800)
    yield answer("GET", "manifest", platform, word, 2400)
    for layer in range(chance.randrange(7)):
        size = chance.randrange(10_000, 200_000_000)
        yield answer("GET", "blob", f"sha256:{rank * 8 + layer:064x}", word, size)
        if word == "miss":
            yield Amount(at, "fetched", upstream, size)


class Server:
    """Two processes that count, and one of them that folds; the clock is the load's."""

    def __init__(self, files: StatisticsFiles) -> None:
        self.files = files
        self.now = float(BEGIN)
        self.fold_seconds, self.folds = 0.0, 0
        self._start()

    def _start(self) -> None:
        self.tallies = [Tally(journal=True, clients=True) for _ in range(2)]
        self.keeper = Keeper(self.files, JOURNAL, lambda: DiskUse(1, 2, 3), lambda: self.now, clients=True)
        assert self.keeper.hold()

    def write(self) -> None:
        began = time.process_time()
        for tally in self.tallies:
            for day, counted in tally.take():
                write_whole(self.files.new_incoming(day), counted.encode())
        self.keeper.fold()
        self.fold_seconds, self.folds = self.fold_seconds + time.process_time() - began, self.folds + 1

    def kill(self) -> None:
        """Right after a write, of which the fold is still to come."""
        for tally in self.tallies:
            for day, counted in tally.take():
                write_whole(self.files.new_incoming(day), counted.encode())
        self.keeper.release()
        self._start()


def measure_week(days: int, pulls: int, folder: str | None) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="bench-", dir=folder) as name:
        layout = Layout.open(Path(name) / "store")
        server, truth, count = Server(StatisticsFiles(layout)), Truth(), 0
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        due, kill_due, counting = BEGIN + FOLD_SECONDS, BEGIN + DAY_SECONDS / 2, 0.0
        for event in week(days, pulls):
            server.now = event.at
            if event.at > due:
                due = event.at + FOLD_SECONDS
                server.write()
            if event.at > kill_due:
                kill_due += DAY_SECONDS
                server.kill()
            if isinstance(event, Answer):
                truth.note(event)
            else:
                truth.fetched[event.name] += event.amount
            began = time.process_time()
            server.tallies[count % 2].add(event)
            counting += time.process_time() - began
            count += 1
        server.write()
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        yield f"{days} days, {CLIENTS} clients, {IMAGES} images: {count} events, {days * pulls} pulls"
        yield from compare(layout, server, truth)
        fold = server.fold_seconds / server.folds * 1000
        yield f"counting {counting / count * 1e6:.1f} µs an event; {server.folds} folds of {fold:.0f} ms of CPU"
        yield f"memory of load, tallies and folds together: {memory / 1024:.0f} MB more than before"


def compare(layout: Layout, server: Server, truth: Truth) -> Iterator[str]:
    """Yield what is wrong, and how much room it takes."""
    numbers = Statistics(layout, lambda: server.now)
    began = time.perf_counter()
    sums = numbers.sums(0)
    reading = time.perf_counter() - began
    for what, found, true in (
        ("requests", sums.requests, truth.requests),
        ("bytes served", {key: size for key, size in sums.served.items() if size}, +truth.served),
        ("bytes fetched", sums.fetched, truth.fetched),
        ("bytes saved", sums.saved_bytes, sum(truth.saved.values())),
        ("pulls", sums.pulls, truth.tags),
        ("clients", sums.clients, len(truth.clients)),
    ):
        yield f"{what}: {'right' if found == true else f'WRONG, {found} and not {true}'}"
    top = numbers.top("saved", 0)
    true_top = [name for name, _ in truth.saved.most_common(100)]
    broken = sum(not each.at_least <= truth.saved[each.name] <= each.at_most for each in top)
    shared = len({each.name for each in top} & set(true_top))
    yield f"top list of bytes saved: {shared} of the true hundred, {broken} bounds broken"
    sizes = {part: _size(Path(layout.statistics) / part) for part in ("days", "journal", "clients.json")}
    yield "on the disk: " + ", ".join(f"{part} {size / 1e6:.2f} MB" for part, size in sizes.items())
    yield f"reading all sums: {reading * 1000:.0f} ms, again {_milliseconds(lambda: numbers.sums(0)):.1f} ms"
    yield f"pulls of one image: {_milliseconds(lambda: numbers.pulls('image-0')):.0f} ms"


def measure_following(lines: int) -> Iterator[str]:
    """Yield what a line of nginx' log costs, by how many different ones there are: client, blob and size."""
    costs = []
    for kinds in (1, 1000, lines):
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            log = Path(name) / "access.log"
            log.write_text("".join(_log_line(number, kinds) for number in range(lines)), encoding="utf-8")
            hits = NginxHits(str(log), Tally(journal=True, clients=True), pause=lambda seconds: None)
            hits.begin(lambda: None)
            began = time.process_time()
            while hits.look() or hits.take():
                hits.note_written()
            costs.append(f"{(time.process_time() - began) / lines * 1e6:.2f} where {kinds} are different")
    yield f"following nginx' log, µs of CPU a line, of {lines} within four seconds: {', '.join(costs)}"


def _log_line(number: int, kinds: int) -> str:
    at, kind = BEGIN + number / 50_000, number % kinds
    asked = f"GET /v2/library/app/blobs/sha256:{kind:064x} HTTP/1.1"
    tail = f'hit app=- id={at:.3f}-{number % 32}-{number} "docker/27.1" docker.io/library/app "-"'
    return f'10.0.0.{kind % 256} 2024-10-04T00:00:{number // 50_000:02}+00:00 "{asked}" 200 2048 0.000 {tail}\n'


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())


def _milliseconds(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return (time.perf_counter() - began) * 1000


def measure_alone(rounds: int, folder: str | None) -> Iterator[str]:
    with ExitStack() as stack:
        places = []
        for application in ("wsgi:app", "bench.without_statistics:app"):
            upstream, cache, puller = stack.enter_context(serve(folder, application=application))
            blob = upstream.add_blob(random_bytes(2048, seed=1))
            manifest = make_image(upstream, layers=1).digest
            paths = [f"/v2/library/app/{what}" for what in (f"blobs/{blob}", f"manifests/{manifest}")]
            assert [puller.get(path).status for path in paths] == [200, 200]
            places.append((cache.url, paths, partial(_cpu, cache)))
        for number, kind in enumerate(("blob of 2 kB", "manifest by digest")):
            pairs, _ = _pairs_and_rates([(url + paths[number], cpu) for url, paths, cpu in places], rounds)
            yield f"gunicorn alone, {kind}: {_shares(pairs)}"


def measure_behind_nginx(rounds: int) -> Iterator[str]:
    with ExitStack() as stack:
        places = []
        for follows in (True, False):
            folder = stack.enter_context(short_folder())
            config = {"statistics": {"nginx_log": str(folder / "access.log")}} if follows else {}
            behind = stack.enter_context(running(folder, config, log_buffer=True))
            blob = behind.upstream.add_blob(random_bytes(2048, seed=1))
            path = f"/v2/library/app/blobs/{blob}"
            assert behind.direct.get(path).status == 200
            pid = int((folder / "nginx" / "pid").read_text(encoding="utf-8"))
            places.append((behind.nginx.url + path, partial(_cpu, behind.cache, pid)))
        pairs, rates = _pairs_and_rates(places, rounds)
        yield f"behind nginx, blob of 2 kB, its log followed: {_shares(pairs)}"
        yield f"behind nginx, requests a second: {statistics.median(rates):.3f} of those without ({len(rates)} pairs)"


def _cpu(cache: CacheServer, *others: int) -> float:
    """Seconds of a cache's workers, and of other processes with their children."""
    return cpu_seconds([*cache.workers(), *others])


def _pairs_and_rates(
    places: Sequence[tuple[str, Callable[[], float]]], rounds: int
) -> tuple[list[tuple[float, float]], list[float]]:
    """Return pairs of CPU seconds a request, with the numbers and without, measured in turn, and how many times as
    many requests were answered with them in the same time.

    From the begin of one window to that of the next, so that what is written after it counts as well.
    """
    begun: list[list[float]] = [[], []]
    counts: list[list[int]] = [[], []]
    for number in range(rounds):
        for index in ((0, 1), (1, 0))[number % 2]:
            url, cpu = places[index]
            begun[index].append(cpu())
            counts[index].append(_requests(url))
    time.sleep(WRITE_SECONDS + 2)
    costs = []
    for index, (_, cpu) in enumerate(places):
        ends = [*begun[index][1:], cpu()]
        costs.append([(end - begin) / n for begin, end, n in zip(begun[index], ends, counts[index], strict=True)])
    return list(zip(*costs, strict=True)), [with_ / without for with_, without in zip(*counts, strict=True)]


def _requests(url: str) -> int:
    command = [require("wrk"), "-t1", f"-c{_CONNECTIONS}", f"-d{_SECONDS}s", url]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Non-2xx" not in done.stdout, done.stdout
    found = re.search(r"(\d+) requests in", done.stdout)
    assert found, done.stdout
    return int(found[1])


def _shares(pairs: list[tuple[float, float]]) -> str:
    shares = sorted(without / with_ for with_, without in pairs)
    quarter = len(shares) // 4
    with_, without = (statistics.median(pair[index] for pair in pairs) * 1e6 for index in (0, 1))
    middle = f"{shares[quarter]:.3f} to {shares[-1 - quarter]:.3f}"
    return (
        f"{with_:.1f} µs of CPU a hit with the numbers, {without:.1f} without: "
        f"{statistics.median(shares):.3f} of the hits a CPU second (middle half {middle}, {len(pairs)} pairs)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.statistics_load")
    parser.add_argument("--quick", action="store_true", help="a tenth of the load, three pairs")
    parser.add_argument("--days", type=int, default=7)
    parser.add_argument("--folder", help="where to work")
    arguments = parser.parse_args()
    pulls, rounds = (PULLS_A_DAY // 10, 3) if arguments.quick else (PULLS_A_DAY, _ROUNDS)
    for lines in (
        measure_week(arguments.days, pulls, arguments.folder),
        measure_following(20_000 if arguments.quick else 200_000),
        measure_alone(rounds, arguments.folder),
        measure_behind_nginx(rounds),
    ):
        for line in lines:
            print(line, flush=True)


if __name__ == "__main__":
    main()
