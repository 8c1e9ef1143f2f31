"""Cells of tables: numbers with a fixed format, a dash where there is none."""

import pytest

from fraud_retraining.domain.values.interval import Interval
from fraud_retraining.domain.values.plain_tables import NONE, grid, number, share, span


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (number(0.98765), "0.9877"),
        (number(1234.5, ",.0f"), "1,234"),
        (number(0.0), "0.0000"),
        (number(None), NONE),
        (share(0.0), "0.0%"),
        (share(None), NONE),
        (span(None), NONE),
        (span(Interval(value=0.5, low=0.25, high=0.75, deviation=0.1), ".2f"), "0.25 to 0.75"),
    ],
)
def test_zero_is_a_number_and_a_missing_one_is_a_dash(cell: str, text: str) -> None:
    assert cell == text


def test_a_grid_keeps_rows_in_the_order_in_which_they_are_made() -> None:
    made = grid("gates", "Gates", ("gate", "rows"), ((name, n) for n, name in enumerate("ba")))
    assert made.rows == (("b", 0), ("a", 1))
