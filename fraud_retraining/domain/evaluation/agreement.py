"""Whether two fits of one recipe score the same days alike.

Here: the figures of two models on the same rows without labels, and the bounds that they have to keep. Not here: which
days those are (`domain/training/refit.py`).
"""

from collections.abc import Iterator
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fraud_retraining.domain.training.windows import RefitPolicy
from fraud_retraining.domain.values.base import Value

Floats = NDArray[np.floating[Any]]


class Agreement(Value):
    """A second fit beside the judged one, on days that neither has learnt from."""

    first: date
    last: date
    rows: int
    rank_correlation: float | None = Field(description="Spearman's; None where a model gives all rows one score.")
    alert_ratio: float | None = Field(
        description="Rows that the second fit scores at or above the judged one's threshold of the alert budget, as a "
        "multiple of the judged one's; None without rows."
    )
    calibration_difference: float | None = Field(
        description="Frauds that the second fit expects beyond those of the judged one, as a share of these."
    )
    problems: tuple[str, ...] = Field((), description="Bounds that are not kept, in words.")

    @property
    def agrees(self) -> bool:
        """Whether all bounds are kept."""
        return not self.problems

    @property
    def summary(self) -> str:
        """The figures in words."""
        return (
            f"on {self.rows:,} rows of {self.first} to {self.last}: rank correlation {_number(self.rank_correlation)}, "
            f"{_number(self.alert_ratio)} times the alerts, expected frauds {_share(self.calibration_difference)}"
        )


def agreement(judged: Floats, refitted: Floats, policy: RefitPolicy, days: tuple[date, date], alerts: int) -> Agreement:
    """The figures of two models' scores of the same rows, held against the bounds.

    Args:
        judged: scores of the model that was judged, probabilities.
        refitted: scores of the second fit, of the same rows.
        policy: the bounds.
        days: first and last day of the rows.
        alerts: how many of the rows the alert budget allows to look at.
    """
    found = Agreement(
        first=days[0],
        last=days[1],
        rows=len(judged),
        rank_correlation=rank_correlation(judged, refitted),
        alert_ratio=_alert_ratio(judged, refitted, alerts),
        calibration_difference=_calibration_difference(judged, refitted),
    )
    return found.model_copy(update={"problems": tuple(_problems(found, policy))})


def _problems(found: Agreement, policy: RefitPolicy) -> Iterator[str]:
    least, most, apart = policy.min_rank_correlation, policy.max_alert_ratio, policy.max_calibration_difference
    correlation, ratio, difference = found.rank_correlation, found.alert_ratio, found.calibration_difference
    if correlation is None or not correlation >= least:
        yield f"rank correlation {_number(correlation)} is below {least:g}"
    if ratio is None or not 1 / most <= ratio <= most:
        yield f"{_number(ratio)} times the alerts at the judged threshold is outside of {1 / most:.2f} to {most:g}"
    if difference is None or not abs(difference) <= apart:
        yield f"expected frauds {_share(difference)} differ by more than {apart:.0%}"


def rank_correlation(judged: Floats, refitted: Floats) -> float | None:
    """Spearman's rank correlation of two models' scores; None where one gives all rows one score, or no numbers."""
    from scipy.stats import rankdata

    if len(judged) < 2 or not (np.isfinite(judged).all() and np.isfinite(refitted).all()):
        return None
    ranks = rankdata(judged), rankdata(refitted)
    if any(one.min() == one.max() for one in ranks):
        return None
    return float(np.corrcoef(*ranks)[0, 1])


def _alert_ratio(judged: Floats, refitted: Floats, alerts: int) -> float | None:
    if not len(judged):
        return None
    place = len(judged) - min(max(alerts, 1), len(judged))
    threshold = np.partition(judged, place)[place]
    return float((refitted >= threshold).sum() / (judged >= threshold).sum())


def _calibration_difference(judged: Floats, refitted: Floats) -> float | None:
    expected = float(judged.sum()) if len(judged) else 0.0
    return float(refitted.sum()) / expected - 1 if expected > 0 else None


def _number(value: float | None) -> str:
    return "not known" if value is None else f"{value:.3f}"


def _share(value: float | None) -> str:
    return "not known" if value is None else f"{value:+.1%}"
