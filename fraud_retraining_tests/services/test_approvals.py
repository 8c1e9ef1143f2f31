"""The desk: the first answer wins, a stranger is refused and recorded, and what is not what was judged never serves."""

import pickle
from datetime import timedelta
from pathlib import Path

import pytest

from fraud_retraining.adapters.mlflow.model_artifact import read_files
from fraud_retraining.adapters.mlflow.registry import ARTIFACT_DIGEST
from fraud_retraining.domain.evaluation.gates import GATES, GateResult, Verdict
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.releases.lifecycle import ReleaseState
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
from fraud_retraining.services.approvals import ReleaseDesk
from fraud_retraining_tests.support.approvals_fixture import World, an_evaluation, require_invariants, touched
from fraud_retraining_tests.support.ledgers import person

S = ReleaseState
ALICE, BOB, MALLORY = person("alice"), person("bob", Proof.SLACK), person("mallory")
CLI = {"channel": "command line"}


def refusals(world: World) -> list[tuple[str, str]]:
    events = world.ledger.events(EventKind.DECISION_REFUSED)
    return [(event.actor, str(event.payload["refused"])) for event in events]


def test_an_approval_makes_the_candidate_champion_and_the_record_says_who_how_and_why(world: World):
    world.champion(0)
    candidate = world.waiting(1)
    world.desk.pending()
    release = world.desk.approve(candidate.version, BOB, "looks right", channel="Slack")
    assert (release.state, world.serving()) == (S.PROMOTED, candidate.version)
    assert (release.decided_by, release.decided_via) == ("bob", "Slack, Slack user")
    moved = [event.payload for event in world.ledger.events(EventKind.RELEASE_MOVED, version=candidate.version)]
    identity = next(payload["identity"] for payload in moved if payload["to"] == "approved")
    assert identity == {"name": "bob", "verified": True, "how": "Slack user"}
    assert world.ledger.last(EventKind.SMOKE_TESTED).payload == {"passed": True, "rows": 5, "problem": ""}
    assert world.registry.candidate() is None
    require_invariants(world)


def test_a_mere_name_is_recorded_as_unverified(world: World):
    release = world.desk.approve(world.waiting(0).version, ALICE, **CLI)
    assert release.decided_via == "command line, unverified"


def test_a_rejection_leaves_the_champion_and_takes_the_candidates_alias(world: World):
    before = world.champion(0)
    candidate = world.waiting(1)
    world.publisher.point_candidate()
    assert world.registry.candidate().version == candidate.version
    release = world.desk.reject(candidate.version, ALICE, "scores jump", **CLI)
    assert (release.state, release.reason) == (S.REJECTED, "scores jump")
    assert (world.serving(), world.registry.candidate()) == (before.version, None)
    require_invariants(world)


def test_a_rejection_needs_a_reason_and_no_mlflow(world: World):
    version = world.waiting(0).version
    with pytest.raises(SettingsError, match="without a reason"):
        world.desk.reject(version, ALICE, " ", **CLI)
    nowhere = world.trained.__class__("http://127.0.0.1:9", "x", [], []).registry("x", timeout_seconds=4)
    offline = ReleaseDesk(world.ledger, nowhere, world.policy)
    assert offline.reject(version, ALICE, "no", **CLI).state is S.REJECTED


def test_an_approval_without_mlflow_changes_nothing(world: World):
    version = world.waiting(0).version
    nowhere = world.trained.__class__("http://127.0.0.1:9", "x", [], []).registry("x", timeout_seconds=4)
    with pytest.raises(DependencyUnreachable):
        ReleaseDesk(world.ledger, nowhere, world.policy).approve(version, ALICE, **CLI)
    assert world.states() == {version: "awaiting_approval"}
    assert refusals(world) == [], "nobody was refused"
    assert world.desk.approve(version, ALICE, **CLI).state is S.PROMOTED


@pytest.mark.parametrize("second", ["approve", "reject"])
def test_the_second_answer_is_told_who_decided_and_when(world: World, second: str):
    version = world.waiting(0).version
    first = world.desk.approve(version, BOB, "fine", channel="Slack")
    with pytest.raises(Conflict, match=r"it was promoted by bob at 20\d\d-") as caught:
        getattr(world.desk, second)(version, ALICE, "because", **CLI)
    assert caught.value.exit_code == 5
    assert world.ledger.release_by_version(version) == first
    assert [who for who, _ in refusals(world)] == ["alice"]


