"""The gate on what the thresholds behind the model do: a retrain must not change the number of alerts unnoticed."""

from collections.abc import Iterator
from typing import NamedTuple

from fraud_retraining.domain.evaluation.alert_volume import AlertChange, SliceAlerts, ThresholdAlerts
from fraud_retraining.domain.evaluation.comparison import NotCompared
from fraud_retraining.domain.evaluation.gates.evidence import Evidence
from fraud_retraining.domain.evaluation.gates.finding import Finding, NotApplicable, UnmeasuredError
from fraud_retraining.domain.evaluation.gates.policy import GatePolicy


class _Held(NamedTuple):
    """A threshold, overall or in a slice, held against its bound."""

    named: str
    counted: ThresholdAlerts | SliceAlerts
    change: float
    allowed: float
    proven: bool

    @property
    def margin(self) -> float:
        """Distance from the bound; a change beyond it that chance could explain keeps it."""
        return self.allowed - self.change if self.proven else max(0.0, self.allowed - self.change)


def score_contract(policy: GatePolicy, evidence: Evidence) -> Finding | NotApplicable:
    """Alerts at each threshold against the champion's, on the latest days, overall and by slice.

    A threshold fails when its alerts differ from the champion's by more than `max_alert_change` *and* the whole
    interval lies on one side of no change. In a slice `max_slice_alert_change` holds: a mapping of scores keeps the
    whole, and a new kind of fraud may move alerts from slice to slice. With fewer than `min_alerts` of either model a
    threshold says nothing.
    """
    found = evidence.alerts
    if isinstance(found, NotCompared):
        return NotApplicable(found.reason)
    if found is None:
        raise UnmeasuredError("the alerts of candidate and champion were not counted")
    held = list(_held(policy, found))
    if not held:
        few = "; ".join(_counts(one, found) for one in found.thresholds)
        return NotApplicable(f"too few alerts to tell, {policy.min_alerts} of one of the models are needed: {few}")
    worst = min(held, key=lambda one: one.margin)
    return Finding(
        worst.change,
        worst.allowed,
        worst.margin,
        _message(policy, found, worst),
        {
            f"{one.name} {side}": count / found.days
            for one in found.thresholds
            for side, count in (("candidate", one.candidate), ("champion", one.champion))
        },
    )


def _held(policy: GatePolicy, found: AlertChange) -> Iterator[_Held]:
    for threshold in found.thresholds:
        if _enough(policy, threshold):
            yield _held_one(threshold.name, threshold, policy.max_alert_change)
        for one in threshold.slices:
            if _enough(policy, one):
                yield _held_one(f"{threshold.name} in {one.slice} {one.value}", one, policy.max_slice_alert_change)


def _enough(policy: GatePolicy, counted: ThresholdAlerts | SliceAlerts) -> bool:
    return max(counted.candidate, counted.champion) >= policy.min_alerts


def _held_one(named: str, counted: ThresholdAlerts | SliceAlerts, allowed: float) -> _Held:
    if counted.ratio is None:
        # The champion has no alert here: as many more as there are.
        return _Held(named, counted, float(counted.candidate), allowed, proven=True)
    ratio = counted.ratio
    return _Held(named, counted, abs(ratio.value - 1), allowed, proven=not ratio.low <= 1 <= ratio.high)


def _message(policy: GatePolicy, found: AlertChange, worst: _Held) -> str:
    said = "; ".join(_counts(one, found) for one in found.thresholds)
    if worst.change <= worst.allowed:
        judgement = f"Every change is within the {policy.max_alert_change:.0%} that is allowed"
        judgement += f" ({policy.max_slice_alert_change:.0%} in a slice)" if found.thresholds[0].slices else ""
    elif worst.proven:
        judgement = f"{worst.named} changes by more than the {worst.allowed:.0%} that is allowed, and not by chance"
    else:
        judgement = (
            f"{worst.named} changes by more than the {worst.allowed:.0%} that is allowed; chance could explain it"
        )
    return f"On {found.rows:,} rows of {found.first} to {found.last}: {said}. {judgement}."


def _counts(one: ThresholdAlerts, found: AlertChange) -> str:
    counts = (
        f"{one.name} (from {one.at:.4g} on) {one.candidate / found.days:,.1f} alerts a day against the champion's "
        f"{one.champion / found.days:,.1f}"
    )
    if one.ratio is None:
        return counts
    low, high = one.ratio.low - 1, one.ratio.high - 1
    return f"{counts}, {one.ratio.value - 1:+.1%} ({found.confidence:.0%} interval {low:+.1%} to {high:+.1%})"
