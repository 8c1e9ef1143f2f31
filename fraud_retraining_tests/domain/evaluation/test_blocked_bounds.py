"""Bounds of metrics over everything that unknown rows could be: tried label by label on small cases."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_retraining.domain.evaluation.blocked_bounds import RightOf, alert_bounds, average_precision_bounds
from fraud_retraining.domain.evaluation.judged import UNKNOWN, Judged
from fraud_retraining.domain.evaluation.metrics import average_precision, daily_alerts

ROUNDING = 1e-9
ROW = st.tuples(
    st.sampled_from([0, 1, UNKNOWN]),
    st.integers(1, 9),  # score, in tenths
    st.integers(0, 3),  # customer
    st.integers(0, 2),  # day
    st.integers(1, 20),  # amount
    st.sampled_from([1.0, 1.5, 4.0]),  # frauds that a known one stands for
)
ROWS = st.lists(ROW, min_size=1, max_size=8)


def judged(rows: list[tuple], *, weighted: bool = False, distinct: bool = False) -> Judged:
    labels, scores, customers, days, amounts, reports = map(np.array, zip(*rows, strict=True))
    return Judged(
        labels=labels.astype(np.int8),
        scores=np.linspace(0.9, 0.1, len(rows)) if distinct else scores / 10,
        customers=customers,
        days=days.astype(np.int32),
        amounts=amounts.astype(float),
        report_weights=reports if weighted else None,
        row_weights=(labels != UNKNOWN).astype(float),
    )


def possible(rows: Judged) -> list[Judged]:
    """The rows under every labelling of those that are unknown."""
    places = np.flatnonzero(~rows.known)
    found = []
    for guess in product((0, 1), repeat=len(places)):
        labels = rows.labels.copy()
        labels[places] = guess
        reports = None if rows.report_weights is None else np.where(rows.known, rows.report_weights, 1.0)
        found.append(replace(rows, labels=labels, report_weights=reports, row_weights=None))
    return found


@settings(max_examples=100, deadline=None)
@given(ROWS, st.booleans(), st.booleans())
def test_average_precision_lies_within_its_bounds_whatever_unknown_rows_are(given, weighted, distinct):
    rows = judged(given, weighted=weighted, distinct=distinct)
    values = [value for one in possible(rows) if (value := average_precision(one)) is not None]
    bounds = average_precision_bounds(rows)
    if not values:
        assert bounds is None
        return
    assert bounds is not None
    assert 0 <= bounds[0] <= min(values) + ROUNDING and max(values) - ROUNDING <= bounds[1] <= 1
    if distinct and not weighted:
        assert bounds == pytest.approx((min(values), max(values))), "sharp"


def alerts_of(rows: Judged, k: int) -> tuple[float, float]:
    """Card Precision and the amount caught a day, by their definitions."""
    days = list(daily_alerts(rows, k))
    amounts = rows.amounts if rows.weights is None else rows.amounts * rows.weights
    shares, caught = [], 0.0
    for day in days:
        mine = (rows.days == day.day) & (rows.labels == 1) & np.isin(rows.entities, day.right)
        # A right alert counts as its own fraud does; a day at most as if all its alerts were right.
        weight = np.zeros(int(rows.entities.max()) + 1)
        np.maximum.at(weight, rows.entities[mine], np.ones(mine.sum()) if rows.weights is None else rows.weights[mine])
        shares.append(min(float(weight.sum()) / k, 1.0))
        caught += float(amounts[mine].sum())
    return float(np.mean(shares)), caught / len(days)


@settings(max_examples=100, deadline=None)
@given(ROWS, st.integers(1, 3), st.booleans())
def test_alerts_lie_within_their_bounds_whatever_unknown_rows_are(given, k, weighted):
    rows = judged(given, weighted=weighted)
    least, most = (
        [RightOf(day.day, day.right) for day in daily_alerts(rows.assuming(fraud=fraud), k)] for fraud in (False, True)
    )
    bounds = alert_bounds(rows, k, least, most)
    shares, amounts = zip(*(alerts_of(one, k) for one in possible(rows)), strict=True)
    for found, values in ((bounds.card_precision, shares), (bounds.amount_caught, amounts)):
        assert found[0] <= min(values) + ROUNDING and max(values) - ROUNDING <= found[1]
    if not weighted:
        assert bounds.card_precision == pytest.approx((min(shares), max(shares))), "sharp"
        if len(set(zip(rows.customers, rows.days, strict=True))) == len(set(rows.customers)):
            assert bounds.amount_caught == pytest.approx((min(amounts), max(amounts))), "sharp: nobody has two days"


def test_where_nothing_is_unknown_the_bounds_meet_in_the_metric():
    rows = judged([(1, 9, 0, 0, 5, 1.0), (0, 8, 1, 0, 5, 1.0), (1, 7, 2, 0, 5, 1.0)])
    assert average_precision_bounds(rows) == pytest.approx((average_precision(rows),) * 2)
    assert average_precision_bounds(replace(rows, scores=np.array([0.1, np.nan, 0.2]))) is None
