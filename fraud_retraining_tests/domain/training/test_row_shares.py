"""Shares of a window's rows: all of them, once, in their order, and as equal as can be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_retraining.domain.training.row_shares import equal_shares
from fraud_retraining.domain.values.errors import DataInvalid


@given(st.lists(st.integers(0, 30), min_size=1, max_size=8), st.integers(1, 6))
def test_shares_are_the_rows_in_their_order_in_parts_of_equal_size(days: list[int], workers: int) -> None:
    rows = [(day, row) for day, number in enumerate(days) for row in range(number)]
    if len(rows) < workers:
        with pytest.raises(DataInvalid, match="cannot be shared out"):
            equal_shares(days, workers)
        return
    found = []
    for share in equal_shares(days, workers):
        read = [one for one in rows if share.first <= one[0] <= share.last]
        found.append(read[share.skipped : share.skipped + share.rows])
        assert days[share.first] and days[share.last], "a share begins and ends in a day that has rows"
    assert [row for part in found for row in part] == rows
    assert {len(part) for part in found} <= {len(rows) // workers, -(-len(rows) // workers)}
