"""A day is written as the days that it is joined with, or refused in words that say what differs."""

from datetime import date

import pyarrow as pa
import pytest

from fraud_retraining.domain.identity import Identity, clashes, spelling_of, spellings

MONDAY, TUESDAY, WEDNESDAY = (date(2024, 3, day) for day in (4, 5, 6))


def spelt(*words: str | None) -> Identity:
    return Identity(spellings=spellings(pa.table({"code": pa.array(words, pa.string())}), ["code"]))


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (["742", "5411", None], "whole"),
        (["0", "-7"], "whole"),
        (["0742", "5411"], "padded"),
        (["742.0", "5411.0"], "decimal"),
        (["true", "false"], "boolean"),
        (["A742", "5411"], "text"),
        (["0742", "x"], "text"),
        (["742", "742.0"], "text"),
        (["", " "], "text"),
    ],
)
def test_the_spelling_of_a_column_is_one_that_all_its_values_have(words, kind):
    assert spelling_of(pa.chunked_array([pa.array(words, pa.string())])).kind == kind


def test_a_column_without_a_value_has_no_spelling():
    assert spelt(None, None).spellings == {}
    assert clashes(spelt(None), {MONDAY: spelt("0742")}) == []


@pytest.mark.parametrize(
    ("one", "other", "fit"),
    [
        (["742"], ["5411"], True),
        (["742"], ["0742"], False),
        (["5411"], ["0742", "5411"], True),
        (["54111"], ["0742"], True),
        (["742"], ["742.0"], False),
        (["0742"], ["742.0"], False),
        (["0742"], ["00742"], False),
        (["0742"], ["0742", "00742"], True),
        (["true"], ["1", "0"], False),
        (["A1", "742"], ["0742"], True),
        (["web"], ["shop"], True),
    ],
)
def test_days_fit_when_one_value_may_be_written_alike_on_both(one, other, fit):
    assert (clashes(spelt(*one), {MONDAY: spelt(*other)}) == []) is fit
    assert (clashes(spelt(*other), {MONDAY: spelt(*one)}) == []) is fit


def test_a_clash_names_the_latest_day_and_is_told_alike_on_each_later_one():
    before = {MONDAY: spelt("742"), TUESDAY: spelt("743")}
    (clash,) = clashes(spelt("0742", "5411"), before)
    assert clash.words("MCC") == (
        "MCC is 4 digits with leading zeros, but whole numbers without leading zeros on 2024-03-05"
    )
    assert clashes(spelt("0001", "5411"), before)[0].words("MCC") == clash.words("MCC")


def test_a_key_keeps_its_type():
    text, whole = Identity(key_types={"card": "text"}), Identity(key_types={"card": "integer", "shop": "integer"})
    (clash,) = clashes(text, {WEDNESDAY: whole})
    assert clash.words("CARD (card)") == "CARD (card) is text, but integer on 2024-03-06"
    assert clashes(whole, {WEDNESDAY: Identity(key_types={"shop": "integer"})}) == []
