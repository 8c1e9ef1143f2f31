"""A prefix of an S3 bucket as a location, and the local copies of what was fetched from it.

Here: requests to S3 with bounded retries and a deadline, what its refusals mean, and the cache of fetched files. Not
here: the protocol and folders (`adapters/storage/locations.py`). dagster-aws's `S3Resource` carries the configuration;
s3fs moves the bytes.
"""

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing, suppress
from functools import cached_property
from io import FileIO
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

from fraud_retraining.adapters.storage.locations import (
    CONTENT,
    Listing,
    LocalFiles,
    ObjectInfo,
    TransferPolicy,
    changed,
    checked_path,
    reaching,
    temporary_file,
)
from fraud_retraining.domain.values.errors import DataInvalid, DependencyUnreachable, SettingsError

if TYPE_CHECKING:
    from dagster_aws.s3 import S3Resource
    from s3fs import S3FileSystem

Answer = TypeVar("Answer")
Problems = list[str]

ATTEMPTS = 5
CHUNK = 2**20
UPLOAD_PART = 8 * 2**20
_MISSING = frozenset({"NoSuchKey", "404", "NotFound"})
_CHANGED = frozenset({"PreconditionFailed", "412"})


class S3Location:
    """A bucket, or a prefix within one."""

    one_file_a_day = False

    def __init__(
        self, bucket: str, prefix: str, *, s3: "S3Resource | None", cache: Path, policy: TransferPolicy
    ) -> None:
        if s3 and s3.endpoint_url and not s3.endpoint_url.startswith(("http://", "https://")):
            raise SettingsError(f"the S3 endpoint {s3.endpoint_url!r} is no address", remedy="Begin it with https://.")
        self._bucket = bucket
        self._prefix = prefix
        self._s3 = s3
        self._policy = policy
        self._attempts = max(1, s3.max_attempts) if s3 else ATTEMPTS
        self._cache = ObjectCache(cache, limit=policy.cache_bytes, keep_seconds=policy.cache_keep_seconds)

    def __getstate__(self) -> dict[str, Any]:
        # To another process goes the description alone: it opens connections of its own, with its own credentials.
        state = {name: value for name, value in self.__dict__.items() if name != "_fs"}
        told = (
            "region_name",
            "endpoint_url",
            "profile_name",
            "max_attempts",
            "use_ssl",
            "verify",
            "use_unsigned_session",
        )
        none = dict.fromkeys(("aws_access_key_id", "aws_secret_access_key", "aws_session_token"))
        s3 = self._s3 and SimpleNamespace(**{name: getattr(self._s3, name) for name in told}, **none)
        return {**state, "_s3": s3}

    @property
    def uri(self) -> str:
        """`s3://bucket/prefix`."""
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def list(self, prefix: str = "") -> Listing:
        """Every file below a prefix, sorted by path; a prefix that is not there has none.

        Raises:
            DataInvalid: there is no such bucket.
        """
        # The slash at the end: without it `day=1` would list `day=11` too.
        start = self._key(prefix) + "/" if prefix else self._base
        return sorted(self._within_deadline(lambda: self._list(start)))

    def folders(self, prefix: str) -> Sequence[str]:
        """Names of the prefixes directly below a prefix, sorted, however many objects they have."""
        start = self._key(prefix) + "/"
        found = self._within_deadline(lambda: self._folders(start))
        return sorted(name for name in found if not name.startswith("."))

    def survey(self, prefix: str = "") -> Listing:
        """As `list`, and keys that cannot be requested, with the problem."""
        start = self._key(prefix) + "/" if prefix else self._base
        return sorted(self._within_deadline(lambda: self._list(start, all_keys=True)))

    def exists_root(self) -> bool:
        """Whether the bucket is there and anything lies under the prefix."""
        try:
            page = self._within_deadline(lambda: self._page(self._base, MaxKeys=1))
        except DataInvalid:
            return False
        return not self._prefix or bool(page.get("Contents"))

    def read_bytes(self, path: str) -> bytes | None:
        """A small file as a whole; None means that it is not there."""
        return self._within_deadline(lambda: self._read(path))

    def first_bytes(self, info: ObjectInfo, count: int) -> bytes:
        """How a listed file begins; shorter where the file is, empty where it is gone."""
        if not info.size:
            return b""
        return self._within_deadline(lambda: self._read(info.path, Range=f"bytes=0-{count - 1}")) or b""

    def write_bytes(self, path: str, data: bytes) -> None:
        """Put a small file there, whole or not at all."""
        self._within_deadline(lambda: self._call("put_object", Key=self._key(path), Body=data), moved=len(data))

    def put_file(self, local: Path, path: str) -> None:
        """Copy a local file there, whole or not at all; large ones in parts that are joined at the end."""
        with reaching("read", local):
            size = local.stat().st_size
        target = f"{self._bucket}/{self._key(path)}"

        async def upload() -> None:
            await self._fs._put_file(str(local), target, chunksize=UPLOAD_PART, max_concurrency=4)

        self._within_deadline(upload, moved=size)

    def fetch(self, objects: Sequence[ObjectInfo]) -> LocalFiles:
        """Local copies with exactly the bytes of `objects`; downloads in parallel what is not in the cache."""
        copies = [self._cache.place(self.uri, info) for info in objects]
        absent = [pair for pair in zip(objects, copies, strict=True) if not self._cache.holds(pair[1], pair[0].size)]
        if absent:
            moved = sum(info.size for info, _ in absent)
            self._cache.make_room(moved, using=copies)
            problems = self._within_deadline(lambda: self._download_all(absent), moved=moved)
            if problems:
                raise changed(self.uri, problems)
        return copies

    def delete(self, path: str) -> None:
        """Remove a file; one that is already gone is fine."""
        self._within_deadline(lambda: self._call("delete_object", Key=self._key(path)))

    @property
    def _base(self) -> str:
        return f"{self._prefix}/" if self._prefix else ""

    def _key(self, path: str) -> str:
        return self._base + checked_path(path)

    @cached_property
    def _fs(self) -> "S3FileSystem":
        from s3fs import S3FileSystem

        fs = S3FileSystem(
            **_connection(self._s3),
            config_kwargs={
                "connect_timeout": self._policy.connect_seconds,
                "read_timeout": self._policy.read_seconds,
                "max_pool_connections": max(10, self._policy.parallel),
                "retries": {"total_max_attempts": self._attempts, "mode": "standard"},
            },
            # A listing that s3fs remembers would hide what arrived since.
            use_listings_cache=False,
            skip_instance_cache=True,
        )
        fs.retries = 1  # botocore retries already; both together would multiply
        return fs

    def _within_deadline(self, work: Callable[[], Awaitable[Answer]], moved: int = 0) -> Answer:
        from fsspec.asyn import sync
        from fsspec.exceptions import FSTimeoutError

        # One deadline over all attempts: retries and timeouts of each layer would add up to minutes.
        seconds = self._policy.deadline_seconds + moved / self._policy.slowest_bytes_per_second
        try:
            answer: Answer = sync(self._fs.loop, work, timeout=seconds)
        except FSTimeoutError as error:
            raise self._unreachable(f"did not answer in time (at most {seconds:.0f} s)") from error
        except _refusals() as error:
            raise self._refused(error) from error
        return answer

    def _refused(self, error: Exception) -> DataInvalid | DependencyUnreachable:
        code = _code(error)
        if code == "NoSuchBucket":
            return DataInvalid(
                f"there is no bucket {self._bucket}", culprits=[self.uri], remedy="Create it or correct the URI."
            )
        return self._unreachable(f"refused or failed: {error}{f' ({code})' if code else ''}")

    def _unreachable(self, what: str) -> DependencyUnreachable:
        return DependencyUnreachable(
            f"{self.uri} {what}",
            remedy="Check the endpoint, region, credentials and network of the S3 settings, then run again.",
        )

    async def _call(self, method: str, **arguments: Any) -> dict[str, Any]:
        answer: dict[str, Any] = await self._fs._call_s3(method, Bucket=self._bucket, **arguments)
        return answer

    async def _page(self, prefix: str, **arguments: Any) -> dict[str, Any]:
        return await self._call("list_objects_v2", Prefix=prefix, **arguments)

    async def _pages(self, prefix: str, **arguments: Any) -> AsyncIterator[dict[str, Any]]:
        page: dict[str, Any] = await self._page(prefix, **arguments)
        yield page
        while page.get("IsTruncated"):
            page = await self._page(prefix, ContinuationToken=page["NextContinuationToken"], **arguments)
            yield page

    async def _list(self, prefix: str, *, all_keys: bool = False) -> Listing:
        found: Listing = []
        async for page in self._pages(prefix):
            listed = [info for item in page.get("Contents", ()) if (info := self._info(item)) is not None]
            found += [info for info in listed if all_keys or not info.problem]
        return found

    async def _folders(self, prefix: str) -> set[str]:
        # The delimiter makes S3 name each prefix once, in place of every object below it.
        pages = self._pages(prefix, Delimiter="/")
        return {one["Prefix"][len(prefix) : -1] async for page in pages for one in page.get("CommonPrefixes", ())}

    def _info(self, item: dict[str, Any]) -> ObjectInfo | None:
        path = item["Key"][len(self._base) :]
        if path.endswith("/") or any(part.startswith(".") for part in path.split("/")):
            return None
        problem = "" if _is_plain(path) else "has a key that is no plain path"
        return ObjectInfo(path, item["Size"], item["ETag"].strip('"'), item["LastModified"].timestamp(), problem)

    async def _read(self, path: str, **arguments: Any) -> bytes | None:
        async def attempt() -> bytes:
            answer = await self._call("get_object", Key=self._key(path), **arguments)
            async with aclosing(_chunks(answer["Body"])) as chunks:
                return b"".join([chunk async for chunk in chunks])

        try:
            return await self._again(attempt)
        except FileNotFoundError as error:
            if _code(error) in _MISSING:
                return None
            raise

    async def _again(self, attempt: Callable[[], Awaitable[Answer]]) -> Answer:
        """Repeat what broke off or brought other bytes; requests that fail as such were repeated by botocore."""
        for number in range(self._attempts - 1):
            try:
                return await attempt()
            except _BrokenOffError:
                await asyncio.sleep(min(0.1 * 2.0**number, 5.0))
        return await attempt()

    async def _download_all(self, wanted: Iterable[tuple[ObjectInfo, Path]]) -> Problems:
        turns = asyncio.Semaphore(self._policy.parallel)

        async def one(info: ObjectInfo, copy: Path) -> str | None:
            async with turns:
                return await self._download(info, copy)

        tasks = [asyncio.create_task(one(info, copy)) for info, copy in wanted]
        try:
            return [problem for problem in await asyncio.gather(*tasks) if problem]
        finally:
            # One failure ends the fetch: the others would go on writing to the cache after the error was raised.
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _download(self, info: ObjectInfo, copy: Path) -> str | None:
        """Bring one object into the cache; says what is wrong with it when it is not the one that was listed."""
        try:
            await self._again(lambda: self._receive(info, copy))
        except _OtherBytesError as error:
            return f"{info.path}: {error}"
        except OSError as error:
            if _code(error) in _MISSING:
                return f"{info.path}: is not there"
            if _code(error) in _CHANGED:
                return f"{info.path}: was written again"
            raise
        return None

    async def _receive(self, info: ObjectInfo, copy: Path) -> None:
        # The server refuses other bytes than those listed, instead of sending half of one file and half of the next.
        condition = {} if info.version.startswith(CONTENT) else {"IfMatch": f'"{info.version}"'}
        answer = await self._call("get_object", Key=self._key(info.path), **condition)
        digest, size = hashlib.sha256(), 0
        with temporary_file(copy.parent) as local:
            with reaching("write", copy):
                # Unbuffered: a full disk shows at the write that fills it and not when the file is closed.
                file = local.open("xb", buffering=0)
            with file:
                async with aclosing(_chunks(answer["Body"])) as chunks:
                    async for chunk in chunks:
                        with reaching("write", copy):
                            _write(file, chunk)
                        digest.update(chunk)
                        size += len(chunk)
                with reaching("write", copy):
                    os.fsync(file.fileno())
            # Before the rename: a copy under its final name is trusted by its size alone.
            _require_same(info, size, digest.hexdigest())
            with reaching("write", copy):
                os.replace(local, copy)


