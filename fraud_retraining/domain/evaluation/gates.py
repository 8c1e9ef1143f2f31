"""The rules that a candidate must pass before it may serve, and the verdict that they give together.

Here: one pure function a gate over measured evidence, and the evidence itself, which an auditor can judge again from
the record. Not here: how the numbers are measured (`domain/evaluation/metrics.py`, `domain/evaluation/comparison.py`)
and what a verdict leads to (`domain/releases/lifecycle.py`).

A gate that raises or gives no number has failed. A gate that does not apply has passed and says why.

A new gate is one function and one row of `GATES`. A stored verdict keeps the gates of the day on which it was made.
"""

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from statistics import NormalDist
from types import MappingProxyType
from typing import Literal, NamedTuple, Self, get_args

import numpy as np
from pydantic import Field, model_validator

from fraud_retraining.domain.evaluation.comparison import Comparison, SliceDifference, compare
from fraud_retraining.domain.evaluation.judged import Floats, Judged, Mask, Pair
from fraud_retraining.domain.evaluation.metrics import Metrics, MetricsPolicy, evaluate
from fraud_retraining.domain.values.base import Value

Severity = Literal["error", "warn"]
Advisory = Literal["no_slice_regression", "calibration"]
"""Gates that the settings may turn into warnings; every other gate stops a release that fails it."""


class GatePolicy(MetricsPolicy):
    """How good is good enough."""

    min_average_precision: float = Field(0.3, ge=0, le=1, description="Floor of the average precision on the holdout.")
    min_roc_auc: float = Field(0.7, ge=0, le=1, description="Floor of the ROC AUC on the holdout.")
    max_regression: float = Field(
        0.01, ge=0, le=1, description="Average precision that a candidate may lose against the champion."
    )
    max_unproven_regression: float = Field(
        0.05, ge=0, le=1, description="Loss that fails even if chance could explain it; never less than max_regression."
    )
    min_compared_frauds: int = Field(
        20, ge=1, description="Frauds that the compared rows need; with fewer, candidate and champion are not compared."
    )
    max_slice_regression: float = Field(
        0.05, ge=0, le=1, description="Average precision that a candidate may lose in one slice."
    )
    max_calibration_error: float = Field(
        0.5, gt=0, le=100, description="Expected calibration error beyond chance, as a multiple of the fraud rate."
    )
    min_distinct_scores: int = Field(10, ge=2, le=10_000, description="Different scores that a model must give.")
    max_importance: float = Field(
        0.95, gt=0, le=1, description="Share of the importance that one feature may have; more suggests a leak."
    )
    max_plausible_average_precision: float = Field(
        0.99,
        gt=0,
        le=1,
        description="Average precision beyond which a column of the lake that matters most counts as a leak; 1: never.",
    )
    advisory: tuple[Advisory, ...] = Field((), description="Gates that only warn.")


class NotCompared(Value):
    """Why there is no champion to compare with on these rows. Never used for a champion that could not be read."""

    reason: str = Field(min_length=1, description="Clause, such as 'there is no champion yet'.")


NO_CHAMPION = NotCompared(reason="there is no champion yet")


def comparable(candidate: Judged, champion: Floats, fair: Mask, *, named: str, min_frauds: int) -> Pair | NotCompared:
    """Candidate and champion on the rows that neither has learnt from, or why these cannot compare the two.

    Args:
        candidate: the candidate on every judged row.
        champion: the champion's score for each of them.
        fair: which of the rows the champion has not learnt from.
        named: the champion as a message names it, such as `champion version 3 (as of 2026-11-18)`.
        min_frauds: frauds that the compared rows need.
    """
    if not fair.any():
        return NotCompared(reason=f"{named} has learnt from every day that judges this candidate")
    rows = candidate.where(fair)
    rival = rows.with_scores(champion[fair])
    if not rival.rankable:
        wrong = np.count_nonzero(~np.isfinite(rival.scores))
        return NotCompared(reason=f"{named} gives scores that are not numbers for {wrong:,} of {len(rows):,} rows")
    if rows.frauds < min_frauds:
        return NotCompared(
            reason=f"the {len(rows):,} rows that {named} has not learnt from hold {rows.frauds} frauds, and "
            f"gates.min_compared_frauds asks for {min_frauds}"
        )
    return Pair(rows, rival)


