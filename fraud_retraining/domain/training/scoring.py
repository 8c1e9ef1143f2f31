"""The fitted fraud model: from rows to P(fraud), and from the model to bytes and back.

Here: what production needs to score, and nothing that it does not, because this module travels with each model
(`adapters/mlflow/model_artifact.py`). Not here: fitting (`domain/training/fitting.py`), the estimators
(`domain/training/estimators/`), and where models are kept (`adapters/mlflow/registry.py`).

A model is a handful of named files, none of them pickle: `model.json` holds estimator, features, category
vocabularies, parameters, seed, library versions and the score mapping; beside it is the file of the estimator itself.
`FittedModel.from_files` takes bytes, so that exactly the bytes whose digest was verified are the bytes that are parsed.
"""

import hashlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fraud_retraining.domain.training.estimators.base import Core
from fraud_retraining.domain.training.estimators.model_input import float_columns
from fraud_retraining.domain.training.estimators.registry import READERS
from fraud_retraining.domain.training.score_mapping import ScoreMapping
from fraud_retraining.domain.values.errors import IntegrityError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fraud_retraining.domain.training.estimators.model_input import FloatColumn, Rows

FORMAT = 1
MAPPED_FORMAT = 2
"""The format of a model with a score mapping: who knows of no mapping must not read it as if it had none."""
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
    `mapping` makes its scores mean what those before it meant; None: its scores are those of the estimator.
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
    mapping: ScoreMapping | None = field(default=None, repr=False)

    classes_ = (0, 1)

    def predict(self, batch: "Rows") -> np.ndarray[Any, Any]:
        """The score of each row, float64, in the order of the rows. Categories never seen before are allowed.

        It is P(fraud) as the estimator gives it, through the score mapping where the model has one.

        Takes a record batch, a table or a pandas frame with at least the feature columns; for a million rows at a
        time or many more, feed batches.
        """
        return self.scores_of(float_columns(batch, self.features, self.vocabularies))

    def scores_of(self, columns: "Sequence[FloatColumn]") -> np.ndarray[Any, Any]:
        """The score of each row of columns of numbers, as `model_input.float_columns` makes them."""
        scores = self.core.probability(columns)
        return scores if self.mapping is None else self.mapping(scores)

    @property
    def unmapped(self) -> "FittedModel":
        """The same model without a score mapping."""
        return self if self.mapping is None else replace(self, mapping=None)

    def with_mapping(self, mapping: ScoreMapping | None) -> "FittedModel":
        """The same model with another score mapping."""
        return replace(self, mapping=mapping)

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
        # Without a mapping nothing is added: such a model keeps the bytes, and so the digest, that it always had.
        mapped = {} if self.mapping is None else {"score_mapping": self.mapping.document()}
        return {
            "format": FORMAT if self.mapping is None else MAPPED_FORMAT,
            "estimator": self.estimator,
            "features": list(self.features),
            "categorical": list(self.categorical),
            "vocabularies": {name: list(words) for name, words in self.vocabularies.items()},
            "params": self.params,
            "seed": self.seed,
            "versions": self.versions,
            "facts": self.facts,
            **mapped,
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
            SettingsError: the library of the model's estimator is not installed here.
        """
        try:
            about = json.loads(files[DESCRIPTION])
            if about["format"] not in (FORMAT, MAPPED_FORMAT):
                raise IntegrityError(
                    f"The model has format {about['format']}; this package reads formats {FORMAT} and {MAPPED_FORMAT}.",
                    remedy="Use the package version that the model's requirements name.",
                )
            features = tuple(about["features"])
            core = READERS[about["estimator"]].load(files, features)
            mapped = about["format"] == MAPPED_FORMAT
            mapping = ScoreMapping.from_document(about["score_mapping"]) if mapped else None
        except ModuleNotFoundError as error:
            raise SettingsError(
                f"The model is one of {about['estimator']}, and {error.name} is not installed here.",
                remedy=READERS[about["estimator"]].remedy,
            ) from error
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
            mapping=mapping,
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
