"""Label events: what became known of a transaction on a day, and what was known of it before.

Here: the rules by which a delivered label counts, is kept aside with a reason, or changes nothing; and label events of
lakes whose transactions carry their label. Not here: reading files (`adapters/storage`), and what features make of
events (`domain/features/point_in_time.py`).

One day of `labels` holds the changes of that day: at most one row a transaction, the last that became known of it on
the day, and only where it differs from what was known before. What a transaction is known to be at the end of a day is
therefore its last change up to then.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Any, ClassVar, NamedTuple

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from fraud_retraining.domain.labels.blocked import propensities, was_reviewed
from fraud_retraining.domain.values.base import ExtendedValue
from fraud_retraining.domain.values.days import Day, by_day, day_of, start_of
from fraud_retraining.domain.values.schemas import IS_FRAUD, LABELLED_AT, TIMESTAMP, TRANSACTION_ID

KNOWN_AT, SOURCE = "known_at", "source"
TRANSACTION_DAY = "day"
BEFORE = "known_before"
"""What was known of the transaction before the day: 1 fraud, 0 not, null nothing."""
REASON = "reason"
_HAPPENED_AT, _FOUND = "__happened_at", "__found"


class LabelReject(StrEnum):
    """Why a delivered label does not count. A label with several faults is filed under the first."""

    NULL_ID = "null transaction id"
    NULL_KNOWN_AT = "null known at"
    INVALID_LABEL = "label not 0/1"
    OUTSIDE_DAY = "known outside its day"
    UNKNOWN_TRANSACTION = "unknown transaction"
    BEFORE_TRANSACTION = "known before the transaction"
    SUPERSEDED = "a later label of the same day counts"
    REPEATED = "known before"


FAULTS = frozenset(LabelReject) - {LabelReject.SUPERSEDED, LabelReject.REPEATED}
"""Reasons that point to a fault of the feed; the others are a feed's daily life."""


def judged_events(events: ibis.Table, transactions: ibis.Table, day: Day, entities: Collection[str]) -> ibis.Table:
    """Distinct delivered labels of a day beside their transaction, each with the first reason why it cannot count.

    `events` has transaction_id, known_at, is_fraud (float64) and source; `transactions` has transaction_id, timestamp
    and the keys of `entities`, of every day that a label may refer to. An id that several days hold means the latest
    transaction before the label.
    """
    # A feed may deliver a file twice; a repeated row is no second event.
    matched = _matched(events.distinct(), transactions, entities)
    known_at, happened_at, start = matched[KNOWN_AT], matched[_HAPPENED_AT], start_of(day_of(day, matched))
    rules = (
        (matched[TRANSACTION_ID].isnull(), LabelReject.NULL_ID),
        (known_at.isnull(), LabelReject.NULL_KNOWN_AT),
        (matched[IS_FRAUD].isnull() | matched[IS_FRAUD].notin([0.0, 1.0]), LabelReject.INVALID_LABEL),
        ((known_at < start) | (known_at >= start + ibis.interval(days=1)), LabelReject.OUTSIDE_DAY),
        (happened_at.isnull(), LabelReject.UNKNOWN_TRANSACTION),
        (happened_at > known_at, LabelReject.BEFORE_TRANSACTION),
    )
    reason = ibis.cases(*((broken, str(why)) for broken, why in rules), else_=ibis.null("string"))
    return matched.mutate(**{REASON: reason, TRANSACTION_DAY: happened_at.cast("date")}).drop(_HAPPENED_AT)


def _matched(events: ibis.Table, transactions: ibis.Table, entities: Collection[str]) -> ibis.Table:
    found = transactions.select(
        **{_FOUND: transactions[TRANSACTION_ID], _HAPPENED_AT: transactions[TIMESTAMP]},
        **{name: transactions[name] for name in entities},
    )
    joined = events.left_join(found, events[TRANSACTION_ID] == found[_FOUND]).drop(_FOUND)
    # An id may be used again after years: a label means the latest transaction that was there before it.
    late = joined[_HAPPENED_AT] > joined[KNOWN_AT]
    same_event = ibis.window(
        group_by=list(events.columns), order_by=[ibis.asc(late), ibis.desc(joined[_HAPPENED_AT], nulls_first=False)]
    )
    return (
        joined.mutate(__place=ibis.row_number().over(same_event))
        .filter(lambda row: row["__place"] == 0)
        .drop("__place")
    )


