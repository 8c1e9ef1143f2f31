"""CatBoost: gradient boosting of symmetric trees, saved in CatBoost's own binary format (CBM).

CatBoost holds the window in memory. It learns from categories as they are, by ordered target statistics: the number of
categories is not bounded by the bins of a histogram.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from fraud_retraining.domain.training.estimators.base import (
    Blocks,
    ContributionMethod,
    Core,
    Estimator,
    FitOptions,
    Matrix,
    OnRound,
)
from fraud_retraining.domain.training.estimators.model_input import FloatColumn, stack_into, stacked
from fraud_retraining.domain.values.base import Policy
from fraud_retraining.domain.values.errors import DataInvalid

FILE = "model.cbm"

THREADS_FROM = 4096
"""Rows from which scoring uses every core."""

MAX_WORDS = 10_000
"""Most categories of a feature: `model.json` carries their texts."""
NUMBER, CATEGORY = "n", "c"
"""First letters of the names that features have in CatBoost; the rest is the feature's position."""

_THREADS = re.compile(r'"thread_count":-?\d+')


class CatBoostParams(Policy):
    """Parameters of CatBoost by its own names, with the shipped defaults.

    Boosting is plain, in the order of the rows that CatBoost draws from the seed.
    """

    iterations: int = Field(300, ge=1, le=10_000, description="Boosting rounds.")
    learning_rate: float = Field(0.08, gt=0, le=1, description="Shrinkage of each tree.")
    depth: int = Field(6, ge=1, le=16, description="Depth of each tree.")
    grow_policy: Literal["SymmetricTree", "Depthwise", "Lossguide"] = Field(
        "SymmetricTree", description="How a tree grows; symmetric ones are scored fastest."
    )
    max_leaves: int | None = Field(None, ge=2, le=65_536, description="Most leaves of a tree; for Lossguide only.")
    min_data_in_leaf: int | None = Field(None, ge=1, description="Least rows in a leaf; not for SymmetricTree.")
    l2_leaf_reg: float = Field(5.0, ge=0, description="L2 penalty on leaf values.")
    subsample: float = Field(0.8, gt=0, le=1, description="Share of rows per tree.")
    rsm: float = Field(0.4, gt=0, le=1, description="Share of features per split.")
    random_strength: float = Field(1.0, ge=0, description="Noise in the choice of splits.")
    border_count: int = Field(254, ge=1, le=65_535, description="Borders per feature.")
    one_hot_max_size: int = Field(4, ge=2, le=255, description="Categories up to which a split takes one of them.")
    max_ctr_complexity: int = Field(2, ge=1, le=8, description="Most categorical features that are combined.")
    scale_pos_weight: float = Field(1.0, gt=0, description="Weight of frauds; other than 1 it distorts probabilities.")

    @model_validator(mode="after")
    def _fits_the_growth(self) -> Self:
        if self.max_leaves is not None and self.grow_policy != "Lossguide":
            raise ValueError(f"max_leaves is for grow_policy Lossguide, not for {self.grow_policy}")
        if self.min_data_in_leaf is not None and self.grow_policy == "SymmetricTree":
            raise ValueError("min_data_in_leaf is for grow_policy Depthwise or Lossguide, not for SymmetricTree")
        return self


