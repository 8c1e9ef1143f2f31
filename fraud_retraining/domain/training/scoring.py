"""The fitted fraud model: from rows to P(fraud), and from the model to bytes and back.

Here: everything that production needs to score, and nothing that it does not, so that this module and `errors.py`
travel with the model. Not here: fitting (`domain/training/fitting.py`), where models are kept
(`adapters/mlflow/registry.py`).

A model is a handful of named files, none of them pickle: `model.json` says which estimator, features, category
vocabularies, parameters, seed and library versions; beside it lies the estimator itself, `model.ubj` (XGBoost's own
format), `coefficients.json` (logistic regression) or `model.skops` (histogram gradient boosting, opened with a
closed list of trusted types). `FittedModel.from_files` takes bytes, so that exactly the bytes whose digest was
verified are the bytes that are parsed.
"""

import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fraud_retraining.domain.values.errors import DataInvalid, IntegrityError

if TYPE_CHECKING:
    import pandas as pd

    Rows: TypeAlias = "pa.RecordBatch | pa.Table | pd.DataFrame"

FORMAT = 1
DESCRIPTION = "model.json"
OTHER, MISSING, FIRST_CATEGORY = 0, 1, 2
TRUSTED_TYPES = (
    "functools.partial",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.utils.validation.check_array",
)

FloatColumn: TypeAlias = np.ndarray[tuple[int], np.dtype[np.float32]]


# ---------------------------------------------------------------- rows to float32 columns


def float_columns(
    rows: "Rows", features: Sequence[str], vocabularies: Mapping[str, Sequence[str]]
) -> list[FloatColumn]:
    """One float32 column per feature, in the model's order; categories become codes of their vocabulary.

    Raises:
        DataInvalid: a column is absent, is not numeric, or holds an infinite value (or one beyond float32).
    """
    table = _table(rows, features)
    return [
        category_codes(table.column(name), vocabularies[name]) if name in vocabularies else _numbers(table, name)
        for name in features
    ]


def _table(rows: "Rows", features: Sequence[str]) -> pa.Table:
    names = rows.schema.names if isinstance(rows, pa.RecordBatch | pa.Table) else [str(name) for name in rows.columns]
    missing = [name for name in features if name not in names]
    if missing:
        raise DataInvalid(
            "The rows lack features of the model.", culprits=missing, remedy="Give every feature column by its name."
        )
    if isinstance(rows, pa.Table):
        return rows
    if isinstance(rows, pa.RecordBatch):
        return pa.Table.from_batches([rows])
    return pa.Table.from_pandas(rows[list(features)], preserve_index=False)


def _numbers(table: pa.Table, name: str) -> FloatColumn:
    column = table.column(name)
    try:
        floats = column if column.type == pa.float32() else column.cast(pa.float32(), safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataInvalid(f"Feature {name} is {column.type}, not a number.", culprits=[name]) from error
    values = floats.to_numpy()
    if np.isinf(values).any():
        raise DataInvalid(
            f"Feature {name} holds an infinite value or one too large for float32.",
            culprits=[name],
            remedy="Correct or reject those rows; a missing number (null, NaN) is allowed.",
        )
    return cast(FloatColumn, values)


def category_texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Categories as text, however they are stored; a whole number that went through float is the same category."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return category_texts(column.cast(kind.value_type))
    if pa.types.is_floating(kind):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, kind), column)
        column = column.cast(pa.int64()) if _whole(column) else column
    return column.cast(pa.string())


def _whole(column: pa.ChunkedArray) -> bool:
    values = column.drop_null().to_numpy()
    return bool((np.abs(values) < 2**53).all() and (values == np.trunc(values)).all())


def category_codes(column: pa.ChunkedArray, vocabulary: Sequence[str]) -> FloatColumn:
    """Codes of a categorical column: 0 other, rare or never seen; 1 missing; from 2 on the vocabulary in its order."""
    texts = category_texts(column)
    position = pc.index_in(texts, value_set=pa.array(vocabulary, pa.string()))
    codes = pc.fill_null(pc.add(position, FIRST_CATEGORY), OTHER)
    codes = pc.if_else(pc.is_null(texts), MISSING, codes)
    return cast(FloatColumn, codes.cast(pa.float32()).to_numpy())


def stacked(columns: Sequence[FloatColumn], dtype: Any = np.float32) -> np.ndarray[Any, Any]:
    """Columns side by side as one matrix."""
    matrix = np.empty((len(columns[0]) if columns else 0, len(columns)), dtype)
    for position, column in enumerate(columns):
        matrix[:, position] = column
    return matrix


# ---------------------------------------------------------------- the three estimators, fitted


class Core(Protocol):
    """A fitted estimator that knows neither names nor categories, only columns of numbers."""

    def probability(self, columns: Sequence[FloatColumn]) -> np.ndarray[Any, Any]:
        """P(fraud) per row."""

    def importance(self) -> list[float]:
        """Importance per feature, in any unit."""

    def files(self) -> dict[str, bytes]:
        """The estimator as files that are not executable."""


