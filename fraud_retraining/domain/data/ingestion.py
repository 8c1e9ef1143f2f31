"""One day of a user's lake made canonical: names, types, UTC, one row per transaction id, sorted, rejects apart.

Here: which rows are refused and why, and the facts that a day leaves behind. Not here: how values become canonical
(`domain/data/canonical.py`), reading files (`adapters/storage/engine.py`, `adapters/storage/lake.py`), keeping the
result (`adapters/storage/store.py`) and whether the day as a whole is good enough (`domain/data/day_checks.py`).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, NamedTuple, Self, TypeAlias

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat
from pydantic import AwareDatetime, Field

from fraud_retraining.domain.data.canonical import NO_WHOLE_KEY, DecisionFault, canonical, split_keys
from fraud_retraining.domain.data.identity import Spelling, samples, spellings
from fraud_retraining.domain.data.lake_columns import INTEGER, TEXT
from fraud_retraining.domain.data.lake_mapping import DELIVERED_DECISION, DELIVERED_LABEL, REASON, SURPLUS, LakeMapping
from fraud_retraining.domain.data.validation import RejectReason
from fraud_retraining.domain.values.base import ExtendedValue, Value
from fraud_retraining.domain.values.days import Day, by_day, day_of, start_of
from fraud_retraining.domain.values.schemas import (
    AMOUNT,
    IS_FRAUD,
    LABELLED_AT,
    PROPENSITY,
    TIMESTAMP,
    TRANSACTION_ID,
    reads_like_blocking,
)

_LABELS_NAMED, _LABEL_LETTERS = 5, 40
_PLACE, _RANK = "__place", "__rank"
# A fraud without a time of its label sorts as known last, so that no copy hides it.
_END_OF_TIME = ibis.timestamp("9999-12-31 00:00:00").cast("timestamp(6)")


def classify(raw: ibis.Table, mapping: LakeMapping, day: Day) -> ibis.Table:
    """Canonical columns, `reason` (null: accepted) and `surplus` (a further copy of the same row, to be dropped)."""
    return settle_duplicates(judge(canonical(raw, mapping), mapping, day), day)


def judge(rows: ibis.Table, mapping: LakeMapping, day: Day) -> ibis.Table:
    """Canonical rows and the first rule that each breaks on its own; duplicates are not looked for."""
    start = start_of(day_of(day, rows))
    amount, time, label = rows[AMOUNT], rows[TIMESTAMP], rows[IS_FRAUD]
    rules = (
        *((rows[name].isnull(), null_key(mapping, name)) for name in mapping.required_keys),
        # DuckDB cannot raise for one row: the conversion leaves a number here that no key has.
        *((rows[name] == NO_WHOLE_KEY, fraction_key(mapping, name)) for name in mapping.keys if _is_whole(rows[name])),
        (time.isnull(), RejectReason.NULL_TIMESTAMP),
        (amount.isnull(), RejectReason.NULL_AMOUNT),
        ((amount < 0) | amount.isnan() | amount.isinf(), RejectReason.NEGATIVE_AMOUNT),
        (label.notin([0.0, 1.0]), RejectReason.INVALID_LABEL),
        (_unlisted(rows), RejectReason.UNLISTED_LABEL),
        ((time < start) | (time >= start + ibis.interval(days=1)), RejectReason.OUTSIDE_DAY),
        *_decision_rules(rows),
    )
    reason = ibis.cases(*((broken, str(why)) for broken, why in rules), else_=ibis.null("string"))
    return rows.mutate(**{REASON: reason})


def _decision_rules(rows: ibis.Table) -> tuple[tuple[ibis.Value, RejectReason], ...]:
    if PROPENSITY not in rows.columns:
        return ()
    faults = {
        DecisionFault.NO_DECISION: RejectReason.NULL_DECISION,
        DecisionFault.NO_PROPENSITY: RejectReason.NULL_PROPENSITY,
        DecisionFault.NO_PROBABILITY: RejectReason.INVALID_PROPENSITY,
        DecisionFault.SURELY_BLOCKED: RejectReason.SURELY_BLOCKED,
    }
    return tuple((rows[PROPENSITY] == float(fault), reason) for fault, reason in faults.items())


def null_key(mapping: LakeMapping, name: str) -> str:
    """The reason of a row that lacks a key, with the columns that it should be in."""
    return f"{RejectReason.NULL_KEY} {mapping.key_label(name)}"


def fraction_key(mapping: LakeMapping, name: str) -> str:
    """The reason of a row whose key is a float that no integer is equal to, with its column."""
    return f"{RejectReason.FRACTION_KEY} {mapping.key_label(name)}"


def _reasons(mapping: LakeMapping) -> list[str]:
    """Every reason, in the order in which rows are filed under them."""
    keys = [null_key(mapping, name) for name in mapping.required_keys]
    fractions = [fraction_key(mapping, name) for name in mapping.keys]
    named = (RejectReason.NULL_KEY, RejectReason.FRACTION_KEY)
    return [*keys, *fractions, *(str(reason) for reason in RejectReason if reason not in named)]


def _is_whole(key: ibis.Column) -> bool:
    return bool(key.type().is_integer())


def _unlisted(rows: ibis.Table) -> ibis.Value:
    """Whether a label came that no list of the mapping holds."""
    if DELIVERED_LABEL not in rows.columns:
        return ibis.literal(False)
    return rows[DELIVERED_LABEL].notnull() & rows[IS_FRAUD].isnull()


def settle_duplicates(judged: ibis.Table, day: Day) -> ibis.Table:
    """One row per transaction id of a day: the copy that says most stays, others are rejected, equal ones are surplus.

    Says most: unbroken before broken; a known label before an unknown one; where labels say when they became known, the
    label known last; fraud before genuine; the largest amount; the latest time; then by the other columns. So no fraud
    is lost to a copy, in any order of files and rows. A fraud that does not say when it became known counts as
    known last. Rows without an id are never copies of each other.
    """
    # row_number and rank over one order: rows of equal content share a rank, so only one of them is kept.
    telling = [ibis.asc(REASON, nulls_first=True), *_telling(judged)]
    one_id = [*by_day(day), TRANSACTION_ID]
    same_id = ibis.window(group_by=one_id, order_by=telling)
    # Equal copies too have one order where the day's facts count what they may differ in.
    alike = [ibis.asc(DELIVERED_DECISION)] if DELIVERED_DECISION in judged.columns else []
    one_by_one = ibis.window(group_by=one_id, order_by=[*telling, *alike])
    place, rank = ibis.row_number().over(one_by_one), ibis.rank().over(same_id)
    placed = judged.mutate(**{_PLACE: place, _RANK: rank})
    # A copy that is broken itself keeps its own reason.
    later = placed[REASON].isnull() & (placed[_RANK] > 0)
    return placed.mutate(
        **{
            REASON: later.ifelse(str(RejectReason.DUPLICATE_ID), placed[REASON]),
            SURPLUS: placed[TRANSACTION_ID].notnull() & (placed[_PLACE] > placed[_RANK]),
        }
    ).drop(_PLACE, _RANK)


def _telling(rows: ibis.Table) -> list[ibis.Value]:
    """How rows of one transaction are ordered, the one that says most first; only equal contents have equal places."""
    label = rows[IS_FRAUD]
    # A copy without a label never hides one with a label.
    order = [ibis.asc(label.isnull())]
    if LABELLED_AT in rows.columns:
        no_time = (label == 1).ifelse(_END_OF_TIME, None)
        order.append(ibis.desc(ibis.coalesce(rows[LABELLED_AT], no_time), nulls_first=False))
    most = (IS_FRAUD, AMOUNT, TIMESTAMP)
    order += [ibis.desc(rows[name], nulls_first=False) for name in most]
    delivered = (DELIVERED_LABEL, DELIVERED_DECISION)
    other = [name for name in rows.columns if name not in (TRANSACTION_ID, REASON, *delivered, *most)]
    return order + [ibis.asc(name, nulls_first=False) for name in other]


class Arrival(Value):
    """What arrived for a day: how many files, in which version, and when; and what of them could not be read."""

    files: int = Field(ge=0)
    unread_files: tuple[str, ...] = ()
    unusable_columns: dict[str, str] = {}
    columns_there: tuple[str, ...] = ()
    source_version: str
    arrived_at: AwareDatetime | None = None


LEAST_BLOCKED, LEAST_CONTROL, FAR_APART = 200, 20, 3.0
"""From so many rows on chance does not explain a control group that is empty, or that stands for a third or three times
of what was blocked."""
LEAST_DECIDED = 10_000
"""From so many rows on it is no chance that none was blocked, if one in a thousand is."""
_DECISIONS_NAMED = 20


class BlockedFacts(ExtendedValue):
    """What production did with the transactions of a day, or of several."""

    ADDED: ClassVar[frozenset[str]] = frozenset({"decisions", "unlisted"})

    blocked: int = Field(description="Blocked transactions that the control group stands for.")
    unseen: int = Field(description="Blocked transactions that nothing stands for.")
    reviewed: int = Field(description="Those of them whose label the day itself carries.")
    control: int = Field(description="Transactions of the control group.")
    stands_for: float = Field(description="Blocked transactions that the control group says there are.")
    decisions: dict[str, int] = Field({}, description="The most frequent decisions, in small letters, and their rows.")
    unlisted: dict[str, int] = Field(
        {}, description="Decisions that read like blocking and that the settings do not list, and their rows."
    )

    @classmethod
    def of_rows(cls, rows: pa.Table) -> Self | None:
        """What propensities and labels of canonical rows say; None where the rows have no propensity."""
        if PROPENSITY not in rows.column_names:
            return None
        propensity = rows[PROPENSITY]
        unseen, seen = pc.is_null(propensity), propensity.drop_null().to_numpy()
        control = seen[(seen > 0) & (seen < 1)]
        return cls(
            blocked=int((seen == 0).sum()),
            unseen=propensity.null_count,
            reviewed=pc.sum(pc.and_(unseen, pc.is_valid(rows[IS_FRAUD]))).as_py() or 0,
            control=len(control),
            stands_for=float((1 / control - 1).sum()),
        )

    @classmethod
    def of_days(cls, days: Iterable[Mapping[str, Any]]) -> Self | None:
        """All of some days' facts together; None where none of them says what was blocked."""
        found = [one["blocked"] for one in days if one.get("blocked")]
        if not found:
            return None
        counts = {name: sum(one[name] for one in found) for name in cls.model_fields if name not in cls.ADDED}
        # Facts of an earlier version name no decisions.
        return cls(**counts, **{name: _together(one.get(name, {}) for one in found) for name in cls.ADDED})

    @property
    def warning(self) -> str | None:
        """What is wrong with decisions or the control group, and the remedy; None where nothing is seen."""
        if self.unlisted:
            return (
                f"{sum(self.unlisted.values()):,} transactions count as let through though their decision reads like "
                f"blocking: {_named(self.unlisted)}; add it to labels.blocked.decisions"
            )
        decided = sum(self.decisions.values())
        if decided >= LEAST_DECIDED and not self.blocked + self.unseen:
            return (
                f"none of {decided:,} transactions has a decision of labels.blocked.decisions; columns.decision says "
                f"{_named(self.decisions)}: correct the list or the column"
            )
        unknown = self.unseen - self.reviewed
        if unknown and not self.control:
            return (
                f"nothing stands for the {unknown:,} blocked transactions without a label: metrics hold for the others "
                "alone; let a share of them through by chance"
            )
        if self.blocked >= LEAST_BLOCKED and not self.control:
            return "the control group is empty: columns.propensity or labels.blocked.control_decisions do not name it"
        if self.control >= LEAST_CONTROL and not 1 / FAR_APART <= self.stands_for / max(self.blocked, 1) <= FAR_APART:
            return "the control group stands for another number than was blocked: the propensities are wrong"
        return None

    @property
    def summary(self) -> str:
        """How many were blocked, what stands for them, and what is wrong with it."""
        found = (
            f"{self.blocked + self.unseen:,} transactions were blocked; a control group of {self.control:,} stands for "
            f"{self.stands_for:,.0f} of {self.blocked:,}"
        )
        return f"{found}; {self.warning}" if self.warning else found


