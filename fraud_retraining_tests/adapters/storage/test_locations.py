"""A folder and S3 behave alike; neither is ever believed empty because it could not be read."""

import errno
import hashlib
import os
import pickle
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import run
from threading import Barrier, Thread
from typing import TYPE_CHECKING

import pytest

from fraud_retraining.adapters.storage.locations import (
    CONTENT,
    FolderLocation,
    Location,
    ObjectInfo,
    TransferPolicy,
    in_parallel,
)
from fraud_retraining.adapters.storage.opening import open_location
from fraud_retraining.domain.values.errors import (
    DataInvalid,
    DependencyUnreachable,
    IntegrityError,
    SettingsError,
)

if TYPE_CHECKING:
    from fraud_retraining_tests.adapters.conftest import MisbehavingServer

Opener = Callable[..., Location]


def listed(location: Location, path: str) -> ObjectInfo:
    return next(info for info in location.list() if info.path == path)


# Both kinds of location


def test_what_is_written_is_listed_and_read(location: Location) -> None:
    location.write_bytes("b/two", b"22")
    location.write_bytes("a", b"1")
    assert [(info.path, info.size) for info in location.list()] == [("a", 1), ("b/two", 2)]
    assert location.read_bytes("b/two") == b"22"


def test_a_prefix_is_a_folder_and_not_the_beginning_of_a_name(location: Location) -> None:
    location.write_bytes("day=1/x", b"1")
    location.write_bytes("day=11/x", b"2")
    assert [info.path for info in location.list("day=1")] == ["day=1/x"]
    assert location.list("day=2") == []


def test_folders_are_named_once_and_one_level_deep(location: Location) -> None:
    for path in ("log/day=2/a", "log/day=2/b", "log/day=1/c/d", "log/.hidden/x", "log/file", "other/day=9/x"):
        location.write_bytes(path, b"1")
    assert list(location.folders("log")) == ["day=1", "day=2"]
    assert list(location.folders("log/file")) == list(location.folders("nothing")) == []


def test_absent_is_none_and_an_empty_file_is_not(location: Location) -> None:
    location.write_bytes("empty", b"")
    assert location.read_bytes("empty") == b""
    assert location.read_bytes("absent") is None
    assert location.read_bytes("empty/below") is None


def test_names_that_begin_with_a_dot_are_never_listed(location: Location) -> None:
    for path in (".temporary", "a/.crc", ".hidden/x", "a/seen"):
        location.write_bytes(path, b"1")
    assert [info.path for info in location.list()] == ["a/seen"]


def test_a_root_that_was_never_written_to_is_not_there_and_lists_nothing(location: Location) -> None:
    assert not location.exists_root()
    assert location.list() == []
    location.write_bytes("a", b"1")
    assert location.exists_root()


def test_a_file_is_replaced_as_a_whole_and_its_version_changes(location: Location) -> None:
    location.write_bytes("a", b"old")
    before = listed(location, "a")
    time.sleep(0.01)
    location.write_bytes("a", b"new")
    assert listed(location, "a").version != before.version
    assert location.read_bytes("a") == b"new"


def test_deleting_what_is_gone_is_fine(location: Location) -> None:
    location.write_bytes("a", b"1")
    location.delete("a")
    location.delete("a")
    assert location.read_bytes("a") is None


@pytest.mark.parametrize("size", [0, 1, 3_000_000, 17_000_000], ids=lambda size: f"{size} bytes")
def test_files_go_there_and_come_back_the_same(location: Location, tmp_path: Path, size: int) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(size))
    location.put_file(source, "a/file.parquet")
    [copy] = location.fetch([listed(location, "a/file.parquet")])
    assert hashlib.sha256(copy.read_bytes()).digest() == hashlib.sha256(source.read_bytes()).digest()


def test_many_files_are_fetched_in_the_requested_order(location: Location) -> None:
    for number in range(30):
        location.write_bytes(f"f{number:02d}", str(number).encode())
    wanted = list(reversed(location.list()))
    assert [path.read_bytes() for path in location.fetch(wanted)] == [str(n).encode() for n in reversed(range(30))]


