"""Age of the fixed evaluation days, and their drift from the days that are judged today.

Here: their age, and the drift of scores and features from them to the holdout. Not here: the comparison of two models
on them (`domain/evaluation/gates/`).

Fixed days are good for one thing, the same measure over many retrains, and get worse at it: fraud and customers move.
"""

from collections.abc import Mapping, Sequence
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from fraud_retraining.domain.evaluation.judged import Floats, Judged
from fraud_retraining.domain.monitoring.drift import population_stability_index
from fraud_retraining.domain.values.base import Value

BINS = 10
MOST_MOVED = 3


class FixedSetAge(Value):
    """The fixed evaluation days as seen from a holdout."""

    first: date
    last: date
    age_days: int = Field(description="Days from the last of them to the as-of day.")
    drift_index: float = Field(
        description="Population stability index from them to the holdout, mean of the features by importance."
    )
    score_drift: float | None = Field(None, description="The same of the candidate's scores.")
    most_moved: dict[str, float] = Field({}, description="Features that moved most, by index times importance.")

    @property
    def summary(self) -> str:
        """Age and drift in a sentence."""
        moved = ", ".join(f"{name} {index:.2f}" for name, index in self.most_moved.items())
        scores = f", scores {self.score_drift:.2f}" if self.score_drift is not None else ""
        return (
            f"The fixed evaluation days {self.first} to {self.last} are {self.age_days} days old and lie at a drift "
            f"index of {self.drift_index:.2f} from the holdout{scores}{f' (most moved: {moved})' if moved else ''}."
        )


def fixed_set_age(
    as_of: date,
    days: Sequence[date],
    *,
    scores: tuple[Judged, Judged],
    samples: tuple[pa.Table | None, pa.Table | None],
    importance: Mapping[str, float],
) -> FixedSetAge:
    """Age and distance of the fixed days.

    Args:
        as_of: the as-of day.
        days: the fixed days, in order.
        scores: the candidate's, on the fixed days and on the holdout.
        samples: rows of the same two, with features.
        importance: of the candidate's features.
    """
    fixed, holdout = samples
    moved = _features(fixed, holdout, importance) if fixed is not None and holdout is not None else {}
    weight = sum(importance[name] for name in moved)
    ranked = sorted(moved, key=lambda name: -moved[name] * importance[name])
    known = scores[0].rankable and scores[1].rankable
    return FixedSetAge(
        first=days[0],
        last=days[-1],
        age_days=(as_of - days[-1]).days,
        drift_index=sum(moved[name] * importance[name] for name in moved) / weight if weight else 0.0,
        score_drift=_numbers(scores[0].scores, scores[1].scores) if known else None,
        most_moved={name: moved[name] for name in ranked[:MOST_MOVED]},
    )


def _features(fixed: pa.Table, holdout: pa.Table, importance: Mapping[str, float]) -> dict[str, float]:
    shared = [name for name in importance if name in fixed.column_names and name in holdout.column_names]
    return {name: _index(fixed[name], holdout[name]) for name in shared}


def _index(before: pa.ChunkedArray, after: pa.ChunkedArray) -> float:
    if pa.types.is_floating(before.type) or pa.types.is_integer(before.type):
        return _numbers(*(column.cast(pa.float64()).to_numpy() for column in (before, after)))
    counts = [
        {one["values"]: one["counts"] for one in pc.value_counts(column.cast(pa.string())).to_pylist()}
        for column in (before, after)
    ]
    values = sorted({*counts[0], *counts[1]}, key=str)
    return population_stability_index(*([one.get(value, 0) for value in values] for one in counts))


def _numbers(before: Floats, after: Floats) -> float:
    """Bins of equally many of the first; what is no number is a bin of its own."""
    known = before[np.isfinite(before)]
    edges = np.unique(np.quantile(known, np.arange(1, BINS) / BINS)) if len(known) else np.zeros(0)
    counted = [
        np.bincount(
            np.where(np.isfinite(values), np.searchsorted(edges, values, side="right"), len(edges) + 1),
            minlength=len(edges) + 2,
        ).tolist()
        for values in (before, after)
    ]
    return population_stability_index(*counted)
