"""Pictures are small PNGs whatever they show, and the same pack gives the same bytes."""

import struct
import warnings

import pytest

from fraud_retraining.adapters.pictures import CAPTIONS, pictures
from fraud_retraining_tests.domain.reviews import fitted, hard_to_draw, pack, pack_of

HARD = hard_to_draw()


@pytest.mark.parametrize("against", ["logistic_regression", None], ids=["with champion", "alone"])
def test_every_picture_is_a_small_png(against):
    drawn = pictures(pack("xgboost", against))
    assert list(drawn) == list(CAPTIONS)
    for png in drawn.values():
        assert png.startswith(b"\x89PNG")
        assert struct.unpack(">II", png[16:24]) == (600, 400)
        assert len(png) < 60_000


@pytest.mark.parametrize("case", HARD)
def test_what_is_hard_to_draw_is_drawn_without_a_warning(case):
    rows = HARD[case]
    rival = rows if rows.rankable else None
    made = pack_of(rows, fitted(), rival, fitted() if rival is not None else None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert all(png.startswith(b"\x89PNG") for png in pictures(made).values())


def test_a_feature_whose_name_looks_like_a_formula_is_drawn():
    first, *rest = pack().features
    odd = pack().model_copy(update={"features": (first.model_copy(update={"name": r"amount_$^{\frac"}), *rest)})
    assert pictures(odd)["features"].startswith(b"\x89PNG")


def test_the_same_pack_gives_the_same_bytes():
    assert pictures(pack()) == pictures(pack())
