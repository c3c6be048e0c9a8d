"""How each row is measured: one repetition with one system. Figures by name; ``value`` is the row's own."""

import json
import os
import random
import re
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.content import MANIFEST_TYPE, Blob, manifest_path
from bench.plan import MB, MIB, Materials, Plan
from bench.systems import LIMIT, System
from bench.upstreams import REPOSITORY_ROOT, Upstream, wait_until_idle

Figures = dict[str, float]

# The same for all: what two cores can be asked for beside the system.
_THREADS, _CONNECTIONS = 2, 32
_STREAMS, _TIMES = 4, 6
# Both workers, and every cache that there is, have seen a path after so many pulls.
_WARM_CLIENTS, _WARM_TIMES = 8, 4
_CLIENT_SECONDS = 1800
# A blob may take this many times its size in memory on its way, in any of the systems and the client.
_MEMORY_PER_BLOB = 4
# What a lazy reader wants: the end, where an eStargz says where its table is, and then files here and there.
_FOOTER, _PART, _PARTS = 47, 128 * 1024, 40
_RATE = re.compile(r"Requests/sec:\s+([0-9.]+)")
_SLOWEST = re.compile(r"99%\s+([0-9.]+)(us|ms|s)")
_FAILED = re.compile(r"(?:Non-2xx|Socket errors).*")
_MILLISECONDS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


class Failed(Exception):
    """A system gave wrong answers, or none: no figure."""


@dataclass(frozen=True)
class Trial:
    """What a measurement needs: one ``system``, all of it running, in one repetition of ``row``."""

    row: str
    system: System
    upstream: Upstream
    materials: Materials
    repetition: int

    @property
    def plan(self) -> Plan:
        return self.materials.plan


def greet(system: System) -> None:
    """Pull a small image, so that a system is awake and knows its upstream; compare every byte of it."""
    _client(system.cold_url, "check", "warm")


def warm_up(system: System, materials: Materials, large: bool) -> None:
    """Let a system cache what the warm rows ask for, on disk and in memory."""
    paths = [manifest_path(reference) for reference in ("warm", materials.warm.digest)]
    paths += [blob.path for blob in (materials.small, materials.medium)]
    for path in paths:
        _client(system.url, "stream", path, clients=_WARM_CLIENTS, times=_WARM_TIMES)
    if large:
        _client(system.url, "stream", materials.large.path)


def manifest_by_digest(trial: Trial) -> Figures:
    return _requests(trial, manifest_path(trial.materials.warm.digest))


def manifest_by_tag(trial: Trial) -> Figures:
    return _requests(trial, manifest_path("warm"))


def small_blob(trial: Trial) -> Figures:
    return _requests(trial, trial.materials.small.path)


def medium_blob(trial: Trial) -> Figures:
    return _requests(trial, trial.materials.medium.path)


def large_blob(trial: Trial) -> Figures:
    """MB/s, and CPU seconds a GB."""
    blob, before = trial.materials.large, trial.system.cpu()
    told = _client(trial.system.url, "stream", blob.path, clients=_STREAMS, times=_TIMES)
    size = blob.size * _STREAMS * _TIMES
    return {"value": size / MB / told["seconds"], "cpu": (trial.system.cpu() - before) / (size / 1000 / MB)}


def cold_blob(trial: Trial) -> Figures:
    """MB/s of one client, CPU seconds a GB, and what upstream sent."""
    blob = trial.materials.cold(trial.repetition)
    before, sent = trial.system.cpu(), _wait_and_count(trial)
    _use_memory(trial.system.folder / "scratch", _MEMORY_PER_BLOB * blob.size)
    told = _client(trial.system.cold_url, "stream", blob.path)
    upstream = (wait_until_idle(trial.upstream) - sent) / blob.size
    cpu = (trial.system.cpu() - before) / (blob.size / 1000 / MB)
    return {"value": blob.size / MB / told["seconds"], "upstream": upstream, "cpu": cpu}


def image(trial: Trial) -> Figures:
    """Seconds of one client."""
    return _images(trial, 1)


def images(trial: Trial) -> Figures:
    """Seconds until the last of several has it; for the limit, of one."""
    return _images(trial, 1 if trial.system.name == LIMIT else trial.plan.clients)


def footer(trial: Trial) -> Figures:
    """Milliseconds until the last bytes of a blob are there, of which nothing was."""
    blob = trial.materials.read_blob(trial.row, trial.repetition)
    return _ranges(trial, blob, [f"{blob.size - _FOOTER}-{blob.size - 1}"])


def ranges(trial: Trial) -> Figures:
    """Milliseconds of parts all over a blob, by the median; then the whole of it."""
    blob = trial.materials.read_blob(trial.row, trial.repetition)
    before = _wait_and_count(trial)
    found = _ranges(trial, blob, _parts(blob.size, trial.row))
    _client(trial.system.cold_url, "stream", blob.path)
    return {**found, "whole": (wait_until_idle(trial.upstream) - before) / blob.size}


def ranges_crowd(trial: Trial) -> Figures:
    """The same without the whole, by several clients at one moment; for the limit, by one."""
    blob = trial.materials.read_blob(trial.row, trial.repetition)
    clients = 1 if trial.system.name == LIMIT else trial.plan.readers
    return _ranges(trial, blob, _parts(blob.size, trial.row), clients)


