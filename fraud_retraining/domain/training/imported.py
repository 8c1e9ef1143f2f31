"""A model that was made elsewhere, taken in as one of this project: its format, its columns, and its scores.

Here: from the bytes of a known format to a `FittedModel` that reads this project's features, and the refusal of what
would score wrong. Not here: reading the bytes (`adapters/mlflow/foreign_models.py`), the formats themselves
(`domain/training/estimators/`), and the release of the model, which is that of any other one.

No format here can run code when it is opened: ONNX, and the native files of XGBoost, LightGBM and CatBoost.
"""

import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from hashlib import sha256
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import pyarrow as pa
from pydantic import Field

from fraud_retraining.domain.training.estimators.base import Core, permuted
from fraud_retraining.domain.training.estimators.catboost import NUMBER, CatBoostCore
from fraud_retraining.domain.training.estimators.lightgbm import LightGBMCore
from fraud_retraining.domain.training.estimators.model_input import float_columns
from fraud_retraining.domain.training.estimators.onnx import OnnxCore, opened, probability_output
from fraud_retraining.domain.training.estimators.registry import READERS
from fraud_retraining.domain.training.estimators.xgboost import BoosterCore
from fraud_retraining.domain.training.fingerprint import Fingerprint, ImportedFile
from fraud_retraining.domain.training.lightgbm_text import check_trees, header_of
from fraud_retraining.domain.training.scoring import FittedModel
from fraud_retraining.domain.training.windows import WindowDays
from fraud_retraining.domain.values.base import Policy
from fraud_retraining.domain.values.errors import Conflict, DataInvalid, SettingsError

ImportFormat: TypeAlias = Literal["onnx", "xgboost", "lightgbm", "catboost"]
FORMATS: tuple[str, ...] = get_args(ImportFormat)

SAMPLED_ROWS = 2000
"""Rows from which the importance of a graph is measured."""
REPEATED_ROWS = 300
"""Rows that are scored again, in another order and one by one."""
ROUNDING = 1e-6
"""Most that a score of a graph may change when its numbers are rounded to float32, about as much as float32 itself
rounds a probability; a tree that takes another branch changes it by more."""

Name = Annotated[str, Field(min_length=1, max_length=500)]


class ColumnMap(Policy):
    """What the columns of a model are called here."""

    columns: tuple[Name, ...] = Field(
        (), description="Every column that the model reads, in its order; empty: as the model or its signature says."
    )
    names: dict[Name, Name] = Field({}, description="Feature of this project by the model's name of the column.")


