"""LightGBM: gradient-boosted trees that stream any number of rows, saved in LightGBM's own text format.

LightGBM holds the rows as bin numbers (a byte a value), with label and weight; the float matrix is never held.
"""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from fraud_retraining.domain.training.estimators.base import (
    Block,
    Blocks,
    ContributionMethod,
    Core,
    Estimator,
    FitOptions,
    Matrix,
    OnRound,
)
from fraud_retraining.domain.training.estimators.model_input import FloatColumn, stacked
from fraud_retraining.domain.values.base import Policy

FILE = "model.txt"
LOG = logging.getLogger("fraud_retraining.lightgbm")

PUSHED_ROWS = 1 << 15
"""Rows that LightGBM is given at a time."""
THREADS_FROM = 4096
"""Rows from which scoring uses every core: for fewer, waking the threads takes longer than the trees."""

_THREADS = re.compile(r"^\[num_threads: -?\d+\]$", re.MULTILINE)


class LightGBMParams(Policy):
    """Parameters of LightGBM by its own names, with the shipped defaults."""

    num_iterations: int = Field(200, ge=1, le=10_000, description="Boosting rounds.")
    learning_rate: float = Field(0.05, gt=0, le=1, description="Shrinkage of each tree.")
    num_leaves: int = Field(31, ge=2, le=131_072, description="Most leaves of a tree.")
    max_depth: int = Field(-1, ge=-1, le=64, description="Depth of each tree; -1 is no limit.")
    max_bin: int = Field(255, ge=2, le=65_535, description="Histogram bins per feature.")
    bin_construct_sample_cnt: int = Field(200_000, ge=1, description="Rows that the bins are found from.")
    min_data_in_leaf: int = Field(50, ge=1, description="Least rows in a leaf.")
    min_sum_hessian_in_leaf: float = Field(1.0, ge=0, description="Least sum of hessians in a leaf.")
    bagging_fraction: float = Field(0.8, gt=0, le=1, description="Share of rows per tree.")
    bagging_freq: int = Field(1, ge=0, description="Rounds after which rows are drawn again; 0 draws none.")
    feature_fraction: float = Field(0.4, gt=0, le=1, description="Share of features per tree.")
    feature_fraction_bynode: float = Field(1.0, gt=0, le=1, description="Share of a tree's features per split.")
    min_gain_to_split: float = Field(0.0, ge=0, description="Least loss reduction of a split.")
    lambda_l1: float = Field(0.0, ge=0, description="L1 penalty on leaf values.")
    lambda_l2: float = Field(5.0, ge=0, description="L2 penalty on leaf values.")
    max_delta_step: float = Field(0.0, ge=0, description="Most that one leaf may move the log-odds; 0 is no limit.")
    path_smooth: float = Field(0.0, ge=0, description="How far a leaf is drawn towards its parent.")
    extra_trees: bool = Field(False, description="One random threshold per feature and split.")
    scale_pos_weight: float = Field(1.0, gt=0, description="Weight of frauds; other than 1 it distorts probabilities.")
    max_cat_to_onehot: int = Field(4, ge=1, description="Categories up to which a split takes one against the rest.")
    max_cat_threshold: int = Field(64, ge=1, description="Most categories on one side of a split.")
    cat_smooth: float = Field(10.0, ge=0, description="How far a rare category is drawn towards the others.")
    cat_l2: float = Field(10.0, ge=0, description="L2 penalty on splits of categories.")


@dataclass(frozen=True)
class LightGBMCore:
    """LightGBM trees. Importance is total gain: how much of the loss reduction came from splits on the feature."""

    booster: Any
    text: str = field(repr=False)
    """What the booster was read from. LightGBM would write it otherwise once it was read, and it has a digest."""
    contribution_method: ClassVar[ContributionMethod] = "shap"

    def probability(self, columns: Sequence[FloatColumn]) -> Matrix:
        """P(fraud) per row."""
        if not len(columns[0]):
            return np.empty(0)
        return np.asarray(self.booster.predict(stacked(columns), num_threads=_threads(columns)), np.float64)

    def importance(self) -> list[float]:
        """Total gain per feature."""
        return [float(gain) for gain in self.booster.feature_importance("gain")]

    def contributions(self, columns: Sequence[FloatColumn], seed: int) -> Matrix:
        """Exact SHAP values.

        Lundberg et al. 2018, "Consistent Individualized Feature Attribution for Tree Ensembles", arXiv:1802.03888.
        """
        if not len(columns[0]):
            return np.empty((0, len(columns)))
        effects = self.booster.predict(stacked(columns), pred_contrib=True, num_threads=_threads(columns))
        return np.asarray(effects, np.float64)[:, :-1]  # the last column is the base value, the same for every row

    def files(self) -> dict[str, bytes]:
        """LightGBM's own text format."""
        return {FILE: self.text.encode()}


