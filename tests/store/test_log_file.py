"""Every whole line of a log once, over rotations and restarts."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from registry_cache.store import disk
from registry_cache.store.log_file import OLD_FILE_SECONDS, LogFile, LogPosition

MUCH = 1 << 16


class Rig:
    """A log, its writer, and a clock that the test sets."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "access.log"
        self.now = 0.0
        self.log: LogFile | None = None

    def write(self, *lines: str, to: str = "access.log") -> None:
        with (self.path.parent / to).open("a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)

    def rotate(self, name: str = "access.log.1") -> None:
        self.path.rename(self.path.parent / name)

    def open(self, position: LogPosition | None = None) -> LogFile:
        self.log = LogFile(str(self.path), position, lambda: self.now)
        return self.log

    def read(self) -> list[str]:
        """All that is there now."""
        assert self.log is not None
        found = b""
        while data := self.log.read(MUCH):
            found += data
        return found.decode().splitlines()

    def wait(self) -> None:
        """Until an old file is left."""
        self.read()
        self.now += OLD_FILE_SECONDS + 1
        self.read()

    def restart(self) -> LogFile:
        assert self.log is not None
        return self.open(self.log.position)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_whole_lines_and_no_more(rig: Rig) -> None:
    log = rig.open()
    assert rig.read() == []
    rig.write("a", "b")
    with rig.path.open("a", encoding="utf-8") as file:
        file.write("begun")
    assert rig.read() == ["a", "b"]
    rig.write(" and ended")
    assert rig.read() == ["begun and ended"]
    log.step_back(len("begun and ended\n"))
    assert rig.read() == ["begun and ended"]


def test_a_line_longer_than_all_that_may_be_read_is_left_out(rig: Rig) -> None:
    rig.write("x" * 2 * MUCH, "short")
    rig.open()
    assert rig.read()[-1:] == ["short"]


def test_a_rotated_file_is_read_to_its_end_and_then_the_new_one(rig: Rig) -> None:
    rig.write("a")
    rig.open()
    assert rig.read() == ["a"]
    rig.rotate()
    assert rig.read() == []
    rig.write("c")
    # nginx had not been told yet.
    rig.write("b", to="access.log.1")
    assert rig.read() == ["b"]
    rig.now += OLD_FILE_SECONDS + 1
    assert rig.read() == []
    rig.write("d")
    assert rig.read() == ["c", "d"]


def test_a_restart_goes_on_where_it_was(rig: Rig) -> None:
    rig.write("a")
    rig.open()
    rig.read()
    rig.write("b")
    rig.restart()
    assert rig.read() == ["b"]


def test_two_rotations_while_nobody_read(rig: Rig) -> None:
    rig.write("a")
    rig.open()
    rig.read()
    rig.write("b")
    rig.rotate("access.log.2")
    rig.write("c")
    rig.rotate("access.log.1")
    rig.write("d")
    for age, name in enumerate(("access.log", "access.log.1", "access.log.2")):
        os.utime(rig.path.parent / name, (1000 - age, 1000 - age))
    log = rig.restart()
    assert not log.has_lost
    found = rig.read()
    for _ in range(3):
        rig.read()
        rig.now += OLD_FILE_SECONDS + 1
        rig.read()
        found += rig.read()
    assert found == ["b", "c", "d"]


def test_a_file_that_was_compressed_meanwhile_is_lost_and_said_to_be(rig: Rig) -> None:
    rig.write("a")
    rig.open()
    rig.read()
    position = rig.log.position if rig.log else None
    rig.rotate("access.log.2.gz")
    rig.write("d")
    log = rig.open(position)
    assert log.has_lost
    assert rig.read() == ["d"]


def test_another_file_with_the_same_inode_is_no_continuation(rig: Rig) -> None:
    rig.write("aaaa")
    log = rig.open()
    rig.read()
    assert log.position is not None
    # As if the kernel had given the number to the new file.
    with rig.path.open("w", encoding="utf-8") as file:
        file.write("bbbb\ncccc\n")
    log = rig.open(log.position)
    assert log.has_lost
    assert rig.read() == ["bbbb", "cccc"]


def test_a_file_that_was_cut_is_read_from_its_begin(rig: Rig) -> None:
    rig.write("a long line", "another")
    rig.open()
    rig.read()
    os.truncate(rig.path, 0)
    rig.write("b")
    assert rig.read() == ["b"]


def test_a_link_to_the_log_is_followed(rig: Rig) -> None:
    rig.write("a", to="real.log")
    rig.path.symlink_to("real.log")
    rig.open()
    assert rig.read() == ["a"]
    rig.wait()
    rig.write("b", to="real.log")
    assert rig.read() == ["b"]


@pytest.mark.parametrize("kind", ["fifo", "folder"])
def test_what_is_no_file_does_not_hang(rig: Rig, kind: str) -> None:
    os.mkfifo(rig.path) if kind == "fifo" else rig.path.mkdir()
    rig.open()
    assert rig.read() == []


@pytest.mark.parametrize("is_restarted", [False, True])
def test_an_old_log_that_may_not_be_read_is_in_nobodys_way(
    rig: Rig, is_restarted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one of before the operator let the server's user read them."""
    really = disk.open_source

    def open_source(path: str) -> int:
        if path.endswith("access.log.7"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return really(path)

    monkeypatch.setattr(disk, "open_source", open_source)
    rig.write("old", to="access.log.7")
    rig.write("a")
    rig.open()
    assert rig.read() == ["a"]
    rig.write("b")
    rig.rotate()
    rig.write("c")
    if is_restarted:
        rig.restart()
    found = rig.read()
    rig.now += OLD_FILE_SECONDS + 1
    assert found + rig.read() + rig.read() == ["b", "c"]
