"""The fitted fraud model: from rows to P(fraud), and from the model to bytes and back.

Here: what production needs to score, and nothing that it does not, because this module travels with each model
(`adapters/mlflow/model_artifact.py`). Not here: fitting (`domain/training/fitting.py`), the estimators
(`domain/training/estimators/`), and where models are kept (`adapters/mlflow/registry.py`).

A model is a handful of named files, none of them pickle: `model.json` holds estimator, features, category
vocabularies, parameters, seed and library versions; beside it is the file of the estimator itself.
`FittedModel.from_files` takes bytes, so that exactly the bytes whose digest was verified are the bytes that are parsed.
"""

import hashlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fraud_retraining.domain.training.estimators.base import Core
from fraud_retraining.domain.training.estimators.model_input import float_columns
from fraud_retraining.domain.training.estimators.registry import ESTIMATORS
from fraud_retraining.domain.values.errors import IntegrityError

if TYPE_CHECKING:
    from fraud_retraining.domain.training.estimators.model_input import Rows

FORMAT = 1
DESCRIPTION = "model.json"


def files_digest(files: Mapping[str, bytes]) -> str:
    """SHA-256 over the paths and bytes of some files.

    In their folder, `find * -type f | LC_ALL=C sort | xargs sha256sum | sha256sum` says the same.
    """
    lines = (f"{hashlib.sha256(files[path]).hexdigest()}  {path}\n" for path in sorted(files))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class FittedModel:
    """A fitted model: its features, how it was fitted, and its scores.

    `facts` are numbers about the fit (rows, frauds, sum of weights, constant features); they decide nothing.
    """

    estimator: str
    features: tuple[str, ...]
    categorical: tuple[str, ...]
    core: Core = field(repr=False)
    vocabularies: dict[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    params: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    versions: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    classes_ = (0, 1)

    def predict(self, batch: "Rows") -> np.ndarray[Any, Any]:
        """P(fraud) of each row, float64, in the order of the rows. Categories never seen before are allowed.

        Takes a record batch, a table or a pandas frame with at least the feature columns; for a million rows at a
        time or many more, feed batches.
        """
        return self.core.probability(float_columns(batch, self.features, self.vocabularies))

    def predict_proba(self, batch: "Rows") -> np.ndarray[Any, Any]:
        """scikit-learn's form of `predict`: one column for "no fraud", one for "fraud"."""
        fraud = self.predict(batch)
        return np.column_stack([1.0 - fraud, fraud])

    def importance(self) -> dict[str, float]:
        """Share of each feature, greatest first; sums to 1, or is 0 everywhere when the model uses no feature."""
        values = self.core.importance()
        total = sum(values)
        shares = {name: value / total if total > 0 else 0.0 for name, value in zip(self.features, values, strict=True)}
        return dict(sorted(shares.items(), key=lambda item: (-item[1], item[0])))

    @cached_property
    def description(self) -> dict[str, Any]:
        """What `model.json` says."""
        return {
            "format": FORMAT,
            "estimator": self.estimator,
            "features": list(self.features),
            "categorical": list(self.categorical),
            "vocabularies": {name: list(words) for name, words in self.vocabularies.items()},
            "params": self.params,
            "seed": self.seed,
            "versions": self.versions,
            "facts": self.facts,
        }

    def files(self) -> dict[str, bytes]:
        """The model as named bytes."""
        # The digest of the files is recorded: the same model has to give the same bytes.
        text = json.dumps(self.description, indent=1, sort_keys=True, ensure_ascii=False)
        return {DESCRIPTION: text.encode(), **self.core.files()}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> "FittedModel":
        """The model that `files` gave.

        Raises:
            IntegrityError: a file is absent or unreadable, or was written by a newer version of this package.
        """
        try:
            about = json.loads(files[DESCRIPTION])
            if about["format"] != FORMAT:
                raise IntegrityError(
                    f"The model has format {about['format']}; this package reads format {FORMAT}.",
                    remedy="Use the package version that the model's requirements name.",
                )
            features = tuple(about["features"])
            core = ESTIMATORS[about["estimator"]].load(files, features)
        except (KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
            raise IntegrityError("The files are not a fitted model.", culprits=[*sorted(files), repr(error)]) from error
        return cls(
            estimator=about["estimator"],
            features=features,
            categorical=tuple(about["categorical"]),
            core=core,
            vocabularies={name: tuple(words) for name, words in about["vocabularies"].items()},
            params=about["params"],
            seed=about["seed"],
            versions=about["versions"],
            facts=about["facts"],
        )

    def save(self, folder: Path) -> None:
        """Write the model's files into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in self.files().items():
            (folder / name).write_bytes(data)

    @classmethod
    def load(cls, folder: Path) -> "FittedModel":
        """Read the model's files from a folder whose digest the caller has verified."""
        # Read once into memory: what was verified is what is parsed, even if the folder changes.
        return cls.from_files({path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()})
