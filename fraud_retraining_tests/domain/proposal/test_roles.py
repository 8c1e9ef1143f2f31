"""Which column is what, from names and counts; what cannot be told is a question, never a guess."""

from datetime import date
from typing import Any

import pytest

from fraud_retraining.domain.proposal.facts import ISO, TEXT, ColumnFacts
from fraud_retraining.domain.proposal.roles import (
    Choices,
    Roles,
    Undecided,
    counted_columns,
    decide_roles,
    pinned,
)
from fraud_retraining.domain.values.errors import SettingsError

ROWS = 10_000


def column(name: str, kind: str, distinct: int = 5000, **facts: Any) -> ColumnFacts:
    return ColumnFacts(name=name, kind=kind, rows=ROWS, distinct=distinct, **facts)  # type: ignore[arg-type]


def key(name: str, distinct: int = 300, kind: str = "integer", **facts: Any) -> ColumnFacts:
    return column(name, kind, distinct, **facts)


ID = column("TRANSACTION_ID", "integer", ROWS)
TIME = column("TX_DATETIME", "time")
AMOUNT = column("TX_AMOUNT", "number", least="0.5", most="900.0")
LABEL = column("TX_FRAUD", "integer", 2, values=("0", "1"))
USUAL = (ID, TIME, AMOUNT, LABEL)


def roles(*columns: ColumnFacts, is_file: bool = True, has_feed: bool = False, **choices: Any) -> Roles:
    return decide_roles(columns, Choices(**choices), is_file=is_file, has_feed=has_feed)


def asked(*columns: ColumnFacts, is_file: bool = True, **choices: Any) -> dict[str, tuple[str, ...]]:
    with pytest.raises(Undecided) as raised:
        roles(*columns, is_file=is_file, **choices)
    return {question.option: question.candidates for question in raised.value.questions}


def test_the_names_of_the_simulator() -> None:
    scenario = column("TX_FRAUD_SCENARIO", "integer", 4, values=("0", "1", "2", "3"))
    found = roles(*USUAL, key("CUSTOMER_ID"), key("TERMINAL_ID"), scenario, column("TX_TIME_DAYS", "integer", 60))
    assert (found.transaction_id, found.time, found.amount, found.label) == USUAL
    assert [(one.name, one.column.name, one.fraud_share) for one in found.entities] == [
        ("customer", "CUSTOMER_ID", False),
        ("terminal", "TERMINAL_ID", True),
    ]
    assert found.forbidden == (scenario,)
    assert [one.name for one, _ in found.left_out] == ["TX_TIME_DAYS"]
    assert not found.numeric


def test_paysim_has_a_step_of_no_known_unit_and_no_id() -> None:
    step = column("step", "integer", 743, least="1", most="743")
    flagged = column("isFlaggedFraud", "integer", 2, values=("0", "1"))
    rest = (
        column("amount", "number", least="0", most="9"),
        column("isFraud", "integer", 2, values=("0", "1")),
        flagged,
        column("type", "text", 5, values=("CASH_IN", "TRANSFER")),
        column("oldbalanceOrg", "number", least="0", most="9"),
        key("nameDest", 900, "text"),
        key("nameOrig", 2000, "text"),
    )
    questions = asked(step, *rest)
    assert set(questions) == {"--time-unit", "--time-origin"}
    assert "hours" in questions["--time-unit"]
    assert set(asked(step, *rest, time_unit="hours")) == {"--time-origin"}
    found = roles(step, *rest, time_unit="hours", time_origin=date(2026, 1, 1))
    assert (found.transaction_id, found.time_reading, found.origin) == (None, "hours", date(2026, 1, 1))
    assert (found.label.name, found.forbidden) == ("isFraud", (flagged,))
    assert [one.name for one in found.entities] == ["customer", "receiver"]
    assert [one.name for one in found.numeric] == ["oldbalanceOrg"]
    assert [one.name for one in found.categorical] == ["type"]
    # A lake is used as it is: its time has to be a timestamp, and its rows have to have a name.
    with pytest.raises(SettingsError, match="has to be a timestamp"):
        roles(step, *rest, is_file=False, time_unit="hours", time_origin=date(2026, 1, 1))


