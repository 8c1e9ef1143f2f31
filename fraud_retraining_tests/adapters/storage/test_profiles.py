"""A lake that is made of one file holds its rows, all of them and as they were; half a lake is never left."""

import csv
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fraud_retraining.adapters.storage.lake import Lake
from fraud_retraining.adapters.storage.locations import FolderLocation
from fraud_retraining.adapters.storage.profiles import Profiler
from fraud_retraining.domain.proposal.facts import ColumnFacts
from fraud_retraining.domain.proposal.roles import Choices, Roles, decide_roles
from fraud_retraining.domain.values.errors import Conflict, DataInvalid

HEADER = ["tx_id", "tx_time", "amount", "is_fraud", "card_id", "note"]
START = datetime(2026, 1, 1)
Row = tuple[Any, ...]


@pytest.fixture
def profiler(tmp_path: Path) -> Iterator[Profiler]:
    with Profiler(memory_limit="200MB", threads=1, temp_directory=tmp_path / "spill") as opened:
        yield opened


def written_csv(path: Path, rows: list[Row], header: list[str] = HEADER, delimiter: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerows([header, *rows])
    return path


def facts(profiler: Profiler, path: Path) -> dict[str, ColumnFacts]:
    return {one.name: one for one in profiler.columns(profiler.file(path))}


def made(profiler: Profiler, file: Path, lake: Path, **choices: Any) -> tuple[int, Roles]:
    source = profiler.file(file)
    roles = decide_roles(profiler.columns(source), Choices(**choices), is_file=True)
    days = profiler.days(source, roles)
    rows = profiler.write_lake(source, roles, lake, len(days))
    assert rows == sum(day.rows for day in days)
    return rows, roles


def lake_rows(lake: Path) -> dict[date, list[dict[str, Any]]]:
    """The rows of each day, as the pipeline lists and reads a lake."""
    listed = Lake(FolderLocation(lake)).listing()
    assert not listed.set_aside
    return {
        day: [row for info in files.files for row in pq.read_table(lake / info.path, partitioning=None).to_pylist()]
        for day, files in listed.days.items()
    }


usual_rows = st.lists(
    st.tuples(
        st.integers(0, 20 * 86400).map(lambda seconds: START + timedelta(seconds=seconds)),
        st.floats(0, 1e6).map(lambda amount: round(amount, 2)),
        st.sampled_from([0, 1]),
        st.integers(0, 3).map(lambda card: f"{card:04d}"),
        st.text(st.characters(codec="utf-8", exclude_categories=("C",)), max_size=8),
    ),
    min_size=2,
    max_size=30,
)


@pytest.mark.slow
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(usual_rows, st.randoms(use_true_random=False))
def test_the_lake_has_exactly_the_rows_of_the_file_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row], chance: Any
) -> None:
    folder = tmp_path_factory.mktemp("file")
    numbered = [(f"id-{number}", *row) for number, row in enumerate(rows)]
    chance.shuffle(numbered)
    said = {
        "transaction_id": "tx_id",
        "time": "tx_time",
        "amount": "amount",
        "label": "is_fraud",
        "time_format": "%Y-%m-%d %H:%M:%S",
    }
    with Profiler(memory_limit="200MB", threads=1, temp_directory=folder / "spill") as profiler:
        file = written_csv(folder / "a.csv", [(row[0], f"{row[1]:%Y-%m-%d %H:%M:%S}", *row[2:]) for row in numbered])
        try:
            count, _ = made(profiler, file, folder / "lake", **said, fraud_values=("1",))
        except DataInvalid:
            pytest.fail("every row has a time")
    assert count == len(rows)
    found = lake_rows(folder / "lake")
    for day, there in found.items():
        assert {row["tx_time"].date() for row in there} == {day}
    back = sorted(
        (row["tx_id"], row["tx_time"], float(row["amount"]), int(row["is_fraud"]), row["card_id"])
        for day in found.values()
        for row in day
    )
    assert back == sorted((row[0], row[1], row[2], row[3], row[4]) for row in numbered)


def usual(number: int, **other: Any) -> Row:
    row = {
        "tx_id": 100 + number,
        "tx_time": f"{START + timedelta(hours=number):%Y-%m-%d %H:%M:%S}",
        "amount": "1.5",
        "is_fraud": number % 2,
        "card_id": f"{number % 3:05d}",
        "note": "",
    }
    return tuple((row | other).values())


