"""What a retrain may cost, in time and money.

Here: the policy, the tightest limit of one retrain, and when it is exceeded or will be. Not here: clocks, checking
at each round (`orchestration/runs/retrain_lease.py`), and recording what past retrains took
(`orchestration/runs/spending.py`).
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from enum import StrEnum
from statistics import median
from types import MappingProxyType
from typing import NamedTuple

from pydantic import Field

from fraud_retraining.domain.retraining.retrain_status import RetrainStatus
from fraud_retraining.domain.values.base import Policy, Value
from fraud_retraining.domain.values.errors import BudgetExceeded

HOUR = 3600.0
MEDIAN_OF = 20
LEAST_PAST = 3
FAIR_ROUNDS, FAIR_SHARE = 10, 0.1
PROJECTION_MARGIN = 1.1


class BudgetPolicy(Policy):
    """Limits of one retrain and of a month of them; null sets no limit."""

    max_hours: float = Field(
        4, gt=0, le=24 * 7, description="Longest that one retrain may take, in hours, from ingest to promotion."
    )
    price_per_hour: float = Field(0, ge=0, description="Price of one hour of compute, in any currency.")
    max_monthly_cost: float | None = Field(
        None, gt=0, description="Most that the retrains of a calendar month may cost, in that currency."
    )
    max_ratio_to_median: float | None = Field(
        None, gt=1, description="Longest that a retrain may take, as a multiple of the median of past ones."
    )

    @property
    def max_seconds(self) -> float:
        """Longest that one retrain may take, in seconds."""
        return self.max_hours * HOUR

    def cost(self, seconds: float) -> float:
        """Return the price of compute time.

        Examples:
            >>> BudgetPolicy(price_per_hour=2.0).cost(seconds=1800)
            1.0
        """
        return seconds / HOUR * self.price_per_hour


class Ending(StrEnum):
    """Ends of a retrain without a release outcome."""

    FAILED = "failed"
    LOST = "lost"
    INCOMPLETE = "incomplete"


class Spending(Value):
    """An ended retrain, as the ledger keeps it: trigger, status, duration and cost."""

    dagster_run_id: str
    trigger: str
    status: str = Field(description="A release outcome, or `failed`, `lost` (its worker died), `incomplete`.")
    error: str | None = Field(None, description="The kind of failure.")
    seconds: float = Field(ge=0)
    cost: float = Field(ge=0)
    stages: dict[str, float] = Field({}, description="Seconds by stage, the ingest of missing days first.")

    @property
    def succeeded(self) -> bool:
        """Whether it ended without a failure."""
        return self.status not in {Ending.FAILED, Ending.LOST}

    @property
    def trained(self) -> bool:
        """Whether it went all the way with a new model, so that its time can be compared with others'."""
        return self.status in {
            RetrainStatus.PROMOTED,
            RetrainStatus.AWAITING_APPROVAL,
            RetrainStatus.SUPERSEDED,
            RetrainStatus.JUDGED,
        }


class Spent(NamedTuple):
    """An ended retrain, when it ended (aware, UTC), and its as-of day."""

    at: datetime
    as_of: date | None
    spending: Spending


class Allowance(Value):
    """How long one retrain may take, and which limit says so."""

    seconds: float
    limit: str


class Rounds(Value):
    """How far boosting is: the first round that was timed, and the last one."""

    done: int
    total: int
    timed: int = Field(description="Rounds between the two times.")
    seconds: float = Field(ge=0, description="Time that these took.")


def spent_in_month(past: Sequence[Spent], now: datetime) -> float:
    """Return the cost of the retrains that ended in the calendar month of `now` (UTC)."""
    return sum(one.spending.cost for one in past if (one.at.year, one.at.month) == (now.year, now.month))


def allowance(policy: BudgetPolicy, past: Sequence[Spent], now: datetime) -> Allowance:
    """Return the tightest limit of a retrain that begins now.

    Raises:
        BudgetExceeded: the month's budget is used up; the retrain must not begin.
    """
    limits = [Allowance(seconds=policy.max_seconds, limit=f"budget.max_hours {policy.max_hours:g}")]
    limits += _ratio_limit(policy, past)
    limits += _month_limit(policy, past, now)
    return min(limits, key=lambda one: one.seconds)


