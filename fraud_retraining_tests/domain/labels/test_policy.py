"""Settings of labels."""

import pytest
from pydantic import ValidationError

from fraud_retraining.domain.labels.policy import LabelPolicy


def test_as_of_days_and_holdouts_lie_apart_by_the_label_delay_unless_labels_are_used_as_known() -> None:
    assert LabelPolicy(delay_days=9).lag_days == 9
    assert LabelPolicy(delay_days=9, use="as_known").lag_days == 0


def test_a_feed_is_not_read_as_mature_labels() -> None:
    with pytest.raises(ValidationError, match="set use: as_known"):
        LabelPolicy(uri="s3://payments/labels")