@dataclass(frozen=True)
class BoosterCore:
    """XGBoost trees. Importance is total gain: how much of the loss reduction came from splits on the feature."""

    booster: Any
    features: tuple[str, ...]

    def probability(self, columns: Sequence[FloatColumn]) -> np.ndarray[Any, Any]:
        """P(fraud) straight from the columns, without a copy of the rows."""
        if not len(columns[0]):
            return np.empty(0)
        table = pa.Table.from_arrays([pa.array(column) for column in columns], names=list(self.features))
        return np.asarray(self.booster.inplace_predict(table, validate_features=False), np.float64)

    def importance(self) -> list[float]:
        """Total gain per feature."""
        gain = self.booster.get_score(importance_type="total_gain")
        return [float(gain.get(name, 0.0)) for name in self.features]

    def files(self) -> dict[str, bytes]:
        """UBJ, XGBoost's own format."""
        return {"model.ubj": bytes(self.booster.save_raw("ubj"))}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], features: tuple[str, ...]) -> "BoosterCore":
        """Read UBJ natively."""
        import xgboost

        booster = xgboost.Booster()
        booster.load_model(bytearray(files["model.ubj"]))
        return cls(booster, features)


@dataclass(frozen=True)
class HistogramCore:
    """scikit-learn's histogram gradient boosting.

    Importance is the gain summed over the splits of all trees: free, and the same measure as XGBoost's. (Permutation
    importance would be unbiased towards many-valued features, but costs a prediction per feature and repeat.)
    """

    classifier: Any

    def probability(self, columns: Sequence[FloatColumn]) -> np.ndarray[Any, Any]:
        """P(fraud) per row."""
        if not len(columns[0]):
            return np.empty(0)
        return np.asarray(self.classifier.predict_proba(stacked(columns, np.float64))[:, 1], np.float64)

    def importance(self) -> list[float]:
        """Gain per feature, summed over every split."""
        total = np.zeros(self.classifier.n_features_in_)
        for (tree,) in self.classifier._predictors:
            splits = tree.nodes[tree.nodes["is_leaf"] == 0]
            np.add.at(total, self._original(splits["feature_idx"]), splits["gain"])
        return [float(value) for value in total]

    def _original(self, positions: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Undo scikit-learn's re-ordering, which moves categorical columns to the front."""
        categorical = self.classifier.is_categorical_
        if categorical is None:
            return positions
        return np.concatenate([np.flatnonzero(categorical), np.flatnonzero(~categorical)])[positions]

    def files(self) -> dict[str, bytes]:
        """skops: scikit-learn objects without pickle."""
        import skops.io

        return {"model.skops": skops.io.dumps(self.classifier)}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], features: tuple[str, ...]) -> "HistogramCore":
        """Read skops, refusing every type that is not on the closed list."""
        import skops.io

        return cls(skops.io.loads(files["model.skops"], trusted=list(TRUSTED_TYPES)))


@dataclass(frozen=True)
class LogisticCore:
    """Logistic regression on standardised numbers and one-hot categories, as plain coefficients.

    `median`, `mean` and `scale` were learnt once, from the training rows; scoring never re-fits them. Importance of a
    feature is the standard deviation of its contribution to the log-odds over the training rows.
    """

    intercept: float
    numeric: dict[int, dict[str, float]]
    categorical: dict[int, dict[str, list[float]]]

    def probability(self, columns: Sequence[FloatColumn]) -> np.ndarray[Any, Any]:
        """P(fraud) per row."""
        odds = np.full(len(columns[0]), self.intercept)
        for position, term in self.numeric.items():
            values = np.where(np.isnan(columns[position]), term["median"], columns[position])
            odds += (values - term["mean"]) / term["scale"] * term["coefficient"]
        for position, levels in self.categorical.items():
            odds += np.asarray(levels["coefficients"])[columns[position].astype(np.intp)]
        return _sigmoid(odds)

    def importance(self) -> list[float]:
        """Standard deviation of each feature's contribution."""
        spread = {position: abs(term["coefficient"]) for position, term in self.numeric.items()}
        for position, levels in self.categorical.items():
            share, weight = np.asarray(levels["shares"]), np.asarray(levels["coefficients"])
            spread[position] = float(np.sqrt(share @ (weight - share @ weight) ** 2))
        return [spread[position] for position in sorted(spread)]

    def files(self) -> dict[str, bytes]:
        """Coefficients as JSON."""
        terms = {"intercept": self.intercept, "numeric": self.numeric, "categorical": self.categorical}
        return {"coefficients.json": json.dumps(terms, indent=1).encode()}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], features: tuple[str, ...]) -> "LogisticCore":
        """Read the coefficients."""
        terms = json.loads(files["coefficients.json"])
        return cls(
            terms["intercept"],
            {int(position): term for position, term in terms["numeric"].items()},
            {int(position): levels for position, levels in terms["categorical"].items()},
        )


def _sigmoid(odds: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * odds)), np.float64)


CORES: dict[str, type[BoosterCore] | type[HistogramCore] | type[LogisticCore]] = {
    "xgboost": BoosterCore,
    "hist_gradient_boosting": HistogramCore,
    "logistic_regression": LogisticCore,
}


# ---------------------------------------------------------------- the model


def files_digest(files: Mapping[str, bytes]) -> str:
    """SHA-256 over the paths and bytes of some files.

    In their folder, `find * -type f | LC_ALL=C sort | xargs sha256sum | sha256sum` says the same.
    """
    lines = (f"{hashlib.sha256(files[path]).hexdigest()}  {path}\n" for path in sorted(files))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class FittedModel:
    """A fitted model: what it reads, how it was fitted, and what it answers.

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
            core = CORES[about["estimator"]].from_files(files, features)
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
        return cls.from_files({path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()})
