"""A Python process whose clock is wrong."""

from pathlib import Path

# Python imports a module of this name when it starts.
_MODULE = """import time

_right = time.time
time.time = lambda: _right() + {seconds}
"""


def clock_ahead(folder: Path, minutes: int) -> dict[str, str]:
    """The environment of a process whose `time.time` is so far ahead; `folder` is for what makes it so."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_MODULE.format(seconds=60 * minutes))
    return {"PYTHONPATH": str(folder)}
