"""Texts of a CSV file are read as what all of them can be, and nothing of them is lost."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_retraining.domain.proposal.facts import (
    BOOLEAN,
    DECIMAL_COMMA,
    INTEGER,
    ISO,
    NUMBER,
    TEXT,
    THOUSANDS,
    possible_readings,
)


@pytest.mark.parametrize(
    ("texts", "delimiter", "best"),
    [
        (["1", "20", "-3"], ",", INTEGER),
        (["1", "2.5", "1e-07", ".5"], ",", NUMBER),
        (["1", "NaN", "", "null", "\\N"], ",", INTEGER),
        (["", "nan"], ",", TEXT),
        (["007", "1"], ",", TEXT),
        (["1.234,50", "7", "0,5"], ";", DECIMAL_COMMA),
        (["1,234", "7"], ";", DECIMAL_COMMA),
        (["1,234", "7"], ",", THOUSANDS),
        (["1,234.50", "999"], ",", THOUSANDS),
        (["1,5"], ",", TEXT),
        (["True", "false"], ",", BOOLEAN),
        (["2024-01-31", "2024-01-31 10:00"], ",", ISO),
        (["2024-01-31T10:00:00.123456Z", "2024-01-31 10:00:00+02:00"], ",", ISO),
        (["31/01/2024 10:00", "01/02/2024 11:30"], ",", "%d/%m/%Y %H:%M"),
        (["31.01.2024"], ";", "%d.%m.%Y"),
        (["31/01/2024", "01/31/2024"], ",", TEXT),
        (["12345678901234567890"], ",", NUMBER),
        (["c-1", "c-2"], ",", TEXT),
    ],
)
def test_texts_have_a_best_reading(texts: list[str], delimiter: str, best: str) -> None:
    readings = possible_readings(texts, delimiter)
    assert readings[0] == best
    assert readings[-1] == TEXT


@given(st.lists(st.integers(-(10**15), 10**15), min_size=1))
def test_whole_numbers_are_read_as_such(numbers: list[int]) -> None:
    assert possible_readings([str(number) for number in numbers])[0] == INTEGER


@given(st.integers(0, 10**8), st.integers(1, 5), st.lists(st.integers(0, 99), max_size=5))
def test_a_leading_zero_makes_text(key: int, zeros: int, others: list[int]) -> None:
    assert possible_readings(["0" * zeros + str(key), *map(str, others)]) == (TEXT,)


@given(st.lists(st.dates(date(2000, 1, 1), date(2030, 1, 1)), min_size=1))
def test_day_and_month_are_ambiguous_only_where_every_day_could_be_a_month(days: list[date]) -> None:
    readings = possible_readings([f"{day:%d/%m/%Y}" for day in days])
    assert readings[0] == "%d/%m/%Y"
    assert ("%m/%d/%Y" in readings) == all(day.day <= 12 for day in days)
