"""The store of one model among several: a part of its own, and its rows of days that all share."""

import pickle
from datetime import date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fraud_retraining.adapters.storage.locations import FolderLocation
from fraud_retraining.adapters.storage.model_store import WHOLE_ROWS, ModelStore
from fraud_retraining.adapters.storage.store import Partition, Store
from fraud_retraining.domain.data.segments import Where
from fraud_retraining.domain.features.column_lineage import ENTITY_DAYS, FEATURES, LABELS, TRANSACTIONS
from fraud_retraining.domain.labels.events import in_order
from fraud_retraining.domain.values.errors import DataInvalid, IntegrityError

DAY, NEXT = date(2026, 3, 1), date(2026, 3, 2)
GERMAN: Where = {"country": ("DE",)}


@pytest.fixture
def whole(tmp_path: Path) -> Store:
    return Store(FolderLocation(tmp_path / "store"), tmp_path / "scratch")


def of_model(folder: Path, model: str, where: Where, **asked: str) -> ModelStore:
    location = FolderLocation(folder / "store")
    own = FolderLocation(folder / "store" / "models" / model)
    return ModelStore(location, folder / "scratch", own=own, model=model, where=where, asked=asked)


def rows(*countries: str | None) -> pa.Table:
    ids, labels = list(range(len(countries))), [number % 2 for number in range(len(countries))]
    columns = {
        "transaction_id": ids,
        "country": pa.array(countries, pa.string()),
        "is_fraud": pa.array(labels, pa.int8()),
    }
    return pa.table(columns)


def put(store: Store, asset: str, table: pa.Table, day: date = DAY, *, digest: str = "d") -> Partition:
    facts = {"rows": table.num_rows, "facts": "f", "labels": "l"}
    return store.write(asset, day, {"rows": table}, digest=digest, inputs={"source": digest}, facts=facts)


def read(store: Store, asset: str, day: date = DAY) -> list[int]:
    record = store.partition(asset, day)
    assert record is not None
    (path,) = store.paths([record], "rows")
    found: list[int] = pq.read_table(path)["transaction_id"].to_pylist()
    return found


def test_a_model_has_a_part_of_its_own(tmp_path: Path, whole: Store) -> None:
    stores = {name: of_model(tmp_path, name, {}) for name in ("a", "b")}
    for name, store in stores.items():
        put(store, "scored_transactions", rows("DE"), digest=name)
        store.write_document("training_window", "2026-03-01", name.encode())
        store.annotate("scored_transactions", DAY, "note", {"of": name})
    for name, store in stores.items():
        found = store.partition("scored_transactions", DAY)
        assert found is not None
        assert found.digest == name
        assert store.read_document("training_window", "2026-03-01") == name.encode()
        assert store.annotation("scored_transactions", DAY, "note") == {"of": name}
        assert list(store.standing("scored_transactions", [DAY, NEXT])) == [DAY]
        assert store.own_location.read_bytes("training_window/2026-03-01.json") == name.encode()
        files = store.put("drift_report", DAY, {"rows": rows("DE")})
        committed = store.commit("drift_report", DAY, files, digest=name, inputs={}, facts={})
        assert store.partition("drift_report", DAY) == committed
        # As a worker of Spark writes it.
        there: ModelStore = pickle.loads(pickle.dumps(store))
        files = there.put("shadow_scores", DAY, {"rows": rows("DE", "FR")})
        assert files["rows"].path.startswith(f"models/{name}/")
        committed = store.commit("shadow_scores", DAY, files, digest=name, inputs={}, facts={})
        assert read(there, "shadow_scores") == [0, 1]
    assert whole.partition("scored_transactions", DAY) is None
    assert whole.partition("drift_report", DAY) is None
    assert whole.read_document("training_window", "2026-03-01") is None


