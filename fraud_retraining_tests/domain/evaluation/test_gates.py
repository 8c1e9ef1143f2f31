"""What a candidate must prove, gate by gate, and what counts as proof."""

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fraud_retraining.domain.evaluation import gates
from fraud_retraining.domain.evaluation.comparison import Comparison, SliceDifference, compare
from fraud_retraining.domain.evaluation.gates import (
    GATES,
    NO_CHAMPION,
    NO_FIXED_SET,
    Evidence,
    Finding,
    Gate,
    GatePolicy,
    GateResult,
    NotCompared,
    ScoreSummary,
    Verdict,
    collect_evidence,
    comparable,
    incomplete,
    judge,
)
from fraud_retraining.domain.evaluation.judged import Judged, Pair
from fraud_retraining.domain.evaluation.metrics import Calibration, CalibrationBin, Metrics
from fraud_retraining.domain.values.interval import Interval

POLICY = GatePolicy()
EXAMPLES = settings(deadline=None, max_examples=60)
REACH = NormalDist().inv_cdf(0.975)


def interval(value, deviation=0.006):
    return Interval(value=value, low=value - REACH * deviation, high=value + REACH * deviation, deviation=deviation)


def comparison(difference=0.0, deviation=0.006, slices=()):
    return Comparison(
        rows=67_000,
        frauds=560,
        candidate=interval(0.73 + difference, 0.02),
        champion=interval(0.73, 0.02),
        difference=interval(difference, deviation),
        resamples=500,
        confidence=0.95,
        slices=slices,
    )


def lost_in(value, difference, deviation=0.01):
    return SliceDifference(
        slice="country", value=value, frauds=80, candidate=0.7 + difference, champion=0.7,
        difference=interval(difference, deviation),
    )  # fmt: skip


def calibrated(error=0.001, chance=0.0005):
    one = CalibrationBin(rows=67_000, expected=600.0, observed=560, chance=chance * 67_000)
    return Calibration(bins=(one,), error=error, chance=chance)


def metrics(average_precision=0.73, roc_auc=0.88, calibration=None):
    values = {"average_precision": average_precision, "roc_auc": roc_auc}
    return Metrics(rows=67_000, frauds=560, values=values, calibration=calibration or calibrated())


def evidence(**changes):
    """A sound candidate beside a champion as good, with some of it changed."""
    sound = {
        "candidate": metrics(),
        "champion": metrics(),
        "comparison": comparison(),
        "fixed": NO_FIXED_SET,
        "scores": ScoreSummary(distinct=60_000, not_finite=0, minimum=0.0001, maximum=0.99),
        "importance": {"amount": 0.6, "night": 0.4},
    }
    return Evidence(**sound | changes)


def result(name, policy=POLICY, **changes) -> GateResult:
    return next(one for one in judge(policy, evidence(**changes)).gates if one.name == name)


def test_a_sound_candidate_passes_every_gate():
    verdict = judge(POLICY, evidence(fixed=comparison(), comparison=comparison(slices=(lost_in("de", 0.01),))))
    assert verdict.passed
    assert [one.name for one in verdict.gates] == list(GATES)
    assert all(one.passed and one.applicable and one.margin >= 0 for one in verdict.gates)


