"""Rows with known labels and scores: the input of every metric and comparison.

Here: `Judged`, the same rows under two models (`Pair`), and how keys and categories become codes. Not here: what is
measured on the rows (`domain/evaluation/metrics.py`, `domain/evaluation/comparison.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fraud_retraining.domain.labels.blocked import ROW_WEIGHT, effective
from fraud_retraining.domain.values.schemas import AMOUNT, IS_FRAUD, TIMESTAMP

Floats = NDArray[np.float64]
Integers = NDArray[np.integer[Any]]
Mask = NDArray[np.bool_]

MISSING = "(missing)"
REPORT_WEIGHT = "report_weight"
UNKNOWN = -1
"""Label of a row that was blocked and whose outcome nobody knows."""


class Categories(NamedTuple):
    """A column of text as codes into its sorted names."""

    codes: Integers
    names: tuple[str, ...]


def entity_codes(values: pa.ChunkedArray | pa.Array) -> Integers:
    """Codes of an entity's keys, in the order of the keys, so that they do not depend on the order of the rows.

    Rows without a key are separate entities: each has a code of its own, after all others.

    >>> entity_codes(pa.array(["b", "a", None, "b", None])).tolist()
    [1, 0, 2, 1, 3]
    """
    codes, keys = _encoded(values)
    missing = codes < 0
    # One code for all of them would make strangers one customer in the bootstrap.
    codes[missing] = len(keys) + np.arange(missing.sum())
    return codes


def categories(values: pa.ChunkedArray | pa.Array) -> Categories:
    """A slice column as codes; a missing value is a slice of its own."""
    codes, keys = _encoded(pc.fill_null(values.cast(pa.string()), MISSING))
    return Categories(codes, tuple(keys.to_pylist()))


def _encoded(values: pa.ChunkedArray | pa.Array) -> tuple[Integers, pa.Array]:
    whole = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    encoded = whole.dictionary_encode()
    order = pc.sort_indices(encoded.dictionary).to_numpy()
    rank = np.empty(len(order) + 1, dtype=np.int64)
    rank[order] = np.arange(len(order))
    # A missing key has the code -1, which as an index is this last entry.
    rank[-1] = -1
    return rank[pc.fill_null(encoded.indices, -1).to_numpy()], encoded.dictionary.take(pa.array(order))


def _weights(table: pa.Table, column: str) -> Floats | None:
    """How many rows, or frauds, each row stands for; None where that is one everywhere."""
    if column not in table.column_names:
        return None
    weights = table[column].to_numpy()
    # None keeps counts of frauds whole numbers, as reports on mature labels have them.
    return None if (weights == 1.0).all() else weights.astype(np.float64)


@dataclass(frozen=True, eq=False)
class Judged:
    """Rows with known labels and one model's scores for them: what every metric reads.

    `customers` are integer codes of the entity that alerts are about, `days` are days since 1970-01-01, and each slice
    is a text column as `Categories`. All have one entry a row.

    Where labels are used as known, `report_weights` say how many frauds of a row's age there are for each that is known
    (`domain/labels/reporting_delays.py`). A known fraud of weight w then counts as w frauds in every metric. The w - 1
    others are not reported yet and stand among the rows that are not known as fraud, so as many genuine rows of its
    kind are taken off: the number of rows stays, and every sum over them is unbiased if reports do not depend on the
    score (Horvitz & Thompson 1952; for learning from positive and unlabelled rows du Plessis, Niu & Sugiyama 2015,
    "Convex formulation for learning from positive and unlabeled data"). Without weights every row counts once.

    Where transactions were blocked, `row_weights` say how many rows each one stands for, as a fraud and as none
    (`domain/labels/blocked.py`). A row whose outcome nobody knows has the label `UNKNOWN` and the weight 0: it is
    scored, ranked and counted among the alerts, and no metric takes it for a fraud or for genuine. Metrics are ratios
    of weighted sums (Hajek 1971, "Comment on a paper by D. Basu"), so they do not depend on how many rows the weights
    add up to.
    """

    labels: NDArray[np.int8]
    scores: Floats
    customers: Integers
    days: NDArray[np.int32]
    amounts: Floats
    slices: Mapping[str, Categories] = field(default_factory=dict)
    report_weights: Floats | None = None
    row_weights: Floats | None = None

    def __post_init__(self) -> None:
        columns = {"scores": self.scores, "customers": self.customers, "days": self.days, "amounts": self.amounts}
        columns |= {name: column.codes for name, column in self.slices.items()}
        columns |= {} if self.report_weights is None else {"report_weights": self.report_weights}
        columns |= {} if self.row_weights is None else {"row_weights": self.row_weights}
        wrong = [name for name, column in columns.items() if column.shape != self.labels.shape]
        if wrong or self.labels.ndim != 1:
            raise ValueError(f"not one entry for each of the {self.labels.size} judged rows: {', '.join(wrong)}")
        known = self.labels if self.row_weights is None else self.labels[self.row_weights != 0]
        if not np.isin(known, (0, 1)).all():
            raise ValueError("a judged row needs a known label, 0 or 1")
        if (self.labels[~self.known] != UNKNOWN).any():
            raise ValueError("a row that stands for none has no label")
        if len(self) and self.customers.min() < 0:
            raise ValueError("customers are codes from 0 on")

    @classmethod
    def from_table(cls, table: pa.Table, scores: Floats, *, entity: str, slices: Sequence[str] = ()) -> Self:
        """The judged rows of a canonical table; refuses rows whose label is missing and that were not blocked."""
        rows = _weights(table, ROW_WEIGHT)
        unlabelled = table[IS_FRAUD].is_null().to_numpy()
        if missing := int((unlabelled if rows is None else unlabelled & (rows != 0)).sum()):
            raise ValueError(f"{missing} judged rows have no label")
        return cls(
            labels=pc.fill_null(table[IS_FRAUD], UNKNOWN).to_numpy().astype(np.int8),
            scores=np.asarray(scores, dtype=np.float64),
            customers=entity_codes(table[entity]),
            days=table[TIMESTAMP].cast(pa.date32()).cast(pa.int32()).to_numpy(),
            amounts=table[AMOUNT].to_numpy().astype(np.float64),
            slices={name: categories(table[name]) for name in slices},
            report_weights=_weights(table, REPORT_WEIGHT),
            row_weights=rows,
        )

    def with_scores(self, scores: Floats) -> Self:
        """The same rows under another model's scores."""
        return replace(self, scores=np.asarray(scores, dtype=np.float64))

    def where(self, mask: Mask) -> Self:
        """The rows that `mask` keeps."""
        return replace(
            self,
            labels=self.labels[mask],
            scores=self.scores[mask],
            customers=self.customers[mask],
            days=self.days[mask],
            amounts=self.amounts[mask],
            slices={name: Categories(column.codes[mask], column.names) for name, column in self.slices.items()},
            report_weights=None if self.report_weights is None else self.report_weights[mask],
            row_weights=None if self.row_weights is None else self.row_weights[mask],
        )

    def assuming(self, fraud: bool) -> Self:
        """The rows as if all whose outcome is unknown were frauds, or genuine, and none stood for others."""
        labels = np.where(self.known, self.labels, np.int8(fraud)).astype(np.int8)
        # A fraud that is assumed is one that is known: no other one waits to be reported beside it.
        reports = None if self.report_weights is None else np.where(self.known, self.report_weights, 1.0)
        return replace(self, labels=labels, report_weights=reports, row_weights=None)

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def frauds(self) -> int:
        """How many of the rows are known frauds."""
        return int((self.labels == 1).sum())

    @cached_property
    def known(self) -> Mask:
        """Whether the outcome of each row is known."""
        return np.ones(len(self), dtype=bool) if self.row_weights is None else self.row_weights != 0

    @cached_property
    def rows(self) -> int:
        """How many rows have a known outcome."""
        return len(self) if self.row_weights is None else int(self.known.sum())

    @property
    def weighted(self) -> bool:
        """Whether some row stands for others, or for none."""
        return self.report_weights is not None or self.row_weights is not None

    @property
    def estimated(self) -> bool:
        """Whether some row stands for others, so that there are more frauds to be expected than are known."""
        return self.report_weights is not None or bool((self.counts > 1).any())

    @cached_property
    def counts(self) -> Floats:
        """How many rows each one stands for."""
        return np.ones(len(self)) if self.row_weights is None else self.row_weights

    @cached_property
    def population(self) -> float:
        """How many rows all of them stand for."""
        return float(len(self)) if self.row_weights is None else float(self.row_weights.sum())

    @cached_property
    def weights(self) -> Floats | None:
        """How many frauds each known one stands for, and how many rows any other one; None where each stands for
        itself."""
        if self.report_weights is None:
            return self.row_weights
        weights = np.where(self.labels == 1, self.report_weights, 1.0)
        return weights if self.row_weights is None else weights * self.row_weights

    @cached_property
    def expected_frauds(self) -> float:
        """How many frauds there are to be expected among the rows, those that are not known included."""
        return float(self.frauds) if self.weights is None else float(self.weights[self.labels == 1].sum())

    @cached_property
    def effective_frauds(self) -> float:
        """How many frauds of equal weight would say as much as those that are known."""
        return float(self.frauds) if self.weights is None else effective(self.weights[self.labels == 1])

    def losses(self, of_fraud: Floats, of_genuine: Floats) -> Floats:
        """Loss of every row, times the rows that it stands for, from what it is if the row is a fraud, and if it is
        none; their sum by `population` is the metric."""
        if self.report_weights is None:
            losses = np.where(self.labels == 1, of_fraud, of_genuine)
        else:
            reports = np.where(self.labels == 1, self.report_weights, 1.0)
            known = reports * of_fraud - (reports - 1) * of_genuine
            losses = np.where(self.labels == 1, known, of_genuine)
        return losses if self.row_weights is None else losses * self.row_weights

    def mean(self, losses: Floats) -> float:
        """The metric that the losses of all rows make."""
        return float(losses.mean()) if self.row_weights is None else float(losses.sum() / self.population)

    def day_weight(self, day: int) -> float:
        """How many frauds a known one of a day stands for, where nothing was blocked: it is the same for all."""
        return 1.0 if self.report_weights is None else float(self.report_weights[self.days == day].max())

    @cached_property
    def ranked(self) -> Integers:
        """Positions of the rows by falling score."""
        # Not stable, which is faster: readers take equal scores as one threshold.
        return np.argsort(-self.scores)

    @cached_property
    def entities(self) -> Integers:
        """The customers' codes without gaps."""
        # bincount needs memory up to the largest code; np.unique sorts, which is slower but bounded.
        if self.customers.max(initial=0) > 4 * len(self) + 1000:
            return np.unique(self.customers, return_inverse=True)[1]
        return (np.cumsum(np.bincount(self.customers) > 0) - 1)[self.customers]

    @cached_property
    def rankable(self) -> bool:
        """Whether every score is a number."""
        return bool(np.isfinite(self.scores).all())

    @cached_property
    def probable(self) -> bool:
        """Whether every score is a probability."""
        return self.rankable and len(self) > 0 and bool(self.scores.min() >= 0 and self.scores.max() <= 1)


@dataclass(frozen=True, eq=False)
class Pair:
    """Two models' scores for the same rows; refuses other rows, and a champion whose scores are not numbers."""

    candidate: Judged
    champion: Judged

    def __post_init__(self) -> None:
        same = len(self.candidate) == len(self.champion) and all(
            np.array_equal(getattr(self.candidate, name), getattr(self.champion, name))
            for name in ("labels", "customers", "days", "amounts", "report_weights", "row_weights")
        )
        if not same:
            raise ValueError("candidate and champion were not judged on the same rows")
        if not self.champion.rankable:
            raise ValueError("the champion gave scores that are not numbers")
