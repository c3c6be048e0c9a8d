"""The rows of the table: what is compared, in which unit, and with which goals. Measures nothing itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench import measure
from bench.measure import Figures, Trial
from bench.plan import CROWD, FAR, MB, MIB, NARROW, NEAR, Plan
from bench.systems import BEHIND_NGINX, DISTRIBUTION, DISTRIBUTION_3, LIMIT, OURS


@dataclass(frozen=True)
class Goal:
    """``system``'s median is to be at least, or where less is better at most, ``factor`` times that of ``against``.

    ``more`` is added to that. Without ``against``, ``factor`` itself; ``instead`` of it counts where it was not
    measured. ``figure`` is the row's value unless another is named.
    """

    system: str
    factor: float
    against: str | None = None
    figure: str = "value"
    instead: str | None = None
    more: float = 0.0


@dataclass(frozen=True)
class Row:
    """``loads``: what is warm is asked for again and again. ``limited``: there is a limit to compare with.

    ``of``: not measured itself, but a figure of that row. ``brief``: also in a quick run.
    """

    name: str
    title: str
    unit: str
    shape: str
    measure: Callable[[Trial], Figures] | None
    goals: tuple[Goal, ...] = ()
    more_is_better: bool = True
    loads: bool = False
    limited: bool = True
    of: tuple[str, str] | None = None
    brief: bool = True


def _both(
    factor: float, against: str | None = None, figure: str = "value", instead: str | None = None
) -> tuple[Goal, ...]:
    return tuple(Goal(system, factor, against, figure, instead) for system in (OURS, BEHIND_NGINX))


_HITS = (Goal(BEHIND_NGINX, 0.8, LIMIT), Goal(OURS, 5.0, DISTRIBUTION))
_DISTRIBUTIONS = (*_both(1.0, DISTRIBUTION), *_both(1.0, DISTRIBUTION_3))
_ONCE = _both(1.005, figure="upstream")
MEMORY = "memory"
# What these ask for is pulled before.
WARM_ROWS = {"manifest", "blob-2k", "blob-100k", "tag", "blob-large"}


def all_rows(plan: Plan) -> tuple[Row, ...]:
    """The table's rows; titles say the plan's sizes."""
    return (
        Row("manifest", "warm manifest by digest", "requests/s", NEAR, measure.manifest_by_digest, _HITS, loads=True),
        Row("blob-2k", "warm blob of 2 kB", "requests/s", NEAR, measure.small_blob, _HITS, loads=True),
        Row("blob-100k", "warm blob of 100 kB", "requests/s", NEAR, measure.medium_blob, _HITS, loads=True),
        Row(
            "tag",
            "warm tag, revalidated, upstream near",
            "requests/s",
            NEAR,
            measure.manifest_by_tag,
            (Goal(OURS, 5.0, DISTRIBUTION),),
            loads=True,
            limited=False,
        ),
        Row(
            "blob-large",
            f"warm blob of {plan.large // MIB} MiB",
            "MB/s",
            NEAR,
            measure.large_blob,
            _both(0.9, LIMIT),
            loads=True,
        ),
        Row(
            "image",
            f"cold image of {sum(plan.layers) // MB} MB, 1 client, 30 ms and 100 Mbit/s",
            "s",
            FAR,
            measure.image,
            (*_both(1.06, LIMIT), *_ONCE),
            more_is_better=False,
        ),
        Row(
            "images",
            f"the same, {plan.clients} clients at once",
            "s",
            FAR,
            measure.images,
            (*_both(1.10, LIMIT), *_ONCE),
            more_is_better=False,
        ),
        Row(
            "image-narrow",
            f"cold image of {sum(plan.layers) // MB} MB, 1 client, 25 Mbit/s a connection",
            "s",
            NARROW,
            measure.image,
            _ONCE,
            more_is_better=False,
            brief=False,
        ),
        Row(
            "footer",
            f"the last 47 bytes of a cold blob of {plan.read // MB} MB, as above",
            "ms",
            FAR,
            measure.footer,
            tuple(Goal(system, 1.0, LIMIT, more=50.0) for system in (OURS, BEHIND_NGINX)),
            more_is_better=False,
        ),
        Row(
            "ranges",
            "40 scattered ranges of 128 KiB of one, cold, by the median",
            "ms",
            FAR,
            measure.ranges,
            (
                *_both(1.2, LIMIT),
                *_both(1.2, LIMIT, figure="worst"),
                *_both(1.1, figure="upstream"),
                *_both(1.005, figure="whole"),
            ),
            more_is_better=False,
        ),
        Row(
            "ranges-crowd",
            f"the same, {plan.readers} clients at once",
            "ms",
            FAR,
            measure.ranges_crowd,
            _both(1.1, figure="upstream"),
            more_is_better=False,
        ),
        Row(
            "beside-ranges",
            f"cold blob of {plan.read // MB} MB while 40 ranges of it are read, in its rate alone",
            "x",
            FAR,
            measure.beside_ranges,
            (*_both(0.97), *_ONCE),
            limited=False,
        ),
        Row(
            "cold",
            f"cold blob of {plan.large // MIB} MiB, upstream unshaped",
            "MB/s",
            NEAR,
            measure.cold_blob,
            _both(1.0, DISTRIBUTION_3, instead=DISTRIBUTION),
        ),
        Row(
            "followers",
            f"/v2/, 99 of 100, while {plan.followers:,} follow one cold blob",
            "ms",
            CROWD,
            measure.followers,
            (*_both(250.0), *_both(1.0, figure="right"), *_both(1.005, figure="upstream")),
            more_is_better=False,
        ),
        Row(MEMORY, "memory of a worker, peak in all of it", "MB", NEAR, None, _both(120.0), more_is_better=False),
        Row(
            "cpu-warm",
            "CPU of a GB served warm",
            "s",
            NEAR,
            None,
            _DISTRIBUTIONS,
            more_is_better=False,
            of=("blob-large", "cpu"),
        ),
        Row(
            "cpu-cold",
            "CPU of a GB fetched cold",
            "s",
            NEAR,
            None,
            _DISTRIBUTIONS,
            more_is_better=False,
            of=("cold", "cpu"),
        ),
    )


# What more of is better, whatever the row says of its own value.
MORE_IS_BETTER = {"right"}


def select_rows(plan: Plan, names: Sequence[str]) -> list[Row]:
    """These rows, those whose figures they are, and the memory of it; all of the plan's for no names.

    Raises LookupError.
    """
    rows = all_rows(plan)
    wanted = set(names) - {MEMORY} or {row.name for row in rows if row.brief or not plan.brief}
    if unknown := sorted(wanted - {row.name for row in rows}):
        raise LookupError(f"no row is called {', '.join(unknown)}; there are {', '.join(row.name for row in rows)}")
    wanted |= {MEMORY} | {row.of[0] for row in rows if row.name in wanted and row.of}
    return [row for row in rows if row.name in wanted]
