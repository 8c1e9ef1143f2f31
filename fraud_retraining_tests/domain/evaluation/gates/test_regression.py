"""Candidate against champion: a loss fails when it is too much for chance, and equal models pass."""

import numpy as np
import pytest

from fraud_retraining.domain.evaluation.comparison import compare
from fraud_retraining.domain.evaluation.gates import (
    NO_CHAMPION,
    GatePolicy,
    NotCompared,
    judge,
)
from fraud_retraining.domain.evaluation.gates.regression import _regression
from fraud_retraining.domain.evaluation.judged import Judged, Pair
from fraud_retraining_tests.support.gate_evidence import POLICY, comparison, evidence, lost_in, metrics, result


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
        (-0.04, 0.03, True, "a holdout too noisy to decide"),
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
    return np.mean([_regression(POLICY, comparison(one, deviation)).margin >= 0 for one in drawn])


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
        noise: np.array([_regression(policy, simulated(seed, noise)).margin for seed in range(40)])
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


@pytest.mark.parametrize(
    ("difference", "deviation", "ending"),
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
def test_the_regression_gate_tells_a_reviewer_how_sure_it_is(difference, deviation, ending):
    message = result("no_regression", comparison=comparison(difference, deviation)).message
    assert message.startswith("On the same 67,000 rows, average precision 0.")
    assert message.endswith(ending)


@pytest.mark.parametrize(
    ("difference", "deviation", "threshold", "margin"),
    [
        (-0.03043, 0.005, -0.01, -0.02043),  # proven worse: held against max_regression
        (-0.03043, 0.05, -0.05, 0.01957),  # chance could explain it: held against max_unproven_regression
        (-0.06, 0.05, -0.05, -0.01),
        (0.002, 0.05, -0.01, 0.012),
    ],
)
def test_a_difference_is_reported_against_the_limit_that_it_was_held_against(difference, deviation, threshold, margin):
    regression = next(
        gate
        for gate in judge(POLICY, evidence(comparison=comparison(difference, deviation))).gates
        if gate.name == "no_regression"
    )
    assert (regression.threshold, regression.margin) == pytest.approx((threshold, margin))


def test_a_comparison_on_known_frauds_says_how_many_and_how_many_are_to_be_expected():
    young = metrics().model_copy(update={"expected_frauds": 1400.2})
    found = result("no_regression", candidate=young, champion=young)
    assert found.message.startswith("On the same 67,000 rows with 560 known frauds (1,400 to be expected), average")
    assert result("no_regression").message.startswith("On the same 67,000 rows, average precision")