def test_columns_of_a_csv_file_are_what_all_of_their_texts_are(profiler: Profiler, tmp_path: Path) -> None:
    # The odd value stands where no sample sees it.
    rows = [usual(number) for number in range(6_000)] + [usual(6_000, amount="nan", note="x")]
    found = facts(profiler, written_csv(tmp_path / "a.csv", rows))
    assert {name: one.kind for name, one in found.items()} == {
        "tx_id": "integer",
        "tx_time": "time",
        "amount": "number",
        "is_fraud": "integer",
        "card_id": "text",
        "note": "text",
    }
    assert (found["tx_id"].distinct, found["tx_id"].exact, found["amount"].missing) == (6_001, True, 1)
    assert (found["is_fraud"].values, found["card_id"].values) == (("0", "1"), ("00000", "00001", "00002"))
    assert (found["tx_time"].least, found["tx_id"].most) == ("2026-01-01 00:00:00", "6100")
    late = [*rows, usual(6_001, amount="a lot")]
    assert facts(profiler, written_csv(tmp_path / "b.csv", late))["amount"].kind == "text"


def test_semicolons_decimal_commas_and_german_dates(profiler: Profiler, tmp_path: Path) -> None:
    rows = [
        usual(n, tx_time=f"{START + timedelta(days=n):%d.%m.%Y %H:%M}", amount=f"1.{n:03d},50", card_id="007")
        for n in range(20)
    ]
    _, roles = made(profiler, written_csv(tmp_path / "a.csv", rows, delimiter=";"), tmp_path / "lake")
    assert roles.time_reading == "%d.%m.%Y %H:%M"
    first = lake_rows(tmp_path / "lake")[date(2026, 1, 3)][0]
    assert (first["amount"], first["card_id"]) == (1002.5, "007")


def test_rows_that_will_be_rejected_are_counted(profiler: Profiler, tmp_path: Path) -> None:
    odd = [usual(0, amount="-1,5"), usual(1, amount=""), usual(2, amount="3", tx_id=""), usual(3, amount="2,5")]
    source = profiler.file(written_csv(tmp_path / "a.csv", odd, delimiter=";"))
    said = Choices(transaction_id="tx_id", label="is_fraud", time="tx_time", amount="amount")
    roles = decide_roles(profiler.columns(source), said, is_file=True)
    assert [(day.rows, day.rejected) for day in profiler.days(source, roles)] == [(4, 3)]


def test_a_time_with_an_offset_lies_on_its_day_in_utc(profiler: Profiler, tmp_path: Path) -> None:
    rows = [usual(0, tx_time="2026-01-02T01:00:00+02:00"), usual(1, tx_time="2026-01-02T01:00:00Z")]
    made(profiler, written_csv(tmp_path / "a.csv", rows), tmp_path / "lake", transaction_id="tx_id", label="is_fraud")
    assert {day: len(there) for day, there in lake_rows(tmp_path / "lake").items()} == {
        date(2026, 1, 1): 1,
        date(2026, 1, 2): 1,
    }


def test_parquet_of_other_writers_with_zones_old_timestamps_and_folders(profiler: Profiler, tmp_path: Path) -> None:
    zoned = datetime(2026, 1, 2, 1, tzinfo=timezone(timedelta(hours=2)))
    for number, day in enumerate(("2026-01-01", "2026-01-02")):
        # As a number: of datetimes Arrow drops the offset, depending on what was imported before.
        moment = pa.array([int((zoned + number * timedelta(days=1)).timestamp() * 1_000_000)])
        table = pa.table(
            {
                "id": [number],
                "created_at": moment.cast(pa.timestamp("us", "Europe/Berlin")),
                "amount": [1.0],
                "is_fraud": [float("nan")] if number else [1.0],
            }
        )
        place = tmp_path / "spark" / f"day={day}"
        place.mkdir(parents=True)
        pq.write_table(table, place / "part-0.snappy.parquet", use_deprecated_int96_timestamps=True)
    (tmp_path / "spark" / "_SUCCESS").touch()
    _, roles = made(profiler, tmp_path / "spark", tmp_path / "lake")
    assert (roles.time.name, roles.label.missing) == ("created_at", 1)
    found = lake_rows(tmp_path / "lake")
    assert {day: [row["created_at"] for row in there] for day, there in found.items()} == {
        date(2026, 1, 1): [datetime(2026, 1, 1, 23)],
        date(2026, 1, 2): [datetime(2026, 1, 2, 23)],
    }
    assert zoned.astimezone(UTC).date() == date(2026, 1, 1)


