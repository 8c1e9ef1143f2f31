"""Policies of columns and labels refuse what contradicts itself."""

import pytest
from pydantic import ValidationError

from fraud_retraining.domain.labels.policy import LabelPolicy
from fraud_retraining.domain.values.schemas import label_texts


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        (1, ("1",)),
        (1.0, ("1",)),
        (0.5, ("0.5",)),
        (" Fraud\t", ("fraud",)),
        (True, ("true", "yes", "on")),
        (False, ("false", "no", "off")),
    ],
)
def test_a_listed_label_matches_the_texts_that_a_lake_may_hold(value: bool | float | str, texts: tuple[str]) -> None:
    assert label_texts(value) == texts


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"fraud_values": ("Y",)}, "given together"),
        ({"fraud_values": ("Y", " "), "genuine_values": ("N",)}, "an empty label is always unknown"),
        ({"fraud_values": ("Yes",), "genuine_values": (True,)}, "both list yes"),
        ({"delay_days": -1}, "greater than or equal to 0"),
    ],
)
def test_labels_that_contradict_each_other_are_refused(values: dict[str, object], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        LabelPolicy(**values)
