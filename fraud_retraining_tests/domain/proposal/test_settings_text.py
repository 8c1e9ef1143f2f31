"""The proposed settings are YAML whatever the columns are called, and say what was seen."""

from datetime import date, timedelta

import yaml
from hypothesis import given
from hypothesis import strategies as st

from fraud_retraining.domain.proposal.facts import ColumnFacts, DayFacts
from fraud_retraining.domain.proposal.roles import Choices, Entity, Roles, decide_roles
from fraud_retraining.domain.proposal.settings_text import settings_text
from fraud_retraining.domain.proposal.volumes import proposed_volumes

DAYS = [
    DayFacts(day=date(2026, 1, 1) + timedelta(days=n), rows=100_000, labelled=99_000, frauds=400) for n in range(60)
]
ROWS = 6_000_000


def facts(name: str, kind: str = "number", **values: object) -> ColumnFacts:
    return ColumnFacts.model_validate({"name": name, "kind": kind, "rows": ROWS, "distinct": 4812, **values})


def text(names: list[str]) -> str:
    identity, time, amount, label, key, number, secret = names
    roles = Roles(
        transaction_id=facts(identity, "integer", distinct=ROWS - 7),
        time=facts(time, "time"),
        time_reading="",
        origin=None,
        amount=facts(amount, least="-1.0"),
        label=facts(label, "text", missing=60_000, values=("fraud", "legit")),
        label_time=None,
        fraud_values=("fraud",),
        genuine_values=("legit",),
        entities=(Entity("customer", facts(key, "integer", missing=10), False),),
        numeric=(facts(number),),
        categorical=(),
        forbidden=(facts(secret),),
        left_out=((facts("note", "text"), "too many values for a category"),),
    )
    return settings_text(roles, proposed_volumes(DAYS, label_times=False), DAYS, lake="/lake", source="a.csv")


def test_each_choice_stands_under_what_was_seen() -> None:
    said = text(["id", "at", "sum", "fraud", "cust", "km", "reason"])
    for words in (
        "7 rows have the id of another one",
        "cust: integer, about 4,812 distinct values",
        "1.00% missing; a missing label is unknown, never genuine",
        "rows with a negative amount are rejected by name",
        "6,000,000 rows on 60 days, 2026-01-01 to 2026-03-01",
        "left out: note: text",
    ):
        assert words in " ".join(said.replace("#", "").split()), words
    found = yaml.safe_load(said)
    assert found["entities"] == {"customer": {"column": "cust", "nullable": True, "windows_days": [1, 7, 30]}}
    assert found["labels"] == {"fraud_values": ["fraud"], "genuine_values": ["legit"], "delay_days": 7}


PRINTED = st.text(st.characters(exclude_categories=("C", "Z")) | st.just(" "), min_size=1, max_size=30)


@given(st.lists(PRINTED, min_size=7, max_size=7))
def test_any_names_of_columns_come_back_as_they_are(names: list[str]) -> None:
    found = yaml.safe_load(text(names))
    assert list(found["columns"].values()) == names[:4]
    assert found["entities"]["customer"]["column"] == names[4]
    assert (found["features"]["numeric"], found["features"]["forbidden"]) == ([names[5]], [names[6]])
    assert found["promotion"] == {"mode": "manual"}


def test_without_entities_it_says_which_columns_could_be_some() -> None:
    columns = [
        facts("Buchungszeit", "time"),
        facts("Betrag"),
        facts("Betrug", "integer", distinct=2, values=("0", "1")),
        facts("KartenNr", "integer", distinct=4_000),
        facts("Land", "text", distinct=3, values=("AT", "CH", "DE")),
        facts("Nummer", "integer", distinct=ROWS),
    ]
    roles = decide_roles(columns, Choices(label="Betrug"), is_file=True)
    assert [one.name for one in roles.recurring] == ["KartenNr"]
    said = settings_text(roles, proposed_volumes(DAYS, label_times=False), DAYS, lake="/lake", source="a.csv")
    assert "init --force --entity card=KartenNr" in " ".join(said.replace("#", "").split())
    named = decide_roles(columns, Choices(label="Betrug", entities={"card": "KartenNr"}), is_file=True)
    assert named.recurring == () and [one.name for one in named.entities] == ["card"]
