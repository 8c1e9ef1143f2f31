"""What was served is held against the batch: how many rows differ, in which features, and by how much."""

import pyarrow as pa
import pytest

from fraud_retraining.domain.monitoring.served_skew import ServedSkew, compare_served
from fraud_retraining.domain.monitoring.skew_reasons import Reason
from fraud_retraining_tests.support.served_days import DAY, NUMBERS, PLAN, Paid, Scorer, batch, in_order, served

DAY_ROWS = [
    Paid(number, minute, customer=number % 3, device="x" if number % 2 else None)
    for number, minute in enumerate((0, 1, 2, 4, 8, 16, 32, 64, 128))
]
OTHER = "0" * 32


def report(lake: list[Paid], *scorers: Scorer, **batch_facts: object) -> ServedSkew:
    return compare_served(DAY, served(*scorers), batch(lake, **batch_facts), PLAN)  # type: ignore[arg-type]


def test_a_day_that_was_served_in_order_is_equal_to_the_last_bit() -> None:
    found = report(DAY_ROWS, in_order(DAY_ROWS))
    assert (found.equal_share, found.distinct, found.served, found.different) == (1.0, 9, 9, 0)
    assert found.concern is None
    assert found.summary() == "all of 9 transactions were served with the features of the batch"


def test_what_either_side_lacks_is_counted_and_no_difference() -> None:
    scorer = in_order([*DAY_ROWS[:4], Paid(77, 400, customer=9)])
    found = report(DAY_ROWS, scorer)
    assert (found.distinct, found.not_in_lake, found.not_served, found.equal_share) == (5, 1, 5, 1.0)
    assert "1 more are not in the lake" in found.summary()


def test_transactions_of_another_segment_are_no_missing_ones_and_need_a_person() -> None:
    own, foreign = DAY_ROWS[:4], DAY_ROWS[4:6]
    scorer = in_order([*own, *foreign, Paid(77, 400, customer=9)])
    all_ids = pa.chunked_array([[row.number for row in DAY_ROWS]])
    found = compare_served(DAY, served(scorer), batch(own)._replace(ids_of_all=all_ids), PLAN)
    assert (found.distinct, found.not_in_lake, found.other_segment, found.compared) == (7, 1, 2, 4)
    assert found.needs_person
    assert found.concern == (
        "on the last day served, 2026-03-14, 2 of 7 transactions were of another segment than the model's"
    )
    assert "Route transactions" in found.remedy
    assert "other_segment" not in report(own, in_order(own)).model_dump()


def test_where_the_lake_has_nothing_that_was_served_nothing_is_compared() -> None:
    found = report([Paid(500, 1)], in_order(DAY_ROWS))
    assert (found.equal_share, found.not_in_lake, found.compared) == (None, 9, 0)
    assert "nothing was compared" in found.summary()


def test_a_feature_that_one_side_computes_otherwise_is_named_with_its_difference() -> None:
    scorer = in_order(DAY_ROWS, sampled=True)
    for place, by in ((3, 2.0), (6, 0.5)):
        scorer.log[place]["features"][NUMBERS.index("customer_count_1d")] += by
        scorer.log[place]["features_digest"] = OTHER
    found = report(DAY_ROWS, scorer)
    assert found.differing == {Reason.UNEXPLAINED: 2}
    ((feature),) = found.features
    assert (feature.name, feature.rows, feature.unexplained, feature.largest) == ("customer_count_1d", 2, 2, 2.0)
    assert found.equal_share == pytest.approx(7 / 9)
    assert found.concern is not None and "2 of 9 rows had other features than the batch" in found.concern
    assert "customer_count_1d in 2 of them, by up to 2" in found.summary()


def test_a_difference_in_a_missing_value_or_a_sign_of_nought_is_a_difference() -> None:
    rows = [Paid(0, 0, risk=float("nan")), Paid(1, 1, risk=0.0, customer=2), Paid(2, 2, customer=3)]
    scorer = in_order(rows, sampled=True)
    risk = NUMBERS.index("risk")
    assert report(rows, scorer).different == 0
    for place, value in ((0, 1.0), (1, -0.0)):
        scorer.log[place]["features"][risk] = value
        scorer.log[place]["features_digest"] = OTHER
    (feature,) = report(rows, scorer).features
    assert (feature.name, feature.rows, feature.largest) == ("risk", 2, 0.0)


def test_rows_that_are_not_sampled_differ_without_a_feature() -> None:
    scorer = in_order(DAY_ROWS)
    scorer.log[4]["features_digest"] = OTHER
    found = report(DAY_ROWS, scorer)
    assert (found.unexplained, found.sampled, found.features) == (1, 0, ())
    assert "serving.sample_share" in found.summary()


def test_of_a_transaction_that_was_scored_twice_the_last_answer_counts_and_each_is_judged() -> None:
    scorer = in_order(DAY_ROWS)
    scorer.log[2]["features_digest"] = OTHER
    scorer.score(DAY_ROWS[2], at=500)
    found = report(DAY_ROWS, scorer)
    assert (found.served, found.distinct, found.equal, found.unexplained) == (10, 9, 9, 1)
    scorer.log[-1]["features_digest"] = OTHER
    again = report(DAY_ROWS, scorer)
    assert (again.equal, again.unexplained) == (8, 2)


def test_ids_that_one_side_has_as_text_are_the_same_ids() -> None:
    table = served(in_order(DAY_ROWS))
    as_text = table.set_column(0, "transaction_id", table["transaction_id"].cast(pa.string()))
    found = compare_served(DAY, as_text, batch(DAY_ROWS), PLAN)
    assert (found.equal_share, found.not_in_lake) == (1.0, 0)


def test_the_report_survives_json_and_names_no_transaction() -> None:
    scorer = in_order(DAY_ROWS, sampled=True)
    scorer.log[5]["features_digest"] = OTHER
    found = report(DAY_ROWS, scorer)
    assert ServedSkew.model_validate_json(found.model_dump_json()) == found
