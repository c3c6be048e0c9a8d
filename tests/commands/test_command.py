"""What all verbs share: where a report goes and which exit status it has."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from registry_cache.commands.command import print_report


@dataclass
class Example:
    exit_status: int

    def lines(self) -> list[str]:
        return ["one\x1b[2J", "two"]

    def document(self) -> dict[str, object]:
        return {"state": "x"}


@pytest.mark.parametrize("status", [0, 3])
def test_what_needs_attention_goes_to_standard_error(status: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert print_report(Example(status), as_json=False) == status
    assert capsys.readouterr() == (("one?[2J\ntwo\n", "") if status == 0 else ("", "one?[2J\ntwo\n"))
    assert print_report(Example(status), as_json=True) == status
    assert json.loads(capsys.readouterr().out) == {"version": 1, "state": "x"}
