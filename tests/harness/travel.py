"""Which files of the package a request enters on its way from its view to the first bytes of its answer."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import registry_cache

_PACKAGE = f"{Path(registry_cache.__file__).parent}/"


@dataclass
class Travel:
    """The functions entered in each file, by the file's path in the package, in the order of travel.

    Counts begin with the view and end with it, and are resumed by ``resume`` for the first part of the body: what every
    request has before and after its view, such as the log line, is on no way of its own.
    """

    view: str
    steps: dict[str, list[str]] = field(default_factory=dict)
    _counts: bool = False

    def __enter__(self) -> Travel:
        sys.setprofile(self._entered)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def resume(self) -> None:
        self._counts = True

    def _entered(self, frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        is_view = code.co_qualname == self.view
        if event == "call" and code.co_filename.startswith(_PACKAGE):
            self._counts = self._counts or is_view
            if self._counts:
                self.steps.setdefault(code.co_filename.removeprefix(_PACKAGE), []).append(code.co_qualname)
        elif event == "return" and is_view:
            self._counts = False