class ScoreSummary(Value):
    """The candidate's scores in four numbers; minimum and maximum are those of the finite scores."""

    distinct: int
    not_finite: int
    minimum: float | None
    maximum: float | None

    @classmethod
    def of(cls, judged: Judged) -> Self:
        """Summary of the scores of all rows."""
        finite = judged.scores[np.isfinite(judged.scores)]
        return cls(
            distinct=len(np.unique(finite)),
            not_finite=len(judged) - len(finite),
            minimum=float(finite.min()) if len(finite) else None,
            maximum=float(finite.max()) if len(finite) else None,
        )


class Evidence(Value):
    """Everything that the gates read: numbers only, so that a stored verdict can be judged again."""

    candidate: Metrics = Field(description="The candidate on the whole holdout.")
    candidate_compared: Metrics | None = Field(None, description="The candidate on the rows where both were judged.")
    champion: Metrics | None = Field(None, description="The champion on those rows.")
    comparison: Comparison | NotCompared | None = Field(description="None where the rows could not compare the two.")
    fixed: Comparison | NotCompared | None = Field(description="The same on the fixed evaluation days.")
    fixed_candidate: Metrics | None = Field(None, description="The candidate on all fixed evaluation days.")
    fixed_candidate_compared: Metrics | None = Field(None, description="And on those of their rows that compare.")
    fixed_champion: Metrics | None = None
    scores: ScoreSummary
    importance: dict[str, float]
    columns: tuple[str, ...] = Field((), description="Features that are columns of the lake as they came.")

    @property
    def beside(self) -> Metrics:
        """The candidate on the rows of the champion's numbers, to be shown beside them; without any, on all rows."""
        return self.candidate_compared or self.candidate

    @property
    def fixed_beside(self) -> Metrics | None:
        """The same on the fixed evaluation days."""
        return self.fixed_candidate_compared or self.fixed_candidate

    @property
    def partly_compared(self) -> bool:
        """Whether the champion has learnt from some of the holdout, so that only the rest compares the two."""
        return self.beside.rows != self.candidate.rows


NO_FIXED_SET = NotCompared(reason="no fixed evaluation days are configured")


def collect_evidence(
    policy: GatePolicy,
    *,
    holdout: Judged,
    comparison: Pair | NotCompared,
    importance: Mapping[str, float],
    columns: Collection[str] = (),
    fixed: Judged | None = None,
    fixed_comparison: Pair | NotCompared = NO_FIXED_SET,
) -> Evidence:
    """Measure what the gates need to know.

    Args:
        policy: how to measure.
        holdout: the candidate on every holdout row with a known label.
        comparison: candidate and champion on the holdout days that neither was trained on, or why there are none.
        importance: importance of every feature of the candidate.
        columns: those of its features that are further columns of the lake, which may hold more than they should.
        fixed: the candidate on the fixed evaluation days, if there are any.
        fixed_comparison: both on the fixed evaluation days that neither was trained on, or why there are none.
    """
    measured = evaluate(holdout, policy)
    on_fixed = evaluate(fixed, policy) if fixed is not None else None
    return Evidence(
        candidate=measured,
        candidate_compared=_measured_again(holdout, measured, comparison, policy),
        champion=evaluate(comparison.champion, policy) if isinstance(comparison, Pair) else None,
        comparison=_compared(comparison, policy),
        fixed=_compared(fixed_comparison, policy),
        fixed_candidate=on_fixed,
        fixed_candidate_compared=_measured_again(fixed, on_fixed, fixed_comparison, policy),
        fixed_champion=evaluate(fixed_comparison.champion, policy) if isinstance(fixed_comparison, Pair) else None,
        scores=ScoreSummary.of(holdout),
        importance=dict(importance),
        columns=tuple(columns),
    )


def _measured_again(
    rows: Judged | None, measured: Metrics | None, comparison: Pair | NotCompared, policy: GatePolicy
) -> Metrics | None:
    """The candidate on the compared rows, which are a part of the judged rows or all of them."""
    if isinstance(comparison, NotCompared):
        return None
    whole = rows is not None and len(comparison.candidate) == len(rows)
    return measured if whole else evaluate(comparison.candidate, policy)


def _compared(comparison: Pair | NotCompared, policy: GatePolicy) -> Comparison | NotCompared | None:
    return compare(comparison, policy) if isinstance(comparison, Pair) else comparison


