"""Fitting the fraud model: which estimator, with which parameters, over which rows.

Here: the model policy and the fit that all estimators have in common. Not here: the estimators
(`domain/training/estimators/`), the rows (`domain/training/training_rows.py`), scoring (`domain/training/scoring.py`),
and where the model is kept (`adapters/mlflow/registry.py`).
"""

from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, ValidationError, field_validator, model_validator

from fraud_retraining.domain.data.segments import CheckedWhere
from fraud_retraining.domain.training.estimators.base import Core, FitOptions, OnRound
from fraud_retraining.domain.training.estimators.registry import ESTIMATORS
from fraud_retraining.domain.training.scoring import FittedModel
from fraud_retraining.domain.training.training_rows import Batches, Census, TrainingBlocks, TrainingRows, vocabularies
from fraud_retraining.domain.values.base import ExtendedValue, Policy

__all__ = ["Batches", "FittedModel", "ModelPolicy", "OnRound", "fit"]

_SIGNS_OF_ADDRESSES = frozenset("/:@#?%'\"`\\")
"""Signs with a meaning in MLflow's addresses of models and in the text of its searches."""


class ModelPolicy(Policy, ExtendedValue):
    """Which estimator is fitted, with which parameters, on which transactions."""

    ADDED: ClassVar[frozenset[str]] = frozenset({"where", "trainer", "trainer_workers"})

    name: Annotated[str, Field(min_length=1, max_length=200)] = Field(
        "fraud_detector", description="Name of the registered model."
    )
    estimator: str = Field(
        "xgboost",
        description="xgboost and lightgbm stream any number of rows; catboost, hist_gradient_boosting "
        "and logistic_regression hold the window in memory. lightgbm and catboost need the extra of that name.",
    )
    params: dict[str, bool | int | float | str | None] = Field(
        {}, description="Parameters of the estimator that differ from the shipped defaults, by name."
    )
    seed: int = Field(7, ge=0, lt=2**31, description="Seed of everything random in the fit.")
    downsample: float | None = Field(
        None, gt=0, le=1, description="Share of non-frauds to keep; kept ones weigh 1/share. Null keeps all."
    )
    threads: int = Field(0, ge=0, le=1024, description="Threads of the fit; 0 is every core. The model is the same.")
    trainer: Literal["local", "spark"] = Field(
        "local",
        description="local fits in the process of the run; spark on the workers of the engine, with XGBoost's Spark "
        "estimator.",
    )
    trainer_workers: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="Workers that a fit on Spark is shared out to, all at once; another number gives another model.",
    )
    where: CheckedWhere = Field({}, description="Of a model among several; stands beside its name under models.")

    @field_validator("name")
    @classmethod
    def _valid_name(cls, name: str) -> str:
        # MLflow builds addresses such as models:/name@alias and search filters from the name.
        if signs := sorted({sign for sign in name if sign in _SIGNS_OF_ADDRESSES or not sign.isprintable()}):
            held = " ".join(repr(sign)[1:-1] for sign in signs)
            raise ValueError(f"{name!r} holds {held}, which MLflow does not allow in the name of a model")
        if name != name.strip():
            raise ValueError(f"{name!r} begins or ends with a space")
        return name

    @field_validator("estimator")
    @classmethod
    def _registered(cls, estimator: str) -> str:
        if estimator not in ESTIMATORS:
            raise ValueError(f"there is no estimator {estimator!r}; there are {', '.join(ESTIMATORS)}")
        return estimator

    @model_validator(mode="after")
    def _valid_parameters(self) -> Self:
        _ = self.parameters
        return self

    @model_validator(mode="after")
    def _valid_trainer(self) -> Self:
        if problems := _trainer_problems(self):
            raise ValueError("; ".join(problems))
        return self

    @property
    def parameters(self) -> Policy:
        """The shipped defaults of the estimator with `params` laid over them.

        Raises:
            ValueError: names every parameter that the estimator does not have or whose value is out of bounds.
        """
        kind = ESTIMATORS[self.estimator].parameters
        try:
            found: Policy = kind.model_validate(self.params)
            return found
        except ValidationError as error:
            raise ValueError(_problems(error, self.estimator, tuple(kind.model_fields))) from None


