"""The trigger `drift`: a retrain when m of the last n days drifted, unless one was started for the same drift."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Self

from pydantic import Field, model_validator

from fraud_retraining.domain.retraining.triggers.values import CommonInputs, Fired, TriggerResult, latest_ready
from fraud_retraining.domain.values.base import Policy, Value


class DriftTriggerPolicy(Policy):
    """A retrain when m of the last n days drifted."""

    threshold: float = Field(0.2, gt=0, description="Population stability index above which a day counts as drifted.")
    days: tuple[int, int] = Field((2, 3), description="m of the last n days must have drifted.")
    cooldown_days: int = Field(4, ge=1, le=365, description="Least days between two retrains by drift.")

    @model_validator(mode="after")
    def _m_of_n(self) -> Self:
        m, n = self.days
        if not 1 <= m <= n:
            raise ValueError(f"days [{m}, {n}] does not mean m of n with 1 <= m <= n")
        return self


class DriftDay(Value):
    """How far a day is from what the champion has learnt from."""

    day: date
    value: float = Field(description="Drift that features which carry enough of the model reach.")
    worst: tuple[str, ...] = Field((), description="Features over the threshold, the most important first.")


class DriftRetrain(Value):
    """The last retrain that drift triggered and that ended with a result."""

    as_of: date = Field(description="As-of day of that retrain, or of a later one in its place.")
    since: date = Field(description="First of the drifted days that triggered it.")


class DriftInputs(CommonInputs):
    """Inputs of the trigger `drift`."""

    drift: tuple[DriftDay, ...] = Field((), description="Reports against the present champion, oldest first.")
    last_drift: DriftRetrain | None = None


def drift(policy: DriftTriggerPolicy, inputs: DriftInputs) -> TriggerResult:
    """Fire when enough of the last days are over the threshold, the latest among them."""
    needed, looked_at = policy.days
    recent = inputs.drift[-looked_at:]
    over = [day for day in recent if day.value > policy.threshold]
    if not recent:
        return "drift: no day has been compared with the champion's training window yet"
    # The latest day too: a shift that has passed by needs no retrain any more.
    if len(over) < needed or recent[-1] not in over:
        return (
            f"drift: {len(over)} of the last {len(recent)} days to {recent[-1].day} over {policy.threshold:g} "
            f"({needed} of {looked_at}, the latest among them, are needed); greatest {max(d.value for d in recent):.2f}"
        )
    as_of = latest_ready(inputs)
    if isinstance(as_of, str):
        return f"drift: since {_since(policy, inputs.drift)}, but {as_of}"
    return _drift_again(policy, inputs, as_of, over)


def _drift_again(
    policy: DriftTriggerPolicy, inputs: DriftInputs, as_of: date, over: Sequence[DriftDay]
) -> TriggerResult:
    """Fire unless a retrain was already started for the same drift and its labels are not in the window yet."""
    since = _since(policy, inputs.drift)
    helps = since + timedelta(days=inputs.learns_after_days)
    entry = f"days since {since} are in the training window from as-of day {helps} on"
    last = inputs.last_drift
    # Until shifted days can be learnt, a further retrain costs its time and learns nothing of them.
    if last is not None and last.as_of >= since and as_of < helps:
        return f"drift: since {since}, answered by the retrain as of {last.as_of}; {entry}, before that none can help"
    if last is not None and (as_of - last.as_of).days < policy.cooldown_days:
        return f"drift: cooling down for {policy.cooldown_days} days since the retrain as of {last.as_of}"
    worst = ", ".join(over[-1].worst[:3]) or "the scores"
    later = "" if as_of >= helps else f"; {entry}: expect the full effect then"
    return Fired(
        as_of=as_of,
        drift_since=since,
        reason=f"drift: {len(over)} of the last {policy.days[1]} days over {policy.threshold:g}, "
        f"{over[-1].day} at {over[-1].value:.2f} ({worst}){later}",
    )


def _since(policy: DriftTriggerPolicy, history: Sequence[DriftDay]) -> date:
    """First drifted day of the present run of them; as many calm days as could still fire do not end a run."""
    needed, looked_at = policy.days
    over = [day.day for day in history if day.value > policy.threshold]
    since = over[-1]
    for day in reversed(over):
        if (since - day).days > looked_at - needed + 1:
            break
        since = day
    return since
