"""A verdict that lacks a gate, failed, is about another model, or is not the registered one lets nobody serve."""

from datetime import UTC, date, datetime
from typing import Any

import pytest

from fraud_retraining.domain.candidate import Evaluation
from fraud_retraining.domain.errors import GateFailed, IntegrityError
from fraud_retraining.domain.fingerprint import digest
from fraud_retraining.domain.gates import GATES, GateResult, Verdict
from fraud_retraining.domain.releases import Release, ReleaseState
from fraud_retraining.domain.verdicts import require_recorded_verdict, require_verdict
from fraud_retraining_tests.adapters.desks import an_evaluation

AS_OF = date(2026, 11, 20)
LEAK = "feature_importance"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def gates(**failed: str) -> tuple[GateResult, ...]:
    return tuple(
        GateResult(name=name, passed=name not in failed, message=failed.get(name, "It did."), value=0.5)
        for name in GATES
    )


def evaluation(verdict: Verdict | None = None, fingerprint: str = "f5") -> Evaluation:
    return an_evaluation(fingerprint, AS_OF, **({"verdict": verdict} if verdict else {}))


def release(judged: Evaluation, **more: Any) -> Release:
    values = {"verdict_digest": digest(judged.verdict), "verdict_passed": True, **more}
    return Release(
        model="fraud_detector",
        version=5,
        fingerprint="f5",
        as_of=AS_OF,
        trigger="schedule",
        state=ReleaseState.APPROVED,
        artifact_digest="d",
        opened_at=NOON,
        moved_at=NOON,
        moved_by="alice",
        **values,
    )


def test_a_complete_passed_verdict_about_this_model_is_enough():
    require_verdict(evaluation(), "f5")
    require_recorded_verdict(release(evaluation()), evaluation())


def test_a_failed_gate_is_named():
    failed = evaluation(Verdict(passed=False, gates=gates(**{LEAK: "One feature has it all."})))
    with pytest.raises(GateFailed) as caught:
        require_verdict(failed, "f5")
    assert caught.value.culprits == (f"{LEAK}: One feature has it all.",)


@pytest.mark.parametrize("kept", [0, 1, len(GATES) - 1])
def test_a_gate_without_a_result_has_failed(kept: int):
    with pytest.raises(GateFailed) as caught:
        require_verdict(evaluation(Verdict(passed=False, gates=gates()[:kept])), "f5")
    assert [culprit for culprit in caught.value.culprits if "gave no result" in culprit] == [
        f"{name}: gave no result" for name in list(GATES)[kept:]
    ]


def test_a_verdict_about_another_model_counts_for_nothing():
    with pytest.raises(GateFailed, match="did not pass") as caught:
        require_verdict(evaluation(), "another")
    assert caught.value.culprits == ("the verdict is about another fingerprint",)


@pytest.mark.parametrize(
    "recorded",
    [
        None,
        evaluation(Verdict(passed=True, gates=tuple(one.model_copy(update={"value": 0.6}) for one in gates()))),
        evaluation(Verdict(passed=False, gates=gates(**{LEAK: "It did not."}))),
    ],
    ids=["gone", "one number changed", "turned round"],
)
def test_a_record_that_is_not_what_was_registered_lets_nobody_serve(recorded: Evaluation | None):
    judged = evaluation(Verdict(passed=True, gates=gates()))
    with pytest.raises(IntegrityError, match="not the one it was registered with"):
        require_recorded_verdict(release(judged), recorded)


def test_a_release_without_a_verdicts_digest_lets_nobody_serve():
    with pytest.raises(IntegrityError) as caught:
        require_recorded_verdict(release(evaluation(), verdict_digest=""), evaluation())
    assert caught.value.culprits[0] == "registered none"


def test_a_failed_verdict_that_was_registered_as_such_is_not_promoted_either():
    failed = evaluation(Verdict(passed=False, gates=gates(**{LEAK: "It did not."})))
    with pytest.raises(GateFailed):
        require_recorded_verdict(release(failed), failed)


def test_the_digest_of_a_verdict_survives_the_record():
    """What was hashed as an object is read back as JSON."""
    judged = evaluation(Verdict(passed=True, gates=gates()))
    assert digest(Evaluation.model_validate(judged.model_dump(mode="json")).verdict) == digest(judged.verdict)