@dataclass(frozen=True)
class CatBoostCore:
    """CatBoost trees. Importance is how much the scores change on average when a feature does."""

    trees: Any
    data: bytes = field(repr=False)
    """What the trees were read from: the file has a digest."""
    contribution_method: ClassVar[ContributionMethod] = "shap"

    def probability(self, columns: Sequence[FloatColumn]) -> Matrix:
        """P(fraud) per row."""
        if not len(columns[0]):
            return np.empty(0)
        rows = self._layout.pool(columns)
        both = self.trees.predict(rows, prediction_type="Probability", thread_count=_threads(columns))
        return np.asarray(both[:, 1], np.float64)

    def importance(self) -> list[float]:
        """Mean change of the score per feature, in percent of all changes."""
        changes = np.asarray(self.trees.get_feature_importance(type="PredictionValuesChange", thread_count=1))
        return [float(value) for value in changes[self._layout.places]]

    def contributions(self, columns: Sequence[FloatColumn], seed: int) -> Matrix:
        """SHAP values of CatBoost's trees.

        Lundberg et al. 2018, "Consistent Individualized Feature Attribution for Tree Ensembles", arXiv:1802.03888.
        """
        if not len(columns[0]):
            return np.empty((0, len(columns)))
        rows = self._layout.pool(columns)
        effects = self.trees.get_feature_importance(data=rows, type="ShapValues", thread_count=_threads(columns))
        # The last column is the base value, the same for every row.
        return np.asarray(effects, np.float64)[:, self._layout.places]

    @cached_property
    def _layout(self) -> "_Layout":
        return _Layout.of_names(self.trees.feature_names_)

    def files(self) -> dict[str, bytes]:
        """CBM, CatBoost's own format."""
        return {FILE: self.data}


class CatBoost(Estimator[CatBoostParams]):
    """Symmetric trees, fitted on the whole window in float32."""

    parameters = CatBoostParams
    kind = "catboost"
    fitting_libraries = ("catboost",)
    scoring_libraries = ("catboost",)
    extra = "catboost"

    def max_categories(self, parameters: CatBoostParams) -> int:
        """What a model can carry as texts; nothing in the trees bounds them."""
        return MAX_WORDS

    def fit(self, parameters: CatBoostParams, blocks: Blocks, options: FitOptions) -> Core:
        """The trees that rows, parameters and seed determine."""
        import catboost

        given = {name: value for name, value in parameters.model_dump().items() if value is not None}
        # CatBoost refuses a share of rows together with no sampling.
        sampled = {"bootstrap_type": "Bernoulli"} if parameters.subsample < 1 else {"bootstrap_type": "No"}
        if parameters.subsample == 1:
            del given["subsample"]
        trees = catboost.CatBoost(
            {
                **given,
                **sampled,
                "loss_function": "Logloss",
                "boosting_type": "Plain",
                "boost_from_average": True,
                "random_seed": options.seed,
                "thread_count": options.threads or -1,
                # Else it writes a folder `catboost_info` where the process runs, and its rounds on stdout.
                "allow_writing_files": False,
                "logging_level": "Silent",
            }
        )
        rounds = _RoundCallback(parameters.iterations, options.on_round)
        try:
            trees.fit(_window(blocks), callbacks=[rounds])
        except catboost.CatBoostError as error:
            if rounds.raised is not None:
                raise rounds.raised from None
            raise DataInvalid(
                "CatBoost cannot learn from the training rows.",
                culprits=[str(error)[:500]],
                remedy="Widen the window, or change what it names in model.params.",
            ) from error
        # A private method: the public one writes files only. A test notices when it moves.
        return _read(_same_each_time(trees)._serialize_model())

    def versions(self) -> dict[str, str]:
        """Version of CatBoost."""
        import catboost

        return {"catboost": catboost.__version__}

    def load(self, files: Mapping[str, bytes], features: tuple[str, ...]) -> Core:
        """Read CBM natively."""
        import catboost

        try:
            return _read(files[FILE])
        except catboost.CatBoostError as error:
            raise ValueError(f"CatBoost cannot read {FILE}: {error}") from error


def _read(data: bytes) -> CatBoostCore:
    import catboost

    # Read back at once, so that a fitted model and a loaded one cannot differ.
    return CatBoostCore(catboost.CatBoost().load_model(blob=data), data)


def _same_each_time(trees: Any) -> Any:
    """The trees without what differs between two equal fits: when, under which name, and on how many threads."""
    about = trees.get_metadata()
    for name in ("train_finish_time", "model_guid"):
        about[name] = ""
    about["params"] = _THREADS.sub('"thread_count":0', about["params"])
    return trees


