"""What somebody who reaches MLflow can change: nothing of it is acted on, and none of it is run."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fraud_retraining.adapters.ledger.chain_heads import HeadFile
from fraud_retraining.adapters.ledger.decisions import ReviewerDecision
from fraud_retraining.adapters.ledger.event_log import EventKeys
from fraud_retraining.adapters.mlflow.model_artifact import read_files
from fraud_retraining.adapters.mlflow.tags import ARTIFACT_DIGEST, AS_OF, FINGERPRINT, TRAINED_ON
from fraud_retraining.adapters.mlflow.versions import NewVersion
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.ledger.hash_chain import Head
from fraud_retraining.domain.releases.promotion_mode import PromotionPolicy
from fraud_retraining.domain.releases.release import Decision, ReleaseState
from fraud_retraining.domain.releases.reviewers import Identity, Proof, ReviewerPolicy
from fraud_retraining.domain.retraining.pauses import Automation
from fraud_retraining.domain.training.scoring import files_digest
from fraud_retraining.domain.values.errors import (
    ChampionLost,
    Conflict,
    IntegrityError,
    NotPermitted,
    RecordAltered,
)
from fraud_retraining.services.recorded_versions import beside_registry, recorded_champion, recorded_digests
from fraud_retraining.services.smoke_test import smoke_test
from fraud_retraining_tests.support.approvals_fixture import Backend, touched
from fraud_retraining_tests.support.registries import a_window
from fraud_retraining_tests.support.tampering import run_sql

ALICE = Identity(name="alice", how=Proof.NOTHING)
CLI = {"channel": "cli"}
S = ReleaseState


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """Address of the ledger."""
    return f"sqlite:///{tmp_path}/ledger.db"


@pytest.fixture
def served(backend: Backend) -> Backend:
    """Version 1 serves; what it has learnt from is in the ledger."""
    release = backend.champion(0)
    trained = {"training": a_window().days.training.model_dump(mode="json"), "artifact_digest": release.artifact_digest}
    keys = EventKeys(fingerprint=release.fingerprint, as_of=release.as_of)
    backend.ledger.append(EventKind.MODEL_TRAINED, payload=trained, actor="pipeline", keys=keys)
    return backend


def test_the_champion_is_what_the_chain_says(served: Backend):
    champion = recorded_champion(served.registry, served.ledger)
    assert champion is not None and champion.trained_on == a_window().days.training
    assert beside_registry(served.registry, served.ledger) == []


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        (TRAINED_ON, "2000-01-01/2000-01-02"),
        (ARTIFACT_DIGEST, "0" * 64),
        (FINGERPRINT, "f" * 64),
        (AS_OF, "2030-01-01"),
    ],
)
def test_an_edited_tag_is_refused_by_name(served: Backend, tag: str, value: str):
    served.registry.set_version_tags(1, {tag: value})
    with pytest.raises(RecordAltered, match="is not in MLflow what the ledger recorded") as refusal:
        recorded_champion(served.registry, served.ledger)
    assert any(f"tag {tag}: {value}" in culprit for culprit in refusal.value.culprits) and refusal.value.remedy
    assert any(tag in problem for problem in beside_registry(served.registry, served.ledger))


def test_an_alias_on_a_version_that_the_ledger_does_not_know_is_not_opened(served: Backend):
    run = served.trained.runs[1]
    about = {"as_of": a_window().days.as_of, "trained_on": a_window().days.training}
    planted = served.registry.register(
        NewVersion(
            run.run_id,
            fingerprint=run.fingerprint,
            artifact_digest=run.artifact_digest,
            **about,
        )
    )
    served.move_by_hand(planted.version)
    with pytest.raises(RecordAltered, match="unknown to the ledger"):
        recorded_champion(served.registry, served.ledger)
    assert beside_registry(served.registry, served.ledger)


def test_an_alias_that_was_taken_away_is_not_read_as_no_champion(served: Backend):
    served.move_by_hand(None)
    with pytest.raises(Conflict, match="the alias was removed"):
        recorded_champion(served.registry, served.ledger)


ARTIFACTS: dict[str, Callable[[Path], object]] = {
    "scorer.py": lambda folder: (folder / "scorer.py").write_text("import os; os._exit(66)\n"),
    "MLmodel": lambda folder: (folder / "MLmodel").write_text((folder / "MLmodel").read_text() + "\n"),
    "requirements.txt": lambda folder: (folder / "requirements.txt").write_text("evil\n"),
    "a file added": lambda folder: (folder / "sitecustomize.py").write_text("import os; os._exit(66)\n"),
    "a file removed": lambda folder: (folder / "requirements.txt").unlink(),
}


@pytest.mark.parametrize("attack", ARTIFACTS)
def test_code_whose_digest_the_chain_does_not_hold_never_runs(served: Backend, sqlite_url: str, attack: str):
    """Not even with digest tag, run tag and working row edited to fit: the process would end with 66."""
    release = served.ledger.release_by_version(1)
    with touched(served.trained.folders[0]) as folder:
        ARTIFACTS[attack](folder)
        forged = files_digest(read_files(folder))
        kept = served.trained.runs[0].artifact_digest
        served.registry.set_version_tags(1, {ARTIFACT_DIGEST: forged})
        served.registry.log_numbers(served.trained.runs[0].run_id, tags={ARTIFACT_DIGEST: forged})
        try:
            assert not smoke_test(served.registry, release.artifact_digest).passed
            run_sql(sqlite_url, f"UPDATE releases SET artifact_digest = '{forged}'")
            with pytest.raises(RecordAltered):
                served.promoter.verify(1)
            with pytest.raises(RecordAltered):
                served.promoter.recover("start")
            assert served.registry.find_run(release.fingerprint, (kept,)) is None
        except RecordAltered as refused:
            assert "artifact_digest" in str(refused)
        finally:
            served.registry.log_numbers(served.trained.runs[0].run_id, tags={ARTIFACT_DIGEST: kept})


def test_a_planted_run_is_not_adopted(served: Backend):
    """Whoever reaches MLflow can tag a run with a fingerprint that is to be trained next."""
    run = served.trained.runs[2]
    assert served.registry.find_run(run.fingerprint, recorded_digests(served.ledger, run.fingerprint)) is None
    built = {"artifact_digest": run.artifact_digest, "run_id": run.run_id}
    keys = EventKeys(fingerprint=run.fingerprint)
    served.ledger.append(EventKind.ARTIFACT_BUILT, payload=built, actor="pipeline", keys=keys)
    found = served.registry.find_run(run.fingerprint, recorded_digests(served.ledger, run.fingerprint))
    assert found is not None and found.run_id == run.run_id


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        (ReviewerPolicy(reviewers=({"name": "bob"},)), "alice is not a reviewer"),
        (ReviewerPolicy(reviewers=({"name": "alice", "os_user": "alice"},)), "has not proven"),
    ],
)
def test_an_approval_by_somebody_who_may_not_is_withdrawn(served: Backend, policy: ReviewerPolicy, why: str):
    served.waiting(1)
    served.ledger.record_decision(2, ReviewerDecision(Decision.APPROVE, ALICE, "cli"), ReviewerPolicy())
    served.policy = policy
    served.promoter.finish_approved()
    release = served.ledger.release_by_version(2)
    assert release.state is S.WITHDRAWN and why in release.reason
    assert served.serving() == 1


def test_what_the_policy_approved_is_not_promoted_where_a_human_decides(served: Backend):
    release = served.registered(1)
    by = {"actor": "promotion policy", "channel": "dagster"}
    served.ledger.move_release(release.version, S.APPROVED, reason="mode auto", **by)
    served.policy = PromotionPolicy(mode="manual")
    with pytest.raises(NotPermitted, match=r"promotion\.mode is manual"):
        served.promoter.promote(release.version, **by)
    assert served.serving() == 1


def test_a_ledger_put_back_is_noticed_by_the_head_that_mlflow_keeps(served: Backend, sqlite_url: str, tmp_path: Path):
    """The head is tagged to the version that was promoted, and to the registered model by the sensor."""
    older = Path(shutil.copy(sqlite_url.removeprefix("sqlite:///"), tmp_path / "older.db"))
    assert [head.seq for head in served.registry.pinned_heads()]
    second = served.waiting(1)
    served.approvals.approve(second.version, ALICE, "better", **CLI)
    served.ledger._database._started().dispose()
    for suffix in ("-wal", "-shm"):
        Path(f"{sqlite_url.removeprefix('sqlite:///')}{suffix}").unlink(missing_ok=True)
    shutil.copy(older, sqlite_url.removeprefix("sqlite:///"))
    with pytest.raises(RecordAltered, match="record of decisions was changed"):
        served.promoter.verify(1)


def test_the_sensor_keeps_the_head_and_refuses_a_chain_that_lost_it(served: Backend, tmp_path: Path):
    heads = HeadFile(tmp_path / "kept" / "ledger_heads")
    assert served.watch.keep_head(heads) and not served.watch.keep_head(heads)
    served.ledger.append(EventKind.RETRAIN_REQUESTED, actor="pipeline", payload={"trigger": "schedule"})
    assert served.watch.keep_head(heads)
    assert [head.seq for head in heads.heads()] == sorted({head.seq for head in heads.heads()})
    assert heads.heads()[-1] == served.ledger.head() and (tmp_path / "kept" / "ledger_heads").stat().st_mode & 0o77 == 0

    class Meanwhile(HeadFile):
        def heads(self) -> list[Head]:
            served.ledger.append(EventKind.RETRAIN_REQUESTED, actor="somebody", payload={})
            return super().heads()

    before = served.ledger.head()
    assert not served.watch.keep_head(Meanwhile(tmp_path / "kept" / "ledger_heads")), "nobody has looked at that row"
    assert heads.heads()[-1] == before != served.ledger.head()
    with (tmp_path / "kept" / "ledger_heads").open("a") as file:
        file.write("not a head\n")
    with pytest.raises(IntegrityError, match="line 3 of"):
        heads.heads()


# ------------------------------------------------------------ what MLflow has lost


def deleted_version(backend: Backend) -> None:
    backend.registry._client.delete_model_version(backend.registry.model_name, "1")


def deleted_model(backend: Backend) -> None:
    backend.registry._client.delete_registered_model(backend.registry.model_name)


LOSSES = pytest.mark.parametrize("lose", [deleted_version, deleted_model], ids=lambda lose: lose.__name__)


@LOSSES
def test_a_champion_that_mlflow_lost_is_not_nobody(served: Backend, lose: Callable[[Backend], None]):
    lose(served)
    for ask in (
        lambda: recorded_champion(served.registry, served.ledger),
        lambda: served.promoter.recover("start"),
        served.watch.check_champion,
    ):
        with pytest.raises(ChampionLost, match="MLflow has lost version 1") as lost:
            ask()
        assert "retire-champion" in lost.value.remedy
    assert served.ledger.champion() is not None, "it was not recorded as taken away by hand"
    checked = served.ledger.last(EventKind.CHAMPION_CHECKED)
    assert checked is not None and not checked.payload["sound"]
    with pytest.raises(ChampionLost):
        served.watch.check_champion()
    assert len(list(served.ledger.events(EventKind.CHAMPION_CHECKED))) == 1


@LOSSES
def test_a_lost_champion_is_retired_by_a_person_and_the_next_one_starts_over(
    served: Backend, lose: Callable[[Backend], None]
):
    with pytest.raises(Conflict, match="no champion that MLflow has lost"):
        served.approvals.retire_champion(ALICE, "not yet", **CLI)
    lose(served)
    retired = served.approvals.retire_champion(ALICE, "deleted by mistake", **CLI)
    assert (retired.state, retired.moved_by) == (S.ROLLED_BACK, "alice") and "deleted by mistake" in retired.reason
    assert served.ledger.champion() is None and served.ledger.pause(Automation.PROMOTION) is not None
    taken = [release.version for release in served.ledger.releases()]
    run = served.trained.runs[1]
    version = served.registry.register(
        NewVersion(
            run.run_id,
            fingerprint=run.fingerprint,
            artifact_digest=run.artifact_digest,
            as_of=a_window().days.as_of,
            trained_on=a_window().days.training,
        ),
        taken=taken,
    )
    assert version.version == 2, "version 1 is another model's for ever"
    assert served.ledger.verify().ok


def test_a_lost_champion_is_rolled_back_from_by_name(served: Backend):
    second = served.waiting(1)
    served.approvals.approve(second.version, ALICE, "better", **CLI)
    served.registry._client.delete_model_version(served.registry.model_name, "2")
    with pytest.raises(ChampionLost, match="version 2") as lost:
        served.promoter.recover("start")
    assert "rollback --to 1" in lost.value.remedy
    back = served.approvals.rollback(1, ALICE, "version 2 was deleted", **CLI)
    assert (back.state, served.serving()) == (S.PROMOTED, 1)
    assert served.ledger.release_by_version(2).state is S.ROLLED_BACK
    assert served.ledger.verify().ok
