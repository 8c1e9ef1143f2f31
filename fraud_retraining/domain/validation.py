"""Whether a day, or a window, is good enough to be trained on: one rule a number, judged by Pandera schemas.

Here: the rules, the numbers they are about, and one factory that turns rules into results. Every rule gives a result:
one that could not be measured has failed. Not here: which rows of a day are refused (`domain/ingestion.py`) and how
results become asset checks (`orchestration/checks/`).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from statistics import median
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import ibis
import ibis.expr.datatypes as dt
import pyarrow as pa
from pydantic import Field

from fraud_retraining.domain.days import Day, start_of
from fraud_retraining.domain.ingestion import TEXT, DayFacts, DayQuery, LakeMapping
from fraud_retraining.domain.schemas import (
    AMOUNT,
    CORE_COLUMNS,
    IS_FRAUD,
    LABELLED_AT,
    TIMESTAMP,
    TRANSACTION_ID,
    Policy,
    ValidationPolicy,
)
from fraud_retraining.domain.windows import TrainingWindow, WindowDay

Severity = Literal["error", "warn"]
Number = float | int | str
Subject = TypeVar("Subject")

SAMPLE = 5
MIN_EARLIER_DAYS = 3
HISTORY_HOURS = 30 * 24
"""Files that come so long after their day are a delivery of history, not a late day."""
REPRESENTATIVE_SHARE = 0.5


class CheckResult(Policy):
    """One rule's answer about one day or window, with the numbers that it rests on."""

    name: str
    passed: bool
    severity: Severity = Field(description="`error` stops every retrain that needs the day; `warn` is told.")
    value: float | None = Field(None, description="The number that was judged; absent where there was none to judge.")
    threshold: str = ""
    message: str
    numbers: dict[str, Number] = Field(default_factory=dict)


class Report(Policy):
    """All results about one day or window, and the digests of what was looked at and of the rules put to it."""

    digest: str = Field(description="Digest of the day's rows, or of the window's manifest.")
    rules: str = Field(description="Digest of the policy and of the earlier days that the rules compared with.")
    results: tuple[CheckResult, ...]

    @property
    def failed(self) -> tuple[CheckResult, ...]:
        """Failures that stop every retrain."""
        return tuple(result for result in self.results if not result.passed and result.severity == "error")


class Measure(NamedTuple):
    """What a rule found: the judged number with its bounds, and the finding in words.

    `value` None means that the rule does not apply, and `found` says why; a value that is not a number has failed.
    """

    value: float | None
    found: str
    least: float | None = None
    most: float | None = None
    below: float | None = None
    threshold: str = ""
    numbers: Mapping[str, Number] = {}
    sample: Sequence[object] = ()


@dataclass(frozen=True)
class Rule(Generic[Subject]):
    """A rule's name, how much its failure matters, what it says, and how its number is found."""

    name: str
    severity: Severity
    description: str
    measure: Callable[[Subject], Measure]


def _judged(rules: Sequence[Rule[Subject]], subject: Subject) -> tuple[CheckResult, ...]:
    """Measure every rule, judge all numbers with one Pandera schema, and say what was found."""
    measures = {rule.name: _measured(rule, subject) for rule in rules}
    try:
        failed = _out_of_bounds({name: m for name, m in measures.items() if isinstance(m, Measure)})
    except Exception as error:  # noqa: BLE001 (whatever went wrong, no rule has passed)
        return tuple(_no_result(rule, error) for rule in rules)
    return tuple(_result(rule, measures[rule.name], rule.name in failed) for rule in rules)


def _measured(rule: Rule[Subject], subject: Subject) -> Measure | Exception:
    try:
        return rule.measure(subject)
    except Exception as error:  # noqa: BLE001 (a rule that cannot be measured has failed, with this reason)
        return error


def _out_of_bounds(measures: Mapping[str, Measure]) -> set[str]:
    """Names of the measures that a Pandera schema over the one-row profile refuses."""
    import pandas as pd
    import pandera.pandas as pandera

    judged = {name: measure for name, measure in measures.items() if measure.value is not None}
    if not judged:
        return set()
    profile = pd.DataFrame({name: [float(measure.value or 0)] for name, measure in judged.items()})
    columns = {name: pandera.Column(float, _bounds(measure), nullable=False) for name, measure in judged.items()}
    try:
        pandera.DataFrameSchema(columns).validate(profile, lazy=True)
    except pandera.errors.SchemaErrors as errors:
        return {str(error.schema.name) for error in errors.schema_errors}
    return set()


