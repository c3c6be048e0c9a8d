"""The pages as HTML. Knows neither Flask nor who asks."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import partial

from registry_cache.deployment.client_setup import CLIENTS, steps
from registry_cache.ui.facts import Facts
from registry_cache.ui.numbers import MONTH_DAYS, History
from registry_cache.ui.overview import Overviews
from registry_cache.ui.remembered import Remembered
from registry_cache.ui.rendering import Renderer

# Under (path) and in words, as they stand at the top of each page.
NAVIGATION = (("", "Overview"),)

# What is going on is read once for all who look within this time.
_SECONDS = 1.0


class Pages:
    """Every page, made from ``facts``. Methods raise StoreError where the disk fails."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._renderer = Renderer(version=facts.version, pages=NAVIGATION)
        overviews = Overviews(facts)
        self._overviews = {
            days: Remembered(partial(self._render_overview, overviews, days), _SECONDS) for days in (1, MONTH_DAYS)
        }

    def overview(self, days: int) -> bytes:
        """Return the first page, with a chart of one day or of ``MONTH_DAYS``."""
        return self._overviews[days].get()

    def missing(self, what: str) -> bytes:
        """Return the page that says so."""
        return self._render("missing.html", "?", what=what)

    def _render_overview(self, overviews: Overviews, days: int) -> bytes:
        facts, found = self._facts, overviews.make(days)
        return self._render(
            "overview.html",
            "",
            overview=found,
            times=_times(found.history),
            mirror=facts.mirror,
            address_is_known=facts.is_address_known,
            clients=[(name, steps(name, facts.mirror)) for name in CLIENTS],
            configuration=facts.configuration,
        )

    def _render(self, template: str, here: str, **values: object) -> bytes:
        now = datetime.fromtimestamp(time.time(), UTC).astimezone()
        moment = {
            "now": now.timestamp(),
            "zone": now.tzinfo,
            "zone_name": now.tzname(),
            "made_at": f"{now:%H:%M:%S}",
        }
        return self._renderer.render(template, here=here, **moment, **values)


def _times(history: History) -> list[str]:
    """Return what stands below the chart, evenly spread: when its columns begin, and now at the end."""
    zone = datetime.now(UTC).astimezone().tzinfo
    moments = [history.began + history.step * len(history.columns) * part / 4 for part in range(4)]
    pattern = "%H:%M" if history.days == 1 else "%d %b"
    return [*(datetime.fromtimestamp(moment, zone).strftime(pattern) for moment in moments), "now"]