@pytest.mark.parametrize("asset", [TRANSACTIONS, FEATURES])
def test_of_a_shared_day_it_sees_its_rows_under_the_digest_of_the_day(tmp_path: Path, whole: Store, asset: str) -> None:
    made = put(whole, asset, rows("DE", "FR", None, "DE"))
    found = of_model(tmp_path, "a", GERMAN).partition(asset, DAY)
    assert found is not None
    assert (found.digest, found.inputs, found.facts["facts"]) == (made.digest, made.inputs, "f")
    assert (found.facts["rows"], found.facts[WHOLE_ROWS]) == (2, 4)
    assert read(of_model(tmp_path, "a", GERMAN), asset) == [0, 3]
    assert of_model(tmp_path, "a", GERMAN).whole(found) == made == whole.whole(made)
    assert read(whole, asset) == [0, 1, 2, 3]
    standing = of_model(tmp_path, "a", GERMAN).standing(asset, [DAY])[DAY]
    assert standing.record == found
    assert not standing.problem


def test_facts_of_a_shared_day_are_counts_of_its_rows(tmp_path: Path, whole: Store) -> None:
    put(whole, TRANSACTIONS, rows("DE", "DE", "FR", None))
    put(whole, FEATURES, rows("DE", "DE", "FR", None))
    store = of_model(tmp_path, "a", {"country": ("DE", None)})
    transactions, features = store.partition(TRANSACTIONS, DAY), store.partition(FEATURES, DAY)
    assert transactions is not None
    assert features is not None
    counts = {name: transactions.facts[name] for name in ("rows", "labelled", "frauds", "blocked")}
    assert counts == {"rows": 3, "labelled": 3, "frauds": 2, "blocked": None}
    assert features.facts["label_days"] == [[None, 3, 2]]


def test_a_day_that_is_made_again_is_cut_again(tmp_path: Path, whole: Store) -> None:
    store = of_model(tmp_path, "a", GERMAN)
    put(whole, FEATURES, rows("DE", "FR"), digest="before")
    assert read(store, FEATURES) == [0]
    put(whole, FEATURES, rows("FR", "DE"), digest="after")
    assert read(store, FEATURES) == [1]


def test_a_day_without_rows_of_the_segment_is_an_empty_one(tmp_path: Path, whole: Store) -> None:
    put(whole, FEATURES, rows("FR"))
    store = of_model(tmp_path, "a", GERMAN)
    assert read(store, FEATURES) == []
    found = store.partition(FEATURES, DAY)
    assert found is not None
    assert found.facts["rows"] == 0


def test_a_damaged_copy_is_made_again_and_a_damaged_day_is_not_hidden(tmp_path: Path, whole: Store) -> None:
    put(whole, FEATURES, rows("DE", "FR"))
    store = of_model(tmp_path, "a", GERMAN)
    record = store.partition(FEATURES, DAY)
    assert record is not None
    copy = tmp_path / "store" / record.files["rows"].path
    copy.write_bytes(b"x" * copy.stat().st_size)
    (path,) = of_model(tmp_path, "a", GERMAN).paths([record], "rows")
    assert pq.read_table(path)["transaction_id"].to_pylist() == [0]
    (whole_file,) = (tmp_path / "store" / FEATURES / f"day={DAY}").glob("*.parquet")
    whole_file.unlink()
    copy.unlink()
    assert store.standing(FEATURES, [DAY])[DAY].problem
    with pytest.raises(IntegrityError):
        store.paths([record], "rows")


def test_models_with_the_same_condition_share_the_copies(tmp_path: Path, whole: Store) -> None:
    put(whole, FEATURES, rows("DE", "FR"))
    records = [of_model(tmp_path, name, GERMAN).partition(FEATURES, DAY) for name in ("a", "b")]
    assert records[0] == records[1]
    assert len(list((tmp_path / "store" / "segments").iterdir())) == 1


def test_days_that_are_no_rows_of_transactions_are_shared_as_they_are(tmp_path: Path, whole: Store) -> None:
    made = put(whole, ENTITY_DAYS, rows("DE", "FR"))
    assert of_model(tmp_path, "a", GERMAN).partition(ENTITY_DAYS, DAY) == made
    written = put(of_model(tmp_path, "a", GERMAN), TRANSACTIONS, rows("DE", "FR"))
    assert written.facts["rows"] == 1
    assert read(whole, TRANSACTIONS) == [0, 1]