@pytest.mark.parametrize(
    ("gate", "changes"),
    [
        ("average_precision_floor", {"candidate": metrics(average_precision=0.29)}),
        ("roc_auc_floor", {"candidate": metrics(roc_auc=0.69)}),
        ("no_regression", {"comparison": comparison(-0.03)}),
        ("fixed_no_regression", {"fixed": comparison(-0.03)}),
        ("no_slice_regression", {"comparison": comparison(slices=(lost_in("de", -0.2), lost_in("at", 0.0)))}),
        ("calibration", {"candidate": metrics(calibration=calibrated(error=0.02))}),
        ("score_variety", {"scores": ScoreSummary(distinct=1, not_finite=0, minimum=0.008, maximum=0.008)}),
        ("score_variety", {"scores": ScoreSummary(distinct=9, not_finite=0, minimum=0.1, maximum=0.9)}),
        ("score_variety", {"scores": ScoreSummary(distinct=99, not_finite=0, minimum=-0.1, maximum=0.9)}),
        ("score_variety", {"scores": ScoreSummary(distinct=99, not_finite=0, minimum=0.1, maximum=1.7)}),
        ("score_variety", {"scores": ScoreSummary(distinct=99, not_finite=3, minimum=0.1, maximum=0.9)}),
        ("feature_importance", {"importance": {"amount": 0.96, "night": 0.04}}),
        ("feature_importance", {"candidate": metrics(0.995), "columns": ("amount",)}),
    ],
)
def test_each_fault_fails_its_own_gate_and_no_other(gate, changes):
    verdict = judge(POLICY, evidence(**changes))
    assert not verdict.passed
    assert [one.name for one in verdict.failed] == [gate]
    assert verdict.failed[0].margin < 0


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"candidate": metrics(0.995)}, "the project makes the feature itself, from what came before"),
        ({"candidate": metrics(0.995), "columns": ("night",)}, "another feature matters more"),
        ({"columns": ("amount",)}, "the model is good, and not too good"),
    ],
)
def test_a_model_that_is_good_for_an_honest_reason_is_no_leak(changes, why):
    assert judge(POLICY, evidence(**changes)).passed, why


@pytest.mark.parametrize(
    ("gate", "changes", "reason"),
    [
        ("average_precision_floor", {"candidate": metrics(average_precision=None)}, "average precision is not defined"),
        ("average_precision_floor", {"candidate": metrics(average_precision=float("nan"))}, "is not defined"),
        ("roc_auc_floor", {"candidate": metrics(roc_auc=None)}, "ROC AUC is not defined"),
        ("no_regression", {"comparison": None}, "no comparison with the champion"),
        ("no_regression", {"comparison": comparison(float("nan"))}, "difference from the champion is not defined"),
        ("no_slice_regression", {"comparison": comparison(slices=(lost_in("de", float("nan")),))}, "in country de"),
        ("calibration", {"candidate": Metrics(rows=9, frauds=1, values=metrics().values)}, "are not probabilities"),
        (
            "calibration",
            {"candidate": Metrics(rows=9, frauds=0, values=metrics().values, calibration=calibrated())},
            "holds no fraud",
        ),
        ("score_variety", {"scores": ScoreSummary(distinct=0, not_finite=0, minimum=None, maximum=None)}, "score"),
        ("feature_importance", {"importance": {}}, "no feature has any importance"),
        ("feature_importance", {"importance": {"amount": 0.0, "night": 0.0}}, "no feature has any importance"),
        ("feature_importance", {"importance": {"amount": float("nan"), "night": 1.0}}, "importance of amount"),
    ],
)
def test_a_gate_without_a_number_has_failed_and_says_why(gate, changes, reason):
    found = result(gate, **changes)
    assert not found.passed
    assert found.applicable
    assert found.message.startswith("No result, so failed")
    assert reason in found.message


@pytest.mark.parametrize(
    "rule",
    [lambda policy, evidence: 1 / 0, lambda policy, evidence: Finding(0.5, 0.3, float("nan"), "fine")],
    ids=["raises", "margin that is no number"],
)
def test_a_gate_that_breaks_fails_the_verdict_and_leaves_the_others_standing(monkeypatch, rule):
    monkeypatch.setitem(GATES, "roc_auc_floor", Gate("broken", rule))
    verdict = judge(POLICY, evidence())
    assert [one.name for one in verdict.failed] == ["roc_auc_floor"]
    assert "No result, so failed" in verdict.failed[0].message


@pytest.mark.parametrize("reason", [NO_CHAMPION, NotCompared(reason="version 12 was trained on every holdout day")])
def test_without_a_champion_to_compare_the_gate_says_so_and_passes(reason):
    verdict = judge(POLICY, evidence(champion=None, comparison=reason))
    assert verdict.passed
    for one in verdict.gates:
        if one.name in {"no_regression", "no_slice_regression"}:
            assert (one.applicable, one.value, one.message) == (False, None, f"Not compared: {reason.reason}.")


