"""Answers of the scorer against the batch: how many rested on other features, in which, by how much, and why.

Here: the comparison of a day, and its report. Not here: finding the reasons (`skew_reasons.py`), computing features
(`domain/features/`), and what is kept of an answer (`domain/serving/served_rows.py`).

The report holds counts and names of features, and no id: it is shown where personal data is not.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from typing import ClassVar, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from fraud_retraining.domain.features.plan import FeaturePlan
from fraud_retraining.domain.features.row_digests import Floats32, RowDigests
from fraud_retraining.domain.monitoring.skew_reasons import (
    REMEDIES,
    WORDS,
    Bools,
    DayRows,
    FoundReasons,
    Integers,
    Reason,
    alike,
    reasons_of,
)
from fraud_retraining.domain.values.base import ExtendedValue, Value
from fraud_retraining.domain.values.schemas import TRANSACTION_ID

NAMED = 5
"""Features that a message names."""
ALTERED_REMEDY = (
    "Find out who wrote to the serving log, and bring those parts back from a backup. Until a later day is clean, a "
    "person decides on every promotion."
)
SEGMENT_REMEDY = (
    "Route transactions by the condition of each model (where), and start scorers again that have an earlier one."
)
NUMBERS, CATEGORIES, DIGEST = "features", "categories", "features_digest"


class FeatureDifference(Value):
    """A feature that differs in rows whose features the serving log keeps."""

    name: str
    rows: int
    unexplained: int = Field(description="Those of the rows that differ without a known reason.")
    largest: float | None = Field(description="Largest difference; None for categories, and where one side is missing.")

    @property
    def summary(self) -> str:
        """Feature, rows and difference, as a clause."""
        by = f", by up to {self.largest:.4g}" if self.largest is not None else ""
        return f"{self.name} in {self.rows:,} of them{by}"


class ServedSkew(ExtendedValue):
    """What a day's answers rested on, beside the batch's features of the same transactions."""

    ADDED: ClassVar[frozenset[str]] = frozenset({"other_segment"})

    day: date
    served: int = Field(description="Answers about transactions of the day; one that was asked twice counts twice.")
    distinct: int = Field(description="Transactions that they were about.")
    not_in_lake: int = Field(description="Those of them that the lake does not have, or has refused.")
    equal: int = Field(description="Transactions whose last answer rested on the features of the batch.")
    not_served: int = Field(description="Transactions of the lake that were never scored.")
    differing: dict[Reason, int] = Field(description="Answers that rested on other features, by reason.")
    columns: dict[str, int] = Field(description="Answers about another value than the lake's, by column.")
    sampled: int = Field(description="Differing answers whose features the serving log keeps.")
    features: tuple[FeatureDifference, ...] = Field(description="Features in which those differ.")
    altered: tuple[str, ...] = Field(
        (), description="Parts of the serving log that are not as the scorer recorded them in the ledger."
    )
    other_segment: int = Field(0, description="Transactions of the lake that are none of this model's segment.")

    @property
    def compared(self) -> int:
        """Transactions of which both sides have features."""
        return self.distinct - self.not_in_lake - self.other_segment

    @property
    def equal_share(self) -> float | None:
        """Share of the compared transactions whose last answer rested on the batch's features; None without any."""
        return self.equal / self.compared if self.compared else None

    @property
    def different(self) -> int:
        """Answers that rested on other features."""
        return sum(self.differing.values())

    @property
    def unexplained(self) -> int:
        """Answers that rested on other features without a known reason."""
        return self.differing.get(Reason.UNEXPLAINED, 0)

    @property
    def needs_person(self) -> bool:
        """Whether a person has to look: differences without a reason, an altered log, rows of another segment."""
        return bool(self.unexplained or self.altered or self.other_segment)

    @property
    def concern(self) -> str | None:
        """What a person should look at before anything is promoted; None where all can be explained.

        >>> ServedSkew(day="2026-03-01", served=4000, distinct=4000, not_in_lake=0, equal=3988, not_served=0,
        ...            differing={"unexplained": 12}, columns={}, sampled=0, features=()).concern
        'of the last day served, 2026-03-01, 12 of 4,000 rows had other features than the batch, without a known reason'
        """
        if self.altered:
            return f"{self._altered_summary}, the last day served"
        if not self.unexplained:
            return f"on the last day served, {self.day}, {self._segment_summary}" if self.other_segment else None
        return (
            f"of the last day served, {self.day}, {self.unexplained:,} of {self.served:,} rows had other features than "
            f"the batch, {WORDS[Reason.UNEXPLAINED]}"
        )

    @property
    def remedy(self) -> str:
        """What to do: about differences without a reason first, else about the most frequent reason."""
        if self.altered:
            return ALTERED_REMEDY
        if self.other_segment and not self.unexplained:
            return SEGMENT_REMEDY
        if not self.compared:
            return "Compare ids and timestamps of the requests with those of the lake."
        if not self.different:
            return ""
        worst = Reason.UNEXPLAINED if self.unexplained else max(self.differing, key=self.differing.__getitem__)
        return REMEDIES[worst]

    def summary(self) -> str:
        """Numbers, reasons and features, in a sentence or two; no id."""
        altered = [self._altered_summary] if self.altered else []
        foreign = [self._segment_summary] if self.other_segment else []
        return "; ".join([*altered, *foreign, self._differences_summary])

    @property
    def _segment_summary(self) -> str:
        return f"{self.other_segment:,} of {self.distinct:,} transactions were of another segment than the model's"

    @property
    def _altered_summary(self) -> str:
        more = f" and {len(self.altered) - NAMED} more" if len(self.altered) > NAMED else ""
        named = ", ".join(self.altered[:NAMED])
        return f"the serving log of {self.day} is not as the scorer recorded it ({named}{more})"

    @property
    def _differences_summary(self) -> str:
        if not self.compared:
            lacking = "" if self.other_segment else ", about transactions that the lake does not have"
            return f"{self.served:,} answers{lacking}: nothing was compared"
        aside = f"; {self.not_in_lake:,} more are not in the lake" if self.not_in_lake else ""
        if not self.different:
            return f"all of {self.compared:,} transactions were served with the features of the batch{aside}"
        reasons = ", ".join(f"{count:,} {self._words(reason)}" for reason, count in self.differing.items())
        return (
            f"{self.different:,} of {self.served:,} rows had other features than the batch: {reasons}{aside}. "
            f"{self._features_summary}"
        )

    def _words(self, reason: Reason) -> str:
        if reason is not Reason.TRANSACTION_DIFFERS or not self.columns:
            return WORDS[reason]
        return f"{WORDS[reason]} ({', '.join(self.columns)})"

    @property
    def _features_summary(self) -> str:
        if not self.sampled:
            return "Of none of them the log has the features (serving.sample_share)."
        worst = sorted(self.features, key=lambda one: (-one.unexplained, -one.rows))
        more = f" and {len(worst) - NAMED} more" if len(worst) > NAMED else ""
        named = "; ".join(one.summary for one in worst[:NAMED])
        return f"The log has the features of {self.sampled:,}: {named or 'none of these differs'}{more}."


