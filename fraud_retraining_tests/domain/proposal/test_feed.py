"""Which column of a label feed is what, and when its ids are of other transactions."""

from datetime import date
from typing import Any

import pytest

from fraud_retraining.domain.proposal.facts import ColumnFacts, FeedFacts
from fraud_retraining.domain.proposal.feed import GENUINE_WORDS, FeedRoles, decide_feed, require_same_ids
from fraud_retraining.domain.proposal.roles import Choices, Undecided
from fraud_retraining.domain.values.errors import DataInvalid, SettingsError

ROWS = 400


def column(name: str, kind: str, distinct: int = 300, **facts: Any) -> ColumnFacts:
    return ColumnFacts(name=name, kind=kind, rows=ROWS, distinct=distinct, **facts)  # type: ignore[arg-type]


ID = column("transaction_id", "integer", ROWS)
KNOWN = column("known_at", "time")
LABEL = column("is_fraud", "integer", 2, values=("0", "1"))
SOURCE = column("source", "text", 2, values=("chargeback", "dispute"))


def feed(*columns: ColumnFacts, lakes: str | None = "TRANSACTION_ID", **choices: Any) -> FeedRoles:
    return decide_feed(columns, Choices(**choices), lakes)


def asked(*columns: ColumnFacts, lakes: str | None = "TRANSACTION_ID", **choices: Any) -> dict[str, tuple[str, ...]]:
    with pytest.raises(Undecided) as raised:
        feed(*columns, lakes=lakes, **choices)
    return {question.option: question.candidates for question in raised.value.questions}


def test_the_names_of_the_simulator() -> None:
    found = feed(ID, LABEL, KNOWN, SOURCE)
    assert found == FeedRoles(ID, KNOWN, LABEL, SOURCE)
    assert found.columns.model_dump() == {
        "transaction_id": "transaction_id",
        "is_fraud": "is_fraud",
        "known_at": "known_at",
        "source": "source",
    }


def test_own_names_beside_columns_of_something_else() -> None:
    case, payment = column("case_id", "integer", ROWS), column("payment_ref", "text")
    paid, reported = column("payment_date", "time"), column("reported_on", "time")
    words = column("verdict", "text", 2, values=("fraud", "legit"))
    found = feed(case, payment, paid, reported, words, lakes="paymentRef")
    assert (found.transaction_id, found.known_at, found.source) == (payment, reported, None)
    assert (found.label, found.fraud_values, found.genuine_values) == (words, ("fraud",), ("legit",))


def test_an_id_that_the_transactions_call_otherwise_is_found_by_its_words() -> None:
    assert feed(column("case", "integer"), column("original_payment_ref", "text"), KNOWN).transaction_id.name == (
        "original_payment_ref"
    )
    two = (column("a", "integer"), column("b", "text"))
    assert asked(*two, KNOWN) == {"--feed-id-column": ("a", "b")}
    assert feed(*two, KNOWN, feed_id="b").transaction_id.name == "b"


def test_without_a_label_every_row_is_a_fraud() -> None:
    found = feed(ID, KNOWN, SOURCE)
    assert (found.label, found.columns.is_fraud) == (None, None)


def test_a_column_that_may_be_the_label_is_a_question_and_none_is_an_answer() -> None:
    final = column("final", "boolean", 2, values=("false", "true"))
    assert asked(ID, KNOWN, final) == {"--feed-label-column": ("final", "none")}
    assert feed(ID, KNOWN, final, feed_label="none").label is None
    assert feed(ID, KNOWN, final, feed_label="final").label == final


def test_words_that_may_mean_the_opposite_of_fraud_are_a_question() -> None:
    outcome = column("outcome", "text", 2, values=("cleared", "confirmed"))
    assert asked(ID, KNOWN, outcome) == {"--feed-label-column": ("outcome", "none")}
    assert asked(ID, KNOWN, outcome, feed_label="outcome") == {"--fraud-value": ("cleared", "confirmed")}
    found = feed(ID, KNOWN, outcome, feed_label="outcome", fraud_values=("confirmed",))
    assert (found.fraud_values, found.genuine_values) == (("confirmed",), ("cleared",))


def test_a_feed_of_frauds_alone_keeps_words_for_what_is_taken_back() -> None:
    only = column("label", "text", 1, values=("fraud",))
    found = feed(ID, KNOWN, only)
    assert (found.fraud_values, found.genuine_values) == (("fraud",), GENUINE_WORDS)
    odd = column("label", "text", 2, values=("A", "Z"))
    assert asked(ID, KNOWN, odd, feed_label="label") == {"--fraud-value": ("A", "Z")}
    assert feed(ID, KNOWN, odd, feed_label="label", fraud_values=("Z",)).genuine_values == ("A",)


def test_two_moments_and_none_are_questions() -> None:
    two = (column("reported_at", "time"), column("confirmed_at", "time"))
    assert asked(ID, *two) == {"--feed-known-at-column": ("reported_at", "confirmed_at")}
    assert asked(ID, LABEL) == {"--feed-known-at-column": ()}


def test_moments_that_are_no_timestamps_are_refused() -> None:
    with pytest.raises(SettingsError, match="known_at of the label feed holds no timestamps"):
        feed(ID, column("known_at", "time", readings=("ISO 8601", "text")))
    with pytest.raises(SettingsError, match="source of the label feed holds no timestamps"):
        feed(ID, KNOWN, SOURCE, feed_known_at="source")


def test_a_column_that_is_not_there_is_named() -> None:
    with pytest.raises(SettingsError, match="--feed-source-column names channel, and the label feed has no such"):
        feed(ID, KNOWN, feed_source="channel")


USUAL = FeedFacts(labels=400, named=380, found=370, frauds_by_delay={date(2026, 1, 1): {0: 5, 3: 2}})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ""),
        ({"found": 30, "early": 0}, ""),
        ({"found": 12}, "of 380 transactions that transaction_id of s3://b/feed names, 12 are in TX_ID"),
        ({"found": 380, "early": 375}, "375 labels are older than their transaction"),
        ({"misplaced": 399}, ""),
        ({"misplaced": 600}, "600 of 1,000 labels .* another day in known_at than their folder"),
        ({"labels": 0, "named": 0, "found": 0, "unclear": 77}, "77 have no id or moment"),
    ],
)
def test_a_feed_of_other_transactions_is_refused(changes: dict[str, int], words: str) -> None:
    facts = USUAL.model_copy(update=changes)
    identity = column("TX_ID", "integer", ROWS)
    if not words:
        require_same_ids(facts, identity, FeedRoles(ID, KNOWN, LABEL, None), "s3://b/feed")
        return
    with pytest.raises(DataInvalid, match=words):
        require_same_ids(facts, identity, FeedRoles(ID, KNOWN, LABEL, None), "s3://b/feed")


def test_shares_of_what_a_feed_names() -> None:
    assert (USUAL.frauds, round(USUAL.unknown_share, 3), round(USUAL.counted_share, 3)) == (7, 0.026, 0.974)
    assert FeedFacts(labels=0, named=0, found=0).unknown_share == 0
