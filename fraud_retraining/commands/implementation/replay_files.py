"""What a replay keeps in the home's folder `replay`, so that it goes on where it was interrupted.

Here: fitted models by fingerprint, verdicts, measurements and scores of days, each written whole or not at all. Not
here: what they are (`replay_answers.py`). Nothing of it is read by the pipeline: the folder may be deleted.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

from pydantic import BaseModel, ValidationError

from fraud_retraining.adapters.storage.private_files import private_folder
from fraud_retraining.domain.replay.timeline import ReplayedModel
from fraud_retraining.domain.training.scoring import FittedModel, files_digest
from fraud_retraining.domain.values.digests import digest
from fraud_retraining.domain.values.errors import IntegrityError

if TYPE_CHECKING:
    import pyarrow as pa

FACTS, FILES_DIGEST = "facts.json", "digest.txt"
Kind = TypeVar("Kind", bound=BaseModel)


class KeptFiles:
    """The folder `replay` of a home."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def model(self, fingerprint: str) -> FittedModel:
        """A fitted model.

        Raises:
            IntegrityError: its files are not those that were written.
        """
        folder = self.folder / "fits" / fingerprint
        files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
        expected = files.pop(FILES_DIGEST, b"").decode()
        files.pop(FACTS, None)
        if files_digest(files) != expected:
            raise IntegrityError(
                f"The model in {folder} is not as it was written.", remedy=f"delete {folder}: it is fitted again."
            )
        return FittedModel.from_files(files)

    def fit(self, fingerprint: str) -> ReplayedModel | None:
        """The facts about a fitted model; None where it has not been fitted yet."""
        return _read(self.folder / "fits" / fingerprint / FACTS, ReplayedModel)

    def keep_fit(self, facts: ReplayedModel, model: FittedModel) -> None:
        """Keep a model with its facts; one that another process kept meanwhile stays."""
        files = model.files()
        with self._written("fits", facts.fingerprint) as folder:
            for name, data in files.items():
                (folder / name).write_bytes(data)
            (folder / FILES_DIGEST).write_text(files_digest(files))
            (folder / FACTS).write_text(facts.model_dump_json())

    def document(self, what: str, key: object, kind: type[Kind], make: Callable[[], Kind]) -> Kind:
        """A small value that depends on `key` alone: the kept one, else the one that `make` gives."""
        path = self.folder / what / f"{digest(key)}.json"
        known = _read(path, kind)
        if known is not None:
            return known
        made = make()
        self._write(path, made.model_dump_json().encode())
        return made

    def table_path(self, what: str, key: object, make: Callable[[], "pa.Table"]) -> Path:
        """The Parquet file of a table that depends on `key` alone; made at first."""
        path = self.folder / what / f"{digest(key)}.parquet"
        if not path.is_file():
            self._write(path, parquet_bytes(make()))
        return path

    def table(self, what: str, key: object, make: Callable[[], "pa.Table"]) -> "pa.Table":
        """A table that depends on `key` alone: the kept one, else the one that `make` gives."""
        import pyarrow.parquet as pq

        return pq.ParquetFile(self.table_path(what, key, make)).read()

    def _write(self, path: Path, data: bytes) -> None:
        private_folder(path.parent)
        temporary = path.with_name(f".{uuid4().hex}")
        temporary.write_bytes(data)
        os.replace(temporary, path)

    @contextmanager
    def _written(self, what: str, name: str) -> Iterator[Path]:
        """A folder that appears under its name when all of it is written."""
        parent = private_folder(self.folder / what)
        temporary = private_folder(parent / f".{uuid4().hex}")
        try:
            yield temporary
            if not (parent / name).exists():
                os.replace(temporary, parent / name)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def parquet_bytes(table: "pa.Table") -> bytes:
    """A table as the bytes of a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return bytes(sink.getvalue().to_pybytes())


def _read(path: Path, kind: type[Kind]) -> Kind | None:
    """A kept value; one that an older version wrote in another form counts as not kept."""
    try:
        return kind.model_validate(json.loads(path.read_bytes()))
    except (FileNotFoundError, ValidationError, ValueError):
        return None