def test_a_stranger_is_refused_recorded_and_downloads_nothing(world: World):
    world.policy = ReviewerPolicy(reviewers=("alice",))
    version = world.waiting(0).version
    with touched(world.trained.folders[0]) as folder:
        (folder / "MLmodel").unlink()
        for act in (world.desk.approve, world.desk.reject):
            with pytest.raises(NotPermitted, match="mallory is not a reviewer"):
                act(version, MALLORY, "because", **CLI)
    with pytest.raises(NotPermitted):
        world.desk.rollback(version, MALLORY, "because", **CLI)
    with pytest.raises(NotPermitted):
        world.desk.resume(Automation.PROMOTION, MALLORY, "because", **CLI)
    assert refusals(world) == [("mallory", "mallory is not a reviewer")] * 4
    assert world.states() == {version: "awaiting_approval"}


def test_who_is_turned_away_before_there_is_an_identity_is_recorded_too(world: World):
    version = world.waiting(0).version
    with pytest.raises(NotPermitted), world.desk.recording_refusals(version, "approve", "U0MALLORY", "Slack"):
        raise NotPermitted("U0MALLORY is not a reviewer")
    (event,) = world.ledger.events(EventKind.DECISION_REFUSED)
    assert (event.actor, event.channel, event.version) == ("U0MALLORY", "Slack", version)


def test_ones_own_candidate_is_approved_by_somebody_else(world: World):
    version = world.waiting(0, trigger="manual", requested_by="alice").version
    with pytest.raises(NotPermitted, match="alice asked for version"):
        world.desk.approve(version, ALICE, **CLI)
    assert world.desk.approve(version, BOB, **CLI).state is S.PROMOTED


def test_two_people_approve_on_two_channels(world: World):
    world.policy = ReviewerPolicy(two_person=True, reviewers=("alice", "bob"))
    version = world.waiting(0).version
    first = world.desk.approve(version, ALICE, "fine", **CLI)
    assert (first.state, first.first_approval_by, world.serving()) == (S.AWAITING_APPROVAL, "alice", None)
    with pytest.raises(Conflict, match="has approved version"):
        world.desk.approve(version, ALICE, "fine", **CLI)
    second = world.desk.approve(version, BOB, "fine too", channel="Slack")
    assert (second.state, second.decided_by, second.first_approval_by) == (S.PROMOTED, "bob", "alice")
    assert world.kinds(EventKind.APPROVAL_RECORDED) == ["approval_recorded"]
    require_invariants(world)


def test_an_unknown_version_is_told_which_there_are(world: World):
    world.waiting(0)
    for act in (world.desk.approve, world.desk.reject):
        with pytest.raises(Conflict, match="no release of version 7") as caught:
            act(7, ALICE, "because", **CLI)
        assert "versions with a release: 1" in caught.value.remedy


# -- requests that come again, or too late


def test_a_link_works_once_and_only_with_a_decision_that_counts(world: World):
    first, second = world.waiting(0), world.waiting(1)
    with pytest.raises(SettingsError):
        world.desk.reject(second.version, ALICE, "", nonce="n1", **CLI)
    world.desk.reject(second.version, ALICE, "because", nonce="n1", **CLI)
    third = world.waiting(2)
    with pytest.raises(Conflict, match=r"this link was used by alice at 20\d\d-"):
        world.desk.approve(third.version, BOB, "", nonce="n1", **CLI)
    states = world.states()
    assert [states[one.version] for one in (first, second, third)] == ["superseded", "rejected", "awaiting_approval"]
    world.desk.use_nonce("n2", "bob")
    with pytest.raises(Conflict, match="used by bob"):
        world.desk.use_nonce("n2", "alice")


def test_a_request_about_another_artifact_decides_nothing(world: World):
    release = world.waiting(0)
    for act in (world.desk.approve, world.desk.reject):
        with pytest.raises(Conflict, match="not the model that was asked about"):
            act(release.version, ALICE, "because", expected_digest="0" * 64, **CLI)
    assert world.states() == {release.version: "awaiting_approval"}
    digest = release.artifact_digest
    assert world.desk.approve(release.version, ALICE, expected_digest=digest, **CLI).state is S.PROMOTED


def test_after_the_deadline_the_answer_is_that_it_expired_and_nothing_waits(world: World):
    release = world.waiting(0, hours=1e-7)
    with pytest.raises(Conflict, match="expired"):
        world.desk.approve(release.version, ALICE, **CLI)
    assert world.states() == {release.version: "expired"}
    assert world.desk.pending() == []


def test_what_waits_is_listed_and_what_was_superseded_is_not(world: World):
    world.waiting(0)
    newer = world.waiting(1)
    assert [release.version for release in world.desk.pending()] == [newer.version]


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
def test_a_changed_artifact_is_neither_approved_nor_opened(world: World, damage: str):
    champion = world.champion(0)
    release = world.waiting(1)
    with touched(world.trained.folders[1]) as folder:
        DAMAGE[damage](folder)
        with pytest.raises(IntegrityError, match="not the one that was recorded; it was not opened"):
            world.desk.approve(release.version, ALICE, **CLI)
        assert not (folder.parent / "ran").exists()
    assert world.states()[release.version] == "awaiting_approval"
    assert world.serving() == champion.version
    assert [who for who, _ in refusals(world)] == ["alice"]
    require_invariants(world)


