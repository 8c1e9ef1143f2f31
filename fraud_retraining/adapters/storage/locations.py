"""Places that hold files: a folder or an S3 prefix, behind one protocol.

Here: what a place can do, the folder that does it, atomic local writes, and the choice by URI. Not here: S3 itself
(`adapters/storage/s3.py`) and what the files mean (`adapters/storage/lake.py`, `adapters/storage/store.py`).
"""

import errno
import hashlib
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from threading import Event
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Protocol, TypeVar
from uuid import uuid4

from pydantic import Field

from fraud_retraining.domain.values.base import Policy
from fraud_retraining.domain.values.errors import DependencyUnreachable, IntegrityError

if TYPE_CHECKING:
    pass

Item = TypeVar("Item")
Answer = TypeVar("Answer")

Listing = list["ObjectInfo"]
LocalFiles = list[Path]

CONTENT = "sha256:"
STALE_SECONDS = 3600.0
# A quota and a file-size limit refuse like a full disk, and have the same remedy.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_ODD = frozenset({errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR})
_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class TransferPolicy(Policy):
    """How long storage may take, how much is moved at once, and how much of it is kept locally."""

    connect_seconds: float = Field(5, gt=0, le=600, description="Longest wait for a connection to S3.")
    read_seconds: float = Field(20, gt=0, le=600, description="Longest silence of S3 within one answer.")
    deadline_seconds: float = Field(
        60, gt=0, le=3600, description="Longest that one call to S3 may take, retries included, before its bytes."
    )
    slowest_bytes_per_second: int = Field(
        1_000_000, ge=1, description="Slowest transfer that is still waited for; each byte moves the deadline by this."
    )
    parallel: int = Field(8, ge=1, le=64, description="Files that are moved at once.")
    cache_bytes: int = Field(
        20 * 2**30, ge=0, description="Size of the local copies of S3 files; the longest unused go first."
    )
    cache_keep_seconds: float = Field(
        4 * 3600, ge=0, description="Local copies used within this time stay, whatever their size: a run reads them."
    )


class ObjectInfo(NamedTuple):
    """A file of a location as it was listed or recorded.

    `version` changes whenever the bytes do: the etag on S3, `mtime_ns:size` in a folder, or `sha256:<hex>` where the
    content is known. Fetching gives these bytes or fails. `modified` is in seconds since 1970. `problem` says why
    a file or folder of a survey cannot be read at all.
    """

    path: str
    size: int
    version: str
    modified: float = 0.0
    problem: str = ""
    is_folder: bool = False


class Location(Protocol):
    """A place that holds files under relative paths.

    Whatever cannot be read or written raises `DependencyUnreachable`; only what is known to be absent is None or [].
    """

    one_file_a_day: bool
    """Whether the place makes one file of each day, however many rows that has."""

    @property
    def uri(self) -> str:
        """The place, as a person would write it."""

    def list(self, prefix: str = "") -> Listing:
        """Every file below a folder, sorted by path; names that begin with a dot are never seen."""

    def folders(self, prefix: str) -> Sequence[str]:
        """Names of the folders directly below a folder, sorted, however many files lie in them."""

    def survey(self, prefix: str = "") -> Listing:
        """As `list`, and what cannot be read below that folder, with its problem, instead of failing for it."""

    def exists_root(self) -> bool:
        """Whether the place itself is there."""

    def read_bytes(self, path: str) -> bytes | None:
        """A small file as a whole; None means that it is not there."""

    def first_bytes(self, info: ObjectInfo, count: int) -> bytes:
        """How a listed file begins; shorter where the file is, empty where it is gone."""

    def write_bytes(self, path: str, data: bytes) -> None:
        """Put a small file there, whole or not at all."""

    def put_file(self, local: Path, path: str) -> None:
        """Copy a local file there, whole or not at all."""

    def fetch(self, objects: Sequence[ObjectInfo]) -> LocalFiles:
        """Local readable files with exactly the bytes of `objects`, in their order.

        Raises:
            IntegrityError: some of them are gone or are not what was listed; names them all.
        """

    def delete(self, path: str) -> None:
        """Remove a file; one that is already gone is fine."""


