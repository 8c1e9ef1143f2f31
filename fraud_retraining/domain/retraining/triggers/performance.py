"""The trigger `performance`: a retrain when live performance is below its floor or its promise.

Where labels are used as known, days are judged on them first, and again once their labels are mature.
"""

from datetime import date

from pydantic import Field

from fraud_retraining.domain.retraining.triggers.values import CommonInputs, Fired, TriggerResult, latest_ready
from fraud_retraining.domain.values.base import Policy, Value


class PerformanceTriggerPolicy(Policy):
    """A retrain when the performance of the service falls, across champions."""

    min_average_precision: float | None = Field(
        None, ge=0, le=1, description="Average precision of judged days below which to retrain; null sets no floor."
    )
    below_holdout: bool = Field(
        True, description="Whether to retrain when it is below the holdouts of who served by more than the noise."
    )
    cooldown_days: int = Field(4, ge=1, le=365, description="Least days between two retrains by it.")

    def rule_text(self, promised: float | None) -> str:
        """The rule in words, to be shown beside a value."""
        floor = None if self.min_average_precision is None else f"at least {self.min_average_precision:g}"
        holdout = None
        if self.below_holdout and promised is not None:
            holdout = f"an interval that reaches {promised:.3f}"
        return ", and ".join(filter(None, (floor, holdout))) or "none"


class LivePerformance(Value):
    """Average precision of the service on judged days, across champions, beside what its versions promised."""

    first: date
    last: date
    value: float
    low: float = Field(0.0, description="Lower end of the interval.")
    high: float = Field(description="Upper end of the interval.")
    holdout_value: float | None = Field(None, description="What the versions that served reached on their holdouts.")
    holdout_low: float | None = Field(None, description="Lower end of the interval on their holdouts.")
    compared: str = Field("", description="Days, rows, frauds and versions that the numbers are of, in words.")

    def summary(self, why: str | None) -> str:
        """The value with its interval, its days, the promise, and why it is too low, if it is."""
        value = f"average precision {self.value:.3f} ({self.low:.3f} to {self.high:.3f}) on {self.first} to {self.last}"
        of = f" ({self.compared})" if self.compared else ""
        promised = "nothing is known that was promised"
        if self.holdout_value is not None:
            promised = f"promised {self.holdout_value:.3f} (at least {self.holdout_low:.3f})"
        return f"{value}{of}; {promised}" + (f": it is {why}" if why else "")


class PerformanceInputs(CommonInputs):
    """Inputs of the trigger `performance`."""

    performance: LivePerformance | None = None
    matured: LivePerformance | None = Field(
        None, description="That of the latest mature days, where `performance` rests on labels as known."
    )
    last_performance: date | None = Field(None, description="As-of day of the last retrain by this trigger.")


def performance(policy: PerformanceTriggerPolicy, inputs: PerformanceInputs) -> TriggerResult:
    """Fire when live performance has decayed and no retrain was started for it lately."""
    if inputs.performance is None:
        return "performance: no day has been judged yet"
    found = _result(policy, inputs, inputs.performance)
    matured, last = inputs.matured, inputs.last_performance
    # What a retrain since then has answered is not asked for again when its labels mature.
    if isinstance(found, Fired) or matured is None or (last is not None and matured.last <= last):
        return found
    later = _result(policy, inputs, matured)
    return later if isinstance(later, Fired) else found


def _result(policy: PerformanceTriggerPolicy, inputs: PerformanceInputs, live: LivePerformance) -> TriggerResult:
    value = f"performance: average precision {live.value:.3f} on {live.first} to {live.last}"
    why = decay(policy, live)
    if why is None:
        return f"{value} is high enough"
    as_of = latest_ready(inputs)
    if isinstance(as_of, str):
        return f"{value} is {why}, but {as_of}"
    if inputs.last_performance is not None and (as_of - inputs.last_performance).days < policy.cooldown_days:
        return f"{value} is {why}; cooling down since the retrain as of {inputs.last_performance}"
    return Fired(as_of=as_of, reason=f"{value} is {why}")


def decay(policy: PerformanceTriggerPolicy, live: LivePerformance) -> str | None:
    """Return why live performance is too low, as the end of a sentence "it is ..."; None while it is not."""
    floor = policy.min_average_precision
    if floor is not None and live.value < floor:
        return f"under the floor of {floor:.3f}"
    # Interval against interval: a week and a holdout both have few frauds.
    if policy.below_holdout and live.holdout_low is not None and live.high < live.holdout_low:
        return (
            f"under the {live.holdout_low:.3f} that the holdouts of who served let expect, by more than the noise of "
            "both"
        )
    return None
