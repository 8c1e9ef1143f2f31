"""A verdict that lacks a gate, failed, is about another model, or is not the registered one lets nobody serve."""

from datetime import UTC, date, datetime
from typing import Any

import pytest

from fraud_retraining.domain.evaluation.agreement import Agreement
from fraud_retraining.domain.evaluation.gates import GATES, Evidence, Finding, Gate, GatePolicy, GateResult, Verdict
from fraud_retraining.domain.releases.candidate import Evaluation, ModelFit, Refit, ServingFit
from fraud_retraining.domain.releases.promotion_mode import POLICY
from fraud_retraining.domain.releases.release import Release, ReleaseState
from fraud_retraining.domain.releases.verdict_checks import (
    floors_missed,
    outcome_of,
    require_recorded_verdict,
    require_registrable,
    require_verdict,
    why_human,
)
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.domain.values.digests import digest
from fraud_retraining.domain.values.errors import GateFailed, IntegrityError
from fraud_retraining_tests.support.approvals_fixture import an_evaluation

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


@pytest.mark.parametrize("kept", [1, len(GATES) - 1])
@pytest.mark.parametrize("require", [require_verdict, require_registrable])
def test_a_gate_without_a_result_has_failed(require: Any, kept: int):
    with pytest.raises(GateFailed) as caught:
        require(evaluation(Verdict(passed=True, gates=gates()[:kept])), "f5")
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


BETTER = {"low": 0.01, "high": 0.05}
NOT_COMPARED = "Not compared: champion version 3 has learnt from every day that judges this candidate."


def verdict(compared: dict[str, float] | None = None, *, applicable: bool = True, **failed: str) -> Verdict:
    """A verdict in which the named gates have failed; `compared` are the numbers of the gate against the champion."""
    comparison = {
        "numbers": compared or {},
        "applicable": applicable,
        **({} if applicable else {"message": NOT_COMPARED}),
    }
    changed = tuple(
        one.model_copy(update=comparison) if one.name == "no_regression" else one for one in gates(**failed)
    )
    return Verdict(passed=not failed, gates=changed)


FLOOR = {"average_precision_floor": "Average precision 0.166 is below the floor 0.300 by 0.134."}


@pytest.mark.parametrize(
    ("judged", "missed", "word"),
    [
        (verdict(BETTER), (), "passed"),
        (verdict(BETTER, **FLOOR), ("average_precision_floor",), "below_floor"),
        (verdict(BETTER, **FLOOR, roc_auc_floor="Too low."), (*FLOOR, "roc_auc_floor"), "below_floor"),
        (verdict({"low": 0.0, "high": 0.05}, **FLOOR), (), "gate_failed"),  # it may be as good as the champion
        (verdict({"low": -0.01, "high": 0.05}, **FLOOR), (), "gate_failed"),
        (verdict({}, **FLOOR), (), "gate_failed"),  # nothing was measured
        (verdict(BETTER, applicable=False, **FLOOR), (), "gate_failed"),  # there is no champion to be better than
        (verdict(BETTER, **FLOOR, **{LEAK: "It did not."}), (), "gate_failed"),
        (verdict(BETTER, no_regression="It is worse."), (), "gate_failed"),
    ],
)
def test_only_missed_floors_of_a_proven_better_candidate_can_be_excepted(
    judged: Verdict, missed: tuple[str, ...], word: str
):
    assert floors_missed(judged) == missed
    assert outcome_of(judged) == word
    if judged.passed or missed:
        require_verdict(evaluation(judged), "f5")
    else:
        with pytest.raises(GateFailed):
            require_verdict(evaluation(judged), "f5")


def test_an_exception_of_a_floor_does_not_make_up_for_a_gate_that_gave_no_result():
    judged = evaluation(Verdict(passed=False, gates=verdict(BETTER, **FLOOR).gates[:-1]))
    for require in (require_verdict, require_registrable):
        with pytest.raises(GateFailed, match=f"{LEAK}: gave no result"):
            require(judged, "f5")


def test_a_gate_that_only_warns_where_it_has_to_stop_lets_nobody_through():
    weak = tuple(
        one.model_copy(update={"severity": "warn"}) if one.name == LEAK else one for one in gates(**{LEAK: "No."})
    )
    with pytest.raises(GateFailed, match=f"{LEAK}: only warns"):
        require_registrable(evaluation(Verdict(passed=True, gates=weak)), "f5")


def test_a_floor_that_gave_no_result_is_not_one_that_was_missed():
    unmeasured = tuple(
        one.model_copy(update={"value": None}) if one.name in FLOOR else one for one in verdict(BETTER, **FLOOR).gates
    )
    assert floors_missed(Verdict(passed=False, gates=unmeasured)) == ()


def against(champion: int | None, judged: Verdict) -> Evaluation:
    return evaluation(judged).model_copy(update={"champion_version": champion})


@pytest.mark.parametrize(
    ("judged", "serving", "clause"),
    [
        (against(3, verdict(BETTER)), 3, None),
        (against(None, verdict(applicable=False)), None, None),  # the first model: there is nobody to compare with
        (against(3, verdict(applicable=False)), 3, "it was not compared with version 3"),
        (against(3, verdict(BETTER)), 4, "it was judged against version 3, and version 4 serves now"),
        (against(None, verdict(applicable=False)), 3, "judged against no champion, and version 3 serves now"),
        (against(3, verdict(BETTER)), None, "judged against version 3, and no champion serves now"),
        (against(3, verdict(BETTER, **FLOOR)), 3, "below the floor 0.300"),
    ],
)
def test_a_human_decides_where_nothing_was_compared_or_a_floor_is_missed(
    judged: Evaluation, serving: int | None, clause: str | None
):
    why = why_human(judged, serving)
    assert why is None if clause is None else clause in (why or "")


