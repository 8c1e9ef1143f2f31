"""What a retrain may cost, in time and money.

Here: the policy. Not here: stopping a run (`domain/training.py` asks at each round) and telling people.
"""

from pydantic import Field

from fraud_retraining.domain.schemas import Policy


class BudgetPolicy(Policy):
    """Limits of one retrain and of a month of them; null sets no limit."""

    max_hours: float = Field(4, gt=0, le=24 * 7, description="Longest that one retrain may take, in hours.")
    price_per_hour: float = Field(0, ge=0, description="Price of one hour of compute, in any currency.")
    max_monthly_cost: float | None = Field(
        None, gt=0, description="Most that the retrains of a calendar month may cost, in that currency."
    )
    max_ratio_to_median: float | None = Field(
        None, gt=1, description="Longest that a retrain may take, as a multiple of the median of past ones."
    )
