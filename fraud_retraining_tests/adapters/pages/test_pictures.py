"""Pictures are small PNGs whatever they show, and the same pack gives the same bytes."""

import struct
import warnings
from collections.abc import Iterator

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from fraud_retraining.adapters.pages.pictures import (
    CAPTIONS,
    HEIGHT,
    SHADOW_PANELS,
    WIDTH,
    figures,
    picture_names,
    pictures,
    shadow,
    shadow_picture,
)
from fraud_retraining_tests.support.reviews import fitted, hard_to_draw, review_report, review_report_of
from fraud_retraining_tests.support.shadows import candidate_shadow

HARD = hard_to_draw()


@pytest.mark.parametrize("against", ["logistic_regression", None], ids=["with champion", "alone"])
def test_every_picture_is_a_small_png(against):
    drawn = pictures(review_report("xgboost", against))
    assert list(drawn) == list(CAPTIONS)
    for png in drawn.values():
        assert png.startswith(b"\x89PNG")
        assert struct.unpack(">II", png[16:24]) == (WIDTH, HEIGHT)
        assert len(png) < 60_000


@pytest.mark.parametrize("case", HARD)
def test_what_is_hard_to_draw_is_drawn_without_a_warning(case):
    rows = HARD[case]
    rival = rows if rows.rankable else None
    made = review_report_of(rows, fitted(), rival, fitted() if rival is not None else None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert all(png.startswith(b"\x89PNG") for png in pictures(made).values())


def test_a_feature_whose_name_looks_like_a_formula_is_drawn():
    first, *rest = review_report().features
    odd = review_report().model_copy(
        update={"features": (first.model_copy(update={"name": r"amount_$^{\frac"}), *rest)}
    )
    assert pictures(odd)["features"].startswith(b"\x89PNG")


def test_a_page_names_the_pictures_that_are_drawn():
    """A page that named another one would show a broken picture."""
    for report in (review_report(), review_report().model_copy(update={"costs": ()})):
        assert tuple(figures(report)) == picture_names(report)
    assert "costs" not in picture_names(report)


def test_the_same_review_report_gives_the_same_bytes():
    assert pictures(review_report()) == pictures(review_report())


@pytest.mark.parametrize("name", list(CAPTIONS))
def test_every_label_stands_whole_within_its_picture(name):
    long = tuple(
        one.model_copy(update={"name": f"merchant_category_code_{position}_fraud_share_30_days_smoothed"})
        for position, one in enumerate(review_report().features)
    )
    require_whole(figures(review_report().model_copy(update={"features": long}))[name])


def test_the_picture_of_a_shadow_has_a_panel_a_threshold_and_no_label_is_cut():
    names = ("block", "block_for_manual_review_by_second_line", "call $ the customer of a card $", "fourth")
    found = candidate_shadow(names).intervals
    assert found is not None
    figure = shadow(found)
    assert len(figure.axes) == SHADOW_PANELS
    require_whole(figure)
    assert shadow_picture(candidate_shadow(names)).startswith(b"\x89PNG")
    assert shadow_picture(candidate_shadow(names).model_copy(update={"intervals": None})) is None


def require_whole(figure: Figure) -> None:
    figure.canvas.draw()
    shown = [text for axes in figure.axes for text in labels_of(axes) if text.get_text()]
    assert shown
    for text in shown:
        box = text.get_window_extent()
        assert min(box.x0, box.y0) >= -1 and box.x1 <= WIDTH + 1 and box.y1 <= HEIGHT + 1, text.get_text()


def labels_of(axes: Axes) -> Iterator[Text]:
    """Titles, labels, the legend's texts, and the numbers beside those ticks that are in view."""
    yield from (axes.title, axes._left_title, axes._right_title, axes.xaxis.label, axes.yaxis.label)
    if (legend := axes.get_legend()) is not None:
        yield from legend.get_texts()
    for axis in (axes.xaxis, axes.yaxis):
        low, high = sorted(axis.get_view_interval())
        yield from (tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high)
