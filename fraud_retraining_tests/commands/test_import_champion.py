"""`import-champion`: an existing model serves first, and the first candidate has to beat it."""

import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import yaml

from fraud_retraining.commands.implementation.scores_server import scorer_of
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.orchestration.resources import open_registry
from fraud_retraining.services.live_scoring import MODEL
from fraud_retraining.settings import load_settings
from fraud_retraining_tests.support.command_line import champion, ledger, run
from fraud_retraining_tests.support.older_home import AS_OF, FIRST_AS_OF, TINY, write_lake
from fraud_retraining_tests.support.onnx_graphs import logistic
from fraud_retraining_tests.support.project_homes import ProjectHome, use_home

LENIENT = {"max_importance": 1.0, "min_roc_auc": 0.1}
"""The models of these tests know the amount and little else."""
THROUGH = FIRST_AS_OF - timedelta(days=5)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProjectHome]:
    found = ProjectHome(tmp_path_factory.mktemp("import"))
    write_lake(found)
    found.configure(**{**TINY, "gates": {**TINY["gates"], **LENIENT}})
    with pytest.MonkeyPatch.context() as patch:
        use_home(found, patch)
        yield found


def imported(model: str, *more: str, through: object = THROUGH) -> tuple[int, dict, str]:
    given = ["--trained-through", str(through), "--by", "ana", "--reason", "it has served for a year", *more]
    return run("import-champion", "--model", model, *given)


@pytest.mark.slow
def test_a_graph_serves_first_and_the_first_candidate_is_compared_with_it(project: ProjectHome, tmp_path: Path) -> None:
    graph, columns = tmp_path / "old.onnx", tmp_path / "columns.yaml"
    graph.write_bytes(logistic([0.02, 0.01], -4.0))
    columns.write_text(yaml.safe_dump({"columns": ["TX_AMOUNT", "hour"], "names": {"TX_AMOUNT": "amount"}}))
    import_it = [str(graph), "--columns", str(columns), "--as-of", str(FIRST_AS_OF)]

    code, answer, _ = imported(*import_it, through=FIRST_AS_OF)
    assert code == 2 and "may have learnt from every day" in answer["error"]["message"], answer
    assert champion() is None and ledger().last(EventKind.MODEL_IMPORTED) is None

    code, answer, _ = imported(*import_it)
    assert (code, answer["status"], answer["model_version"]) == (0, "promoted", 1), answer
    assert answer["imported"]["features"] == ["amount", "hour"] and not answer["imported"]["already"]
    version, digest = champion() or (0, "")
    assert version == 1
    release, served = ledger().champion(), open_registry(load_settings()).champion()
    assert release is not None and served is not None
    # The settings promote by themselves; an import never does.
    assert (release.decided_by, release.needs_human, release.trigger) == (
        "ana",
        "it is an imported model: what it has learnt from is a claim",
        "import",
    )
    assert served.trained_on.end == THROUGH
    (claim,) = ledger().events(EventKind.MODEL_IMPORTED)
    assert (claim.actor, claim.payload["claims"]) == ("ana", {"trained_through": THROUGH.isoformat()})
    model = open_registry(load_settings()).load(served.run_id, expected_digest=digest)
    assert (model.estimator, model.mapping) == ("onnx", None), "thresholds rest on its scores as they are"

    code, answer, _ = imported(*import_it)
    assert (code, answer["model_version"], answer["imported"]["already"]) == (0, 1, True)
    other = tmp_path / "other.onnx"
    other.write_bytes(logistic([0.03, 0.01], -4.0))
    code, answer, _ = imported(str(other), "--columns", str(columns))
    assert code == 5 and "version 1" in answer["error"]["message"]

    code, answer, _ = run("retrain", "--as-of", str(AS_OF))
    assert code == 0, answer
    compared = {gate["name"]: gate for gate in answer["gates"]}
    assert compared["no_regression"]["applicable"] and compared["score_contract"]["applicable"]
    assert answer["metrics"]["champion"]["average_precision"] > 0
    assert ledger().release_by_version(2).champion_before == 1  # type: ignore[union-attr]
    code, answer, _ = run("audit", "verify")
    assert code == 0, answer
    scorer = scorer_of(load_settings())
    scorer.follow()
    assert scorer.model_version == 2
    code, answer, _ = run("rollback", "--to", "1", "--by", "ana", "--reason", "the old one was better")
    assert (code, champion()) == (0, (1, digest)), answer
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "onnxruntime", None)
        scorer.follow()
        assert scorer.model_version == 2, "a scorer without the library goes on with what it has"
        assert "onnxruntime is not installed" in scorer.problems[MODEL]
    scorer.follow()
    assert scorer.model_version == 1 and MODEL not in scorer.problems


@pytest.mark.slow
def test_a_native_model_of_an_mlflow_registry_is_imported(
    project: ProjectHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow
    import pandas as pd
    import xgboost

    monkeypatch.setenv("FRAUD_RETRAINING_MODEL__NAME", "second_model")
    registry = open_registry(load_settings())
    registry.ensure_experiment()
    random = np.random.default_rng(0)
    amounts = random.gamma(2, 50, (3000, 1)).astype(np.float32)
    fraud = random.random(3000) < 0.1 * amounts[:, 0] / amounts.mean()
    rows = xgboost.DMatrix(amounts, fraud, feature_names=["amount"])
    booster = xgboost.train({"objective": "binary:logistic", "max_depth": 4, "nthread": 1, "eta": 0.1}, rows, 30)
    mlflow.set_tracking_uri(registry.tracking_uri)
    mlflow.set_experiment(registry.experiment)
    with mlflow.start_run():
        # Not the model's own name: a signature is not part of the digest that is named, and not believed.
        signature = mlflow.models.infer_signature(pd.DataFrame({"hour": [1.0]}))
        named = {"registered_model_name": "legacy", "signature": signature, "pip_requirements": []}
        mlflow.xgboost.log_model(booster, name="model", **named)
    before = ledger().last(EventKind.MODEL_IMPORTED, as_of=FIRST_AS_OF)
    code, answer, _ = imported("models:/legacy/1", "--as-of", str(FIRST_AS_OF))
    assert "reads hour" in answer["error"]["culprits"][0]
    assert code == 2 and champion() is None and ledger().last(EventKind.MODEL_IMPORTED, as_of=FIRST_AS_OF) == before
    found = answer["error"]["remedy"].split()[-1].rstrip(".")
    code, answer, _ = imported("models:/legacy/1", "--as-of", str(FIRST_AS_OF), "--sha256", found)
    claim = ledger().last(EventKind.MODEL_IMPORTED)
    assert claim is not None and claim.payload["sha256_named"] == answer["imported"]["sha256"] == found
    assert (code, answer["status"], answer["imported"]["format"]) == (0, "promoted", "xgboost"), answer
    served = open_registry(load_settings()).champion()
    assert served is not None
    model = open_registry(load_settings()).load(served.run_id, expected_digest=served.artifact_digest)
    asked = pd.DataFrame({"amount": amounts[:100, 0]})
    expected = booster.inplace_predict(amounts[:100], validate_features=False)
    assert np.array_equal(model.predict(asked), expected.astype(np.float64))
