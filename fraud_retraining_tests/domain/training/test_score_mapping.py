"""A score mapping keeps order and ties, at the extremes too, and its knots are met to the bit."""

import json
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_retraining.domain.training.score_mapping import ScoreMapping, through

LAW = settings(deadline=None, max_examples=200)
EXTREMES = [0.0, 1e-300, 1e-38, 1e-30, 1e-17, 1e-7, 0.5, 1 - 2.0**-24, 1 - 2.0**-53, 1.0]

score = st.one_of(st.floats(0, 1), st.floats(0, 1e-6), st.floats(1 - 1e-6, 1), st.sampled_from(EXTREMES))
short_score = st.floats(2.0**-100, 1, width=32)
points = st.lists(st.tuples(score, score), max_size=30)
mappings = points.map(lambda some: through([one for one, _ in some], [one for _, one in some], {}))


@given(mappings, st.lists(score, max_size=40))
@LAW
def test_order_is_never_reversed_and_ties_stay_ties(mapping: ScoreMapping, scores: list[float]) -> None:
    given_scores = np.sort(np.array([*scores, *EXTREMES, *scores]))
    mapped = mapping(given_scores)
    assert (np.diff(mapped) >= 0).all()
    assert (mapped[1:][np.diff(given_scores) == 0] == mapped[:-1][np.diff(given_scores) == 0]).all()
    assert np.isfinite(mapped).all() and mapped.min() >= 0 and mapped.max() <= 1
    assert (mapping(np.array([0.0, 1.0])) == [0.0, 1.0]).all()


@given(mappings, st.lists(short_score, min_size=1, max_size=40))
@LAW
def test_different_scores_of_32_bits_stay_different(mapping: ScoreMapping, scores: list[float]) -> None:
    near = np.array(scores, np.float32)
    around = np.concatenate([near, np.nextafter(near, np.float32(2)), np.nextafter(near, np.float32(0))])
    knots = np.array([*mapping.scores], np.float32)
    distinct = np.unique(np.clip(np.concatenate([around, knots, np.nextafter(knots, np.float32(2))]), 1e-30, 1))
    assert (np.diff(mapping(distinct.astype(np.float64))) > 0).all()


@given(mappings, st.lists(score, min_size=1, max_size=20))
@LAW
def test_a_row_alone_is_mapped_as_among_others(mapping: ScoreMapping, scores: list[float]) -> None:
    together = mapping(np.array(scores))
    alone = [mapping(np.array([one]))[0] for one in scores]
    assert together.tolist() == alone


@given(mappings)
@LAW
def test_knots_and_document_are_kept_to_the_bit(mapping: ScoreMapping) -> None:
    assert mapping(np.array(mapping.scores)).tolist() == list(mapping.mapped)
    assert ScoreMapping.from_document(json.loads(json.dumps(mapping.document()))) == mapping


def test_points_that_rise_are_knots_and_a_standstill_is_raised_by_little() -> None:
    assert through([0.1, 0.4], [0.2, 0.3], {}) == ScoreMapping((0.1, 0.4), (0.2, 0.3))
    flat = through([0.1, 0.2, 0.4], [0.3, 0.3, 0.3], {})
    assert flat.mapped[0] == 0.3 and flat.mapped[2] == pytest.approx(0.3, rel=1e-4)


def test_above_the_greatest_knot_it_runs_straight_to_one() -> None:
    mapping = through([0.2], [0.6], {})
    assert mapping(np.array([0.1, 0.2, 0.6])) == pytest.approx([0.3, 0.6, 0.8])


def test_what_is_no_probability_is_not_made_to_look_like_one() -> None:
    given_scores = np.array([np.nan, -0.5, 1.5, np.inf])
    assert np.array_equal(through([0.2], [0.6], {})(given_scores), given_scores, equal_nan=True)
    assert through([0.2], [0.6], {})(np.empty(0)).shape == (0,)


@pytest.mark.parametrize(
    "broken",
    [
        lambda: ScoreMapping((0.2, 0.1), (0.1, 0.2)),
        lambda: ScoreMapping((0.1, 0.2), (0.2, 0.2)),
        lambda: ScoreMapping((0.1,), (1.0,)),
        lambda: ScoreMapping((0.1,), ()),
        lambda: ScoreMapping((float("nan"),), (0.5,)),
    ],
    ids=["falling", "standing", "at one", "lengths", "no number"],
)
def test_knots_that_do_not_rise_are_refused(broken: Callable[[], ScoreMapping]) -> None:
    with pytest.raises(ValueError, match="rise"):
        broken()
