"""The benchmark: ours, ours behind nginx, CNCF Distribution and the limit, in one run.

    make bench                            everything, about twenty minutes
    make bench ARGS="--quick"             a short one: whether it works, and roughly how far we are
    make bench ARGS="--rows manifest tag"

How to read it: bench/README.md.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.picture import draw
from bench.plan import FULL, QUICK
from bench.report import SYSTEMS, Result, document, notes, table
from bench.rows import select_rows
from bench.run import Run
from bench.systems import DISTRIBUTION, DISTRIBUTION_3, OURS, distribution
from registry_cache import __version__

RESULTS = Path(__file__).with_name("results")
_NEEDED = ("nginx", "wrk")
_PEERS = {
    DISTRIBUTION: "on Debian: apt-get install docker-registry",
    DISTRIBUTION_3: "DISTRIBUTION_3 says where its program is",
}


def main() -> int:
    """Return 0; 1 if a system failed; 2 for a wrong command line or missing programs."""
    given = _arguments()
    try:
        plan = QUICK if given.quick else FULL
        rows = select_rows(plan, given.rows)
    except LookupError as error:
        return _refuse(error.args[0])
    if missing := [program for program in _NEEDED if not shutil.which(program)]:
        return _refuse(f"missing: {', '.join(missing)}; on Debian: apt-get install {' '.join(missing)}")
    for name, remedy in _PEERS.items():
        if name in given.systems and not distribution(name):
            print(f"{name} is missing, and left out; {remedy}")
    # Whoever ends this process also ends what it started.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda caught, _: sys.exit(128 + caught))
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=given.folder) as folder:
        results = Run(Path(folder), plan, given.systems, _say).run(rows)
    _tell(results, given, time.monotonic() - began)
    return 1 if any(result.failed for result in results) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="once each, with less of everything, in about a minute")
    parser.add_argument("--rows", nargs="+", default=[], metavar="NAME", help="these alone")
    parser.add_argument("--systems", nargs="+", default=SYSTEMS, choices=SYSTEMS, help="these alone")
    parser.add_argument("--folder", type=Path, help="on which disk to work: a full run needs 8 GB; else TMPDIR's")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where to write; else bench/results")
    return parser.parse_args()


def _refuse(why: str) -> int:
    print(f"bench: {why}", file=sys.stderr)
    return 2


def _say(what: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{what}", end="", file=sys.stderr, flush=True)


def _tell(results: Sequence[Result], given: argparse.Namespace, seconds: float) -> None:
    """Print the table, and leave it beside the document and the picture."""
    _say("")
    kind = "quick" if given.quick else "full"
    text = "\n".join([table(results), "", *notes(results), f"{kind} run, {seconds:.0f} s"])
    print(text)
    given.out.mkdir(parents=True, exist_ok=True)
    machine = {
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
    }
    told = {
        "run": kind,
        "seconds": round(seconds),
        "machine": machine,
        "versions": _versions(),
        "rows": document(results),
    }
    (given.out / f"{kind}.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    (given.out / f"{kind}.txt").write_text(text + "\n", encoding="utf-8")
    (given.out / f"{kind}.svg").write_text(
        draw(results, "A row each, relative to its limit; longer is better"), "utf-8"
    )


def _versions() -> dict[str, str]:
    found = {OURS: __version__, "python": platform.python_version(), "linux": platform.release().partition("-")[0]}
    peers = ((name, [distribution(name) or "", "--version"]) for name in _PEERS)
    for name, command in (("nginx", ["nginx", "-v"]), *peers):
        if command[0]:
            told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
            found[name] = (told.stdout + told.stderr).split()[-1].removeprefix("nginx/")
    return found


if __name__ == "__main__":
    sys.exit(main())
