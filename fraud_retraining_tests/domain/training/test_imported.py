"""Models that were made elsewhere: the scores of their library on our columns, and the refusal of every other one."""

from datetime import date

import numpy as np
import pyarrow as pa
import pytest

from fraud_retraining.domain.labels.policy import LabelPolicy
from fraud_retraining.domain.training.imported import (
    ColumnMap,
    ForeignModel,
    import_fingerprint,
    imported_model,
    proven,
    require_importable,
    require_unseen_holdout,
)
from fraud_retraining.domain.training.scoring import FittedModel
from fraud_retraining.domain.training.windows import (
    FixedEvaluation,
    HoldoutPolicy,
    RollingWindow,
    WindowDays,
    window_days,
)
from fraud_retraining.domain.values.errors import Conflict, DataInvalid, SettingsError
from fraud_retraining_tests.support.onnx_graphs import (
    DOUBLE,
    logistic,
    of_named_columns,
    of_one_operator,
    of_whole_numbers,
    over_the_batch,
)
from fraud_retraining_tests.support.training_transactions import NUMERIC, TRAINING, UNSEEN

KNOWN = (*NUMERIC, "hour", "city")
MATRIX = np.column_stack([TRAINING[name].to_numpy() for name in NUMERIC])
LABEL = TRAINING["is_fraud"].to_numpy()
ASKED = np.column_stack([UNSEEN[name].to_numpy() for name in NUMERIC])


def xgboost_file(rounds: int = 8, **params: object) -> tuple[bytes, np.ndarray]:
    import xgboost

    params = {"objective": "binary:logistic", "max_depth": 3, "nthread": 1, **params}
    booster = xgboost.train(params, xgboost.DMatrix(MATRIX, LABEL, feature_names=list(NUMERIC)), rounds)
    return bytes(booster.save_raw("ubj")), booster.inplace_predict(ASKED, validate_features=False)


def lightgbm_file(**params: object) -> tuple[bytes, np.ndarray]:
    import lightgbm

    given = {"objective": "binary", "verbosity": -1, "num_threads": 1, **params}
    booster = lightgbm.train(given, lightgbm.Dataset(MATRIX, LABEL, feature_name=list(NUMERIC)), 8)
    return booster.model_to_string().encode(), booster.predict(ASKED)


def catboost_trees(loss: str = "Logloss") -> object:
    import catboost

    trees = catboost.CatBoost(
        {"loss_function": loss, "iterations": 8, "thread_count": 1, "silent": True, "allow_writing_files": False}
    )
    return trees.fit(catboost.Pool(MATRIX, LABEL, feature_names=list(NUMERIC)))


def catboost_file() -> tuple[bytes, np.ndarray]:
    trees = catboost_trees()
    return trees._serialize_model(), trees.predict(ASKED, prediction_type="Probability")[:, 1]


MADE = {"xgboost": xgboost_file, "lightgbm": lightgbm_file, "catboost": catboost_file}


def taken_in(format: str, data: bytes, **mapped: object) -> FittedModel:
    return imported_model(ForeignModel(format, data), ColumnMap(**mapped), KNOWN, ("city",))


@pytest.mark.parametrize("format", MADE)
def test_a_native_file_keeps_its_scores_and_travels_as_a_model_of_this_project(format: str) -> None:
    data, expected = MADE[format]()
    model = taken_in(format, data)
    assert model.features == NUMERIC
    assert np.array_equal(model.predict(UNSEEN), np.asarray(expected, np.float64))
    again = FittedModel.from_files(model.files())
    assert np.array_equal(again.predict(UNSEEN), model.predict(UNSEEN))
    assert sum(again.importance().values()) == pytest.approx(1)
    columns = [UNSEEN[name].to_numpy()[:50] for name in NUMERIC]
    assert np.isfinite(again.core.contributions(columns, 0)).all()