def _is_plain(path: str) -> bool:
    """Whether a key is the path that it is requested by: without empty, `.` or `..` parts."""
    return str(PurePosixPath(path)) == path and not path.startswith("/") and ".." not in path.split("/")


class _BrokenOffError(Exception):
    """An answer that began and did not come to its end."""


class _OtherBytesError(_BrokenOffError):
    """An answer that is not the file that was listed, because it was cut short or the file is another one."""


async def _chunks(body: Any) -> AsyncGenerator[bytes, None]:
    from aiohttp import ClientError
    from botocore.exceptions import BotoCoreError

    try:
        while chunk := await body.read(CHUNK):
            yield chunk
    except (TimeoutError, ClientError, BotoCoreError) as error:
        raise _BrokenOffError(f"the answer broke off: {error}") from error
    finally:
        body.close()


def _write(file: FileIO, chunk: bytes) -> None:
    rest = memoryview(chunk)
    while rest:
        rest = rest[file.write(rest) :]


def _require_same(info: ObjectInfo, size: int, digest: str) -> None:
    if size != info.size:
        raise _OtherBytesError(f"has {size} bytes, not {info.size}")
    if info.version.startswith(CONTENT) and info.version != CONTENT + digest:
        raise _OtherBytesError("its content has another digest")


def _connection(s3: "S3Resource | None") -> dict[str, Any]:
    if s3 is None:
        return {}
    client = {"region_name": s3.region_name, "verify": s3.verify}
    return {
        "anon": s3.use_unsigned_session,
        "endpoint_url": s3.endpoint_url,
        "key": s3.aws_access_key_id,
        "secret": s3.aws_secret_access_key,
        "token": s3.aws_session_token,
        "use_ssl": s3.use_ssl,
        "client_kwargs": {name: value for name, value in client.items() if value is not None},
        **({"profile": s3.profile_name} if s3.profile_name else {}),
    }


