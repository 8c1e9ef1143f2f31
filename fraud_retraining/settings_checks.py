"""Checks of settings that concern more than one section: values that conflict, names that cannot be used, secrets.

Each rule takes the settings and returns its problems as sentences, so that one message lists all of them. Not here: the
bounds of a single value (the policy that holds it) and where values come from (`settings.py`).
"""

import fnmatch
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from pydantic import ValidationError

from fraud_retraining.adapters.alerts.destination import secret_problems
from fraud_retraining.adapters.alerts.registry import DESTINATIONS
from fraud_retraining.domain.data.athena_table import SCHEME
from fraud_retraining.domain.data.engine_policy import fit_problems
from fraud_retraining.domain.data.segments import SHARED, NumberRange, number_of
from fraud_retraining.domain.features.plan import FeaturePlan
from fraud_retraining.domain.training.estimators.registry import ESTIMATORS
from fraud_retraining.domain.training.windows import ExpandingWindow
from fraud_retraining.domain.values.names import column_problem, entity_problem, feature_problem, shown, twins
from fraud_retraining.domain.values.redaction import is_secret_name
from fraud_retraining.domain.values.schemas import TRANSACTION

if TYPE_CHECKING:
    from fraud_retraining.settings import Settings


def validation_problems(error: ValidationError) -> list[str]:
    """One sentence a problem of pydantic's, beginning with its key."""
    problems = []
    # Without inputs: a value that is wrong may be a password.
    for detail in error.errors(include_url=False, include_input=False, include_context=False):
        where = ".".join(str(part) for part in detail["loc"])
        message = detail["msg"].removeprefix("Value error, ")
        if detail["type"] == "extra_forbidden":
            message = "no such key"
        problems.append(f"{where}: {message}" if where else message)
    return problems


def conflicts(settings: "Settings", broken: Collection[str] = ()) -> list[str]:
    """Values that conflict, apart from those in sections that are invalid themselves."""
    rules: tuple[tuple[Callable[[Settings], list[str]], set[str]], ...] = (
        (_columns_mapped_twice, {"columns", "entities", "features"}),
        (_forbidden_features, {"columns", "entities", "features"}),
        (_name_problems, {"entities", "features", "gates", "labels"}),
        (_label_problems, {"columns", "labels"}),
        (_window_problems, {"holdout", "window"}),
        (_reference_problems, {"entities", "features", "gates"}),
        (_secret_problems, {"alerts", "ledger", "mlflow"}),
        (_reviewer_problems, {"promotion"}),
        (_model_problems, {"model"}),
        (_where_problems, {"columns", "entities", "features", "model", "models"}),
        (_engine_problems, {"engine", "lake", "labels"}),
        (_trainer_problems, {"engine", "model"}),
        (_url_problems, {"ledger", "mlflow", "lake", "store", "labels"}),
    )
    return [problem for rule, about in rules if about.isdisjoint(broken) for problem in rule(settings)]


def settings_problems(settings: "Settings") -> list[str]:
    """Values that conflict; without any, what mapping and features find when they are built."""
    return conflicts(settings) or unmappable(settings) or feature_name_problems(settings)


def segment_problems(settings: "Settings") -> list[str]:
    """What cannot be obeyed of each of several models, by its name; the sections of all are checked before."""
    names = Counter(one.name.lower() for one in settings.models)
    twice = [f"models: {count} models have the name {name}" for name, count in names.items() if count > 1]
    if SHARED in names:
        twice.append(f"models: {SHARED} is what all models have in common, and no name of one")
    if twice:
        return twice
    # The folder of the model in the store, and its experiment, would be another one's with other capitals.
    problems = []
    for one in settings.models:
        try:
            made = settings.of_model(one.name)
        except ValidationError as error:
            found = validation_problems(error)
        else:
            found = settings_problems(made)
        problems += [f"models.{one.name}: {problem}" for problem in found]
    return problems


def _engine_problems(settings: "Settings") -> list[str]:
    tables = [
        key
        for key, uri in (("lake", settings.lake_uri), ("labels.uri", settings.labels.uri))
        if uri is not None and uri.startswith(SCHEME)
    ]
    if settings.engine.kind != "spark":
        return ["engine.submit starts Spark jobs: set engine.kind: spark"] if settings.engine.submit is not None else []
    return [
        *(f"engine.kind: spark reads folders and S3, and {key} is a table of Athena" for key in tables),
        *_submit_problems(settings),
    ]


