"""A partition is there as a whole or not at all, whoever writes it, dies writing it or damages it afterwards."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fraud_retraining.adapters.storage.locations import FolderLocation, Location
from fraud_retraining.adapters.storage.store import ROW_GROUP_ROWS, Partition, Store
from fraud_retraining.domain.values.base import Policy
from fraud_retraining.domain.values.digests import table_digest
from fraud_retraining.domain.values.errors import DataInvalid, DependencyUnreachable, IntegrityError

if TYPE_CHECKING:
    from fraud_retraining_tests.adapters.conftest import MisbehavingServer

DAY = date(2024, 2, 29)
FOLDER = "transactions/day=2024-02-29"
RECORD = f"{FOLDER}/_partition.json"


def table(value: int = 1, rows: int = 3) -> pa.Table:
    return pa.table({"transaction_id": range(rows), "amount": [float(value)] * rows})


@pytest.fixture
def store(location: Location, tmp_path: Path) -> Store:
    return Store(location, tmp_path / "scratch")


def write(store: Store, value: int = 1, day: date = DAY, **tables: pa.Table) -> Partition:
    tables = tables or {"rows": table(value)}
    return store.write("transactions", day, tables, digest=f"digest-{value}", inputs={"lake": "v1"}, facts={"n": value})


def values(store: Store, record: Partition, name: str = "rows") -> set[float]:
    [path] = store.paths([record], name)
    return set(pq.read_table(path)["amount"].to_pylist())


# What is written


def test_what_is_committed_is_read_back(store: Store) -> None:
    committed = write(store, rows=table(rows=5), rejects=table(rows=0))
    found = store.partition("transactions", DAY)
    assert found == committed
    assert found is not None
    assert (found.digest, found.inputs, found.facts) == ("digest-1", {"lake": "v1"}, {"n": 1})
    assert {name: file.rows for name, file in found.files.items()} == {"rows": 5, "rejects": 0}
    assert [pq.read_table(path).num_rows for path in store.paths([found], "rejects")] == [0]


def test_the_record_names_each_file_with_its_size_and_digest(store: Store) -> None:
    record = write(store)
    [path] = store.paths([record], "rows")
    stored = record.files["rows"]
    assert stored.path.startswith(f"{FOLDER}/rows-")
    assert (stored.size, stored.digest) == (path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())


def test_types_survive(store: Store) -> None:
    written = pa.table(
        {
            "timestamp": pa.array([0, 1], pa.timestamp("us")),
            "is_fraud": pa.array([1, None], pa.int8()),
            "customer": pa.array(["ä", "b"]),
            "score": pa.array([1.5, float("nan")], pa.float32()),
            "amount": pa.array([None, -0.0]),
            "day": pa.array([date(2024, 2, 29), None]),
            "new": pa.array([True, None]),
            "risk": pa.nulls(2, pa.float64()),
        }
    )
    [path] = store.paths([write(store, rows=written)], "rows")
    assert table_digest(pq.read_table(path)) == table_digest(written)


def test_a_large_day_can_be_streamed_in_row_groups(store: Store) -> None:
    rows = 2 * ROW_GROUP_ROWS + 1
    [path] = store.paths([write(store, rows=table(rows=rows))], "rows")
    metadata = pq.ParquetFile(path).metadata
    assert [metadata.row_group(n).num_rows for n in range(3)] == [ROW_GROUP_ROWS, ROW_GROUP_ROWS, 1]
    assert metadata.row_group(0).column(0).compression == "LZ4"
    assert metadata.row_group(2).column(0).statistics.max == rows - 1


def test_what_was_never_committed_is_none(store: Store) -> None:
    assert store.partition("transactions", DAY) is None
    assert store.partitions("transactions", [DAY]) == {}


def test_many_days_are_found_oldest_first_without_those_that_are_absent(store: Store) -> None:
    days = [DAY + timedelta(days=n) for n in range(12)]
    for day in days[::2]:
        write(store, day.day, day)
    found = store.partitions("transactions", reversed(days))
    assert list(found) == days[::2]
    paths = store.paths(list(found.values()), "rows")
    assert [pq.read_table(path)["amount"][0].as_py() for path in paths] == [float(day.day) for day in days[::2]]


def test_a_table_that_the_partitions_lack_is_named_with_its_days(store: Store) -> None:
    first, second = write(store), write(store, day=DAY + timedelta(days=1), device=table())
    with pytest.raises(DataInvalid) as refused:
        store.paths([first, second], "device")
    assert refused.value.culprits == ("transactions of 2024-02-29",)


# Writing again


def test_writing_the_same_again_changes_nothing(store: Store, location: Location) -> None:
    first = write(store)
    before = [info.path for info in location.list()]
    assert write(store) == first
    assert [info.path for info in location.list()] == before


def test_a_new_generation_leaves_the_one_before_readable_and_drops_older_ones(
    location: Location, tmp_path: Path
) -> None:
    store = Store(location, tmp_path / "scratch", grace_seconds=-60)
    oldest, older, newest = (write(store, value) for value in (1, 2, 3))
    assert [values(store, record) for record in (older, newest)] == [{2.0}, {3.0}]
    assert {info.path for info in location.list(FOLDER)} == {
        RECORD,
        older.files["rows"].path,
        newest.files["rows"].path,
    }
    assert location.read_bytes(oldest.files["rows"].path) is None


def test_young_files_that_no_record_names_stay_because_their_writer_may_live(store: Store, location: Location) -> None:
    location.write_bytes(f"{FOLDER}/rows-0123456789abcdef.parquet", b"another writer's")
    write(store, 1)
    write(store, 2)
    assert location.read_bytes(f"{FOLDER}/rows-0123456789abcdef.parquet") is not None


def test_of_two_writers_one_stands_and_the_files_of_both_are_readable(
    store: Store, tmp_path: Path, root_uri: str, open_at: Callable[..., Location]
) -> None:
    stores = [Store(open_at(root_uri), tmp_path / "scratch") for _ in range(4)]
    with ThreadPoolExecutor(len(stores)) as pool:
        answers = list(pool.map(lambda pair: write(pair[1], pair[0]), enumerate(stores)))
    standing = store.partition("transactions", DAY)
    assert standing is not None and standing in answers
    assert all(len(values(store, record)) == 1 for record in answers)
    assert values(store, standing) == {float(standing.facts["n"])}


class Interrupted(FolderLocation):
    """A folder in which another writer commits just after our record was written."""

    def __init__(self, root: Path, meanwhile: Callable[[], object]) -> None:
        super().__init__(root)
        self._meanwhile = meanwhile

    def write_bytes(self, path: str, data: bytes) -> None:
        super().write_bytes(path, data)
        self._meanwhile()


def test_the_writer_that_lost_gets_the_record_that_stands(tmp_path: Path) -> None:
    other = Store(FolderLocation(tmp_path / "store"), tmp_path / "scratch")
    ours = Store(Interrupted(tmp_path / "store", lambda: write(other, 2)), tmp_path / "scratch")
    assert write(ours, 1).digest == "digest-2"


# Damage


DAMAGE: dict[str, Callable[[Location, Partition], None]] = {
    "file is gone": lambda location, record: location.delete(record.files["rows"].path),
    "file is cut": lambda location, record: location.write_bytes(record.files["rows"].path, b"PAR1"),
    "content is another": lambda location, record: location.write_bytes(
        record.files["rows"].path, bytes(record.files["rows"].size)
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_named_with_the_day_to_ingest_again(store: Store, location: Location, damage: str) -> None:
    good, bad = write(store, day=DAY - timedelta(days=1)), write(store)
    DAMAGE[damage](location, bad)
    with pytest.raises(IntegrityError) as refused:
        store.paths([good, bad], "rows")
    [culprit] = refused.value.culprits
    assert culprit.startswith(bad.files["rows"].path)
    assert "2024-02-29" in refused.value.remedy and "2024-02-28" not in refused.value.remedy
    assert values(store, good) == {1.0}


def test_a_record_that_cannot_be_understood_is_damage_and_not_absence(store: Store, location: Location) -> None:
    for data in (b"", b"{", b"[]", b'{"asset": "transactions"}', b"\xff\xfe"):
        location.write_bytes(RECORD, data)
        with pytest.raises(IntegrityError, match=RECORD) as refused:
            store.partition("transactions", DAY)
        assert "2024-02-29" in refused.value.remedy
    with pytest.raises(IntegrityError, match=RECORD):
        store.partitions("transactions", [DAY, DAY + timedelta(days=1)])


def test_the_record_of_another_day_is_damage(store: Store, location: Location) -> None:
    write(store, day=DAY + timedelta(days=1))
    other = location.read_bytes("transactions/day=2024-03-01/_partition.json")
    assert other is not None
    location.write_bytes(RECORD, other)
    with pytest.raises(IntegrityError, match="is the record of transactions of 2024-03-01"):
        store.partition("transactions", DAY)


@pytest.mark.parametrize("damage", [*DAMAGE, "record is cut"])
def test_a_damaged_partition_counts_as_not_made_until_it_was_written_again(
    store: Store, location: Location, damage: str
) -> None:
    good, bad = write(store, day=DAY - timedelta(days=1)), write(store)
    DAMAGE.get(damage, lambda location, _: location.write_bytes(RECORD, b"{"))(location, bad)
    if damage == "content is another":
        with pytest.raises(IntegrityError, match="another digest"):
            store.paths([bad], "rows")
    days = [DAY - timedelta(days=n) for n in range(5)]
    for days_wanted in (days, [DAY, good.day]):
        assert store.readable("transactions", days_wanted) == {good.day: good}
        found = store.standing("transactions", days_wanted)
        assert (list(found), found[good.day].problem) == ([good.day, DAY], "")
        assert found[DAY].problem.startswith(FOLDER)
        assert found[DAY].record == (None if damage == "record is cut" else bad)
    assert write(store) == bad
    assert store.readable("transactions", days) == {good.day: good, DAY: bad}
    assert values(store, bad) == {1.0}


def test_a_mark_of_damage_does_not_outlive_what_it_speaks_of(store: Store, location: Location) -> None:
    """Another writer, of a version that knows no marks, has written the day anew."""
    write(store, 1)
    location.write_bytes(f"{FOLDER}/_damaged.json", b'{"damaged": "transactions/day=2024-02-29/rows-0.parquet"}')
    assert list(store.readable("transactions", [DAY])) == [DAY]


@pytest.mark.parametrize("damage", [*DAMAGE, "record is cut"])
def test_ingesting_a_damaged_day_again_mends_it(store: Store, location: Location, damage: str) -> None:
    record = write(store)
    DAMAGE.get(damage, lambda location, _: location.write_bytes(RECORD, b"{"))(location, record)
    mended = write(store)
    assert mended == record
    assert values(store, mended) == {1.0}


def test_a_store_that_cannot_be_read_is_not_an_empty_one(
    misbehaving: "MisbehavingServer", hasty_location: Location, tmp_path: Path
) -> None:
    misbehaving.behaviour = misbehaving.status(503)
    store = Store(hasty_location, tmp_path / "scratch")
    begun = time.monotonic()
    for request in (
        lambda: store.partition("transactions", DAY),
        lambda: store.partitions("transactions", [DAY + timedelta(days=n) for n in range(60)]),
        lambda: write(store),
    ):
        with pytest.raises(DependencyUnreachable):
            request()
    assert time.monotonic() - begun < 10


def test_a_full_scratch_disk_is_a_clean_failure(location: Location, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = Store(location, tmp_path / "file" / "scratch")
    with pytest.raises(DependencyUnreachable, match="scratch"):
        write(store)
    assert location.list() == []


# Documents


class Checks(Policy):
    passed: bool


def test_annotations_lie_beside_the_partition_and_outlive_its_generations(store: Store) -> None:
    store.annotate("transactions", DAY, "checks", {"passed": False})
    store.annotate("transactions", DAY, "checks", Checks(passed=True))
    write(store, 1)
    write(store, 2)
    assert store.annotation("transactions", DAY, "checks") == {"passed": True}
    assert store.annotation("transactions", DAY, "other") is None


def test_an_annotation_that_cannot_be_understood_is_damage(store: Store, location: Location) -> None:
    for data in (b"", b"{", b"[1]", b"\xff"):
        location.write_bytes(f"{FOLDER}/checks.json", data)
        with pytest.raises(IntegrityError, match=r"checks\.json"):
            store.annotation("transactions", DAY, "checks")


def test_documents_are_kept_by_key(store: Store, location: Location) -> None:
    assert store.read_document("training_window", "2024-02-29") is None
    store.write_document("training_window", "2024-02-29", b'{"days": []}')
    assert store.read_document("training_window", "2024-02-29") == b'{"days": []}'
    assert [info.path for info in location.list()] == ["training_window/2024-02-29.json"]


@pytest.mark.parametrize("name", ["_partition", "../x", "", "a b", ".hidden"])
def test_a_name_cannot_reach_the_record_or_leave_the_store(tmp_path: Path, name: str) -> None:
    store = Store(FolderLocation(tmp_path / "store"), tmp_path / "scratch")
    for put in (
        lambda: store.annotate("transactions", DAY, name, {}),
        lambda: store.write_document("transactions", name, b""),
        lambda: write(store, **{name: table()}),
    ):
        with pytest.raises(ValueError, match="is no name"):
            put()


# A writer that is killed


WRITERS = """
import json, os, signal, sys
from datetime import date
from pathlib import Path
from types import SimpleNamespace
import pyarrow as pa
import pandas, pyarrow.parquet, s3fs  # what a writer needs, once for all that are forked
from fraud_retraining.adapters.storage.opening import open_location
from fraud_retraining.adapters.storage.store import Store

