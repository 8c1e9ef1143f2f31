"""A candidate is fitted again on window and holdout; the second fit serves if it agrees with the judged one.

As of day 22 the small lake's labels are mature through day 20: judged on days 17 to 20, with days 9 to 16 learnt. The
second fit learns through day 20, and days 21 and 22 compare the two.
"""

import shutil
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from fraud_retraining.adapters.days.monitoring_reports import read_profile
from fraud_retraining.adapters.mlflow.model_artifact import PREFIX
from fraud_retraining.adapters.mlflow.tags import REFIT_OF, RELEASED_FIT
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.monitoring.drift import HoldoutProfile, ReferenceProfile
from fraud_retraining.domain.releases.candidate import Evaluation, ModelFit
from fraud_retraining.orchestration.jobs.cleaning import removable
from fraud_retraining.orchestration.resources import open_registry, open_store
from fraud_retraining.orchestration.state.monitoring import serving
from fraud_retraining.services.recorded_versions import recorded_judged_fit, recorded_second_fit
from fraud_retraining.settings import load_settings
from fraud_retraining_tests.support.command_line import champion, ledger, retrain, run
from fraud_retraining_tests.support.faults import run_killed
from fraud_retraining_tests.support.project_homes import AS_OF, START, ProjectHome, use_home

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

HOLDOUT_END = AS_OF - timedelta(days=2)


def configure(project: ProjectHome, **bounds: Any) -> None:
    # Without a score mapping: the one of a second fit is tested with mappings (test_score_contract.py).
    refit = {"refit": {"enabled": True, **bounds}}
    project.configure(promotion={"mode": "auto"}, scores={"contract": "none"}, window=refit)


def evaluation(fingerprint: str) -> Evaluation:
    event = ledger().last(EventKind.MODEL_EVALUATED, fingerprint=fingerprint)
    assert event is not None
    return Evaluation.model_validate(event.payload)


def fits(fingerprint: str) -> tuple[ModelFit, ModelFit | None]:
    """The judged fit, and the second one where it is released."""
    judged = recorded_judged_fit(ledger(), fingerprint)
    assert judged is not None
    return judged, recorded_second_fit(ledger(), fingerprint)


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory, small_lake: Path) -> Iterator[ProjectHome]:
    """Every day up to the as-of day ingested, and nothing trained."""
    project = ProjectHome(tmp_path_factory.mktemp("ingested"))
    shutil.copytree(small_lake, project.lake)
    configure(project)
    with pytest.MonkeyPatch.context() as patch:
        use_home(project, patch)
        code, answer, _ = run("ingest", "--from", str(START), "--to", str(AS_OF))
    assert code == 0, answer
    yield project


def copied(project: ProjectHome, to: Path) -> ProjectHome:
    shutil.copytree(project.folder, to / "copy")
    copy = ProjectHome(to / "copy")
    configure(copy)
    return copy


@pytest.fixture(scope="module")
def promoted(ingested: ProjectHome, tmp_path_factory: pytest.TempPathFactory) -> ProjectHome:
    """The same with a champion as of `AS_OF`."""
    project = copied(ingested, tmp_path_factory.mktemp("promoted"))
    with pytest.MonkeyPatch.context() as patch:
        use_home(project, patch)
        code, answer, _ = retrain()
    assert (code, answer["status"]) == (0, "promoted"), answer["message"]
    return project


