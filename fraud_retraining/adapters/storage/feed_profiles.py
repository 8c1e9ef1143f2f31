"""Counts of transactions whose labels a feed brings: by day, and how many of the feed's ids are theirs.

Here: the join, in memory that does not grow with either side. An id, a moment and a label are what the pipeline takes
them for (`domain/labels/feed.py`). Not here: what the columns are (`domain/proposal`), and files (`profiles.py`).
"""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path

import ibis

from fraud_retraining.adapters.storage.profiles import (
    Profiler,
    Source,
    column_sql,
    day_facts,
    literal,
    quoted,
    rejected_sql,
    time_sql,
)
from fraud_retraining.domain.data.canonical import canonical_key
from fraud_retraining.domain.labels.events import KNOWN_AT
from fraud_retraining.domain.labels.feed import canonical_feed, check_feed
from fraud_retraining.domain.proposal.facts import DayFacts, FeedFacts
from fraud_retraining.domain.proposal.feed import FeedRoles
from fraud_retraining.domain.proposal.roles import Roles
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.domain.values.schemas import IS_FRAUD, TRANSACTION_ID

_DAY_OF_FEED, _LAKE = "__day_of_feed", "__lake"
FeedFiles = Mapping[date, Sequence[Path]]
"""The Parquet files of a feed by the day known."""


def feed_source(profiler: Profiler, files: FeedFiles) -> Source:
    """All rows of the feed, for facts of its columns."""
    return profiler.parquet([path for paths in files.values() for path in paths])


def count_with_feed(
    profiler: Profiler, source: Source, roles: Roles, files: FeedFiles, columns: FeedRoles, within: DayRange | None
) -> tuple[list[DayFacts], FeedFacts]:
    """The days of the transactions, oldest first, with the frauds that the feed knows of; and what the feed holds.

    A transaction of which the feed says nothing is genuine, unless it was blocked: then it is unknown. What became
    known after the last day, or before the first one, does not count.

    Raises:
        DataInvalid: a row has no time, or none has; or the feed's columns have types that the pipeline refuses.
    """
    text_ids = _make_transactions(profiler, source, roles, within)
    first, last = profiler.rows("SELECT min(happened_at)::DATE, max(happened_at)::DATE FROM __transactions")[0]
    if first is None:
        return day_facts([], roles), FeedFacts(labels=0, named=0, found=0)
    _make_labels(profiler, files, columns, DayRange(start=first, end=last), text_ids=text_ids)
    days = day_facts(profiler.rows(_DAYS_SQL), roles)
    return days, _feed_facts(profiler)


def _make_transactions(profiler: Profiler, source: Source, roles: Roles, within: DayRange | None) -> bool:
    """The view `__transactions` of id, moment and what else counts of each; whether its ids are texts."""
    assert roles.transaction_id is not None, "a feed names transactions by their id"
    name = roles.transaction_id.name
    inner = f'SELECT *, {time_sql(roles)} AS "__time" FROM {source.sql}'
    blocked = "false"
    if roles.decision is not None and roles.blocking:
        listed = ", ".join(literal(value.strip().lower()) for value in roles.blocking)
        blocked = f"coalesce(lower(trim({quoted(roles.decision.name)}::VARCHAR)) IN ({listed}), false)"
    profiler.rows(
        f'CREATE OR REPLACE TEMP VIEW {_LAKE} AS SELECT {column_sql(source, name, roles)}, "__time" AS __at, '
        f"{blocked} AS __blocked, {rejected_sql(source, roles)} AS __rejected FROM ({inner})"
    )
    table = _table(profiler, _LAKE)
    key = canonical_key(table[name])
    inside = f"happened_at::DATE BETWEEN DATE '{within.start}' AND DATE '{within.end}'" if within else "true"
    chosen = table.select(id=key, happened_at=table["__at"], blocked=table["__blocked"], rejected=table["__rejected"])
    profiler.rows(
        f"CREATE OR REPLACE TEMP VIEW __transactions AS SELECT * FROM ({_sql(chosen)}) "
        f"WHERE happened_at IS NULL OR {inside}"
    )
    return bool(key.type().is_string())