def test_a_worker_of_spark_gets_a_location_by_pickle_without_its_credentials(
    location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    location.write_bytes("a", b"1")
    sent = pickle.dumps(location)
    assert b"nothing" not in sent
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of the worker's own")
    there: Location = pickle.loads(sent)
    there.write_bytes("b", b"22")
    assert [path.read_bytes() for path in there.fetch(location.list())] == [b"1", b"22"]


def test_fetching_refuses_what_is_gone_or_another_and_names_all_of_it(location: Location) -> None:
    for path in ("gone", "grown", "rewritten", "good"):
        location.write_bytes(path, b"12345678")
    wanted = location.list()
    time.sleep(0.01)
    location.delete("gone")
    location.write_bytes("grown", b"123456789")
    location.write_bytes("rewritten", b"87654321")
    with pytest.raises(IntegrityError) as refused:
        location.fetch(wanted)
    assert sorted(culprit.split(":")[0] for culprit in refused.value.culprits) == ["gone", "grown", "rewritten"]


def test_a_recorded_size_is_held_against_the_file(location: Location) -> None:
    location.write_bytes("a", b"1234")
    with pytest.raises(IntegrityError, match="a: has 4 bytes, not 5"):
        location.fetch([ObjectInfo("a", 5, CONTENT + hashlib.sha256(b"12345").hexdigest())])


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", ""])
def test_a_path_cannot_leave_its_location(location: Location, path: str) -> None:
    with pytest.raises(ValueError, match="not a path inside"):
        location.write_bytes(path, b"1")


def test_of_two_writers_of_a_file_one_wins_as_a_whole(location: Location) -> None:
    contents = [bytes([number]) * 200_000 for number in range(4)]
    barrier = Barrier(len(contents))

    def write(content: bytes) -> None:
        barrier.wait()
        location.write_bytes("a", content)

    threads = [Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert location.read_bytes("a") in contents
    assert len(location.list()) == 1


# URIs


def test_a_folder_can_be_written_as_a_path_or_as_a_file_uri(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    for uri in (str(tmp_path / "a b"), (tmp_path / "a b").as_uri()):
        assert open_location(uri, s3=None, cache=tmp_path).uri == str(tmp_path / "a b")


@pytest.mark.parametrize("uri", ["", "s3://", "s3:///prefix", "gs://bucket/x", "http://host/x"])
def test_a_uri_that_is_no_place_is_a_settings_error(uri: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError):
        open_location(uri, s3=None, cache=tmp_path)


def test_the_whole_bucket_is_a_place_too(bucket: str, open_at: Opener) -> None:
    whole = open_at(f"s3://{bucket}")
    assert whole.exists_root()
    open_at(f"s3://{bucket}/deep/er").write_bytes("a", b"1")
    assert [info.path for info in whole.list()] == ["deep/er/a"]


def test_a_bucket_that_is_not_there_is_invalid_and_not_empty(open_at: Opener) -> None:
    location = open_at("s3://no-such-bucket-here/x")
    assert not location.exists_root()
    for request in (location.list, lambda: location.read_bytes("a"), lambda: location.write_bytes("a", b"")):
        with pytest.raises(DataInvalid, match="no bucket no-such-bucket-here"):
            request()


def test_importing_the_adapters_loads_no_storage_library() -> None:
    heavy = "{'s3fs', 'fsspec', 'botocore', 'aiohttp', 'dagster', 'dagster_aws', 'pyarrow', 'pandas'}"
    imported = "from fraud_retraining.adapters.storage import locations, opening, s3, lake, store"
    code = f"import sys; {imported}; print(sorted({heavy} & set(sys.modules)))"
    done = run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# The cache of fetched S3 files


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def cached(cache: Path) -> list[bytes]:
    return sorted(file.read_bytes() for file in cache.rglob("*") if file.is_file())


def test_a_file_in_the_cache_is_not_requested_again(
    misbehaving: "MisbehavingServer", patient_location: Location
) -> None:
    misbehaving.behaviour = misbehaving.in_turn(misbehaving.body(b"12345"), misbehaving.status(503))
    wanted = [ObjectInfo("a.parquet", 5, "etag")]
    assert patient_location.fetch(wanted) == patient_location.fetch(wanted)
    assert misbehaving.requests == 1


def test_a_cut_copy_in_the_cache_is_fetched_again(bucket: str, open_at: Opener) -> None:
    location = open_at(f"s3://{bucket}")
    location.write_bytes("a", b"12345")
    [copy] = location.fetch(location.list())
    copy.write_bytes(b"123")
    [again] = location.fetch(location.list())
    assert again.read_bytes() == b"12345"


def test_the_cache_drops_the_longest_unused_but_never_what_the_call_uses(
    bucket: str, open_at: Opener, cache: Path
) -> None:
    location = open_at(f"s3://{bucket}", cache, TransferPolicy(cache_bytes=25, cache_keep_seconds=0))
    for name in "abc":
        location.write_bytes(name, name.encode() * 10)
    infos = {info.path: info for info in location.list()}
    for name in "ab":
        location.fetch([infos[name]])
        time.sleep(0.02)
    location.fetch([infos["a"]])
    location.fetch([infos["c"]])
    assert cached(cache) == [b"a" * 10, b"c" * 10]
    assert [path.read_bytes()[:1] for path in location.fetch(list(infos.values()))] == [b"a", b"b", b"c"]


def test_the_cache_keeps_what_was_used_lately_even_beyond_its_size(bucket: str, open_at: Opener, cache: Path) -> None:
    location = open_at(f"s3://{bucket}", cache, TransferPolicy(cache_bytes=0, cache_keep_seconds=60))
    for name in "ab":
        location.write_bytes(name, name.encode())
        location.fetch([listed(location, name)])
    assert cached(cache) == [b"a", b"b"]


# S3 that fails


FAILURES: dict[str, Callable[["MisbehavingServer"], object]] = {
    "answers 503": lambda server: server.status(503),
    "answers 500": lambda server: server.status(500),
    "hangs": lambda server: server.hang(),
    "crawls": lambda server: server.crawl(100_000),
    "hangs up": lambda server: server.body(b"", claimed=10),
}
CALLS = {
    "list": lambda location: location.list(),
    "exists_root": lambda location: location.exists_root(),
    "read": lambda location: location.read_bytes("a"),
    "write": lambda location: location.write_bytes("a", b"1"),
    "fetch": lambda location: location.fetch([ObjectInfo(f"{n}.parquet", 10, "etag") for n in range(20)]),
}


@pytest.mark.parametrize(
    ("call", "failure"),
    [
        *((call, "answers 503") for call in CALLS),
        *(("fetch", failure) for failure in FAILURES if failure != "answers 503"),
        ("list", "hangs"),
        ("read", "crawls"),
        ("read", "hangs up"),
    ],
)
def test_s3_that_fails_ends_as_unreachable_in_bounded_time(
    misbehaving: "MisbehavingServer", hasty_location: Location, cache: Path, call: str, failure: str
) -> None:
    misbehaving.behaviour = FAILURES[failure](misbehaving)
    begun = time.monotonic()
    with pytest.raises(DependencyUnreachable) as refused:
        CALLS[call](hasty_location)
    assert time.monotonic() - begun < 5
    assert refused.value.exit_code == 7
    assert "s3://bucket/x" in str(refused.value) and refused.value.remedy
    assert cached(cache) == []


def test_refused_credentials_are_not_emptiness(misbehaving: "MisbehavingServer", patient_location: Location) -> None:
    misbehaving.behaviour = misbehaving.status(403)
    for request in CALLS.values():
        with pytest.raises(DependencyUnreachable, match="403"):
            request(patient_location)


def test_nothing_that_listens_is_unreachable(
    tmp_path: Path, hasty_location: Location, misbehaving: "MisbehavingServer"
) -> None:
    misbehaving.close()
    begun = time.monotonic()
    with pytest.raises(DependencyUnreachable):
        hasty_location.list()
    assert time.monotonic() - begun < 5


def test_a_passing_failure_is_retried(misbehaving: "MisbehavingServer", patient_location: Location) -> None:
    misbehaving.behaviour = misbehaving.in_turn(
        misbehaving.status(503), misbehaving.status(500), misbehaving.body(b"12345")
    )
    assert patient_location.read_bytes("a") == b"12345"
    assert misbehaving.requests == 3


@pytest.mark.parametrize("claimed", [5, 3], ids=["shorter than it claims", "shorter than the listing says"])
def test_a_truncated_body_is_retried(
    misbehaving: "MisbehavingServer", patient_location: Location, claimed: int
) -> None:
    misbehaving.behaviour = misbehaving.in_turn(misbehaving.body(b"123", claimed), misbehaving.body(b"12345"))
    [copy] = patient_location.fetch([ObjectInfo("a", 5, "etag")])
    assert copy.read_bytes() == b"12345"


@pytest.mark.parametrize(
    ("content", "wrong"),
    [(b"123", "a: has 3 bytes, not 5"), (b"54321", "a: its content has another digest")],
    ids=["truncated", "other bytes"],
)
def test_wrong_bytes_that_stay_wrong_are_refused_and_never_cached(
    misbehaving: "MisbehavingServer", patient_location: Location, cache: Path, content: bytes, wrong: str
) -> None:
    misbehaving.behaviour = misbehaving.body(content)
    with pytest.raises(IntegrityError, match=wrong):
        patient_location.fetch([ObjectInfo("a", 5, CONTENT + hashlib.sha256(b"12345").hexdigest())])
    assert misbehaving.requests == 3
    assert cached(cache) == []


def test_after_a_first_failure_nothing_new_is_begun() -> None:
    begun = []

    def fail(item: int) -> None:
        begun.append(item)
        time.sleep(0.05)
        raise DependencyUnreachable("down")

    with pytest.raises(DependencyUnreachable):
        in_parallel(fail, range(50), workers=4)
    assert len(begun) == 4


# A disk that fails


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_that_does_not_fit_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    location = FolderLocation(tmp_path / "place")
    location.write_bytes("a", b"old")
    with files_limited_to(10_000), pytest.raises(DependencyUnreachable) as refused:
        location.write_bytes("a", bytes(100_000))
    assert str(tmp_path / "place" / "a") in str(refused.value)
    assert "Free space" in refused.value.remedy
    assert location.read_bytes("a") == b"old"
    assert [path.name for path in (tmp_path / "place").iterdir()] == ["a"]


def test_a_cache_that_does_not_fit_is_a_full_disk_and_not_a_failing_s3(
    misbehaving: "MisbehavingServer", patient_location: Location, cache: Path
) -> None:
    misbehaving.behaviour = misbehaving.body(bytes(100_000))
    with files_limited_to(10_000), pytest.raises(DependencyUnreachable, match=str(cache)) as refused:
        patient_location.fetch([ObjectInfo("a", 100_000, "etag")])
    assert "Free space" in refused.value.remedy
    assert cached(cache) == []


def test_a_full_disk_at_the_last_moment_publishes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    location = FolderLocation(tmp_path / "place")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DependencyUnreachable, match="No space left"):
        location.write_bytes("a", b"1")
    assert list((tmp_path / "place").iterdir()) == []


@contextmanager
def as_unprivileged_user() -> Iterator[None]:
    """Root may read everything, so a test that runs as root lets go of that for a while."""
    mine = os.geteuid()
    if mine == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(mine)


@pytest.mark.parametrize("call", ["list", "exists_root", "read", "write"])
def test_a_folder_that_may_not_be_read_is_not_empty(tmp_path: Path, call: str) -> None:
    location = FolderLocation(tmp_path / "closed" / "place")
    location.write_bytes("a", b"1")
    (tmp_path / "closed").chmod(0)
    try:
        with as_unprivileged_user(), pytest.raises(DependencyUnreachable, match="Permission denied") as refused:
            CALLS[call](location)
    finally:
        (tmp_path / "closed").chmod(0o755)
    assert str(tmp_path) in str(refused.value)
    assert "access" in refused.value.remedy


def test_what_a_killed_writer_left_is_never_seen_and_goes_in_time(tmp_path: Path) -> None:
    location = FolderLocation(tmp_path)
    old, young = tmp_path / ".old.tmp", tmp_path / ".young.tmp"
    old.write_bytes(b"half")
    young.write_bytes(b"half")
    os.utime(old, (0, 0))
    assert location.list() == []
    location.write_bytes("a", b"1")
    assert not old.exists()
    assert young.exists()
