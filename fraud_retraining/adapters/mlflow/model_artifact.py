"""The artifact folder of a fitted model in MLflow: building it, verifying its digest, and reading it back.
 Not here: runs and versions (`adapters/mlflow/registry.py`), and how the
model scores (`serving/scorer.py`, which travels in the folder).
"""

import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from fraud_retraining.adapters.mlflow.environment import scoring_versions
from fraud_retraining.domain.training.estimators.registry import READERS
from fraud_retraining.domain.training.scoring import FittedModel, files_digest
from fraud_retraining.domain.values.errors import IntegrityError

if TYPE_CHECKING:
    import pandas as pd

MODEL = "fraud_model"
PREFIX = f"artifacts/{MODEL}/"
PACKAGE = "package/"
WRITTEN_BY_READERS = "registered_model_meta"
SCORER = "fraud_retraining.serving.scorer"
READER = "fraud_model_reader"
SHIPPED = {
    "__init__": "fraud_retraining",
    "errors": "fraud_retraining.domain.values.errors",
    "values_base": "fraud_retraining.domain.values.base",
    "model_input": "fraud_retraining.domain.training.estimators.model_input",
    "base": "fraud_retraining.domain.training.estimators.base",
    "registry": "fraud_retraining.domain.training.estimators.registry",
    "score_mapping": "fraud_retraining.domain.training.score_mapping",
    "scoring": "fraud_retraining.domain.training.scoring",
}
"""The modules of the reader, by the names that they have inside it."""
ESTIMATOR = "estimator"
"""The module of the reader that holds the model's own estimator."""
SCORING_LIBRARIES = ("mlflow", "numpy", "pandas", "pyarrow", "pydantic")


def read_files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path in there.

    Left out is the note of name and version that MLflow puts into an artifact folder when it loads from it in place.
    """
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in paths.items() if name != WRITTEN_BY_READERS}


def odd_files(folder: Path) -> list[str]:
    """Entries below a folder that are neither a plain file nor a folder, with their kind; no entry is opened."""
    modes = {path: path.lstat().st_mode for path in sorted(folder.rglob("*"))}
    return [
        f"{path.relative_to(folder)} is {'a symbolic link' if stat.S_ISLNK(mode) else 'a pipe, socket or device'}"
        for path, mode in modes.items()
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
    ]


def verified(files: dict[str, bytes], expected: str, what: str) -> dict[str, bytes]:
    """The files, if they are the ones that were recorded.

    Raises:
        IntegrityError: one is missing, added or changed; nothing of them was parsed.
    """
    found = files_digest(files)
    if found != expected:
        raise IntegrityError(
            f"The artifact of {what} is not the one that was recorded; it was not opened.",
            culprits=[f"recorded {expected}", f"found {found} over {len(files)} files"],
            remedy="Roll back to another version, and find out who changed the artifact store.",
        )
    return files


def fitted_model(files: dict[str, bytes]) -> FittedModel:
    """The model inside an artifact whose digest was verified."""
    own = {path.removeprefix(PREFIX): data for path, data in files.items() if path.startswith(PREFIX)}
    return FittedModel.from_files({path: data for path, data in own.items() if not path.startswith(PACKAGE)})


@contextmanager
def built(model: FittedModel, example: pa.Table, **identity: Any) -> Iterator[Path]:
    """The artifact folder of a model, removed afterwards: scorer as code, the model's files, requirements, an example.

    `identity` is what MLflow's `Model` knows itself by (`run_id`, `model_id`, `artifact_path`).
    """
    import mlflow.pyfunc
    from mlflow.models import Model

    rows = _input_example(model, example)
    with TemporaryDirectory(prefix="fraud-model-") as scratch:
        staged, folder = Path(scratch) / MODEL, Path(scratch) / "artifact"
        model.save(staged)
        _ship_reader(staged / PACKAGE / READER, model.estimator)
        mlflow.pyfunc.save_model(
            path=str(folder),
            mlflow_model=Model(**identity),
            # A path: MLflow then keeps source code. It would pickle an object.
            python_model=str(_source(SCORER)),
            artifacts={MODEL: str(staged)},
            model_config={"model_digest": files_digest(read_files(staged))},
            signature=_signature(model),
            input_example=rows,
            pip_requirements=requirements(model.estimator),
        )
        # Saving runs the scorer once; its bytecode depends on the version of Python, and would be part of the digest.
        for cache in list(folder.rglob("__pycache__")):
            shutil.rmtree(cache)
        yield folder


def requirements(estimator: str) -> list[str]:
    """Libraries that a process needs to score, pinned to the installed versions; MLflow's own search takes 9 s."""
    libraries = (*SCORING_LIBRARIES, *READERS[estimator].scoring_libraries)
    return [f"{name}=={version}" for name, version in scoring_versions(libraries).items()]


def _source(module: str) -> Path:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"no source of {module}")
    return Path(spec.origin)


def _ship_reader(target: Path, estimator: str) -> None:
    """The few modules that can read the model, as a package that imports nothing of this one.

    So a model is read by the code that it was judged with, whichever version of this package is installed where it
    serves, or none. None is empty: an empty file is uploaded in chunked form, which not every proxy passes on.
    """
    target.mkdir(parents=True)
    kind = type(READERS[estimator])
    for name, module in {**SHIPPED, ESTIMATOR: kind.__module__}.items():
        source = _source(module).read_text(encoding="utf-8")
        for other, imported in SHIPPED.items():
            source = source.replace(f"from {imported} import ", f"from .{other} import ")
        (target / f"{name}.py").write_text(source or "\n", encoding="utf-8")
    # The registry of the reader knows the model's estimator alone: the files of the others do not travel.
    registry = f"""from .{ESTIMATOR} import {kind.__name__}\n\nREADERS = {{{estimator!r}: {kind.__name__}()}}\n"""
    (target / "registry.py").write_text(registry, encoding="utf-8")


def _input_example(model: FittedModel, example: pa.Table) -> "pd.DataFrame":
    """The feature columns of some rows, in the types of the signature."""
    frame = example.select(list(model.features)).to_pandas()
    return frame.astype({name: "float64" for name in model.features if name not in model.categorical})


def _signature(model: FittedModel) -> Any:
    """Numbers as double and categories as text; the output is one probability."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    kinds = {name: "string" if name in model.categorical else "double" for name in model.features}
    return ModelSignature(
        inputs=Schema([ColSpec(kind, name) for name, kind in kinds.items()]),
        outputs=Schema([ColSpec("double", "fraud_probability")]),
    )
