"""What counts as a day of the lake, and that an unreadable lake is never an empty one."""

import os
import re
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_retraining.adapters.storage.lake import Lake, Naming
from fraud_retraining.adapters.storage.locations import FolderLocation, Listing, Location, ObjectInfo
from fraud_retraining.domain.data.lake_layout import LAYOUT, DayLimits, DayPath, meaning_of
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.domain.values.errors import DataInvalid, DependencyUnreachable, IntegrityError

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
    "year=2024/month=03/day=01/part-0.parquet.tmp",
    "year=2024/month=03/day=01/part-0.parquet.md5",
    "year=2024/month=03/day=01_$folder$",
    "year=2024/month=02/day=30/_SUCCESS",
    "_staging/else.parquet",
)


def test_leftovers_are_no_part_of_a_day_and_are_not_reported(location: Location, lake: Lake) -> None:
    arrive(location, *LEFTOVERS, "year=2024/month=03/day=02/a.parquet")
    found = lake.listing()
    assert (list(found.days), found.set_aside) == ([date(2024, 3, 2)], ())


STRAYS = {
    "year=2023/month=02/day=29": "names a day that no calendar has",
    "year=2024/month=13/day=01": "names a day that no calendar has",
    "year=2024/month=03/day=__HIVE_DEFAULT_PARTITION__": "names no day",
    "year=2024/month=__HIVE_DEFAULT_PARTITION__": "names no month",
    "year=24": "names no year",
    "year=abcd": "names no year",
    "dt=2024-01-02": "names no year",
    "year=0001/month=01/day=01": "is before 2000-01-01, the first day that can be run; lake.first_day",
    "year=2999/month=01/day=01": "is after today",
    "_delta_log": "is the log of a Delta table",
}


@pytest.fixture
def strays(location: Location) -> list[str]:
    arrive(
        location,
        *(f"{folder}/x.parquet" for folder in STRAYS if folder.count("/") in (0, 2)),
        "year=2024/month=__HIVE_DEFAULT_PARTITION__/day=01/x.parquet",
        "year=2024/month=__HIVE_DEFAULT_PARTITION__/day=02/x.parquet",
        "part-0.parquet",
        "year=2024/month=01/part-0.parquet",
        "year=2024/month=01/day=04/rows.csv",
        "year=2024/month=01/day=05",
        "year=2024/month=01/day=01/a.parquet",
        "year=2024/month=03/day=10/it-begins-tomorrow.parquet",
    )
    return [
        *STRAYS,
        "part-0.parquet",
        *(f"year=2024/month=01/{name}" for name in ("part-0.parquet", "day=04", "day=05")),
    ]


def test_what_cannot_be_a_day_is_set_aside_by_name_and_the_days_stand(location: Location, strays: list[str]) -> None:
    found = Lake(location, today=lambda: date(2024, 3, 9)).listing()
    why = dict(found.set_aside)
    assert list(found.days) == [date(2024, 1, 1)]
    assert sorted(why) == sorted(strays)
    assert all(why[path].startswith(words) for path, words in STRAYS.items())
    assert why["year=2024/month=01/day=04"] == "holds no Parquet file, but rows.csv"
    assert why["part-0.parquet"] == why["year=2024/month=01/day=05"] == f"lies in no day's folder ({LAYOUT})"


def test_a_first_day_of_the_settings_admits_earlier_days(location: Location) -> None:
    arrive(location, "year=1993/month=01/day=01/a.parquet", "year=1992/month=12/day=31/a.parquet")
    found = Lake(location, first_day=date(1993, 1, 1)).listing()
    assert list(found.days) == [date(1993, 1, 1)]
    assert [path for path, _ in found.set_aside] == ["year=1992/month=12/day=31"]


DAY = date(2024, 3, 1)
FOLDER = "year=2024/month=03/day=01"


