"""The trigger `labels`: a retrain when more known frauds lie outside of the alert budget than the holdouts promised.

Average precision of mature days comes a label delay late. A new kind of fraud shows days earlier: its first reports are
about transactions that the champion scored low.
"""

from collections.abc import Sequence
from datetime import date, timedelta

from pydantic import Field

from fraud_retraining.domain.retraining.triggers.values import CommonInputs, Fired, TriggerResult, latest_ready
from fraud_retraining.domain.values.base import Policy, Value

NO_LABEL_TIMES = (
    "labels: cannot be known, as neither a label feed (labels.uri) nor columns.labelled_at says when a fraud became "
    "known"
)


class LabelsTriggerPolicy(Policy):
    """A retrain when known frauds of the days served are missed more often than on the holdouts of who served."""

    significance: float = Field(
        0.01, gt=0, le=0.5, description="Chance of so many missed frauds, if all is well, below which to retrain."
    )
    min_frauds: int = Field(20, ge=1, description="Known frauds of the days looked at that are needed.")
    days: int = Field(7, ge=1, le=90, description="Latest served days that are looked at together.")
    cooldown_days: int = Field(4, ge=1, le=365, description="Least days between two retrains by it.")


class ServedFrauds(Value):
    """Known frauds of one day by the scores that served it; each alerted entity counts once a day."""

    day: date
    version: int
    known: int = Field(description="Entities with a known fraud.")
    missed: int = Field(description="Those of them outside of the alert budget.")
    promised_missed: float | None = Field(
        None, ge=0, le=1, description="Share missed on the holdout of the version; None where that is not known."
    )
    promised_frauds: int = Field(0, description="Known frauds that this share rests on.")


class LabelsInputs(CommonInputs):
    """Inputs of the trigger `labels`."""

    label_times: bool = Field(True, description="Whether it is known when labels became known.")
    served: tuple[ServedFrauds, ...] = Field((), description="Days that were served, oldest first.")
    learnt_until: date | None = Field(None, description="Last training day of the champion.")
    last_labels: date | None = Field(None, description="As-of day of the last retrain by this trigger.")


def labels(policy: LabelsTriggerPolicy, inputs: LabelsInputs) -> TriggerResult:
    """Fire when missed frauds of the latest served days are improbable, and a retrain can learn from such days."""
    if not inputs.label_times:
        return NO_LABEL_TIMES
    open_days = _unanswered(inputs)
    recent = open_days[-policy.days :]
    if not recent:
        return "labels: no day has been served yet whose frauds the champion has not learnt from"
    compared = [day for day in recent if day.promised_missed is not None]
    if not compared:
        return "labels: the holdouts of who served do not say how many frauds alerts miss; those of new models will"
    known = sum(day.known for day in compared)
    if known < policy.min_frauds:
        return (
            f"labels: {known} frauds of {compared[0].day} to {compared[-1].day} are known, "
            f"{policy.min_frauds} are needed"
        )
    chance = chance_of_missing(compared)
    found = _summary(compared, chance)
    if chance >= policy.significance:
        return f"{found}; a retrain below {policy.significance:g}"
    return _answered(policy, inputs, found, rise_began([day for day in open_days if day.promised_missed is not None]))


def _answered(policy: LabelsTriggerPolicy, inputs: LabelsInputs, found: str, since: date) -> TriggerResult:
    """Fire unless no retrain can learn from such days yet, or one was made lately."""
    as_of = latest_ready(inputs)
    if isinstance(as_of, str):
        return f"{found}, but {as_of}"
    helps = since + timedelta(days=inputs.learns_after_days)
    if as_of < helps:
        return (
            f"{found}; days since {since} are in the training window from as-of day {helps} on, "
            "before that none can help"
        )
    last = inputs.last_labels
    if last is not None and (as_of - last).days < policy.cooldown_days:
        return f"{found}; cooling down since the retrain as of {last}"
    return Fired(as_of=as_of, reason=found)


def _unanswered(inputs: LabelsInputs) -> list[ServedFrauds]:
    """Served days after those that the champion has learnt from, and after the last retrain by this trigger."""
    settled = max(filter(None, (inputs.learnt_until, inputs.last_labels)), default=date.min)
    return [day for day in inputs.served if day.day > settled]


def _summary(days: Sequence[ServedFrauds], chance: float) -> str:
    known, missed = sum(day.known for day in days), sum(day.missed for day in days)
    return (
        f"labels: {missed} of {known} known frauds of {days[0].day} to {days[-1].day} were outside of the alert "
        f"budget, {_expected(days):.1f} were to be expected (p = {chance:.2g})"
    )


def _expected(days: Sequence[ServedFrauds]) -> float:
    return sum(day.known * (day.promised_missed or 0.0) for day in days)


def chance_of_missing(days: Sequence[ServedFrauds]) -> float:
    """Chance of at least so many missed frauds, if they are missed as often as on the holdouts.

    The exact conditional test of two Poisson counts (Przyborowski & Wilenski 1940, "Homogeneity of results in testing
    samples from Poisson series"): the holdouts are a sample too, and a small one promises little. Holdouts of
    neighbouring versions share most of their days, so their frauds are averaged, not added.

    >>> days = [ServedFrauds(day=date(2026, 3, 1), version=1, known=50, missed=n, promised_missed=0.2,
    ...     promised_frauds=200) for n in (10, 30)]
    >>> [round(chance_of_missing([one]), 3) for one in days]
    [0.556, 0.0]
    """
    from scipy.special import betainc

    known, missed = sum(day.known for day in days), sum(day.missed for day in days)
    if not missed:
        return 1.0
    promised = sum(day.known * day.promised_frauds for day in days) / known
    promised_missed = promised * _expected(days) / known
    return float(betainc(missed, promised_missed + 1, known / (known + promised)))


def rise_began(days: Sequence[ServedFrauds]) -> date:
    """The first of the days since which most frauds were missed beyond those to be expected.

    The estimate of the change point of a cumulative sum (Page 1954, "Continuous inspection schemes").
    """
    excess, most, since = 0.0, float("-inf"), days[-1].day
    for day in reversed(days):
        excess += day.missed - day.known * (day.promised_missed or 0.0)
        if excess > most:
            most, since = excess, day.day
    return since
