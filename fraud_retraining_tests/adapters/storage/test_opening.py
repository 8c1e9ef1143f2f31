"""Which location a URI names."""

from pathlib import Path

import pytest

from fraud_retraining.adapters.storage.locations import FolderLocation
from fraud_retraining.adapters.storage.opening import open_location
from fraud_retraining.adapters.storage.s3 import S3Location
from fraud_retraining.domain.values.errors import SettingsError


def written(uri: str, tmp_path: Path) -> Path:
    """The file that a location of this URI writes."""
    location = open_location(uri, s3=None, cache=tmp_path / "cache")
    assert isinstance(location, FolderLocation)
    location.write_bytes("a.txt", b"here")
    (found,) = tmp_path.rglob("a.txt")
    return found


def test_a_path_names_a_folder(tmp_path: Path) -> None:
    assert written(str(tmp_path / "lake"), tmp_path) == tmp_path / "lake" / "a.txt"


def test_a_file_uri_names_a_folder_with_its_escapes_read(tmp_path: Path) -> None:
    assert written(f"file://{tmp_path}/a%20lake", tmp_path) == tmp_path / "a lake" / "a.txt"


def test_a_relative_path_is_meant_from_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert written("lake", tmp_path) == tmp_path / "lake" / "a.txt"


@pytest.mark.parametrize("uri", ["s3://bucket/prefix", "s3a://bucket/prefix/", "s3://bucket"])
def test_an_s3_uri_names_a_prefix_of_a_bucket(uri: str, tmp_path: Path) -> None:
    assert isinstance(open_location(uri, s3=None, cache=tmp_path), S3Location)


@pytest.mark.parametrize(
    ("uri", "problem"),
    [("s3://", "names no bucket"), ("gs://bucket", "no place for files"), ("", "no place for files")],
)
def test_a_uri_that_names_no_place_is_refused_with_what_to_write(uri: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=problem) as refusal:
        open_location(uri, s3=None, cache=tmp_path)
    assert "s3://bucket/prefix" in refusal.value.remedy
