"""Two rows have the same digest where they have the same bits, in arrays of a scorer and in a table of a day."""

import hashlib
import struct
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_retraining.domain.features.plan import FeaturePlan
from fraud_retraining.domain.features.row_digests import RowDigests
from fraud_retraining.domain.values.schemas import EntityPolicy

PLAN = FeaturePlan(
    entities={"customer": EntityPolicy(column="c", windows_days=(1,))},
    numeric=("risk", "age"),
    categorical=("channel", "country"),
)
OWN = [name for name in PLAN.names if name not in {"amount", *PLAN.numeric, *PLAN.categorical}]
DIGESTS = RowDigests(PLAN)

Row = dict[str, Any]

# Few values and texts that would run into each other, so that equal rows and near misses are common.
FLOATS = st.sampled_from([0.0, -0.0, 1.0, float(np.nextafter(np.float32(1), np.float32(2))), float("nan")])
AMOUNTS = st.sampled_from([0.0, -0.0, 1.0, float(np.nextafter(1.0, 2.0))])
TEXTS = st.sampled_from([None, "", "a", "ab", "b", "é", "\x01\x00\x00\x00"])
ROWS = st.fixed_dictionaries(
    {
        "amount": AMOUNTS,
        **dict.fromkeys((OWN[0], OWN[-1], *PLAN.numeric), FLOATS),
        **dict.fromkeys(PLAN.categorical, TEXTS),
    }
)


def digests(rows: list[Row]) -> list[str]:
    def floats(names: Any) -> dict[str, Any]:
        return {name: np.array([row.get(name, 0) for row in rows], np.float32) for name in names}

    amounts = np.array([row["amount"] for row in rows], np.float64)
    categories = {name: [row[name] for row in rows] for name in PLAN.categorical}
    return DIGESTS.of(amounts, floats(OWN), floats(PLAN.numeric), categories)


def as_table(rows: list[Row]) -> pa.Table:
    """As a day of the store has them, with null where there is no number, and the columns in another order."""
    columns: dict[str, Any] = {name: pa.array([row[name] for row in rows], pa.string()) for name in PLAN.categorical}
    for name in PLAN.numeric:
        columns[name] = pa.array([None if row[name] != row[name] else row[name] for row in rows], pa.float32())
    columns |= {name: pa.array([row.get(name, 0) for row in rows], pa.float32()) for name in OWN}
    return pa.table(columns | {"amount": pa.array([row["amount"] for row in rows], pa.float64())})


def bits(row: Row) -> tuple[Any, ...]:
    numbers = [np.float32(row.get(name, 0)) for name in (*OWN, *PLAN.numeric)]
    plain = [None if np.isnan(number) else number.tobytes() for number in numbers]
    return (np.float64(row["amount"]).tobytes(), *plain, *(row[name] for name in PLAN.categorical))


@settings(max_examples=60)
@given(st.lists(ROWS, min_size=2, max_size=6))
def test_digests_are_equal_exactly_where_the_bits_are(rows: list[Row]) -> None:
    found = digests(rows)
    for one, digest in zip(rows, found, strict=True):
        for other, second in zip(rows, found, strict=True):
            assert (digest == second) == (bits(one) == bits(other))


@settings(max_examples=20)
@given(st.lists(ROWS, max_size=6))
def test_a_row_has_the_same_digest_alone_among_others_and_in_a_table_of_a_day(rows: list[Row]) -> None:
    found = digests(rows)
    assert found == [digests([row])[0] for row in rows] == DIGESTS.of_table(as_table(rows))


def test_a_digest_stays_what_it_is() -> None:
    """Logs are compared with days that are made again later, so a digest has to mean the same then."""
    row = {"amount": 12.5, "risk": float("nan"), "age": 41.0, "channel": None, "country": "é"}
    numbers = struct.pack(f"<d{len(OWN)}f", 12.5, *[0.0] * len(OWN)) + bytes.fromhex("0000c07f00002442")
    content = numbers + bytes.fromhex("ffffffff02000000c3a9")
    assert digests([row]) == [hashlib.blake2b(content, digest_size=16).hexdigest()]


def test_every_nan_counts_as_the_same_null() -> None:
    odd = np.array([0x7FC00001, 0xFFC00000, 0x7F800001], np.uint32).view(np.float32)
    own = {name: np.zeros(3, np.float32) for name in OWN}
    found = DIGESTS.of(np.ones(3), own, {"risk": odd, "age": odd}, {name: [None] * 3 for name in PLAN.categorical})
    assert len(set(found)) == 1


def test_a_table_longer_than_one_part_has_a_digest_for_every_row(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"amount": float(n), "risk": 0, "age": 0, "channel": "a", "country": None} for n in range(7)]
    monkeypatch.setattr("fraud_retraining.domain.features.row_digests._ROWS_AT_ONCE", 3)
    table = pa.concat_tables([as_table(rows[:2]), as_table(rows[2:])])
    assert DIGESTS.of_table(table) == digests(rows)


def test_a_plan_of_numbers_only_has_digests_too() -> None:
    plan = PLAN.model_copy(update={"numeric": (), "categorical": ()})
    own = {name: np.array([0, 0, 1], np.float32) for name in OWN}
    found = RowDigests(plan).of(np.ones(3), own, {}, {})
    assert found[0] == found[1] != found[2]
