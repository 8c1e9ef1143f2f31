"""A home that an older version has made is understood: nothing is retrained, nothing is doubted, its models serve."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fraud_retraining.adapters.mlflow.environment import library_versions
from fraud_retraining.domain.evaluation.gates import GATES, Evidence, Finding, Gate, GatePolicy
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.orchestration.resources import open_registry
from fraud_retraining.settings import load_settings
from fraud_retraining_tests.support.command_line import champion, ledger, run
from fraud_retraining_tests.support.older_home import AS_OF, FIRST_AS_OF, older_home
from fraud_retraining_tests.support.project_homes import ProjectHome, use_home


@pytest.fixture
def older(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ProjectHome]:
    project = older_home(tmp_path)
    use_home(project, monkeypatch)
    yield project


def require_its_libraries() -> None:
    recorded = [event.payload["determined_by"]["libraries"] for event in ledger().events(EventKind.MODEL_TRAINED)]
    if recorded[-1] != library_versions():
        pytest.skip(f"the libraries that fit a model are others than those of the home: {recorded[-1]}")


def test_status_and_the_record_say_what_they_said(older: ProjectHome) -> None:
    code, answer, _ = run("status")
    assert (code, answer["champion"]["version"], answer["champion"]["as_of"]) == (0, 2, str(AS_OF))
    code, answer, _ = run("audit", "verify")
    assert (code, answer["ok"]) == (0, True), answer
    for version, state in ((1, "superseded"), (2, "promoted")):
        code, answer, _ = run("audit", "show", str(version))
        assert (code, answer["release"]["state"]) == (0, state), answer


def test_nothing_of_it_is_made_again(older: ProjectHome) -> None:
    """Days stay as they are, and the model of the same as-of day is the one that is there."""
    require_its_libraries()
    before = {path: path.stat().st_mtime_ns for path in (older.home / "store").rglob("*.parquet")}
    code, answer, _ = run("retrain", "--as-of", str(AS_OF))
    assert (code, answer["status"], answer["model_version"]) == (0, "already_trained", 2), answer
    assert {path: path.stat().st_mtime_ns for path in (older.home / "store").rglob("*.parquet")} == before


ADDED_SINCE = {"score_contract"}
"""Gates that the home's verdicts do not have."""


def never(policy: GatePolicy, evidence: Evidence) -> Finding:
    return Finding(0, 1, -1, "Nothing passes this gate.")


def test_with_a_gate_that_its_verdicts_do_not_have_its_releases_are_shown_and_brought_back(
    older: ProjectHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Older releases keep the verdict of their own gates, also where a new gate would fail."""
    of_then = [name for name in GATES if name not in ADDED_SINCE]
    monkeypatch.setitem(GATES, "never", Gate("Nothing passes it.", never))
    for version in (1, 2):
        code, answer, _ = run("audit", "show", str(version))
        assert (code, [gate["name"] for gate in answer["evaluation"]["verdict"]["gates"]]) == (0, of_then), answer
    code, answer, _ = run("audit", "verify")
    assert (code, answer["ok"]) == (0, True), answer
    code, answer, _ = run("rollback", "--to", "1", "--by", "alice", "--reason", "the newer one is worse")
    assert (code, answer["version"], champion()[0]) == (0, 1, 1), answer


@pytest.mark.slow
def test_with_such_a_gate_its_latest_model_is_not_judged_again(
    older: ProjectHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_its_libraries()
    monkeypatch.setitem(GATES, "never", Gate("Nothing passes it.", never))
    code, answer, _ = run("retrain", "--as-of", str(AS_OF))
    assert (code, answer["status"], answer["model_version"]) == (0, "already_trained", 2), answer


def test_its_models_score_and_the_older_one_is_brought_back(older: ProjectHome) -> None:
    import mlflow

    registry = open_registry(load_settings())
    serving = registry.champion()
    assert serving is not None
    with registry.served(expected_digest=serving.artifact_digest) as folder:
        loaded = mlflow.pyfunc.load_model(str(folder))
        example = loaded.metadata.load_input_example(str(folder))
        scores = list(loaded.predict(example)["fraud_probability"])
    assert scores == list(registry.load(serving.run_id, expected_digest=serving.artifact_digest).predict(example))
    code, answer, _ = run("rollback", "--to", "1", "--by", "alice", "--reason", "the newer one is worse")
    assert (code, answer["version"], champion()[0]) == (0, 1, 1), answer
    assert ledger().champion().as_of == FIRST_AS_OF
