"""Model files that were made elsewhere: a file, or an MLflow model in a folder, a registry or a run.

Here: finding the file and its format, without opening it, and the refusal of every pickle, of what is too large, and of
an address of MLflow whose file nobody has named by its digest. Not here: what the file holds
(`domain/training/imported.py`).
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from pydantic import BaseModel, Field, Json, ValidationError

from fraud_retraining.adapters.mlflow.connection import mlflow_call
from fraud_retraining.adapters.mlflow.model_artifact import odd_files
from fraud_retraining.domain.training.imported import FORMATS, ForeignModel
from fraud_retraining.domain.values.errors import SettingsError

DESCRIPTION = "MLmodel"
MLFLOW = "mlflow"
ADDRESSES = ("models:/", "runs:/", "mlflow-artifacts:/")

MOST_BYTES = 2**30
"""Bytes of a model file, and of all files of an MLflow model that are fetched: all of them are held in memory."""
MOST_FILES = 1000
"""Files and folders of an MLflow model."""
MOST_DESCRIPTION_BYTES = 2**20
"""Bytes of `MLmodel`."""

_SUFFIXES = {
    ".onnx": "onnx",
    ".ubj": "xgboost",
    ".json": "xgboost",
    ".txt": "lightgbm",
    ".lgb": "lightgbm",
    ".cbm": "catboost",
}
_PICKLES = (".pkl", ".pickle", ".joblib", ".cloudpickle", ".dill")
_PICKLE_STARTS = (b"\x80", b"\x78\x9c", b"\x78\x01", b"\x1f\x8b")
"""Pickle from protocol 2 on; and compressed by zlib or gzip, as joblib writes it."""

NO_PICKLE = (
    "A pickle runs code when it is opened, so none is on the way to production. Export the model as ONNX (skl2onnx for "
    "scikit-learn), or in its library's own format: XGBoost save_model('m.ubj'), LightGBM save_model('m.txt'), "
    "CatBoost save_model('m.cbm')."
)


class _Column(BaseModel):
    """A column of a signature; a tensor has no name."""

    name: str | int | None = None
    type: str = ""


class _Signature(BaseModel):
    """What a model reads: JSON inside of YAML, as MLflow writes it."""

    inputs: Json[list[_Column]] | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns; none where one has none, or is a tensor."""
        listed = self.inputs or []
        unnamed = any(one.name in (None, "") or one.type == "tensor" for one in listed)
        return () if unnamed else tuple(str(one.name) for one in listed)


class _Flavor(BaseModel):
    """Where the native file of a model lies, beside its description."""

    data: str = Field(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f]+$")


class _Description(BaseModel):
    """What of `MLmodel` is read."""

    flavors: dict[str, dict[str, Any]]
    signature: _Signature | None = None


def read_foreign(source: str, format: str | None, tracking_uri: str, sha256: str | None = None) -> ForeignModel:
    """The model file that a path or an address of MLflow names.

    Args:
        source: a file; a folder with an MLflow model; or `models:/name/version`, `models:/name@alias`, `runs:/id/path`.
        format: one of `FORMATS`, or `mlflow`; None: as the name says.
        tracking_uri: where MLflow's addresses are looked up.
        sha256: SHA-256 of the model file in hexadecimal digits; an address has to have one.

    Raises:
        SettingsError: there is no such file, its format is not known or not `format`, it is a pickle or too large, or
            it has another digest, or an address none.
        DependencyUnreachable: MLflow did not give it.
    """
    if format not in (None, MLFLOW, *FORMATS):
        raise SettingsError(f"there is no format {format!r}", remedy=f"formats are {', '.join((MLFLOW, *FORMATS))}.")
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise SettingsError(
            f"{sha256[:100]!r} is no SHA-256", remedy="It has 64 hexadecimal digits, as sha256sum says."
        )
    found = _found(source, format, tracking_uri)
    _require_digest(found, source, sha256)
    # The digest is that of the file: a signature at an address can change beside it, and change places of columns.
    return replace(found, columns=()) if source.startswith(ADDRESSES) else found


def _found(source: str, format: str | None, tracking_uri: str) -> ForeignModel:
    try:
        if source.startswith(ADDRESSES):
            with _downloaded(source, tracking_uri) as folder:
                return _of_folder(folder, source, format)
        path = Path(source).expanduser()
        if path.is_dir():
            return _of_folder(path, source, format)
        if path.is_file():
            return _of_file(path, source, format)
    except (OSError, RuntimeError) as error:  # a name that no file can have, a home that nobody has, no right to read
        raise SettingsError(f"{source[:300]} cannot be read", culprits=[str(error)[:300]]) from error
    raise SettingsError(f"there is no file or folder {source}", remedy="Name the model's file or MLflow folder.")


def _require_digest(found: ForeignModel, source: str, sha256: str | None) -> None:
    """Refuse a file that is not the one that was meant. What an address of MLflow names may be another file tomorrow.

    Raises:
        SettingsError: the file has another digest, or comes from an address and none is named.
    """
    if sha256 is not None and sha256.lower() != found.digest:
        raise SettingsError(
            f"{source} is not the model that was named",
            culprits=[f"named {sha256.lower()}", f"found {found.digest}"],
            remedy="Find out who changed it, or which one you mean.",
        )
    if sha256 is None and source.startswith(ADDRESSES):
        read = f", by its signature reads {', '.join(found.columns)}" if found.columns else ""
        raise SettingsError(
            f"what {source} names can change, so that nobody would know which file was approved",
            culprits=[f"found now: {found.format}, {len(found.data):,} bytes{read}, SHA-256 {found.digest}"],
            remedy=f"Compare it with the file that you mean (sha256sum), and add --sha256 {found.digest}.",
        )