class Batch(NamedTuple):
    """The batch's side of a day.

    Attributes:
        lake: id, timestamp, amount and keys of every row of `transaction_features`.
        features: the same rows in the same order, in parts, with id and every feature.
        ids_before: ids of the lake's transactions of the day before; None where that day is not there.
        feature_version: digest of plan and code of the features.
        state_changed: whether the state of the day before is another one than scorers may have loaded.
        ids_of_all: ids of the day of every segment; None where the model has the whole day.
    """

    lake: pa.Table
    features: Iterable[pa.Table]
    ids_before: pa.ChunkedArray | None
    feature_version: str
    state_changed: bool
    ids_of_all: pa.ChunkedArray | None = None


def compare_served(
    day: date, served: pa.Table, batch: Batch, plan: FeaturePlan, altered: Sequence[str] = ()
) -> ServedSkew:
    """The report of a day.

    Args:
        day: the day of the transactions.
        served: answers in the order in which they were given, with columns as of `served_rows.schema`.
        batch: the batch's side.
        plan: features of both sides.
        altered: parts of the log that are not as they were recorded.
    """
    ids = served[TRANSACTION_ID]
    place = _places(ids, batch.lake[TRANSACTION_ID])
    before = np.zeros(len(place), bool) if batch.ids_before is None else _places(ids, batch.ids_before) >= 0
    yesterday = before & (place < 0)
    of_all = np.zeros(len(place), bool) if batch.ids_of_all is None else _places(ids, batch.ids_of_all) >= 0
    foreign = of_all & (place < 0) & ~yesterday
    same, samples = _held_against(served, place, batch, plan)
    differing = np.flatnonzero(yesterday | ((place >= 0) & ~same))
    rows = DayRows(
        day, served, batch.lake, place, yesterday, (*plan.entities,), batch.feature_version, batch.state_changed
    )
    own = {*plan.numeric, *plan.categorical}
    passed_through = {answer: [*one] for answer, one in samples.items() if one and own.issuperset(one)}
    found = reasons_of(rows, differing, passed_through)
    last = _last_answers(ids)
    return ServedSkew(
        day=day,
        served=len(place),
        distinct=len(last),
        not_in_lake=int(((place < 0) & ~yesterday & ~foreign)[last].sum()),
        other_segment=int(foreign[last].sum()),
        equal=int(((place >= 0) & same)[last].sum()),
        not_served=batch.lake.num_rows - len(np.unique(place[place >= 0])),
        differing=_counts(found),
        columns=found.columns,
        sampled=len(samples),
        features=tuple(_feature_differences(samples, dict(zip(differing.tolist(), found.reasons, strict=True)))),
        altered=tuple(altered),
    )