def test_every_parquet_file_of_a_day_is_read_under_any_name_and_hour(location: Location, lake: Lake) -> None:
    read = [
        f"{FOLDER}/{name}"
        for name in (
            *("20240301_144951_00037_v74wa_1ad6f92e", "a.parquet", "b.PARQUET", "c.parq", "d.pq", "g.snappy"),
            *("e.parquet/part-0.parquet", "hour=07/p.parquet", "hour=08/minute=01/p.parquet", "13/p.parquet"),
        )
    ]
    unread = {
        f"{FOLDER}/rows.csv": "is no Parquet file",
        f"{FOLDER}/notes": "is no Parquet file",
        f"{FOLDER}/empty": "is no Parquet file",
        f"{FOLDER}/backup/p.parquet": "lies in a folder below the day that is none of its parts, such as hour=HH",
        f"{FOLDER}/day=02/p.parquet": "lies in a folder below the day that is none of its parts, such as hour=HH",
    }
    arrive(location, *read, content=b"PAR1...")
    arrive(location, *(path for path in unread if not path.endswith("empty")), content=b"rows")
    arrive(location, f"{FOLDER}/empty", content=b"")
    delivery = lake.fetch(lake.days()[DAY])
    assert [info.path for info in delivery.files] == sorted(read)
    assert [path.read_bytes() for path in delivery.paths] == [b"PAR1..."] * len(read)
    assert dict(delivery.unread) == unread


def test_a_day_none_of_whose_files_is_parquet_is_refused(location: Location, lake: Lake) -> None:
    arrive(location, f"{FOLDER}/export", f"{FOLDER}/rows.json")
    with pytest.raises(DataInvalid, match="no file of 2024-03-01 is Parquet") as refused:
        lake.fetch(lake.days()[DAY])
    assert [culprit.split(" ")[0] for culprit in refused.value.culprits] == [f"{FOLDER}/export", f"{FOLDER}/rows.json"]


def test_what_is_not_read_does_not_change_the_version(location: Location, lake: Lake) -> None:
    arrive(location, f"{FOLDER}/a.parquet")
    before = lake.days()[DAY].version
    arrive(location, f"{FOLDER}/rows.csv", f"{FOLDER}/_SUCCESS", f"{FOLDER}/backup/a.parquet")
    assert lake.days()[DAY].version == before


def test_keys_of_s3_that_no_path_leads_to(bucket: str, s3_client: Any, open_at: Callable[..., Location]) -> None:
    for key in (
        f"place/{FOLDER}/a.parquet",
        f"place/{FOLDER}/",
        f"place/{FOLDER}/hour=01/",
        f"place//{FOLDER}/b.parquet",
    ):
        s3_client.put_object(Bucket=bucket, Key=key, Body=b"" if key.endswith("/") else b"rows")
    s3_client.put_object(Bucket=bucket, Key="place/year=2024/month=03/day=02//c.parquet", Body=b"rows")
    lake = Lake(open_at(f"s3://{bucket}/place"))
    found = lake.listing()
    assert [info.path for info in found.days[DAY].files] == [f"{FOLDER}/a.parquet"]
    assert len(found.set_aside) == 1
    with pytest.raises(DataInvalid, match="no plain path"):
        lake.fetch(found.days[date(2024, 3, 2)])


def test_a_day_of_too_many_bytes_is_not_fetched(location: Location) -> None:
    arrive(location, f"{FOLDER}/a.parquet", content=b"x" * 101)
    lake = Lake(location, limits=DayLimits(max_bytes=100))
    with pytest.raises(DataInvalid, match=r"101 bytes.*\(100\)") as refused:
        lake.fetch(lake.days()[DAY])
    assert "lake.limits.max_bytes" in refused.value.remedy


