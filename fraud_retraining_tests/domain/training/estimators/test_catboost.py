"""CatBoost: the same file each time, a file that CatBoost alone can open, and categories beyond any histogram."""

import numpy as np
import pytest
from pydantic import ValidationError

from fraud_retraining.domain.training.fitting import ModelPolicy, fit
from fraud_retraining.domain.values.errors import DataInvalid
from fraud_retraining_tests.support.training_transactions import FEATURES, TRAINING, UNSEEN, changed, given_in, policy


def test_the_cbm_is_a_model_of_plain_catboost(tmp_path):
    """What production may fall back on: CatBoost alone opens the file and gives the same probabilities."""
    import catboost

    fitted = fit(policy("catboost"), ("amount", "count"), (), given_in(TRAINING))
    fitted.save(tmp_path)
    plain = catboost.CatBoost().load_model(str(tmp_path / "model.cbm"))
    matrix = UNSEEN.select(["amount", "count"]).to_pandas().to_numpy(np.float32)
    assert np.array_equal(plain.predict(matrix, prediction_type="Probability")[:, 1], fitted.predict(UNSEEN))


def test_importance_and_effects_stand_at_their_features_wherever_categories_stand():
    """CatBoost puts categories behind the numbers."""
    orders = [("amount", "count", "city"), ("city", "count", "amount")]
    one, other = (fit(policy("catboost"), order, ("city",), given_in(TRAINING)) for order in orders)
    for model, order in ((one, orders[0]), (other, orders[1])):
        assert max(model.importance(), key=model.importance().__getitem__) == "amount"
        columns = [UNSEEN[name].to_numpy()[:500] if name != "city" else np.full(500, 2, np.float32) for name in order]
        effects = dict(zip(order, np.abs(model.core.contributions(columns, 0)).mean(axis=0), strict=True))
        assert max(effects, key=effects.__getitem__) == "amount"


def test_a_model_of_categories_alone_learns_from_hundreds_of_them():
    """A histogram of 255 bins would count those of the fewest rows as one."""
    random = np.random.default_rng(1)
    shop = random.integers(0, 800, len(TRAINING))
    fraud = (random.random(len(TRAINING)) < np.where(shop % 10 == 3, 0.7, 0.02)).astype(np.int8)
    rows = changed(changed(TRAINING, "city", [f"shop {one}" for one in shop]), "is_fraud", fraud)
    model = fit(policy("catboost", iterations=40), ("city",), ("city",), given_in(rows))
    assert len(model.vocabularies["city"]) == len(np.unique(shop)) > 700
    asked = changed(UNSEEN.slice(0, 800), "city", [f"shop {one}" for one in range(800)])
    scores, bad = model.predict(asked), np.arange(800) % 10 == 3
    assert scores[bad].mean() > 4 * scores[~bad].mean()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"max_leaves": 9}, "max_leaves is for grow_policy Lossguide, not for SymmetricTree"),
        ({"min_data_in_leaf": 9}, "min_data_in_leaf is for grow_policy Depthwise or Lossguide, not for SymmetricTree"),
    ],
)
def test_parameters_that_catboost_would_refuse_at_night_are_refused_at_start(params, message):
    with pytest.raises(ValidationError, match=message):
        ModelPolicy(estimator="catboost", params=params)


def test_rows_that_it_cannot_draw_from_are_refused_as_data():
    few = TRAINING.slice(0, 2)
    two = changed(few, "is_fraud", np.array([0, 1], np.int8))
    with pytest.raises(DataInvalid, match=r"CatBoost cannot learn(?s:.*)Too few sampling units"):
        fit(policy("catboost", subsample=0.1), FEATURES, ("city",), given_in(two))


@pytest.mark.parametrize(
    "params",
    [
        {"subsample": 1.0},
        {"grow_policy": "Lossguide", "max_leaves": 9, "min_data_in_leaf": 20},
        {"grow_policy": "Depthwise", "min_data_in_leaf": 20},
    ],
)
def test_every_way_of_growing_fits(params):
    model = fit(policy("catboost", **params), FEATURES, ("city",), given_in(TRAINING.slice(0, 2000)))
    assert np.ptp(model.predict(UNSEEN)) > 0.1