def test_what_was_not_compared_is_not_promoted_by_policy_whatever_its_row_says():
    """The recorded verdict decides, not the release's own words; what has served may be brought back."""
    judged = against(3, verdict(applicable=False))
    with pytest.raises(GateFailed, match="not compared with version 3"):
        require_recorded_verdict(release(judged, decided_by=POLICY), judged)
    require_recorded_verdict(release(judged, decided_by="alice"), judged)
    require_recorded_verdict(release(judged, decided_by=POLICY, promoted_at=NOON), judged)


def test_an_older_candidate_than_the_champion_is_registered_with_its_failed_gates_but_never_promoted():
    failed = against(3, verdict(**{LEAK: "It did not."}))
    older = failed.model_copy(update={"newer_champion": 9})
    require_registrable(older, "f5")
    assert why_human(older, 9) is None
    with pytest.raises(GateFailed):
        require_recorded_verdict(release(older), older)
    for refused, fingerprint in ((failed, "f5"), (older, "another")):
        with pytest.raises(GateFailed):
            require_registrable(refused, fingerprint)


def added(policy: GatePolicy, evidence: Evidence) -> Finding:
    return Finding(1, 0, 1, "It did.")


def test_a_gate_that_was_added_since_stops_candidates_and_not_the_way_back(monkeypatch: pytest.MonkeyPatch):
    judged, excepted = against(3, verdict(BETTER)), against(3, verdict(BETTER, **FLOOR))
    monkeypatch.setitem(GATES, "added", Gate("What was added.", added))
    for before in (judged, excepted):
        for candidate in (before, before.model_copy(update={"newer_champion": 9})):
            with pytest.raises(GateFailed, match="added: gave no result"):
                require_registrable(candidate, "f5")
        with pytest.raises(GateFailed, match="added: gave no result"):
            require_recorded_verdict(release(before, decided_by="alice"), before)
        require_recorded_verdict(release(before, decided_by="alice", promoted_at=NOON), before)


def test_what_is_registered_with_this_verdict_is_not_registered_anew_and_not_refused(monkeypatch: pytest.MonkeyPatch):
    judged = evaluation()
    known = release(judged)
    monkeypatch.setitem(GATES, "added", Gate("What was added.", added))
    require_registrable(judged, "f5", known)
    for refused, fingerprint, whose in (
        (judged, "f5", release(judged, verdict_digest="of another verdict")),
        (judged, "another", known),
    ):
        with pytest.raises(GateFailed):
            require_registrable(refused, fingerprint, whose)


def test_a_failed_gate_that_is_left_out_of_the_record_is_found_on_the_way_back_too():
    failed = Verdict(passed=False, gates=gates(**{LEAK: "It did not."}))
    left_out = evaluation(Verdict(passed=True, gates=tuple(one for one in failed.gates if one.name != LEAK)))
    with pytest.raises(IntegrityError, match="not the one it was registered with"):
        require_recorded_verdict(release(evaluation(failed), promoted_at=NOON), left_out)


def days(first: int, last: int) -> DayRange:
    return DayRange(start=date(2026, 10, first), end=date(2026, 10, last))


def alike(problem: str = "") -> Agreement:
    return Agreement(
        first=AS_OF,
        last=AS_OF,
        rows=10,
        rank_correlation=0.9,
        alert_ratio=1.0,
        calibration_difference=0.0,
        problems=(problem,) if problem else (),
    )


SECOND = ModelFit(fingerprint="s", run_id="r", artifact_digest="d", training=days(1, 20))


@pytest.mark.parametrize(
    ("judged", "beside", "serves", "said"),
    [
        ("", None, True, "it agrees with the judged one"),
        ("ranks differ", "", True, "it agrees with the second fit that serves"),
        ("ranks differ", "alerts differ", False, "nor does it agree with the second fit that serves"),
        ("ranks differ", None, False, "the judged fit is released"),
    ],
)
def test_a_second_fit_has_to_agree_with_the_judged_one_or_with_the_one_that_serves(
    judged: str, beside: str | None, serves: bool, said: str
) -> None:
    serving = ServingFit(training=days(1, 18), agreement=None if beside is None else alike(beside))
    refit = Refit.decided(SECOND, alike(judged), days(1, 13), serving)
    assert refit.serves is serves
    assert said in refit.summary
    assert refit.falls_behind is not serves, "the fit that serves has learnt up to the 18th"


@pytest.mark.parametrize(("learnt", "asked"), [(12, False), (13, False), (14, True)])
def test_a_judged_fit_that_has_learnt_less_than_what_serves_waits_for_a_person(learnt: int, asked: bool) -> None:
    serving = ServingFit(training=days(1, learnt), agreement=alike("alerts differ"))
    refit = Refit.decided(SECOND, alike("ranks differ"), days(1, 13), serving)
    judged = evaluation().model_copy(update={"refit": refit})
    why = why_human(judged, judged.champion_version)
    assert (why is not None) is asked
    assert why is None or "has learnt up to 2026-10-13 only, version" in why


def test_a_refit_of_before_has_the_digest_that_it_had() -> None:
    before = Refit(fit=SECOND, agreement=alike(), serves=True)
    assert set(before.model_dump()) == {"fit", "agreement", "serves"}
    assert not before.falls_behind