def _bounds(measure: Measure) -> list[Any]:
    import pandera.pandas as pandera

    bounds = ((pandera.Check.ge, measure.least), (pandera.Check.le, measure.most), (pandera.Check.lt, measure.below))
    return [check(limit) for check, limit in bounds if limit is not None]


def _result(rule: Rule[Subject], measure: Measure | Exception, failed: bool) -> CheckResult:
    if isinstance(measure, Exception):
        return _no_result(rule, measure)
    message = measure.found
    if failed:
        message += f"; expected {measure.threshold}"
        message += f"; for example {', '.join(str(item) for item in measure.sample[:SAMPLE])}" if measure.sample else ""
    return CheckResult(
        name=rule.name,
        passed=not failed,
        severity=rule.severity,
        value=measure.value if measure.value == measure.value else None,
        threshold=measure.threshold,
        message=message,
        numbers=dict(measure.numbers),
    )


def _no_result(rule: Rule[Any], error: Exception) -> CheckResult:
    told = " ".join(str(error).split())[:300]
    return CheckResult(
        name=rule.name,
        passed=False,
        severity=rule.severity,
        message=f"gave no result: {type(error).__name__}: {told}",
    )


@dataclass(frozen=True)
class DayEvidence:
    """What the rules of a day look at; the rows are counted once, in the engine."""

    rows: ibis.Table
    facts: DayFacts
    mapping: LakeMapping
    day: date
    policy: ValidationPolicy
    earlier_rows: tuple[int, ...]
    query: DayQuery

    @property
    def required(self) -> tuple[str, ...]:
        """Columns in which no value may be missing."""
        return _required(self.mapping)

    @cached_property
    def broken(self) -> dict[str, ibis.Value]:
        """What no accepted row may be, by name."""
        return _broken(self.rows, self.day)

    @cached_property
    def profile(self) -> dict[str, Any]:
        """The day in one row: counts and extremes, from one pass over the rows."""
        found: dict[str, Any] = self.query(day_profile).to_pylist()[0]
        return {name: value if value is not None else 0 for name, value in found.items()}

    def sample(self, broken: ibis.Value) -> list[object]:
        """A few ids of rows that break a rule."""
        ids: pa.Table = self.rows.filter(broken).select(TRANSACTION_ID).limit(SAMPLE).to_pyarrow()
        return list(ids[TRANSACTION_ID].to_pylist())


def _required(mapping: LakeMapping) -> tuple[str, ...]:
    return (TIMESTAMP, AMOUNT, *mapping.keys)


def _broken(rows: ibis.Table, day: Day) -> dict[str, ibis.Value]:
    start = start_of(day)
    return {
        "amount": (rows[AMOUNT] < 0) | rows[AMOUNT].isnan() | rows[AMOUNT].isinf(),
        "label": rows[IS_FRAUD].notin([0, 1]),
        "timestamp": (rows[TIMESTAMP] < start) | (rows[TIMESTAMP] >= start + ibis.interval(days=1)),
    }


def day_profile(rows: ibis.Table, mapping: LakeMapping, day: Day) -> ibis.Table:
    """The numbers that the rules of a day are about, as one row."""
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
    return rows.aggregate(**numbers)


def _schema(day: DayEvidence) -> Measure:
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
    mapping, key_types = day.mapping, day.facts.key_types
    core = dict(zip(CORE_COLUMNS, (dt.int64, dt.Timestamp(scale=6), dt.float64, dt.int8), strict=True))
    known = {LABELLED_AT: dt.Timestamp(scale=6)} if mapping.columns.labelled_at else {}
    keys = {name: dt.string if key_types.get(name) == TEXT else dt.int64 for name in mapping.keys}
    further = dict.fromkeys(mapping.numeric, dt.float64) | dict.fromkeys(mapping.categories, dt.string)
    return core | known | keys | further


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
    earlier = day.earlier_rows[-policy.trailing_days :]
    if len(earlier) < MIN_EARLIER_DAYS:
        return Measure(
            value=rows,
            found=f"{rows:,} rows; {len(earlier)} earlier days are too few to compare with",
            least=least,
            threshold=f"at least {least:,.0f}",
            numbers={"rows": rows, "earlier_days": len(earlier)},
        )
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
        sample=[f"{reason}: {count:,}" for reason, count in facts.rejects.items()],
    )


