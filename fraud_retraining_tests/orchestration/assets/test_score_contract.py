"""A version's scores mean what those before it meant, and the mapping that sees to it is in artifact and record."""

import shutil
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from fraud_retraining.adapters.days.live_rows import SCORE, scored_rows
from fraud_retraining.adapters.days.review_reports import read_review_report
from fraud_retraining.adapters.days.window_rows import TABLE
from fraud_retraining.adapters.mlflow.tags import REFIT_OF
from fraud_retraining.adapters.pages.review_pictures import read_pictures
from fraud_retraining.commands.implementation.replay_answers import PastDays
from fraud_retraining.commands.implementation.replay_decisions import Released, Releases
from fraud_retraining.commands.implementation.replay_files import KeptFiles
from fraud_retraining.commands.implementation.scores_server import scorer_of
from fraud_retraining.domain.evaluation.alert_volume import AlertChange
from fraud_retraining.domain.evaluation.gates import NotCompared
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.releases.candidate import Evaluation, ModelFit
from fraud_retraining.domain.replay.timeline import Judge, ReplayedModel
from fraud_retraining.domain.training.scoring import FittedModel
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.orchestration.resources import open_registry, open_store
from fraud_retraining.services.live_scoring import MODEL
from fraud_retraining.services.recorded_versions import recorded_champion, recorded_judged_fit
from fraud_retraining.settings import load_settings
from fraud_retraining_tests.support.command_line import champion, ledger, retrain, run
from fraud_retraining_tests.support.faults import run_killed
from fraud_retraining_tests.support.project_homes import AS_OF, START, ProjectHome, use_home

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

NEXT = AS_OF + timedelta(days=2)
REVIEWED = 60


def configure(project: ProjectHome, **changes: Any) -> None:
    # The regression gate is wide open: what is tested is what becomes of a version that is promoted.
    gates = {"max_regression": 1.0, "max_unproven_regression": 1.0, "max_slice_regression": 1.0}
    decisions = [
        {"name": "review", "alerts_per_day": REVIEWED},
        {"name": "block", "at": 0.5},
        {"name": "call", "costs": {"alert": 2.0, "disturbed": 5.0}},
    ]
    project.configure(promotion={"mode": "auto"}, gates=gates, serving={"decisions": decisions}, **changes)


def evaluation(fingerprint: str) -> Evaluation:
    event = ledger().last(EventKind.MODEL_EVALUATED, fingerprint=fingerprint)
    assert event is not None
    return Evaluation.model_validate(event.payload)


def served(version: int) -> FittedModel:
    registry = open_registry(load_settings())
    found = registry.version(version)
    return registry.load(found.run_id, expected_digest=found.artifact_digest)


def scores(model: FittedModel, *days: date) -> np.ndarray[Any, Any]:
    store = open_store(load_settings())
    records = store.partitions("transaction_features", days)
    assert len(records) == len(days)
    return np.concatenate(
        [scored_rows(model, path)[SCORE].to_numpy() for path in store.paths(list(records.values()), TABLE)]
    )


class Replayed(NamedTuple):
    """The second version as a replay of the same fits has it: what follows its first version."""

    released: Released
    past: PastDays
    question: Judge


def replayed(folder: Path) -> Replayed:
    settings, kept = load_settings(), KeptFiles(folder)
    past = PastDays(settings, DayRange(start=NEXT, end=NEXT), kept)
    features = past.store.partitions("transaction_features", DayRange(start=START, end=NEXT))
    models: list[list[ReplayedModel]] = []
    for version in (1, 2):
        release = ledger().release_by_version(version)
        assert release is not None
        judged = recorded_judged_fit(ledger(), release.fingerprint)
        assert judged is not None
        models.append([])
        for fit in (judged, *_second_of(release.fingerprint)):
            facts = ReplayedModel(
                fingerprint=fit.fingerprint,
                as_of=release.as_of,
                training=fit.training,
                seconds=1,
                judged=None if fit is judged else judged.fingerprint,
            )
            model = open_registry(load_settings()).load(fit.run_id, expected_digest=fit.artifact_digest)
            kept.keep_fit(facts, model)
            models[-1].append(facts)
    first, (candidate, *_) = models[0][-1], models[1]
    releases = Releases(settings, past.store, kept, features, past.window)
    released = releases.released((first.fingerprint, models[1][-1].fingerprint))
    return Replayed(released, past, Judge(candidate=candidate, champion=first, releases=(first.fingerprint,)))


def _second_of(fingerprint: str) -> list[ModelFit]:
    second = evaluation(fingerprint).second_fit
    return [second] if second is not None else []