@dataclass(frozen=True)
class ForeignModel:
    """A model file of a known format, and the columns that stand beside it, where any do."""

    format: ImportFormat
    data: bytes
    columns: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 of the file."""
        return sha256(self.data).hexdigest()


class Opened(NamedTuple):
    """What a file holds: the names that it has for its columns (empty: none), how many they are, and the way in.

    `by_name`: each column is an input of its own, so that the names are the model's, whatever stands beside it.
    """

    columns: tuple[str, ...]
    width: int
    core: Callable[[tuple[str, ...]], Core]
    by_name: bool = False


def imported_model(
    foreign: ForeignModel, mapped: ColumnMap, known: Collection[str], categorical: Collection[str]
) -> FittedModel:
    """The model as one that reads features of this project.

    Args:
        foreign: the file.
        mapped: what its columns are called here.
        known: the features that the settings make.
        categorical: those of them that are categories.

    Raises:
        DataInvalid: the file cannot be read, gives no probability of fraud, or reads columns that are not there.
        SettingsError: the library of its format is not installed.
    """
    reader = READERS[foreign.format]
    try:
        found = _OPENED[foreign.format](foreign.data)
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"The model is one of {foreign.format}, and {error.name} is not installed.", remedy=reader.remedy
        ) from error
    except _Refused as refused:
        raise DataInvalid(f"The {foreign.format} model cannot be imported: {refused}.", remedy=refused.remedy) from None
    except Exception as error:  # each library has errors of its own for bytes that it cannot read
        raise DataInvalid(
            f"The file is no model of {foreign.format}.",
            culprits=[f"{type(error).__name__}: {error}"[:500]],
            remedy="Name its format with --format, or export it again.",
        ) from error
    features = _features(foreign, found, mapped, known, categorical)
    return FittedModel(
        estimator=foreign.format,
        features=features,
        categorical=(),
        core=found.core(features),
        versions=reader.versions(),
        facts={"imported": foreign.digest},
    )


def _features(
    foreign: ForeignModel, found: Opened, mapped: ColumnMap, known: Collection[str], categorical: Collection[str]
) -> tuple[str, ...]:
    """This project's name of each of the model's columns, in the model's order."""
    own = mapped.columns or foreign.columns or found.columns
    if set(own) == set(found.columns) and len(own) == len(found.columns):
        # A signature or a list may have them in another order; the model reads each by its name.
        own = found.columns
    elif found.by_name:
        raise DataInvalid(
            "The model's inputs have other names than the columns that are named.",
            culprits=[f"inputs: {', '.join(found.columns)}", f"named: {', '.join(own)}"],
            remedy="Each input gets the column of its name. Leave `columns` out, and say under `names:` what each "
            "input is called here.",
        )
    if not own:
        raise DataInvalid(
            f"The model reads {found.width} columns and does not say which.",
            remedy="Name them in its order in a YAML file, `columns: [amount, hour, ...]`, and give it with --columns.",
        )
    if len(own) != found.width:
        raise DataInvalid(f"The model reads {found.width} columns, and {len(own)} are named.", culprits=own)
    features = tuple(mapped.names.get(name, name) for name in own)
    problems = [f"{name} is no column of the model" for name in mapped.names if name not in own]
    problems += [
        f"{name}{'' if name == feature else f' (here {feature})'} is no feature of these settings"
        for name, feature in zip(own, features, strict=True)
        if feature not in known
    ]
    problems += [f"{name} is a category; imported models read numbers" for name in features if name in categorical]
    problems += [f"{name} is named {count} times" for name, count in Counter(features).items() if count > 1]
    if problems:
        raise DataInvalid(
            "The model's columns are not features of these settings.",
            culprits=problems,
            remedy="Say under `names:` of the file that --columns gives which feature each column is, or make the "
            f"features: columns of the lake under features.numeric. There are {', '.join(known)}.",
        )
    return features


# ---------------------------------------------------------------- formats


class _Refused(Exception):
    """A model that can be read and would score wrong."""

    def __init__(self, why: str, remedy: str = "Export one binary classifier whose output is P(fraud).") -> None:
        super().__init__(why)
        self.remedy = remedy


_NO_CATEGORIES = "Encode categories inside of the model (an ONNX pipeline), or train the first champion here."


def _xgboost(data: bytes) -> Opened:
    import xgboost

    booster = xgboost.Booster()
    booster.load_model(bytearray(data))
    objective = json.loads(booster.save_config())["learner"]["objective"]["name"]
    if objective != "binary:logistic":
        raise _Refused(f"its objective is {objective}, not binary:logistic")
    if "c" in (booster.feature_types or ()):
        raise _Refused("it has categorical features, whose codes only its training knew", _NO_CATEGORIES)
    best = booster.attr("best_iteration")
    # scikit-learn's form scores with the best round of early stopping; the booster by itself with every round.
    kept = booster if best is None else booster[: int(best) + 1]

    def core(features: tuple[str, ...]) -> Core:
        kept.feature_names, kept.feature_types = list(features), ["q"] * len(features)
        return BoosterCore(kept, features)

    return Opened(tuple(booster.feature_names or ()), booster.num_features(), core)


def _lightgbm(data: bytes) -> Opened:
    import lightgbm

    about = header_of(data)
    if not about.get("objective", "none").startswith("binary "):
        raise _Refused(f"its objective is {about.get('objective', 'none')}, not binary")
    if any(not info.startswith("[") and info != "none" for info in about.get("feature_infos", "none").split(" ")):
        raise _Refused("it has categorical features, whose codes only its training knew", _NO_CATEGORIES)
    try:
        check_trees(data, about)
    except ValueError as error:
        raise _Refused(f"its file is damaged ({error})", "Save it again, with save_model.") from error
    text = data.decode()
    booster = lightgbm.Booster(model_str=text)
    names = tuple(booster.feature_name())
    # LightGBM's own names for columns that had none.
    named = () if names == tuple(f"Column_{place}" for place in range(len(names))) else names
    return Opened(named, booster.num_feature(), lambda features: LightGBMCore(booster, text))