def _counts(found: FoundReasons) -> dict[Reason, int]:
    counts = Counter(found.reasons)
    return {reason: counts[reason] for reason in Reason if counts[reason]}


def _places(ids: pa.ChunkedArray, among: pa.ChunkedArray) -> Integers:
    """The place of each id among others; -1 where it is not one of them."""
    mine, theirs = alike(ids, among)
    found: Integers = pc.fill_null(pc.index_in(mine, value_set=theirs), -1).to_numpy().astype(np.int64)
    return found


def _last_answers(ids: pa.ChunkedArray) -> Integers:
    """The last answer about each transaction."""
    codes = ids.combine_chunks().dictionary_encode().indices.to_numpy()
    last = np.zeros(len(np.unique(codes)), np.int64)
    np.maximum.at(last, codes, np.arange(len(codes)))
    return last


Differences = Mapping[str, float | None]
"""By feature that differs, the difference; None where it is not a number."""


def _held_against(
    served: pa.Table, place: Integers, batch: Batch, plan: FeaturePlan
) -> tuple[Bools, dict[int, Differences]]:
    """Whether each answer has the digest of the batch's row, and the differences of the sampled ones that do not."""
    digests = RowDigests(plan)
    theirs = np.full(len(place), "", object)
    mine = np.array(served[DIGEST].to_pylist(), object)
    samples: dict[int, Differences] = {}
    kept = served[NUMBERS].is_valid().to_numpy()
    begin = 0
    for part in batch.features:
        answers = np.flatnonzero((place >= begin) & (place < begin + part.num_rows))
        rows, which = np.unique(place[answers] - begin, return_inverse=True)
        theirs[answers] = np.array(digests.of_table(part.take(pa.array(rows))), object)[which]
        sampled = answers[kept[answers] & (theirs[answers] != mine[answers])]
        samples |= _differences(
            served.take(pa.array(sampled)), part.take(pa.array(place[sampled] - begin)), sampled, plan
        )
        begin += part.num_rows
    return theirs == mine, samples


def _differences(
    served: pa.Table, batch: pa.Table, answers: Integers, plan: FeaturePlan
) -> Iterator[tuple[int, Differences]]:
    """The differences of sampled answers; those of another plan, which has other features, are left out."""
    numbers = [name for name in plan.names if name not in plan.categorical]
    columns = [batch[name].to_numpy().astype(np.float32) for name in numbers]
    categories = [batch[name].to_pylist() for name in plan.categorical]
    kept = zip(answers.tolist(), served[NUMBERS].to_pylist(), served[CATEGORIES].to_pylist(), strict=True)
    for row, (answer, mine, texts) in enumerate(kept):
        if len(mine) == len(numbers) and len(texts or ()) == len(categories):
            theirs = np.array([column[row] for column in columns], np.float32)
            found: dict[str, float | None] = _numbers_apart(numbers, np.array(mine, np.float32), theirs)
            pairs = zip(plan.categorical, texts or (), categories, strict=True)
            yield answer, found | {name: None for name, text, column in pairs if text != column[row]}


def _numbers_apart(names: Sequence[str], mine: Floats32, theirs: Floats32) -> dict[str, float | None]:
    gap = np.abs(mine.astype(np.float64) - theirs.astype(np.float64))
    # Bits, as in the digest: zero and minus zero are two values, every NaN is one.
    same = (mine.view(np.uint32) == theirs.view(np.uint32)) | (np.isnan(mine) & np.isnan(theirs))
    return {names[at]: float(gap[at]) if np.isfinite(gap[at]) else None for at in np.flatnonzero(~same).tolist()}


def _feature_differences(
    samples: Mapping[int, Differences], reasons: Mapping[int, Reason]
) -> Iterator[FeatureDifference]:
    names = sorted({name for one in samples.values() for name in one})
    for name in names:
        rows = [answer for answer, one in samples.items() if name in one]
        gaps = [gap for answer in rows if (gap := samples[answer][name]) is not None]
        unexplained = sum(reasons[answer] is Reason.UNEXPLAINED for answer in rows)
        yield FeatureDifference(name=name, rows=len(rows), unexplained=unexplained, largest=max(gaps, default=None))
