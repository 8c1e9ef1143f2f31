"""What counts as a day of the lake, and that an unreadable lake is never an empty one."""

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_retraining.adapters.lake import Lake
from fraud_retraining.adapters.locations import FolderLocation, Listing, Location, ObjectInfo
from fraud_retraining.domain.errors import DataInvalid, DependencyUnreachable, IntegrityError
from fraud_retraining.domain.windows import DayRange

if TYPE_CHECKING:
    from fraud_retraining_tests.adapters.conftest import MisbehavingServer

LEAP_DAY = date(2024, 2, 29)


@pytest.fixture
def lake(location: Location) -> Lake:
    return Lake(location)


def arrive(location: Location, *paths: str, content: bytes = b"rows") -> None:
    for path in paths:
        location.write_bytes(path, content)


def test_days_are_read_off_the_folders_oldest_first(location: Location, lake: Lake) -> None:
    arrive(
        location,
        "year=2024/month=03/day=01/a.parquet",
        "year=2024/month=02/day=29/transactions.parquet",
        "year=2023/month=12/day=31/part-0.snappy.parquet",
    )
    assert list(lake.days()) == [date(2023, 12, 31), LEAP_DAY, date(2024, 3, 1)]


def test_a_day_may_have_several_files_and_be_written_without_leading_zeros(location: Location, lake: Lake) -> None:
    arrive(
        location,
        "year=2024/month=3/day=1/b.parquet",
        "year=2024/month=03/day=01/c.parquet",
        "year=2024/month=03/day=1/a.parquet",
    )
    day = date(2024, 3, 1)
    names = [info.path[-9:] for info in lake.days()[day].files]
    assert sorted(names) == ["a.parquet", "b.parquet", "c.parquet"]
    assert lake.days()[day] == lake.days(DayRange(start=day, end=day))[day]


LEFTOVERS = (
    "year=2024/month=03/day=01/_SUCCESS",
    "year=2024/month=03/day=01/_temporary/0/part-0.parquet",
    "year=2024/month=03/day=01/_metadata.parquet",
    "year=2024/month=03/day=01/.part-0.parquet",
    "year=2024/month=03/day=01/.part-0.parquet.crc",
    "year=2024/month=03/day=01/notes.txt",
    "year=2024/month=03/day=01/part-0.parquet.tmp",
    "year=2024/month=03/day=01/hour=07/part-0.parquet",
    "year=2024/month=02/day=30/_SUCCESS",
    "somewhere/else.parquet",
)


def test_leftovers_and_foreign_files_are_no_part_of_a_day(location: Location, lake: Lake) -> None:
    arrive(location, *LEFTOVERS, "year=2024/month=03/day=02/a.parquet")
    assert list(lake.days()) == [date(2024, 3, 2)]


def test_parquet_files_under_no_day_are_refused_and_all_named(location: Location, lake: Lake) -> None:
    strays = [
        "year=2023/month=02/day=29/a.parquet",
        "year=2024/month=13/day=01/a.parquet",
        "year=2024/month=__HIVE_DEFAULT_PARTITION__/day=01/a.parquet",
        "year=24/month=01/day=01/a.parquet",
    ]
    arrive(location, *strays, "year=2024/month=01/day=01/a.parquet")
    with pytest.raises(DataInvalid) as refused:
        lake.days()
    assert sorted(refused.value.culprits) == sorted(strays)


def test_only_the_asked_for_days_are_given(location: Location, lake: Lake) -> None:
    arrive(location, *(f"year=2024/month={month:02d}/day=15/a.parquet" for month in range(1, 7)))
    within = DayRange(start=date(2024, 2, 15), end=date(2024, 4, 14))
    assert list(lake.days(within)) == [date(2024, 2, 15), date(2024, 3, 15)]


class ListedPrefixes:
    """A location that tells which prefixes it was asked for."""

    uri = "nowhere"

    def __init__(self) -> None:
        self.asked: set[str] = set()

    def list(self, prefix: str = "") -> Listing:
        self.asked.add(prefix)
        return [ObjectInfo("year=2024/month=01/day=01/a.parquet", 1, "1")]


