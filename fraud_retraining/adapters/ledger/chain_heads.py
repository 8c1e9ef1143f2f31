"""Heads of the chain, kept outside of its database, so that a ledger that was cut, deleted or put back is noticed.

Here: keeping the head and reading back what was kept: lines of a file that is only added to, or objects of their own on
S3, which object lock keeps. Not here: comparing them with the chain (`adapters/ledger/verification.py`), and the
copy in MLflow (`adapters/mlflow/chain_head_tags.py`).
"""

import os
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from fraud_retraining.adapters.storage.locations import reaching
from fraud_retraining.domain.ledger.hash_chain import Head
from fraud_retraining.domain.values.errors import IntegrityError

if TYPE_CHECKING:
    from fraud_retraining.adapters.storage.locations import Location

LINE = re.compile(r"(?P<seq>\d+):(?P<hash>[0-9a-f]{64})(?: .*)?")
HASH = re.compile(r"[0-9a-f]{64}")
OBJECT = re.compile(r"(?:.*/)?(?P<seq>\d{12})-(?P<hash>[0-9a-f]{64})")


class PinnedHeads(Protocol):
    """Where heads are kept."""

    @property
    def place(self) -> str:
        """The file or address, as a person would write it."""

    def heads(self) -> Sequence[Head]:
        """Every head that was kept, the oldest first; none only where nothing was ever kept.

        Raises:
            DependencyUnreachable: they cannot be read.
            IntegrityError: something there is no head.
        """

    def pin(self, head: Head, at: datetime) -> None:
        """Keep one more.

        Raises:
            IntegrityError: its hash is none, and could not be read back.
        """


class HeadFile:
    """A file with a line a head, `SEQ:HASH TIME`; lines are added and never changed."""

    def __init__(self, file: Path) -> None:
        self._file = file

    @property
    def place(self) -> str:
        """The file's path."""
        return str(self._file)

    def heads(self) -> list[Head]:
        """Every head that was kept."""
        with reaching("read", self._file):
            try:
                # A strange byte makes a line that is no head, and that is reported with its number.
                lines = self._file.read_text(encoding="ascii", errors="replace").splitlines()
            except FileNotFoundError:
                return []
        return [_head(LINE.fullmatch(line), f"line {number} of {self._file}") for number, line in enumerate(lines, 1)]

    def pin(self, head: Head, at: datetime) -> None:
        """Add a line, on the disk when this returns."""
        _require_hash(head)
        line = f"{head.seq}:{head.hash} {at.isoformat(timespec='seconds')}\n"
        with reaching("write", self._file):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            # One write of a whole line at the end: lines of two processes never mix.
            handle = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(handle, line.encode("ascii"))
                os.fsync(handle)
            finally:
                os.close(handle)


class HeadObjects:
    """An object a head under an address, whose name is the head: none is ever written twice, so a lock on it holds."""

    def __init__(self, location: "Location") -> None:
        self._location = location

    @property
    def place(self) -> str:
        """The address."""
        return self._location.uri

    def heads(self) -> list[Head]:
        """Every head that was kept."""
        named = sorted(listed.path for listed in self._location.list())
        return [_head(OBJECT.fullmatch(path), f"{self.place}/{path}") for path in named]

    def pin(self, head: Head, at: datetime) -> None:
        """Put one more object there."""
        _require_hash(head)
        line = f"{head.seq}:{head.hash} {at.isoformat(timespec='seconds')}\n"
        self._location.write_bytes(f"{head.seq:012d}-{head.hash}", line.encode("ascii"))


def _require_hash(head: Head) -> None:
    if HASH.fullmatch(head.hash) is None:
        raise IntegrityError(
            f"row {head.seq} of the ledger has no hash of the chain ({head.hash[:80]!r}), and is not kept as its head",
            remedy="`fraud-retraining audit verify`, and find out who wrote it.",
        )


def _head(found: "re.Match[str] | None", where: str) -> Head:
    if found is None:
        raise IntegrityError(
            f"{where} is no head of the ledger's chain",
            remedy="Find out who wrote there; the file of heads is only ever added to. Restore it from a backup.",
        )
    return Head(seq=int(found["seq"]), hash=found["hash"])