def test_columns_may_have_other_names_and_another_order_here() -> None:
    data, expected = lightgbm_file()
    model = taken_in("lightgbm", data, names={"noise": "hour"})
    renamed = UNSEEN.rename_columns(["hour" if name == "noise" else name for name in UNSEEN.column_names])
    assert np.array_equal(model.predict(renamed), expected)
    swapped = taken_in("onnx", logistic([1.0, 2.0], 0.0), columns=("ratio", "amount"))
    same = taken_in("onnx", logistic([2.0, 1.0], 0.0), columns=("amount", "ratio"))
    assert swapped.predict(UNSEEN) == pytest.approx(same.predict(UNSEEN), abs=1e-6)


def test_a_graph_of_named_inputs_says_its_columns_itself() -> None:
    assert taken_in("onnx", of_named_columns(["ratio", "amount"])).features == ("ratio", "amount")


def test_inputs_that_have_names_get_the_column_of_their_name_whatever_the_order_beside_the_model() -> None:
    data = of_named_columns(["ratio", "amount"])
    for beside in (("amount", "ratio"), ("ratio", "amount")):
        model = imported_model(ForeignModel("onnx", data, beside), ColumnMap(), KNOWN, ())
        assert model.features == ("ratio", "amount")
    assert taken_in("onnx", data, columns=("amount", "ratio")).features == ("ratio", "amount")
    renamed = taken_in("onnx", of_named_columns(["r", "amount"]), names={"r": "ratio"})
    assert renamed.features == ("ratio", "amount")
    with pytest.raises(DataInvalid, match="inputs have other names") as refusal:
        taken_in("onnx", of_named_columns(["r", "amount"]), columns=("ratio", "amount"))
    assert refusal.value.culprits == ("inputs: r, amount", "named: ratio, amount")
    trees, expected = xgboost_file()
    model = imported_model(ForeignModel("xgboost", trees, NUMERIC[::-1]), ColumnMap(), KNOWN, ())
    assert np.array_equal(model.predict(UNSEEN), expected.astype(np.float64))


def test_a_scikit_learn_booster_scores_with_its_best_round() -> None:
    import xgboost

    fitted = xgboost.XGBClassifier(n_estimators=30, learning_rate=1.0, early_stopping_rounds=2, n_jobs=1)
    fitted.fit(MATRIX, LABEL, eval_set=[(ASKED, UNSEEN["is_fraud"].to_numpy())], verbose=False)
    assert fitted.best_iteration < 25
    model = taken_in("xgboost", bytes(fitted.get_booster().save_raw("ubj")), columns=NUMERIC)
    assert np.array_equal(model.predict(UNSEEN), fitted.predict_proba(ASKED)[:, 1].astype(np.float64))


def test_every_column_that_is_not_there_is_named_at_once() -> None:
    with pytest.raises(DataInvalid) as refusal:
        taken_in("onnx", of_named_columns(["amount", "age", "mcc", "city"]), names={"mcc": "merchant", "ammount": "x"})
    assert refusal.value.culprits == (
        "ammount is no column of the model",
        "age is no feature of these settings",
        "mcc (here merchant) is no feature of these settings",
        "city is a category; imported models read numbers",
    )
    assert "amount, count, ratio, noise, hour, city" in refusal.value.remedy


@pytest.mark.parametrize(
    ("data", "mapped", "why"),
    [
        (logistic([1.0, 2.0], 0.0), {}, "reads 2 columns and does not say which"),
        (logistic([1.0, 2.0], 0.0), {"columns": ("amount",)}, "reads 2 columns, and 1 are named"),
        (logistic([1.0, 2.0], 0.0), {"columns": ("amount", "amount")}, "amount is named 2 times"),
        (of_named_columns(["amount"], outputs=("one", "two")), {}, "no single output is the probability"),
        (b"\x00" * 50, {}, "it is no ONNX file"),
        (of_one_operator("RandomNormalLike"), {}, "cannot be imported: operators draw by chance"),
    ],
)
def test_a_graph_that_is_not_clear_is_refused(data: bytes, mapped: dict, why: str) -> None:
    with pytest.raises(DataInvalid, match=why):
        taken_in("onnx", data, **mapped)


