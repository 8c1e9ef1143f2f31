"""The gate on what the thresholds behind the model do: a retrain must not change the number of alerts unnoticed."""

from collections.abc import Iterator, Sequence
from statistics import NormalDist
from typing import NamedTuple

from fraud_retraining.domain.evaluation.alert_volume import AlertChange, SliceAlerts, ThresholdAlerts
from fraud_retraining.domain.evaluation.comparison import NotCompared
from fraud_retraining.domain.evaluation.gates.evidence import Evidence
from fraud_retraining.domain.evaluation.gates.finding import Finding, NotApplicable, UnmeasuredError
from fraud_retraining.domain.evaluation.gates.policy import GatePolicy


class Held(NamedTuple):
    """A threshold, overall or in a slice, held against its bound."""

    named: str
    counted: ThresholdAlerts | SliceAlerts
    change: float
    allowed: float
    proven: bool
    """Whether chance does not explain it: overall a change, in a slice one beyond the bound."""
    part: bool
    """Whether it is a slice."""

    @property
    def margin(self) -> float:
        """Distance from the bound; a change beyond it that chance could explain keeps it."""
        return self.allowed - self.change if self.proven else max(0.0, self.allowed - self.change)


def score_contract(policy: GatePolicy, evidence: Evidence) -> Finding | NotApplicable:
    """Alerts at each threshold against the champion's, on the latest days, overall and by slice.

    A threshold fails when its alerts differ from the champion's by more than `max_alert_change` *and* the whole
    interval lies on one side of no change. A slice has fewer alerts, and there are many: it fails when its alerts
    differ by more than `max_slice_alert_change` *and* its noise together. Noise is what the interval's one-sided error,
    divided by the number of slices (Bonferroni), reaches, normal around the bootstrap's standard deviation. So
    candidates whose slices change by no more than the bound fail at most once in 40 times, however many and small the
    slices are. With fewer than `min_alerts` of either model a threshold says nothing.
    """
    found = evidence.alerts
    if isinstance(found, NotCompared):
        return NotApplicable(found.reason)
    if found is None:
        raise UnmeasuredError("the alerts of candidate and champion were not counted")
    held = list(held_thresholds(policy, found))
    if not held:
        few = "; ".join(_counts(one, found) for one in found.thresholds)
        return NotApplicable(f"too few alerts to tell, {policy.min_alerts} of one of the models are needed: {few}")
    worst = min(held, key=lambda one: one.margin)
    return Finding(
        worst.change,
        worst.allowed,
        worst.margin,
        _message(policy, found, held, worst),
        {
            f"{one.name} {side}": count / found.days
            for one in found.thresholds
            for side, count in (("candidate", one.candidate), ("champion", one.champion))
        },
    )


def held_thresholds(policy: GatePolicy, found: AlertChange) -> Iterator[Held]:
    """Every threshold with alerts enough, overall and in each slice."""
    parts = sum(_enough(policy, one) for threshold in found.thresholds for one in threshold.slices)
    for threshold in found.thresholds:
        if _enough(policy, threshold):
            yield _held_whole(threshold, policy.max_alert_change)
        for one in threshold.slices:
            if _enough(policy, one):
                yield _held_part(f"{threshold.name} in {one.slice} {one.value}", one, policy, parts)


def _enough(policy: GatePolicy, counted: ThresholdAlerts | SliceAlerts) -> bool:
    return max(counted.candidate, counted.champion) >= policy.min_alerts


def _held_whole(counted: ThresholdAlerts, allowed: float) -> Held:
    if counted.ratio is None:
        return _from_nothing(counted.name, counted, allowed, part=False)
    ratio, change = counted.ratio, abs(counted.ratio.value - 1)
    return Held(counted.name, counted, change, allowed, proven=not ratio.low <= 1 <= ratio.high, part=False)


def _held_part(named: str, counted: SliceAlerts, policy: GatePolicy, parts: int) -> Held:
    allowed = policy.max_slice_alert_change
    if counted.ratio is None:
        return _from_nothing(named, counted, allowed, part=True)
    # One-sided error divided by the number of slices (Bonferroni).
    reach = NormalDist().inv_cdf(1 - (1 - policy.confidence) / 2 / parts)
    change = abs(counted.ratio.value - 1)
    return Held(named, counted, change, allowed, proven=change - reach * counted.ratio.deviation > allowed, part=True)


def _from_nothing(named: str, counted: ThresholdAlerts | SliceAlerts, allowed: float, *, part: bool) -> Held:
    """The champion has no alert here: as many more as there are."""
    return Held(named, counted, float(counted.candidate), allowed, proven=True, part=part)


def _message(policy: GatePolicy, found: AlertChange, held: Sequence[Held], worst: Held) -> str:
    said = "; ".join(_counts(one, found) for one in found.thresholds)
    parts = [one for one in held if one.part]
    if worst.change <= worst.allowed:
        judgement = f"Every change is within the {policy.max_alert_change:.0%} that is allowed"
        judgement += f" ({policy.max_slice_alert_change:.0%} in {len(parts)} slices)" if parts else ""
    elif worst.proven:
        why = " and than chance explains" if worst.part else ", and not by chance"
        judgement = f"{worst.named} changes by more than the {worst.allowed:.0%} that is allowed{why}"
    else:
        judgement = (
            f"{worst.named} changes by more than the {worst.allowed:.0%} that is allowed; chance could explain it"
        )
    if worst.part and worst.change > worst.allowed:
        failed = sum(one.margin < 0 for one in parts)
        judgement += f" ({worst.counted.candidate:,} alerts against {worst.counted.champion:,}"
        judgement += f"; {failed} of {len(parts)} slices fail)" if failed else ")"
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