class TestWhatFootersSay:
    """Two files of a day. All rows of the first are alike, so its writer tells of a few bytes."""

    ROWS = 300_000
    WORD = "w" * 84
    FIRST, SECOND = f"{FOLDER}/a.parquet", f"{FOLDER}/b.parquet"

    @pytest.fixture
    def lake(self, location: Location) -> Callable[..., Lake]:
        table = pa.table({"number": pa.array([0] * self.ROWS, pa.int64()), "word": [self.WORD] * self.ROWS})
        arrive(location, self.FIRST, content=parquet(table))
        arrive(location, self.SECOND, content=parquet(table.slice(0, 1000)))
        return lambda columns=None, **limits: Lake(location, naming=Naming(columns=columns), limits=DayLimits(**limits))

    @staticmethod
    def refusal(lake: Lake) -> tuple[str, ...]:
        """The culprits, and the settings that the remedy names."""
        with pytest.raises(DataInvalid) as refused:
            lake.fetch(lake.days()[DAY])
        return (*refused.value.culprits, *re.findall(r"lake\.limits\.\w+", refused.value.remedy))

    def test_a_file_of_too_many_rows_is_named(self, lake: Callable[..., Lake]) -> None:
        assert self.refusal(lake(max_file_rows=self.ROWS - 1)) == (
            f"{self.FIRST} has 300,000 rows, and a file may have 299,999",
            "lake.limits.max_file_rows",
        )

    def test_equal_values_count_at_their_full_width_despite_the_writer_s_statistics(
        self, lake: Callable[..., Lake]
    ) -> None:
        most = self.ROWS * (8 + 16 + 84)
        assert self.refusal(lake(max_file_decoded_bytes=most - 1)) == (
            f"{self.FIRST} has 32,400,000 bytes once decoded, and a file may have 32,399,999",
            "lake.limits.max_file_decoded_bytes",
        )
        fits = lake(max_file_decoded_bytes=most)
        assert len(fits.fetch(fits.days()[DAY]).paths) == 2

    def test_columns_that_are_not_read_do_not_count(self, lake: Callable[..., Lake]) -> None:
        fits = lake({"number"}, max_file_decoded_bytes=self.ROWS * 8)
        assert len(fits.fetch(fits.days()[DAY]).paths) == 2

    def test_files_that_fit_may_be_too_much_together(self, lake: Callable[..., Lake]) -> None:
        day = f"{DAY} (2 files, the largest is {self.FIRST})"
        assert self.refusal(lake(max_rows=self.ROWS + 999, max_decoded_bytes=self.ROWS * 108)) == (
            f"{day} has 301,000 rows, and a day may have 300,999",
            f"{day} has 32,508,000 bytes once decoded, and a day may have 32,400,000",
            "lake.limits.max_rows",
            "lake.limits.max_decoded_bytes",
        )

    def test_a_footer_that_tells_fewer_rows_than_its_row_groups_is_not_believed(self, location: Location) -> None:
        content = parquet(pa.table({"constant": pa.array([0] * 5_000_000, pa.int8())}))
        first = content.index(_varint(5_000_000), content.index(b"schema"))
        lying = content[:first] + _varint(3_000_000) + content[first + 4 :]
        assert pq.read_metadata(BytesIO(lying)).num_rows == 3_000_000
        arrive(location, self.FIRST, content=lying)
        assert self.refusal(Lake(location, limits=DayLimits(max_file_rows=4_999_999)))[0].startswith(
            f"{self.FIRST} has 5,000,000 rows"
        )


def parquet(table: pa.Table) -> bytes:
    buffer = BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _varint(number: int) -> bytes:
    """A whole number as a footer spells it."""
    found, left = [], 2 * number
    while left:
        left, seven = divmod(left, 128)
        found.append(seven | (128 if left else 0))
    return bytes(found)