def test_an_artifact_that_was_changed_together_with_its_tag_is_refused_by_the_ledger(world: World):
    release = world.waiting(0)
    with touched(world.trained.folders[0]) as folder:
        _one_byte(folder)
        world.registry.set_version_tags(release.version, {ARTIFACT_DIGEST: files_digest(read_files(folder))})
        with pytest.raises(IntegrityError, match="tagged with another digest than the record"):
            world.desk.approve(release.version, ALICE, **CLI)
    assert world.serving() is None


def _record_verdict(world: World, model: int, verdict: Verdict) -> None:
    run = world.trained.runs[model]
    told = an_evaluation(run.fingerprint, world.ledger.releases()[0].as_of, verdict=verdict)
    world.ledger.append(
        EventKind.MODEL_EVALUATED, actor="mallory", fingerprint=run.fingerprint, payload=told.model_dump(mode="json")
    )


def test_a_later_verdict_does_not_count_for_a_registered_version(world: World):
    """What is verified is the verdict that the version was registered with."""
    release = world.waiting(0)
    failed = tuple(GateResult(name=name, passed=False, message="No.") for name in GATES)
    _record_verdict(world, 0, Verdict(passed=False, gates=failed))
    assert world.desk.approve(release.version, ALICE, **CLI).state is S.PROMOTED


def test_a_version_whose_recorded_verdict_is_another_one_cannot_be_approved(world: World):
    for model, digest in ((0, ""), (1, "0" * 64)):
        release = world.waiting(model, verdict_digest=digest)
        with pytest.raises(IntegrityError, match="not the one it was registered with"):
            world.desk.approve(release.version, ALICE, **CLI)
    assert world.serving() is None


# -- the way back


def test_a_rollback_is_one_command_pauses_automatic_promotion_and_ends_by_resume(world: World):
    first, second = world.champion(0), world.champion(1)
    release = world.desk.rollback(first.version, ALICE, "alerts doubled", **CLI)
    assert (release.state, world.serving()) == (S.PROMOTED, first.version)
    assert world.states()[second.version] == "rolled_back"
    pause = world.ledger.pause(Automation.PROMOTION)
    assert pause is not None
    assert (pause.by, pause.reason) == ("alice", f"rolled back to version {first.version}: alerts doubled")
    ended = world.desk.resume(Automation.PROMOTION, BOB, "it was the lake", channel="Slack")
    assert ended == pause
    assert world.ledger.pause(Automation.PROMOTION) is None
    assert world.desk.resume(Automation.PROMOTION, BOB, "again", channel="Slack") is None
    assert world.kinds(EventKind.AUTOMATION_RESUMED) == ["automation_resumed"]
    require_invariants(world)


def test_a_rollback_to_what_was_never_champion_or_has_no_reason_changes_nothing(world: World):
    champion = world.champion(0)
    candidate = world.waiting(1)
    with pytest.raises(Conflict, match="never champion"):
        world.desk.rollback(candidate.version, ALICE, "because", **CLI)
    world.champion(2)
    with pytest.raises(SettingsError, match="needs a reason"):
        world.desk.rollback(champion.version, ALICE, " ", **CLI)
    with pytest.raises(Conflict, match="no release of version 9"):
        world.desk.rollback(9, ALICE, "because", **CLI)
    assert world.ledger.pause(Automation.PROMOTION) is None
    require_invariants(world)


def test_a_rollback_to_a_damaged_version_is_refused(world: World):
    first, second = world.champion(0), world.champion(1)
    with touched(world.trained.folders[0]) as folder:
        _one_byte(folder)
        with pytest.raises(IntegrityError):
            world.desk.rollback(first.version, ALICE, "because", **CLI)
    assert world.serving() == second.version
    require_invariants(world)


def test_a_candidate_that_cannot_serve_is_told_to_whoever_approved_it(world: World):
    champion = world.champion(0)
    release = world.waiting(4)
    with pytest.raises(GateFailed, match=f"version {champion.version} serves again") as caught:
        world.desk.approve(release.version, ALICE, **CLI)
    assert caught.value.exit_code == 4
    assert world.states() == {champion.version: "promoted", release.version: "rolled_back"}
    require_invariants(world)


def test_time_left_is_judged_by_the_ledgers_clock(world: World):
    release = world.waiting(0, hours=2)
    assert abs(release.deadline - world.ledger.now() - timedelta(hours=2)) < timedelta(minutes=1)