def _threads(columns: Sequence[FloatColumn]) -> int:
    return 1 if len(columns[0]) < THREADS_FROM else -1


@dataclass(frozen=True)
class _Layout:
    """The features as CatBoost takes them: numbers as one matrix, categories as texts of their codes behind it."""

    numeric: tuple[int, ...]
    categorical: tuple[int, ...]

    @classmethod
    def of(cls, blocks: Blocks) -> Self:
        """The layout of training rows."""
        places = {name: place for place, name in enumerate(blocks.features)}
        return cls(
            tuple(place for name, place in places.items() if name not in blocks.words),
            tuple(place for name, place in places.items() if name in blocks.words),
        )

    @classmethod
    def of_names(cls, names: Sequence[str]) -> Self:
        """The layout that features were given names by."""
        kinds = {
            kind: tuple(int(name.removeprefix(kind)) for name in names if name.startswith(kind))
            for kind in (NUMBER, CATEGORY)
        }
        return cls(kinds[NUMBER], kinds[CATEGORY])

    @property
    def places(self) -> list[int]:
        """Where CatBoost has each feature of the model."""
        order = [*self.numeric, *self.categorical]
        return [order.index(place) for place in range(len(order))]

    def pool(self, columns: Sequence[FloatColumn]) -> Any:
        """Rows to score."""
        return self.pool_of(stacked([columns[place] for place in self.numeric]), self.texts(columns))

    def texts(self, columns: Sequence[FloatColumn]) -> Matrix:
        """The categories of some rows as texts of their codes."""
        found = np.empty((len(columns[0]), len(self.categorical)), object)
        for position, place in enumerate(self.categorical):
            codes = columns[place].astype(np.int64)
            found[:, position] = _code_texts(int(codes.max(initial=0)))[codes]
        return found

    def pool_of(self, numbers: Matrix, texts: Matrix, **rest: Any) -> Any:
        """Numbers (rows x numeric features, float32) and texts (rows x categories) as CatBoost's rows."""
        from catboost import FeaturesData, Pool

        given: dict[str, Any] = {}
        if self.numeric:
            names = [f"{NUMBER}{place}" for place in self.numeric]
            given |= {"num_feature_data": numbers, "num_feature_names": names}
        if self.categorical:
            names = [f"{CATEGORY}{place}" for place in self.categorical]
            given |= {"cat_feature_data": texts, "cat_feature_names": names}
        return Pool(FeaturesData(**given), **rest)


@lru_cache(maxsize=8)
def _code_texts(greatest: int) -> Matrix:
    return np.array([b"%d" % code for code in range(greatest + 1)], object)


def _window(blocks: Blocks) -> Any:
    """The whole window: a pass for labels and weights, and one that fills memory of their length."""
    layout = _Layout.of(blocks)
    # Labels first: growing the matrix while reading would need twice its memory.
    parts = [(block.label, block.weight) for block in blocks]
    label, weight = np.concatenate([label for label, _ in parts]), np.concatenate([weight for _, weight in parts])
    numbers = np.empty((len(label), len(layout.numeric)), np.float32)
    texts = np.empty((len(label), len(layout.categorical)), object)
    first = 0
    for block in blocks:
        last = first + len(block.label)
        stack_into(numbers[first:last], [block.columns[place] for place in layout.numeric])
        texts[first:last] = layout.texts(block.columns)
        first = last
    return layout.pool_of(numbers, texts, label=label, weight=weight)


class _RoundCallback:
    """Reports each round, and keeps what the report raised: CatBoost puts an error of its own in its place."""

    def __init__(self, rounds: int, on_round: OnRound) -> None:
        self.rounds, self.on_round = rounds, on_round
        self.raised: BaseException | None = None

    def after_iteration(self, info: Any) -> bool:
        """True: go on."""
        try:
            self.on_round(info.iteration, self.rounds)
        except BaseException as error:
            self.raised = error
            raise
        return True