def test_labels_of_a_feed_are_counted_for_the_segment(tmp_path: Path, whole: Store) -> None:
    put(whole, TRANSACTIONS, rows("DE", "FR", "DE"))
    at = datetime(2026, 3, 2, 9)
    events = pa.table(
        {
            "transaction_id": [0, 1, 2],
            "day": pa.array([DAY] * 3, pa.date32()),
            "known_at": pa.array([at] * 3, pa.timestamp("us")),
            "is_fraud": pa.array([1, 1, 0], pa.int8()),
            "known_before": pa.array([None] * 3, pa.int8()),
            "source": pa.array(["feed"] * 3),
        }
    )
    facts = in_order(events).facts.model_dump(mode="json")
    whole.write(LABELS, NEXT, {"rows": events}, digest="l", inputs={}, facts=facts)
    found = of_model(tmp_path, "a", GERMAN).partition(LABELS, NEXT)
    assert found is not None
    assert found.facts["by_day"] == [["2026-03-01", 2, 1]]
    # Which label days have events says which ones later days rest on, for all models alike.
    assert found.facts["events"] == 3
    assert found.facts["first_reports"] == [["2026-03-01", 1]]
    assert found.facts["rejects"] == facts["rejects"]
    shared = whole.partition(LABELS, NEXT)
    assert shared is not None
    assert shared.facts["by_day"] == [["2026-03-01", 3, 2]]


def lacking(store: Store, day: date, why: str = "is missing") -> None:
    """A day, and its features, that were stored without the country."""
    for asset in (TRANSACTIONS, FEATURES):
        put(store, asset, rows(None, None), day, digest="without")
    facts = {"rows": 2, "facts": "f", "labels": "l", "frauds": 1, "unusable_columns": {"country": why}}
    store.write(TRANSACTIONS, day, {"rows": rows(None, None)}, digest="without", inputs={"source": "x"}, facts=facts)


@pytest.mark.parametrize(
    ("where", "taken"),
    [(GERMAN, [0]), ({"country": (None,)}, [1]), ({}, [0, 1])],
    ids=["a value", "missing ones", "a slice alone"],
)
def test_a_day_that_lacks_a_column_has_no_rows_of_the_model_that_asks_for_it(
    tmp_path: Path, whole: Store, where: Where, taken: list[int]
) -> None:
    for asset in (TRANSACTIONS, FEATURES):
        put(whole, asset, rows("DE", None))
    lacking(whole, NEXT)
    store = of_model(tmp_path, "a", where, country="models.a.where")
    for asset in (TRANSACTIONS, FEATURES):
        # Nobody who lists days is stopped, and nobody reads a row.
        found = store.partitions(asset, [DAY, NEXT])
        assert [(one.facts["rows"], one.facts.get(WHOLE_ROWS)) for one in found.values()][1] == (0, 2)
        assert store.standing(asset, [NEXT])[NEXT].record == found[NEXT]
        assert store.whole(found[NEXT]) == whole.partition(asset, NEXT)
        for read_rows in (store.paths, store.objects):
            with pytest.raises(DataInvalid, match=r"2026-03-02 lacks what models\.a\.where asks for") as refused:
                read_rows([found[NEXT]], "rows")
            assert refused.value.culprits == ("country is missing",)
            assert "correct models.a.where" in refused.value.remedy
            assert refused.value.days == (NEXT,)
    assert read(store, FEATURES) == taken
    # Another model reads the day as it is; delivered again with the column, it is a day like every other.
    assert read(of_model(tmp_path, "b", {}), FEATURES, NEXT) == [0, 1]
    for asset in (TRANSACTIONS, FEATURES):
        put(whole, asset, rows("DE", None), NEXT, digest="with")
    assert read(store, FEATURES, NEXT) == taken


def test_a_day_that_was_stored_without_a_column_stops_nobody_who_lists_days(tmp_path: Path, whole: Store) -> None:
    put(whole, TRANSACTIONS, rows("DE").drop_columns(["country"]))
    store = of_model(tmp_path, "a", GERMAN)
    found = store.partitions(TRANSACTIONS, [DAY])[DAY]
    assert found.facts["rows"] == 0
    with pytest.raises(DataInvalid, match="columns that the day was stored without"):
        store.paths([found], "rows")