def settled_events(judged: ibis.Table, earlier: ibis.Table | None) -> ibis.Table:
    """Judged labels with `known_before`; of those that count, all but the last change of each transaction get a reason.

    `earlier` has transaction_id, known_at and is_fraud of the changes of earlier days. Of two labels of one moment
    fraud counts: a fraud is not lost to an order of rows.
    """
    place = ibis.row_number().over(
        ibis.window(
            group_by=[TRANSACTION_ID, REASON],
            order_by=[
                ibis.desc(judged[KNOWN_AT]),
                # At one moment fraud comes first, so that the result does not depend on the order of files.
                ibis.desc(judged[IS_FRAUD]),
                ibis.asc(judged[SOURCE], nulls_first=False),
            ],
        )
    )
    rows = judged.mutate(__place=place)
    rows = _with_earlier(rows, earlier)
    counts = rows[REASON].isnull()
    reason = ibis.cases(
        (~counts, rows[REASON]),
        # Before the comparison with earlier days: a label that was corrected on its day never was what was known.
        (rows["__place"] > 0, str(LabelReject.SUPERSEDED)),
        (rows[BEFORE].notnull() & (rows[BEFORE] == rows[IS_FRAUD].cast("int8")), str(LabelReject.REPEATED)),
        else_=ibis.null("string"),
    )
    return rows.mutate(**{REASON: reason}).drop("__place")


def _with_earlier(rows: ibis.Table, earlier: ibis.Table | None) -> ibis.Table:
    if earlier is None:
        return rows.mutate(**{BEFORE: ibis.null("int8")})
    wanted = earlier.semi_join(rows, TRANSACTION_ID)
    last = wanted.group_by(__id=wanted[TRANSACTION_ID]).agg(**{BEFORE: wanted[IS_FRAUD].argmax(wanted[KNOWN_AT])})
    return rows.left_join(last, rows[TRANSACTION_ID] == last["__id"]).drop("__id")


def carried_events(
    transactions: ibis.Table, day: Day, entities: Collection[str], label_delay_days: int, *, labelled_at: bool
) -> ibis.Table:
    """Label events of a day that transactions carry themselves, in the form of a day of `labels`.

    A label that does not say when it became known is known at the end of the label delay; none is known before its
    transaction.
    """
    happened = transactions[TIMESTAMP]
    delayed = (happened.truncate("D") + ibis.interval(days=label_delay_days + 1)).cast("timestamp(6)") - ibis.interval(
        microseconds=1
    )
    known = ibis.coalesce(transactions[LABELLED_AT], delayed) if labelled_at else delayed
    known_at = ibis.greatest(known, happened).cast("timestamp(6)")
    rows = transactions.select(
        TRANSACTION_ID,
        happened.cast("date").name(TRANSACTION_DAY),
        *entities,
        known_at.name(KNOWN_AT),
        transactions[IS_FRAUD].cast("int8").name(IS_FRAUD),
        ibis.null("int8").name(BEFORE),
        ibis.null("string").name(SOURCE),
        *by_day(day),
    )
    start = start_of(day_of(day, rows))
    inside = (rows[KNOWN_AT] >= start) & (rows[KNOWN_AT] < start + ibis.interval(days=1))
    return rows.filter(rows[IS_FRAUD].notnull() & inside)


class LabelDayFacts(ExtendedValue):
    """What a day of `labels` was like when it was made."""

    ADDED: ClassVar[frozenset[str]] = frozenset({"reviewed"})

    events: int = Field(description="Changes: rows that count.")
    by_day: tuple[tuple[str, int, int], ...] = Field(
        description="By day of the transactions, oldest first: labels that are new, and frauds that came less those "
        "that were taken back."
    )
    reviewed: tuple[tuple[str, int, int], ...] = Field(
        (), description="The same of transactions that were blocked and that nothing stands for, which are not there."
    )
    first_reports: tuple[tuple[str, int], ...] = Field(
        (), description="By day of the transactions: frauds of which nothing was known before."
    )
    reversed: int = Field(0, description="Frauds that were taken back.")
    rejects: dict[str, int] = Field({}, description="Delivered labels that do not count, by reason.")
    sources: dict[str, int] = Field({}, description="Changes by source; at most the twenty most frequent.")

    @property
    def frauds(self) -> int:
        """Frauds that became known, less those that were taken back."""
        return sum(frauds for _, _, frauds in (*self.by_day, *self.reviewed))


class LabelDay(NamedTuple):
    """A day's changes, sorted by transaction day and id; labels kept aside with the reason; and the facts."""

    events: pa.Table
    rejects: pa.Table
    facts: LabelDayFacts


MOST_SOURCES = 20


def split_events(settled: pa.Table, entities: Sequence[str]) -> LabelDay:
    """Settled labels as a day of `labels`; every delivered label is counted once."""
    counts = pc.is_null(settled[REASON])
    events = settled.filter(counts)
    columns = [TRANSACTION_ID, TRANSACTION_DAY, *entities, KNOWN_AT, IS_FRAUD, BEFORE, SOURCE]
    events = events.select(columns)
    at = columns.index(IS_FRAUD)
    # float64 until here, because a delivered label may be neither 0 nor 1.
    events = events.set_column(at, IS_FRAUD, events[IS_FRAUD].cast(pa.int8()))
    rejects = settled.filter(pc.invert(counts)).select([REASON, TRANSACTION_ID, KNOWN_AT, IS_FRAUD, SOURCE])
    rejects = rejects.sort_by([(name, "ascending") for name in rejects.column_names])
    return in_order(events, rejects)