@pytest.fixture
def home(promoted: ProjectHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProjectHome:
    """A copy of it, for a test to change."""
    copy = copied(promoted, tmp_path)
    use_home(copy, monkeypatch)
    return copy


def test_a_second_fit_that_agrees_serves_and_the_record_says_so(home: ProjectHome) -> None:
    (release,) = ledger().releases()
    judged, second = fits(release.fingerprint)
    assert second is not None and second.artifact_digest != judged.artifact_digest
    assert champion() == (1, second.artifact_digest) == (1, release.artifact_digest), "and its smoke test passed"
    registry = open_registry(load_settings())
    version = registry.version(1)
    assert (version.run_id, version.tags[RELEASED_FIT]) == (second.run_id, "second")
    assert registry.run(second.run_id).tags[REFIT_OF] == release.fingerprint
    assert (judged.training.end, second.training.end) == (HOLDOUT_END - timedelta(days=4), HOLDOUT_END)
    assert version.trained_on == second.training

    refit = evaluation(release.fingerprint).refit
    assert refit is not None and refit.agreement is not None
    assert (refit.agreement.first, refit.agreement.last) == (AS_OF - timedelta(days=1), AS_OF)
    shown = run("audit", "show", "1")[1]
    assert shown["evaluation"]["refit"]["serves"] is True
    card = registry.read_document(second.run_id, "model_card.html")
    assert card is not None and f"a second fit on {second.training.start} to {HOLDOUT_END} is released" in card.decode()
    assert ledger().verify().ok


def test_what_has_learnt_the_holdout_is_not_held_against_it(home: ProjectHome) -> None:
    (release,) = ledger().releases()
    served = serving(ledger())
    assert served is not None and served.training.end == HOLDOUT_END
    store = open_store(load_settings())
    reference = read_profile(store, ReferenceProfile, release.fingerprint)
    assert reference is not None and max(one.day for one in reference.fraud_days) == HOLDOUT_END
    assert read_profile(store, HoldoutProfile, release.fingerprint) is not None, "the promise is the judged fit's"
    judged, _ = fits(release.fingerprint)
    assert judged.run_id not in {one.run_id for one in removable(ledger(), open_registry(load_settings()), none_kept())}


def none_kept() -> Any:
    kept = {"successful_runs": 0, "failed_runs": 0, "rejected_artifacts": 0}
    return load_settings().retention.model_copy(update=kept)


def test_the_same_retrain_again_finds_both_fits(home: ProjectHome) -> None:
    before = len(open_registry(load_settings()).runs())
    code, answer, _ = retrain()
    assert (code, answer["status"]) == (0, "already_trained"), answer["message"]
    assert len(open_registry(load_settings()).runs()) == before
    assert len(ledger().releases()) == 1


def test_the_next_candidate_is_compared_with_the_fit_that_was_judged_on_the_whole_holdout(home: ProjectHome) -> None:
    code, answer, _ = retrain(AS_OF + timedelta(days=2))
    assert code in (0, 4), answer["message"]
    assert len(evaluation(answer["fingerprint"]).compared_days) == 4


def test_a_second_fit_that_differs_is_not_released(
    ingested: ProjectHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = copied(ingested, tmp_path)
    configure(copy, min_rank_correlation=1.0)
    use_home(copy, monkeypatch)
    code, answer, _ = retrain()
    assert (code, answer["status"]) == (0, "promoted"), answer["message"]
    judged, second = fits(answer["fingerprint"])
    refit = evaluation(answer["fingerprint"]).refit
    assert second is None and refit is not None and refit.fit is not None and not refit.serves
    assert champion() == (1, judged.artifact_digest)
    version = open_registry(load_settings()).version(1)
    assert (version.run_id, version.trained_on) == (judged.run_id, judged.training)
    assert version.tags[RELEASED_FIT] == "judged"
    assert "is below 1" in refit.summary


def test_a_judged_fit_does_not_take_back_what_the_second_fit_that_serves_has_learnt(home: ProjectHome) -> None:
    configure(home, min_rank_correlation=1.0)
    code, answer, _ = retrain(AS_OF + timedelta(days=2))
    assert (code, answer["status"]) == (0, "awaiting_approval"), answer["message"]
    assert (
        f"has learnt up to {HOLDOUT_END - timedelta(days=2)} only, version 1 up to {HOLDOUT_END}" in answer["message"]
    )
    refit = evaluation(answer["fingerprint"]).refit
    assert refit is not None and refit.serving is not None and refit.serving.agreement is not None
    assert "nor does it agree with the second fit that serves" in refit.summary
    assert champion()[0] == 1


def booster(version: int) -> bytes:
    return open_registry(load_settings()).download(version)[f"{PREFIX}model.ubj"]


@pytest.mark.parametrize(
    "moment", ["before the second upload is complete", "before the evaluation is recorded", "after registering"]
)
def test_a_retrain_that_is_killed_after_its_first_fit_ends_with_the_same_models(
    ingested: ProjectHome, promoted: ProjectHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        use_home(promoted, patch)
        expected = ledger().releases()[0].fingerprint, booster(1)
    use_home(copied(ingested, tmp_path), monkeypatch)
    run_killed(moment, "retrain", "--as-of", AS_OF.isoformat())
    code, answer, _ = retrain()
    assert (code, answer["status"]) == (0, "promoted"), answer["message"]
    assert (answer["fingerprint"], booster(1)) == expected
    _, second = fits(answer["fingerprint"])
    assert second is not None and champion() == (1, second.artifact_digest)


def test_days_are_learnt_as_early_as_triggers_promise(ingested: ProjectHome, monkeypatch: pytest.MonkeyPatch) -> None:
    use_home(ingested, monkeypatch)
    last: date = AS_OF - timedelta(days=load_settings().learns_after_days)
    assert last == HOLDOUT_END