def _submit_problems(settings: "Settings") -> list[str]:
    """A job runs on machines that have no folder and no profile of this one."""
    if settings.engine.submit is None:
        return []
    places = {"lake.uri": settings.lake_uri, "store.uri": settings.store_uri, "labels.uri": settings.labels.uri}
    problems = [
        f"engine.submit needs {key} on S3, and it is {uri}: the job cannot reach a folder"
        for key, uri in places.items()
        if uri is not None and "://" not in uri
    ]
    if settings.lake.s3.profile is not None:
        problems.append("engine.submit: a job knows no profile: unset lake.s3.profile, and use the environment")
    return problems


def _trainer_problems(settings: "Settings") -> list[str]:
    """Fits on Spark that the engine has no room for; `doctor` counts the cores of this machine."""
    workers = settings.model.trainer_workers
    return fit_problems(settings.engine, workers) if workers is not None else []


def unmappable(settings: "Settings") -> list[str]:
    """Problems that the lake's mapping and the feature plan find when they are built."""
    problems = []
    for make in (lambda: settings.mapping, lambda: settings.feature_plan):
        try:
            make()
        except ValidationError as error:
            problems += validation_problems(error)
    return problems


def _mapped_columns(settings: "Settings") -> Iterator[tuple[str, str]]:
    for canonical, column in settings.columns.model_dump().items():
        if column is not None:
            yield f"columns.{canonical}", column
    for name, entity in settings.entities.items():
        for column in entity.parts:
            yield f"entities.{name}.column", column


def _columns_mapped_twice(settings: "Settings") -> list[str]:
    uses: dict[str, list[str]] = {}
    for key, column in _mapped_columns(settings):
        uses.setdefault(column, []).append(key)
    problems = [
        f"column {column} is mapped twice: {' and '.join(keys)}"
        for column, keys in uses.items()
        if len(keys) > 1 and any(key.startswith("columns.") for key in keys)
    ]
    problems += _same_keys(settings)
    extra = Counter([*settings.features.numeric, *settings.features.categorical])
    problems += [f"column {column} is named twice as a feature" for column, count in extra.items() if count > 1]
    label_columns = {settings.columns.is_fraud, settings.columns.labelled_at}
    problems += [
        f"column {column} is the label ({', '.join(uses[column])}) and cannot be a feature"
        for column in extra
        if column in uses and column in label_columns
    ]
    problems += [
        f"column {column} is already mapped ({', '.join(uses[column])}) and cannot be a further feature"
        for column in extra
        if column not in label_columns and any(key.startswith("columns.") for key in uses.get(column, ()))
    ]
    return problems


def _where_problems(settings: "Settings") -> list[str]:
    """Conditions of segments on columns that tell no segments apart, and ranges of columns without numbers."""
    columns = settings.columns
    labels = {columns.transaction_id, columns.timestamp, columns.is_fraud, columns.labelled_at}
    labels |= {columns.decision, columns.propensity}
    several = {part for entity in settings.entities.values() if len(entity.parts) > 1 for part in entity.parts}
    further = {*settings.features.numeric, *settings.features.categorical}
    numbers = {*settings.features.numeric, columns.amount}
    problems = [] if settings.segment or not settings.model.where else ["model.where: stands in an entry of models"]
    for name, condition in settings.model.where.items():
        if name in labels:
            problems.append(f"where.{name}: the column is no property that a segment can be made of")
        elif name in several and name not in further:
            problems.append(f"where.{name}: is part of a key; name it under features.categorical too")
        elif isinstance(condition, NumberRange) and name not in numbers:
            problems.append(f"where.{name}: a range needs numbers; name the column under features.numeric")
        elif name in numbers and not isinstance(condition, NumberRange):
            texts = [value for value in condition if isinstance(value, str) and number_of(value) is None]
            problems += [f"where.{name}: the column holds numbers, and {text!r} is none" for text in texts]
    return problems