class GateResult(Value):
    """What one gate says. `margin` is the distance of `value` from `threshold`; below 0 the gate has failed."""

    name: str
    passed: bool
    value: float | None = None
    threshold: float | None = None
    margin: float | None = None
    message: str = Field(description="A sentence for the reviewer.")
    applicable: bool = True
    severity: Severity = "error"
    numbers: dict[str, float | int | str] = Field(default_factory=dict, description="Numbers behind the message.")


class Finding(NamedTuple):
    """What a gate's rule found."""

    value: float | None
    threshold: float
    margin: float
    message: str
    numbers: Mapping[str, float | int | str] = MappingProxyType({})


class NotApplicable(NamedTuple):
    """Why a gate's rule has nothing to decide."""

    reason: str


Rule = Callable[[GatePolicy, Evidence], Finding | NotApplicable]


class Gate(NamedTuple):
    """One rule, and what it demands in a sentence."""

    description: str
    rule: Rule


class UnmeasuredError(ValueError):
    """A number that a gate needs and that the holdout did not give."""


def _measured(value: float | None, what: str) -> float:
    if value is None or not math.isfinite(value):
        raise UnmeasuredError(f"the {what} is not defined")
    return value


def _figures(value: float, limit: float) -> tuple[str, str, str]:
    """A value, its limit and their distance, with as many digits as it takes to tell them apart."""
    distance = round(abs(value - limit), 9)
    digits = 3 if distance == 0 else min(9, max(3, 1 - math.floor(math.log10(distance))))
    return f"{value:.{digits}f}", f"{limit:.{digits}f}", f"{distance:.{digits}f}"


def _floor(value: float, floor: float, what: str) -> Finding:
    shown, limit, distance = _figures(value, floor)
    side = "above" if value >= floor else "below"
    return Finding(value, floor, value - floor, f"{what} {shown} is {side} the floor {limit} by {distance}.")


def average_precision_floor(policy: GatePolicy, evidence: Evidence) -> Finding:
    """Average precision on the holdout reaches its floor."""
    value = _measured(evidence.candidate.values["average_precision"], "average precision")
    return _floor(value, policy.min_average_precision, f"Average precision on {_all_rows(evidence)}")


def roc_auc_floor(policy: GatePolicy, evidence: Evidence) -> Finding:
    """ROC AUC on the holdout reaches its floor."""
    value = _measured(evidence.candidate.values["roc_auc"], "ROC AUC")
    return _floor(value, policy.min_roc_auc, f"ROC AUC on {_all_rows(evidence)}")


def _all_rows(evidence: Evidence) -> str:
    return f"all {evidence.candidate.rows:,} holdout rows"


def no_regression(policy: GatePolicy, evidence: Evidence) -> Finding | NotApplicable:
    """Average precision against the champion on the holdout."""
    return _regression(policy, evidence.comparison)


def fixed_no_regression(policy: GatePolicy, evidence: Evidence) -> Finding | NotApplicable:
    """Average precision against the champion on the fixed evaluation days."""
    return _regression(policy, evidence.fixed)


