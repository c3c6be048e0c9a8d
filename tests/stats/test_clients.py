"""Who came on which days, in a bounded table."""

from __future__ import annotations

import pytest

from registry_cache.stats import clients as clients_module
from registry_cache.stats.calendar import DAY_SECONDS
from registry_cache.stats.clients import Clients

DAY = float(DAY_SECONDS)


def weekday_machine(until: int) -> Clients:
    """A client that works five days of seven, from day 0 to before ``until``."""
    clients = Clients()
    for day in range(until):
        if day % 7 < 5:
            clients.see("ci", day * DAY + 3600)
    return clients


def test_a_weekend_is_no_reason_to_miss_a_client() -> None:
    clients = weekday_machine(19)
    assert clients.gone(20 * DAY + 7200) == []
    assert clients.gone(21 * DAY + 7200) == []
    assert [each.client for each in clients.gone(22 * DAY + 7200)] == ["ci"]


def test_who_came_seldom_is_not_missed() -> None:
    assert weekday_machine(4).gone(30 * DAY) == []


def test_who_was_not_seen_for_a_month_is_forgotten() -> None:
    clients = weekday_machine(5)
    clients.see("other", 35 * DAY)
    assert "ci" in str(clients.document())
    clients.see("other", 36 * DAY)
    assert "ci" not in str(clients.document())


def test_those_seen_longest_ago_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients_module, "MOST_CLIENTS", 2)
    clients = Clients()
    for number in (3, 1, 2):
        clients.see(f"10.0.0.{number}", number)
    clients.forget()
    assert (clients.count(0), clients.count(3)) == (2, 1)
    # What comes late, of a day before, is no newer than what is known.
    clients.see("10.0.0.3", 0)
    assert clients.count(3) == 1