def copied(project: ProjectHome, to: Path, **changes: Any) -> ProjectHome:
    shutil.copytree(project.folder, to / "copy")
    copy = ProjectHome(to / "copy")
    configure(copy, **changes)
    return copy


@pytest.fixture(scope="module")
def promoted(tmp_path_factory: pytest.TempPathFactory, small_lake: Path) -> Iterator[ProjectHome]:
    """A champion as of `AS_OF`, and the days up to the next as-of day."""
    project = ProjectHome(tmp_path_factory.mktemp("first"))
    shutil.copytree(small_lake, project.lake)
    configure(project)
    with pytest.MonkeyPatch.context() as patch:
        use_home(project, patch)
        assert run("ingest", "--from", str(START), "--to", str(NEXT))[0] == 0
        code, answer, _ = retrain()
    assert (code, answer["status"]) == (0, "promoted"), answer["message"]
    yield project


@pytest.fixture
def home(promoted: ProjectHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProjectHome:
    copy = copied(promoted, tmp_path)
    use_home(copy, monkeypatch)
    return copy


def test_the_first_version_is_calibrated_and_the_next_keeps_the_alerts_of_every_threshold(
    home: ProjectHome, tmp_path: Path
) -> None:
    (first,) = ledger().releases()
    mapping = evaluation(first.fingerprint).released_mapping
    assert mapping is not None and (mapping.contract, mapping.matched_to) == ("probability", "labels"), mapping
    code, answer, _ = retrain(NEXT)
    assert (code, answer["status"]) == (0, "promoted"), answer["message"]

    second = ledger().release_by_version(2)
    assert second is not None
    found = evaluation(second.fingerprint)
    mapping = found.released_mapping
    assert mapping is not None and found.mapped is not None
    assert (mapping.contract, mapping.champion_version, mapping.champion_digest) == (
        "alert_rate",
        1,
        first.artifact_digest,
    )
    days = [NEXT - timedelta(days=1), NEXT]
    assert [day for day, _ in mapping.days] == days, "the days after the holdout, which neither has learnt"

    # The artifact that serves is the one with the mapping, and its record is in it.
    assert champion() == (2, found.mapped.fit.artifact_digest) == (2, second.artifact_digest)
    before, after = served(1), served(2)
    assert after.mapping is not None and after.mapping.fitted_on["champion_digest"] == first.artifact_digest
    judged = recorded_judged_fit(ledger(), second.fingerprint)
    assert judged is not None and judged.artifact_digest != second.artifact_digest
    registry = open_registry(load_settings())
    fit = registry.load(judged.run_id, expected_digest=judged.artifact_digest)
    assert fit.mapping is None and fit.files() == after.unmapped.files(), "the judged fit, and nothing else"
    run_of_version = registry.run(registry.version(2).run_id)
    assert run_of_version.tags[REFIT_OF] == second.fingerprint and run_of_version.tags["verdict"] == "passed"

    old, new, raw = scores(before, *days), scores(after, *days), scores(fit, *days)
    assert (np.argsort(new, kind="stable") == np.argsort(raw, kind="stable")).all()
    for share in (0.005, 0.02, 0.1):
        threshold = np.sort(old)[-round(len(old) * share)]
        assert (new >= threshold).sum() == pytest.approx((old >= threshold).sum(), rel=0.1)
    assert recorded_champion(registry, ledger()) is not None
    assert ledger().verify().ok
    in_replay = replayed(tmp_path / "replay").released.mapping
    assert in_replay is not None, "a replay maps the same fits alike, to the last bit"
    assert (in_replay.scores, in_replay.mapped) == (after.mapping.scores, after.mapping.mapped)
    assert (
        "scores mean what those of version 1 mean"
        in (registry.read_document(registry.version(2).run_id, "model_card.html") or b"").decode()
    )


def test_thresholds_are_chosen_judged_recorded_and_served(home: ProjectHome, tmp_path: Path) -> None:
    code, answer, _ = retrain(NEXT)
    assert (code, answer["status"]) == (0, "promoted"), answer["message"]
    found = evaluation(answer["fingerprint"])
    chosen, call = found.thresholds
    assert (chosen.name, chosen.alerts_per_day) == ("review", REVIEWED)
    days = [NEXT - timedelta(days=1), NEXT]
    assert (scores(served(2), *days) >= chosen.at).sum() == REVIEWED * len(days)

    alerts = found.evidence.alerts
    assert isinstance(alerts, AlertChange) and (alerts.first, alerts.last, alerts.days) == (*days, 2)
    review, block, called = alerts.thresholds
    assert (call.name, called.name, called.at) == ("call", "call", call.at)
    report = read_review_report(open_store(load_settings()), found.fingerprint, found.review_digest)
    assert report is not None and [curve.at for curve in report.costs] == [pytest.approx(call.at, rel=1e-5)]
    stored = read_pictures(open_store(load_settings()), found.fingerprint, found.pictures_digest)
    assert stored is not None and "costs" in stored
    assert (review.name, review.champion, block.name, block.at) == ("review", REVIEWED * len(days), "block", 0.5)
    assert review.ratio is not None and 0.5 < review.ratio.value < 2
    assert review.money is not None and review.disturbed is not None and alerts.judged_days > 0
    gate = next(one for one in found.verdict.gates if one.name == "score_contract")
    assert gate.passed and f"review (from {review.at:.4g} on)" in gate.message

    scorer = scorer_of(load_settings())
    scorer.follow()
    assert (scorer.model_version, scorer.thresholds) == (2, {"review": chosen.at, "block": 0.5, "call": call.at}), (
        scorer.problems
    )
    past = replayed(tmp_path / "replay")
    assert past.released.thresholds == scorer.thresholds
    again = past.past.evaluation(past.question)
    assert gate in again.verdict.gates, "a replay judges by the same counts, to the last bit"
    unkept = past.past.evaluation(past.question.model_copy(update={"releases": ()})).evidence.alerts
    assert isinstance(unkept, NotCompared) and "scores.contract is none" in unkept.reason
    # A decision that no release has chosen a score for is not guessed.
    decisions = [{"name": "review", "alerts_per_day": REVIEWED + 1}]
    home.configure(promotion={"mode": "auto"}, serving={"decisions": decisions})
    other = scorer_of(load_settings())
    other.follow()
    assert other.model_version is None and "review" in other.problems[MODEL]


def test_the_same_retrain_again_makes_no_further_artifact(home: ProjectHome) -> None:
    before = len(open_registry(load_settings()).runs())
    code, answer, _ = retrain()
    assert (code, answer["status"]) == (0, "already_trained"), answer["message"]
    assert len(open_registry(load_settings()).runs()) == before


def test_an_artifact_whose_process_ends_before_the_record_is_found_again(home: ProjectHome) -> None:
    registry = open_registry(load_settings())
    before = len(registry.runs())
    run_killed("before the evaluation is recorded", "retrain", "--as-of", NEXT.isoformat())
    between = len(registry.runs())
    assert between == before + 2, "the fit, and the fit with its mapping"
    code, answer, _ = retrain(NEXT)
    assert (code, answer["status"]) == (0, "promoted"), answer["message"]
    found = evaluation(answer["fingerprint"]).mapped
    assert found is not None and found.fit.run_id in {one.run_id for one in registry.runs()}
    assert sum(one.holds_artifact for one in registry.runs()) == 4


def test_without_a_contract_the_judged_fit_is_released_as_it_is(
    promoted: ProjectHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_home(copied(promoted, tmp_path, scores={"contract": "none"}), monkeypatch)
    code, answer, _ = retrain(NEXT)
    assert (code, answer["status"]) == (0, "promoted"), answer["message"]
    release = ledger().release_by_version(2)
    assert release is not None
    judged = recorded_judged_fit(ledger(), release.fingerprint)
    assert judged is not None and judged.artifact_digest == release.artifact_digest
    assert evaluation(release.fingerprint).released_mapping is None and served(2).mapping is None


def test_a_second_fit_means_what_the_judged_one_means(
    promoted: ProjectHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refit = {"enabled": True, "min_rank_correlation": -1, "max_alert_ratio": 100, "max_calibration_difference": 100}
    use_home(copied(promoted, tmp_path, window={"refit": refit}), monkeypatch)
    code, answer, _ = retrain(NEXT)
    assert (code, answer["status"]) == (0, "promoted"), answer["message"]
    found = evaluation(answer["fingerprint"])
    assert found.mapped is not None and found.second_fit is not None and found.mapping is not None
    assert (found.mapping.matched_to, found.mapped.mapping.matched_to) == ("champion", "judged_fit")
    assert found.mapped.fit.training == found.second_fit.training
    days = [NEXT - timedelta(days=1), NEXT]
    old, new = scores(served(1), *days), scores(served(2), *days)
    threshold = np.sort(old)[-round(len(old) * 0.05)]
    assert (new >= threshold).sum() == pytest.approx((old >= threshold).sum(), rel=0.15)
    in_replay, mapped = replayed(tmp_path / "replay").released.mapping, served(2).mapping
    assert in_replay is not None and mapped is not None
    assert (in_replay.scores, in_replay.mapped) == (mapped.scores, mapped.mapped)
