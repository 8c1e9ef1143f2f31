"""The desk: the first answer wins, a stranger is refused and recorded, and what is not what was judged never serves."""

import pickle
from datetime import timedelta
from pathlib import Path

import pytest

from fraud_retraining.adapters.ledger.event_log import EventKeys
from fraud_retraining.adapters.mlflow.model_artifact import read_files
from fraud_retraining.adapters.mlflow.tags import ARTIFACT_DIGEST
from fraud_retraining.domain.evaluation.gates import GATES, Finding, Gate, GateResult, Verdict
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.releases.release import ReleaseState
from fraud_retraining.domain.releases.reviewers import Proof, ReviewerPolicy
from fraud_retraining.domain.retraining.pauses import Automation
from fraud_retraining.domain.training.scoring import files_digest
from fraud_retraining.domain.values.errors import (
    Conflict,
    DependencyUnreachable,
    GateFailed,
    IntegrityError,
    NotPermitted,
    SettingsError,
)
from fraud_retraining.services.approvals import ReleaseApprovals
from fraud_retraining_tests.support.approvals_fixture import Backend, an_evaluation, require_invariants, touched
from fraud_retraining_tests.support.ledgers import person

S = ReleaseState
ALICE, BOB, MALLORY = person("alice"), person("bob", Proof.SLACK), person("mallory")
CLI = {"channel": "command line"}


def refusals(backend: Backend) -> list[tuple[str, str]]:
    events = backend.ledger.events(EventKind.DECISION_REFUSED)
    return [(event.actor, str(event.payload["refused"])) for event in events]


def test_an_approval_makes_the_candidate_champion_and_the_record_says_who_how_and_why(backend: Backend):
    backend.champion(0)
    candidate = backend.waiting(1)
    backend.approvals.pending()
    release = backend.approvals.approve(candidate.version, BOB, "looks right", channel="Slack")
    assert (release.state, backend.serving()) == (S.PROMOTED, candidate.version)
    assert (release.decided_by, release.decided_via) == ("bob", "Slack, Slack user")
    moved = [event.payload for event in backend.ledger.events(EventKind.RELEASE_MOVED, version=candidate.version)]
    identity = next(payload["identity"] for payload in moved if payload["to"] == "approved")
    assert identity == {"name": "bob", "verified": True, "how": "Slack user"}
    assert backend.ledger.last(EventKind.SMOKE_TESTED).payload == {"passed": True, "rows": 5, "problem": ""}
    assert backend.registry.candidate() is None
    require_invariants(backend)


def test_a_mere_name_is_recorded_as_unverified(backend: Backend):
    release = backend.approvals.approve(backend.waiting(0).version, ALICE, **CLI)
    assert release.decided_via == "command line, unverified"


def test_a_rejection_leaves_the_champion_and_takes_the_candidates_alias(backend: Backend):
    before = backend.champion(0)
    candidate = backend.waiting(1)
    backend.promoter.point_candidate()
    assert backend.registry.candidate().version == candidate.version
    release = backend.approvals.reject(candidate.version, ALICE, "scores jump", **CLI)
    assert (release.state, release.reason) == (S.REJECTED, "scores jump")
    assert (backend.serving(), backend.registry.candidate()) == (before.version, None)
    require_invariants(backend)


def test_a_rejection_needs_a_reason_and_no_mlflow(backend: Backend):
    version = backend.waiting(0).version
    with pytest.raises(SettingsError, match="without a reason"):
        backend.approvals.reject(version, ALICE, " ", **CLI)
    nowhere = backend.trained.__class__("http://127.0.0.1:9", "x", [], []).registry("x", timeout_seconds=4)
    offline = ReleaseApprovals(backend.ledger, nowhere, backend.policy)
    assert offline.reject(version, ALICE, "no", **CLI).state is S.REJECTED


def test_an_approval_without_mlflow_changes_nothing(backend: Backend):
    version = backend.waiting(0).version
    nowhere = backend.trained.__class__("http://127.0.0.1:9", "x", [], []).registry("x", timeout_seconds=4)
    with pytest.raises(DependencyUnreachable):
        ReleaseApprovals(backend.ledger, nowhere, backend.policy).approve(version, ALICE, **CLI)
    assert backend.states() == {version: "awaiting_approval"}
    assert refusals(backend) == [], "nobody was refused"
    assert backend.approvals.approve(version, ALICE, **CLI).state is S.PROMOTED


