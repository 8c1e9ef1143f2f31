"""Differences of two policies: exactly 0 with itself, paired, and with the noise of whole blocks of days."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_retraining.domain.replay.comparison import BLOCK_DAYS, block_draws, compared, mean_difference
from fraud_retraining_tests.support.replay_results import result_of

values = st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=1, max_size=40)


@given(values)
@settings(max_examples=40, deadline=None)
def test_a_policy_that_is_the_present_settings_differs_by_exactly_zero(precisions: list[float | None]) -> None:
    found = compared(result_of("same", precisions), result_of("present settings", precisions), 0.95).against_present
    assert found is not None
    intervals = [found.average_precision, found.card_precision, found.amount_caught]
    assert all(one is None or (one.value, one.low, one.high, one.deviation) == (0, 0, 0, 0) for one in intervals)


@given(values, st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_a_constant_gain_has_no_noise(precisions: list[float | None], gain: float) -> None:
    found = mean_difference([None if one is None else one + gain for one in precisions], precisions, 0.95)
    if found is not None:
        assert np.allclose([found.value, found.low, found.high], gain)


def test_days_are_drawn_in_blocks_that_stay_together() -> None:
    drawn = block_draws(28)
    steps = (np.diff(drawn, axis=1) % 28 == 1).mean()
    assert drawn.shape[1] == 28
    assert steps > 1 - 1 / BLOCK_DAYS


def test_a_gain_of_neighbouring_days_is_less_certain_than_one_of_scattered_days() -> None:
    together = mean_difference([1.0] * 14 + [0.0] * 14, [0.0] * 28, 0.95)
    scattered = mean_difference([1.0, 0.0] * 14, [0.0] * 28, 0.95)
    assert together is not None
    assert scattered is not None
    assert together.deviation > 2 * scattered.deviation


def test_the_amount_is_over_all_days() -> None:
    found = compared(result_of("better", [0.5] * 10), result_of("present settings", [0.4] * 10), 0.9).against_present
    assert found is not None
    assert round(found.amount_caught.value) == 100