def _refusals() -> tuple[type[Exception], ...]:
    """What s3fs, botocore and the network raise when S3 does not answer a request."""
    import aiohttp
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    return (OSError, BotoCoreError, ClientError, ResponseParserError, aiohttp.ClientError, _BrokenOffError)


def _code(error: Exception) -> str | None:
    """S3's own code for a refusal; s3fs hides it in the cause of the error that it raises."""
    response = getattr(error, "response", None) or getattr(error.__cause__, "response", None) or {}
    code: str | None = response.get("Error", {}).get("Code")
    return code


class ObjectCache:
    """Local copies of S3 files, each under a name that its version determines; the longest unused go first."""

    def __init__(self, folder: Path, *, limit: int, keep_seconds: float) -> None:
        self._folder = folder
        self._limit = limit
        self._keep_seconds = keep_seconds

    def place(self, uri: str, info: ObjectInfo) -> Path:
        """Where the copy of a file lies or will lie."""
        identity = "\n".join((uri, info.path, info.version, str(info.size)))
        name = hashlib.sha256(identity.encode()).hexdigest()
        return self._folder / name[:2] / f"{name[2:40]}{PurePosixPath(info.path).suffix}"

    def holds(self, copy: Path, size: int) -> bool:
        """Whether the copy is there as a whole; if so, it counts as used now."""
        with reaching("read", copy):
            try:
                if copy.stat().st_size != size:
                    return False
                # The time of the file is its time of last use; access times are off on many file systems.
                os.utime(copy)
            except FileNotFoundError:
                return False
        return True

    def make_room(self, needed: int, using: Iterable[Path]) -> None:
        """Drop the longest unused copies until `needed` more bytes fit; never those in `using` or used lately."""
        in_use = frozenset(using)
        copies = sorted(self._copies())
        excess = sum(size for _, size, _ in copies) + needed - self._limit
        for used, size, copy in copies:
            # Sorted by last use: from the first copy that was used lately on, all were.
            if excess <= 0 or used > time.time() - self._keep_seconds:
                return
            if copy not in in_use:
                with reaching("delete", copy):
                    copy.unlink(missing_ok=True)
                excess -= size

    def _copies(self) -> Iterator[tuple[float, int, Path]]:
        with reaching("list", self._folder):
            for file in self._folder.glob("??/[!.]*"):
                with suppress(FileNotFoundError):  # dropped by another process meanwhile
                    found = file.stat()
                    yield found.st_mtime, found.st_size, file
