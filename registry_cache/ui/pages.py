"""The pages as HTML. Knows neither Flask nor who asks."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import partial

from registry_cache.deployment.client_setup import CLIENTS, steps
from registry_cache.runtime import threadpool
from registry_cache.stats.calendar import DAY_SECONDS, MONTH_DAYS
from registry_cache.ui import documents, lists
from registry_cache.ui.cached_value import CachedValue
from registry_cache.ui.facts import Facts
from registry_cache.ui.numbers import History
from registry_cache.ui.overview import Overviews
from registry_cache.ui.rendering import Renderer
from registry_cache.ui.tops import MANY, gone_rows, top_table

# Under (path) and in words, as they stand at the top of each page.
NAVIGATION = (("", "Overview"), ("images", "Images"), ("clients", "Clients"))

# What is going on is read once for all who look within this time.
_SECONDS = 1.0


class Pages:
    """Every page, made from ``facts``. Methods raise StoreError where the disk fails."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._renderer = Renderer(version=facts.version, pages=NAVIGATION)
        overviews = Overviews(facts)
        self._overviews = {
            days: CachedValue(partial(self._render_overview, overviews, days), _SECONDS) for days in (1, MONTH_DAYS)
        }

    def overview(self, days: int) -> bytes:
        """Return the first page, with a chart of one day or of ``MONTH_DAYS``."""
        return self._overviews[days].get()

    def images(self, query: str, by: str) -> bytes:
        """Return the images that a ``query`` finds; without one those of most, ``by`` one of ``lists.ORDERS``."""
        facts, now = self._facts, time.time()
        store = facts.surveyor.look()
        order = next((kind for kind, _ in lists.ORDERS if kind == by), lists.ORDERS[0][0])
        found = lists.find(facts, store, query) if query else lists.Found((), "")
        return self._render(
            "images.html",
            "images",
            query=query,
            survey=store.survey if store else None,
            next_out=lists.next_out(store, now),
            rows=found.rows,
            more=found.more,
            orders=lists.ORDERS,
            by=order,
            table=None if query else top_table(facts.statistics, order, now - MONTH_DAYS * DAY_SECONDS, MANY),
        )

    def image(self, name: str) -> bytes | None:
        """Return what is known of one repository; None where it is not here."""
        found = threadpool.run(self._facts.repository, name)
        if found is None:
            return None
        tags = [tag for image in found.images for tag in image.tags]
        example = f"{name}:{tags[0]}" if tags else name
        pulled = lists.pulls(self._facts, name, time.time())
        return self._render("image.html", "images", found=found, example=example, pulled=pulled)

    def absent_image(self, name: str) -> bytes:
        """Return what is known of an image that is not stored: a list may name it long after its eviction."""
        pulled = lists.pulls(self._facts, name, time.time())
        tag = next((each.tag for each in pulled or () if each.tag), "")
        example = f"{name}:{tag}" if tag else name
        return self._render("absent_image.html", "images", name=name, example=example, pulled=pulled)

    def clients(self) -> bytes:
        """Return the clients that asked most, and those that have stopped coming."""
        statistics, now = self._facts.statistics, time.time()
        table = top_table(statistics, "clients", now - MONTH_DAYS * DAY_SECONDS, MANY)
        return self._render("clients.html", "clients", table=table, gone=gone_rows(statistics, now)[:MANY])

    def client(self, name: str) -> bytes:
        """Return what one client pulled."""
        return self._render("client.html", "clients", client=name, pulled=lists.pulls(self._facts, name, time.time()))

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
            documents=documents.names(),
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