def in_order(events: pa.Table, rejects: pa.Table | None = None) -> LabelDay:
    """The day with its facts; the same content gives the same rows in the same order."""
    # Parallel scans give rows in any order, and the day's digest is over them.
    events = events.sort_by([(TRANSACTION_DAY, "ascending"), (TRANSACTION_ID, "ascending")]).combine_chunks()
    rejects = events.slice(0, 0) if rejects is None else rejects
    return LabelDay(events, rejects, _facts(events, rejects))


def _facts(events: pa.Table, rejects: pa.Table) -> LabelDayFacts:
    propensity = propensities(events)
    # Reviews of blocked transactions come at once: among reports they would make frauds look known early.
    open_ = events.filter(pa.array(propensity > 0))
    by_day, first_reports = _by_day(open_)
    reviewed, _ = _by_day(events.filter(pa.array(was_reviewed(propensity))))
    fraud, before = _changes(events)
    return LabelDayFacts(
        events=events.num_rows,
        by_day=by_day,
        reviewed=reviewed,
        first_reports=first_reports,
        reversed=int(((before == 1) & (fraud == 0)).sum()),
        rejects=_counted(rejects[REASON]) if REASON in rejects.column_names else {},
        sources=dict(list(_counted(events[SOURCE].drop_null()).items())[:MOST_SOURCES]),
    )


def _changes(events: pa.Table) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """What each transaction is known to be since the change, and before it (-1: nothing)."""
    return events[IS_FRAUD].to_numpy().astype(int), pc.fill_null(events[BEFORE], -1).to_numpy().astype(int)


def _by_day(events: pa.Table) -> tuple[tuple[tuple[str, int, int], ...], tuple[tuple[str, int], ...]]:
    """By day of the transactions: new labels and frauds; and frauds of which nothing was known before."""
    fraud, before = _changes(events)
    table = pa.table(
        {
            "day": pc.cast(events[TRANSACTION_DAY], pa.string()),
            "labels": (before == -1).astype(int),
            "frauds": fraud - (before == 1),
            "first": ((before == -1) & (fraud == 1)).astype(int),
        }
    )
    sums = table.group_by("day").aggregate([("labels", "sum"), ("frauds", "sum"), ("first", "sum")]).sort_by("day")
    columns = (sums[name].to_pylist() for name in ("day", "labels_sum", "frauds_sum", "first_sum"))
    rows = list(zip(*columns, strict=True))
    return (
        tuple((day, labels, frauds) for day, labels, frauds, _ in rows),
        tuple((day, first) for day, _, _, first in rows if first),
    )


def _counted(values: pa.ChunkedArray) -> dict[str, int]:
    counts = {item["values"]: item["counts"] for item in pc.value_counts(values).to_pylist()}
    return dict(sorted(counts.items(), key=lambda one: (-one[1], one[0])))


def entity_label_days(events: ibis.Table, entity: str, day: Day) -> ibis.Table:
    """Per key of `entity` and day of its transactions: frauds that became known on `day`, less those taken back.

    Keys and days without a change are left out. The sum over the days before a moment is what was known then.
    """
    fraud, before = events[IS_FRAUD].cast("int32"), events[BEFORE].fill_null(0).cast("int32")
    known_on = {name: events[name] for name in by_day(day)}
    rows = events.select(key=events[entity], day=events[TRANSACTION_DAY], frauds=fraud - before, **known_on)
    rows = rows.filter(rows.key.notnull())
    sums = rows.group_by(["key", "day", *known_on]).agg(frauds=rows.frauds.sum())
    return sums.filter(sums.frauds != 0)


def reports_by_delay(first_reports: Mapping[str, Sequence[tuple[str, int]]]) -> dict[str, dict[int, int]]:
    """Frauds by day of the transaction and delay in days, from the first reports of each day known.

    >>> reports_by_delay({"2026-03-03": [("2026-03-01", 4), ("2026-03-03", 1)]})
    {'2026-03-01': {2: 4}, '2026-03-03': {0: 1}}
    """
    from datetime import date

    found: dict[str, dict[int, int]] = {}
    for known_day, reports in sorted(first_reports.items()):
        for day, count in reports:
            delay = (date.fromisoformat(known_day) - date.fromisoformat(day)) // timedelta(days=1)
            by_delay = found.setdefault(day, {})
            by_delay[delay] = by_delay.get(delay, 0) + count
    return dict(sorted(found.items()))
