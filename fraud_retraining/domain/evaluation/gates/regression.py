"""Gates on candidate and champion together: no loss on the same rows, on the fixed days, or in a slice."""

from statistics import NormalDist

import numpy as np

from fraud_retraining.domain.evaluation.comparison import Comparison, NotCompared, SliceDifference
from fraud_retraining.domain.evaluation.gates.evidence import Evidence
from fraud_retraining.domain.evaluation.gates.finding import (
    Finding,
    NotApplicable,
    UnmeasuredError,
    figures,
    measured,
)
from fraud_retraining.domain.evaluation.gates.policy import GatePolicy


def no_regression(policy: GatePolicy, evidence: Evidence) -> Finding | NotApplicable:
    """Average precision against the champion on the holdout."""
    return _regression(policy, evidence.comparison, evidence.beside.frauds_to_expect)


def fixed_no_regression(policy: GatePolicy, evidence: Evidence) -> Finding | NotApplicable:
    """Average precision against the champion on the fixed evaluation days."""
    return _regression(policy, evidence.fixed)


def _regression(
    policy: GatePolicy, comparison: Comparison | NotCompared | None, known: str = ""
) -> Finding | NotApplicable:
    """Whether the candidate is worse than the champion by more than `max_regression`, and not by chance.

    Fails when the difference is below -max_regression *and* the whole paired interval is below 0, or when the
    difference is below -max_unproven_regression for any interval. The threshold that is reported is the one
    that the difference was held against: value, threshold and margin are one quantity.

    The textbook non-inferiority test (lower bound above -max_regression) requires the candidate to prove that it is not
    worse. One week of 9,600 transactions a day has a paired standard deviation of .006, so with max_regression .01 a
    candidate exactly as good as the champion would pass 38 % of the time, and the champion would stay and decay. The
    bare point difference passes 95 % of such candidates and knows nothing of the noise. With this rule at 95 %
    confidence, share that passes by true difference and standard deviation:

        deviation   0     -.005   -.010   -.015   -.020
        .002      1.000   .994    .500    .006    .000
        .004       .994   .894    .500    .106    .006
        .006       .975   .870    .615    .296    .085
        .010       .975   .928    .831    .677    .484
        .020       .975   .956    .928    .887    .831

    So an equal candidate passes at least 97 of 100 times at any noise; one that is worse by twice max_regression
    is caught 92 of 100 times at .006 (where no rule that passes 97 equal ones catches more than 93) and nearly always
    from about 14,000 transactions a day on, where the deviation is below .005. On holdouts too small to decide,
    `max_unproven_regression` bounds what can slip through, and the floors stand.
    """
    if isinstance(comparison, NotCompared):
        return NotApplicable(comparison.reason)
    if comparison is None:
        raise UnmeasuredError("the rows give no comparison with the champion")
    difference = comparison.difference
    value = measured(difference.value, "difference from the champion")
    high = measured(difference.high, "interval of the difference")
    hard = max(policy.max_regression, policy.max_unproven_regression)
    allowed = policy.max_regression if high < 0 or value + policy.max_regression >= 0 else hard
    return Finding(
        value,
        -allowed,
        value + allowed,
        _regression_message(policy, comparison, hard, known),
        {
            "low": difference.low,
            "high": difference.high,
            "deviation": difference.deviation,
            "resamples": comparison.resamples,
            "candidate": comparison.candidate.value,
            "champion": comparison.champion.value,
            "rows": comparison.rows,
            "frauds": comparison.frauds,
        },
    )


def _regression_message(policy: GatePolicy, comparison: Comparison, hard: float, known: str) -> str:
    difference = comparison.difference
    shown, limit, _ = figures(difference.value, -policy.max_regression)
    allowed = limit.lstrip("-")
    if difference.value >= 0:
        judgement = "no loss"
    elif difference.value >= -policy.max_regression:
        judgement = f"within the {allowed} that it may lose"
    elif difference.high < 0:
        judgement = f"more than the {allowed} that it may lose, and more than chance explains"
    elif difference.value < -hard:
        judgement = f"a loss above {hard:g}, which fails even though chance could explain it"
    else:
        judgement = f"more than the {allowed} that it may lose, but chance could explain it"
    return (
        f"On the same {comparison.rows:,} rows{known}, average precision {comparison.candidate.value:.3f} against "
        f"the champion's {comparison.champion.value:.3f}: difference {_signed(shown)} "
        f"({comparison.confidence:.0%} interval {difference.low:+.3f} to {difference.high:+.3f}), {judgement}."
    )


def _signed(shown: str) -> str:
    return shown if shown.startswith("-") else f"+{shown}"


def no_slice_regression(policy: GatePolicy, evidence: Evidence) -> Finding | NotApplicable:
    """Average precision against the champion in every slice with enough frauds.

    A slice fails when its difference is below -max_slice_regression and its whole interval is below 0. There are many
    slices, so the interval's one-sided error is divided by their number (Bonferroni): an equal candidate fails this
    gate at most once in 40 times, however many slices there are. The interval is normal around the bootstrap's
    standard deviation, because so far out a percentile of 200 resamples says nothing.
    """
    if isinstance(evidence.comparison, NotCompared):
        return NotApplicable(evidence.comparison.reason)
    if evidence.comparison is None:
        raise UnmeasuredError("the rows give no comparison with the champion")
    slices = evidence.comparison.slices
    if not slices:
        return NotApplicable(f"no slice holds {policy.min_slice_frauds} frauds")
    # One-sided error divided by the number of slices (Bonferroni).
    reach = NormalDist().inv_cdf(1 - (1 - policy.confidence) / 2 / len(slices))

    def allowed(slice_: SliceDifference) -> float:
        where = f"in {slice_.slice} {slice_.value}"
        measured(slice_.difference.value, f"difference from the champion {where}")
        deviation = measured(slice_.difference.deviation, f"interval of the difference {where}")
        return max(policy.max_slice_regression, reach * deviation)

    margins = [slice_.difference.value + allowed(slice_) for slice_ in slices]
    worst = slices[int(np.argmin(margins))]
    failed = [slice_ for slice_, left in zip(slices, margins, strict=True) if left < 0]
    return Finding(
        worst.difference.value,
        -allowed(worst),
        min(margins),
        _slices_message(policy, slices, failed or [worst], failing=bool(failed)),
        {"slices": len(slices), "failing": len(failed), "worst": f"{worst.slice} {worst.value}"},
    )


def _slices_message(
    policy: GatePolicy, slices: tuple[SliceDifference, ...], shown: list[SliceDifference], *, failing: bool
) -> str:
    named = "; ".join(
        f"{one.slice} {one.value} {one.candidate:.3f} against {one.champion:.3f} "
        f"({one.difference.value:+.3f}, {one.frauds:,} frauds)"
        for one in shown[:3]
    )
    more = f" and {len(shown) - 3} more" if len(shown) > 3 else ""
    allowed = f"lost more average precision than the {policy.max_slice_regression:g} allowed and than chance explains"
    if failing:
        return f"{len(shown)} of {len(slices)} slices {allowed}: {named}{more}."
    return f"None of {len(slices)} slices {allowed}; the closest is {named}."