@pytest.mark.parametrize(
    ("numbers", "choices"),
    [
        ([1767312000, 1767398400], {}),
        ([1767312000000, 1767398400000], {}),
        ([24, 48], {"time_unit": "hours", "time_origin": date(2026, 1, 1)}),
        ([86400.0, 172800.0], {"time_unit": "seconds", "time_origin": date(2026, 1, 1)}),
    ],
)
def test_numbers_become_times(
    profiler: Profiler, tmp_path: Path, numbers: list[float], choices: dict[str, Any]
) -> None:
    rows = [usual(n, tx_time=number) for n, number in enumerate(numbers)]
    made(profiler, written_csv(tmp_path / "a.csv", rows), tmp_path / "lake", transaction_id="tx_id", **choices)
    assert [there[0]["tx_time"] for there in lake_rows(tmp_path / "lake").values()] == [
        datetime(2026, 1, 2),
        datetime(2026, 1, 3),
    ]


def test_a_file_without_an_id_gets_the_number_of_each_row(profiler: Profiler, tmp_path: Path) -> None:
    rows = [usual(number)[1:] for number in range(50)]
    _, roles = made(profiler, written_csv(tmp_path / "a.csv", rows, HEADER[1:]), tmp_path / "lake")
    assert roles.transaction_id is None
    there = [row for day in lake_rows(tmp_path / "lake").values() for row in day]
    assert sorted(row["ROW_NUMBER"] for row in there) == list(range(1, 51))
    assert all(row["tx_time"] == START + timedelta(hours=row["ROW_NUMBER"] - 1) for row in there)


def test_what_is_there_is_not_overwritten_and_a_failure_leaves_nothing(profiler: Profiler, tmp_path: Path) -> None:
    file = written_csv(tmp_path / "a.csv", [usual(number) for number in range(30)])
    source = profiler.file(file)
    roles = decide_roles(profiler.columns(source), Choices(), is_file=True)
    lake = tmp_path / "there"
    lake.mkdir()
    (lake / "mine").touch()
    with pytest.raises(Conflict):
        profiler.write_lake(source, roles, lake, 2)
    assert [one.name for one in lake.iterdir()] == ["mine"]
    written_csv(file, [*(usual(number) for number in range(30)), usual(31, tx_time="no time")])
    with pytest.raises(DataInvalid, match="1 rows have no time"):
        profiler.days(source, roles)
    with pytest.raises(DataInvalid, match="rows have no time"):
        profiler.write_lake(source, roles, tmp_path / "lake", 2)
    assert not [one for one in tmp_path.iterdir() if "lake" in one.name]


@pytest.mark.parametrize("content", ["", "a,b\n", "PAR1 but not Parquet"])
def test_files_without_rows_are_refused(profiler: Profiler, tmp_path: Path, content: str) -> None:
    file = tmp_path / "a.csv"
    file.write_text(content)
    with pytest.raises(DataInvalid):
        profiler.columns(profiler.file(file))
    with pytest.raises(DataInvalid, match="there is no file"):
        profiler.file(tmp_path / "b.csv")
    with pytest.raises(DataInvalid, match="no Parquet file"):
        profiler.file(tmp_path)


@pytest.mark.slow
def test_what_does_not_fit_into_memory_is_sorted_on_disk_and_nothing_of_it_stays(tmp_path: Path) -> None:
    import duckdb

    duckdb.sql(
        "COPY (SELECT md5(i::VARCHAR) AS id, TIMESTAMP '2026-01-01' + to_hours((hash(i) % 480)::INT) AS created_at,"
        " i % 97 AS amount, i % 50 = 0 AS is_fraud, repeat(md5(i::VARCHAR), 8) AS note FROM range(400000) t(i))"
        f" TO '{tmp_path}/a.parquet'"
    )
    spill = tmp_path / "not" / "there"
    with Profiler(memory_limit="100MB", threads=1, temp_directory=spill) as small:
        count, _ = made(small, tmp_path / "a.parquet", tmp_path / "lake")
    assert count == 400_000
    assert list(spill.iterdir()) == []
    assert (
        sum(len(pq.ParquetFile(file).read(columns=["id"])) for file in (tmp_path / "lake").rglob("*.parquet")) == count
    )


def test_a_damaged_file_among_others_is_named_without_the_statement_that_met_it(
    profiler: Profiler, tmp_path: Path
) -> None:
    whole, damaged = tmp_path / "whole.parquet", tmp_path / "damaged.parquet"
    pq.write_table(pa.table({"id": [1, 2]}), whole)
    damaged.write_bytes(b"PAR1 and no footer")
    with pytest.raises(DataInvalid) as refused:
        profiler.columns(profiler.parquet([whole, damaged]))
    assert [str(damaged) in culprit for culprit in refused.value.culprits] == [True]
    assert "SELECT" not in str(refused.value)