class FolderLocation:
    """A folder of this machine."""

    one_file_a_day = False

    def __init__(self, root: Path) -> None:
        self._root = root
        self._seen: dict[str, tuple[str, str]] = {}
        """The digest of files whose content was requested, by path, with the version that was read."""

    @property
    def uri(self) -> str:
        """The folder's path."""
        return str(self._root)

    def list(self, prefix: str = "") -> Listing:
        """Every file below a folder, sorted by path; a folder that is not there has none."""
        top = self._local(prefix) if prefix else self._root
        with reaching("list", top):
            return sorted(self._walk(top))

    def folders(self, prefix: str) -> Sequence[str]:
        """Names of the folders directly below a folder, sorted, however many files lie in them."""
        top = self._local(prefix)
        with reaching("list", top):
            try:
                return sorted(one.name for one in os.scandir(top) if one.is_dir() and not one.name.startswith("."))
            except (FileNotFoundError, NotADirectoryError):
                return []

    def survey(self, prefix: str = "") -> Listing:
        """As `list`, and what cannot be read below that folder, with its problem, instead of failing for it."""
        with reaching("list", self._root):
            return sorted(Survey(self._root).entries(prefix))

    def exists_root(self) -> bool:
        """Whether the folder is there."""
        with reaching("look for", self._root):
            return self._root.is_dir()

    def read_bytes(self, path: str) -> bytes | None:
        """A small file as a whole; None means that it is not there."""
        with reaching("read", self._local(path)):
            try:
                return self._local(path).read_bytes()
            # A parent that is a file means absent too; every other failure is "could not read".
            except (FileNotFoundError, NotADirectoryError):
                return None

    def first_bytes(self, info: ObjectInfo, count: int) -> bytes:
        """How a listed file begins; shorter where the file is, empty where it is gone."""
        with reaching("read", self._local(info.path)):
            try:
                with self._local(info.path).open("rb") as file:
                    return file.read(count)
            # Others write to this folder: a file may go between listing and reading it.
            except FileNotFoundError:
                return b""

    def write_bytes(self, path: str, data: bytes) -> None:
        """Put a small file there, whole or not at all."""
        with replacing(self._local(path)) as file:
            file.write(data)

    def put_file(self, local: Path, path: str) -> None:
        """Copy a local file there, whole or not at all."""
        with reaching("read", local), local.open("rb") as source, replacing(self._local(path)) as file:
            shutil.copyfileobj(source, file, 2**20)

    def fetch(self, objects: Sequence[ObjectInfo]) -> LocalFiles:
        """The files themselves, as long as they are still what was listed."""
        problems = [problem for problem in in_parallel(self._difference, objects) if problem]
        if problems:
            raise changed(self.uri, problems)
        return [self._local(info.path) for info in objects]

    def delete(self, path: str) -> None:
        """Remove a file; one that is already gone is fine."""
        with reaching("delete", self._local(path)):
            self._local(path).unlink(missing_ok=True)

    def _local(self, path: str) -> Path:
        return self._root / checked_path(path)

    def _walk(self, folder: Path) -> Iterator[ObjectInfo]:
        try:
            # Names with a dot are temporary files of writers, here and in other programs.
            entries = [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
        except (FileNotFoundError, NotADirectoryError):
            return
        for entry in entries:
            if entry.is_dir():
                yield from self._walk(Path(entry.path))
            elif (info := self._info(Path(entry.path))) is not None:
                yield info

    def _info(self, file: Path) -> ObjectInfo | None:
        try:
            found = file.stat()
        except FileNotFoundError:
            return None
        return _info_of(file.relative_to(self._root).as_posix(), found)

    def _difference(self, wanted: ObjectInfo) -> str | None:
        file = self._local(wanted.path)
        with reaching("read", file):
            found = self._info(file)
        if found is None:
            return f"{wanted.path}: is not there"
        if found.size != wanted.size:
            return f"{wanted.path}: has {found.size} bytes, not {wanted.size}"
        if wanted.version.startswith(CONTENT):
            # A recorded digest is compared with the bytes: the time of a file says nothing of damage.
            same = CONTENT + self._digest(found) == wanted.version
            return None if same else f"{wanted.path}: its content has another digest"
        return None if found.version == wanted.version else f"{wanted.path}: was written again"

    def _digest(self, found: ObjectInfo) -> str:
        version, known = self._seen.get(found.path, ("", ""))
        # A digest is kept as long as time and size stay, as one run reads a partition several times.
        if version != found.version:
            file = self._local(found.path)
            with reaching("read", file), file.open("rb") as content:
                known = hashlib.file_digest(content, "sha256").hexdigest()
            self._seen[found.path] = found.version, known
        return known


class Survey:
    """A walk through a folder that others write to: what no file can be read from is named and passed by.

    Only regular files that this user may read are files. Folders are entered once, and never through a link that leads
    out of the root or back up.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def entries(self, prefix: str) -> Iterator[ObjectInfo]:
        """What lies below a folder of the root.

        Raises:
            OSError: the root itself cannot be listed, or the disk does not answer.
        """
        if not self._root.is_dir():
            return
        folder = self._root / prefix
        if os.path.lexists(folder):
            above = (self._root, *(self._root / part for part in PurePosixPath(prefix).parents)) if prefix else ()
            yield from self._visit(folder, folder.is_symlink() and bool(prefix), above)

    def _visit(self, path: Path, is_link: bool, above: tuple[Path, ...]) -> Iterator[ObjectInfo]:
        """An entry and, where it is a folder, what lies in it; `above` are the folders that led here."""
        try:
            found = path.stat()
            problem = self._problem(path, found, is_link, above) if above else ""
            entries = list(os.scandir(path)) if stat.S_ISDIR(found.st_mode) and not problem else []
        except FileNotFoundError:
            if is_link:
                yield self._odd(path, "is a symbolic link to nothing")
            return
        except OSError as error:
            if not above or error.errno not in _ODD:
                raise
            yield self._odd(path, f"cannot be read: {error.strerror}", is_folder=path.is_dir())
            return
        if problem:
            yield self._odd(path, problem, is_folder=stat.S_ISDIR(found.st_mode))
        elif stat.S_ISREG(found.st_mode):
            yield _info_of(path.relative_to(self._root).as_posix(), found)
        for entry in entries:
            if not entry.name.startswith("."):
                yield from self._visit(path / entry.name, entry.is_symlink(), (*above, path))

    def _problem(self, path: Path, found: os.stat_result, is_link: bool, above: tuple[Path, ...]) -> str:
        if not _is_unicode(path.name):
            return "has a name that is not UTF-8"
        if is_link:
            # A link out of the lake would read files that the settings do not name.
            real, root = os.path.realpath(path), os.path.realpath(self._root)
            if real in {os.path.realpath(folder) for folder in above}:
                return "is a symbolic link that leads back to a folder above it"
            if not real.startswith(f"{root}{os.sep}"):
                return "is a symbolic link that leads out of the lake"
        if stat.S_ISDIR(found.st_mode):
            return ""
        if not stat.S_ISREG(found.st_mode):
            return f"is {_KINDS.get(stat.S_IFMT(found.st_mode), 'no regular file')}, not a file"
        # Asked of the system: mode bits alone know nothing of access lists.
        return "" if os.access(path, os.R_OK, effective_ids=True) else "cannot be read: permission denied"

    def _odd(self, path: Path, problem: str, *, is_folder: bool = False) -> ObjectInfo:
        # A name that is not UTF-8 cannot be written to JSON or the ledger as it is.
        shown = os.fsencode(path.relative_to(self._root)).decode("utf-8", "backslashreplace")
        return ObjectInfo(shown, 0, problem, problem=problem, is_folder=is_folder)


def _info_of(path: str, found: os.stat_result) -> ObjectInfo:
    return ObjectInfo(path, found.st_size, f"{found.st_mtime_ns}:{found.st_size}", found.st_mtime)


def _is_unicode(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def changed(uri: str, problems: Sequence[str]) -> IntegrityError:
    """The refusal of files that are not what was listed or recorded."""
    return IntegrityError(
        f"files in {uri} are not the ones that were listed",
        culprits=problems,
        remedy="Run again once nothing else writes there; restore a file that was lost.",
    )


def checked_path(path: str) -> str:
    """A relative path that stays inside its location.

    Raises:
        ValueError: it is absolute, empty or climbs out.
    """
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts:
        raise ValueError(f"{path!r} is not a path inside a location")
    return str(PurePosixPath(path))


@contextmanager
def reaching(doing: str, path: Path) -> Iterator[None]:
    """Turn what the local disk refuses into an error that names the path and what to do."""
    try:
        yield
    except OSError as error:
        raise DependencyUnreachable(
            f"cannot {doing} {path}: {error.strerror or error}", remedy=_disk_remedy(error)
        ) from error


def _disk_remedy(error: OSError) -> str:
    if error.errno in _FULL:
        return "Free space on that disk or point the settings at a larger one, then run again: nothing was published."
    if error.errno in _FORBIDDEN:
        return "Give the user that runs this access to it."
    return "Check the path and that its disk is mounted and healthy."


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes `path`'s place, on disk and whole, when the block ends well; else nothing happens."""
    with temporary_file(path.parent) as temporary, reaching("write", path):
        with temporary.open("xb") as file:
            yield file
            file.flush()
            # Before the rename: after a power cut a file system may keep the name without the bytes.
            os.fsync(file.fileno())
        os.replace(temporary, path)
        # The rename itself is on disk once its folder is.
        _sync_folder(path.parent)


@contextmanager
def temporary_file(folder: Path) -> Iterator[Path]:
    """A name for a file that is being written, in a folder that then exists; gone afterwards, and never listed."""
    with reaching("write to", folder):
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
    path = folder / f".{uuid4().hex}.tmp"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Remove what writers that were killed left behind, once it is too old to be a living writer's."""
    for leftover in folder.glob(".*.tmp"):
        with suppress(FileNotFoundError):
            if leftover.stat().st_mtime < time.time() - STALE_SECONDS:
                leftover.unlink()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def in_parallel(function: Callable[[Item], Answer], items: Sequence[Item], workers: int = 8) -> list[Answer]:
    """`function` of every item, in order; a first failure lets nothing new begin, so a dead server costs one wait."""
    failed = Event()

    def guarded(item: Item) -> Answer | None:
        if failed.is_set():
            return None
        try:
            return function(item)
        except BaseException:
            failed.set()
            raise

    with ThreadPoolExecutor(max_workers=max(1, min(workers, len(items)))) as pool:
        futures = [pool.submit(guarded, item) for item in items]
    for future in futures:
        if (error := future.exception()) is not None:
            raise error
    return [future.result() for future in futures]  # type: ignore[misc]
