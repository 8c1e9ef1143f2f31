"""Expected level of a model at the age at which it serves, measured on models of that age.

Here: the age of a model when it serves, the earlier champion that has this age on a candidate's holdout, and the level
that live days are compared with. Not here: scoring it (`orchestration/assets/evaluation.py`) and live days
(`domain/monitoring/live_performance.py`).

A holdout begins the day after the training ends, and the days that the model then serves lie label delay and holdout
further on: on real card data average precision was .612 on the holdout and .566 on the days that were served. A
comparison of live days with the holdout would call that decay. An earlier champion is as old on this holdout as the
candidate will be on the days that it serves, so its average precision there is the level to expect.
"""

from datetime import date

from pydantic import Field

from fraud_retraining.domain.values.base import Value
from fraud_retraining.domain.values.interval import Interval

ASSUMED_LOSS = 0.15
"""Share of the holdout's level that is allowed for ageing until it was measured: twice the .075 of real card data."""


class Aged(Value):
    """Average precision on a candidate's holdout of a model that is as old as models are when they serve."""

    version: int
    as_of: date
    age_days: float = Field(description="Days from the end of its training to the middle of the holdout.")
    average_precision: Interval

    @property
    def summary(self) -> str:
        """The level to expect, as a sentence."""
        reached = self.average_precision
        return (
            f"{self.age_days:g} days after its training, about the age at which a model serves, version {self.version} "
            f"reached an average precision of {reached.value:.4f} ({reached.low:.4f} to {reached.high:.4f}) on this "
            "holdout: live days are compared with that."
        )


def serving_age(label_delay_days: int, holdout_days: int, every_days: int) -> float:
    """Days from the end of a model's training to the middle of the days that it serves.

    >>> serving_age(label_delay_days=7, holdout_days=7, every_days=2)
    15.5
    """
    return label_delay_days + holdout_days + (1 + every_days) / 2


def age_on_holdout(older_by: int, holdout_days: int) -> float:
    """Days from the end of the training of a model, older by so many as-of days, to the middle of a holdout.

    >>> age_on_holdout(older_by=0, holdout_days=7)
    4.0
    """
    return older_by + (1 + holdout_days) / 2


def expected_live(holdout: Interval | None, aged: Aged | None) -> Interval | None:
    """The level that live days are compared with: measured at their age, or the holdout's less what ageing may cost."""
    if aged is not None or holdout is None:
        return aged.average_precision if aged is not None else None
    kept = 1 - ASSUMED_LOSS
    return Interval(
        value=holdout.value * kept,
        low=holdout.low * kept,
        high=holdout.high * kept,
        deviation=holdout.deviation * kept,
    )
