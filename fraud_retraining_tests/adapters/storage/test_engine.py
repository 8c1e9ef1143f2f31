"""The engine: what it reads, in which order, within which limits, and what its failures are called."""

import signal
import subprocess
import sys
import time
from datetime import date, datetime
from pathlib import Path

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fraud_retraining.adapters.storage.engine import Engine, PreparedQuery, lake_day, read_schemas
from fraud_retraining.domain.data.ingestion import Arrival, ingest
from fraud_retraining.domain.data.lake_mapping import LakeMapping
from fraud_retraining.domain.values.errors import DataInvalid, DependencyUnreachable

HANDBOOK = Path(__file__).parents[4] / "shared" / "data" / "handbook"
DAY = date(2024, 2, 29)
MAPPING = LakeMapping.model_validate({"entities": {"customer": {"column": "CUSTOMER_ID"}}})


@pytest.fixture
def engine(tmp_path):
    with Engine(threads=1, memory_limit="200MB", temp_directory=tmp_path / "spill") as engine:
        yield engine


def written(path: Path, table: pa.Table, **options) -> Path:
    pq.write_table(table, path, **options)
    return path


def lake_table(rows: int = 3, **columns) -> pa.Table:
    usual = {
        "TRANSACTION_ID": list(range(rows)),
        "TX_DATETIME": [datetime(2024, 2, 29, 12)] * rows,
        "CUSTOMER_ID": [7] * rows,
        "TX_AMOUNT": [1.0] * rows,
        "TX_FRAUD": [0] * rows,
    }
    return pa.table({name: values for name, values in (usual | columns).items() if values is not None})


def noise(rows: int) -> pa.Table:
    numbers = [i * 2654435761 % 1_000_003 for i in range(rows)]
    return pa.table({"n": numbers, "text": [f"value {i}" * 8 for i in range(rows)]})


class TestReading:
    def test_files_come_in_the_order_given(self, engine, tmp_path):
        late = written(tmp_path / "a.parquet", pa.table({"n": [3, 4]}))
        early = written(tmp_path / "b.parquet", pa.table({"n": [1, 2]}))
        assert engine.to_arrow(engine.read_parquet([early, late]))["n"].to_pylist() == [1, 2, 3, 4]

    def test_only_the_wanted_columns_are_read(self, engine, tmp_path):
        path = written(tmp_path / "a.parquet", pa.table({"n": [1], "m": [2]}))
        assert engine.read_parquet([path], columns=["m"]).columns == ("m",)

    def test_folder_names_are_not_columns(self, engine, tmp_path):
        folder = tmp_path / "year=2024" / "month=02"
        folder.mkdir(parents=True)
        assert engine.read_parquet([written(folder / "a.parquet", pa.table({"n": [1]}))]).columns == ("n",)

    def test_a_path_is_a_path_and_not_a_pattern(self, engine, tmp_path):
        folder = tmp_path / "it's [a] *"
        folder.mkdir()
        path = written(folder / "a.parquet", pa.table({"n": [1]}))
        assert engine.to_arrow(engine.read_parquet([path])).num_rows == 1

    @pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
    def test_nanoseconds_are_cut_so_that_the_last_moment_stays_in_its_day(self, engine, tmp_path, zone):
        last = pa.array([1709251199_999_999_999, None], pa.timestamp("ns", tz=zone))
        table = engine.read_parquet([written(tmp_path / "a.parquet", pa.table({"at": last}))])
        assert engine.to_arrow(table)["at"].to_pylist() == [datetime(2024, 2, 29, 23, 59, 59, 999999), None]

    def test_an_arrow_table_keeps_its_values(self, engine):
        table = pa.table({"n": [2, 1, None], "text": ["b", "a", None]})
        assert engine.to_arrow(engine.memtable(table)).to_pydict() == table.to_pydict()

    def test_nothing_to_read_is_a_mistake(self, engine):
        with pytest.raises(ValueError, match="at least one file"):
            engine.read_parquet([])


