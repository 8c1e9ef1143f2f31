"""The artifact folder: pinned requirements, no empty file, and the digest that anybody can recompute."""

import ast
import subprocess
from pathlib import Path

import pytest

from fraud_retraining.adapters.mlflow.model_artifact import (
    ESTIMATOR,
    SHIPPED,
    built,
    fitted_model,
    read_files,
    requirements,
    verified,
)
from fraud_retraining.domain.training.estimators.registry import ESTIMATORS
from fraud_retraining.domain.training.scoring import files_digest
from fraud_retraining.domain.values.errors import IntegrityError
from fraud_retraining.serving import scorer
from fraud_retraining_tests.support.registries import fitted, rows


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    with built(fitted(), rows().slice(0, 5)) as folder:
        return read_files(folder)


def test_the_artifact_holds_the_model_the_scorer_and_a_reader(files):
    assert fitted_model(files).description == fitted().description
    assert "scorer.py" in files
    reader = {name: data for name, data in files.items() if name.startswith("artifacts/fraud_model/package/")}
    assert {Path(name).name for name in reader} == {f"{name}.py" for name in (*SHIPPED, ESTIMATOR)}
    imported = [
        node.module or ""
        for data in reader.values()
        for node in ast.walk(ast.parse(data))
        if isinstance(node, ast.ImportFrom) and not node.level
    ]
    assert not [name for name in imported if name.startswith("fraud_retraining")], "it depends on where files lie"
    assert all(files.values()), "an empty file is uploaded in chunked form, which not every proxy passes on"
    assert not [name for name in files if name.endswith((".pkl", ".pyc"))]


def test_requirements_are_pinned_and_name_what_the_estimator_needs(files):
    assert files["requirements.txt"].decode().splitlines() == requirements("xgboost")
    for estimator in ESTIMATORS:
        assert all("==" in line for line in requirements(estimator))
    assert any(line.startswith("xgboost-cpu==") for line in requirements("xgboost"))
    assert any(line.startswith("skops==") for line in requirements("hist_gradient_boosting"))


def test_the_digest_is_what_sha256sum_says(files, tmp_path):
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    summed = subprocess.run(
        "find * -type f | LC_ALL=C sort | xargs sha256sum | sha256sum",
        shell=True,
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    assert summed.stdout.split()[0] == files_digest(files)


def test_the_scorer_counts_the_digest_as_the_registry_does(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "b").write_bytes(b"two")
    (tmp_path / "a").write_bytes(b"one")
    files = read_files(tmp_path)
    assert scorer.verified_files(tmp_path, files_digest(files)) == files


def test_what_mlflow_notes_in_a_folder_is_not_part_of_the_artifact(tmp_path):
    (tmp_path / "registered_model_meta").write_text("model_version: 1")
    (tmp_path / "a").write_bytes(b"one")
    assert read_files(tmp_path) == {"a": b"one"}


@pytest.mark.parametrize(
    "changed",
    [{}, {"a": b"two"}, {"a": b"one", "b": b""}, {"b": b"one"}],
    ids=["lost", "changed", "added", "renamed"],
)
def test_any_difference_is_refused(changed):
    expected = files_digest({"a": b"one"})
    assert verified({"a": b"one"}, expected, "it") == {"a": b"one"}
    with pytest.raises(IntegrityError, match="was not opened") as refusal:
        verified(changed, expected, "it")
    assert f"recorded {expected}" in refusal.value.culprits
