"""The scorer as production meets it: loaded by alias, verified, and without the package where it is not installed."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fraud_retraining.adapters.mlflow.logged_models import TrainingSource
from fraud_retraining.adapters.mlflow.model_artifact import read_files
from fraud_retraining.adapters.mlflow.registry import Registry
from fraud_retraining.adapters.mlflow.versions import NewVersion
from fraud_retraining.domain.training.scoring import files_digest
from fraud_retraining_tests.support.registries import (
    AS_OF,
    a_fingerprint,
    a_window,
    fitted,
    registry_at,
    rows,
    store_in,
)


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("serving")


@pytest.fixture(scope="module")
def registry(home) -> Registry:
    """A registry whose champion is an XGBoost model."""
    registry = registry_at(store_in(home), home / "artifacts")
    run = registry.log_model(
        registry.start_run("retrain"),
        fitted(),
        TrainingSource(a_window(), a_fingerprint()),
        example=rows().slice(0, 5),
        tags={},
    )
    version = registry.register(
        NewVersion(
            run.run_id,
            fingerprint=run.fingerprint,
            artifact_digest=run.artifact_digest,
            as_of=AS_OF,
            trained_on=a_window().days.training,
        )
    )
    registry.compare_and_set_champion(None, version.version)
    return registry


@pytest.fixture
def champion(registry) -> str:
    import mlflow

    mlflow.set_tracking_uri(registry.tracking_uri)
    return f"models:/{registry.model_name}@champion"


def model_folder(home: Path) -> Path:
    (folder,) = home.rglob("artifacts/artifacts/fraud_model")
    return folder


def test_the_champion_scores_a_frame(champion):
    import mlflow

    frame = rows().to_pandas()[["city", "count", "amount"]].iloc[10:20]
    scored = mlflow.pyfunc.load_model(champion).predict(frame)
    assert list(scored.columns) == ["fraud_probability"]
    assert list(scored.index) == list(range(10, 20))
    assert np.array_equal(scored["fraud_probability"], fitted().predict(frame))


def test_missing_numbers_and_unseen_categories_are_scored(champion):
    import mlflow

    frame = rows().to_pandas()[["amount", "count", "city"]].head(2)
    frame.loc[0, "amount"], frame.loc[1, "city"] = np.nan, "atlantis"
    assert mlflow.pyfunc.load_model(champion).predict(frame)["fraud_probability"].notna().all()


def test_loading_leaves_the_recorded_artifact_as_it_was(champion, registry):
    import mlflow

    mlflow.pyfunc.load_model(champion)
    assert registry.download(registry.champion().version)


def test_a_changed_model_is_not_opened(champion, home):
    import mlflow

    model = model_folder(home) / "model.ubj"
    intact = model.read_bytes()
    try:
        model.write_bytes(b"\x80\x04cposix\nsystem\n.")
        with pytest.raises(mlflow.MlflowException, match="are not opened"):
            mlflow.pyfunc.load_model(champion)
    finally:
        model.write_bytes(intact)


def test_the_digest_that_a_deployment_holds_counts(champion, home):
    import mlflow

    known = files_digest(read_files(model_folder(home)))
    mlflow.pyfunc.load_model(champion, model_config={"model_digest": known})
    with pytest.raises(mlflow.MlflowException, match="are not opened"):
        mlflow.pyfunc.load_model(champion, model_config={"model_digest": "0" * 64})


def test_it_is_read_by_the_code_that_came_with_it_whatever_is_installed(champion):
    import mlflow

    model = mlflow.pyfunc.load_model(champion).unwrap_python_model()._model
    assert type(model).__module__.startswith("fraud_model_reader_")
    assert type(model) is not type(fitted())


def test_production_needs_neither_the_package_nor_pickle(champion, registry, tmp_path):
    code = f"""
import os, sys
sys.path[:] = [path for path in sys.path if not os.path.isfile(os.path.join(path, "fraud_retraining", "__init__.py"))]
import mlflow, pandas as pd, pickle
def refuse(*_, **__): raise AssertionError("unpickled")
import cloudpickle
cloudpickle.load = cloudpickle.loads = refuse
mlflow.set_tracking_uri({registry.tracking_uri!r})
model = mlflow.pyfunc.load_model({champion!r})
frame = pd.DataFrame({{"amount": [400.0, 1.0], "count": [1.0, 2.0], "city": ["ash", None]}})
print(*model.predict(frame)["fraud_probability"])
assert not [name for name in sys.modules if name.split(".")[0] == "fraud_retraining"]
"""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    scored = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert scored.returncode == 0, scored.stderr
    dear, cheap = map(float, scored.stdout.split())
    assert dear > cheap
    assert registry.download(registry.champion().version)