class TestFoldersThatAreOdd:
    """What only a file system can hold. The lake has one sound day beside it all."""

    @pytest.fixture
    def root(self) -> Iterator[Path]:
        """A folder that another user may enter too, unlike pytest's own."""
        with tempfile.TemporaryDirectory() as name:
            root = Path(name)
            root.chmod(0o755)
            for day in ("01", "02"):
                (root / f"year=2024/month=03/day={day}").mkdir(parents=True)
                (root / f"year=2024/month=03/day={day}/a.parquet").write_bytes(b"PAR1")
            yield root

    @staticmethod
    def refused(root: Path) -> str:
        """Why the second day is refused; the first can be fetched all the same."""
        lake = Lake(FolderLocation(root))
        found = lake.days()
        assert len(lake.fetch(found[DAY]).paths) == 1
        with pytest.raises(DataInvalid) as refused:
            lake.fetch(found[date(2024, 3, 2)])
        return str(refused.value)

    def test_a_pipe_is_refused_by_name_and_never_opened(self, root: Path) -> None:
        os.mkfifo(root / "year=2024/month=03/day=02/x.parquet")
        assert "day=02/x.parquet is a pipe, not a file" in self.refused(root)

    def test_a_socket_is_refused_by_name(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(root / "year=2024/month=03/day=02")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("x.parquet")
            assert "day=02/x.parquet is a socket, not a file" in self.refused(root)

    def test_a_link_out_of_the_lake_is_refused_and_one_within_is_read(self, root: Path, tmp_path: Path) -> None:
        (tmp_path / "secret").write_bytes(b"PAR1")
        (root / "year=2024/month=03/day=01/b.parquet").symlink_to(root / "year=2024/month=03/day=02/a.parquet")
        assert len(Lake(FolderLocation(root)).days()[DAY].files) == 2
        (root / "year=2024/month=03/day=01/b.parquet").unlink()
        (root / "year=2024/month=03/day=02/b.parquet").symlink_to(tmp_path / "secret")
        assert "day=02/b.parquet is a symbolic link that leads out of the lake" in self.refused(root)

    def test_a_link_to_nothing_is_refused(self, root: Path) -> None:
        (root / "year=2024/month=03/day=02/b.parquet").symlink_to("gone.parquet")
        assert "day=02/b.parquet is a symbolic link to nothing" in self.refused(root)

    def test_links_in_a_circle_are_set_aside(self, root: Path) -> None:
        (root / "latest").symlink_to(root)
        (root / "year=2024/month=03/day=01/hour=01").symlink_to(root / "year=2024")
        (root / "year=2024/loop").symlink_to("loop")
        lake = Lake(FolderLocation(root))
        found = lake.listing()
        assert list(found.days) == [DAY, date(2024, 3, 2)]
        assert [one.path for one in found.set_aside] == ["latest", "year=2024/loop"]
        assert [one.path for one in found.days[DAY].unreadable] == [f"{FOLDER}/hour=01"]

    def test_a_name_that_is_not_utf_8_is_refused_in_words_that_can_be_printed(self, root: Path) -> None:
        (Path(os.fsdecode(os.fsencode(root / "year=2024/month=03/day=02") + b"/\xff.parquet"))).write_bytes(b"PAR1")
        assert r"day=02/\xff.parquet has a name that is not UTF-8" in self.refused(root)

    def test_what_may_not_be_read_refuses_its_day(self, root: Path) -> None:
        (root / "year=2024/month=03/day=03").mkdir(mode=0)
        (root / "year=2024/month=04").mkdir(mode=0)
        (root / "year=2024/month=03/day=02/a.parquet").chmod(0)
        with as_unprivileged_user():
            found = Lake(FolderLocation(root)).listing()
            why = self.refused(root)
            with pytest.raises(DataInvalid, match="day=03 cannot be read: Permission denied"):
                Lake(FolderLocation(root)).fetch(found.days[date(2024, 3, 3)])
        assert "day=02/a.parquet cannot be read: permission denied" in why
        assert list(map(str, found.set_aside)) == ["year=2024/month=04 cannot be read: Permission denied"]
        (root / "year=2024/month=03/day=03").chmod(0o755)
        (root / "year=2024/month=04").chmod(0o755)

    def test_a_root_that_may_not_be_read_is_no_empty_lake(self, root: Path) -> None:
        root.chmod(0o111)
        with as_unprivileged_user(), pytest.raises(DependencyUnreachable, match="cannot list"):
            Lake(FolderLocation(root)).days()
        root.chmod(0o755)


@contextmanager
def as_unprivileged_user() -> Iterator[None]:
    """The rights of nobody in particular, where the tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@given(st.lists(st.one_of(st.sampled_from(list(STRAYS)), st.text(max_size=12)), min_size=1, max_size=5).map("/".join))
def test_every_path_has_a_meaning(path: str) -> None:
    meaning = meaning_of(path)
    assert meaning is None or isinstance(meaning, DayPath) or path.startswith(meaning.path)


def test_only_the_requested_days_are_given(location: Location, lake: Lake) -> None:
    arrive(location, *(f"year=2024/month={month:02d}/day=15/a.parquet" for month in range(1, 7)))
    within = DayRange(start=date(2024, 2, 15), end=date(2024, 4, 14))
    assert list(lake.days(within)) == [date(2024, 2, 15), date(2024, 3, 15)]


class ListedPrefixes:
    """A location that keeps which prefixes were listed."""

    uri = "nowhere"

    def __init__(self) -> None:
        self.prefixes: set[str] = set()

    def survey(self, prefix: str = "") -> Listing:
        self.prefixes.add(prefix)
        return [ObjectInfo("year=2024/month=01/day=01/a.parquet", 1, "1")]


@given(st.dates(date(2000, 1, 1), date(2030, 1, 1)), st.integers(0, 120))
def test_a_range_lists_the_months_that_it_touches_and_no_other(start: date, days: int) -> None:
    within = DayRange(start=start, end=date.fromordinal(start.toordinal() + days))
    location = ListedPrefixes()
    Lake(location).days(within)  # type: ignore[arg-type]
    touched = {(day.year, day.month) for day in within}
    assert location.prefixes == {f"year={y}/month={text}" for y, m in touched for text in (f"{m:02d}", str(m))}


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
    delivery = lake.fetch(lake.days()[date(2024, 3, 1)])
    assert [path.read_bytes() for path in delivery.paths] == [b"first", b"second"]


def test_a_day_that_is_written_while_it_is_read_is_refused(location: Location, lake: Lake) -> None:
    arrive(location, "year=2024/month=03/day=01/a.parquet")
    files = lake.days()[date(2024, 3, 1)]
    arrive(location, "year=2024/month=03/day=01/a.parquet", content=b"more rows")
    with pytest.raises(IntegrityError, match=r"day=01/a\.parquet"):
        lake.fetch(files)


def test_a_lake_that_is_not_there_is_no_empty_lake(lake: Lake) -> None:
    within = DayRange(start=LEAP_DAY, end=LEAP_DAY)
    for request in (lambda: lake.days(), lambda: lake.days(within)):
        with pytest.raises(DataInvalid, match="there is no lake at") as refused:
            request()
        assert refused.value.exit_code == 3
        assert lake.uri in str(refused.value) and "lake.uri" in refused.value.remedy


def test_a_lake_without_the_day_is_there(location: Location, lake: Lake) -> None:
    arrive(location, "year=2024/month=03/day=01/a.parquet")
    assert lake.days(DayRange(start=LEAP_DAY, end=LEAP_DAY)) == {}


def test_a_file_is_no_lake(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataInvalid, match="there is no lake"):
        Lake(FolderLocation(tmp_path / "file")).days()


def test_one_file_is_no_lake_and_the_statement_that_is_named_makes_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import duckdb

    monkeypatch.chdir(tmp_path)
    rows = (
        "SELECT 1 AS id, unnest([TIMESTAMP '2024-03-01 23:59:59', TIMESTAMP '2024-03-02 00:00:00']) AS \"at o'clock\""
    )
    for name in ("transactions.parquet", "transactions.csv"):
        with duckdb.connect() as connection:
            connection.execute(f"COPY ({rows}) TO '{name}'")
            with pytest.raises(DataInvalid, match="written like one file") as refused:
                Lake(FolderLocation(tmp_path / name), naming=Naming(timestamp="at o'clock")).days()
            connection.execute(refused.value.remedy.split("\n")[1])
        assert list(Lake(FolderLocation(tmp_path / "lake")).days()) == [date(2024, 3, 1), date(2024, 3, 2)]


def test_an_unreachable_lake_is_no_empty_lake(misbehaving: "MisbehavingServer", hasty_location: Location) -> None:
    misbehaving.behaviour = misbehaving.status(503)
    with pytest.raises(DependencyUnreachable):
        Lake(hasty_location).days(DayRange(start=date(2024, 1, 1), end=date(2024, 12, 31)))


def test_the_handbook_is_a_lake() -> None:
    handbook = Path(__file__).parents[4] / "shared" / "data" / "handbook"
    if not handbook.is_dir():
        pytest.skip(f"the handbook data is not at {handbook}")
    days = list(Lake(FolderLocation(handbook)).days())
    assert days == list(DayRange(start=date(2018, 4, 1), end=date(2018, 8, 14)))
