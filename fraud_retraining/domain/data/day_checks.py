"""Whether a day is good enough to be trained on.

Here: the rules of a stored day and the evidence that they read. Not here: how rules become results
(`domain/data/rule_results.py`) and which rows of a day are refused (`domain/data/ingestion.py`).
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from statistics import median
from typing import Any

import ibis
import ibis.expr.datatypes as dt
import pyarrow as pa

from fraud_retraining.domain.data.ingestion import DayFacts, DayQuery, null_key
from fraud_retraining.domain.data.lake_columns import TEXT
from fraud_retraining.domain.data.lake_mapping import LakeMapping
from fraud_retraining.domain.data.rule_results import SAMPLE, CheckResult, Measure, Rule, Severity, listed, results_of
from fraud_retraining.domain.data.validation import RejectReason, ValidationPolicy
from fraud_retraining.domain.values.days import Day, by_day, day_of, start_of
from fraud_retraining.domain.values.schemas import (
    AMOUNT,
    CORE_COLUMNS,
    IS_FRAUD,
    LABELLED_AT,
    PROPENSITY,
    TIMESTAMP,
    TRANSACTION_ID,
)

MIN_EARLIER_DAYS = 3
HISTORY_HOURS = 30 * 24
"""Files that come so long after their day are a delivery of history, not a late day."""
SAME_DELIVERY_HOURS = 12
"""Days whose files came so close together were delivered at once; days that each come a day late did not."""
REPRESENTATIVE_SHARE = 0.5


@dataclass(frozen=True)
class DaysBefore:
    """What a day is compared with.

    Attributes:
        rows: row counts of the days before, oldest first.
        columns: columns of the day before that nothing reads; None where there is no such day.
        same_delivery: whether the day was delivered together with the day before.
    """

    rows: tuple[int, ...] = ()
    columns: frozenset[str] | None = None
    same_delivery: bool = False


@dataclass(frozen=True)
class DayEvidence:
    """What the rules of a day read: its canonical rows in an engine, its facts, and the days before it.

    `query` answers about the same rows, where an engine keeps compiled queries.
    """

    rows: ibis.Table
    facts: DayFacts
    mapping: LakeMapping
    day: date
    policy: ValidationPolicy
    before: DaysBefore = DaysBefore()
    query: DayQuery | None = None

    @property
    def required(self) -> tuple[str, ...]:
        """Columns in which no value may be missing."""
        return _required(self.mapping)

    @cached_property
    def broken(self) -> dict[str, ibis.Value]:
        """Conditions that no accepted row may meet, by name."""
        return _broken(self.rows, self.day)

    @cached_property
    def profile(self) -> dict[str, Any]:
        """The day in one row: counts and extremes, from one pass over the rows."""
        query = self.query or (lambda shape: shape(self.rows, self.mapping, self.day).to_pyarrow())
        found: dict[str, Any] = query(day_profile).to_pylist()[0]
        return {name: value if value is not None else 0 for name, value in found.items()}

    def sample(self, broken: ibis.Value) -> list[object]:
        """A few ids of rows that break a rule."""
        ids: pa.Table = self.rows.filter(broken).select(TRANSACTION_ID).limit(SAMPLE).to_pyarrow()
        return list(ids[TRANSACTION_ID].to_pylist())


def _required(mapping: LakeMapping) -> tuple[str, ...]:
    return (TIMESTAMP, AMOUNT, *mapping.required_keys)


def _broken(rows: ibis.Table, day: Day) -> dict[str, ibis.Value]:
    start = start_of(day_of(day, rows))
    return {
        "amount": (rows[AMOUNT] < 0) | rows[AMOUNT].isnan() | rows[AMOUNT].isinf(),
        "label": rows[IS_FRAUD].notin([0, 1]),
        "timestamp": (rows[TIMESTAMP] < start) | (rows[TIMESTAMP] >= start + ibis.interval(days=1)),
    }


def day_profile(rows: ibis.Table, mapping: LakeMapping, day: Day) -> ibis.Table:
    """The numbers that the rules of a day judge, as one row a day."""
    numbers = {f"null_{name}": rows[name].isnull().sum() for name in _required(mapping)}
    numbers |= {f"broken_{name}": broken.sum() for name, broken in _broken(rows, day).items()}
    numbers |= {
        "rows": rows.count(),
        "ids": rows[TRANSACTION_ID].nunique(),
        "labelled": rows[IS_FRAUD].count(),
        "frauds": (rows[IS_FRAUD] == 1).sum(),
        "min_amount": rows[AMOUNT].min(),
        "max_amount": rows[AMOUNT].max(),
    }
    return rows.group_by(list(by_day(day))).aggregate(**numbers) if by_day(day) else rows.aggregate(**numbers)


def _schema(day: DayEvidence) -> Measure:
    # Imported here: Dagster loads this module for the names of checks, and pandera takes seconds.
    import pandera.errors
    import pandera.ibis as pandera

    types = _canonical_types(day)
    columns = {name: pandera.Column(kind, nullable=True) for name, kind in types.items()}
    wrong: list[str] = []
    try:
        pandera.DataFrameSchema(columns, strict=True).validate(day.rows, lazy=True)
    except pandera.errors.SchemaErrors as errors:
        wrong = [str(error) for error in errors.schema_errors]
    return Measure(
        value=len(wrong),
        found=f"{len(wrong)} of {len(columns)} columns are not as they must be",
        most=0,
        threshold="every canonical column with its type, and no other",
        numbers={"columns": len(columns), "wrong": len(wrong)},
        sample=wrong,
    )


def _canonical_types(day: DayEvidence) -> dict[str, dt.DataType]:
    mapping = day.mapping
    core = dict(zip(CORE_COLUMNS, (dt.int64, dt.Timestamp(scale=6), dt.float64, dt.int8), strict=True))
    known = {LABELLED_AT: dt.Timestamp(scale=6)} if mapping.columns.labelled_at else {}
    known |= {PROPENSITY: dt.float64} if mapping.blocked is not None else {}
    keys = {name: _key_type(day, name) for name in mapping.keys}
    further = dict.fromkeys(mapping.numeric, dt.float64) | dict.fromkeys(mapping.categories, dt.string)
    return core | known | keys | further


def _key_type(day: DayEvidence, name: str) -> dt.DataType:
    """The type of a key's column; one without a value has whichever of the two types it was given."""
    kind = day.facts.key_types.get(name)
    if kind is None and name in day.rows.columns and day.rows[name].type().is_string():
        return dt.string
    return dt.string if kind == TEXT else dt.int64