def test_a_model_that_gives_no_probability_or_has_categories_is_refused() -> None:
    import lightgbm

    cases = {
        "reg:squarederror, not binary:logistic": ("xgboost", xgboost_file(objective="reg:squarederror")[0]),
        "objective is regression": ("lightgbm", lightgbm_file(objective="regression")[0]),
        "loss is RMSE": ("catboost", catboost_trees("RMSE")._serialize_model()),
    }
    kinds = np.column_stack([MATRIX[:, 0], np.arange(len(MATRIX)) % 3])
    rows = lightgbm.Dataset(kinds, LABEL, categorical_feature=[1])
    booster = lightgbm.train({"objective": "binary", "verbosity": -1, "num_threads": 1}, rows, 3)
    cases["categorical features"] = ("lightgbm", booster.model_to_string().encode())
    for why, (format, data) in cases.items():
        with pytest.raises(DataInvalid, match=why):
            taken_in(format, data)


def test_recent_rows_prove_a_model_and_give_a_graph_its_importance() -> None:
    model = proven(taken_in("onnx", logistic([3.0, 0.0], -1.0), columns=("amount", "noise")), UNSEEN)
    assert model.importance() == {"amount": 1.0, "noise": 0.0}
    with pytest.raises(DataInvalid, match=r"every one of 4,000 rows has the score 0\.5"):
        proven(taken_in("onnx", logistic([0.0, 0.0], 0.0), columns=("amount", "noise")), UNSEEN)
    with pytest.raises(DataInvalid, match="are no probabilities"):
        proven(taken_in("onnx", logistic([3.0, 0.0], 0.0, scale=100.0), columns=("amount", "noise")), UNSEEN)
    with pytest.raises(DataInvalid, match="could not score recent rows"):
        proven(taken_in("onnx", logistic([3.0, 1.0], 0.0, rows=7), columns=("amount", "noise")), UNSEEN)


def test_a_row_has_to_have_the_same_score_alone_and_among_others() -> None:
    with pytest.raises(DataInvalid, match="the same score each time") as refusal:
        proven(taken_in("onnx", over_the_batch(), columns=("amount", "noise")), UNSEEN)
    assert [how.split(" rows ")[1] for how in refusal.value.culprits] == ["in another order", "one by one"]


@pytest.mark.parametrize("format", MADE)
def test_native_files_pass_the_proof(format: str) -> None:
    model = taken_in(format, MADE[format]()[0])
    assert proven(model, UNSEEN) is model


def test_a_model_for_which_float32_is_too_coarse_is_refused() -> None:
    import lightgbm

    big = 2.0**24
    value = np.tile([big, big + 1], 500)
    params = {"objective": "binary", "verbosity": -1, "num_threads": 1}
    booster = lightgbm.train(params, lightgbm.Dataset(value[:, None], value > big, feature_name=["amount"]), 3)
    trees = taken_in("lightgbm", booster.model_to_string().encode())
    spread = pa.table({"amount": [*value, 1.0, 2.0**25]})
    with pytest.raises(DataInvalid, match=r"finer than float32(?s:.*)500 of 1,002 rows have another score"):
        proven(trees, spread)
    graph = taken_in("onnx", of_whole_numbers(["amount", "ratio"]))
    rows = pa.table({"amount": [big, big + 1, 3.0], "ratio": [big, big, 2.0]})
    with pytest.raises(DataInvalid, match=r"finer than float32(?s:.*)1 of 3 rows"):
        proven(graph, rows)
    doubles = taken_in("onnx", of_named_columns(["amount", "ratio"], DOUBLE))
    fine = pa.table({"amount": [0.1, 0.2, 0.3], "ratio": [0.1, 0.7, 0.9]})
    assert sum(proven(doubles, fine).importance().values()) == pytest.approx(1)


