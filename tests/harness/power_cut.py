"""A disk that tells what a power cut may leave of it at each moment: of what was not synced, the worst.

What was not synced may be there or not. Of a file without fsync(2) the name may be there and the bytes not; of a folder
without it, any name that came, went or was renamed since. Bytes of a file that was synced stay, wherever its name is.
Nothing is killed: a watched story goes on to its end, and each cut is laid out as a folder of its own.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.harness.store_rig import CHANGES

# What is left of bytes that were written and not synced.
LOSSES: tuple[Callable[[bytes], bytes], ...] = (
    lambda data: bytes(len(data)),
    lambda data: b"",
    lambda data: data[: len(data) // 2],
)

# Names in a folder: of a file its inode, of a folder None.
Names = dict[str, int | None]


@dataclass(frozen=True)
class File:
    """A file now, and the bytes of it that were ``synced``. Size, mode and attributes are what a cut leaves first."""

    data: bytes
    mode: int
    attributes: tuple[tuple[str, bytes], ...]
    synced: bytes | None = None

    def after(self, loss: Callable[[bytes], bytes]) -> File:
        kept = self.synced or b""
        return replace(self, data=kept + loss(self.data[len(kept) :]), synced=None)


@dataclass(frozen=True)
class Moment:
    """What there is, and what of it is sure: names by folder, files by inode."""

    present: dict[str, Names]
    sure: dict[str, Names]
    files: dict[int, File]

    def cut(self, kept: Callable[[str], bool], loss: Callable[[bytes], bytes]) -> Cut:
        """Return what is left where the changed names of those folders are ``kept``, and none of the others'."""
        names: dict[str, Names] = {}
        pending = [""]
        while pending:
            folder = pending.pop()
            names[folder] = (self.present if kept(folder) else self.sure).get(folder, {})
            pending += [f"{folder}/{name}" for name, inode in names[folder].items() if inode is None]
        inodes = {inode for each in names.values() for inode in each.values() if inode is not None}
        return Cut(names, {inode: self.files[inode].after(loss) for inode in inodes})


@dataclass(frozen=True)
class Cut:
    """What a power cut left."""

    names: dict[str, Names]
    files: dict[int, File]

    def lay_out(self, root: Path) -> Path:
        laid: dict[int, str] = {}
        for folder, names in self.names.items():
            here = f"{root}{folder}"
            os.makedirs(here, exist_ok=True)
            for name, inode in names.items():
                path = f"{here}/{name}"
                if inode in laid:
                    os.link(laid[inode], path)
                elif inode is not None:
                    laid[inode] = path
                    Path(path).write_bytes(self.files[inode].data)
                    for attribute, value in self.files[inode].attributes:
                        os.setxattr(path, attribute, value)
                    os.chmod(path, self.files[inode].mode)
        return root


class Disk:
    """The folder ``root``, of which all that is there now is sure. Use ``with watched()`` around a story."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._files: dict[int, File] = {}
        self._holds: list[int] = []
        self.moments: list[Moment] = []
        present = self._look()
        self._files = {inode: replace(file, synced=file.data) for inode, file in self._files.items()}
        self._sure = present

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Keep the moment before each change of the disk, and the last one."""
        with pytest.MonkeyPatch.context() as patch:
            for name in CHANGES:
                patch.setattr(os, name, self._watched(getattr(os, name)))
            patch.setattr(os, "fsync", self._fsync)
            yield
        self._keep()
        for descriptor in self._holds:
            os.close(descriptor)

    def cuts(
        self, keeps: dict[str, Callable[[str], bool]], losses: Sequence[Callable[[bytes], bytes]] = LOSSES
    ) -> Iterator[tuple[Cut, bool]]:
        """Yield every different thing that a cut may leave, and whether the story had ended by then."""
        seen: list[Cut] = []
        for moment in self.moments:
            for kept in keeps.values():
                for loss in losses:
                    cut = moment.cut(kept, loss)
                    last = moment is self.moments[-1]
                    if last or cut not in seen:
                        seen.append(cut)
                        yield cut, last

    def _watched(self, really: Callable[..., Any]) -> Callable[..., Any]:
        def function(*arguments: Any, **options: Any) -> Any:
            self._keep()
            return really(*arguments, **options)

        return function

    def _fsync(self, descriptor: int) -> None:
        self._keep()
        path, found = os.readlink(f"/proc/self/fd/{descriptor}"), os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            folder = path.removeprefix(self._root)
            self._sure = {**self._sure, folder: self.moments[-1].present[folder]}
        else:
            file = self._files[found.st_ino]
            self._files[found.st_ino] = replace(file, synced=file.data)

    def _keep(self) -> None:
        present = self._look()
        self.moments.append(Moment(present, self._sure, dict(self._files)))

    def _look(self) -> dict[str, Names]:
        present: dict[str, Names] = {}
        for path, _, _ in os.walk(self._root):
            names: Names = {}
            with os.scandir(path) as entries:
                for entry in entries:
                    folder = entry.is_dir(follow_symlinks=False)
                    names[entry.name] = None if folder else self._file(entry.path)
            present[path.removeprefix(self._root)] = names
        return present

    def _file(self, path: str) -> int:
        with open(path, "rb") as file:
            found, data = os.fstat(file.fileno()), file.read()
            attributes = tuple((name, os.getxattr(path, name)) for name in os.listxattr(path))
        before = self._files.get(found.st_ino)
        if before is None:
            # While it is open no other file gets its number, even when its last name is gone.
            self._holds.append(_hold(path))
        synced = before.synced if before else None
        self._files[found.st_ino] = File(data, stat.S_IMODE(found.st_mode), attributes, synced)
        return found.st_ino


# Not the watched one, and not a lock's: a path alone.
_open = os.open


def _hold(path: str) -> int:
    return _open(path, os.O_PATH)