def _nulls(day: DayEvidence) -> Measure:
    counts = {name: int(day.profile[f"null_{name}"]) for name in day.required}
    total = sum(counts.values())
    return Measure(
        value=total,
        found=f"{total:,} values are missing in {len(counts)} required columns of {day.profile['rows']:,} rows",
        most=0,
        threshold="none",
        numbers=counts,
        sample=[f"{name}: {count:,}" for name, count in counts.items() if count],
    )


def _ranges(day: DayEvidence) -> Measure:
    counts = {name: int(day.profile[f"broken_{name}"]) for name in day.broken}
    total = sum(counts.values())
    rows, low, high = (day.profile[name] for name in ("rows", "min_amount", "max_amount"))
    return Measure(
        value=total,
        found=f"{total:,} values of {rows:,} rows are out of range; amounts from {low:,.2f} to {high:,.2f}",
        most=0,
        threshold="amounts finite and not negative, labels 0/1, timestamps within the day",
        numbers={**counts, "min_amount": low, "max_amount": high},
        sample=[f"{TRANSACTION_ID} {key}" for key in day.sample(ibis.or_(*day.broken.values()))] if total else (),
    )


def _uniqueness(day: DayEvidence) -> Measure:
    rows, ids = day.profile["rows"], day.profile["ids"]
    surplus = rows - ids - day.profile[f"null_{TRANSACTION_ID}"]
    repeated = day.rows.group_by(TRANSACTION_ID).having(lambda group: group.count() > 1).aggregate()
    return Measure(
        value=surplus,
        found=f"{ids:,} transaction ids in {rows:,} rows",
        most=0,
        threshold="one row per transaction id",
        numbers={"rows": rows, "ids": ids},
        sample=repeated.limit(SAMPLE).to_pyarrow()[TRANSACTION_ID].to_pylist() if surplus else (),
    )


