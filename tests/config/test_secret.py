"""A secret shows itself only when asked."""

from __future__ import annotations

import copy
import dataclasses
import logging
import pickle
import traceback

import pytest

from registry_cache.config import Secret

TEXT = "correct horse"


@dataclasses.dataclass(frozen=True, slots=True)
class Holder:
    password: Secret


def test_it_is_revealed_on_request() -> None:
    assert Secret(TEXT).reveal() == TEXT


def test_it_is_told_from_another() -> None:
    assert Secret(TEXT) == Secret(TEXT)
    assert len({Secret(TEXT), Secret(TEXT), Secret("other")}) == 2
    assert Secret(TEXT) != TEXT


@pytest.mark.parametrize(
    "shown",
    [
        repr(Secret(TEXT)),
        str(Secret(TEXT)),
        f"{Secret(TEXT)}",
        f"{Secret(TEXT)!r:>40}",
        repr(Holder(Secret(TEXT))),
        repr(dataclasses.asdict(Holder(Secret(TEXT)))),
        repr(copy.deepcopy([Secret(TEXT)])),
        logging.Formatter().format(logging.LogRecord("x", 0, "x", 0, "%s %r", (Secret(TEXT), Secret(TEXT)), None)),
        "".join(traceback.format_exception(ValueError(Secret(TEXT), Holder(Secret(TEXT))))),
    ],
)
def test_it_does_not_show_itself(shown: str) -> None:
    assert TEXT not in shown
    assert "****" in shown


def test_it_is_not_pickled() -> None:
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(Secret(TEXT))
