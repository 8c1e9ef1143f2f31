"""The proposed settings are YAML whatever the columns are called, and say what was seen."""

from datetime import date, timedelta

import yaml
from hypothesis import given
from hypothesis import strategies as st

from fraud_retraining.domain.data.athena_table import AthenaPolicy
from fraud_retraining.domain.proposal.facts import ColumnFacts, DayFacts, FeedFacts
from fraud_retraining.domain.proposal.feed import FeedRoles
from fraud_retraining.domain.proposal.roles import Choices, Entity, Roles, decide_roles
from fraud_retraining.domain.proposal.settings_text import ProposedFeed, ProposedTable, settings_text
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


LAKE = [facts("id", "integer", distinct=ROWS), facts("at_time", "time"), facts("amount")]


@given(st.lists(PRINTED, min_size=3, max_size=3, unique=True), PRINTED)
def test_a_feed_comes_back_as_it_is_and_says_what_does_not_match(names: list[str], word: str) -> None:
    identity, known, label = names
    roles = FeedRoles(
        facts(identity, "integer"), facts(known, "time"), facts(label, "text", values=(word,)), None, (word,), ("ok?",)
    )
    feed = ProposedFeed("s3://b/feed", roles, FeedFacts(labels=9_000, named=8_000, found=6_000, early=7, misplaced=5))
    columns = decide_roles(LAKE, Choices(), is_file=False, has_feed=True)
    volumes = proposed_volumes(DAYS, label_times=True, frauds_by_delay={})
    said = settings_text(columns, volumes, DAYS, lake="/lake", source="/lake", feed=feed)
    found = yaml.safe_load(said)
    assert found["columns"]["is_fraud"] is None
    assert found["labels"]["uri"] == "s3://b/feed"
    assert found["labels"]["columns"] == {
        "transaction_id": identity,
        "is_fraud": label,
        "known_at": known,
        "source": None,
    }
    assert (found["labels"]["fraud_values"], found["labels"]["genuine_values"]) == ([word], ["ok?"])
    words = " ".join(said.replace("#", "").split())
    assert "9,000 labels name 8,000 transactions, 25.0% of which are not among those that were looked at" in words
    assert "7 are older than their transaction; 5 lie in the folder of another day" in words


def test_a_table_is_written_with_what_its_queries_need() -> None:
    policy = AthenaPolicy(
        database="payments", table="tx", output="s3://b/q", workgroup="fraud", day='TRY_CAST("dt" AS date)'
    )
    roles = decide_roles([*LAKE, facts("fraud", "integer", distinct=2, values=("0", "1"))], Choices(), is_file=False)
    volumes = proposed_volumes(DAYS, label_times=False)

    def lake(table: AthenaPolicy) -> tuple[str, dict[str, str]]:
        proposed = ProposedTable(table, "partitioned by dt (string)")
        said = settings_text(roles, volumes, DAYS, lake=table.uri, source=table.uri, table=proposed)
        return said, yaml.safe_load(said)["lake"]

    said, found = lake(policy)
    expected = {"kind": "athena", **policy.model_dump(include={"database", "table", "output", "workgroup", "day"})}
    assert found == expected
    assert "A row's UTC day: partitioned by dt (string)." in said
    assert lake(policy.model_copy(update={"modified": "max(x)"}))[1] == expected | {"modified": "max(x)"}