class TestStreams:
    def test_batches_come_in_order_and_hold_at_most_the_requested_rows(self, engine, tmp_path):
        path = written(tmp_path / "a.parquet", pa.table({"n": list(range(10_000))}), row_group_size=3_000)
        batches = list(engine.batches(engine.read_parquet([path]), rows=700))
        assert max(batch.num_rows for batch in batches) <= 700
        assert pa.Table.from_batches(batches)["n"].to_pylist() == list(range(10_000))

    def test_two_streams_and_a_result_may_be_open_at_once(self, engine, tmp_path):
        table = engine.read_parquet([written(tmp_path / "a.parquet", pa.table({"n": list(range(5_000))}))])
        small = engine.memtable(pa.table({"n": list(range(5_000))}))
        pairs = zip(engine.batches(table, 512), engine.batches(small, 512), strict=True)
        first = next(pairs)
        assert engine.to_arrow(table).num_rows == 5_000
        assert first[0].equals(first[1])
        assert all(left.equals(right) for left, right in pairs)

    def test_a_stream_may_join_tables_from_everywhere(self, engine):
        own, foreign = engine.memtable(pa.table({"n": [1, 2]})), ibis.memtable(pa.table({"n": [2, 3]}))
        (batch,) = engine.batches(own.inner_join(foreign, "n"))
        assert batch.to_pydict() == {"n": [2]}

    def test_a_stream_has_the_types_of_its_expression(self, engine):
        table = engine.memtable(pa.table({"at": pa.array([datetime(2024, 2, 29)], pa.timestamp("us")), "t": ["x"]}))
        (batch,) = engine.batches(table)
        assert batch.schema == table.schema().to_pyarrow()


class TestLimits:
    def test_the_session_is_utc_without_network(self, engine):
        settings = engine._connection.execute(
            "SELECT current_setting('TimeZone'), current_setting('autoinstall_known_extensions'), "
            "current_setting('autoload_known_extensions')"
        ).fetchone()
        assert settings == ("UTC", False, False)

    def test_more_than_fits_in_memory_is_spilled_and_still_sorted(self, tmp_path):
        path = written(tmp_path / "a.parquet", noise(400_000))
        with Engine(memory_limit="60MB", threads=1, temp_directory=tmp_path / "spill") as engine:
            batches = engine.batches(engine.read_parquet([path]).order_by("n"), rows=50_000)
            ends = [(batch["n"][0].as_py(), batch["n"][-1].as_py()) for batch in batches]
        flat = [end for pair in ends for end in pair]
        assert flat == sorted(flat)

    def test_too_little_memory_is_named_with_its_knob_and_the_engine_goes_on(self, tmp_path):
        path = written(tmp_path / "a.parquet", noise(200_000))
        with Engine(memory_limit="20MB", threads=1, temp_directory=tmp_path / "spill") as engine:
            table = engine.read_parquet([path])
            with pytest.raises(DependencyUnreachable, match="20MB") as refusal:
                engine.to_arrow(table.aggregate(all=table.text.collect(), n=table.n.collect()))
            assert "engine.memory_limit" in str(refusal.value)
            assert engine.to_arrow(table.count().as_table()).num_rows == 1

    def test_no_room_to_spill_is_named_with_the_folder(self, tmp_path):
        path = written(tmp_path / "a.parquet", noise(400_000))
        with Engine(memory_limit="60MB", threads=1, temp_directory=tmp_path / "spill") as engine:
            engine._spill.joinpath("alive").unlink()
            engine._spill.rmdir()
            engine._spill.write_bytes(b"not a folder")
            with pytest.raises(DependencyUnreachable, match="spill") as refusal:
                engine.to_arrow(engine.read_parquet([path]).order_by("n"))
        assert refusal.value.remedy

    def test_a_spill_folder_that_cannot_be_made_is_unreachable(self, tmp_path):
        tmp_path.joinpath("home").write_bytes(b"a file")
        with pytest.raises(DependencyUnreachable, match="home"):
            Engine(temp_directory=tmp_path / "home" / "spill")

    def test_spill_of_a_living_engine_stays_and_that_of_a_dead_one_is_cleared(self, tmp_path):
        code = (
            "import os, sys; from pathlib import Path; from fraud_retraining.adapters.storage.engine import Engine\n"
            f"e = Engine(temp_directory=Path({str(tmp_path)!r})); print(e._spill); sys.stdout.flush(); os._exit(9)"
        )
        root = Path(__file__).parents[3]
        run = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=root, check=False)
        assert Path(run.stdout.strip()).is_dir()
        with Engine(temp_directory=tmp_path) as one, Engine(temp_directory=tmp_path) as two:
            assert set(tmp_path.glob("engine-*")) == {one._spill, two._spill}
        assert not list(tmp_path.glob("engine-*"))


