"""Settings of labels."""

import pytest
from pydantic import ValidationError

from fraud_retraining.domain.labels.policy import LabelPolicy
from fraud_retraining.settings import Settings


def test_as_of_days_and_holdouts_lie_apart_by_the_label_delay_unless_labels_are_used_as_known() -> None:
    assert LabelPolicy(delay_days=9).lag_days == 9
    assert LabelPolicy(delay_days=9, use="as_known").lag_days == 0


def test_a_feed_is_not_read_as_mature_labels() -> None:
    with pytest.raises(ValidationError, match="set use: as_known"):
        LabelPolicy(uri="s3://payments/labels")


def test_settings_from_before_labels_were_waited_for_have_the_same_digest() -> None:
    assert "wait_days" not in Settings().model_dump(mode="json")["labels"]
    assert "wait_days" not in LabelPolicy(wait_days=1).model_dump()
    assert LabelPolicy(wait_days=0).model_dump()["wait_days"] == 0


@pytest.mark.parametrize("wait_days", [-1, 15])
def test_a_wait_has_an_end(wait_days: int) -> None:
    with pytest.raises(ValidationError, match="wait_days"):
        LabelPolicy(wait_days=wait_days)