def _together(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return _most_frequent(total, _DECISIONS_NAMED)


def _most_frequent(counts: Mapping[str, int], most: int) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:most])


def _named(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{value!r} ({rows:,})" for value, rows in _most_frequent(counts, _LABELS_NAMED).items())


class DayFacts(ExtendedValue):
    """What a day was like when it was ingested."""

    ADDED: ClassVar[frozenset[str]] = frozenset({"blocked", "unusable_columns", "columns_there"})

    rows: int = Field(description="Accepted rows.")
    labelled: int = Field(description="Accepted rows whose label is known.")
    frauds: int
    rejects: dict[str, int] = Field(description="Rejected rows by reason.")
    duplicates_dropped: int = Field(description="Surplus copies of identical rows; neither accepted nor rejected.")
    min_timestamp: datetime | None = None
    max_timestamp: datetime | None = None
    min_amount: float | None = None
    mean_amount: float | None = None
    max_amount: float | None = None
    nulls: dict[str, int] = Field(description="Missing values of the columns that may miss them.")
    unlisted_labels: dict[str, int] = Field(
        {}, description="The most frequent labels that no list of the settings holds, and their rows."
    )
    key_types: dict[str, str] = Field(description="Whether each key is integer or text; empty where no row says so.")
    spellings: dict[str, Spelling] = Field({}, description="How text keys and categories are written.")
    samples: dict[str, str] = Field({}, description="Which values they have, and in which form, as hashes.")
    blocked: BlockedFacts | None = Field(None, description="Decisions of production; None where no column has them.")
    ignored_columns: tuple[str, ...] = ()
    unread_files: tuple[str, ...] = Field((), description="Files of the day's folder that are not Parquet.")
    unusable_columns: dict[str, str] = Field(
        {}, description="Columns that single models alone ask for and that the day has not, and why; null in its rows."
    )
    columns_there: tuple[str, ...] = Field((), description="The names that are there where one of them is missing.")
    files: int
    source_version: str
    arrived_at: AwareDatetime | None = None

    @property
    def rejected(self) -> int:
        """Rejected rows, for any reason."""
        return sum(self.rejects.values())

    @property
    def reject_share(self) -> float:
        """Rejected rows among accepted and rejected."""
        judged = self.rows + self.rejected
        return self.rejected / judged if judged else 0.0

    @property
    def fraud_rate(self) -> float | None:
        """Frauds among the labelled rows; None where no label is known."""
        return self.frauds / self.labelled if self.labelled else None


class Ingested(NamedTuple):
    """A day's accepted rows, sorted by time and id; its rejects with their reason; and its facts."""

    accepted: pa.Table
    rejects: pa.Table
    facts: DayFacts


DayShape: TypeAlias = Callable[[ibis.Table, LakeMapping, Day], ibis.Table]
"""A query over the canonical rows of a day."""

DayQuery: TypeAlias = Callable[[DayShape], pa.Table]
"""Runs a query over the canonical rows of one day."""


def ingest(
    query: DayQuery,
    mapping: LakeMapping,
    *,
    arrival: Arrival,
    ignored: Sequence[str] = (),
    part_types: Mapping[str, str] | None = None,
) -> Ingested:
    """Split canonical rows (`canonical`) of a day into accepted and rejected; every row is counted once.

    `ignored` and `part_types` describe the columns of the files (`ColumnReport`).

    The result depends on the rows alone: not on their order, their files or the engine's threads.
    """
    table, dropped = _judged_table(query)
    return split_day(table, dropped, mapping, arrival=arrival, ignored=ignored, part_types=part_types)


def split_settled(
    settled: pa.Table,
    mapping: LakeMapping,
    *,
    arrival: Arrival,
    ignored: Sequence[str] = (),
    part_types: Mapping[str, str] | None = None,
) -> Ingested:
    """As `ingest`, of the settled rows of a day (`settle_duplicates`), surplus copies among them."""
    kept = settled.filter(pc.invert(settled[SURPLUS])).drop_columns([SURPLUS])
    dropped = len(settled) - len(kept)
    return split_day(kept, dropped, mapping, arrival=arrival, ignored=ignored, part_types=part_types)


def split_day(
    table: pa.Table,
    dropped: int,
    mapping: LakeMapping,
    *,
    arrival: Arrival,
    ignored: Sequence[str] = (),
    part_types: Mapping[str, str] | None = None,
) -> Ingested:
    """Judged rows of a day as accepted and rejected ones; `dropped` surplus copies are no longer among them."""
    reason = table[REASON]
    # A day without a reject is the usual one, and is not copied.
    if reason.null_count == len(table):
        accepted, rejects = table, table.slice(0, 0)
    else:
        accepted, rejects = table.filter(pc.is_null(reason)), table.filter(pc.is_valid(reason))
    decisions = _decision_counts(accepted)
    inside = (REASON, DELIVERED_LABEL, DELIVERED_DECISION)
    accepted = accepted.drop_columns([name for name in inside if name in table.column_names])
    # Sorted here, so that the digest does not depend on files or threads.
    accepted = _in_order(_with_label(accepted.combine_chunks()))
    rejects = _sorted_rejects(rejects.drop_columns([DELIVERED_DECISION]) if decisions is not None else rejects)
    delivery = _Delivery(arrival, tuple(ignored), part_types or {}, dropped, decisions or {})
    return Ingested(accepted, rejects, _facts(accepted, rejects, mapping, delivery))


def _judged_table(query: DayQuery) -> tuple[pa.Table, int]:
    """Judged rows without surplus copies; looking for duplicates costs only a day that has some."""
    table = query(judge)
    if not _repeats(table[TRANSACTION_ID]):
        return table, 0
    # The window function over ids costs a sort of the whole day: only a day with repeated ids pays it.
    kept = query(settle)
    return kept, len(table) - len(kept)


def settle(rows: ibis.Table, mapping: LakeMapping, day: Day) -> ibis.Table:
    """Judged rows with their duplicates settled and without surplus copies."""
    return settle_duplicates(judge(rows, mapping, day), day).filter(lambda row: ~row[SURPLUS]).drop(SURPLUS)


def _repeats(ids: pa.ChunkedArray) -> bool:
    present = ids.drop_null()
    if not pat.is_integer(ids.type):
        return bool(pc.count_distinct(present).as_py() < len(present))
    values = present.to_numpy()
    if _rising(values):
        return False
    # For integers a sort and a comparison are faster than a hash table of distinct values.
    values = np.sort(values)
    return not _rising(values)


def _rising(values: np.ndarray[Any, Any]) -> bool:
    return bool((values[1:] > values[:-1]).all())


def _in_order(accepted: pa.Table) -> pa.Table:
    """Accepted rows by time and id; a day that was delivered so is not sorted again."""
    if _is_in_order(accepted[TIMESTAMP].to_numpy(), accepted[TRANSACTION_ID]):
        return accepted
    return accepted.take(pc.sort_indices(accepted, [(TIMESTAMP, "ascending"), (TRANSACTION_ID, "ascending")]))


def _is_in_order(times: np.ndarray[Any, Any], ids: pa.ChunkedArray) -> bool:
    if (times[1:] < times[:-1]).any():
        return False
    tied = np.flatnonzero(times[1:] == times[:-1])
    return bool(pc.all(pc.less(ids.take(tied), ids.take(tied + 1)), min_count=0).as_py())


def _with_label(accepted: pa.Table) -> pa.Table:
    at = accepted.schema.get_field_index(IS_FRAUD)
    return accepted.set_column(at, IS_FRAUD, accepted[IS_FRAUD].cast(pa.int8()))


def _sorted_rejects(rejects: pa.Table) -> pa.Table:
    ordered = rejects.select([REASON, *(name for name in rejects.column_names if name != REASON)])
    # pyarrow reads a sort key that begins with a dot or a bracket as a path, not as the name of a column.
    numbered = ordered.rename_columns([str(number) for number in range(ordered.num_columns)])
    return ordered.take(pc.sort_indices(numbered, [(name, "ascending") for name in numbered.column_names]))


class _Delivery(NamedTuple):
    """Facts of a delivery beside its accepted and rejected rows."""

    arrival: Arrival
    ignored: tuple[str, ...]
    part_types: Mapping[str, str]
    dropped: int
    decisions: Mapping[str, int]


def _facts(accepted: pa.Table, rejects: pa.Table, mapping: LakeMapping, delivery: _Delivery) -> DayFacts:
    times, labels = accepted[TIMESTAMP], accepted[IS_FRAUD]
    amounts = accepted[AMOUNT].to_numpy()
    optional = [name for name in accepted.column_names if name not in (TIMESTAMP, AMOUNT, *mapping.required_keys)]
    reasons = {item["values"]: item["counts"] for item in pc.value_counts(rejects[REASON]).to_pylist()}
    some = len(accepted) > 0
    key_types = {
        name: INTEGER if pat.is_integer(accepted[name].type) else TEXT
        for name in mapping.keys
        if accepted[name].null_count < len(accepted)
    }
    key_types |= {part: kind for part, kind in delivery.part_types.items() if mapping.key_parts[part][0] in key_types}
    texts = _shared_texts(accepted, mapping)
    return DayFacts(
        rows=len(accepted),
        labelled=len(labels) - labels.null_count,
        frauds=pc.sum(labels).as_py() or 0,
        rejects={reason: reasons[reason] for reason in _reasons(mapping) if reason in reasons},
        duplicates_dropped=delivery.dropped,
        min_timestamp=times[0].as_py() if some else None,
        max_timestamp=times[-1].as_py() if some else None,
        min_amount=float(amounts.min()) if some else None,
        mean_amount=float(amounts.mean()) if some else None,
        max_amount=float(amounts.max()) if some else None,
        nulls={name: accepted[name].null_count for name in optional},
        unlisted_labels=_unlisted_labels(rejects),
        blocked=_blocked(accepted, delivery.decisions, mapping),
        key_types=key_types if some else {},
        spellings=spellings(texts),
        samples=samples(texts),
        ignored_columns=delivery.ignored,
        **delivery.arrival.model_dump(),
    )


def _shared_texts(accepted: pa.Table, mapping: LakeMapping) -> dict[str, pa.Array]:
    """The distinct values of text that days share: of keys, of each column of joined keys, and of categories."""
    names = [name for name in (*mapping.entities, *mapping.categories) if pat.is_string(accepted[name].type)]
    found = {name: pc.unique(accepted[name].drop_null()) for name in names}
    for name, entity in mapping.entities.items():
        if len(entity.parts) > 1:
            parts = [part for part, (whose, _) in mapping.key_parts.items() if whose == name]
            columns = split_keys(found.pop(name), len(parts))
            found |= {part: pc.unique(column) for part, column in zip(parts, columns, strict=True)}
    return found


def _decision_counts(accepted: pa.Table) -> dict[str, int] | None:
    """Accepted rows by decision; None where no column has them."""
    if DELIVERED_DECISION not in accepted.column_names:
        return None
    return {item["values"]: item["counts"] for item in pc.value_counts(accepted[DELIVERED_DECISION]).to_pylist()}


def _blocked(accepted: pa.Table, decisions: Mapping[str, int], mapping: LakeMapping) -> BlockedFacts | None:
    found = BlockedFacts.of_rows(accepted)
    if found is None or mapping.blocked is None:
        return None
    listed = {*mapping.blocked.blocking, *mapping.blocked.letting_through}
    unlisted = {value: rows for value, rows in decisions.items() if value not in listed and reads_like_blocking(value)}
    # Cut short: a lake's values are not ours to spread.
    named = {value[:_LABEL_LETTERS]: rows for value, rows in _most_frequent(decisions, _DECISIONS_NAMED).items()}
    return found.model_copy(update={"decisions": named, "unlisted": unlisted})


def _unlisted_labels(rejects: pa.Table) -> dict[str, int]:
    if DELIVERED_LABEL not in rejects.column_names:
        return {}
    # A few and cut short: they go into messages, and a lake's values are not ours to spread.
    labels = rejects.filter(pc.equal(rejects[REASON], str(RejectReason.UNLISTED_LABEL)))[DELIVERED_LABEL]
    counts = {item["values"]: item["counts"] for item in pc.value_counts(labels).to_pylist()}
    return {label[:_LABEL_LETTERS]: rows for label, rows in _most_frequent(counts, _LABELS_NAMED).items()}