ENDLESS_QUERY = """
import signal, sys, ibis
from pathlib import Path
from fraud_retraining.adapters.storage.engine import Engine

# A worker of pytest-xdist hands its own way with the signal down.
signal.signal(signal.SIGINT, signal.default_int_handler)
with Engine(temp_directory=Path(sys.argv[1]), threads=1) as engine:
    engine.to_arrow(ibis.range(0, 2).unnest().name("n").as_table())
    numbers = ibis.range(0, 200_000).unnest().name("n").as_table()
    endless = numbers.cross_join(numbers.view()).aggregate(total=lambda pairs: (pairs.n * pairs.n_right % 7).sum())
    print("running", flush=True)
    try:
        engine.to_arrow(endless)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


def test_ctrl_c_during_a_query_is_an_interrupt_and_no_failure(tmp_path):
    """In a process of its own: what a signal does within a test runner depends on how that one was started."""
    command = [sys.executable, "-c", ENDLESS_QUERY, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        # The query is under way soon after.
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        try:
            said, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (said, process.returncode) == ("interrupted\n", 0), err


class TestPrepared:
    def largest(self, engine, path, day, *, recipe="", column="n"):
        def build(this_day, tables):
            self.built += 1
            return tables["rows"].aggregate(most=tables["rows"][column].max(), day=this_day)

        (row,) = engine.prepared(PreparedQuery("largest", build, recipe), day, {"rows": [path]}).to_pylist()
        return row

    @pytest.fixture(autouse=True)
    def nothing_built(self):
        self.built = 0

    def test_a_query_is_built_once_and_answers_about_the_files_and_the_day_of_each_call(self, engine, tmp_path):
        for number in (1, 5):
            path = written(tmp_path / f"{number}.parquet", pa.table({"n": [number, 0]}))
            day = date(2024, 3, number)
            assert self.largest(engine, path, day) == {"most": number, "day": day}
        assert self.built == 1

    def test_other_types_and_another_recipe_are_another_query(self, engine, tmp_path):
        numbers = written(tmp_path / "numbers.parquet", pa.table({"n": [9, 10], "m": [8, 7]}))
        texts = written(tmp_path / "texts.parquet", pa.table({"n": ["9", "10"], "m": ["8", "7"]}))
        assert self.largest(engine, numbers, DAY)["most"] == 10
        assert self.largest(engine, texts, DAY)["most"] == "9"
        assert self.largest(engine, numbers, DAY, recipe="m", column="m")["most"] == 8
        assert self.built == 3


class TestBadFiles:
    def corrupted(self, path: Path) -> Path:
        """Its footer is whole, a page of its data is not."""
        content = bytearray(written(path, noise(20_000)).read_bytes())
        content[len(content) // 4 : len(content) // 2] = bytes(len(content) // 2 - len(content) // 4)
        path.write_bytes(content)
        return path

    def test_a_corrupt_page_names_its_file_and_no_other(self, engine, tmp_path):
        good, bad = written(tmp_path / "good.parquet", noise(10)), self.corrupted(tmp_path / "bad.parquet")
        with pytest.raises(DataInvalid) as refusal:
            engine.to_arrow(engine.read_parquet([good, bad]))
        assert refusal.value.culprits == (str(bad),)

    def test_a_corrupt_page_is_also_found_by_a_stream(self, engine, tmp_path):
        bad = self.corrupted(tmp_path / "bad.parquet")
        with pytest.raises(DataInvalid, match=r"bad\.parquet"):
            list(engine.batches(engine.read_parquet([bad])))

    @pytest.mark.parametrize("content", [b"", b"junk", b"PAR1" + b"x" * 100 + b"PAR1"])
    def test_a_file_that_is_not_parquet_is_named(self, engine, tmp_path, content):
        path = tmp_path / "day.parquet"
        path.write_bytes(content)
        for read in (lambda: engine.read_parquet([path]), lambda: read_schemas([path])):
            with pytest.raises(DataInvalid, match=r"day\.parquet"):
                read()

    def test_every_corrupt_file_of_a_day_is_named(self, engine, tmp_path):
        paths = [written(tmp_path / "good.parquet", lake_table()), tmp_path / "b.parquet", tmp_path / "c.parquet"]
        for path in paths[1:]:
            path.write_bytes(b"half a file")
        with pytest.raises(DataInvalid) as refusal:
            lake_day(paths, MAPPING)
        assert refusal.value.culprits == tuple(map(str, paths[1:]))

    def test_a_file_that_is_gone_is_unreachable_and_not_corrupt(self, engine, tmp_path):
        path = tmp_path / "gone.parquet"
        for read in (lambda: engine.read_parquet([path]), lambda: read_schemas([path])):
            with pytest.raises(DependencyUnreachable, match=r"gone\.parquet"):
                read()

    def test_a_day_without_files_is_refused(self, engine):
        with pytest.raises(DataInvalid, match="no files"):
            lake_day([], MAPPING)


class TestLakeDay:
    def ingested(self, engine, paths):
        query = engine.lake_query("day", DAY, lake_day(paths, MAPPING), MAPPING)
        return ingest(query, MAPPING, arrival=Arrival(files=len(paths), source_version="v"))

    def test_files_written_with_different_accepted_types_are_one_day(self, engine, tmp_path):
        at = [datetime(2024, 2, 29, 12)]
        zoned = pa.array(at, pa.timestamp("ns", "UTC"))
        parts = [
            lake_table(1, TX_FRAUD=[True]),
            lake_table(1, TRANSACTION_ID=pa.array([11], pa.int16()), TX_FRAUD=[float("nan")], extra=["ignored"]),
            lake_table(1, TRANSACTION_ID=[12], TX_FRAUD=pa.nulls(1), TX_DATETIME=zoned),
            lake_table(1, TRANSACTION_ID=[13], TX_AMOUNT=pa.array([1], pa.decimal128(10, 2)), extra=[4]),
        ]
        paths = [written(tmp_path / f"{n}.parquet", part) for n, part in enumerate(parts)]
        result = self.ingested(engine, paths)
        assert result.accepted.to_pydict() == {
            "transaction_id": [0, 11, 12, 13],
            "timestamp": at * 4,
            "amount": [1.0] * 4,
            "is_fraud": [1, None, None, 0],
            "customer": [7] * 4,
        }
        assert lake_day(paths, MAPPING).ignored == ("extra",)

    def test_a_column_that_one_file_lacks_is_refused_with_the_name_of_the_file(self, engine, tmp_path):
        whole = written(tmp_path / "whole.parquet", lake_table())
        part = written(tmp_path / "part.parquet", lake_table(CUSTOMER_ID=None))
        with pytest.raises(DataInvalid) as refusal:
            lake_day([whole, part], MAPPING)
        assert refusal.value.culprits == (
            "CUSTOMER_ID (customer) is missing in part.parquet",
            "columns that are there: TRANSACTION_ID, TX_AMOUNT, TX_DATETIME, TX_FRAUD",
        )

    def test_the_same_file_twice_is_counted_once(self, engine, tmp_path):
        once = written(tmp_path / "once.parquet", lake_table())
        again = written(tmp_path / "again.parquet", lake_table())
        single, double = self.ingested(engine, [once]), self.ingested(engine, [once, again])
        assert double.accepted.equals(single.accepted)
        assert (double.facts.duplicates_dropped, double.facts.rejected) == (3, 0)

    def test_each_day_of_one_engine_is_read_and_judged_as_itself(self, engine, tmp_path):
        for number in (1, 2):
            at = datetime(2024, 3, number, 12)
            table = lake_table(2, TRANSACTION_ID=[number, 10 + number], TX_DATETIME=[at, at])
            query = engine.lake_query(
                "day", at.date(), lake_day([written(tmp_path / f"{number}.parquet", table)], MAPPING), MAPPING
            )
            result = ingest(query, MAPPING, arrival=Arrival(files=1, source_version="v"))
            assert result.accepted["transaction_id"].to_pylist() == [number, 10 + number]
            assert result.facts.rejected == 0

    def test_an_empty_file_without_types_adds_nothing(self, engine, tmp_path):
        full = written(tmp_path / "full.parquet", lake_table(CUSTOMER_ID=["a", "b", "c"]))
        names = lake_table().column_names
        empty = written(tmp_path / "empty.parquet", pa.table({name: pa.nulls(0) for name in names}))
        assert self.ingested(engine, [empty, full]).accepted["customer"].to_pylist() == ["a", "b", "c"]
        assert self.ingested(engine, [empty]).facts.rows == 0


class TestHandbook:
    """Real input, whose names and types are not ours."""

    MAPPING = LakeMapping.model_validate(
        {"entities": {"customer": {"column": "CUSTOMER_ID"}, "terminal": {"column": "TERMINAL_ID"}}}
    )

    def test_every_row_of_a_day_is_accepted(self, engine):
        if not HANDBOOK.is_dir():
            pytest.skip(f"the handbook data is not at {HANDBOOK}")
        path = HANDBOOK / "year=2018" / "month=05" / "day=03" / "transactions.parquet"
        day = lake_day([path], self.MAPPING)
        arrival = Arrival(files=1, source_version="v")
        query = engine.lake_query("day", date(2018, 5, 3), day, self.MAPPING)
        result = ingest(query, self.MAPPING, arrival=arrival, ignored=day.ignored)
        assert (result.facts.rows, result.facts.rejected) == (pq.read_metadata(path).num_rows, 0)
        assert result.facts.ignored_columns == ("TX_FRAUD_SCENARIO", "TX_TIME_DAYS", "TX_TIME_SECONDS")
        assert result.accepted["timestamp"].to_pylist() == sorted(result.accepted["timestamp"].to_pylist())
