"""Opening a place by its URI: a folder or an S3 prefix.

Here: which kind a URI names. Not here: what a place can do (`adapters/storage/locations.py`).
"""

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from fraud_retraining.adapters.storage.locations import FolderLocation, Location, TransferPolicy
from fraud_retraining.domain.values.errors import SettingsError

if TYPE_CHECKING:
    from dagster_aws.s3 import S3Resource


def open_location(uri: str, *, s3: "S3Resource | None", cache: Path, policy: TransferPolicy | None = None) -> Location:
    """The place that a URI names: a folder path, `file:///...` or `s3://bucket/prefix`.

    `s3` brings region, endpoint, profile and credentials; without it AWS's usual chain applies. `cache` is where
    copies of S3 files are kept.
    """
    parts = urlsplit(uri)
    if parts.scheme in ("s3", "s3a"):
        from fraud_retraining.adapters.storage.s3 import S3Location

        # Not `urlsplit`: it would cut a prefix at `?` and `#`, which keys may have.
        bucket, _, prefix = uri.partition("://")[2].partition("/")
        if not bucket:
            raise SettingsError(f"{uri} names no bucket", remedy="Write it as s3://bucket/prefix.")
        return S3Location(bucket, prefix.strip("/"), s3=s3, cache=cache, policy=policy or TransferPolicy())
    if parts.scheme == "file":
        return FolderLocation(Path(unquote(parts.path)))
    if "://" in uri or not uri:
        raise SettingsError(
            f"{uri!r} is no place for files", remedy="Give a folder, file:///folder or s3://bucket/prefix."
        )
    return FolderLocation(Path(uri).expanduser().absolute())
