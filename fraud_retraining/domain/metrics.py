"""How good a model's scores are on rows whose labels are known, and how sure one may be that one model beats another.

Here: the rows that judge a model (`Judged`), the metrics of one model, and the paired comparison of two models on the
same rows. Not here: how good is good enough (`domain/gates.py`) and pictures (`orchestration/rendering.py`).

A metric that the rows cannot give (no fraud among them, scores that are not probabilities) is None, never 0.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field, model_validator

from fraud_retraining.domain.schemas import AMOUNT, IS_FRAUD, TIMESTAMP, ColumnName, Policy

Floats = NDArray[np.float64]
Integers = NDArray[np.integer[Any]]
Mask = NDArray[np.bool_]

AMOUNT_BAND = "amount_band"
MISSING = "(missing)"
OTHER = "(other)"
CALIBRATION_BINS = 15
SLICE_RESAMPLES = 200
ACCEPTED_FPR = 0.01


class MetricsPolicy(Policy):
    """How models are measured and compared."""

    alert_budget: int = Field(100, ge=1, le=1_000_000, description="Alerts that can be investigated a day.")
    alert_entity: str = Field("customer", min_length=1, description="Entity that alerts are about and resamples draw.")
    amount_bands: tuple[float, ...] = Field(
        (10.0, 50.0, 100.0, 250.0),
        max_length=20,
        description="Amounts at which a new slice begins; the first slice starts at 0, the last has no end.",
    )
    slices: tuple[ColumnName, ...] = Field((), description="Columns of the lake by whose values losses are told apart.")
    min_slice_frauds: int = Field(50, ge=2, description="Frauds that a slice needs to be judged.")
    max_slice_values: int = Field(30, ge=2, le=1000, description="Values of a slice column; the rarest are joined.")
    resamples: int = Field(500, ge=100, le=20_000, description="Resamples of the paired bootstrap.")
    confidence: float = Field(0.95, ge=0.5, le=0.999, description="Confidence of every interval, both sides together.")
    seed: int = Field(7, ge=0, description="Seed of the resamples.")

    @model_validator(mode="after")
    def _ordered_bands(self) -> Self:
        if any(low >= high for low, high in pairwise((0.0, *self.amount_bands))):
            raise ValueError("amount_bands must be above 0 and increasing")
        return self

    @model_validator(mode="after")
    def _distinct_slices(self) -> Self:
        if len({AMOUNT_BAND, *self.slices}) <= len(self.slices):
            raise ValueError(f"slices names a column twice, or {AMOUNT_BAND}, which is always one")
        return self


class Categories(NamedTuple):
    """A column of text as codes into its sorted names."""

    codes: Integers
    names: tuple[str, ...]


def entity_codes(values: pa.ChunkedArray | pa.Array) -> Integers:
    """Codes of an entity's keys, in the order of the keys, so that they do not depend on the order of the rows."""
    codes, _ = _encoded(values)
    if (codes < 0).any():
        raise ValueError("an entity key is missing among the judged rows")
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
    rank[-1] = -1
    return rank[pc.fill_null(encoded.indices, -1).to_numpy()], encoded.dictionary.take(pa.array(order))


