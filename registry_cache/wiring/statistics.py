"""Build what counts, for a server and for a command."""

from __future__ import annotations

from collections.abc import Mapping

from registry_cache.config import Config
from registry_cache.runtime import metrics
from registry_cache.stats.command_recorder import CommandRecorder
from registry_cache.stats.files import StatisticsFiles
from registry_cache.stats.journal_file import JournalBounds
from registry_cache.stats.keeper import Keeper
from registry_cache.stats.nginx_hits import HitCounts, NginxHits
from registry_cache.stats.recorder import Recorder
from registry_cache.stats.sums import DiskUse
from registry_cache.stats.tally import Tally
from registry_cache.store import inventory
from registry_cache.store.last_use import UseSpreader
from registry_cache.store.layout import Layout
from registry_cache.store.size_ledger import SizeLedger
from registry_cache.wiring.storage import store_state


def recorder_of(config: Config, layout: Layout) -> Recorder:
    settings, bounds = config.statistics, _bounds(config, layout)

    def tally() -> Tally:
        return Tally(journal=bounds.is_on, clients=settings.clients)

    note_use = UseSpreader(layout).note_use
    hits = NginxHits(str(settings.nginx_log), tally(), _count_hits, note_use) if settings.nginx_log else None
    return Recorder(StatisticsFiles(layout), _keeper(config, layout, bounds), tally(), hits)


def command_recorder(config: Config) -> CommandRecorder:
    """Return what counts, inside of ``with``, a command's evictions and fetches. Raises StoreError."""
    layout = Layout(config.root)
    keeper = _keeper(config, layout, _bounds(config, layout))
    return CommandRecorder(StatisticsFiles(layout), keeper, Tally(journal=False, clients=False))


def _count_hits(hits: Mapping[str, HitCounts]) -> None:
    # Not before: a command does not load gunicorn.
    from registry_cache.server.gunicorn_internals import observe_many

    for kind, found in hits.items():
        metrics.count_nginx_hits(kind, found.number, found.size)
        observe_many(metrics.hit_durations(kind), found.seconds)


def _bounds(config: Config, layout: Layout) -> JournalBounds:
    settings, total = config.statistics, inventory.disk_space(layout.root).total
    days = settings.journal_days if settings.has_journal else 0
    return JournalBounds(days, settings.journal_size.bytes_of(total) or total)


def _keeper(config: Config, layout: Layout, bounds: JournalBounds) -> Keeper:
    ledger = SizeLedger(layout)

    def disk_use() -> DiskUse | None:
        state = store_state(layout, ledger)
        limit = config.max_size.bytes_of(state.size) if state else None
        return DiskUse(state.stored or 0, limit or 0, state.free) if state else None

    return Keeper(StatisticsFiles(layout), bounds, disk_use, clients=config.statistics.clients)
