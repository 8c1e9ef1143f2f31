"""What an estimator is: parameters, a fit over blocks of rows, and a fitted core that scores, is explained and saved.

Each estimator is one file beside this one and one row in `registry.py`. This module and the file of the estimator
travel with each model (`adapters/mlflow/model_artifact.py`): of this package they import only what travels with them
(`model_input`, `values.base`, `values.errors`), and heavy libraries inside functions.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeAlias, TypeVar

import numpy as np

from fraud_retraining.domain.training.estimators.model_input import FloatColumn
from fraud_retraining.domain.values.base import Policy

OnRound: TypeAlias = Callable[[int, int], None]
Matrix: TypeAlias = np.ndarray[Any, Any]
ContributionMethod: TypeAlias = Literal["shap", "linear", "permutation"]
Parameters = TypeVar("Parameters", bound=Policy)

MAX_CATEGORIES = 253
SMALLEST = 1e-9


@dataclass(frozen=True)
class Block:
    """Some training rows as numbers."""

    columns: list[FloatColumn]
    label: FloatColumn
    weight: FloatColumn

    @property
    def nbytes(self) -> int:
        """The memory of its numbers."""
        return sum(column.nbytes for column in (*self.columns, self.label, self.weight))


class Blocks(Protocol):
    """The training rows as blocks of numbers. Each pass over them gives the same blocks."""

    features: tuple[str, ...]
    words: dict[str, tuple[str, ...]]
    """Vocabulary of each categorical feature."""

    def __iter__(self) -> Iterator[Block]:
        """One pass, block after block."""

    def in_memory(self, dtype: Any) -> tuple[Matrix, Matrix, Matrix]:
        """The whole matrix (rows x features), the labels and the weights."""


@dataclass(frozen=True)
class FitOptions:
    """What steers a fit beside its parameters.

    `on_round` is called after each round with (rounds done, rounds in all); what it raises ends the fit.
    """

    seed: int
    threads: int
    on_round: OnRound


class Core(Protocol):
    """A fitted estimator that knows neither names nor categories, only columns of numbers."""

    contribution_method: ClassVar[ContributionMethod]

    def probability(self, columns: Sequence[FloatColumn]) -> Matrix:
        """P(fraud) per row, float64."""

    def importance(self) -> list[float]:
        """Importance per feature, in any unit."""

    def contributions(self, columns: Sequence[FloatColumn], seed: int) -> Matrix:
        """What each feature (column) adds to the log-odds of each row."""

    def files(self) -> dict[str, bytes]:
        """The estimator as files that are not executable: no pickle."""


class Reader(ABC):
    """One format of fitted models: how its files become a core that scores."""

    kind: ClassVar[str]
    """Its kind in Dagster's catalogue of assets."""
    scoring_libraries: ClassVar[tuple[str, ...]]
    """Distributions that score needs beside numpy, pandas and pyarrow: requirements of the model's artifact."""
    extra: ClassVar[str | None] = None
    """The extra of this package that brings its libraries; None: they come with the package."""

    @property
    def remedy(self) -> str:
        """What to do where a library of its own is missing."""
        if self.extra is None:
            return "Install the requirements of the model."
        return f'Install the extra: pip install "fraud-retraining[{self.extra}]"'

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """Versions of the libraries that fit and score, as the model records them."""

    @abstractmethod
    def load(self, files: Mapping[str, bytes], features: tuple[str, ...]) -> Core:
        """The core that `Core.files` gave.

        Raises:
            KeyError, TypeError, ValueError or zipfile.BadZipFile: a file is absent or unreadable.
            ModuleNotFoundError: its library is not installed.
        """


class Estimator(Reader, Generic[Parameters]):
    """One way to fit a model, with all that the project has to know of it."""

    parameters: type[Parameters]
    """Its parameters, a closed policy with bounds; the defaults are the shipped ones."""
    fitting_libraries: ClassVar[tuple[str, ...]]
    """Distributions whose versions determine the fit: part of the fingerprint."""

    def max_categories(self, parameters: Parameters) -> int:
        """Most categories that a vocabulary may hold; rarer ones count as `other`."""
        return MAX_CATEGORIES

    @abstractmethod
    def fit(self, parameters: Parameters, blocks: Blocks, options: FitOptions) -> Core:
        """The core that rows, parameters and seed determine, bit for bit."""


def permuted(core: Core, columns: Sequence[FloatColumn], seed: int) -> Matrix:
    """Contributions of an estimator that has no exact ones: the change of the log-odds when a feature is shuffled."""
    unchanged = log_odds(core.probability(columns))
    # One order for all features, so that their effects differ by the feature alone.
    order = np.random.default_rng(seed).permutation(len(unchanged))
    effects = np.zeros((len(unchanged), len(columns)))
    for position, column in enumerate(columns):
        shuffled = [*columns[:position], column[order], *columns[position + 1 :]]
        effects[:, position] = unchanged - log_odds(core.probability(shuffled))
    return effects


def log_odds(scores: Matrix) -> Matrix:
    """Log-odds of probabilities; 0 and 1 are moved in by a little, so that all are finite."""
    # A tree of few rows can give exactly 0 or 1, whose log-odds are infinite.
    kept = np.clip(scores, SMALLEST, 1 - SMALLEST)
    return np.asarray(np.log(kept / (1 - kept)), np.float64)