def test_the_credit_card_set_has_no_key_at_all() -> None:
    v = [column(f"V{n}", "number", ROWS, least="-3", most="3") for n in range(1, 29)]
    seconds = column("Time", "number", least="0", most="172792")
    found = roles(
        seconds, *v, column("Amount", "number", least="0", most="9"), column("Class", "integer", 2, values=("0", "1")),
        time_unit="seconds", time_origin=date(2013, 9, 1),
    )  # fmt: skip
    assert (found.transaction_id, found.entities, len(found.numeric)) == (None, (), 28)


@pytest.mark.parametrize(
    ("least", "unit"),
    [("1700000000", "seconds"), ("1700000000000", "milliseconds"), ("1700000000000000", "microseconds")],
)
def test_numbers_that_are_moments_of_this_century_count_from_1970(least: str, unit: str) -> None:
    moments = column("timestamp", "integer", least=least, most=least)
    found = roles(ID, moments, AMOUNT, LABEL)
    assert (found.time_reading, found.origin) == (unit, None)


def test_two_times_without_a_better_name_are_a_question() -> None:
    two = (column("event_time", "time"), column("order_time", "time"))
    assert asked(ID, *two, AMOUNT, LABEL) == {"--time-column": ("event_time", "order_time")}
    assert roles(ID, *two, AMOUNT, LABEL, time="order_time").time.name == "order_time"


def test_a_time_of_something_else_is_not_the_time() -> None:
    found = roles(ID, column("created_at", "time"), column("settled_at", "time"), AMOUNT, LABEL)
    assert found.time.name == "created_at"
    reported = column("chargeback_at", "time", missing=9_900)
    found = roles(ID, TIME, AMOUNT, LABEL, reported)
    assert found.label_time == reported


def test_day_and_month_that_could_be_either_are_a_question() -> None:
    time = column("when_time", "time", readings=("%d/%m/%Y", "%m/%d/%Y", TEXT))
    assert asked(ID, time, AMOUNT, LABEL) == {"--time-format": ("%d/%m/%Y", "%m/%d/%Y")}
    assert roles(ID, time, AMOUNT, LABEL, time_format="%m/%d/%Y").time_reading == "%m/%d/%Y"
    assert roles(ID, column("t", "time", readings=(ISO, TEXT)), AMOUNT, LABEL).time_reading == ISO


def test_without_a_label_every_question_comes_at_once() -> None:
    assert asked(ID, column("a", "number"), column("b", "number", 7), column("flag", "boolean", 2)) == {
        "--time-column": ("TRANSACTION_ID", "a", "b"),
        "--label-column": ("flag",),
        "--amount-column": ("a", "b"),
    }


def test_labels_that_are_words_are_listed_or_asked_for() -> None:
    words = column("status_fraud", "text", 2, values=("fraud", "legit"))
    found = roles(ID, TIME, AMOUNT, words)
    assert (found.fraud_values, found.genuine_values) == (("fraud",), ("legit",))
    odd = column("fraud", "text", 2, values=("A", "B"))
    assert asked(ID, TIME, AMOUNT, odd, label="fraud") == {"--fraud-value": ("A", "B")}
    found = roles(ID, TIME, AMOUNT, odd, label="fraud", fraud_values=("B",))
    assert (found.fraud_values, found.genuine_values) == (("B",), ("A",))


def test_a_lake_without_an_id_is_a_question() -> None:
    assert asked(TIME, AMOUNT, LABEL, column("row", "text", ROWS), is_file=False) == {
        "--transaction-id-column": ("row",)
    }


def test_what_was_said_wins_and_has_to_exist() -> None:
    found = roles(*USUAL, key("CUSTOMER_ID"), key("ref"), entities={"card": "ref"})
    assert [(one.name, one.column.name) for one in found.entities] == [("card", "ref")]
    for wrong in ({"label": "LABEL"}, {"entities": {"card": "CARD"}}):
        with pytest.raises(SettingsError, match="no such column") as raised:
            roles(*USUAL, **wrong)
        assert "TX_DATETIME" in str(raised.value)


