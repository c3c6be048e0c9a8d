"""Dies at the k-th change of the disk of an import, for every k; see tests/harness/crasher.py."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.harness import crasher
from tests.harness.import_rig import Moved, OldRegistry
from tests.harness.store_rig import Store


def main(root: Path, old: Path, story: str) -> None:
    def distribution(store: Store) -> None:
        Moved(store).distribution(OldRegistry(old))

    def archive(store: Store) -> None:
        Moved(store).archive((old / "archive").read_bytes())

    # A process dies, the machine does not: what it wrote is there, without the wait for the disk.
    setattr(os, "fsync", lambda descriptor: None)  # noqa: B010 — mypy knows its signature
    crasher.main(root, archive if story == "archive" else distribution)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
