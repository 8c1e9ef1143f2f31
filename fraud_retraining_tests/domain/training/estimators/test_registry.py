"""Every registered estimator keeps the promises of the protocol."""

import sys
from pathlib import Path

import numpy as np
import pytest

from fraud_retraining.adapters.mlflow.code_versions import PARTS
from fraud_retraining.domain.training.estimators.registry import ESTIMATORS
from fraud_retraining.domain.training.fitting import fit
from fraud_retraining.domain.training.scoring import FittedModel
from fraud_retraining.domain.values.errors import SettingsError
from fraud_retraining.settings import load_settings
from fraud_retraining_tests.support import golden
from fraud_retraining_tests.support.training_transactions import FEATURES, NUMERIC, TRAINING, UNSEEN, given_in, policy


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_parameter_has_a_default_a_description_and_is_closed(name: str) -> None:
    kind = ESTIMATORS[name].parameters
    assert kind.model_config["extra"] == "forbid"
    assert [field for field, about in kind.model_fields.items() if about.is_required() or not about.description] == []


@pytest.mark.parametrize("name", ESTIMATORS)
def test_its_code_is_part_of_the_fingerprint_and_its_metrics_are_golden(name: str) -> None:
    assert type(ESTIMATORS[name]).__module__ in PARTS["training"].modules
    assert name in golden.ESTIMATORS


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_loaded_core_scores_explains_and_ranks_as_the_fitted_one(name: str) -> None:
    core = fit(policy(name), NUMERIC, (), given_in(TRAINING)).core
    loaded = ESTIMATORS[name].load(core.files(), NUMERIC)
    columns = [UNSEEN[feature].to_numpy()[:200] for feature in NUMERIC]
    assert np.array_equal(loaded.probability(columns), core.probability(columns))
    assert np.array_equal(loaded.contributions(columns, 1), core.contributions(columns, 1))
    assert loaded.importance() == core.importance()
    assert loaded.contribution_method == core.contribution_method


@pytest.mark.parametrize("name", ESTIMATORS)
def test_no_rows_have_no_scores_and_no_contributions(name: str) -> None:
    core = fit(policy(name), NUMERIC, (), given_in(TRAINING)).core
    nothing = [np.empty(0, np.float32)] * len(NUMERIC)
    assert core.probability(nothing).shape == (0,)
    assert core.contributions(nothing, 0).shape == (0, len(NUMERIC))


BOOSTERS = ("xgboost", "lightgbm", "catboost")
PARTS_OF_ROWS = (1, 2, 3, 17, 127, 128, 129, 512, 513, 4095, 4096)
"""Around the sizes from which an estimator scores in another form, or on more threads."""


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_row_has_the_same_bits_alone_and_among_many(name: str) -> None:
    """The scorer's answer is the batch's score: missing numbers, and categories that are other or missing, are
    among them."""
    fitted = fit(policy(name), FEATURES, ("city",), given_in(TRAINING))
    random, rows = np.random.default_rng(7), 4200
    columns = [np.where(random.random(rows) < 0.2, np.nan, random.standard_normal(rows)) for _ in NUMERIC]
    columns.append(random.integers(0, len(fitted.vocabularies["city"]) + 2, rows))
    columns = [column.astype(np.float32) for column in columns]
    every = fitted.core.probability(columns)
    assert len(set(every)) > rows / 20
    for count in PARTS_OF_ROWS:
        for first in (0, 1):
            part = fitted.core.probability([column[first : first + count] for column in columns])
            assert part.tobytes() == every[first : first + count].tobytes(), count


@pytest.mark.parametrize("name", BOOSTERS)
def test_the_number_of_threads_changes_no_byte(name: str) -> None:
    """An assumption about each library: `ModelPolicy.threads` and the machine's cores are no part of a fingerprint."""
    one, three = (fit(policy(name, threads=threads), FEATURES, ("city",), given_in(TRAINING)) for threads in (1, 3))
    assert one.core.files() == three.core.files()


@pytest.mark.parametrize("name", BOOSTERS)
def test_the_seed_changes_the_trees(name: str) -> None:
    one, other = (fit(policy(name, seed=seed), NUMERIC, (), given_in(TRAINING)) for seed in (1, 2))
    assert not np.array_equal(one.predict(UNSEEN), other.predict(UNSEEN))


@pytest.mark.parametrize("name", BOOSTERS)
def test_each_round_is_reported_and_raising_in_one_ends_the_fit(name: str) -> None:
    rounds: list[tuple[int, int]] = []

    def stop(done: int, total: int) -> None:
        rounds.append((done, total))
        if done == 9:
            raise TimeoutError("the budget is spent")

    with pytest.raises(TimeoutError, match="the budget is spent"):
        fit(policy(name), NUMERIC, (), given_in(TRAINING), on_round=stop)
    assert rounds == [(done, 12) for done in range(1, 10)]


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_fit_writes_nothing_where_it_runs_and_nothing_on_stdout(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """`--json` gives exactly one object there; CatBoost would leave a folder, LightGBM its log."""
    monkeypatch.chdir(tmp_path)
    model = fit(policy(name), FEATURES, ("city",), given_in(TRAINING.slice(0, 300)))
    FittedModel.from_files(model.files()).predict(UNSEEN)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("name", ["lightgbm", "catboost"])
def test_a_library_that_is_not_installed_is_named_with_its_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAUD_RETRAINING_MODEL__ESTIMATOR", name)
    assert load_settings().model.estimator == name
    files = fit(policy(name), NUMERIC, (), given_in(TRAINING)).files()
    # What Python does with a module that is None is what it does with one that is not there.
    monkeypatch.setitem(sys.modules, name, None)
    remedy = rf'pip install "fraud-retraining\[{name}\]"'
    with pytest.raises(SettingsError, match=rf"one of {name}, and {name} is not installed(?s:.*){remedy}"):
        FittedModel.from_files(files)
    with pytest.raises(SettingsError, match=rf"model.estimator is {name}, and {name} is not installed. .*{remedy}"):
        load_settings()