def _catboost(data: bytes) -> Opened:
    import catboost

    trees = catboost.CatBoost().load_model(blob=data)
    loss = json.loads(trees.get_metadata()["params"])["loss_function"]["type"]
    if loss not in ("Logloss", "CrossEntropy"):
        raise _Refused(f"its loss is {loss}, not Logloss")
    if len(trees.get_cat_feature_indices()):
        raise _Refused("it has categorical features, whose codes only its training knew", _NO_CATEGORIES)
    names = tuple(trees.feature_names_)
    named = () if names == tuple(map(str, range(len(names)))) else names

    def core(features: tuple[str, ...]) -> Core:
        # By these names a core knows its columns.
        trees.set_feature_names([f"{NUMBER}{place}" for place in range(len(features))])
        return CatBoostCore(trees, trees._serialize_model())

    return Opened(named, len(names), core)


def _onnx(data: bytes) -> Opened:
    try:
        session = opened(data)
        probability_output(session)
    except ValueError as error:
        raise _Refused(str(error), "Export one binary classifier, in one file, whose output is P(fraud).") from error
    inputs = session.get_inputs()
    if len(inputs) > 1:
        names = tuple(str(one.name) for one in inputs)
        return Opened(
            names, len(names), lambda features: OnnxCore(session, data, (0.0,) * len(features), features), by_name=True
        )
    width = inputs[0].shape[-1] if len(inputs[0].shape) == 2 else None
    if not isinstance(width, int):
        raise _Refused(f"its input has the shape {inputs[0].shape}; it has to be rows x a known number of columns")
    return Opened((), width, lambda features: OnnxCore(session, data, (0.0,) * len(features), features))


_OPENED: Mapping[str, Callable[[bytes], Opened]] = {
    "onnx": _onnx,
    "xgboost": _xgboost,
    "lightgbm": _lightgbm,
    "catboost": _catboost,
}


# ---------------------------------------------------------------- proof


def proven(model: FittedModel, rows: pa.Table) -> FittedModel:
    """The model after it has scored recent rows of this project; a graph with its importance on them.

    Raises:
        DataInvalid: a score is no probability, all rows have the same one, a row has not always the same one, or it
            is another one where numbers are held as float32.
    """
    try:
        scores = model.predict(rows)
    except DataInvalid:
        raise
    except Exception as error:  # a graph may fail on any row, with the error of an operator
        raise DataInvalid(
            "The model could not score recent rows.", culprits=[f"{type(error).__name__}: {error}"[:500]]
        ) from error
    problems = []
    if not np.isfinite(scores).all() or (scores < 0).any() or (scores > 1).any():
        problems.append(f"scores from {np.nanmin(scores):.6g} to {np.nanmax(scores):.6g} are no probabilities")
    elif np.ptp(scores) == 0:
        problems.append(f"every one of {len(scores):,} rows has the score {scores[0]:.6g}")
    else:
        _require_repeated(model, rows.slice(0, REPEATED_ROWS))
        _require_unrounded(model, rows, scores)
    if problems:
        raise DataInvalid(
            "The model does not score recent rows as one that serves.",
            culprits=problems,
            remedy="Look whether its columns stand in its order (--columns), and mean here what they meant where it "
            "was trained.",
        )
    if not isinstance(model.core, OnnxCore):
        return model
    columns = float_columns(rows.slice(0, SAMPLED_ROWS), model.features, {})
    effects = np.abs(permuted(model.core, columns, seed=0)).mean(axis=0)
    return replace(model, core=replace(model.core, shares=tuple(float(effect) for effect in effects)))


def _require_repeated(model: FittedModel, rows: pa.Table) -> None:
    """Refuse a model by which the score of a row is not that of the row alone.

    Raises:
        DataInvalid: a row has another score the second time, in another order, or by itself.
    """
    count = rows.num_rows
    order = np.arange(count)[::-1]
    found = {
        "when they are scored again": (model.predict(rows), model.predict(rows)),
        "in another order": (model.predict(rows)[order], model.predict(rows.take(order))),
        "one by one": (
            model.predict(rows),
            np.concatenate([model.predict(rows.slice(place, 1)) for place in range(count)]),
        ),
    }
    problems = [
        f"{changed} of {count} rows {how}"
        for how, (before, after) in found.items()
        if (changed := int((before.view(np.int64) != after.view(np.int64)).sum()))
    ]
    if problems:
        raise DataInvalid(
            "The model does not give a row the same score each time.",
            culprits=[f"another score: {problem}" for problem in problems],
            remedy="Export it without operators that draw by chance, keep a state, or compute over several rows "
            "(normalization by the batch, a model in training mode).",
        )