@contextmanager
def _downloaded(address: str, tracking_uri: str) -> Iterator[Path]:
    from mlflow.artifacts import download_artifacts

    with mlflow_call(tracking_uri, f"list the files of {address}"):
        size, files = _listed_size(address, tracking_uri)
    if size > MOST_BYTES or files > MOST_FILES:
        raise SettingsError(
            f"{address} has {files:,} files of {size:,} bytes so far; it was not fetched",
            remedy=f"At most {MOST_FILES:,} files of {MOST_BYTES:,} bytes are. Name the folder of the model alone.",
        )
    with TemporaryDirectory(prefix="foreign-model-") as scratch:
        with mlflow_call(tracking_uri, f"give the model {address}"):
            folder = download_artifacts(
                artifact_uri=address, dst_path=scratch, tracking_uri=tracking_uri, registry_uri=tracking_uri
            )
        yield Path(folder)


def _listed_size(address: str, tracking_uri: str) -> tuple[int, int]:
    """Bytes and entries below an address; counting ends where they are too many."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    # Both are the tracking address, as for the download.
    repository = get_artifact_repository(address, tracking_uri, tracking_uri)
    size, entries, folders = 0, 0, [None]
    while folders and size <= MOST_BYTES and entries <= MOST_FILES:
        for one in repository.list_artifacts(folders.pop()):
            entries += 1
            size += one.file_size or 0
            if one.is_dir:
                folders.append(one.path)
    return size, entries


def _of_file(path: Path, source: str, format: str | None) -> ForeignModel:
    if path.suffix.lower() in _PICKLES:
        raise SettingsError(f"{source} is a pickle; it was not opened", remedy=NO_PICKLE)
    found = _SUFFIXES.get(path.suffix.lower()) if format is None else format
    if found is None or found == MLFLOW:
        raise SettingsError(
            f"{source} is a file, not the folder of an MLflow model"
            if found
            else f"the format of {source} cannot be told from its name",
            remedy=f"Name it with --format: {', '.join(FORMATS)}.",
        )
    return ForeignModel(found, _plain(path, source))  # type: ignore[arg-type]


def _plain(path: Path, source: str) -> bytes:
    data = _bounded(path, source, MOST_BYTES)
    if data.startswith(_PICKLE_STARTS):
        raise SettingsError(f"{source} is a pickle, or compressed; it was not opened", remedy=NO_PICKLE)
    return data


def _of_folder(folder: Path, source: str, format: str | None) -> ForeignModel:
    """The native file of an MLflow model, by its description."""
    if odd := odd_files(folder):
        raise SettingsError(f"{source} holds more than files and folders", culprits=odd)
    if not (folder / DESCRIPTION).is_file():
        raise SettingsError(f"{source} has no file {DESCRIPTION}: it is no MLflow model")
    about = _description(folder, source)
    wanted = FORMATS if format in (None, MLFLOW) else (format,)
    native = [name for name in wanted if name in about.flavors]
    if not native:
        raise SettingsError(
            f"{source} is an MLflow model of {', '.join(about.flavors)}; none of {', '.join(wanted)}", remedy=NO_PICKLE
        )
    file = _native_file(folder, source, native[0], about.flavors[native[0]])
    if file.suffix.lower() in _PICKLES:
        raise SettingsError(f"{source} holds its {native[0]} model as a pickle; it was not opened", remedy=NO_PICKLE)
    columns = about.signature.columns if about.signature is not None else ()
    return ForeignModel(native[0], _plain(file, source), columns)  # type: ignore[arg-type]


def _native_file(folder: Path, source: str, name: str, flavor: dict[str, Any]) -> Path:
    try:
        file = (folder / _Flavor.model_validate(flavor).data).resolve()
    except ValidationError as error:
        raise SettingsError(f"{source}: {DESCRIPTION} names no file for {name}", culprits=_problems(error)) from None
    if not file.is_relative_to(folder.resolve()):
        raise SettingsError(f"{source}: {DESCRIPTION} names no file for {name} that lies inside of it")
    if file.is_dir():
        graphs = sorted(file.glob("*.onnx"))
        if len(graphs) != 1:
            raise SettingsError(
                f"{source}: {DESCRIPTION} names a folder for {name} with {len(graphs)} files .onnx",
                culprits=[one.name for one in graphs[:10]],
                remedy="Name the file itself with --model.",
            )
        file = graphs[0]
    if not file.is_file():
        raise SettingsError(f"{source}: {DESCRIPTION} names no file for {name} that is there")
    return file


def _description(folder: Path, source: str) -> _Description:
    """What `MLmodel` says.

    Raises:
        SettingsError: it is no YAML, or not of MLflow's form.
    """
    data = _bounded(folder / DESCRIPTION, source, MOST_DESCRIPTION_BYTES)
    try:
        return _Description.model_validate(yaml.safe_load(data))
    except ValidationError as error:
        raise SettingsError(f"{source}: {DESCRIPTION} cannot be read", culprits=_problems(error)) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SettingsError(f"{source}: {DESCRIPTION} cannot be read", culprits=[str(error)[:300]]) from error


def _problems(error: ValidationError) -> list[str]:
    return [f"{'.'.join(map(str, one['loc']))}: {one['msg']}"[:300] for one in error.errors()[:10]]


def _bounded(path: Path, source: str, most: int) -> bytes:
    """The bytes of a file that is not too large."""
    size = path.stat().st_size
    if size <= most:
        with path.open("rb") as file:
            data = file.read(size + 1)
        if len(data) <= size:
            return data
    raise SettingsError(f"{source}: {path.name} has more than {min(size, most):,} bytes; it was not read")