@given(st.dates(date(2000, 1, 1), date(2030, 1, 1)), st.integers(0, 120))
def test_a_range_lists_the_months_that_it_touches_and_no_other(start: date, days: int) -> None:
    within = DayRange(start=start, end=date.fromordinal(start.toordinal() + days))
    place = ListedPrefixes()
    Lake(place).days(within)  # type: ignore[arg-type]
    touched = {(day.year, day.month) for day in within}
    assert place.asked == {f"year={y}/month={text}" for y, m in touched for text in (f"{m:02d}", str(m))}


def test_the_version_follows_every_change_of_a_day_and_nothing_else(location: Location, lake: Lake) -> None:
    day = date(2024, 3, 1)
    folder = "year=2024/month=03/day=01"
    arrive(location, f"{folder}/a.parquet", "year=2024/month=03/day=02/a.parquet")
    seen = [lake.days()[day].version]
    arrive(location, "year=2024/month=03/day=02/a.parquet", content=b"other")
    assert lake.days()[day].version == seen[0]
    arrive(location, f"{folder}/a.parquet", content=b"ROWS")
    seen.append(lake.days()[day].version)
    arrive(location, f"{folder}/b.parquet")
    seen.append(lake.days()[day].version)
    location.delete(f"{folder}/a.parquet")
    seen.append(lake.days()[day].version)
    assert len(set(seen)) == len(seen)


def test_fetching_a_day_gives_its_bytes(location: Location, lake: Lake) -> None:
    arrive(location, "year=2024/month=03/day=01/a.parquet", content=b"first")
    arrive(location, "year=2024/month=03/day=01/b.parquet", content=b"second")
    assert [path.read_bytes() for path in lake.fetch(lake.days()[date(2024, 3, 1)])] == [b"first", b"second"]


def test_a_day_that_is_written_while_it_is_read_is_refused(location: Location, lake: Lake) -> None:
    arrive(location, "year=2024/month=03/day=01/a.parquet")
    files = lake.days()[date(2024, 3, 1)]
    arrive(location, "year=2024/month=03/day=01/a.parquet", content=b"more rows")
    with pytest.raises(IntegrityError, match=r"day=01/a\.parquet"):
        lake.fetch(files)


def test_a_lake_that_is_not_there_is_no_empty_lake(lake: Lake) -> None:
    within = DayRange(start=LEAP_DAY, end=LEAP_DAY)
    for ask in (lambda: lake.days(), lambda: lake.days(within)):
        with pytest.raises(DataInvalid, match="there is no lake at") as refused:
            ask()
        assert refused.value.exit_code == 3
        assert lake.uri in str(refused.value) and "lake.uri" in refused.value.remedy


def test_a_lake_without_the_day_is_there(location: Location, lake: Lake) -> None:
    arrive(location, "year=2024/month=03/day=01/a.parquet")
    assert lake.days(DayRange(start=LEAP_DAY, end=LEAP_DAY)) == {}


def test_a_file_is_no_lake(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataInvalid, match="there is no lake"):
        Lake(FolderLocation(tmp_path / "file")).days()


def test_an_unreachable_lake_is_no_empty_lake(misbehaving: "MisbehavingServer", hasty_place: Location) -> None:
    misbehaving.behaviour = misbehaving.status(503)
    with pytest.raises(DependencyUnreachable):
        Lake(hasty_place).days(DayRange(start=date(2024, 1, 1), end=date(2024, 12, 31)))


def test_the_handbook_is_a_lake() -> None:
    handbook = Path(__file__).parents[3] / "shared" / "data" / "handbook"
    if not handbook.is_dir():
        pytest.skip(f"the handbook data is not at {handbook}")
    days = list(Lake(FolderLocation(handbook)).days())
    assert days == list(DayRange(start=date(2018, 4, 1), end=date(2018, 8, 14)))
