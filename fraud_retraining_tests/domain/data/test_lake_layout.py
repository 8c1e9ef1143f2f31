"""Paths of the lake: each has a meaning, and sizes beyond the limits name file and setting."""

from datetime import date, timedelta
from pathlib import Path

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_retraining.domain.data.lake_layout import (
    DayLimits,
    DayPath,
    FileSize,
    SetAside,
    excesses,
    how_to_split,
    meaning_of,
    one_file,
    outside_of_time,
)

DAY = date(2024, 3, 1)
FOLDER = "year=2024/month=03/day=01"


@pytest.mark.parametrize(
    ("path", "meaning"),
    [
        (f"{FOLDER}/a.parquet", DayPath(DAY)),
        ("year=2024/month=3/day=1/hour=07/a.PQ", DayPath(DAY)),
        (f"{FOLDER}/part-0", DayPath(DAY, certain=False)),
        (f"{FOLDER}/a.csv", DayPath(DAY, unread="is no Parquet file")),
        (f"{FOLDER}/_SUCCESS", None),
        (f"{FOLDER}/.a.parquet.crc", None),
        ("_delta_log/0.json", SetAside("_delta_log", "")),
        ("year=2024/month=02/day=30/a.parquet", SetAside("year=2024/month=02/day=30", "")),
        ("year=2024/notes.parquet", SetAside("year=2024/notes.parquet", "")),
        ("a.parquet", SetAside("a.parquet", "")),
    ],
)
def test_a_path_belongs_to_a_day_is_set_aside_by_name_or_is_a_leftover(path: str, meaning: object) -> None:
    found = meaning_of(path)
    if isinstance(meaning, SetAside):
        assert isinstance(found, SetAside) and found.path == meaning.path and found.why
    else:
        assert found == meaning


@given(st.lists(st.text(min_size=1, max_size=12), max_size=5).map("/".join), st.booleans())
def test_any_path_has_a_meaning(path: str, is_folder: bool) -> None:
    assert isinstance(meaning_of(path, is_folder=is_folder), DayPath | SetAside | None)


def test_a_file_that_is_too_large_is_named_before_the_day_as_a_whole() -> None:
    limits = DayLimits(max_rows=10, max_file_rows=8, max_decoded_bytes=100, max_file_decoded_bytes=90)
    assert excesses(DAY, [FileSize("a", 5, 50), FileSize("b", 5, 50)], limits) == []
    (of_file,) = excesses(DAY, [FileSize("a", 9, 1), FileSize("b", 9, 1)][:1], limits)
    assert of_file == ("a has 9 rows, and a file may have 8", "max_file_rows")
    whole = excesses(DAY, [FileSize("a", 6, 60), FileSize("b", 6, 61)], limits)
    assert [one.setting for one in whole] == ["max_rows", "max_decoded_bytes"]
    assert "the largest is b" in whole[0].words


def test_the_statement_that_splits_one_file_makes_a_lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "it's all.parquet"
    with duckdb.connect() as connection:
        made = 'SELECT TIMESTAMP \'2024-03-01 10:00\' + INTERVAL (n) DAY AS "the ""time" FROM range(2) t(n)'
        connection.execute(f"COPY ({made}) TO '{str(file).replace(chr(39), chr(39) * 2)}' (FORMAT parquet)")
        connection.execute(how_to_split(str(file), 'the "time'))
    days = {meaning_of(path.relative_to("lake").as_posix()) for path in Path("lake").rglob("*.parquet")}
    assert days == {DayPath(DAY), DayPath(DAY + timedelta(days=1))}
    assert one_file(str(file)) and not one_file("lake")


@pytest.mark.parametrize(("offset", "reason"), [(-1, "is before"), (0, ""), (5, ""), (6, ""), (7, "is after today")])
def test_a_day_can_be_run_from_the_first_day_to_tomorrow(offset: int, reason: str) -> None:
    found = outside_of_time(DAY + timedelta(days=offset), DAY, today=DAY + timedelta(days=5))
    assert found.startswith(reason) and bool(found) == bool(reason)