def _trainer_problems(policy: ModelPolicy) -> list[str]:
    """What XGBoost's Spark estimator cannot take, or does not take from here."""
    if policy.trainer == "local":
        return ["trainer_workers says nothing without trainer: spark"] if policy.trainer_workers is not None else []
    problems = []
    if policy.trainer_workers is None:
        problems.append("trainer: spark needs trainer_workers, on which the model depends")
    if policy.estimator != "xgboost":
        problems.append(f"trainer: spark fits xgboost alone, and estimator is {policy.estimator}; set trainer: local")
    elif getattr(policy.parameters, "device", "cpu") != "cpu":
        problems.append("trainer: spark fits on processors: take device out of params, or set trainer: local")
    if policy.threads:
        problems.append(
            "threads is for trainer: local: on Spark each worker has spark.task.cpus threads (engine.config)"
        )
    return problems


def _problems(error: ValidationError, estimator: str, known: tuple[str, ...]) -> str:
    unknown = [str(problem["loc"][0]) for problem in error.errors() if problem["type"] == "extra_forbidden"]
    wrong = [
        # What several parameters do not fit together has no place of its own.
        ": ".join([*map(str, problem["loc"][:1]), problem["msg"].removeprefix("Value error, ")])
        for problem in error.errors()
        if problem["type"] != "extra_forbidden"
    ]
    if unknown:
        wrong.insert(0, f"{estimator} has no parameter {', '.join(unknown)}; it has {', '.join(known)}")
    return "; ".join(wrong)


def fit(
    policy: ModelPolicy,
    features: tuple[str, ...],
    categorical: tuple[str, ...],
    batches: Batches,
    *,
    on_round: OnRound | None = None,
) -> FittedModel:
    """The model that these rows, this policy and this seed determine, bit for bit.

    Args:
        policy: estimator, parameters, seed and down-sampling.
        features: feature columns in the order that the model reads them.
        categorical: those of `features` that hold categories (text or integers).
        batches: re-iterable rows: the feature columns, `is_fraud`, optionally `weight` and `transaction_id`.
        on_round: called after each boosting round with (rounds done, rounds in all); what it raises ends the fit.
            scikit-learn's estimators have no such hook: they call it before and after the fit.

    Raises:
        DataInvalid: rows from which nothing can be learnt, a row without a label, an infinite value, a missing
            column, or rows that differ between two passes.
    """
    estimator, params, share = ESTIMATORS[policy.estimator], policy.parameters, policy.downsample
    rows = TrainingRows(batches, features, categorical, share, policy.seed)
    words = vocabularies(rows, estimator.max_categories(params))
    blocks = TrainingBlocks(rows, features, words)
    core = estimator.fit(
        params, blocks, FitOptions(policy.seed, policy.threads, on_round or (lambda done, total: None))
    )
    return fitted_model(policy, core, rows, words, blocks.counted())


def fitted_model(
    policy: ModelPolicy, core: Core, rows: TrainingRows, words: dict[str, tuple[str, ...]], census: Census
) -> FittedModel:
    """What was fitted, with how: `words` are the vocabularies of the rows, and `census` what they were."""
    params, share = policy.parameters.model_dump(mode="json"), policy.downsample
    return FittedModel(
        estimator=policy.estimator,
        features=rows.features,
        categorical=rows.categorical,
        core=core,
        vocabularies=words,
        params={**params, **({"downsample": share} if share is not None else {})},
        seed=policy.seed,
        versions={**ESTIMATORS[policy.estimator].versions(), "numpy": np.__version__},
        facts={
            "rows": census.rows,
            "frauds": census.frauds,
            "weight": census.weight,
            "constant_features": census.constant(rows.features),
        },
    )