@dataclass(frozen=True, eq=False)
class Judged:
    """Rows with known labels and one model's scores for them: what every metric reads.

    `customers` are integer codes of the entity that alerts are about, `days` are days since 1970-01-01, and each slice
    is a text column as `Categories`. All have one entry a row.
    """

    labels: NDArray[np.int8]
    scores: Floats
    customers: Integers
    days: NDArray[np.int32]
    amounts: Floats
    slices: Mapping[str, Categories] = field(default_factory=dict)

    def __post_init__(self) -> None:
        columns = {"scores": self.scores, "customers": self.customers, "days": self.days, "amounts": self.amounts}
        columns |= {name: column.codes for name, column in self.slices.items()}
        wrong = [name for name, column in columns.items() if column.shape != self.labels.shape]
        if wrong or self.labels.ndim != 1:
            raise ValueError(f"not one entry for each of the {self.labels.size} judged rows: {', '.join(wrong)}")
        if not np.isin(self.labels, (0, 1)).all():
            raise ValueError("a judged row needs a known label, 0 or 1")
        if len(self) and self.customers.min() < 0:
            raise ValueError("customers are codes from 0 on")

    @classmethod
    def from_table(cls, table: pa.Table, scores: Floats, *, entity: str, slices: Sequence[str] = ()) -> Self:
        """The judged rows of a canonical table; refuses rows whose label or entity is missing."""
        if table[IS_FRAUD].null_count:
            raise ValueError(f"{table[IS_FRAUD].null_count} judged rows have no label")
        return cls(
            labels=table[IS_FRAUD].to_numpy().astype(np.int8),
            scores=np.asarray(scores, dtype=np.float64),
            customers=entity_codes(table[entity]),
            days=table[TIMESTAMP].cast(pa.date32()).cast(pa.int32()).to_numpy(),
            amounts=table[AMOUNT].to_numpy().astype(np.float64),
            slices={name: categories(table[name]) for name in slices},
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
        )

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def frauds(self) -> int:
        """How many of the rows are frauds."""
        return int(self.labels.sum())

    @cached_property
    def ranked(self) -> Integers:
        """Positions of the rows by falling score."""
        return np.argsort(-self.scores)

    @cached_property
    def entities(self) -> Integers:
        """The customers' codes without gaps."""
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
            for name in ("labels", "customers", "days", "amounts")
        )
        if not same:
            raise ValueError("candidate and champion were not judged on the same rows")
        if not self.champion.rankable:
            raise ValueError("the champion gave scores that are not numbers")


class Curve(NamedTuple):
    """What each threshold gives, from the highest on: equal scores share one."""

    frauds: Integers
    alerts: Integers

    @classmethod
    def of(cls, labels: NDArray[np.int8], scores: Floats) -> Self:
        """The curve of rows that are sorted by falling score."""
        last = np.flatnonzero(np.r_[scores[1:] != scores[:-1], True])
        return cls(np.cumsum(labels, dtype=np.int64)[last], last + 1)

    def average_precision(self) -> float:
        """Area under precision over recall, as steps."""
        return float(np.diff(self.frauds, prepend=0) @ (self.frauds / self.alerts) / self.frauds[-1])


def _curve(judged: Judged) -> Curve:
    return Curve.of(judged.labels[judged.ranked], judged.scores[judged.ranked])


def average_precision(judged: Judged) -> float | None:
    """Area under the precision-recall curve as a step function; None without a fraud."""
    return _curve(judged).average_precision() if judged.frauds and judged.rankable else None


def roc_auc(judged: Judged) -> float | None:
    """Chance that a fraud scores above a transaction that is none, equal scores half; None unless both are there."""
    if not 0 < judged.frauds < len(judged) or not judged.rankable:
        return None
    curve = _curve(judged)
    caught, false = (np.concatenate([[0], counts]) for counts in (curve.frauds, curve.alerts - curve.frauds))
    area = np.diff(false) @ (caught[1:] + caught[:-1]) / 2
    return float(area / caught[-1] / false[-1])


def recall_at_fpr(judged: Judged, accepted: float = ACCEPTED_FPR) -> float | None:
    """Share of the frauds caught by the lowest threshold whose false-positive rate is at most `accepted`.

    Only thresholds that exist are operated at: nothing is interpolated between two of them.
    """
    if not 0 < judged.frauds < len(judged) or not judged.rankable:
        return None
    curve = _curve(judged)
    kept = curve.alerts - curve.frauds <= accepted * (len(judged) - judged.frauds)
    return float(curve.frauds[kept].max(initial=0) / judged.frauds)


def brier_score(judged: Judged) -> float | None:
    """Mean squared difference between score and label; None unless the scores are probabilities."""
    return float(np.mean((judged.scores - judged.labels) ** 2)) if judged.probable else None


