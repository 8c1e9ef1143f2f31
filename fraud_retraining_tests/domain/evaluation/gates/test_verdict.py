"""All gates together: what passes, what fails, and that a stored verdict can be judged again."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fraud_retraining.domain.evaluation.gates import (
    GATES,
    Evidence,
    Finding,
    Gate,
    GatePolicy,
    ScoreSummary,
    Verdict,
    incomplete,
    judge,
)
from fraud_retraining.domain.evaluation.metrics import Metrics
from fraud_retraining_tests.support.gate_evidence import (
    POLICY,
    calibrated,
    comparison,
    evidence,
    lost_in,
    metrics,
    result,
)

EXAMPLES = settings(deadline=None, max_examples=60)


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


def test_an_advisory_gate_warns_and_does_not_stop():
    bad = evidence(candidate=metrics(calibration=calibrated(error=0.02)))
    verdict = judge(GatePolicy(advisory=("calibration",)), bad)
    assert verdict.passed
    assert [(one.name, one.severity) for one in verdict.gates if not one.passed] == [("calibration", "warn")]


@EXAMPLES
@given(st.floats(-1, 1), st.floats(0, 0.5))
def test_every_result_passes_exactly_when_its_margin_is_not_negative(difference, deviation):
    verdict = judge(POLICY, evidence(comparison=comparison(difference, deviation, slices=(lost_in("de", difference),))))
    for one in verdict.gates:
        if one.applicable:
            assert one.passed == (one.margin >= 0)


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
        (with_last(verdict, name="of_before"), "of_before: is not a current gate"),
        (with_last(verdict, severity="warn"), f"{last}: only warns, and has to stop"),
        (verdict.gates[::-1], "the gates are in another order"),
    ):
        assert problem in incomplete(Verdict(passed=True, gates=results))


def test_a_stored_record_gives_the_same_verdict_again():
    first = evidence(fixed=comparison(-0.002), comparison=comparison(slices=(lost_in("de", -0.01),)))
    read = Evidence.model_validate_json(first.model_dump_json())
    assert judge(GatePolicy.model_validate_json(POLICY.model_dump_json()), read) == judge(POLICY, first)
    verdict = judge(POLICY, first)
    assert Verdict.model_validate_json(verdict.model_dump_json()) == verdict
