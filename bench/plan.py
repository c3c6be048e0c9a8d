"""How much is measured in a full run and in a quick one, and the content that is made for it."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bench.content import Blob, Content, Image
from bench.upstreams import Shape

MB = 1_000_000
MIB = 1024 * 1024

NEAR, FAR, NARROW, CROWD = "near", "far", "narrow", "crowd"
_LINE = 100 * MB / 8  # 100 Mbit/s, in bytes
SHAPES = {
    NEAR: Shape(),
    FAR: Shape(rtt=0.03, total=_LINE),
    # A registry that gives each connection a quarter of what the line could carry.
    NARROW: Shape(rtt=0.03, total=_LINE, connection=_LINE / 4),
    CROWD: Shape(connection=4 * MIB),
}
# Rows that read parts of one blob.
LAZY_ROWS = {"footer", "ranges", "ranges-crowd", "beside-ranges"}
# 80 MB in six layers.
_LAYERS = tuple(size * MB for size in (8, 40, 16, 10, 4, 2))


@dataclass(frozen=True)
class Plan:
    """``requests`` and ``bodies``: repetitions of rows that load, and of the others; wrk does for ``seconds``.

    Sizes in bytes. ``brief`` leaves out rows that are not in the first line of interest.
    """

    requests: int
    bodies: int
    seconds: int
    layers: tuple[int, ...]
    large: int
    clients: int
    followers: int
    followed: int
    read: int
    readers: int
    brief: bool


FULL = Plan(5, 3, 4, _LAYERS, 256 * MIB, 16, 1000, 16 * MIB, 200 * MB, 20, False)
QUICK = Plan(1, 1, 1, tuple(size // 10 for size in _LAYERS), 64 * MIB, 8, 200, 4 * MIB, 40 * MB, 8, True)


class Materials:
    """What is pulled, made below ``folder``."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.content = Content(folder)
        self.plan = plan
        self.warm: Image = self.content.image("warm", [1_000] * len(plan.layers))
        self.small: Blob = self.content.blob(2_000, "small")
        self.medium: Blob = self.content.blob(100_000, "medium")
        self._blob = cache(self.content.blob)
        self._image = cache(lambda tag: self.content.image(tag, plan.layers))

    @property
    def large(self) -> Blob:
        return self._blob(self.plan.large, "large")

    def cold(self, repetition: int) -> Blob:
        """A blob that nobody has pulled before this repetition."""
        return self._blob(self.plan.large, f"cold {repetition}")

    def crowd_blob(self, repetition: int) -> Blob:
        """The same for a crowd."""
        return self._blob(self.plan.followed, f"followed {repetition}")

    def read_blob(self, row: str, repetition: int) -> Blob:
        """The same, of which only parts are read."""
        return self._blob(self.plan.read, f"{row} {repetition}")

    def image(self, row: str, repetition: int) -> Image:
        """The same as an image."""
        return self._image(f"{row}-{repetition}")

    def make(self, shape: str, rows: Iterable[str]) -> None:
        """Make what these rows will ask for: an upstream reads its tags as it starts, and no clock runs yet."""
        for repetition in range(self.plan.bodies):
            if shape == NEAR:
                _ = self.cold(repetition), self.large
            elif shape == CROWD:
                self.crowd_blob(repetition)
            else:
                for row in rows:
                    make = self.read_blob if row in LAZY_ROWS else self.image
                    make(row, repetition)
                    if row == "beside-ranges":
                        self.read_blob("alone", repetition)