def log_losses(judged: Judged) -> Floats:
    """Logarithmic loss of every row, with scores kept off 0 and 1 by one rounding step as scikit-learn does."""
    step = np.finfo(np.float64).eps
    kept = np.clip(judged.scores, step, 1 - step)
    return -np.log(np.where(judged.labels == 1, kept, 1 - kept))


def card_precision_at_k(judged: Judged, k: int) -> float | None:
    """Mean over the days of the share of `k` daily alerts that are right, an alert being about an entity.

    As published with the Fraud Detection Handbook (chapter 4, "Precision top-k metrics"): each day the `k` entities
    with the highest maximum score are investigated; those with a fraud that day are detected, and are no longer
    counted on later days. The divisor is `k` also on a day with fewer than `k` entities, as in the published code:
    an alert that nobody needed is not a success. Equal scores are ordered by entity code.
    """
    if not len(judged) or not judged.rankable:
        return None
    detected = np.zeros(judged.entities.max() + 1, dtype=bool)
    daily = []
    for day in np.unique(judged.days):
        highest, defrauded = _entity_day(judged, judged.days == day, len(detected))
        suspects = np.flatnonzero((highest > -np.inf) & ~detected)
        alerts = suspects[np.argsort(-highest[suspects], kind="stable")[:k]]
        right = alerts[defrauded[alerts]]
        detected[right] = True
        daily.append(len(right) / k)
    return float(np.mean(daily))


def _entity_day(judged: Judged, today: Mask, entities: int) -> tuple[Floats, Mask]:
    """Each entity's highest score of the day, -inf for one without a row, and whether it was defrauded."""
    highest = np.full(entities, -np.inf)
    np.maximum.at(highest, judged.entities[today], judged.scores[today])
    defrauded = np.zeros(entities, dtype=bool)
    defrauded[judged.entities[today & (judged.labels == 1)]] = True
    return highest, defrauded


class CalibrationBin(Policy):
    """Rows of similar score: how many frauds were expected, and how many there were."""

    rows: int
    expected: float = Field(description="Sum of the scores: the frauds that the model expects.")
    observed: int = Field(description="Frauds.")
    chance: float = Field(description="Difference of the two that a perfectly calibrated model shows on average.")


class Calibration(Policy):
    """How far scores can be read as probabilities."""

    bins: tuple[CalibrationBin, ...]
    error: float = Field(description="Expected calibration error.")
    chance: float = Field(description="The error that a perfectly calibrated model shows on rows like these.")


def calibration(judged: Judged, bins: int = CALIBRATION_BINS) -> Calibration | None:
    """Expected calibration error over `bins` bins of equal *expected fraud*; None unless the scores are probabilities.

    The error is the mean over the rows of |mean score - fraud rate| of their bin. Equal-width bins leave all but a
    few rows of a rare event in one bin; equal-mass bins (Nixon et al. 2019, "Measuring Calibration in Deep Learning",
    arXiv:1904.01685) are better, but with rows as the mass nearly every fraud shares the last one. So the mass is the
    sum of the scores: each bin holds the same number of frauds if the model is right. Equal scores share a bin.
    A binned error is above 0 even for a perfect model (Roelofs et al. 2022, "Mitigating Bias in Calibration Error
    Estimation", arXiv:2012.08668): `chance` is that part, the mean absolute deviation of a normal variable with the
    bin's variance.
    """
    if not judged.probable:
        return None
    ranked = np.sort(judged.scores)
    mass = np.cumsum(ranked)
    edges = np.unique(ranked[np.searchsorted(mass, mass[-1] * np.arange(1, bins) / bins)])
    bin_ = np.searchsorted(edges, judged.scores, side="left")
    rows = np.bincount(bin_)
    expected = np.bincount(bin_, weights=judged.scores)
    observed = np.bincount(bin_, weights=judged.labels)
    chance = np.sqrt(2 / np.pi * np.bincount(bin_, weights=judged.scores * (1 - judged.scores)))
    return Calibration(
        bins=tuple(
            CalibrationBin(rows=r, expected=e, observed=int(o), chance=c)
            for r, e, o, c in np.column_stack([rows, expected, observed, chance])[rows > 0].tolist()
        ),
        error=float(np.abs(expected - observed).sum() / len(judged)),
        chance=float(chance.sum() / len(judged)),
    )


