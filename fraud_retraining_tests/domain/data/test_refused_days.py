"""The same problem on many days is one line with their range."""

from datetime import date, timedelta

from fraud_retraining.domain.data.refused_days import problem_lines, ranges, remedy_of
from fraud_retraining.domain.values.errors import DataInvalid

FIRST = date(2024, 3, 1)


def days(*numbers: int) -> list[date]:
    return [FIRST + timedelta(days=number) for number in numbers]


def test_days_are_reported_as_ranges():
    assert ranges(days(0)) == "2024-03-01"
    assert ranges(days(0, 1, 2)) == "2024-03-01 to 2024-03-03 (3 days)"
    assert ranges(days(5, 0, 1)) == "2024-03-01 to 2024-03-02 and 2024-03-06 (3 days)"
    assert ranges(days(*range(0, 20, 2))).endswith("and 2024-03-09 and 5 more (10 days)")


def test_one_problem_of_74_days_is_one_line_with_one_remedy():
    wrong = DataInvalid("columns are not as mapped", culprits=["CARD is missing", "there: CARD_ID"], remedy="map it")
    other = DataInvalid("corrupt Parquet: no magic bytes", culprits=["a.parquet"], remedy="deliver it again.")
    refused = dict.fromkeys(days(*range(74)), wrong) | {days(80)[0]: other}
    assert problem_lines(refused) == [
        "2024-03-01 to 2024-05-13 (74 days): columns are not as mapped: CARD is missing; there: CARD_ID",
        "2024-05-20: corrupt Parquet: no magic bytes: a.parquet",
    ]
    assert remedy_of(refused.values()) == "map it. deliver it again."


def test_few_of_many_remedies_are_reported():
    many = [DataInvalid("x", remedy=f"do {number}") for number in range(5)]
    assert remedy_of(many) == "do 0. do 1. do 2. (and 2 more)"
