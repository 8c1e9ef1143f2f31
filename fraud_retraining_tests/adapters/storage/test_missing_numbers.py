"""A missing number is missing, however a file writes it: null or NaN, with or without statistics that leave NaN out.

A number that is missing is null in the store. Stores that were written before that rule hold NaN; they read the same.
"""

from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from fraud_retraining.adapters.days.day_counts import Counter, counts_by_day
from fraud_retraining.adapters.days.live_rows import scored_rows
from fraud_retraining.adapters.storage.engine import Engine, PreparedQuery, lake_day
from fraud_retraining.domain.data.day_checks import DayEvidence, day_checks, day_profile
from fraud_retraining.domain.data.ingestion import Arrival, Ingested, ingest
from fraud_retraining.domain.data.lake_mapping import LakeMapping
from fraud_retraining.domain.data.validation import ValidationPolicy
from fraud_retraining.domain.features.plan import FeaturePlan
from fraud_retraining.domain.features.point_in_time import transaction_features
from fraud_retraining.domain.monitoring.bins import number_bins, number_counts
from fraud_retraining.domain.training.estimators.model_input import category_texts

DAY = date(2024, 2, 29)
ROWS = 12
NAN = float("nan")
MAPPING = LakeMapping.model_validate({"entities": {"customer": {"column": "CUSTOMER_ID"}}, "numeric": ["score"]})
PLAN = FeaturePlan(entities={}, numeric=("score",))


def values(start: float = 1.0, missing: tuple[int, ...] = (1, 4, 5, 11)) -> list[float]:
    return [NAN if n in missing else start + n for n in range(ROWS)]


MISSING = sum(value != value for value in values())


def by_pyarrow(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path)


def without_statistics(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, write_statistics=False)


def by_pandas(table: pa.Table, path: Path) -> None:
    table.to_pandas().to_parquet(path)


def by_duckdb(table: pa.Table, path: Path) -> None:
    with duckdb.connect() as connection:
        connection.register("rows", table)
        connection.execute(f"COPY rows TO '{path}' (FORMAT parquet)")


def as_spark_does(table: pa.Table, path: Path) -> None:
    """Timestamps as INT96, dictionaries, several row groups of which one holds nothing but NaN at its end."""
    options = {"use_deprecated_int96_timestamps": True, "use_dictionary": True, "row_group_size": 4}
    pq.write_table(table, path, data_page_version="1.0", **options)


def by_row_groups_without_dictionary(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, row_group_size=3, use_dictionary=False, data_page_version="2.0")


def as_arrow_dictionaries(table: pa.Table, path: Path) -> None:
    for at, field in enumerate(table.schema):
        if pa.types.is_floating(field.type):
            table = table.set_column(at, field.name, pc.dictionary_encode(table[field.name]))
    pq.write_table(table, path)


Writer = Callable[[pa.Table, Path], None]
WRITERS = [
    by_pyarrow,
    without_statistics,
    by_pandas,
    by_duckdb,
    as_spark_does,
    by_row_groups_without_dictionary,
    as_arrow_dictionaries,
]
EVERY_WRITER = pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
EVERY_FLOAT = pytest.mark.parametrize("kind", [pa.float32(), pa.float64()], ids=str)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with Engine(temp_directory=Path(tmp_path_factory.mktemp("engine"))) as opened:
        yield opened


def lake_rows(**columns: pa.Array) -> pa.Table:
    times = pa.array([datetime(2024, 2, 29) + timedelta(hours=n) for n in range(ROWS)], pa.timestamp("us"))
    usual = {"TRANSACTION_ID": pa.array(range(ROWS)), "TX_DATETIME": times, "CUSTOMER_ID": pa.array([7] * ROWS)}
    usual |= {"TX_AMOUNT": pa.array([2.5] * ROWS), "TX_FRAUD": pa.array([0] * ROWS)}
    return pa.table(usual | {"score": pa.array([0.5] * ROWS)} | columns)


