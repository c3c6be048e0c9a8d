"""A run: starts and stops upstreams and systems, and interleaves repetitions so that noise affects all alike."""

import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.measure import Failed, Figures, Trial, greet, warm_up
from bench.plan import SHAPES, Materials, Plan
from bench.report import Result, derive
from bench.rows import MEMORY, WARM_ROWS, Row
from bench.systems import LIMIT, System, makers
from bench.upstreams import Upstream, make_upstream, wait_until_idle

# What a system's failure looks like; anything else is the benchmark's own.
_FAILURES = (Failed, RuntimeError, OSError, subprocess.SubprocessError)


class Run:
    """Measures ``systems`` by ``plan`` in ``folder``; ``say`` is told what is being done."""

    def __init__(self, folder: Path, plan: Plan, systems: Sequence[str], say: Callable[[str], None]) -> None:
        self._folder, self._plan, self._systems, self._say = folder, plan, systems, say
        self._figures: dict[str, dict[str, list[Figures]]] = defaultdict(lambda: defaultdict(list))
        self._failed: dict[str, dict[str, str]] = defaultdict(dict)

    def run(self, rows: Sequence[Row]) -> list[Result]:
        """Measure these rows, in their order; systems are started anew for each shape of the upstream."""
        for shape in SHAPES:
            measured = [row for row in rows if row.shape == shape and row.measure]
            if measured:
                self._shape(shape, measured)
        results: list[Result] = []
        for row in rows:
            results.append(derive(row, results) if row.of else self._result(row))
        return results

    def _result(self, row: Row) -> Result:
        return Result(row, self._figures[row.name], self._failed[row.name])

    def _shape(self, shape: str, rows: Sequence[Row]) -> None:
        self._say(f"making what is pulled, starting an upstream that is {shape}, and the systems")
        folder = self._folder / shape
        folder.mkdir()
        materials = Materials(folder / "content", self._plan)
        materials.make(shape, [row.name for row in rows])
        upstream = make_upstream(folder / "upstream", materials.content, SHAPES[shape])
        systems: list[System] = []
        try:
            systems += self._start_systems(folder, upstream, materials, rows)
            wait_until_idle(upstream)
            for row in rows:
                self._row(row, systems, upstream, materials)
            for system in systems:
                self._memory(system)
        finally:
            self._stop_systems(systems, upstream)

    def _start_systems(
        self, folder: Path, upstream: Upstream, materials: Materials, rows: Sequence[Row]
    ) -> Iterator[System]:
        """Yield what is up and has warmed up; all of them at once, for nothing is measured yet."""
        wanted = {name: make for name, make in makers(materials.content).items() if name in self._systems}
        warm = {row.name for row in rows} & WARM_ROWS

        def start(name: str) -> System | None:
            system = wanted[name](folder / name.replace(" ", "-"))
            try:
                system.start(upstream)
                greet(system)
                if warm:
                    warm_up(system, materials, "blob-large" in warm)
            except _FAILURES as error:
                self._fail(rows, name, error)
                system.stop()
                return None
            return system

        with ThreadPoolExecutor() as pool:
            yield from filter(None, list(pool.map(start, wanted)))

    def _stop_systems(self, systems: Sequence[System], upstream: Upstream) -> None:
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda system: system.stop(), systems))
        upstream.stop()

    def _row(self, row: Row, systems: Sequence[System], upstream: Upstream, materials: Materials) -> None:
        repetitions = self._plan.requests if row.loads else self._plan.bodies
        for repetition in range(repetitions):
            # Each in turn goes first.
            for number in range(len(systems)):
                system = systems[(number + repetition) % len(systems)]
                if system.name == LIMIT and not row.limited:
                    continue
                self._say(f"{row.name}: {system.name}, {repetition + 1} of {repetitions}")
                self._trial(Trial(row.name, system, upstream, materials, repetition), row)

    def _trial(self, trial: Trial, row: Row) -> None:
        assert row.measure is not None
        try:
            self._figures[row.name][trial.system.name].append(row.measure(trial))
        except _FAILURES as error:
            self._fail([row], trial.system.name, error)

    def _fail(self, rows: Sequence[Row], system: str, error: Exception) -> None:
        for row in rows:
            self._failed[row.name][system] = str(error)

    def _memory(self, system: System) -> None:
        """Keep the largest of all shapes."""
        before = self._figures[MEMORY][system.name]
        now = system.worker_memory() / 1e6
        self._figures[MEMORY][system.name] = [{"value": max([now, *(each["value"] for each in before)])}]