def beside_ranges(trial: Trial) -> Figures:
    """How fast the whole of a blob comes while parts of it are read, in the rate of one that is pulled alone."""
    alone = trial.materials.read_blob("alone", trial.repetition)
    blob = trial.materials.read_blob(trial.row, trial.repetition)
    url = trial.system.cold_url
    rate = alone.size / _client(url, "stream", alone.path)["seconds"]
    sent = _wait_and_count(trial)
    reading = _start(url, "ranges", blob.path, more=["--part", *_parts(blob.size, trial.row)])
    try:
        told = _client(url, "stream", blob.path)
    except BaseException:
        reading.kill()
        raise
    worst = _finish(reading)["milliseconds"][-1]
    upstream = (wait_until_idle(trial.upstream) - sent) / blob.size
    return {"value": blob.size / told["seconds"] / rate, "worst": worst, "upstream": upstream}


def _parts(size: int, seed: str) -> list[str]:
    dice = random.Random(seed)
    starts = [dice.randrange(size - _PART) for _ in range(_PARTS)]
    return [f"{start}-{start + _PART - 1}" for start in starts]


def _ranges(trial: Trial, blob: Blob, parts: list[str], clients: int = 1) -> Figures:
    sent = _wait_and_count(trial)
    told = _client(trial.system.cold_url, "ranges", blob.path, clients, more=["--part", *parts])
    milliseconds = told["milliseconds"]
    spans = [tuple(map(int, part.split("-"))) for part in parts]
    upstream = (wait_until_idle(trial.upstream) - sent) / sum(last + 1 - first for first, last in spans)
    return {"value": statistics.median(milliseconds), "worst": milliseconds[-1], "upstream": upstream}


def followers(trial: Trial) -> Figures:
    """Milliseconds of `/v2/`, 99 of 100, while a crowd follows one blob; and how many got all of it."""
    blob, sent = trial.materials.crowd_blob(trial.repetition), _wait_and_count(trial)
    pinging = _start(trial.system.url, "ping", "")
    try:
        told = _client(trial.system.url, "stream", blob.path, clients=trial.plan.followers, right=False)
    except BaseException:
        pinging.kill()
        raise
    milliseconds = _finish(pinging)["milliseconds"]
    upstream = (wait_until_idle(trial.upstream) - sent) / blob.size
    return {
        "value": milliseconds[int(len(milliseconds) * 0.99)],
        "right": told["right"] / trial.plan.followers,
        "seconds": told["seconds"],
        "upstream": upstream,
    }


def _requests(trial: Trial, path: str) -> Figures:
    command = ["wrk", f"-t{_THREADS}", f"-c{_CONNECTIONS}", f"-d{trial.plan.seconds}s", "--latency"]
    command += ["-H", f"Accept: {MANIFEST_TYPE}", trial.system.url + path]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_CLIENT_SECONDS).stdout
    rate, slowest, failed = _RATE.search(told), _SLOWEST.search(told), _FAILED.search(told)
    if failed or not rate or not slowest:
        raise Failed(f"{trial.system.name}: {failed[0] if failed else told[-500:]}")
    return {"value": float(rate[1]), "p99": float(slowest[1]) * _MILLISECONDS[slowest[2]]}


def _images(trial: Trial, clients: int) -> Figures:
    pulled, sent = trial.materials.image(trial.row, trial.repetition), _wait_and_count(trial)
    told = _client(trial.system.cold_url, "image", pulled.tag, clients=clients)
    upstream = (wait_until_idle(trial.upstream) - sent) / pulled.size
    if trial.system.name != LIMIT:
        _client(trial.system.url, "check", pulled.tag)  # the clock has stopped: what is it that was so fast?
    return {"value": told["seconds"], "upstream": upstream}


def _use_memory(scratch: Path, size: int) -> None:
    """Use ``size`` bytes of the memory that files take, and free them, so that whoever writes a file next has those.

    A virtual machine may give back to its host what nothing has used for two seconds. The first touch of each page then
    costs fifteen times what it costs otherwise. It is a file, because files are given large blocks, and what a process
    frees is kept apart page by page.
    """
    piece = bytes(MIB)
    with scratch.open("wb", buffering=0) as file:
        for _ in range(0, size, MIB):
            file.write(piece)
    scratch.unlink()


def _wait_and_count(trial: Trial) -> int:
    """Wait until the disk has written what came before; return what upstream has sent so far."""
    os.sync()
    return trial.upstream.sent()


def _client(
    url: str, what: str, name: str, clients: int = 1, times: int = 1, right: bool = True, more: Sequence[str] = ()
) -> dict[str, Any]:
    """Run it to its end. Raises Failed if not all were ``right``, unless ``right`` is false."""
    told = _finish(_start(url, what, name, clients, times, more))
    if right and told["right"] != clients:
        raise Failed(f"{told['right']} of {clients} clients got {name}: {told['error']}")
    return told


def _start(
    url: str, what: str, name: str, clients: int = 1, times: int = 1, more: Sequence[str] = ()
) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bench.client", what, url, name]
    command += ["--clients", str(clients), "--times", str(times), *more]
    return subprocess.Popen(
        command, cwd=REPOSITORY_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )


def _finish(client: subprocess.Popen[str]) -> dict[str, Any]:
    try:
        told, _ = client.communicate(timeout=_CLIENT_SECONDS)
    finally:
        client.kill()
    if client.returncode:
        raise Failed(f"the client failed with status {client.returncode}")
    found: dict[str, Any] = json.loads(told)
    return found