def ingested(engine: Engine, path: Path) -> Ingested:
    query = engine.lake_query("day", DAY, lake_day([path], MAPPING), MAPPING)
    return ingest(query, MAPPING, arrival=Arrival(files=1, source_version="v"))


class TestLake:
    @EVERY_WRITER
    @EVERY_FLOAT
    def test_an_amount_that_is_missing_is_rejected_and_the_others_stand(
        self, engine: Engine, tmp_path: Path, write: Writer, kind: pa.DataType
    ) -> None:
        write(lake_rows(TX_AMOUNT=pa.array(values(), kind)), tmp_path / "day.parquet")
        result = ingested(engine, tmp_path / "day.parquet")
        reason = "null amount" if write is by_pandas else "negative or not finite amount"
        assert result.facts.rejects == {reason: MISSING}
        assert result.accepted["amount"].to_pylist() == [value for value in values() if value == value]

    @EVERY_WRITER
    @EVERY_FLOAT
    def test_a_label_that_is_missing_is_unknown(
        self, engine: Engine, tmp_path: Path, write: Writer, kind: pa.DataType
    ) -> None:
        labels = [1.0, NAN, 0.0, 0.0, NAN, NAN, 1.0, 0.0, 0.0, 0.0, 0.0, NAN]
        write(lake_rows(TX_FRAUD=pa.array(labels, kind)), tmp_path / "day.parquet")
        result = ingested(engine, tmp_path / "day.parquet")
        assert (result.facts.labelled, result.facts.frauds, result.facts.rejects) == (ROWS - 4, 2, {})
        assert result.accepted["is_fraud"].to_pylist() == [None if label != label else int(label) for label in labels]

    @EVERY_WRITER
    @EVERY_FLOAT
    def test_a_further_number_that_is_missing_is_null(
        self, engine: Engine, tmp_path: Path, write: Writer, kind: pa.DataType
    ) -> None:
        write(lake_rows(score=pa.array(values(), kind)), tmp_path / "day.parquet")
        result = ingested(engine, tmp_path / "day.parquet")
        assert result.facts.nulls["score"] == result.accepted["score"].null_count == MISSING

    def test_what_is_infinite_is_no_amount_and_no_label(self, engine: Engine, tmp_path: Path) -> None:
        amounts, labels = [float("inf"), *[1.0] * (ROWS - 1)], [0.0, float("-inf"), *[0.0] * (ROWS - 2)]
        by_pyarrow(lake_rows(TX_AMOUNT=pa.array(amounts), TX_FRAUD=pa.array(labels)), tmp_path / "day.parquet")
        rejects = ingested(engine, tmp_path / "day.parquet").facts.rejects
        assert rejects == {"negative or not finite amount": 1, "label not 0/1": 1}