def _require_unrounded(model: FittedModel, rows: pa.Table, scores: np.ndarray) -> None:
    """Refuse a model of float64 or whole numbers for which float32, as which features are held here, is too coarse.

    XGBoost and CatBoost round to float32 themselves.

    Raises:
        DataInvalid: a score is another one without the rounding.
    """
    core, most = model.core, 0.0
    if not (isinstance(core, LightGBMCore) or (isinstance(core, OnnxCore) and core.rounded)):
        return
    exact = np.column_stack([rows.column(name).cast(pa.float64()).to_numpy() for name in model.features])
    if isinstance(core, OnnxCore):
        unrounded, most = core.probability_of(exact), ROUNDING
    else:
        unrounded = np.asarray(core.booster.predict(exact), np.float64)
    differing = np.abs(unrounded - scores) > most
    if differing.any():
        place = int(np.abs(unrounded - scores).argmax())
        raise DataInvalid(
            "The model was made for numbers that are finer than float32, as which features are held here.",
            culprits=[
                f"{int(differing.sum()):,} of {len(scores):,} rows have another score, such as {scores[place]:.6g} "
                f"instead of {unrounded[place]:.6g}"
            ],
            remedy="Train it on features rounded to float32, or scale large numbers down in the lake.",
        )


def require_importable(days: WindowDays, determined_by: Fingerprint, champion: str | None) -> None:
    """Refuse to judge an imported model where it cannot be the first champion, or as of another day than its own.

    Args:
        days: of the window that it would be judged by.
        determined_by: its fingerprint.
        champion: fingerprint of the champion, if there is one.

    Raises:
        Conflict: another model is champion.
        SettingsError: its as-of day is another one, or it may have learnt from a day that judges it.
    """
    if champion not in (None, determined_by.digest):
        raise Conflict(
            "another model became champion meanwhile, and only the first champion is imported",
            remedy="To begin anew beside it, name another model: model.name.",
        )
    if days.as_of != determined_by.as_of:
        raise SettingsError(
            f"the model was imported as of {determined_by.as_of}, and this run is as of {days.as_of}",
            remedy=f"Import it with --as-of {days.as_of}.",
        )
    if determined_by.imported is not None:
        require_unseen_holdout(days, determined_by.imported.trained_through)


def require_unseen_holdout(days: WindowDays, trained_through: date) -> None:
    """Refuse to judge an imported model on days that it may have learnt from.

    Raises:
        SettingsError: the holdout begins too early, and says from which as-of day on it does not; or a fixed
            evaluation day is among them.
    """
    if days.fixed is not None and days.fixed.start <= trained_through:
        raise SettingsError(
            f"The model would be judged on the fixed evaluation days {days.fixed.start} to {days.fixed.end} too, and "
            f"it may have learnt from every day through {trained_through}.",
            remedy="Take holdout.fixed out of the settings for the import. Candidates are compared with it on no such "
            "day afterwards either.",
        )
    early = (trained_through - days.holdout.start).days + 1
    if early > 0:
        raise SettingsError(
            f"As of {days.as_of} the model would be judged on {days.holdout.start} to {days.holdout.end}, and it may "
            f"have learnt from every day through {trained_through}.",
            remedy=f"Import it as of {days.as_of + timedelta(days=early)} or later, or correct --trained-through.",
        )


def import_fingerprint(
    foreign: ForeignModel,
    model: FittedModel,
    *,
    as_of: date,
    trained_through: date,
    label_delay_days: int,
    features_policy: str,
    model_policy: Mapping[str, Any],
) -> Fingerprint:
    """The fingerprint of an imported model: the file, its columns, and through which day it claims to have learnt."""
    return Fingerprint(
        as_of=as_of,
        label_delay_days=label_delay_days,
        training=(),
        holdout=(),
        features=model.features,
        features_policy=features_policy,
        model={**model_policy, "estimator": model.estimator},
        code="",
        libraries=dict(model.versions),
        imported=ImportedFile(format=foreign.format, sha256=foreign.digest, trained_through=trained_through),
    )
