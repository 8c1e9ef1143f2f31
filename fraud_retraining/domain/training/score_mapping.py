"""The score mapping of a model: a rising function that makes its scores mean what the scores served before it meant.

Here: the function, how it is kept strictly rising, and its document. This module travels with each model
(`adapters/mlflow/model_artifact.py`). Not here: on which rows it is fitted, and to what
(`domain/evaluation/score_fits.py`).

It is linear between knots, from (0, 0) through the knots to (1, 1): above the greatest score that the fit has seen it
runs straight to 1. Only additions, multiplications and comparisons are used, which give the same bits on every machine,
for one row as for a million; logarithms would not.

The order of two scores is never reversed, and equal scores stay equal. Different scores stay different if they differ
by `DISTINCT` of their size, as all scores of 32 bits do (XGBoost's); no function of 64-bit numbers could promise more
without being the identity.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DISTINCT = 2.0**-24
"""Least relative distance of two scores that the mapping always tells apart."""
LEAST_RISE = 2.0**-18
"""What a mapped score rises at least, as a share of itself, while the score rises by its own size."""
LEAST_SCORE = 1e-30
"""No knot lies below: the slope up to it could not be written as a number."""


@dataclass(frozen=True)
class ScoreMapping:
    """A rising function of scores in [0, 1], linear between its knots.

    `scores` and `mapped` are the knots, both strictly rising and within (0, 1); `fitted_on` says what it was fitted on
    and decides nothing.
    """

    scores: tuple[float, ...]
    mapped: tuple[float, ...]
    fitted_on: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rising = all(
            len(one) == len(self.scores) and all(low < high for low, high in zip((0.0, *one), (*one, 1.0), strict=True))
            for one in (self.scores, self.mapped)
        )
        if not rising:
            raise ValueError("the knots of a score mapping do not rise from 0 to 1")

    @cached_property
    def _segments(self) -> tuple[Floats, Floats, Floats, Floats]:
        """Scores and mapped scores at which each segment begins, its slope, and the mapped score at its end.

        The last one is the score 1 alone.
        """
        scores, mapped = np.array([0.0, *self.scores, 1.0]), np.array([0.0, *self.mapped, 1.0])
        return scores, mapped, np.append(np.diff(mapped) / np.diff(scores), 0.0), np.append(mapped[1:], 1.0)

    def __call__(self, scores: Floats) -> Floats:
        """Mapped scores, float64, in the order of the rows. What is no number stays so."""
        given = np.asarray(scores, np.float64)
        probable = (given >= 0) & (given <= 1)
        inside = np.where(probable, given, 0.0)
        begin, mapped, slope, end = self._segments
        at = np.searchsorted(begin, inside, side="right") - 1
        # No segment rises above the next one's beginning by rounding: the order of scores is never reversed.
        found = np.minimum(mapped[at] + (inside - begin[at]) * slope[at], end[at])
        # Scores that are no probabilities are not made to look like some.
        return np.where(probable, found, given)

    def document(self) -> dict[str, Any]:
        """The mapping as it stands in `model.json`."""
        return {"scores": list(self.scores), "mapped": list(self.mapped), "fitted_on": dict(self.fitted_on)}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "ScoreMapping":
        """The mapping that `document` gave.

        Raises:
            KeyError, TypeError or ValueError: it is none.
        """
        scores, mapped = (tuple(float(one) for one in document[name]) for name in ("scores", "mapped"))
        return cls(scores, mapped, document["fitted_on"])


def through(scores: Sequence[float], mapped: Sequence[float], fitted_on: Mapping[str, Any]) -> ScoreMapping:
    """The mapping through some points as nearly as a strictly rising one can go.

    Points are taken in the order of their scores. Where mapped scores stand still or fall, they are raised so far that
    they rise; points that are too close to the one before, or to 1, to leave room for different scores are left out.
    """
    knots: list[tuple[float, float]] = []
    for score, wanted in sorted(zip(map(float, scores), map(float, mapped), strict=True)):
        if not (LEAST_SCORE <= score < 1 and wanted >= LEAST_SCORE):
            continue
        value = wanted
        if knots:
            before, least = knots[-1]
            if score < before * (1 + DISTINCT):
                continue
            value = max(wanted, least * (1 + LEAST_RISE * (score / before - 1)))
        if value < 1:
            knots.append((score, value))
    while knots and not _rises_to_one(*knots[-1]):
        knots.pop()
    return ScoreMapping(tuple(one for one, _ in knots), tuple(one for _, one in knots), fitted_on)


def _rises_to_one(score: float, mapped: float) -> bool:
    return (1 - mapped) * score > 4 * DISTINCT * mapped * (1 - score)