def _row_count(day: DayEvidence) -> Measure:
    rows, policy = day.profile["rows"], day.policy
    least = float(max(1, policy.min_day_rows))
    earlier = day.before.rows[-policy.trailing_days :]
    if len(earlier) < MIN_EARLIER_DAYS:
        return Measure(
            value=rows,
            found=f"{rows:,} rows; {len(earlier)} earlier days are too few to compare with",
            least=least,
            threshold=f"at least {least:,.0f}",
            numbers={"rows": rows, "earlier_days": len(earlier)},
        )
    # The median: one day of a delivery error must not move what is usual.
    usual = median(earlier)
    least = max(least, usual * policy.min_row_count_ratio)
    most = max(least, usual * policy.max_row_count_ratio)
    return Measure(
        value=rows,
        found=f"{rows:,} rows; the median of {len(earlier)} earlier days is {usual:,.0f}",
        least=least,
        most=most,
        threshold=f"from {least:,.0f} to {most:,.0f}",
        numbers={"rows": rows, "trailing_median": usual, "earlier_days": len(earlier)},
    )


def _day_fraud_rate(day: DayEvidence) -> Measure:
    """The share among labelled rows; where labels are still coming in, frauds first, the share among all rows."""
    rows, labelled, frauds = (day.profile[name] for name in ("rows", "labelled", "frauds"))
    numbers = {"rows": rows, "labelled": labelled, "frauds": frauds}
    most = day.policy.max_day_fraud_rate
    threshold = f"at most {most:.1%}, and less than all"
    if not labelled:
        return Measure(None, f"no label of {rows:,} rows is known yet", threshold=threshold, numbers=numbers)
    among, words = labelled, "labelled rows"
    # Frauds are reported first, so the share among few labels would be near 1 on every young day.
    if labelled < REPRESENTATIVE_SHARE * rows:
        among, words = rows, f"rows ({labelled:,} labelled so far)"
    return Measure(
        value=frauds / among,
        found=f"{frauds:,} of {among:,} {words} are frauds ({frauds / among:.2%})",
        most=most,
        below=1,
        threshold=threshold,
        numbers=numbers,
    )


def _rejects_share(day: DayEvidence) -> Measure:
    facts, most = day.facts, day.policy.max_reject_share
    return Measure(
        value=facts.reject_share,
        found=f"{facts.rejected:,} of {facts.rows + facts.rejected:,} rows were rejected ({facts.reject_share:.3%})",
        most=most,
        threshold=f"at most {most:.3%}",
        numbers={"rejected": facts.rejected, "duplicates_dropped": facts.duplicates_dropped, **facts.rejects},
        sample=[_reject_line(day, reason, count) for reason, count in facts.rejects.items()],
    )


def _reject_line(day: DayEvidence, reason: str, count: int) -> str:
    """A reason with its rows, and what to do where settings can cure it."""
    line = f"{reason}: {count:,}"
    if reason == RejectReason.UNLISTED_LABEL:
        named = ", ".join(f"{label!r} {rows:,}" for label, rows in day.facts.unlisted_labels.items())
        return f"{line} ({named}; name them under labels.fraud_values or labels.genuine_values)"
    entities = {null_key(day.mapping, name): name for name in day.mapping.entities}
    if reason in entities:
        return f"{line} (if rows may lack it, set nullable: true under entities.{entities[reason]})"
    return line


