"""The champion is loaded as production loads it, after its artifact was verified, and put to its own example."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fraud_retraining.adapters.mlflow.model_artifact import read_files
from fraud_retraining.domain.training.scoring import files_digest
from fraud_retraining.domain.values.errors import DependencyUnreachable
from fraud_retraining.services.smoke_test import smoke_test
from fraud_retraining_tests.support.approvals_fixture import Backend, touched


def _without_example(folder: Path) -> None:
    for path in folder.glob("*input_example*"):
        path.unlink()


def _scoring(words: str) -> Callable[[Path], None]:
    """A scorer that answers something else than its model does."""

    def damage(folder: Path) -> None:
        scorer = folder / "scorer.py"
        scorer.write_text(scorer.read_text().replace("self._model.predict(model_input)", words))

    return damage


@pytest.fixture
def serving(backend: Backend) -> Backend:
    """A version that somebody pointed the alias at, of which nothing was tested yet."""
    backend.move_by_hand(backend.registered(0).version)
    return backend


def test_a_sound_champion_passes(serving: Backend):
    found = smoke_test(serving.registry, serving.trained.runs[0].artifact_digest)
    assert (found.passed, found.rows, found.problem) == (True, 5, "")


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (_without_example, "input_example.json"),
        (_scoring("self._model.predict(model_input) + 2"), "no probability"),
        (_scoring("self._model.predict(model_input) * float('nan')"), "no probability"),
        (_scoring("self._model.predict(model_input) / 2"), "the scorer and the model disagree"),
        (_scoring("self._model.predict(model_input.iloc[:2])"), ""),
        (_scoring("undefined"), "NameError"),
    ],
    ids=["no example", "beyond 1", "not a number", "another score", "rows missing", "a bug"],
)
def test_a_champion_that_scores_wrongly_or_not_at_all_fails(
    serving: Backend, damage: Callable[[Path], None], problem: str
):
    with touched(serving.trained.folders[0]) as folder:
        damage(folder)
        found = smoke_test(serving.registry, files_digest(read_files(folder)))
    assert not found.passed
    assert problem in found.problem and found.problem


def test_nothing_of_an_artifact_is_run_that_is_not_the_recorded_one(serving: Backend):
    with touched(serving.trained.folders[0]) as folder:
        trace = folder.parent / "ran"
        (folder / "scorer.py").write_text(f"import pathlib\npathlib.Path({str(trace)!r}).touch()\n")
        found = smoke_test(serving.registry, serving.trained.runs[0].artifact_digest)
        assert not trace.exists()
    assert "was not opened" in found.problem


def test_a_registry_that_does_not_answer_says_nothing_about_the_model(serving: Backend):
    nowhere = serving.trained.__class__("http://127.0.0.1:9", "x", [], []).registry("x", timeout_seconds=4)
    with pytest.raises(DependencyUnreachable):
        smoke_test(nowhere, "d")
