"""Model files that were made elsewhere: a file, or an MLflow model in a folder, a registry or a run.

Here: finding the file and its format, without opening it, and the refusal of every pickle. Not here: what the file
holds (`domain/training/imported.py`).
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from fraud_retraining.adapters.mlflow.connection import mlflow_call
from fraud_retraining.adapters.mlflow.model_artifact import odd_files
from fraud_retraining.domain.training.imported import FORMATS, ForeignModel
from fraud_retraining.domain.values.errors import SettingsError

DESCRIPTION = "MLmodel"
MLFLOW = "mlflow"
ADDRESSES = ("models:/", "runs:/", "mlflow-artifacts:/")

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


def read_foreign(source: str, format: str | None, tracking_uri: str) -> ForeignModel:
    """The model file that a path or an address of MLflow names.

    Args:
        source: a file; a folder with an MLflow model; or `models:/name/version`, `models:/name@alias`, `runs:/id/path`.
        format: one of `FORMATS`, or `mlflow`; None: as the name says.
        tracking_uri: where MLflow's addresses are looked up.

    Raises:
        SettingsError: there is no such file, its format is not known or not `format`, or it is a pickle.
        DependencyUnreachable: MLflow did not give it.
    """
    if format not in (None, MLFLOW, *FORMATS):
        raise SettingsError(f"there is no format {format!r}", remedy=f"formats are {', '.join((MLFLOW, *FORMATS))}.")
    if source.startswith(ADDRESSES):
        with _downloaded(source, tracking_uri) as folder:
            return _of_folder(folder, source, format)
    path = Path(source).expanduser()
    if path.is_dir():
        return _of_folder(path, source, format)
    if not path.is_file():
        raise SettingsError(f"there is no file or folder {source}", remedy="Name the model's file or MLflow folder.")
    return _of_file(path, source, format)


@contextmanager
def _downloaded(address: str, tracking_uri: str) -> Iterator[Path]:
    from mlflow.artifacts import download_artifacts

    with TemporaryDirectory(prefix="foreign-model-") as scratch:
        with mlflow_call(tracking_uri, f"give the model {address}"):
            folder = download_artifacts(
                artifact_uri=address, dst_path=scratch, tracking_uri=tracking_uri, registry_uri=tracking_uri
            )
        yield Path(folder)


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
    return ForeignModel(found, _plain(path.read_bytes(), source))  # type: ignore[arg-type]


def _plain(data: bytes, source: str) -> bytes:
    if data.startswith(_PICKLE_STARTS):
        raise SettingsError(f"{source} is a pickle, or compressed; it was not opened", remedy=NO_PICKLE)
    return data


def _of_folder(folder: Path, source: str, format: str | None) -> ForeignModel:
    """The native file of an MLflow model, by its description."""
    if odd := odd_files(folder):
        raise SettingsError(f"{source} holds more than files and folders", culprits=odd)
    if not (folder / DESCRIPTION).is_file():
        raise SettingsError(f"{source} has no file {DESCRIPTION}: it is no MLflow model")
    try:
        about = yaml.safe_load((folder / DESCRIPTION).read_text(encoding="utf-8"))
        flavors = dict(about["flavors"])
    except (yaml.YAMLError, KeyError, TypeError, ValueError, UnicodeDecodeError) as error:
        raise SettingsError(f"{source}: {DESCRIPTION} cannot be read", culprits=[str(error)[:300]]) from error
    wanted = FORMATS if format in (None, MLFLOW) else (format,)
    native = [name for name in wanted if name in flavors]
    if not native:
        raise SettingsError(
            f"{source} is an MLflow model of {', '.join(flavors)}; none of {', '.join(wanted)}", remedy=NO_PICKLE
        )
    file = (folder / str(flavors[native[0]].get("data", ""))).resolve()
    if file.is_dir():
        (file,) = [one for one in file.iterdir() if one.suffix == ".onnx"][:1] or [file]
    if not file.is_relative_to(folder.resolve()) or not file.is_file():
        raise SettingsError(f"{source}: {DESCRIPTION} names no file for {native[0]}")
    if file.suffix.lower() in _PICKLES:
        raise SettingsError(f"{source} holds its {native[0]} model as a pickle; it was not opened", remedy=NO_PICKLE)
    return ForeignModel(native[0], _plain(file.read_bytes(), source), _columns(about))  # type: ignore[arg-type]


def _columns(about: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the signature's columns; none where it has none, or one tensor."""
    inputs = (about.get("signature") or {}).get("inputs")
    listed = json.loads(inputs) if inputs else []
    names = [one.get("name") for one in listed if one.get("type") != "tensor"]
    return tuple(map(str, names)) if names and all(names) else ()