class SliceMetrics(Policy):
    """One model on the rows that share a value."""

    slice: str = Field(description="Column.")
    value: str
    rows: int
    frauds: int
    log_loss: float | None
    average_precision: float | None = Field(None, description="None with fewer frauds than the policy asks for.")


def amount_bands(amounts: Floats, edges: Sequence[float]) -> Categories:
    """Amounts as bands: under the first edge, from each edge up to the next, from the last edge on."""
    if not edges:
        return Categories(np.zeros(len(amounts), dtype=np.int64), ("any",))
    names = (
        f"under {edges[0]:g}",
        *(f"{low:g} to {high:g}" for low, high in pairwise(edges)),
        f"{edges[-1]:g} and over",
    )
    return Categories(np.searchsorted(np.asarray(edges), amounts, side="right"), names)


def sliced(judged: Judged, policy: MetricsPolicy) -> dict[str, Categories]:
    """Every way in which the rows are sliced: amount bands, then the slice columns with their rare values together."""
    columns = {name: _most_frequent(column, policy.max_slice_values) for name, column in judged.slices.items()}
    return {AMOUNT_BAND: amount_bands(judged.amounts, policy.amount_bands), **columns}


def _slice_masks(judged: Judged, policy: MetricsPolicy) -> Iterator[tuple[str, str, Mask]]:
    """Column, value and rows of every slice that has rows."""
    for name, column in sliced(judged, policy).items():
        for code in np.unique(column.codes):
            yield name, column.names[code], column.codes == code


def _most_frequent(column: Categories, most: int) -> Categories:
    rows = np.bincount(column.codes, minlength=len(column.names))
    if np.count_nonzero(rows) <= most:
        return column
    kept = np.sort(np.argsort(-rows, kind="stable")[: most - 1])
    code = np.full(len(column.names), len(kept))
    code[kept] = np.arange(len(kept))
    return Categories(code[column.codes], (*(column.names[i] for i in kept), OTHER))


class Metrics(Policy):
    """One model on one set of rows."""

    rows: int
    frauds: int
    values: dict[str, float | None] = Field(description="Every metric under its name; None where it is not defined.")
    slices: tuple[SliceMetrics, ...] = ()
    calibration: Calibration | None = None

    @property
    def fraud_rate(self) -> float | None:
        """Share of the rows that are frauds."""
        return self.frauds / self.rows if self.rows else None


def metric_names(policy: MetricsPolicy) -> tuple[str, ...]:
    """The names of all metrics, in the order in which people read them."""
    return (
        "average_precision",
        "roc_auc",
        f"card_precision_at_{policy.alert_budget}",
        "recall_at_1pct_fpr",
        "brier_score",
        "expected_calibration_error",
        "log_loss",
    )


def evaluate(judged: Judged, policy: MetricsPolicy) -> Metrics:
    """All metrics of one model on the rows, overall and by slice."""
    calibrated = calibration(judged)
    losses = log_losses(judged) if judged.probable else None
    values = (
        average_precision(judged),
        roc_auc(judged),
        card_precision_at_k(judged, policy.alert_budget),
        recall_at_fpr(judged),
        brier_score(judged),
        calibrated.error if calibrated else None,
        float(losses.mean()) if losses is not None else None,
    )
    return Metrics(
        rows=len(judged),
        frauds=judged.frauds,
        values=dict(zip(metric_names(policy), values, strict=True)),
        slices=tuple(_slice_metrics(judged, losses, policy)),
        calibration=calibrated,
    )


