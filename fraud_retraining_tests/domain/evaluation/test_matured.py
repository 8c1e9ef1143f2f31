"""A verdict that is measured again is refuted below the allowed loss, confirmed above it, and undecided in between."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_retraining.domain.evaluation.comparison import Comparison
from fraud_retraining.domain.evaluation.gates import NO_CHAMPION
from fraud_retraining.domain.evaluation.matured import (
    Difference,
    MaturedCounts,
    MaturedOutcome,
    MaturedVerdict,
    mature_on,
    outcome_of,
)
from fraud_retraining.domain.values.interval import Interval

O = MaturedOutcome  # noqa: E741
ORDER = (O.REFUTED, O.UNDECIDED, O.CONFIRMED)
DAY = date(2026, 3, 1)
shares = st.floats(0, 1)


@st.composite
def intervals(draw: st.DrawFn) -> Interval:
    low, value, high = sorted(draw(st.tuples(*[st.floats(-1, 1)] * 3)))
    return Interval(value=value, low=low, high=high, deviation=(high - low) / 4)


def moved(interval: Interval, by: float) -> Interval:
    return interval.model_copy(update={name: getattr(interval, name) + by for name in ("value", "low", "high")})


@given(intervals(), shares)
def test_only_an_interval_on_one_side_of_the_allowed_loss_decides(interval: Interval, allowed: float) -> None:
    found = outcome_of(interval, allowed)
    assert (found is O.REFUTED) == (interval.high < -allowed)
    assert (found is O.CONFIRMED) == (interval.low >= -allowed)


@given(intervals(), shares, st.floats(0, 1))
def test_a_better_candidate_is_never_judged_worse(interval: Interval, allowed: float, better: float) -> None:
    assert ORDER.index(outcome_of(moved(interval, better), allowed)) >= ORDER.index(outcome_of(interval, allowed))


@given(intervals(), shares, shares)
def test_who_may_lose_more_is_never_refuted_sooner(interval: Interval, one: float, other: float) -> None:
    less, more = sorted((one, other))
    assert ORDER.index(outcome_of(interval, more)) >= ORDER.index(outcome_of(interval, less))


@given(st.sets(st.integers(0, 30), min_size=1), st.integers(0, 60))
def test_labels_are_mature_a_label_delay_after_the_last_day(days: set[int], delay: int) -> None:
    found = mature_on([DAY + timedelta(days=n) for n in days], delay)
    assert found == DAY + timedelta(days=max(days) + delay)


@given(st.lists(st.sampled_from([*O])))
def test_counts_hold_every_outcome(outcomes: list[MaturedOutcome]) -> None:
    found = MaturedCounts.of(map(str, outcomes))
    assert sum(found.model_dump().values()) == len(outcomes)
    assert found.refuted == outcomes.count(O.REFUTED)


def comparison(difference: float) -> Comparison:
    half = Interval(value=0.5, low=0.4, high=0.6, deviation=0.05)
    lost = Interval(value=difference, low=difference - 0.01, high=difference + 0.01, deviation=0.005)
    return Comparison(
        rows=900, frauds=40, candidate=half, champion=half, difference=lost, resamples=200, confidence=0.95
    )


def verdict(outcome: MaturedOutcome, now: float | None, reason: str = "") -> MaturedVerdict:
    return MaturedVerdict(
        version=7, as_of=DAY, champion_version=6, days=(DAY - timedelta(days=1), DAY), mature_on=DAY,
        then=Difference.of(comparison(0.02)), now=Difference.of(comparison(now)) if now is not None else None,
        allowed_loss=0.01, outcome=outcome, reason=reason,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (verdict(O.REFUTED, -0.2), ("Refuted", "-0.200 (-0.210 to -0.190)", "+0.020", "version 6", "0.01 is allowed")),
        (verdict(O.UNDECIDED, None, "too few frauds"), ("Undecided", "not compared, too few frauds")),
        (verdict(O.NOT_MEASURED, None, "version 6 is gone"), ("Cannot be measured: version 6 is gone.",)),
    ],
)
def test_a_sentence_says_what_was_found_and_what_was_thought(found: MaturedVerdict, words: tuple[str, ...]) -> None:
    assert all(word in found.summary for word in words), found.summary
    assert MaturedVerdict.model_validate(found.model_dump(mode="json")) == found


def test_rows_that_did_not_compare_have_no_difference() -> None:
    assert Difference.of(NO_CHAMPION) is None and Difference.of(None) is None