def _freshness(day: DayEvidence) -> Measure:
    most, arrived = day.policy.max_arrival_hours, day.facts.arrived_at
    threshold = f"after the day's end, by at most {most:g} hours"
    if arrived is None:
        return Measure(None, "when the files arrived is not known", threshold=threshold)
    end = datetime(day.day.year, day.day.month, day.day.day, tzinfo=UTC) + timedelta(days=1)
    hours = (arrived - end).total_seconds() / 3600
    if hours > HISTORY_HOURS:
        return Measure(None, f"delivered as history, {hours / 24:,.0f} days after the day's end", threshold=threshold)
    return Measure(
        value=hours,
        found=f"arrived {abs(hours):,.1f} hours {'after' if hours >= 0 else 'before'} the day's end",
        least=0,
        most=most,
        threshold=threshold,
        numbers={"hours": hours, "arrived_at": arrived.isoformat()},
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
)
DAY_CHECKS: dict[str, tuple[Severity, str]] = {r.name: (r.severity, r.description) for r in _DAY_RULES}


def day_checks(
    rows: ibis.Table,
    facts: DayFacts,
    mapping: LakeMapping,
    day: date,
    policy: ValidationPolicy,
    *,
    earlier_rows: Sequence[int] = (),
    query: DayQuery | None = None,
) -> tuple[CheckResult, ...]:
    """One result per rule of `DAY_CHECKS`, in order, about a stored day.

    `rows` is the canonical table of an engine; `earlier_rows` are the row counts of the days before, oldest first.
    `query` answers about the same rows, where an engine keeps compiled queries.
    """
    query = query or (lambda shape: shape(rows, mapping, day).to_pyarrow())
    return _judged(_DAY_RULES, DayEvidence(rows, facts, mapping, day, policy, tuple(earlier_rows), query))


@dataclass(frozen=True)
class WindowEvidence:
    """What the rules of a window look at."""

    window: TrainingWindow
    policy: ValidationPolicy
    columns: frozenset[str]
    digests: Mapping[date, str]
    features_digests: Mapping[date, str]


def _minimum_rows(evidence: WindowEvidence) -> Measure:
    window, least = evidence.window, evidence.policy.min_rows
    return Measure(
        value=window.rows,
        found=f"{window.rows:,} labelled rows in {len(window.training)} training days",
        least=least,
        threshold=f"at least {least:,}",
        numbers={"rows": window.rows, "days": len(window.training)},
    )


def _required_columns(evidence: WindowEvidence) -> Measure:
    required = (TRANSACTION_ID, TIMESTAMP, IS_FRAUD, *evidence.window.features)
    missing = [name for name in dict.fromkeys(required) if name not in evidence.columns]
    return Measure(
        value=len(missing),
        found=f"{len(missing)} of {len(required)} required columns are missing",
        most=0,
        threshold="none",
        numbers={"required": len(required), "missing": len(missing)},
        sample=missing,
    )


def _window_fraud_rate(evidence: WindowEvidence) -> Measure:
    window, policy = evidence.window, evidence.policy
    rate = window.frauds / window.rows if window.rows else float("nan")
    return Measure(
        value=rate,
        found=f"{window.frauds:,} of {window.rows:,} labelled training rows are frauds ({rate:.3%})",
        least=policy.min_fraud_rate,
        most=policy.max_fraud_rate,
        threshold=f"from {policy.min_fraud_rate:.3%} to {policy.max_fraud_rate:.3%}",
        numbers={"rows": window.rows, "frauds": window.frauds},
    )


