"""The scorer that production loads as `models:/fraud_detector@champion`: feature columns in, `fraud_probability` out.

Here: an MLflow model from code, so that no pickle lies on the way to production. Not here: the arithmetic
(`domain/training/scoring.py`), which travels beside it. This file is run before anything is verified, so it imports
nothing else until the digest of the model's files is the one that was logged.

A caller who has the digest from elsewhere (a ledger, a deployment record) passes it on, and it is the one that counts:
`mlflow.pyfunc.load_model(uri, model_config={"model_digest": "..."})`.
"""

import hashlib
import sys
from contextlib import suppress
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

if TYPE_CHECKING:
    from fraud_retraining.domain.training.scoring import FittedModel

MODEL = "fraud_model"
DIGEST = "model_digest"
OUTPUT = "fraud_probability"
PACKAGE, READER = "package", "fraud_model_reader"


def verified_files(folder: Path, expected: str) -> dict[str, bytes]:
    """Every file of a folder, by its path in there.

    Raises:
        MlflowException: the files are not those whose digest is expected; nothing of them was parsed.
    """
    # What is verified is what is opened: these bytes are passed on, and no file is read a second time.
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    lines = (f"{hashlib.sha256(files[path]).hexdigest()}  {path}\n" for path in sorted(files))
    found = hashlib.sha256("".join(lines).encode()).hexdigest()
    if found != expected:
        raise MlflowException(
            f"The files of the fraud model have the digest {found}, not {expected}: they were changed or arrived "
            "incomplete, and are not opened. Download the model again; if it stays so, serve another version."
        )
    return files


def _fitted_model_type(folder: Path, digest: str) -> "type[FittedModel]":
    """The reader that was verified with the model.

    Its name holds the digest, so that models of different times can be open in one process, and nothing that is
    compiled is left among the verified files.
    """
    name, where = f"{READER}_{digest[:16]}", folder / PACKAGE / READER
    # A .pyc beside the sources would change the digest of the folder that was just verified.
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        if name not in sys.modules:
            spec = spec_from_file_location(name, where / "__init__.py", submodule_search_locations=[str(where)])
            assert spec is not None and spec.loader is not None
            sys.modules[name] = module_from_spec(spec)
            spec.loader.exec_module(sys.modules[name])
        found: type[FittedModel] = import_module(f"{name}.scoring").FittedModel
    finally:
        sys.dont_write_bytecode = before
    return found


class FraudScorer(PythonModel):
    """P(fraud) of each row of a frame that holds the model's feature columns."""

    def load_context(self, context: PythonModelContext) -> None:
        """Verify, then open."""
        folder, digest = Path(context.artifacts[MODEL]), context.model_config[DIGEST]
        files = verified_files(folder, digest)
        own = {path: data for path, data in files.items() if not path.startswith(f"{PACKAGE}/")}
        self._model = _fitted_model_type(folder, digest).from_files(own)

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """One column, `fraud_probability`, under the index of the input."""
        return pd.DataFrame({OUTPUT: self._model.predict(model_input)}, index=model_input.index)


def _leave_no_trace(compiled: str | None) -> None:
    """Remove this file's compiled form, which Python writes beside it: among the files of a recorded artifact."""
    if compiled is not None:
        with suppress(OSError):
            Path(compiled).unlink(missing_ok=True)


set_model(FraudScorer())
_leave_no_trace(globals().get("__cached__"))
