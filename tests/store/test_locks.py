"""One holder at a time, among threads and processes; the kernel frees what a dead holder held."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from pathlib import Path

import pytest

from registry_cache.store.locks import LockFile, hold_if_free, try_lock, wait_for
from tests.harness.store_rig import children, descriptors

HOLD = """
import sys
from registry_cache.store.locks import try_lock
lock = try_lock(sys.argv[1])
print("held" if lock else "busy", flush=True)
for line in sys.stdin:
    if line == "note\\n":
        lock.write(b"outcome")
    elif line == "retire\\n":
        lock.retire()
    elif line == "close\\n":
        lock.close()
    print("done", flush=True)
"""

COUNT = """
import sys
from pathlib import Path
from registry_cache.store.locks import try_lock
counter = Path(sys.argv[2])
sys.stdin.readline()
for _ in range(int(sys.argv[3])):
    while not (lock := try_lock(sys.argv[1])):
        pass
    with lock:
        value = int(counter.read_text())
        counter.write_text(str(value + 1))
        lock.retire()
print("done", flush=True)
"""


def held(path: str) -> LockFile:
    lock = try_lock(path)
    assert lock is not None
    return lock


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Its folder is missing, as after an operator has cleared it."""
    return str(tmp_path / "locks" / "a.lock")


def test_two_descriptors_of_one_process_exclude_each_other(path: str) -> None:
    with held(path):
        assert try_lock(path) is None
    with held(path):
        pass


def test_closing_another_descriptor_of_the_file_does_not_free_it(path: str) -> None:
    with held(path):
        LockFile(path).close()
        assert try_lock(path) is None


def test_of_many_threads_one_wins_each_round(path: str) -> None:
    threads, rounds = 12, 40
    barrier = threading.Barrier(threads, timeout=60)
    won: list[int] = []

    def contend() -> None:
        for number in range(rounds):
            barrier.wait()
            lock = try_lock(path)
            if lock:
                won.append(number)
            barrier.wait()
            if lock:
                # Every second round as a crash leaves it: the file stays.
                if number % 2:
                    lock.retire()
                lock.close()

    contenders = [threading.Thread(target=contend) for _ in range(threads)]
    for each in contenders:
        each.start()
    for each in contenders:
        each.join(60)
    assert won == list(range(rounds))


def test_processes_exclude_each_other_though_each_holder_unlinks_the_file(path: str, tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    with children(COUNT, path, counter, 150, count=3) as started:
        for child in started:
            child.hears()
        assert [child.says() for child in started] == ["done"] * 3
    assert counter.read_text() == "450"
    assert not os.path.exists(path)


def test_the_lock_dies_with_a_killed_holder(path: str) -> None:
    with children(HOLD, path) as (holder,):
        assert holder.says() == "held"
        assert try_lock(path) is None
        holder.kill()
        with held(path) as lock:
            assert lock.has_name()


def test_a_locked_file_without_a_name_is_never_taken_for_the_lock(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = held(path)
    late = LockFile(path)
    first.retire()
    first.close()
    # The one who came late gets yesterday's lock, and meanwhile there is today's.
    with held(path), late:
        assert late.acquire()
        assert not late.has_name()

    # try_lock itself meets one: the holder retires between its open and its flock.
    def retired_meanwhile(descriptor: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        os.unlink(path)
        flock(descriptor, operation)

    flock = fcntl.flock
    before = descriptors()
    monkeypatch.setattr(fcntl, "flock", retired_meanwhile)
    with held(path) as lock:
        assert lock.has_name()
        assert os.path.exists(path)
    assert not descriptors() - before


def test_the_note_reaches_exactly_those_who_came_while_it_was_held(path: str) -> None:
    with children(HOLD, path) as (holder,):
        assert holder.says() == "held"
        came = [LockFile(path) for _ in range(3)]
        assert not any(lock.acquire() for lock in came)
        for word in ("note", "retire", "close"):
            holder.hears(word)
            assert holder.says() == "done"
    late = LockFile(path)
    for lock in came:
        assert lock.acquire()
        assert lock.read() == b"outcome"
        lock.close()
    assert late.read() == b""
    assert late.has_name()
    late.close()


def test_a_shorter_note_replaces_a_longer_one(path: str) -> None:
    with held(path) as lock:
        lock.write(b"a long note")
        lock.write(b"short")
        assert lock.read() == b"short"


def test_a_note_never_cuts_the_file_to_nothing(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ext4 makes of that took most of a lock's life (docs/adr/0014)."""
    sizes: list[int] = []
    really = os.ftruncate

    def ftruncate(file: int, size: int) -> None:
        sizes.append(size)
        really(file, size)

    monkeypatch.setattr(os, "ftruncate", ftruncate)
    with LockFile(path) as lock:
        lock.write(b"a long note")
        lock.write(b"note")
        assert lock.read() == b"note"
    assert sizes == [4]


def test_closing_twice_does_not_close_somebody_elses_descriptor(path: str) -> None:
    lock = held(path)
    lock.close()
    with open(os.devnull, "rb") as other:
        lock.close()
        assert other.read() == b""


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EIO])
def test_a_file_system_that_cannot_lock_says_so_and_nothing_stays_open(
    path: str, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    before = descriptors()
    with pytest.raises(OSError, match=os.strerror(code)):
        try_lock(path)
    assert not descriptors() - before


def test_losing_leaves_nothing_open(path: str) -> None:
    with held(path):
        before = descriptors()
        assert [try_lock(path) for _ in range(20)] == [None] * 20
        assert not descriptors() - before


def test_waiting_ends_with_the_lock_or_with_the_time(path: str) -> None:
    attempts = iter([None, None, "taken"])
    assert wait_for(lambda: next(attempts), 60.0) == "taken"
    with held(path):
        assert wait_for(lambda: try_lock(path), 0.01) is None


def test_a_block_that_holds_a_lock_leaves_no_file_however_it_ends(path: str) -> None:
    def stop_in_the_middle() -> None:
        with hold_if_free(path) as is_free, hold_if_free(path) as second:
            assert is_free
            assert not second
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_in_the_middle()
    assert not os.path.exists(path)