def die(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)

def arm(location, dies_at):
    if dies_at == "before the first file":
        location.put_file = die
    elif dies_at == "between the files":
        put = location.put_file
        location.put_file = lambda local, path: (put(local, path), setattr(location, "put_file", die))
    elif dies_at == "before the record":
        location.write_bytes = die
    elif dies_at == "before the record takes its place":
        os.replace = lambda source, target: die() if "_partition" in str(target) else os.rename(source, target)

def write(uri, endpoint, scratch, dies_at):
    s3 = SimpleNamespace(endpoint_url=endpoint, max_attempts=3, region_name="us-east-1", use_ssl=True, verify=None,
                         aws_access_key_id="nobody", aws_secret_access_key="nothing", aws_session_token=None,
                         profile_name=None, use_unsigned_session=False)
    location = open_location(uri, s3=s3 if endpoint else None, cache=Path(scratch))
    store = Store(location, Path(scratch))
    arm(location, dies_at)
    for value in range(1, 1000):
        tables = {name: pa.table({"amount": [float(value)] * 50_000, "n": range(50_000)}) for name in ("a", "b")}
        store.write("transactions", date(2024, 2, 29), tables, digest=str(value), inputs={}, facts={})
        print("committed", os.getpid(), flush=True)

for order in sys.stdin:
    child = os.fork()
    if not child:
        write(*json.loads(order))
        os._exit(0)
    print("ended", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Writers:
    """A process that forks a writer at a time: each can be killed, and none pays for the imports again."""

    def __init__(self) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen([sys.executable, "-c", WRITERS], stdin=pipe, stdout=pipe, text=True)

    def start(self, uri: str, endpoint: str, scratch: Path, dies_at: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([uri, endpoint, str(scratch), dies_at]) + "\n")
        self._process.stdin.flush()

    def news(self, word: str) -> int:
        """The number in the next line that begins with `word`."""
        assert self._process.stdout is not None
        return next(int(line.split()[1]) for line in self._process.stdout if line.startswith(word))

    def stop(self) -> None:
        self._process.terminate()
        self._process.communicate(timeout=30)


@pytest.fixture(scope="module")
def writers() -> Iterator[Writers]:
    started = Writers()
    yield started
    started.stop()


def check_whole(store: Store) -> Partition | None:
    """Reads all of the partition: every file there, of the recorded content, all of one generation."""
    record = store.partition("transactions", DAY)
    if record is None:
        return None
    for name, stored in record.files.items():
        [path] = store.paths([record], name)
        assert hashlib.sha256(path.read_bytes()).hexdigest() == stored.digest
        assert set(pq.read_table(path)["amount"].to_pylist()) == {float(record.digest)}
    return record


@pytest.fixture
def endpoint(request: pytest.FixtureRequest, root_uri: str) -> str:
    return request.getfixturevalue("s3_endpoint") if root_uri.startswith("s3://") else ""


@pytest.mark.parametrize("dies_at", ["before the first file", "between the files", "before the record"])
def test_a_writer_killed_before_its_record_has_written_nothing(
    store: Store, writers: Writers, root_uri: str, endpoint: str, tmp_path: Path, dies_at: str
) -> None:
    writers.start(root_uri, endpoint, tmp_path / "scratch", dies_at)
    assert writers.news("ended") == -signal.SIGKILL
    assert store.partition("transactions", DAY) is None
    committed = store.write("transactions", DAY, {"a": table(7)}, digest="7", inputs={}, facts={})
    assert check_whole(store) == committed


def test_a_writer_killed_while_its_record_takes_its_place_has_written_nothing(tmp_path: Path, writers: Writers) -> None:
    store = Store(FolderLocation(tmp_path / "store"), tmp_path / "scratch")
    writers.start(str(tmp_path / "store"), "", tmp_path / "scratch", "before the record takes its place")
    assert writers.news("ended") == -signal.SIGKILL
    assert store.partition("transactions", DAY) is None
    assert list((tmp_path / "store" / FOLDER).glob(".*.tmp"))


def test_a_writer_killed_at_any_moment_leaves_a_whole_partition(
    store: Store, writers: Writers, root_uri: str, endpoint: str, tmp_path: Path
) -> None:
    for delay in (0, 0.007, 0.019, 0.031, 0.053, 0.083):
        writers.start(root_uri, endpoint, tmp_path / "scratch", "any moment")
        writer = writers.news("committed")
        time.sleep(delay)
        os.kill(writer, signal.SIGKILL)
        assert writers.news("ended") == -signal.SIGKILL
        assert check_whole(store) is not None


def test_files_are_in_encodings_that_spark_athena_and_pandas_read(store: Store) -> None:
    rows = pa.table(
        {
            "count": pa.array([1, 2, 3], pa.int32()),
            "at": pa.array([0, 1, 2], pa.timestamp("us")),
            "share": pa.array([0.5, None, 1.5], pa.float32()),
            "amount": [0.5, 1.0, 2.0],
            "channel": ["chip", None, "chip"],
        }
    )
    (path,) = store.paths([write(store, other=rows)], "other")
    group = pq.read_metadata(path).row_group(0)
    found = {group.column(n).path_in_schema: set(group.column(n).encodings) for n in range(group.num_columns)}
    # Spark's vectorized reader refuses BYTE_STREAM_SPLIT.
    assert found["share"] == found["amount"] == {"PLAIN", "RLE"}
    assert "DELTA_BINARY_PACKED" in found["count"] & found["at"]
    assert "RLE_DICTIONARY" in found["channel"]
    assert pq.read_table(path).equals(rows)