@pytest.mark.parametrize("second", ["approve", "reject"])
def test_the_second_answer_names_who_decided_and_when(backend: Backend, second: str):
    version = backend.waiting(0).version
    first = backend.approvals.approve(version, BOB, "fine", channel="Slack")
    with pytest.raises(Conflict, match=r"it was promoted by bob at 20\d\d-") as caught:
        getattr(backend.approvals, second)(version, ALICE, "because", **CLI)
    assert caught.value.exit_code == 5
    assert backend.ledger.release_by_version(version) == first
    assert [who for who, _ in refusals(backend)] == ["alice"]


def test_a_stranger_is_refused_recorded_and_downloads_nothing(backend: Backend):
    backend.policy = ReviewerPolicy(reviewers=("alice",))
    version = backend.waiting(0).version
    with touched(backend.trained.folders[0]) as folder:
        (folder / "MLmodel").unlink()
        for act in (backend.approvals.approve, backend.approvals.reject):
            with pytest.raises(NotPermitted, match="mallory is not a reviewer"):
                act(version, MALLORY, "because", **CLI)
    with pytest.raises(NotPermitted):
        backend.approvals.rollback(version, MALLORY, "because", **CLI)
    with pytest.raises(NotPermitted):
        backend.approvals.resume(Automation.PROMOTION, MALLORY, "because", **CLI)
    assert refusals(backend) == [("mallory", "mallory is not a reviewer")] * 4
    assert backend.states() == {version: "awaiting_approval"}


def test_who_is_turned_away_before_there_is_an_identity_is_recorded_too(backend: Backend):
    version = backend.waiting(0).version
    with pytest.raises(NotPermitted), backend.approvals.recording_refusals(version, "approve", "U0MALLORY", "Slack"):
        raise NotPermitted("U0MALLORY is not a reviewer")
    (event,) = backend.ledger.events(EventKind.DECISION_REFUSED)
    assert (event.actor, event.channel, event.version) == ("U0MALLORY", "Slack", version)


def test_ones_own_candidate_is_approved_by_somebody_else(backend: Backend):
    version = backend.waiting(0, trigger="manual", requested_by="alice").version
    with pytest.raises(NotPermitted, match="alice requested version"):
        backend.approvals.approve(version, ALICE, **CLI)
    assert backend.approvals.approve(version, BOB, **CLI).state is S.PROMOTED


def test_two_people_approve_on_two_channels(backend: Backend):
    backend.policy = ReviewerPolicy(two_person=True, reviewers=("alice", "bob"))
    version = backend.waiting(0).version
    first = backend.approvals.approve(version, ALICE, "fine", **CLI)
    assert (first.state, first.first_approval_by, backend.serving()) == (S.AWAITING_APPROVAL, "alice", None)
    with pytest.raises(Conflict, match="has approved version"):
        backend.approvals.approve(version, ALICE, "fine", **CLI)
    second = backend.approvals.approve(version, BOB, "fine too", channel="Slack")
    assert (second.state, second.decided_by, second.first_approval_by) == (S.PROMOTED, "bob", "alice")
    assert backend.kinds(EventKind.APPROVAL_RECORDED) == ["approval_recorded"]
    require_invariants(backend)


def test_an_unknown_version_is_refused_with_those_that_there_are(backend: Backend):
    backend.waiting(0)
    for act in (backend.approvals.approve, backend.approvals.reject):
        with pytest.raises(Conflict, match="no release of version 7") as caught:
            act(7, ALICE, "because", **CLI)
        assert "versions with a release: 1" in caught.value.remedy


# -- requests that come again, or too late