def _slice_metrics(judged: Judged, losses: Floats | None, policy: MetricsPolicy) -> Iterator[SliceMetrics]:
    labels, scores = judged.labels[judged.ranked], judged.scores[judged.ranked]
    for name, column in sliced(judged, policy).items():
        codes = column.codes[judged.ranked]
        rows = np.bincount(codes)
        frauds = np.bincount(codes, weights=labels).astype(int)
        loss = np.bincount(column.codes, weights=losses) if losses is not None else None
        for code in np.flatnonzero(rows):
            here = codes == code
            enough = judged.rankable and frauds[code] >= policy.min_slice_frauds
            yield SliceMetrics(
                slice=name,
                value=column.names[code],
                rows=int(rows[code]),
                frauds=int(frauds[code]),
                log_loss=float(loss[code] / rows[code]) if loss is not None else None,
                average_precision=Curve.of(labels[here], scores[here]).average_precision() if enough else None,
            )


class Interval(Policy):
    """A value with the interval that resampling gives it."""

    value: float
    low: float
    high: float
    deviation: float = Field(description="Standard deviation over the resamples.")


class SliceDifference(Policy):
    """Candidate against champion on the rows that share a value; average precision of both."""

    slice: str
    value: str
    frauds: int
    candidate: float
    champion: float
    difference: Interval


class Comparison(Policy):
    """Candidate against champion on the same rows; differences are candidate minus champion."""

    rows: int
    frauds: int
    candidate: Interval = Field(description="Average precision of the candidate.")
    champion: Interval = Field(description="Average precision of the champion.")
    difference: Interval = Field(description="Difference of the two, resampled in pairs.")
    resamples: int = Field(description="Resamples that had a fraud.")
    confidence: float
    slices: tuple[SliceDifference, ...] = ()


class Ranking:
    """One model's ranking of the rows, prepared so that a resample costs two sparse products and no sorting.

    Average precision reads only the thresholds that are the score of a fraud. So each row is filed once under the
    first such threshold that it reaches, and summed by customer. With customer weights W, `rows @ W` is the weight
    that each threshold adds to the alerts and `frauds @ W` what it adds to the frauds caught. Equal scores share a
    threshold, exactly as in scikit-learn's `average_precision_score(..., sample_weight=...)`.
    """

    def __init__(self, labels: NDArray[np.int8], scores: Floats, customers: Integers, customer_count: int) -> None:
        from scipy.sparse import csc_array

        fraud = labels == 1
        thresholds = np.unique(scores[fraud])
        step = len(thresholds) - np.searchsorted(thresholds, scores, side="right")
        shape = (len(thresholds), customer_count)

        def counts(kept: Mask) -> Any:
            ones = np.ones(np.count_nonzero(kept), dtype=np.float32)
            return csc_array((ones, (step[kept], customers[kept])), shape=shape)

        self._rows = counts(step < len(thresholds))
        self._frauds = counts(fraud)

    def average_precision(self, weights: NDArray[np.float32]) -> Floats:
        """Average precision under each column of customer weights; NaN where no fraud has weight."""
        alerts: Floats = np.cumsum(self._rows @ weights, axis=0, dtype=np.float64)
        gained: Floats = (self._frauds @ weights).astype(np.float64)
        caught: Floats = np.cumsum(gained, axis=0)
        precision = np.divide(caught, alerts, out=np.zeros_like(caught), where=alerts > 0)
        total: Floats = gained.sum(axis=0)
        area: Floats = np.full_like(total, np.nan)
        np.divide((gained * precision).sum(axis=0), total, out=area, where=total > 0)
        return area


def compare(pair: Pair, policy: MetricsPolicy) -> Comparison | None:
    """Paired bootstrap of average precision that resamples customers; None where the rows hold no fraud.

    A customer's transactions are fraud, or not, together: drawing rows would make the interval too narrow. Each
    customer gets a Poisson(1) weight (Chamandy et al. 2012, "Estimating Uncertainty for Massive Data Streams"), the
    same for both models, so the noise that the models share cancels. Intervals are percentile intervals. With a
    single customer there is nothing to draw and the interval is the point. A slice gets `SLICE_RESAMPLES` at most:
    its gate reads the standard deviation, which 200 give to 5 %.
    """
    if not pair.candidate.frauds or not pair.candidate.rankable:
        return None
    everything = np.ones(len(pair.candidate), dtype=bool)
    ((candidate, champion),) = _resampled(pair, [everything], policy.resamples, policy.seed)
    return Comparison(
        rows=len(pair.candidate),
        frauds=pair.candidate.frauds,
        candidate=_interval(candidate, policy.confidence),
        champion=_interval(champion, policy.confidence),
        difference=_interval(candidate - champion, policy.confidence),
        resamples=int(np.isfinite(candidate[1:]).sum()),
        confidence=policy.confidence,
        slices=tuple(_slice_differences(pair, policy)),
    )


