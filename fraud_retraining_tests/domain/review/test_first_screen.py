"""The first screen says how a candidate stands, which gates did not pass, and which libraries moved."""

from datetime import UTC, datetime
from typing import Any

import pytest

from fraud_retraining.domain.audit.history import Change, Libraries, ReleaseHistory
from fraud_retraining.domain.evaluation.comparison import Comparison
from fraud_retraining.domain.evaluation.gates import GATES, NO_CHAMPION, GateResult, NotCompared, Verdict
from fraud_retraining.domain.evaluation.metrics import MetricsPolicy, metric_names
from fraud_retraining.domain.releases.candidate import Evaluation
from fraud_retraining.domain.releases.release import Release, ReleaseState
from fraud_retraining.domain.review.first_screen import METRICS, Standing, glossary, metric_name, review_summary
from fraud_retraining.domain.values.interval import Interval
from fraud_retraining_tests.support.reviews import AS_OF, evidence_of, fitted, review_report

AT = datetime(2026, 11, 24, 12, tzinfo=UTC)
PASSED = tuple(GateResult(name=name, passed=True, message="It did.") for name in GATES)


def a_history(comparison: Any = None, gates: tuple[GateResult, ...] = PASSED, libraries: Any = None) -> ReleaseHistory:
    """Version 4 beside version 1, with the comparison and the gates of a case."""
    evidence = evidence_of(fitted(), fitted("logistic_regression", ("amount", "count", "city")))
    failed = any(not gate.passed and gate.severity == "error" for gate in gates)
    release = Release(
        version=4,
        model="fraud_detector",
        fingerprint="f" * 64,
        as_of=AS_OF,
        trigger="schedule",
        state=ReleaseState.AWAITING_APPROVAL,
        artifact_digest="a" * 64,
        verdict_passed=True,
        opened_at=AT,
        moved_by="policy",
        moved_at=AT,
    )
    judged = Evaluation(
        as_of=AS_OF,
        fingerprint="f" * 64,
        champion_version=1,
        compared_days=(),
        evidence=evidence.model_copy(update={"comparison": comparison or evidence.comparison}),
        verdict=Verdict(passed=not failed, gates=gates),
    )
    nothing = dict.fromkeys(("asked", "window", "model", "making", "decision", "replaced"))
    return ReleaseHistory(release=release, evaluation=judged, steps=(), libraries=libraries, **nothing)


def compared(low: float, value: float, high: float) -> Comparison:
    one = Interval(value=0.8, low=0.7, high=0.9, deviation=0.01)
    difference = Interval(value=value, low=low, high=high, deviation=0.01)
    return Comparison(
        rows=9, frauds=3, candidate=one, champion=one, difference=difference, resamples=9, confidence=0.95
    )


@pytest.mark.parametrize(
    ("comparison", "standing", "expected"),
    [
        (compared(0.01, 0.02, 0.03), Standing.BETTER, "differs by +0.0200; 95% interval +0.0100 to +0.0300."),
        (compared(-0.03, -0.02, -0.01), Standing.WORSE, "differs by -0.0200"),
        (compared(-0.01, 0.02, 0.03), Standing.UNPROVEN, "which holds 0"),
        (compared(0.0, 0.02, 0.03), Standing.UNPROVEN, "which holds 0"),
        (NO_CHAMPION, Standing.FIRST, "It would be the first version that serves."),
        (NotCompared(reason="it has learnt from every day"), Standing.NOT_COMPARED, "It has learnt from every day."),
    ],
)
def test_the_standing_follows_from_the_interval(comparison: Any, standing: Standing, expected: str):
    found = review_summary(a_history(comparison), review_report())
    assert found is not None
    assert found.standing is standing and expected in found.sentence


def test_average_precision_has_the_interval_that_the_gate_decided_by_and_lower_errors_are_better():
    history = a_history(compared(0.01, 0.02, 0.03))
    found = review_summary(history, review_report())
    assert found is not None
    by_name = {one.metric: one for one in found.differences}
    assert by_name["average_precision"].interval == "+0.0100 to +0.0300"
    assert by_name["recall_at_1pct_fpr"].standing is Standing.BETTER
    worse = review_report().model_copy(
        update={"intervals": {"expected_calibration_error": review_report().intervals["average_precision"]}}
    )
    again = review_summary(history, worse)
    assert again is not None
    assert {one.metric: one.standing for one in again.differences}["expected_calibration_error"] is Standing.WORSE


def test_gates_that_did_not_pass_come_first_and_the_others_are_counted():
    changed = {
        0: {"applicable": False, "message": "Not compared: no day."},
        1: {"passed": False, "severity": "warn", "message": "Nearly."},
        2: {"passed": False, "message": "Too low."},
    }
    gates = tuple(gate.model_copy(update=changed.get(place, {})) for place, gate in enumerate(PASSED))
    found = review_summary(a_history(gates=gates), review_report())
    assert found is not None
    assert [line.result for line in found.lines] == ["failed", "warning", "not applicable"]
    assert found.gates == f"1 of {len(gates) - 1} gates failed, 1 did not apply"


@pytest.mark.parametrize(
    ("libraries", "expected"),
    [
        (None, "The record does not say by which libraries it was made."),
        (Libraries(compared=False), "No champion to compare libraries with."),
        (Libraries(compared=True), "Same libraries as version 1."),
        (
            Libraries(compared=True, unnamed=True),
            "Same libraries as version 1, but for packages that neither fit nor score.",
        ),
        (
            Libraries(compared=True, moved=(Change(what="xgboost", before="3.1", after="3.2"),)),
            "Libraries moved since version 1: xgboost 3.1 \u2192 3.2.",
        ),
        (
            Libraries(compared=True, moved=tuple(Change(what=f"p{n}", before="1", after="2") for n in range(9))),
            "Libraries moved since version 1: p0 1 \u2192 2, p1 1 \u2192 2, p2 1 \u2192 2 and 6 more.",
        ),
    ],
)
def test_libraries_are_a_line(libraries: Libraries | None, expected: str):
    found = review_summary(a_history(libraries=libraries), review_report())
    assert found is not None
    assert found.libraries == expected


def test_every_metric_and_gate_is_explained():
    explained = dict(glossary())
    for name in metric_names(MetricsPolicy(alert_budget=7)):
        assert any(name.startswith(start) for start in METRICS), name
    assert metric_name("card_precision_at_7") == "card precision@7"
    assert sum(name.startswith("gate: ") for name in explained) == len(GATES)


def test_without_a_verdict_there_is_no_first_screen():
    assert review_summary(a_history().model_copy(update={"evaluation": None}), None) is None