def _regression(policy: GatePolicy, comparison: Comparison | NotCompared | None) -> Finding | NotApplicable:
    """Whether the candidate is worse than the champion by more than `max_regression`, and not by chance.

    Fails when the difference is below -max_regression *and* the whole paired interval is below 0, or when the
    difference is below -max_unproven_regression whatever the interval says. The threshold that is reported is the one
    that the difference was held against: value, threshold and margin are one quantity.

    The textbook non-inferiority test (lower bound above -max_regression) asks the candidate to prove that it is not
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

    So an equal candidate passes at least 97 of 100 times whatever the noise; one that is worse by twice max_regression
    is caught 92 of 100 times at .006 (where no rule that passes 97 equal ones catches more than 93) and nearly always
    from about 14,000 transactions a day on, where the deviation is below .005. On holdouts too small to tell,
    `max_unproven_regression` bounds what can slip through, and the floors stand.
    """
    if isinstance(comparison, NotCompared):
        return NotApplicable(comparison.reason)
    if comparison is None:
        raise UnmeasuredError("the rows give no comparison with the champion")
    difference = comparison.difference
    value = _measured(difference.value, "difference from the champion")
    high = _measured(difference.high, "interval of the difference")
    hard = max(policy.max_regression, policy.max_unproven_regression)
    allowed = policy.max_regression if high < 0 or value + policy.max_regression >= 0 else hard
    return Finding(
        value,
        -allowed,
        value + allowed,
        _regression_message(policy, comparison, hard),
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


def _regression_message(policy: GatePolicy, comparison: Comparison, hard: float) -> str:
    difference = comparison.difference
    shown, limit, _ = _figures(difference.value, -policy.max_regression)
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
        f"On the same {comparison.rows:,} rows, average precision {comparison.candidate.value:.3f} against "
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
    reach = NormalDist().inv_cdf(1 - (1 - policy.confidence) / 2 / len(slices))

    def allowed(slice_: SliceDifference) -> float:
        where = f"in {slice_.slice} {slice_.value}"
        _measured(slice_.difference.value, f"difference from the champion {where}")
        deviation = _measured(slice_.difference.deviation, f"interval of the difference {where}")
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


def calibration(policy: GatePolicy, evidence: Evidence) -> Finding:
    """Scores can be read as probabilities: calibration error beyond chance, as a multiple of the fraud rate.

    On a week of the handbook data a sound XGBoost shows .03 to .16; one trained on a tenth of the other transactions
    without weights 2.1 to 2.3, one with `scale_pos_weight=5` .8 to .9.
    """
    measured = evidence.candidate.calibration
    if measured is None:
        raise UnmeasuredError("the scores are not probabilities")
    rate = _measured(evidence.candidate.fraud_rate, "fraud rate")
    if rate == 0:
        raise UnmeasuredError("the holdout holds no fraud")
    value = max(0.0, measured.error - measured.chance) / rate
    expected = sum(bin_.expected for bin_ in measured.bins)
    return Finding(
        value,
        policy.max_calibration_error,
        policy.max_calibration_error - value,
        f"Scores are off by {measured.error:.5f} on average, {value:.0%} of the fraud rate {rate:.5f} beyond chance; "
        f"{policy.max_calibration_error:.0%} is allowed. The scores expect {expected:,.0f} frauds, "
        f"{evidence.candidate.frauds:,} were there.",
        {"error": measured.error, "chance": measured.chance, "fraud_rate": rate, "expected_frauds": expected},
    )


def score_variety(policy: GatePolicy, evidence: Evidence) -> Finding:
    """Scores are probabilities and differ from each other."""
    scores = evidence.scores
    numbers: dict[str, float | int | str] = {"distinct": scores.distinct, "not_finite": scores.not_finite}
    if scores.not_finite:
        message = f"{scores.not_finite:,} scores are not numbers."
        return Finding(scores.not_finite, 0, -scores.not_finite, message, numbers)
    low, high = _measured(scores.minimum, "score"), _measured(scores.maximum, "score")
    numbers |= {"minimum": low, "maximum": high}
    if low < 0 or high > 1:
        message = f"Scores from {low:g} to {high:g} are not probabilities."
        value, limit, margin = (low, 0, low) if low < 1 - high else (high, 1, 1 - high)
        return Finding(value, limit, margin, message, numbers)
    margin = scores.distinct - policy.min_distinct_scores
    said = f"The model gives {scores.distinct:,} different scores" if scores.distinct > 1 else "Every score is the same"
    message = f"{said}, from {low:.3g} to {high:.3g}; at least {policy.min_distinct_scores} different ones are needed."
    return Finding(scores.distinct, policy.min_distinct_scores, margin, message, numbers)


def feature_importance(policy: GatePolicy, evidence: Evidence) -> Finding:
    """Importance is there, no feature has nearly all of it, and no column of the lake is too good to be true."""
    importance = {name: abs(_measured(value, f"importance of {name}")) for name, value in evidence.importance.items()}
    total = sum(importance.values())
    if total == 0:
        raise UnmeasuredError("no feature has any importance: the model ignores its input")
    top = max(importance, key=lambda name: importance[name])
    share = importance[top] / total
    reached = evidence.candidate.values.get("average_precision") or 0.0
    if top in evidence.columns and reached > policy.max_plausible_average_precision:
        message = (
            f"{top}, a column of the lake, has most of the importance ({share:.1%}), and the average precision "
            f"{reached:.3f} is too good to be true: a leak of the label is likely. Should {top} be known when a "
            "transaction is scored, raise gates.max_plausible_average_precision."
        )
        limit = policy.max_plausible_average_precision
        return Finding(reached, limit, limit - reached, message, {"feature": top, "importance": share})
    meaning = "a leak of the label is likely" if share > policy.max_importance else "no sign of a leak"
    return Finding(
        share,
        policy.max_importance,
        policy.max_importance - share,
        f"{top} has {share:.1%} of the importance; up to {policy.max_importance:.1%} is accepted: {meaning}.",
        {"feature": top},
    )


GATES: dict[str, Gate] = {
    "average_precision_floor": Gate("Average precision on the holdout reaches its floor.", average_precision_floor),
    "roc_auc_floor": Gate("ROC AUC on the holdout reaches its floor.", roc_auc_floor),
    "no_regression": Gate("The candidate is not worse than the champion on the same holdout rows.", no_regression),
    "fixed_no_regression": Gate("Nor on the fixed evaluation days, where there are any.", fixed_no_regression),
    "no_slice_regression": Gate("The candidate is not much worse in any slice.", no_slice_regression),
    "calibration": Gate("The candidate's scores can be read as probabilities.", calibration),
    "score_variety": Gate("The candidate's scores are probabilities and not all the same.", score_variety),
    "feature_importance": Gate("Features matter, and none decides alone as a leaked label would.", feature_importance),
}
"""The gates of today by name, in the order in which a verdict has them."""


class Verdict(Value):
    """All gates of its day together: passed exactly when none that stops a release has failed.

    It holds its own list of gates and is checked against that alone, so that a verdict from before a gate was added can
    still be read. Whether it has every gate of today, `incomplete` says.
    """

    passed: bool
    gates: tuple[GateResult, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _follows_from_gates(self) -> Self:
        twice = [name for name, times in Counter(result.name for result in self.gates).items() if times > 1]
        if twice:
            raise ValueError(f"a verdict has one result a gate, and {', '.join(twice)} gave several")
        if self.passed != (not self.failed):
            names = ", ".join(result.name for result in self.failed) or "none"
            raise ValueError(f"passed is {self.passed} and the gates that failed are {names}: one does not follow")
        return self

    @property
    def failed(self) -> tuple[GateResult, ...]:
        """Gates that stop the release."""
        return tuple(result for result in self.gates if not result.passed and result.severity == "error")


def incomplete(verdict: Verdict) -> tuple[str, ...]:
    """Why a verdict is not one by every gate of today, a clause each; nothing where it is.

    It has a result of every gate of `GATES`, in their order, of no other gate, and none only warns that has to stop.
    """
    given = [result.name for result in verdict.gates]
    missing = [f"{name}: gave no result" for name in GATES if name not in given]
    unknown = [f"{name}: is no gate of today" for name in given if name not in GATES]
    weak = [
        f"{result.name}: only warns, and has to stop"
        for result in verdict.gates
        if result.severity == "warn" and result.name not in get_args(Advisory)
    ]
    order = [] if missing or unknown or given == list(GATES) else ["the gates are in another order"]
    return (*missing, *unknown, *weak, *order)


def judge(policy: GatePolicy, evidence: Evidence) -> Verdict:
    """Put every gate of `GATES` to the evidence; the same policy and evidence always give the same verdict."""
    results = tuple(_result(name, gate.rule, policy, evidence) for name, gate in GATES.items())
    return Verdict(passed=all(result.passed for result in results if result.severity == "error"), gates=results)


def _result(name: str, rule: Rule, policy: GatePolicy, evidence: Evidence) -> GateResult:
    severity: Severity = "warn" if name in policy.advisory else "error"
    try:
        found = rule(policy, evidence)
    except UnmeasuredError as error:
        return GateResult(name=name, passed=False, severity=severity, message=f"No result, so failed: {error}.")
    except Exception as error:  # noqa: BLE001 (whatever a gate raises, it gave no result)
        message = f"No result, so failed: {type(error).__name__}: {error}."
        return GateResult(name=name, passed=False, severity=severity, message=message)
    if isinstance(found, NotApplicable):
        message = f"Not compared: {found.reason}."
        return GateResult(name=name, passed=True, applicable=False, severity=severity, message=message)
    if not math.isfinite(found.margin):
        message = f"No result, so failed: the distance to the threshold is {found.margin}."
        return GateResult(name=name, passed=False, severity=severity, message=message)
    return GateResult(
        name=name,
        passed=found.margin >= 0,
        value=found.value,
        threshold=found.threshold,
        margin=found.margin,
        message=found.message,
        severity=severity,
        numbers=dict(found.numbers),
    )