@pytest.mark.parametrize(
    ("difference", "deviation", "passed", "why"),
    [
        (0.02, 0.006, True, "better"),
        (-0.0005, 0.0001, True, "proved worse, by less than may be lost"),
        (-0.01, 0.0001, True, "exactly what may be lost"),
        (-0.0101, 0.0001, False, "proved worse, by more than may be lost"),
        (-0.011, 0.006, True, "chance could explain it"),
        (-0.02, 0.006, False, "beyond chance"),
        (-0.04, 0.03, True, "a holdout too noisy to tell"),
        (-0.06, 0.2, False, "too much to excuse by noise"),
    ],
)
def test_the_regression_rule(difference, deviation, passed, why):
    found = result("no_regression", comparison=comparison(difference, deviation))
    assert found.passed is passed, why
    assert (found.margin >= 0) is passed


def pass_rate(difference, deviation):
    """Share of 2,000 holdouts on which a candidate with this true difference passes."""
    drawn = np.random.default_rng(0).normal(difference, deviation, 2000)
    return np.mean([gates._regression(POLICY, comparison(one, deviation)).margin >= 0 for one in drawn])


@pytest.mark.parametrize(
    ("deviation", "equal", "twice"), [(0.002, 0.999, 0.001), (0.004, 0.985, 0.015), (0.006, 0.965, 0.10)]
)
def test_an_equal_candidate_passes_97_times_and_one_twice_too_bad_nearly_never(deviation, equal, twice):
    assert pass_rate(0.0, deviation) >= equal
    assert pass_rate(-2 * POLICY.max_regression, deviation) <= twice