class TestStoreOfBefore:
    """Days that hold NaN, as every store does that was written before missing numbers were null."""

    @EVERY_WRITER
    def test_checks_of_a_day_see_an_amount_that_is_missing(self, engine: Engine, tmp_path: Path, write: Writer) -> None:
        good = tmp_path / "good.parquet"
        by_pyarrow(lake_rows(), good)
        found = ingested(engine, good)
        stored = found.accepted.set_column(2, "amount", pa.array(values()))
        write(stored, tmp_path / "rows.parquet")
        query = engine.stored_query("rows", DAY, [tmp_path / "rows.parquet"], MAPPING)
        rows = engine.read_parquet([tmp_path / "rows.parquet"])
        assert query(day_profile).to_pylist()[0]["null_amount"] == MISSING
        results = day_checks(DayEvidence(rows, found.facts, MAPPING, DAY, ValidationPolicy(), query=query))
        assert [result.name for result in results if not result.passed and result.severity == "error"] == ["nulls"]

    @EVERY_WRITER
    def test_features_have_null_where_a_number_is_missing(self, engine: Engine, tmp_path: Path, write: Writer) -> None:
        stored = ingested_table(engine, tmp_path).set_column(5, "score", pa.array(values()))
        assert stored.column_names[5] == "score"
        write(stored, tmp_path / "rows.parquet")
        query = PreparedQuery(
            "features",
            lambda day, given: transaction_features(PLAN, day, today=given["today"], yesterday=None, entity_days={}),
        )
        table = engine.prepared(query, DAY, {"today": [tmp_path / "rows.parquet"]})
        assert table["score"].null_count == MISSING
        assert not pc.any(pc.is_nan(table["score"])).as_py()

    @EVERY_WRITER
    @EVERY_FLOAT
    def test_drift_counts_what_is_missing_as_missing(
        self, engine: Engine, tmp_path: Path, write: Writer, kind: pa.DataType
    ) -> None:
        times = pa.array([datetime(2024, 2, 29, 1)] * ROWS, pa.timestamp("us"))
        write(pa.table({"timestamp": times, "score": pa.array(values(), kind)}), tmp_path / "rows.parquet")
        bins = [number_bins("score", np.arange(1.0, 20.0, dtype=kind.to_pandas_dtype()), 4)]
        expected = number_counts(bins[0], np.array(values()))
        assert expected[-1] == MISSING
        assert Counter(engine, bins).count(DAY, [tmp_path / "rows.parquet"]).counts["score"] == expected
        assert counts_by_day(engine, {DAY: tmp_path / "rows.parquet"}, bins)[DAY]["score"] == expected

    @EVERY_WRITER
    def test_the_greatest_value_is_one_that_is_there(self, engine: Engine, tmp_path: Path, write: Writer) -> None:
        write(pa.table({"x": pa.array(values())}), tmp_path / "rows.parquet")
        rows = engine.read_parquet([tmp_path / "rows.parquet"])
        found = engine.to_arrow(rows.aggregate(most=rows.x.max(), missing=rows.x.isnull().sum())).to_pylist()
        assert found == [{"most": 11.0, "missing": MISSING}]


def ingested_table(engine: Engine, folder: Path) -> pa.Table:
    by_pyarrow(lake_rows(), folder / "clean.parquet")
    return ingested(engine, folder / "clean.parquet").accepted


class TestModel:
    @pytest.mark.parametrize("missing", [None, NAN], ids=["null", "NaN"])
    def test_scores_do_not_depend_on_how_a_file_writes_what_is_missing(
        self, tmp_path: Path, missing: float | None
    ) -> None:
        column = pa.array([missing if value != value else value for value in values()], pa.float32())
        pq.write_table(pa.table({"transaction_id": range(ROWS), "score": column}), tmp_path / "rows.parquet")
        scores = scored_rows(_ShareOfMissing(), tmp_path / "rows.parquet")["score"]  # type: ignore[arg-type]
        assert scores.to_pylist() == [float(value != value) for value in values()]

    def test_a_category_that_went_through_float_has_no_category_called_nan(self) -> None:
        column = pa.chunked_array([pa.array([1.5, NAN, None])])
        assert category_texts(column).to_pylist() == ["1.5", None, None]


class _ShareOfMissing:
    """A model of one feature that says whether it is missing in the matrix that a model gets."""

    features = ("score",)

    def predict(self, rows: pa.RecordBatch) -> np.ndarray:
        from fraud_retraining.domain.training.estimators.model_input import _numbers

        return np.isnan(_numbers(pa.Table.from_batches([rows]), "score")).astype(np.float64)


def test_duckdb_still_errs_where_its_rewrite_is_on_or_the_setting_can_go(tmp_path: Path) -> None:
    """Why the engine switches a rewrite off. If this fails after an upgrade, DuckDB has mended it."""
    pq.write_table(pa.table({"x": [1.0, NAN, 2.0, NAN]}), tmp_path / "rows.parquet")
    statement = "SELECT sum(isnan(x)::INT) FROM '{}'".format(tmp_path / "rows.parquet")
    with duckdb.connect() as trusting:
        assert trusting.execute(statement).fetchall() == [(0,)]
    with duckdb.connect(config={"disabled_optimizers": "statistics_propagation"}) as careful:
        assert careful.execute(statement).fetchall() == [(2,)]
        assert careful.cursor().execute(statement).fetchall() == [(2,)]