def _missing_days(evidence: WindowEvidence) -> Measure:
    window, most = evidence.window, evidence.policy.max_missing_days
    present = {day.day for day in _every_day(window)}
    missing = [day for day in window.days.needed if day not in present]
    return Measure(
        value=len(missing),
        found=f"{len(missing)} of {len(window.days.needed)} days of the window are missing",
        most=most,
        threshold=f"at most {most}",
        numbers={"needed": len(window.days.needed), "missing": len(missing)},
        sample=missing,
    )


def _holdout_frauds(evidence: WindowEvidence) -> Measure:
    window, least = evidence.window, evidence.policy.min_holdout_frauds
    return Measure(
        value=window.holdout_frauds,
        found=f"{window.holdout_frauds:,} frauds in {window.holdout_rows:,} labelled holdout rows",
        least=least,
        threshold=f"at least {least:,}",
        numbers={"frauds": window.holdout_frauds, "rows": window.holdout_rows},
    )


def _no_overlap(evidence: WindowEvidence) -> Measure:
    """Training days that also judge, or that lie after the first day that judges."""
    window = evidence.window
    judging = {day.day for day in (*window.holdout, *window.fixed)} | set(window.days.holdout)
    start = window.days.holdout.start
    overlapping = [day.day for day in window.training if day.day in judging or day.day >= start]
    return Measure(
        value=len(overlapping),
        found=f"{len(overlapping)} of {len(window.training)} training days also judge the model, or come later",
        most=0,
        threshold="none: every training day before the holdout and outside the fixed evaluation days",
        numbers={"training_days": len(window.training), "overlapping": len(overlapping)},
        sample=overlapping,
    )


def _digests(evidence: WindowEvidence) -> Measure:
    window = evidence.window
    pinned = {day.day: day.digest for day in _every_day(window)} | dict(window.history)
    features = {day.day: day.features_digest for day in _every_day(window)}
    changed = {day for day, digest in pinned.items() if evidence.digests.get(day) != digest}
    changed |= {day for day, digest in features.items() if evidence.features_digests.get(day) != digest}
    return Measure(
        value=len(changed),
        found=f"{len(changed)} of {len(pinned)} days are no longer those of the manifest",
        most=0,
        threshold="none",
        numbers={"days": len(pinned), "changed": len(changed)},
        sample=sorted(changed),
    )


def _both_classes(evidence: WindowEvidence) -> Measure:
    window = evidence.window
    others = window.rows - window.frauds
    return Measure(
        value=min(window.frauds, others),
        found=f"{window.frauds:,} frauds and {others:,} others to learn from",
        least=1,
        threshold="at least one of each",
        numbers={"frauds": window.frauds, "others": others},
    )


def _every_day(window: TrainingWindow) -> tuple[WindowDay, ...]:
    return (*window.training, *window.holdout, *window.fixed)


_WINDOW_RULES: tuple[Rule[WindowEvidence], ...] = (
    Rule("minimum_rows", "error", "Enough labelled rows to learn from.", _minimum_rows),
    Rule("required_columns", "error", "Every feature and the label are there on every day.", _required_columns),
    Rule("fraud_rate", "error", "The share of frauds is within its bounds.", _window_fraud_rate),
    Rule("missing_days", "error", "Few enough days of window and holdout are absent.", _missing_days),
    Rule("holdout_frauds", "error", "Enough frauds in the holdout to rest a verdict on.", _holdout_frauds),
    Rule("no_overlap", "error", "No training day judges the model or comes after one that does.", _no_overlap),
    Rule("digests", "error", "Every day is still the one that the manifest names.", _digests),
    Rule("both_classes", "error", "Frauds and others to learn from.", _both_classes),
)
WINDOW_CHECKS: dict[str, tuple[Severity, str]] = {r.name: (r.severity, r.description) for r in _WINDOW_RULES}


def window_checks(
    window: TrainingWindow,
    policy: ValidationPolicy,
    *,
    columns: Collection[str],
    digests: Mapping[date, str],
    features_digests: Mapping[date, str],
) -> tuple[CheckResult, ...]:
    """One result per rule of `WINDOW_CHECKS`, in order.

    `columns` are those that the features of every day have; `digests` and `features_digests` are what the store has
    now for the days of the manifest and its history, a day that it lacks being left out.
    """
    evidence = WindowEvidence(window, policy, frozenset(columns), digests, features_digests)
    return _judged(_WINDOW_RULES, evidence)
