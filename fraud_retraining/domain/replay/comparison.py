"""The difference of two policies over the same served days, with its uncertainty.

Here: a paired bootstrap of blocks of days. Neighbouring days are served by one model and share its luck, and a shift of
the data lasts for days: single days are no independent draws, and neither are customers across models. So blocks of
`BLOCK_DAYS` days are drawn with replacement, from a circle of the days (Politis and Romano 1992), the same for both
policies. With few blocks the interval is too narrow rather than too wide; the report says how many days it rests on.
"""

from collections.abc import Sequence

import numpy as np

from fraud_retraining.domain.evaluation.judged import Floats, Integers
from fraud_retraining.domain.replay.results import DayResult, Differences, PolicyResult
from fraud_retraining.domain.values.interval import Interval

BLOCK_DAYS = 7
RESAMPLES = 2000
SEED = 7


def compared(policy: PolicyResult, present: PolicyResult, confidence: float) -> PolicyResult:
    """The policy with its differences from the present settings."""
    differences = Differences(
        average_precision=mean_difference(_precisions(policy.days), _precisions(present.days), confidence),
        card_precision=mean_difference(_right(policy.days), _right(present.days), confidence),
        amount_caught=_total(_amounts_differ(policy.days, present.days, confidence), len(policy.days)),
    )
    return policy.model_copy(update={"against_present": differences})


def _precisions(days: Sequence[DayResult]) -> list[float | None]:
    return [day.average_precision for day in days]


def _right(days: Sequence[DayResult]) -> list[float | None]:
    return [day.card_precision for day in days]


def _amounts_differ(days: Sequence[DayResult], others: Sequence[DayResult], confidence: float) -> Interval:
    found = mean_difference([day.amount_caught for day in days], [day.amount_caught for day in others], confidence)
    assert found is not None
    return found


def _total(mean: Interval, days: int) -> Interval:
    return Interval(**{name: value * days for name, value in mean.model_dump().items()})


def mean_difference(
    values: Sequence[float | None], others: Sequence[float | None], confidence: float
) -> Interval | None:
    """Mean over the days of the difference, on days where both have a value; None where there is no such day."""
    pairs = [(one, other) for one, other in zip(values, others, strict=True) if one is not None and other is not None]
    if not pairs:
        return None
    differences: Floats = np.array([one - other for one, other in pairs])
    drawn = differences[block_draws(len(differences))].mean(axis=1)
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(
        value=float(differences.mean()), low=float(low), high=float(high), deviation=float(drawn.std(ddof=1))
    )


def block_draws(days: int) -> Integers:
    """Positions of the days of each resample, (resample, day)."""
    block = min(BLOCK_DAYS, days)
    starts = np.random.default_rng(SEED).integers(0, days, size=(RESAMPLES, -(-days // block)))
    drawn: Integers = (starts[:, :, None] + np.arange(block)) % days
    return drawn.reshape(RESAMPLES, -1)[:, :days]
