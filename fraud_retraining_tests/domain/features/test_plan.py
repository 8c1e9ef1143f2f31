"""A plan fixes which features there are, their order, and how far they look back."""

from datetime import date

import pytest
from pydantic import ValidationError

from fraud_retraining.domain.features.plan import FeaturePlan
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.domain.values.schemas import EntityPolicy
from fraud_retraining_tests.domain.features.test_point_in_time import PLAN


def test_a_plan_fixes_names_and_order():
    plan = FeaturePlan(
        entities={"card": EntityPolicy(column="x", windows_days=(1, 7), fraud_share=True)},
        numeric=("distance",),
        categorical=("country",),
        slices=("channel", "country"),
        labelled_at=True,
    )
    assert plan.names == (
        "amount", "hour", "weekend", "night",
        "card_count_1d", "card_mean_amount_1d", "card_max_amount_1d", "card_max_ratio_1d",
        "card_amount_ratio_1d", "card_amount_zscore_1d",
        "card_count_7d", "card_mean_amount_7d", "card_max_amount_7d", "card_max_ratio_7d",
        "card_amount_ratio_7d", "card_amount_zscore_7d",
        "card_seconds_since_previous",
        "card_fraud_share_1d", "card_labelled_count_1d", "card_fraud_share_7d", "card_labelled_count_7d",
        "card_days_since_first_fraud", "card_days_since_last_fraud",
        "card_days_since_last_nonfraud", "card_days_since_fraud_streak_began", "card_fraud_streak",
        "distance", "country",
    )  # fmt: skip
    assert plan.columns[:6] == ("transaction_id", "timestamp", "card", "is_fraud", "labelled_at", "channel")
    assert plan.columns[6:] == plan.names


@pytest.mark.parametrize("labels_as_known", [False, True])
def test_every_feature_has_a_meaning_of_its_own_in_plain_words(labels_as_known: bool):
    windows = EntityPolicy(column="x", windows_days=(1, 7, 30), fraud_share=True)
    plan = FeaturePlan(
        entities={"customer": windows, "card_reader": windows},
        numeric=("distance",),
        categorical=("country",),
        slices=("channel",),
        labels_as_known=labels_as_known,
    )
    meanings = plan.meanings
    assert tuple(meanings) == plan.names
    assert len(set(meanings.values())) == len(meanings)
    assert [text for text in meanings.values() if not text.strip() or set("{}_") & set(text)] == []
    about = {name: topic.removesuffix("_labels").replace("_", " ") for name, topic in plan.topics.items()}
    assert [name for name, entity in about.items() if entity != "transaction" and entity not in meanings[name]] == []
    assert [name for name in meanings if name.endswith("_7d") and "7 days" not in meanings[name]] == []


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("amount", "amount of the transaction"),
        ("night", "whether it is before 7:00, UTC"),
        ("distance", "distance as delivered"),
        ("card_count_1d", "transactions of the card in the last 24 hours, with this one"),
        ("card_amount_ratio_7d", "amount relative to the card's earlier mean in the last 7 days"),
        (
            "card_fraud_share_1d",
            "share of frauds among the card's labelled transactions in the last day with mature labels",
        ),
        ("card_days_since_last_fraud", "days since the last fraud of the card in the last 7 days with mature labels"),
    ],
)
def test_a_meaning_names_entity_and_window(name: str, meaning: str):
    card = EntityPolicy(column="x", windows_days=(1, 7), fraud_share=True)
    assert FeaturePlan(entities={"card": card}, numeric=("distance",)).meanings[name] == meaning


def test_with_the_default_delay_and_windows_a_day_looks_back_37_days():
    plan = FeaturePlan(
        entities={"customer": EntityPolicy(column="c"), "terminal": EntityPolicy(column="t", fraud_share=True)}
    )
    needed = plan.lookback(date(2026, 3, 31))
    assert needed.yesterday == date(2026, 3, 30)
    assert needed.entity_days["customer"] == DayRange(start=date(2026, 3, 1), end=date(2026, 3, 30))
    assert needed.entity_days["terminal"] == DayRange(start=date(2026, 2, 22), end=date(2026, 3, 30))


@pytest.mark.parametrize(
    "columns",
    [
        pytest.param({"numeric": ("hour",)}, id="a column of the lake named like one of ours"),
        pytest.param({"categorical": ("customer",)}, id="an entity that would also be a category"),
        pytest.param({"numeric": ("x",), "categorical": ("x",)}, id="one column twice"),
        pytest.param({"numeric": ("amount",)}, id="the amount, which is a feature anyway"),
    ],
)
def test_a_plan_refuses_two_columns_of_one_name(columns: dict[str, tuple[str, ...]]):
    with pytest.raises(ValidationError, match="named twice"):
        FeaturePlan(entities=PLAN.entities, **columns)