def test_a_link_works_once_and_only_with_a_decision_that_counts(backend: Backend):
    first, second = backend.waiting(0), backend.waiting(1)
    with pytest.raises(SettingsError):
        backend.approvals.reject(second.version, ALICE, "", nonce="n1", **CLI)
    backend.approvals.reject(second.version, ALICE, "because", nonce="n1", **CLI)
    third = backend.waiting(2)
    with pytest.raises(Conflict, match=r"this link was used by alice at 20\d\d-"):
        backend.approvals.approve(third.version, BOB, "", nonce="n1", **CLI)
    states = backend.states()
    assert [states[one.version] for one in (first, second, third)] == ["superseded", "rejected", "awaiting_approval"]
    backend.approvals.use_nonce("n2", "bob")
    with pytest.raises(Conflict, match="used by bob"):
        backend.approvals.use_nonce("n2", "alice")


def test_a_request_about_another_artifact_decides_nothing(backend: Backend):
    release = backend.waiting(0)
    for act in (backend.approvals.approve, backend.approvals.reject):
        with pytest.raises(Conflict, match="not the model that was shown"):
            act(release.version, ALICE, "because", expected_digest="0" * 64, **CLI)
    assert backend.states() == {release.version: "awaiting_approval"}
    digest = release.artifact_digest
    assert backend.approvals.approve(release.version, ALICE, expected_digest=digest, **CLI).state is S.PROMOTED


def test_after_the_deadline_the_answer_is_that_it_expired_and_nothing_waits(backend: Backend):
    release = backend.waiting(0, hours=1e-7)
    with pytest.raises(Conflict, match="expired"):
        backend.approvals.approve(release.version, ALICE, **CLI)
    assert backend.states() == {release.version: "expired"}
    assert backend.approvals.pending() == []


def test_what_waits_is_listed_and_what_was_superseded_is_not(backend: Backend):
    backend.waiting(0)
    newer = backend.waiting(1)
    assert [release.version for release in backend.approvals.pending()] == [newer.version]


# -- what is not what was judged