def test_an_amount_that_is_text_is_refused() -> None:
    with pytest.raises(SettingsError, match="not all numbers"):
        roles(*USUAL, column("price", "text"), amount="price")


def test_columns_that_no_feature_can_be_are_left_out_with_the_reason() -> None:
    odd = (
        column("a[0]", "number"),
        column("empty", "empty", 0),
        column("constant", "integer", 1),
        column("note", "text", 900),
        column("hour", "integer", 24),
        column("month", "integer", 12),
        column("mcc", "integer", 40),
    )
    found = roles(*USUAL, *odd)
    assert [one.name for one, _ in found.left_out] == ["a[0]", "empty", "constant", "note", "hour", "month"]
    assert [one.name for one in found.categorical] == ["mcc"]


def test_what_production_did_is_no_feature_but_says_which_labels_are_unknown() -> None:
    decision = column("DECISION", "text", 3, values=("approve", "Declined", "review"))
    propensity = column("PROPENSITY", "number", 2, least="0.05", most="1.0")
    found = roles(*USUAL, decision, propensity)
    assert (found.decision, found.propensity, found.blocking) == (decision, propensity, ("Declined",))
    assert not found.numeric and not found.categorical


@pytest.mark.parametrize(
    "other",
    [
        column("DECISION", "text", 2, values=("chip", "swipe")),
        column("DECISION", "text", 300),
        column("CHANNEL", "text", 2, values=("blocked", "open")),
        column("PROPENSITY", "number", 40, least="0.1", most="1.0"),
    ],
)
def test_a_decision_needs_its_name_and_a_word_for_blocking(other: ColumnFacts) -> None:
    found = roles(*USUAL, other)
    assert found.decision is found.propensity is None


def test_beside_a_feed_rows_need_no_label_and_one_that_is_there_is_no_feature() -> None:
    target = column("Class", "integer", 2, values=("0", "1"))
    flag = column("prepaid", "integer", 2, values=("0", "1"))
    found = roles(ID, TIME, AMOUNT, target, flag, column("labelled_at", "time"), has_feed=True)
    assert (found.label, found.label_time, found.fraud_values) == (None, None, ())
    assert (found.numeric, found.forbidden) == ((flag,), (column("labelled_at", "time"), target))
    assert roles(ID, TIME, AMOUNT, has_feed=True).label is None


def test_beside_a_feed_a_file_needs_an_id_that_the_feed_can_name() -> None:
    assert roles(TIME, AMOUNT, LABEL).transaction_id is None
    with pytest.raises(Undecided) as raised:
        roles(TIME, AMOUNT, column("code", "text", ROWS), has_feed=True)
    assert [(one.option, one.candidates) for one in raised.value.questions] == [("--transaction-id-column", ("code",))]


def test_beside_a_feed_a_label_of_the_rows_is_refused() -> None:
    with pytest.raises(SettingsError, match="--label-column and --label-time-column: with --labels"):
        roles(*USUAL, has_feed=True, label="TX_FRAUD", label_time="TX_DATETIME")


def test_what_days_are_counted_by_is_decided_again_with_more_of_them() -> None:
    known = column("label_time", "time")
    rare = column("CARD_ID", "text", int(0.95 * ROWS))
    few = [*USUAL, known, key("CUSTOMER_ID"), rare, column("TX_KM", "number")]
    found = decide_roles(few, Choices(), is_file=False)
    assert counted_columns(few, found) == (
        "TRANSACTION_ID", "TX_DATETIME", "TX_AMOUNT", "TX_FRAUD", "label_time", "CUSTOMER_ID", "CARD_ID",
    )  # fmt: skip
    said = pinned(Choices(time_format="%d"), found)
    assert (said.transaction_id, said.time, said.label, said.label_time, said.time_format) == (
        "TRANSACTION_ID", "TX_DATETIME", "TX_FRAUD", "label_time", "%d",
    )  # fmt: skip
    # On more days the card comes back.
    more = [key("CARD_ID", 900, "text") if one == rare else one for one in few]
    assert [one.name for one in found.entities] == ["customer"]
    assert [one.name for one in decide_roles(more, said, is_file=False).entities] == ["customer", "card"]