def average_precision_interval(judged: Judged, policy: MetricsPolicy) -> Interval | None:
    """Average precision with the interval that resampling customers gives it; None where the rows hold no fraud."""
    if not judged.frauds or not judged.rankable:
        return None
    count = int(judged.entities.max()) + 1
    ranking = Ranking(judged.labels, judged.scores, judged.entities, count)
    drawn = [ranking.average_precision(weights) for weights in _customer_weights(count, policy.resamples, policy.seed)]
    return _interval(np.concatenate(drawn), policy.confidence)


def _slice_differences(pair: Pair, policy: MetricsPolicy) -> Iterator[SliceDifference]:
    """The comparison within each slice that has enough frauds, save one that is all the rows again."""
    slices = [
        (name, value, mask)
        for name, value, mask in _slice_masks(pair.candidate, policy)
        if not mask.all() and pair.candidate.labels[mask].sum() >= policy.min_slice_frauds
    ]
    drawn = _resampled(pair, [mask for _, _, mask in slices], min(policy.resamples, SLICE_RESAMPLES), policy.seed)
    for (name, value, mask), (candidate, champion) in zip(slices, drawn, strict=True):
        yield SliceDifference(
            slice=name,
            value=value,
            frauds=int(pair.candidate.labels[mask].sum()),
            candidate=candidate[0],
            champion=champion[0],
            difference=_interval(candidate - champion, policy.confidence),
        )


def _resampled(pair: Pair, subsets: Sequence[Mask], resamples: int, seed: int) -> Iterator[tuple[Floats, Floats]]:
    """Average precision of both models on each subset: first of the rows as they are, then of each resample."""
    customers = pair.candidate.entities
    count = int(customers.max()) + 1
    rankings = [
        Ranking(model.labels[mask], model.scores[mask], customers[mask], count)
        for mask in subsets
        for model in (pair.candidate, pair.champion)
    ]
    drawn: list[list[Floats]] = [[] for _ in rankings]
    for weights in _customer_weights(count, resamples, seed):
        for values, ranking in zip(drawn, rankings, strict=True):
            values.append(ranking.average_precision(weights))
    whole = [np.concatenate(values) for values in drawn]
    return zip(whole[::2], whole[1::2], strict=True)


def _customer_weights(customers: int, resamples: int, seed: int) -> Iterator[NDArray[np.float32]]:
    """Weights (customer, resample): all one first, then Poisson(1), in pieces that fit the processor's cache."""
    yield np.ones((customers, 1), dtype=np.float32)
    draw = np.random.default_rng(seed)
    table = _poisson_table()
    piece = max(1, min(64, 16_000_000 // customers))
    for start in range(0, resamples, piece):
        uniform = draw.integers(0, len(table), size=(customers, min(piece, resamples - start)), dtype=np.uint16)
        yield table[uniform]


@lru_cache(maxsize=1)
def _poisson_table() -> NDArray[np.float32]:
    """Poisson(1) by 16-bit quantiles: ten times faster to draw from than the exact generator, mean 1 to four digits."""
    k = np.arange(12)
    distribution = np.cumsum(np.exp(-1) / np.cumprod(np.maximum(k, 1)))
    return np.searchsorted(distribution, (np.arange(65_536) + 0.5) / 65_536).astype(np.float32)


def _interval(drawn: Floats, confidence: float) -> Interval:
    """The first value with the percentile interval of the others."""
    resampled = drawn[1:][np.isfinite(drawn[1:])]
    low, high = np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(value=float(drawn[0]), low=float(low), high=float(high), deviation=float(resampled.std(ddof=1)))