def _one_byte(folder: Path) -> None:
    path = next(folder.rglob("*.ubj"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def _half_gone(folder: Path) -> None:
    next(folder.rglob("*.ubj")).unlink()


def _pickle(folder: Path) -> None:
    (folder / "scorer.py").write_text(f"import pathlib\npathlib.Path({str(folder.parent / 'ran')!r}).touch()\n")
    (folder / "python_model.pkl").write_bytes(pickle.dumps(Exploding(str(folder.parent / "ran"))))


class Exploding:
    """Whoever unpickles it has run it."""

    def __init__(self, trace: str) -> None:
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (Path(self.trace),)


DAMAGE = {"one byte": _one_byte, "partial upload": _half_gone, "a pickle": _pickle}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_changed_artifact_is_neither_approved_nor_opened(backend: Backend, damage: str):
    champion = backend.champion(0)
    release = backend.waiting(1)
    with touched(backend.trained.folders[1]) as folder:
        DAMAGE[damage](folder)
        with pytest.raises(IntegrityError, match="not the one that was recorded; it was not opened"):
            backend.approvals.approve(release.version, ALICE, **CLI)
        assert not (folder.parent / "ran").exists()
    assert backend.states()[release.version] == "awaiting_approval"
    assert backend.serving() == champion.version
    assert [who for who, _ in refusals(backend)] == ["alice"]
    require_invariants(backend)


def test_an_artifact_that_was_changed_together_with_its_tag_is_refused_by_the_ledger(backend: Backend):
    release = backend.waiting(0)
    with touched(backend.trained.folders[0]) as folder:
        _one_byte(folder)
        backend.registry.set_version_tags(release.version, {ARTIFACT_DIGEST: files_digest(read_files(folder))})
        with pytest.raises(IntegrityError, match="tagged with another digest than the record"):
            backend.approvals.approve(release.version, ALICE, **CLI)
    assert backend.serving() is None


def _record_verdict(backend: Backend, model: int, verdict: Verdict) -> None:
    run = backend.trained.runs[model]
    evaluation = an_evaluation(run.fingerprint, backend.ledger.releases()[0].as_of, verdict=verdict)
    backend.ledger.append(
        EventKind.MODEL_EVALUATED,
        actor="mallory",
        keys=EventKeys(fingerprint=run.fingerprint),
        payload=evaluation.model_dump(mode="json"),
    )


def test_a_later_verdict_does_not_count_for_a_registered_version(backend: Backend):
    """What is verified is the verdict that the version was registered with."""
    release = backend.waiting(0)
    failed = tuple(GateResult(name=name, passed=False, message="No.") for name in GATES)
    _record_verdict(backend, 0, Verdict(passed=False, gates=failed))
    assert backend.approvals.approve(release.version, ALICE, **CLI).state is S.PROMOTED


def test_a_version_whose_recorded_verdict_is_another_one_cannot_be_approved(backend: Backend):
    for model, digest in ((0, ""), (1, "0" * 64)):
        release = backend.waiting(model, verdict_digest=digest)
        with pytest.raises(IntegrityError, match="not the one it was registered with"):
            backend.approvals.approve(release.version, ALICE, **CLI)
    assert backend.serving() is None


def test_a_candidate_from_before_a_gate_cannot_be_approved_and_a_champion_from_before_it_is_brought_back(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
):
    first, second, waiting = backend.champion(0), backend.champion(1), backend.waiting(2)
    fine = Gate("What was added.", lambda policy, evidence: Finding(1, 0, 1, "It did."))
    monkeypatch.setitem(GATES, "added", fine)
    with pytest.raises(GateFailed, match="added: gave no result"):
        backend.approvals.approve(waiting.version, ALICE, **CLI)
    assert backend.serving() == second.version
    backend.approvals.rollback(first.version, ALICE, "alerts doubled", **CLI)
    assert backend.serving() == first.version
    require_invariants(backend)


# -- the way back


def test_a_rollback_is_one_command_pauses_automatic_promotion_and_ends_by_resume(backend: Backend):
    first, second = backend.champion(0), backend.champion(1)
    release = backend.approvals.rollback(first.version, ALICE, "alerts doubled", **CLI)
    assert (release.state, backend.serving()) == (S.PROMOTED, first.version)
    assert backend.states()[second.version] == "rolled_back"
    pause = backend.ledger.pause(Automation.PROMOTION)
    assert pause is not None
    assert (pause.by, pause.reason) == ("alice", f"rolled back to version {first.version}: alerts doubled")
    ended = backend.approvals.resume(Automation.PROMOTION, BOB, "it was the lake", channel="Slack")
    assert ended == pause
    assert backend.ledger.pause(Automation.PROMOTION) is None
    assert backend.approvals.resume(Automation.PROMOTION, BOB, "again", channel="Slack") is None
    assert backend.kinds(EventKind.AUTOMATION_RESUMED) == ["automation_resumed"]
    require_invariants(backend)


def test_a_rollback_to_what_was_never_champion_or_has_no_reason_changes_nothing(backend: Backend):
    champion = backend.champion(0)
    candidate = backend.waiting(1)
    with pytest.raises(Conflict, match="never champion"):
        backend.approvals.rollback(candidate.version, ALICE, "because", **CLI)
    backend.champion(2)
    with pytest.raises(SettingsError, match="needs a reason"):
        backend.approvals.rollback(champion.version, ALICE, " ", **CLI)
    with pytest.raises(Conflict, match="no release of version 9"):
        backend.approvals.rollback(9, ALICE, "because", **CLI)
    assert backend.ledger.pause(Automation.PROMOTION) is None
    require_invariants(backend)


def test_a_rollback_to_a_damaged_version_is_refused(backend: Backend):
    first, second = backend.champion(0), backend.champion(1)
    with touched(backend.trained.folders[0]) as folder:
        _one_byte(folder)
        with pytest.raises(IntegrityError):
            backend.approvals.rollback(first.version, ALICE, "because", **CLI)
    assert backend.serving() == second.version
    require_invariants(backend)


def test_a_candidate_that_cannot_serve_is_reported_to_whoever_approved_it(backend: Backend):
    champion = backend.champion(0)
    release = backend.waiting(4)
    with pytest.raises(GateFailed, match=f"version {champion.version} serves again") as caught:
        backend.approvals.approve(release.version, ALICE, **CLI)
    assert caught.value.exit_code == 4
    assert backend.states() == {champion.version: "promoted", release.version: "rolled_back"}
    require_invariants(backend)


def test_time_left_is_judged_by_the_ledgers_clock(backend: Backend):
    release = backend.waiting(0, hours=2)
    assert abs(release.deadline - backend.ledger.now() - timedelta(hours=2)) < timedelta(minutes=1)