def _make_labels(profiler: Profiler, files: FeedFiles, columns: FeedRoles, period: DayRange, *, text_ids: bool) -> None:
    """The tables `__labels` of the feed, and `__known` of what is known of transactions that are there."""
    kind = "VARCHAR" if text_ids else "BIGINT"
    profiler.rows(f"CREATE OR REPLACE TEMP TABLE __labels (id {kind}, known_at TIMESTAMP, fraud DOUBLE, why VARCHAR)")
    start, end = period.start, period.end + timedelta(days=1)
    # Day by day, as the pipeline reads it: files of other days may have other types.
    for day, paths in files.items():
        profiler.rows(f"CREATE OR REPLACE TEMP VIEW {_DAY_OF_FEED} AS SELECT * FROM {profiler.parquet(paths).sql}")
        raw = _table(profiler, _DAY_OF_FEED)
        check_feed({f"label day {day}": raw.schema().to_pyarrow()}, columns.columns, columns.values)
        labels = canonical_feed(raw, columns.columns, columns.values, text_ids=text_ids)
        profiler.rows(
            f"INSERT INTO __labels SELECT DISTINCT {TRANSACTION_ID}, {KNOWN_AT}, {IS_FRAUD}, "
            f"CASE WHEN {TRANSACTION_ID} IS NULL OR {KNOWN_AT} IS NULL "
            f"OR coalesce({IS_FRAUD} NOT IN (0.0, 1.0), true) THEN 'unclear' "
            f"WHEN {KNOWN_AT}::DATE <> DATE '{day}' THEN 'misplaced' "
            f"WHEN {KNOWN_AT} < TIMESTAMP '{start}' OR {KNOWN_AT} >= TIMESTAMP '{end}' THEN 'outside' END "
            f"FROM ({_sql(labels)})"
        )
    profiler.rows(_MATCHED_SQL)
    profiler.rows(_KNOWN_SQL)


_MATCHED_SQL = """
CREATE OR REPLACE TEMP TABLE __matched AS
SELECT labels.id, labels.known_at, labels.fraud, transactions.happened_at
FROM __labels labels JOIN __transactions transactions ON labels.id = transactions.id WHERE labels.why IS NULL
"""
# Of two labels of one moment fraud counts.
_KNOWN_SQL = """
CREATE OR REPLACE TEMP TABLE __known AS
SELECT id, happened_at, arg_max(fraud, 2 * epoch_us(known_at) + fraud::BIGINT) AS fraud,
       min(known_at) FILTER (fraud = 1) AS reported_at
FROM __matched WHERE known_at >= happened_at GROUP BY id, happened_at
"""
_DAYS_SQL = """
SELECT transactions.happened_at::DATE AS day, count(*),
       count(*) FILTER (known.fraud IS NOT NULL OR NOT transactions.blocked),
       coalesce(sum(known.fraud), 0), count(*) FILTER (transactions.rejected)
FROM __transactions transactions LEFT JOIN __known known
  ON transactions.id = known.id AND transactions.happened_at = known.happened_at
GROUP BY 1 ORDER BY 1 NULLS FIRST
"""
_DELAYS_SQL = """
SELECT happened_at::DATE AS day, reported_at::DATE - happened_at::DATE AS delay, count(*) FROM __known
WHERE reported_at IS NOT NULL GROUP BY 1, 2 ORDER BY 1, 2
"""


def _feed_facts(profiler: Profiler) -> FeedFacts:
    labels, named, misplaced, unclear = profiler.rows(
        "SELECT count(*) FILTER (why IS NULL), count(DISTINCT id) FILTER (why IS NULL), "
        "count(*) FILTER (why = 'misplaced'), count(*) FILTER (why = 'unclear') FROM __labels"
    )[0]
    found, counted = profiler.rows(
        "SELECT (SELECT count(DISTINCT id) FROM __matched), (SELECT count(DISTINCT id) FROM __known)"
    )[0]
    delays: dict[date, dict[int, int]] = {}
    for day, delay, count in profiler.rows(_DELAYS_SQL):
        delays.setdefault(day, {})[int(delay)] = count
    return FeedFacts(
        labels=labels, named=named, found=found, early=found - counted, misplaced=misplaced, unclear=unclear,
        frauds_by_delay=delays,
    )  # fmt: skip


def _table(profiler: Profiler, name: str) -> ibis.Table:
    """A table of the profiler, for expressions that the pipeline has too."""
    return ibis.table(ibis.Schema.from_pyarrow(profiler.schema(name)), name=name)


def _sql(table: ibis.Table) -> str:
    return str(ibis.to_sql(table, dialect="duckdb"))