class LightGBM(Estimator[LightGBMParams]):
    """Trees grown from binned rows: the float matrix is never held."""

    parameters = LightGBMParams
    kind = "lightgbm"
    fitting_libraries = ("lightgbm",)
    scoring_libraries = ("lightgbm",)
    extra = "lightgbm"

    def fit(self, parameters: LightGBMParams, blocks: Blocks, options: FitOptions) -> Core:
        """The booster: a pass over the blocks for labels and weights, one to find the bins and one to fill them."""
        import lightgbm

        # `verbosity` does not reach the rows of a stream: what is said of them would be printed on stdout.
        lightgbm.register_logger(LOG)
        given = parameters.model_dump()
        rounds = given.pop("num_iterations")
        given |= {
            "objective": "binary",
            "metric": "None",
            "seed": options.seed,
            # Without it, the rows that the bins of a stream are found from are drawn by a seed of LightGBM's.
            "data_random_seed": options.seed,
            "num_threads": options.threads,
            # Sums in another order round otherwise: without both, the trees depend on the number of threads.
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }
        label, weight = _labels_and_weights(blocks)
        rows = lightgbm.Dataset(
            _row_sequence(blocks, len(label)),
            label=label,
            weight=weight,
            # Names of its own: LightGBM refuses some signs that a column of a lake may have.
            feature_name=[f"f{position}" for position in range(len(blocks.features))],
            categorical_feature=[position for position, name in enumerate(blocks.features) if name in blocks.words],
            params=given,
        )
        booster = lightgbm.train(given, rows, rounds, callbacks=[_round_callback(options.on_round)])
        # The number of threads changes no tree, but LightGBM writes it down, and the file has a digest.
        return _read(_THREADS.sub("[num_threads: 0]", booster.model_to_string()))

    def versions(self) -> dict[str, str]:
        """Version of LightGBM."""
        import lightgbm

        return {"lightgbm": lightgbm.__version__}

    def load(self, files: Mapping[str, bytes], features: tuple[str, ...]) -> Core:
        """Read the text natively."""
        import lightgbm

        try:
            return _read(files[FILE].decode())
        except lightgbm.basic.LightGBMError as error:
            raise ValueError(f"LightGBM cannot read {FILE}: {error}") from error


def _read(text: str) -> LightGBMCore:
    import lightgbm

    # Read back at once, so that a fitted model and a loaded one cannot differ.
    return LightGBMCore(lightgbm.Booster(model_str=text), text)


def _threads(columns: Sequence[FloatColumn]) -> int:
    return 1 if len(columns[0]) < THREADS_FROM else 0


def _labels_and_weights(blocks: Blocks) -> tuple[FloatColumn, FloatColumn]:
    parts = [(block.label, block.weight) for block in blocks]
    return np.concatenate([label for label, _ in parts]), np.concatenate([weight for _, weight in parts])


def _row_sequence(blocks: Blocks, rows: int) -> Any:
    """The blocks as LightGBM's `Sequence`, which it reads from the first row to the last, twice: some rows to find the
    bins, then all of them."""
    import lightgbm

    class RowSequence(lightgbm.Sequence):
        batch_size = PUSHED_ROWS

        def __init__(self) -> None:
            self.restart()

        def restart(self) -> None:
            self.pass_: Iterator[Block] = iter(blocks)
            self.first, self.held = 0, np.empty((0, len(blocks.features)), np.float32)

        def __len__(self) -> int:
            return rows

        def __getitem__(self, index: Any) -> Matrix:
            if isinstance(index, slice):
                return self.rows(index.start, index.stop)
            while not self.first <= index < self.first + len(self.held):
                self.advance(index)
            return self.held[index - self.first].astype(np.float64)  # LightGBM finds bins in float64 only

        def advance(self, to: int) -> bool:
            """The next block, or the first where the pass is beyond a row; False at the end of the pass."""
            if to < self.first:
                self.restart()
            block = next(self.pass_, None)
            if block is not None:
                self.first, self.held = self.first + len(self.held), stacked(block.columns)
            return block is not None

        def rows(self, start: int, stop: int) -> Matrix:
            parts = []
            while start < stop:
                if self.first <= start < self.first + len(self.held):
                    parts.append(self.held[start - self.first : stop - self.first])
                    start += len(parts[-1])
                elif not self.advance(start):
                    break
            # Only at its end a pass is held against the first one.
            if stop == rows:
                self.advance(stop)
            return parts[0] if len(parts) == 1 else np.concatenate(parts)

    return RowSequence()


def _round_callback(on_round: OnRound) -> Any:
    def after_round(environment: Any) -> None:
        on_round(environment.iteration + 1, environment.end_iteration)

    return after_round