def _ratio_limit(policy: BudgetPolicy, past: Sequence[Spent]) -> list[Allowance]:
    """Too few past retrains say nothing about how long one takes."""
    # A retrain that found its model, or failed early, was short, and would make the next one look slow.
    latest = [one.spending.seconds for one in past if one.spending.trained][-MEDIAN_OF:]
    if policy.max_ratio_to_median is None or len(latest) < LEAST_PAST:
        return []
    usual = median(latest)
    limit = f"budget.max_ratio_to_median {policy.max_ratio_to_median:g} times {_time(usual)}, the median of past ones"
    return [Allowance(seconds=usual * policy.max_ratio_to_median, limit=limit)]


def _month_limit(policy: BudgetPolicy, past: Sequence[Spent], now: datetime) -> list[Allowance]:
    if policy.max_monthly_cost is None:
        return []
    spent = spent_in_month(past, now)
    left = policy.max_monthly_cost - spent
    # Compared before the price: a month that is used up begins no retrain, whatever an hour costs.
    if left <= 0:
        raise BudgetExceeded(
            f"the budget of {now:%B %Y} is used up: no retrain begins, the champion stays",
            culprits=[f"retrains of the month have cost {spent:.2f}", f"max_monthly_cost {policy.max_monthly_cost:g}"],
            remedy="raise budget.max_monthly_cost, or wait for the next month.",
        )
    if policy.price_per_hour == 0:
        return []
    limit = f"what is left of budget.max_monthly_cost {policy.max_monthly_cost:g} after {spent:.2f} in {now:%B %Y}"
    return [Allowance(seconds=left / policy.price_per_hour * HOUR, limit=limit)]


def require_time(allowed: Allowance, elapsed: float, stages: Mapping[str, float] = MappingProxyType({})) -> None:
    """Refuse to go on once the time is used up.

    Args:
        allowed: how long it may take.
        elapsed: seconds that it took so far, ingest of missing days included.
        stages: the same by stage, to be named.

    Raises:
        BudgetExceeded: it took longer than allowed.
    """
    if elapsed > allowed.seconds:
        raise BudgetExceeded(
            f"the retrain took {_time(elapsed)} and may take {_time(allowed.seconds)}: it was ended, "
            "the champion stays",
            culprits=[f"limit: {allowed.limit}", *_by_stage(stages)],
            remedy=REMEDY,
        )


def _by_stage(stages: Mapping[str, float]) -> list[str]:
    parts = ", ".join(f"{name} {_time(seconds)}" for name, seconds in stages.items())
    return [f"spent on {parts}"] if parts else []


REMEDY = "give it more time or money under budget in the settings, or train less: a shorter window, fewer rounds."


def projected(elapsed: float, rounds: Rounds) -> float | None:
    """Return the expected duration at the end of boosting; None while too few rounds were timed.

    Args:
        elapsed: seconds so far.
        rounds: progress of boosting and its measured time.
    """
    # A rate from a few rounds, or from the first ones alone, is no measure of the rest.
    if rounds.timed < FAIR_ROUNDS or rounds.done < FAIR_SHARE * rounds.total:
        return None
    return elapsed + rounds.seconds / rounds.timed * (rounds.total - rounds.done)


def require_projection(
    allowed: Allowance, elapsed: float, rounds: Rounds, stages: Mapping[str, float] = MappingProxyType({})
) -> None:
    """Refuse to go on when boosting would end too late; a little late is accepted, as a projection is not exact.

    Raises:
        BudgetExceeded: it would end later than allowed: the rest would be paid for nothing.
    """
    end = projected(elapsed, rounds)
    if end is not None and end > PROJECTION_MARGIN * allowed.seconds:
        raise BudgetExceeded(
            f"the retrain would take {_time(end)} and may take {_time(allowed.seconds)}: it was ended after "
            f"{_time(elapsed)}, the champion stays",
            culprits=[f"limit: {allowed.limit}", *_by_stage(stages), f"round {rounds.done} of {rounds.total}"],
            remedy=REMEDY,
        )


def _time(seconds: float) -> str:
    """A duration in readable units."""
    if seconds < 2 * 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 2 * HOUR else f"{seconds / HOUR:.1f} h"