def test_the_fingerprint_says_that_it_was_imported_and_follows_file_columns_and_claim() -> None:
    def of(data: bytes, columns: tuple[str, ...] = ("amount", "noise"), through: date = date(2026, 2, 1)) -> str:
        foreign = ForeignModel("onnx", data)
        model = imported_model(foreign, ColumnMap(columns=columns), KNOWN, ())
        found = import_fingerprint(
            foreign,
            model,
            as_of=date(2026, 3, 1),
            trained_through=through,
            label_delay_days=7,
            features_policy="p",
            model_policy={"name": "fraud_detector"},
        )
        assert found.imported is not None and found.imported.sha256 == foreign.digest
        assert through in found.imported.training and date(2001, 1, 1) in found.imported.training
        return found.digest

    one = logistic([1.0, 2.0], 0.0)
    digests = [of(one), of(logistic([1.0, 2.5], 0.0)), of(one, ("noise", "amount")), of(one, through=date(2026, 2, 2))]
    assert len(set(digests)) == 4 and of(one) == digests[0]


def test_it_is_never_judged_on_a_day_that_it_may_have_learnt_from() -> None:
    def days(as_of: date):
        return window_days(as_of, RollingWindow(days=5), HoldoutPolicy(days=3), LabelPolicy(delay_days=4))

    begins = days(date(2026, 3, 10)).holdout.start
    require_unseen_holdout(days(date(2026, 3, 10)), date.fromordinal(begins.toordinal() - 1))
    with pytest.raises(SettingsError, match="Import it as of 2026-03-12 or later"):
        require_unseen_holdout(days(date(2026, 3, 10)), date.fromordinal(begins.toordinal() + 1))
    require_unseen_holdout(days(date(2026, 3, 12)), date.fromordinal(begins.toordinal() + 1))


def test_fixed_evaluation_days_that_it_may_have_learnt_from_judge_no_import() -> None:
    policy = HoldoutPolicy(days=3, fixed=FixedEvaluation(start=date(2026, 2, 10), end=date(2026, 2, 12)))
    days = window_days(date(2026, 3, 10), RollingWindow(days=5), policy, LabelPolicy(delay_days=4))
    require_unseen_holdout(days, date(2026, 2, 9))
    with pytest.raises(SettingsError, match="fixed evaluation days 2026-02-10 to 2026-02-12"):
        require_unseen_holdout(days, date(2026, 2, 10))


def test_a_run_takes_in_only_the_first_champion_and_as_of_its_own_day() -> None:
    foreign = ForeignModel("onnx", logistic([1.0, 2.0], 0.0))
    model = imported_model(foreign, ColumnMap(columns=("amount", "noise")), KNOWN, ())
    as_of, through = date(2026, 3, 10), date(2026, 2, 20)
    policies = {"label_delay_days": 4, "features_policy": "p", "model_policy": {}}
    determined_by = import_fingerprint(foreign, model, as_of=as_of, trained_through=through, **policies)

    def days(day: date) -> WindowDays:
        return window_days(day, RollingWindow(days=5), HoldoutPolicy(days=3), LabelPolicy(delay_days=4))

    for champion in (None, determined_by.digest):
        require_importable(days(as_of), determined_by, champion)
    with pytest.raises(Conflict, match="another model became champion meanwhile"):
        require_importable(days(as_of), determined_by, "0" * 64)
    for other in (date(2026, 3, 9), date(2026, 3, 11)):
        with pytest.raises(SettingsError, match=f"imported as of {as_of}, and this run is as of {other}"):
            require_importable(days(other), determined_by, None)


def test_a_library_that_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(SettingsError, match=r"onnxruntime is not installed(?s:.*)fraud-retraining\[onnx\]"):
        taken_in("onnx", logistic([1.0], 0.0), columns=("amount",))