def simulated(seed, noise, rows=12_000):
    """A champion, and a candidate whose scores are noisier by a factor; both see the truth through own noise."""
    random = np.random.default_rng(seed)
    customers = random.integers(0, rows // 10, rows)
    labels = (random.random(rows) < 0.04).astype(np.int8)
    signal = random.normal(size=rows) + 3 * labels - 5
    scores = [1 / (1 + np.exp(-(signal + spread * random.normal(size=rows)))) for spread in (0.25 * noise, 0.25)]
    first = Judged(labels, scores[0], customers, np.zeros(rows, np.int32), np.ones(rows))
    return compare(Pair(first, first.with_scores(scores[1])), GatePolicy(resamples=100))


def test_real_bootstraps_let_equal_models_pass_and_stop_worse_ones():
    policy = GatePolicy(max_regression=0.02)
    margins = {
        noise: np.array([gates._regression(policy, simulated(seed, noise)).margin for seed in range(40)])
        for noise in (1.0, 3.0)
    }
    assert np.mean(margins[1.0] >= 0) >= 0.95
    assert np.mean([simulated(seed, 3.0).difference.value for seed in range(5)]) < -2 * policy.max_regression
    assert np.mean(margins[3.0] >= 0) <= 0.05


def test_many_equal_slices_are_many_chances_and_still_fail_the_gate_rarely():
    random = np.random.default_rng(1)
    policy = GatePolicy(max_slice_regression=0.01)
    passed = [
        result(
            "no_slice_regression",
            policy,
            comparison=comparison(slices=tuple(lost_in(str(n), d, 0.03) for n, d in enumerate(drawn))),
        ).passed
        for drawn in random.normal(0, 0.03, (200, 25))
    ]
    assert np.mean(passed) >= 0.95


def test_calibration_error_counts_beyond_chance_and_against_the_fraud_rate():
    found = result("calibration", candidate=metrics(calibration=calibrated(error=0.003, chance=0.001)))
    assert found.value == pytest.approx(0.002 / (560 / 67_000))
    lucky = result("calibration", candidate=metrics(calibration=calibrated(error=0.001, chance=0.003)))
    assert lucky.value == 0


def test_slices_without_enough_frauds_are_not_judged():
    found = result("no_slice_regression", comparison=comparison(slices=()))
    assert (found.passed, found.applicable) == (True, False)
    assert "no slice holds 50 frauds" in found.message


def test_slices_that_lost_are_named_worst_case_included():
    slices = (*(lost_in(country, -0.1) for country in ("de", "at", "ch", "fr")), lost_in("it", 0.01))
    found = result("no_slice_regression", comparison=comparison(slices=slices))
    assert "4 of 5 slices" in found.message
    assert "country de 0.600 against 0.700 (-0.100, 80 frauds)" in found.message
    assert "and 1 more" in found.message
    assert found.numbers["failing"] == 4


def test_an_advisory_gate_warns_and_does_not_stop():
    bad = evidence(candidate=metrics(calibration=calibrated(error=0.02)))
    verdict = judge(GatePolicy(advisory=("calibration",)), bad)
    assert verdict.passed
    assert [(one.name, one.severity) for one in verdict.gates if not one.passed] == [("calibration", "warn")]


@pytest.mark.parametrize("gate", ["no_regression", "average_precision_floor", "feature_importance", "no_such_gate"])
def test_the_gates_that_carry_the_decision_cannot_be_made_advisory(gate):
    with pytest.raises(ValidationError):
        GatePolicy(advisory=(gate,))


@pytest.mark.parametrize(
    ("value", "floor", "message"),
    [
        (0.712, 0.75, "Average precision on all 67,000 holdout rows 0.712 is below the floor 0.750 by 0.038."),
        (0.75, 0.75, "Average precision on all 67,000 holdout rows 0.750 is above the floor 0.750 by 0.000."),
        (
            0.29996,
            0.3,
            "Average precision on all 67,000 holdout rows 0.299960 is below the floor 0.300000 by 0.000040.",
        ),
    ],
)
def test_a_floor_speaks_in_a_sentence_with_enough_digits(value, floor, message):
    policy = GatePolicy(min_average_precision=floor)
    found = result("average_precision_floor", policy, candidate=metrics(average_precision=value))
    assert found.message == message
    assert found.value - found.threshold == pytest.approx(found.margin)


@pytest.mark.parametrize(
    ("difference", "deviation", "said"),
    [
        (0.02, 0.006, "against the champion's 0.730: difference +0.020 (95% interval +0.008 to +0.032), no loss."),
        (-0.005, 0.006, "difference -0.0050 (95% interval -0.017 to +0.007), within the 0.0100 that it may lose."),
        (-0.011, 0.006, "difference -0.0110 (95% interval -0.023 to +0.001), more than the 0.0100 that it may lose, "
         "but chance could explain it."),
        (-0.02, 0.006, "difference -0.020 (95% interval -0.032 to -0.008), more than the 0.010 that it may lose, "
         "and more than chance explains."),
        (-0.06, 0.04, "difference -0.060 (95% interval -0.138 to +0.018), a loss above 0.05, which fails even though "
         "chance could explain it."),
    ],
)  # fmt: skip
def test_the_regression_gate_tells_a_reviewer_how_sure_it_is(difference, deviation, said):
    message = result("no_regression", comparison=comparison(difference, deviation)).message
    assert message.startswith("On the same 67,000 rows, average precision 0.")
    assert message.endswith(said)


@EXAMPLES
@given(st.floats(-1, 1), st.floats(0, 0.5))
def test_every_result_passes_exactly_when_its_margin_is_not_negative(difference, deviation):
    verdict = judge(POLICY, evidence(comparison=comparison(difference, deviation, slices=(lost_in("de", difference),))))
    for one in verdict.gates:
        if one.applicable:
            assert one.passed == (one.margin >= 0)


def with_last(verdict, **changes):
    return (*verdict.gates[:-1], verdict.gates[-1].model_copy(update=changes))


def test_a_verdict_that_does_not_follow_from_its_own_gates_cannot_be_made():
    verdict = judge(POLICY, evidence())
    last = verdict.gates[-1].name
    for passed, results, why in (
        (True, with_last(verdict, passed=False), f"passed is True and the gates that failed are {last}"),
        (False, verdict.gates, "passed is False and the gates that failed are none"),
        (True, (*verdict.gates, verdict.gates[-1]), f"one result a gate, and {last} gave several"),
        (True, (), "at least 1 item"),
    ):
        with pytest.raises(ValidationError, match=why):
            Verdict(passed=passed, gates=results)
    Verdict(passed=True, gates=with_last(verdict, passed=False, severity="warn"))


def test_a_verdict_is_complete_with_every_gate_of_today_and_no_other_in_order_and_severity():
    verdict = judge(GatePolicy(advisory=("calibration",)), evidence())
    assert incomplete(verdict) == ()
    last = verdict.gates[-1].name
    for results, problem in (
        (verdict.gates[1:], f"{verdict.gates[0].name}: gave no result"),
        (with_last(verdict, name="of_before"), f"{last}: gave no result"),
        (with_last(verdict, name="of_before"), "of_before: is no gate of today"),
        (with_last(verdict, severity="warn"), f"{last}: only warns, and has to stop"),
        (verdict.gates[::-1], "the gates are in another order"),
    ):
        assert problem in incomplete(Verdict(passed=True, gates=results))


def enough_rows(policy, evidence):
    """A gate that a contributor adds."""
    rows = evidence.candidate.rows
    return Finding(rows, 100, rows - 100, f"The holdout has {rows:,} rows.")


def test_a_new_gate_is_one_row_and_verdicts_of_before_it_are_still_read(monkeypatch):
    before = judge(POLICY, evidence())
    monkeypatch.setitem(GATES, "enough_rows", Gate("The holdout has 100 rows.", enough_rows))
    today = judge(POLICY, evidence())
    assert (today.passed, today.gates[-1].name, today.gates[:-1]) == (True, "enough_rows", before.gates)
    assert Verdict.model_validate_json(before.model_dump_json()) == before
    assert (incomplete(before), incomplete(today)) == (("enough_rows: gave no result",), ())
    few = evidence(candidate=evidence().candidate.model_copy(update={"rows": 99}))
    assert [one.name for one in judge(POLICY, few).failed] == ["enough_rows"]


def test_a_stored_record_gives_the_same_verdict_again():
    first = evidence(fixed=comparison(-0.002), comparison=comparison(slices=(lost_in("de", -0.01),)))
    read = Evidence.model_validate_json(first.model_dump_json())
    assert judge(GatePolicy.model_validate_json(POLICY.model_dump_json()), read) == judge(POLICY, first)
    verdict = judge(POLICY, first)
    assert Verdict.model_validate_json(verdict.model_dump_json()) == verdict


def test_evidence_is_gathered_on_the_whole_holdout_and_compared_on_the_shared_days():
    random = np.random.default_rng(2)
    labels = (random.random(3000) < 0.05).astype(np.int8)
    scores = 1 / (1 + np.exp(-(random.normal(size=3000) + 3 * labels - 4)))
    labels = (random.random(3000) < scores).astype(np.int8)
    days = np.repeat(np.arange(3, dtype=np.int32), 1000)
    holdout = Judged(labels, scores, random.integers(0, 300, 3000), days, np.ones(3000))
    shared = holdout.where(days > 0)
    pair = Pair(shared, shared.with_scores(random.random(2000)))
    policy = GatePolicy(resamples=100)
    found = collect_evidence(policy, holdout=holdout, comparison=pair, importance={"a": 1, "b": 1}, fixed=holdout)
    assert (found.candidate.rows, found.candidate_compared.rows) == (3000, 2000)
    assert (found.champion.rows, found.comparison.rows) == (2000, 2000)
    assert found.fixed_candidate == found.candidate
    assert (found.fixed, found.fixed_champion) == (NO_FIXED_SET, None)
    assert found.scores.distinct == len(np.unique(scores))
    assert [one.name for one in judge(policy, found).gates if one.applicable and not one.passed] == []


@pytest.mark.parametrize("scores", [np.full(100, 0.05), np.full(100, np.nan)], ids=["constant", "not numbers"])
def test_a_candidate_with_degenerate_scores_is_judged_and_refused_without_an_error(scores):
    labels = np.r_[np.ones(10, np.int8), np.zeros(90, np.int8)]
    champion = Judged(labels, np.linspace(0.9, 0.1, 100), np.arange(100), np.zeros(100, np.int32), np.ones(100))
    candidate = champion.with_scores(scores)
    found = collect_evidence(
        POLICY, holdout=candidate, comparison=Pair(candidate, champion), importance={"a": 1, "b": 1}
    )
    assert {"average_precision_floor", "no_regression", "score_variety"} <= {
        g.name for g in judge(POLICY, found).failed
    }


def scored(labels, scores, days=None):
    from fraud_retraining_tests.support.judged_rows import judged

    return judged(labels, scores, days=days)


FRAUDS = np.array([1] * 25 + [0] * 75)


@pytest.mark.parametrize(
    ("fair", "champion", "clause"),
    [
        (np.zeros(100, dtype=bool), np.full(100, 0.2), "has learnt from every day"),
        (np.ones(100, dtype=bool), np.r_[np.full(99, 0.2), np.nan], "scores that are not numbers for 1 of 100 rows"),
        (np.arange(100) >= 6, np.full(100, 0.2), "hold 19 frauds, and gates.min_compared_frauds asks for 20"),
        (np.arange(100) >= 25, np.full(100, 0.2), "hold 0 frauds"),
    ],
)
def test_rows_that_cannot_compare_say_why(fair, champion, clause):
    found = comparable(scored(FRAUDS, np.linspace(0.9, 0.1, 100)), champion, fair, named="version 3", min_frauds=20)
    assert isinstance(found, NotCompared)
    assert "version 3" in found.reason and clause in found.reason


def test_both_are_compared_on_the_rows_that_neither_has_learnt_from():
    fair = np.arange(100) >= 5
    rival = np.linspace(0.1, 0.9, 100)
    found = comparable(scored(FRAUDS, np.linspace(0.9, 0.1, 100)), rival, fair, named="version 3", min_frauds=20)
    assert isinstance(found, Pair)
    assert (len(found.candidate), found.candidate.frauds) == (95, 20)
    assert found.champion.scores.tolist() == rival[fair].tolist()


@EXAMPLES
@given(
    difference=st.floats(-0.2, 0.2),
    deviation=st.floats(0.0001, 0.1),
    in_slice=st.floats(-0.3, 0.3),
    error=st.floats(0, 0.05),
    average_precision=st.floats(0, 1),
)
def test_value_threshold_and_margin_of_a_gate_are_one_quantity(
    difference, deviation, in_slice, error, average_precision
):
    """What a message shows as missed by so much is the distance of the value that it shows from the limit it shows."""
    found = evidence(
        candidate=metrics(average_precision=average_precision, calibration=calibrated(error)),
        comparison=comparison(difference, deviation, slices=(lost_in("a", in_slice, deviation),)),
    )
    for gate in judge(POLICY, found).gates:
        if gate.applicable:
            assert abs(gate.margin) == pytest.approx(abs(gate.value - gate.threshold), abs=1e-12), gate
            assert gate.passed == (gate.margin >= 0)


@pytest.mark.parametrize(
    ("difference", "deviation", "threshold", "margin"),
    [
        (-0.03043, 0.005, -0.01, -0.02043),  # proven worse: held against max_regression
        (-0.03043, 0.05, -0.05, 0.01957),  # chance could explain it: held against max_unproven_regression
        (-0.06, 0.05, -0.05, -0.01),
        (0.002, 0.05, -0.01, 0.012),
    ],
)
def test_a_difference_is_told_against_the_limit_that_it_was_held_against(difference, deviation, threshold, margin):
    regression = next(
        gate
        for gate in judge(POLICY, evidence(comparison=comparison(difference, deviation))).gates
        if gate.name == "no_regression"
    )
    assert (regression.threshold, regression.margin) == pytest.approx((threshold, margin))
