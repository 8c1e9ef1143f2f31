"""Reporting delays are estimated without bias from days that are still being reported, and weights follow from them."""

from collections import Counter
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_retraining.domain.labels.reporting_delays import MAX_WEIGHT, ReportingDelays, estimate_delays

AS_OF = date(2026, 3, 14)
TRUE_SHARES = np.cumsum([0.1, 0.25, 0.25, 0.15, 0.1, 0.08, 0.05, 0.02])
"""Share of frauds known after 0 to 7 days."""


def reported(frauds_a_day: int, days: int, seed: int = 1) -> dict[date, dict[int, int]]:
    """Frauds of the last days by delay, as far as they are known at the end of the as-of day."""
    draw = np.random.default_rng(seed)
    found = {}
    for age in range(days):
        delays = np.searchsorted(TRUE_SHARES, draw.random(frauds_a_day))
        found[AS_OF - timedelta(days=age)] = dict(Counter(int(delay) for delay in delays if delay <= age))
    return found


def test_the_estimate_finds_the_true_shares_although_young_days_hide_long_delays():
    found = estimate_delays(reported(2000, 20), AS_OF, 7, min_frauds=50)
    assert found is not None
    np.testing.assert_allclose(found.shares, TRUE_SHARES, atol=0.01)


def test_counting_without_regard_to_age_would_be_biased():
    by_day = reported(2000, 10)
    counts = Counter({delay: sum(day.get(delay, 0) for day in by_day.values()) for delay in range(8)})
    naive = np.cumsum([counts[delay] for delay in range(8)]) / sum(counts.values())
    found = estimate_delays(by_day, AS_OF, 7, min_frauds=50)
    assert found is not None
    assert np.abs(naive - TRUE_SHARES).max() > 5 * np.abs(np.array(found.shares) - TRUE_SHARES).max()


def test_too_few_mature_frauds_give_no_estimate():
    assert estimate_delays(reported(1000, 7), AS_OF, 7, min_frauds=1) is None
    by_day = {AS_OF - timedelta(days=7): {1: 49}}
    assert estimate_delays(by_day, AS_OF, 7, min_frauds=50) is None
    assert estimate_delays({AS_OF - timedelta(days=7): {1: 50}}, AS_OF, 7, min_frauds=50) is not None


def test_a_delay_longer_than_the_label_delay_does_not_count():
    with_late = {AS_OF - timedelta(days=9): {1: 100, 8: 900}}
    without = {AS_OF - timedelta(days=9): {1: 100}}
    late, early = (estimate_delays(one, AS_OF, 7, min_frauds=1) for one in (with_late, without))
    assert late is not None and early is not None and late.shares == early.shares


def test_without_a_delay_everything_is_known_at_once():
    found = estimate_delays({AS_OF: {0: 60}}, AS_OF, 0, min_frauds=50)
    assert found is not None and found.weight(0) == 1.0


def test_a_label_known_before_its_transaction_is_refused():
    with pytest.raises(ValueError, match="became known before their day"):
        estimate_delays({AS_OF: {-1: 1}}, AS_OF, 7, min_frauds=0)


days_of_reports = st.dictionaries(
    st.integers(0, 30).map(lambda age: AS_OF - timedelta(days=age)),
    st.dictionaries(st.integers(0, 12), st.integers(0, 400), max_size=6),
    max_size=15,
)


@given(days_of_reports, st.integers(0, 10))
def test_shares_rise_to_one_and_weights_fall_to_one(by_day: dict[date, dict[int, int]], delay_days: int):
    found = estimate_delays(by_day, AS_OF, delay_days, min_frauds=0)
    assert found is not None
    assert found.shares[-1] == 1.0 and all(0 < a <= b for a, b in zip(found.shares, found.shares[1:], strict=False))
    weights = [found.weight(age) for age in range(delay_days + 3)]
    assert weights == sorted(weights, reverse=True) and weights[-1] == 1.0 and weights[0] <= MAX_WEIGHT


@given(days_of_reports)
def test_the_order_of_days_does_not_matter(by_day: dict[date, dict[int, int]]):
    turned = dict(reversed(by_day.items()))
    assert estimate_delays(by_day, AS_OF, 7, 0) == estimate_delays(turned, AS_OF, 7, 0)


def test_the_record_of_an_estimate_reads_back_as_it_was():
    found = estimate_delays(reported(500, 20), AS_OF, 7, min_frauds=50)
    assert found is not None
    assert ReportingDelays.model_validate_json(found.model_dump_json()) == found
