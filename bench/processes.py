"""Programs that the benchmark starts, what they cost, and their end. Knows nothing of registries."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 60.0  # until something listens, on a machine that is busy
STOP_SECONDS = 60.0  # from TERM to the end, with transfers under way
_POLL_SECONDS = 0.02  # neither /proc nor another program's log can notify us of a change
_TICKS = os.sysconf("SC_CLK_TCK")


class Program:
    """A running program with a log of its own. ``stop`` ends it and whatever it started."""

    def __init__(
        self, command: Sequence[str], log: Path, environment: Mapping[str, str], descriptors: Sequence[int] = ()
    ) -> None:
        self.log, self._name, self._stopped = log, command[0], False
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                env={**environment, "PATH": os.environ["PATH"]},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=descriptors,
                start_new_session=True,  # a group of its own, so that it can be ended as a whole and nothing else is
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_for(self, look: Callable[[], str | None]) -> str:
        """Return what ``look`` finds; RuntimeError with the log where the program ends, or nothing is found in time."""
        deadline = time.monotonic() + START_SECONDS
        while (found := look()) is None:
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"{self._name} did not start: {self.text()[-2000:]}")
            time.sleep(_POLL_SECONDS)
        return found

    def text(self) -> str:
        """What it printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def stop(self) -> None:
        """TERM, then KILL for all that is left of its group. Does nothing the second time."""
        if self._stopped:
            return
        self._stopped = True
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return


@dataclass(frozen=True)
class Process:
    """A line of /proc: ``cpu`` in seconds, with that of children that ended and were waited for."""

    pid: int
    parent: int
    cpu: float


def tree(root: int) -> list[Process]:
    """A process and all its living descendants."""
    everyone = {process.pid: process for process in _processes()}
    found = [everyone[root]] if root in everyone else []
    for process in found:  # grows as we go
        found += [each for each in everyone.values() if each.parent == process.pid]
    return found


def cpu_seconds(roots: Iterable[int]) -> float:
    """User and system time of these processes and their descendants so far."""
    return sum(process.cpu for root in roots for process in tree(root))


def peak_memory(pid: int) -> int:
    """Return the most bytes that a process ever had resident; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


def _processes() -> Iterable[Process]:
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            text = (entry / "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        # Behind the name, which is in brackets and may hold anything; numbered as in proc(5), from field 3 on.
        fields = text.rpartition(")")[2].split()
        yield Process(int(entry.name), int(fields[1]), sum(map(int, fields[11:15])) / _TICKS)