def _same_keys(settings: "Settings") -> list[str]:
    """Entities with the same key; a column may be part of several keys, and a feature besides."""
    same: dict[tuple[str, ...], list[str]] = {}
    for name, entity in settings.entities.items():
        same.setdefault(entity.parts, []).append(f"entities.{name}")
    return [f"{' and '.join(names)} have the same column" for names in same.values() if len(names) > 1]


def _forbidden_features(settings: "Settings") -> list[str]:
    forbidden = set(settings.features.forbidden)
    problems = [
        f"column {column} is forbidden as a feature, but stands in features.{kind}"
        for kind in ("numeric", "categorical")
        for column in getattr(settings.features, kind)
        if column in forbidden
    ]
    problems += [
        f"column {column} is forbidden, but {key} maps it to something that features are made of"
        for key, column in _mapped_columns(settings)
        if column in forbidden and key not in ("columns.is_fraud", "columns.labelled_at")
    ]
    return problems


def _name_problems(settings: "Settings") -> list[str]:
    problems = [
        f"entities.{name}: {why}" for name in settings.entities if (why := entity_problem(name, settings.CANONICAL))
    ]
    if problems:
        return problems
    further = (*settings.features.numeric, *settings.features.categorical, *settings.slice_columns)
    if both := sorted({name.lower() for name in further} & set(settings.entities)):
        return [
            f"{name} is the name of an entity and of a further column; give the entity another name, such as {name}_key"
            for name in both
        ]
    try:
        as_known = settings.labels.use == "as_known"
        plan = FeaturePlan(
            entities={name: entity.decided(as_known) for name, entity in settings.entities.items()},
            label_delay_days=settings.labels.delay_days,
            labels_as_known=as_known,
        )
    except ValidationError as error:
        return [f"entities: {problem}" for problem in validation_problems(error)]
    own = (*plan.names, *settings.CANONICAL, *settings.entities)
    features, mapped = dict.fromkeys(further), list(_mapped_columns(settings))
    problems = [
        f"column {shown(name)} {why}; rename it in the lake" for name in features if (why := feature_problem(name, own))
    ]
    problems += [f"{key}: {shown(name)} {why}" for key, name in mapped if (why := column_problem(name))]
    return problems + [
        f"columns {' and '.join(names)} differ in capitals only, which the engine does not tell apart"
        for names in twins([*(name for _, name in mapped), *features])
    ]


def _label_problems(settings: "Settings") -> list[str]:
    labels, columns = settings.labels, settings.columns
    problems = []
    if columns.is_fraud is None and labels.uri is None:
        problems.append("columns.is_fraud is null: name the column with the label, or a label feed (labels.uri)")
    if labels.uri is not None and columns.labelled_at is not None:
        problems.append("labels.uri and columns.labelled_at both say when labels became known: keep one of them")
    control = labels.blocked.control_share is not None
    if columns.decision is None and columns.propensity is not None:
        problems.append("columns.propensity says nothing without columns.decision: name the column with the decision")
    if columns.decision is None and control:
        problems.append("labels.blocked.control_share needs columns.decision, the column with what production did")
    if columns.propensity is not None and control:
        problems.append(
            "columns.propensity and labels.blocked.control_share both give the propensity: keep one of them"
        )
    return problems


def _window_problems(settings: "Settings") -> list[str]:
    problems = []
    if settings.window.refit.enabled and settings.window_labels.lag_days == 0:
        problems.append(
            "window.refit.enabled needs days after the holdout, on which both fits are compared: the holdout ends with "
            "the as-of day, as labels are used as known; set judging: mature, or leave it off"
        )
    if isinstance(settings.window, ExpandingWindow) or settings.holdout.longest <= settings.window.days:
        return problems
    name = "days" if settings.holdout.frauds is None else "max_days"
    length = settings.holdout.longest
    return [*problems, f"holdout.{name} ({length}) is longer than window.days ({settings.window.days})"]


def _reference_problems(settings: "Settings") -> list[str]:
    problems = _alert_entity_problems(settings)
    problems += [
        f"gates.slices names the forbidden column {column}"
        for column in settings.gates.slices
        if column in settings.features.forbidden
    ]
    return problems