def _freshness(day: DayEvidence) -> Measure:
    most, arrived = day.policy.max_arrival_hours, day.facts.arrived_at
    threshold = f"after the day's end, by at most {most:g} hours"
    if arrived is None:
        return Measure(None, "when the files arrived is not known", threshold=threshold)
    end = datetime(day.day.year, day.day.month, day.day.day, tzinfo=UTC) + timedelta(days=1)
    hours = (arrived - end).total_seconds() / 3600
    if hours > HISTORY_HOURS:
        return Measure(None, f"delivered as history, {hours / 24:,.0f} days after the day's end", threshold=threshold)
    # One late delivery of many days is one warning, not one a day.
    if hours > most and day.before.same_delivery:
        found = f"delivered together with the day before, {hours / 24:,.0f} days after the day's end"
        return Measure(None, found, threshold=threshold)
    return Measure(
        value=hours,
        found=f"arrived {abs(hours):,.1f} hours {'after' if hours >= 0 else 'before'} the day's end",
        least=0,
        most=most,
        threshold=threshold,
        numbers={"hours": hours, "arrived_at": arrived.isoformat()},
    )


def delivered_together(arrived: datetime | None, before: datetime | None) -> bool:
    """Whether a day and the day before came in one delivery; its lateness is reported for its first day only."""
    if arrived is None or before is None:
        return False
    return abs(arrived - before) <= timedelta(hours=SAME_DELIVERY_HOURS)


def _new_columns(day: DayEvidence) -> Measure:
    """Columns that nothing reads and that the day before did not have: they may have been meant as features.

    Where the day lacks a column that single models alone ask for, that is told instead: these models fail on it.
    """
    unread, before = day.facts.ignored_columns, day.before.columns
    numbers = {"unread": len(unread)}
    if lacking := day.facts.unusable_columns:
        about = day.mapping.asked_by
        return Measure(
            value=len(lacking),
            found=f"{len(lacking)} columns are lacking that single models ask for; these models cannot use the day",
            most=0,
            threshold="every column that a model's settings name",
            numbers={**numbers, "lacking": len(lacking)},
            sample=[f"{name} {why} ({', '.join(about.get(name, ()))})" for name, why in lacking.items()],
        )
    if before is None:
        return Measure(None, "there is no day before to compare with", threshold="none", numbers=numbers)
    new = [name for name in unread if name not in before]
    return Measure(
        value=len(new),
        found=f"{len(new)} columns are new, and nothing reads them",
        most=0,
        threshold="none, or named under features",
        numbers=numbers,
        sample=new,
    )


def _unread_files(day: DayEvidence) -> Measure:
    unread = day.facts.unread_files
    return Measure(
        value=len(unread),
        found=f"{len(unread)} files of the day were not read",
        most=0,
        threshold="none: every file of the day's folder is Parquet",
        numbers={"unread": len(unread), "read": day.facts.files},
        sample=unread,
    )


_DAY_RULES: tuple[Rule[DayEvidence], ...] = (
    Rule("schema", "error", "Every canonical column is there with its type.", _schema),
    Rule("nulls", "error", "No key, timestamp or amount is missing.", _nulls),
    Rule("ranges", "error", "Amounts, labels and timestamps are within their ranges.", _ranges),
    Rule("uniqueness", "error", "A transaction id occurs once.", _uniqueness),
    Rule("row_count", "error", "As many rows as the days before, within a factor; never none.", _row_count),
    Rule("fraud_rate", "error", "The share of frauds among labelled rows is plausible.", _day_fraud_rate),
    Rule("rejects_share", "error", "Few rows were rejected.", _rejects_share),
    Rule("freshness", "warn", "The files arrived in time, after the day was over.", _freshness),
    Rule("unread_files", "warn", "Every file of the day's folder was read.", _unread_files),
    Rule(
        "new_columns",
        "warn",
        "No column appeared that nothing reads, and none is lacking that a model asks for.",
        _new_columns,
    ),
)
DAY_CHECKS: dict[str, tuple[Severity, str]] = listed(_DAY_RULES)


def day_checks(evidence: DayEvidence) -> tuple[CheckResult, ...]:
    """One result per rule of `DAY_CHECKS`, in order, about a stored day."""
    return results_of(_DAY_RULES, evidence)
