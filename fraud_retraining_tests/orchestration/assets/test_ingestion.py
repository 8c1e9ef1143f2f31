"""Days whose keys or categories change their form are refused until all fit, and the remedy of the message works."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from fraud_retraining.adapters.storage.engine import Engine
from fraud_retraining.domain.values.errors import DataInvalid
from fraud_retraining.orchestration.assets.ingestion import DayInput, LakeToStore, refresh_transactions
from fraud_retraining.orchestration.names import (
    TRANSACTIONS,
)
from fraud_retraining.orchestration.resources import open_lake, open_store
from fraud_retraining.orchestration.state.inventory import (
    Inventory,
)
from fraud_retraining.settings import load_settings
from fraud_retraining.simulation import lake_path

FIRST = date(2024, 3, 1)
REACH = timedelta(days=30)
OLD, NEW = ["742", "5411"], ["0742", "5411"]


class Days:
    """A lake of tiny days, delivered and ingested by hand as the asset does it, without Dagster around it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = load_settings()
        self.store = open_store(self.settings)
        self.clock = 0

    def deliver(self, number: int, codes: list[str], cards: list[object] | None = None) -> None:
        day = FIRST + timedelta(days=number)
        self.clock += 1
        count = len(codes)
        rows = {
            "TRANSACTION_ID": range(number * 1000, number * 1000 + count),
            "TX_DATETIME": [datetime(day.year, day.month, day.day, 12)] * count,
            "TX_AMOUNT": [float(self.clock)] * count,
            "TX_FRAUD": [0, 1] * (count // 2),
            "CARD": cards or [7, 8] * (count // 2),
            "MCC": codes,
        }
        file = self.folder / "lake" / lake_path(day)
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(rows), file)

    def ingest(self) -> dict[int, str]:
        """Ingests what is stale and not refused, oldest first; the refusals that then stand, by number of the day."""
        lake = open_lake(self.settings)
        arrived = lake.days()
        inventory = Inventory(self.store, self.settings, arrived, made=(TRANSACTIONS,))
        with Engine(temp_directory=self.folder / "spill") as engine:
            for day in inventory.stale_transactions(arrived):
                files = arrived[day]
                if inventory.refusal(day, files) is None:
                    beside = inventory.beside(day, arrived, REACH)
                    try:
                        way = LakeToStore(self.settings.mapping, lake, self.store, engine)
                        refresh_transactions(DayInput(day, files, beside), inventory, way)
                    except DataInvalid as error:
                        inventory.refuse(day, files, "; ".join(error.culprits))
        reported = {(day - FIRST).days: inventory.refusal(day, files) for day, files in arrived.items()}
        stale = {(day - FIRST).days for day in inventory.stale_transactions(arrived)}
        return {number: why for number, why in reported.items() if number in stale}


def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **changes: object) -> Days:
    settings = {
        "lake": {"uri": str(tmp_path / "lake")},
        "entities": {"card": {"column": "CARD"}},
        "features": {"categorical": ["MCC"]},
        "gates": {"alert_entity": "card"},
        **changes,
    }
    (tmp_path / "retraining.yaml").write_text(yaml.safe_dump(settings))
    monkeypatch.setenv("FRAUD_RETRAINING_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FRAUD_RETRAINING_CONFIG", str(tmp_path / "retraining.yaml"))
    return Days(tmp_path)


@pytest.fixture
def days(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Days]:
    found = opened(tmp_path, monkeypatch)
    for number in range(3):
        found.deliver(number, OLD)
    assert found.ingest() == {}
    yield found


WORDS = "MCC is 4 digits with leading zeros, but whole numbers without leading zeros on 2024-03-03"


def test_a_category_that_is_written_otherwise_is_refused_on_each_later_day_in_the_same_words(days: Days) -> None:
    for number in (3, 4):
        days.deliver(number, NEW)
        assert days.ingest() == dict.fromkeys(range(3, number + 1), WORDS)
    for number in (3, 4):
        days.deliver(number, OLD)
    assert days.ingest() == {}