def _alert_entity_problems(settings: "Settings") -> list[str]:
    entity = settings.gates.alert_entity
    if entity == TRANSACTION or entity in settings.entities:
        return []
    if settings.entities:
        named = ", ".join(settings.entities)
        return [
            f"gates.alert_entity is {entity!r}, which entities ({named}) does not name; alerts may also be about each "
            f"{TRANSACTION}"
        ]
    return [
        f"entities is empty: no feature looks back on what a customer, card or device did before, which is most of "
        f"what such a model knows. If that is meant, set gates.alert_entity: {TRANSACTION}; alerts are then counted, "
        f"and resamples drawn, by single transactions"
    ]


def feature_name_problems(settings: "Settings") -> list[str]:
    """Features that drift and `features.retired` name, and that do not exist."""
    plan, retired = settings.feature_plan, settings.features.retired
    problems = [f"drift names {name}, which is not a feature" for name in settings.drift.unknown(plan)]
    problems += [
        f"features.retired names {name}, which is no feature"
        for name in retired
        if not fnmatch.filter(plan.names, name)
    ]
    return problems if settings.learnt_features else [*problems, "features.retired leaves no feature to learn from"]


def _reviewer_problems(settings: "Settings") -> list[str]:
    """Two-person approval needs two reviewers who can prove who they are: one person can type two names."""
    policy = settings.promotion
    if not policy.two_person:
        return []
    problems = []
    if not policy.require_verified:
        problems.append("promotion.two_person needs require_verified: true, or one person could give two names")
    # Two names without proof may be one person.
    proven = [one.name for one in policy.reviewers if policy.proxy_header or one.provable_somewhere]
    if len(proven) < 2:
        problems.append(
            f"promotion.two_person needs two reviewers who can prove who they are, and {len(proven)} can: give each a "
            "slack_id, token_sha256 or os_user, or set proxy_header"
        )
    return problems


def _model_problems(settings: "Settings") -> list[str]:
    """Libraries of the estimator that are not installed; only those of an extra can be missing."""
    estimator = ESTIMATORS[settings.model.estimator]
    missing = [name for name in estimator.fitting_libraries if estimator.extra and find_spec(name) is None]
    return [
        f"model.estimator is {settings.model.estimator}, and {name} is not installed. {estimator.remedy}"
        for name in missing
    ]


def _holds_secret(url: str) -> bool:
    """Whether a URL has a password, before its host or among its parameters."""
    try:
        parts = urlsplit(url)
        # Drivers take passwords as parameters too (`?password=...`).
        return bool(parts.password) or any(is_secret_name(name) for name, _ in parse_qsl(parts.query))
    except ValueError:
        return False


def _url_problems(settings: "Settings") -> list[str]:
    """Addresses that no driver could use; they may hold a password, so a message never repeats them."""
    addresses = {
        "ledger.url": settings.ledger.url,
        "mlflow.tracking_uri": settings.mlflow.tracking_uri,
        "lake.s3.endpoint": settings.lake.s3.endpoint,
        "lake.uri": settings.lake.uri,
        "store.uri": settings.store.uri,
        "labels.uri": settings.labels.uri,
        "alerts.webhook.url": settings.alerts.webhook.url if settings.alerts.webhook else None,
    }
    return [f"{key}: {why}" for key, url in addresses.items() if url and "://" in url and (why := _bad_address(url))]


def _bad_address(url: str) -> str | None:
    try:
        parts = urlsplit(url)
    except ValueError:
        return "it is not an address: the host cannot be read"
    try:
        return "the port has to be a number from 1 to 65535" if parts.port == 0 else None
    except ValueError:
        return "the port has to be a number from 1 to 65535"


def _secret_problems(settings: "Settings") -> list[str]:
    prefix = settings.model_config["env_prefix"]
    problems = [why for one in DESTINATIONS for why in secret_problems(one, settings.alerts, os.environ)]
    for key, value, variable in (
        ("mlflow.tracking_uri", settings.mlflow.tracking_uri, f"{prefix}MLFLOW__TRACKING_URI"),
        ("ledger.url", settings.ledger.url, f"{prefix}LEDGER__URL"),
        (
            "alerts.webhook.url",
            settings.alerts.webhook.url if settings.alerts.webhook else "",
            f"{prefix}ALERTS__WEBHOOK__URL",
        ),
    ):
        if value and _holds_secret(value) and variable not in os.environ:
            problems.append(f"{key} holds a password; secrets come only from the environment ({variable})")
    return problems
