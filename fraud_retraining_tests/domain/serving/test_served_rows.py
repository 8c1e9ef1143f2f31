"""What is kept of an answer: the columns, and the features of a sample that every scorer draws alike."""

import numpy as np
import pyarrow as pa
import pytest

from fraud_retraining.domain.data.lake_columns import INTEGER, TEXT
from fraud_retraining.domain.features.plan import FeaturePlan
from fraud_retraining.domain.serving.served_rows import ORDER, Sampler, schema
from fraud_retraining.domain.values.schemas import EntityPolicy

PLAN = FeaturePlan(
    entities={"customer": EntityPolicy(column="c", windows_days=(1,))}, numeric=("risk",), categorical=("channel",)
)
OWN = [name for name in PLAN.names if name not in {"amount", "risk", "channel"}]


def sampled(ids: list[int] | list[str], share: float) -> dict:
    rows = len(ids)
    own = {name: np.full(rows, place, np.float32) for place, name in enumerate(OWN)}
    risk = np.full(rows, np.nan, np.float32)
    return Sampler(PLAN, share).of(ids, np.arange(rows) + 0.5, own, {"risk": risk}, {"channel": [None] * rows})


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0, 0), (0.1, 420, 580), (1.0, 5000, 5000)])
def test_a_share_of_all_transactions_is_sampled(share: float, least: int, most: int) -> None:
    assert least <= len(sampled(list(range(5000)), share)) <= most


def test_the_sample_depends_on_the_id_alone() -> None:
    ids = [f"t{number}" for number in range(300)]
    whole = {ids[place] for place in sampled(ids, 0.2)}
    singly = {one for one in reversed(ids) if sampled([one], 0.2)}
    assert whole == singly
    assert whole < {ids[place] for place in sampled(ids, 0.3)}


def test_a_sample_has_the_features_in_the_order_of_the_plan() -> None:
    sample = sampled([1, 2], 1.0)[1]
    np.testing.assert_array_equal(sample.numbers, np.array([1.5, *range(len(OWN)), np.nan], np.float32))
    assert sample.numbers.dtype == np.float32
    assert sample.categories == [None]


def test_keys_have_the_types_of_the_days_and_are_text_where_no_day_says() -> None:
    columns = schema(["customer", "device"], {"transaction_id": INTEGER, "customer": TEXT, "device.part": INTEGER})
    kinds = {name: columns.field(name).type for name in ("transaction_id", "customer", "device")}
    assert kinds == {"transaction_id": pa.int64(), "customer": pa.string(), "device": pa.string()}
    assert set(ORDER) <= set(columns.names)