def test_delivering_all_earlier_days_in_the_new_form_lifts_the_refusal_of_any_order(days: Days) -> None:
    days.deliver(3, NEW)
    days.deliver(4, NEW)
    assert set(days.ingest()) == {3, 4}
    days.deliver(0, NEW)
    assert set(days.ingest()) == {0, 3, 4}
    days.deliver(2, NEW)
    assert set(days.ingest()) == {0, 2, 3, 4}
    days.deliver(1, NEW)
    for _ in range(3):
        standing = days.ingest()
    assert standing == {}


def test_a_key_that_changes_its_type_is_refused_on_each_later_day_in_the_same_words(days: Days) -> None:
    for number in (3, 4):
        days.deliver(number, OLD, cards=["7", "8"])
    words = "CARD (card) is text, but integer on 2024-03-03"
    assert days.ingest() == {3: words, 4: words}
    for number in range(3):
        days.deliver(number, OLD, cards=["7", "8"])
    days.ingest()
    assert days.ingest() == {}


def test_an_earlier_day_that_comes_later_has_to_fit_too(days: Days) -> None:
    days.deliver(-1, NEW)
    assert days.ingest() == {-1: WORDS}


CARDS = [f"c{number}" for number in range(100, 140)]
FORMS = {
    "capitals": [card.upper() for card in CARDS],
    "leading zeros": [card.replace("c", "c0") for card in CARDS],
    "surrounding blanks": [f" {card}" for card in CARDS],
}


@pytest.mark.parametrize(("form", "cards"), FORMS.items(), ids=FORMS)
def test_keys_that_are_partly_words_keep_their_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, cards: list[str]
) -> None:
    days, codes = opened(tmp_path, monkeypatch), ["5411"] * len(CARDS)
    for number in range(3):
        days.deliver(number, codes, cards=CARDS[number : 30 + number] + [f"new{n}" for n in range(10)])
    assert days.ingest() == {}
    words = f"CARD (card) is written in one way, but with other {form} on 2024-03-03"
    for number in (3, 4):
        days.deliver(number, codes, cards=cards)
        assert days.ingest() == dict.fromkeys(range(3, number + 1), words)
    days.deliver(3, codes, cards=CARDS)
    assert days.ingest() == {4: words}
    for number in (0, 3, 2, 1):
        days.deliver(number, codes, cards=cards)
    for _ in range(3):
        standing = days.ingest()
    assert standing == {}


class TestAKeyOfSeveralColumns:
    """The card is known by its number and its country."""

    @pytest.fixture
    def days(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Days:
        found = opened(tmp_path, monkeypatch, entities={"card": {"column": ["CARD", "MCC"]}}, features={})
        for number in range(3):
            found.deliver(number, OLD)
        assert found.ingest() == {}
        return found

    def test_each_column_keeps_its_spelling(self, days: Days) -> None:
        words = WORDS.replace("MCC", "MCC (card)")
        for number in (3, 4):
            days.deliver(number, NEW)
            assert days.ingest() == dict.fromkeys(range(3, number + 1), words)
        for number in (2, 0, 1):
            days.deliver(number, NEW)
        for _ in range(3):
            standing = days.ingest()
        assert standing == {}

    def test_each_column_keeps_its_type(self, days: Days) -> None:
        words = "CARD (card) is text, but integer on 2024-03-03"
        for number in (3, 4):
            days.deliver(number, OLD, cards=["7", "8"])
            assert days.ingest() == dict.fromkeys(range(3, number + 1), words)
        for number in (3, 4):
            days.deliver(number, OLD)
        assert days.ingest() == {}

    def test_each_column_keeps_its_form_where_it_is_partly_words(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = tmp_path / "other"
        folder.mkdir()
        days = opened(folder, monkeypatch, entities={"card": {"column": ["CARD", "MCC"]}}, features={})
        days.deliver(0, ["5411"] * 40, cards=CARDS)
        days.deliver(1, ["5411"] * 40, cards=FORMS["capitals"])
        assert days.ingest() == {1: "CARD (card) is written in one way, but with other capitals on 2024-03-01"}

    def test_signs_that_join_and_escape_belong_to_their_column(self, days: Days) -> None:
        days.deliver(3, ["742", "54|11\\"], cards=[7, 8])
        days.deliver(4, ["742", "5411"], cards=[7, 8])
        assert days.ingest() == {}
