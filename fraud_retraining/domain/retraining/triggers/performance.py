"""The trigger `performance`: a retrain when the service on matured days is worth less than it should be."""

from datetime import date

from pydantic import Field

from fraud_retraining.domain.retraining.triggers.values import CommonInputs, Fired, TriggerResult, latest_ready
from fraud_retraining.domain.values.base import Policy, Value


class PerformanceTriggerPolicy(Policy):
    """A retrain when the performance of the service on matured days falls, whoever was champion on them."""

    min_average_precision: float | None = Field(
        None, ge=0, le=1, description="Average precision on matured days below which to retrain; null sets no floor."
    )
    below_holdout: bool = Field(
        True, description="Whether to retrain when it is below the holdouts of who served by more than the noise."
    )
    cooldown_days: int = Field(4, ge=1, le=365, description="Least days between two retrains that it asks for.")

    def rule_text(self, promised: float | None) -> str:
        """The rule in words, for those who read a value beside it."""
        floor = None if self.min_average_precision is None else f"at least {self.min_average_precision:g}"
        holdout = None
        if self.below_holdout and promised is not None:
            holdout = f"an interval that reaches {promised:.3f}"
        return ", and ".join(filter(None, (floor, holdout))) or "none"


class LivePerformance(Value):
    """Average precision of the service on matured days, whoever was champion, beside what its versions promised."""

    first: date
    last: date
    value: float
    low: float = Field(0.0, description="Lower end of the interval.")
    high: float = Field(description="Upper end of the interval.")
    holdout_value: float | None = Field(None, description="What the versions that served reached on their holdouts.")
    holdout_low: float | None = Field(None, description="Lower end of the interval on their holdouts.")
    compared: str = Field("", description="Days, rows, frauds and versions that the numbers are of, in words.")

    def summary(self, why: str | None) -> str:
        """The value with its interval, what it is of, what was promised, and why it is too low, if it is."""
        value = f"average precision {self.value:.3f} ({self.low:.3f} to {self.high:.3f}) on {self.first} to {self.last}"
        of = f" ({self.compared})" if self.compared else ""
        promised = "nothing is known that was promised"
        if self.holdout_value is not None:
            promised = f"promised {self.holdout_value:.3f} (at least {self.holdout_low:.3f})"
        return f"{value}{of}; {promised}" + (f": it is {why}" if why else "")


class PerformanceInputs(CommonInputs):
    """What performance has to know."""

    performance: LivePerformance | None = None
    last_performance: date | None = Field(
        None, description="As-of day of the last retrain that answered what performance asked for."
    )


def performance(policy: PerformanceTriggerPolicy, known: PerformanceInputs) -> TriggerResult:
    """Fires when live performance has decayed and no retrain has answered that lately."""
    live = known.performance
    if live is None:
        return "performance: no matured day has been judged yet"
    told = f"performance: average precision {live.value:.3f} on {live.first} to {live.last}"
    why = decay(policy, live)
    if why is None:
        return f"{told} is high enough"
    as_of = latest_ready(known)
    if isinstance(as_of, str):
        return f"{told} is {why}, but {as_of}"
    if known.last_performance is not None and (as_of - known.last_performance).days < policy.cooldown_days:
        return f"{told} is {why}; cooling down since the retrain as of {known.last_performance}"
    return Fired(as_of=as_of, reason=f"{told} is {why}")


def decay(policy: PerformanceTriggerPolicy, live: LivePerformance) -> str | None:
    """Why live performance is too low, in words that complete "it is ..."; None while it is not."""
    floor = policy.min_average_precision
    if floor is not None and live.value < floor:
        return f"under the floor of {floor:.3f}"
    if policy.below_holdout and live.holdout_low is not None and live.high < live.holdout_low:
        return (
            f"under the {live.holdout_low:.3f} that the holdouts of who served let expect, by more than the noise of "
            "both"
        )
    return None
