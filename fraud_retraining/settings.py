"""The settings: `retraining.yaml`, then environment variables; frozen and closed.

Here: how the domain's policies are composed, where the values come from, and which values conflict. Not here: what a
single policy means (the domain module that obeys it).
"""

import fnmatch
import json
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import parse_qsl, urlsplit

import yaml
from pydantic import BeforeValidator, Field, StringConstraints, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings import (
    SettingsError as SourceError,
)

from fraud_retraining.adapters.alerts.destination import secret_problems
from fraud_retraining.adapters.alerts.registry import DESTINATIONS
from fraud_retraining.adapters.storage.locations import TransferPolicy
from fraud_retraining.adapters.storage.yaml_file import read_yaml
from fraud_retraining.domain.alerts.failures import RetryPolicy
from fraud_retraining.domain.alerts.notices import AlertPolicy
from fraud_retraining.domain.audit.archiving import LEAST_DAYS
from fraud_retraining.domain.audit.retention import RetentionPolicy
from fraud_retraining.domain.data.ingestion import LakeMapping
from fraud_retraining.domain.data.lake_layout import DayLimits
from fraud_retraining.domain.evaluation.gates import GatePolicy
from fraud_retraining.domain.features.point_in_time import FeaturePlan
from fraud_retraining.domain.monitoring.drift import DriftPolicy
from fraud_retraining.domain.releases.reviewers import PROXY_SECRET_VARIABLE
from fraud_retraining.domain.releases.trust import PromotionPolicy
from fraud_retraining.domain.retraining.budget import BudgetPolicy
from fraud_retraining.domain.retraining.triggers.drift import DriftTriggerPolicy
from fraud_retraining.domain.retraining.triggers.performance import PerformanceTriggerPolicy
from fraud_retraining.domain.retraining.triggers.registry import TriggerPolicy
from fraud_retraining.domain.training.fitting import ModelPolicy
from fraud_retraining.domain.training.windows import ExpandingWindow, HoldoutPolicy, RollingWindow, WindowPolicy
from fraud_retraining.domain.values.base import Policy
from fraud_retraining.domain.values.errors import SettingsError
from fraud_retraining.domain.values.names import (
    column_problem,
    entity_problem,
    feature_problem,
    shown,
    twins,
)
from fraud_retraining.domain.values.redaction import is_secret_name, redact
from fraud_retraining.domain.values.schemas import (
    CORE_COLUMNS,
    LABELLED_AT,
    TRANSACTION,
    ColumnFeaturePolicy,
    ColumnPolicy,
    EntityPolicy,
    LabelPolicy,
    LabelValues,
    ValidationPolicy,
)

PREFIX = "FRAUD_RETRAINING_"
HOME_VARIABLE = f"{PREFIX}HOME"
CONFIG_VARIABLE = f"{PREFIX}CONFIG"
REVIEWER_TOKEN_VARIABLE = f"{PREFIX}REVIEWER_TOKEN"
DEFAULT_HOME = ".fraud_retraining"
DEFAULT_CONFIG = "retraining.yaml"
LEDGER_FILE, MLFLOW_FILE = "ledger.db", "mlflow.db"


class S3Policy(Policy):
    """How S3 is reached; keys come from the environment or the profile, never from a file of settings."""

    region: str | None = Field(None, description="AWS region.")
    endpoint: str | None = Field(None, description="Endpoint of another S3-speaking server.")
    profile: str | None = Field(None, description="AWS profile.")
    max_attempts: int = Field(4, ge=1, le=10, description="Attempts of one request.")
    transfer: TransferPolicy = Field(TransferPolicy(), description="How long S3 may take, and what is kept locally.")


class LakePolicy(Policy):
    """Where transactions arrive."""

    uri: str | None = Field(
        None,
        min_length=1,
        description="Folder or s3://bucket/prefix that holds Parquet under year=YYYY/month=MM/day=DD/.",
    )
    first_day: date | None = Field(
        None,
        description="First day that can be run; by default the first day of a lake in a folder (2000-01-01 at the "
        "earliest), or as last seen on S3.",
    )
    limits: DayLimits = Field(DayLimits(), description="How much a day may be.")
    s3: S3Policy = Field(S3Policy(), description="How S3 is reached, by lake and store alike.")


Owner = Annotated[str, StringConstraints(pattern=r"^(team:[A-Za-z0-9_-]+|[^@\s]+@[^@\s]+\.[^@\s]+)$")]


class OwnersPolicy(Policy):
    """Whom Dagster's catalogue names as owners: `team:NAME` or an e-mail address."""

    data: tuple[Owner, ...] = Field(("team:data-platform",), description="Of the days of data and features.")
    model: tuple[Owner, ...] = Field(("team:fraud-models",), description="Of models, evaluation, release, monitoring.")


class StorePolicy(Policy):
    """Where partitions are kept."""

    uri: str | None = Field(None, min_length=1, description="Folder or s3:// URI; by default `store` under the home.")


class LedgerPolicy(Policy):
    """Where decisions are recorded."""

    url: str | None = Field(
        None, description="SQLAlchemy URL; by default SQLite under the home. Passwords: environment."
    )
    heads: str | None = Field(
        None,
        description="File or s3:// address that keeps the chain's heads outside of it; null: ledger_heads in the home.",
    )
    retention_days: int | None = Field(
        None,
        ge=LEAST_DAYS,
        description="Days that events stay before `audit archive` may move them out; null: for ever.",
    )


class EnginePolicy(Policy):
    """What DuckDB may use."""

    memory_limit: str | None = Field(
        None,
        pattern=r"^\d+(\.\d+)?\s?(MB|GB|MiB|GiB)$",
        description="Memory before it spills, such as 2GB; by default a quarter of what the process may use.",
    )
    threads: int | None = Field(None, ge=1, le=1024, description="Threads; by default one a core.")


class MlflowPolicy(Policy):
    """Where runs and versions are kept."""

    tracking_uri: str | None = Field(None, description="Any MLflow tracking URI; by default SQLite under the home.")
    experiment: str = Field("fraud-retraining", min_length=1, description="Experiment; created when missing.")
    timeout_seconds: float = Field(30, gt=0, le=3600, description="Seconds after which a silent server is given up.")


def _rolling_by_default(value: Any) -> Any:
    if isinstance(value, Mapping) and "strategy" not in value:
        return {"strategy": "rolling", **value}
    return value


class _Environment(EnvSettingsSource):
    """Environment variables, whose JSON may name a key once only."""

    def decode_complex_value(self, field_name: str, field: Any, value: Any) -> Any:
        """A variable that holds JSON."""
        return json.loads(value, object_pairs_hook=_each_key_once)


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    twice = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    if twice:
        raise ValueError(f"the key {twice[0]} stands twice")
    return dict(pairs)


class Settings(BaseSettings):
    """All settings, checked as a whole before anything starts."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", frozen=True, extra="forbid", validate_default=True
    )
    CANONICAL: ClassVar[frozenset[str]] = frozenset(
        {*CORE_COLUMNS, LABELLED_AT, TRANSACTION, "reason", "day", "weight"}
    )

    lake: LakePolicy = Field(LakePolicy(), description="Where transactions arrive.")
    store: StorePolicy = Field(StorePolicy(), description="Where partitions are kept.")
    owners: OwnersPolicy = Field(OwnersPolicy(), description="Whom Dagster's catalogue names as owners.")
    ledger: LedgerPolicy = Field(LedgerPolicy(), description="Where decisions are recorded.")
    engine: EnginePolicy = Field(EnginePolicy(), description="What DuckDB may use.")
    columns: ColumnPolicy = Field(ColumnPolicy(), description="What the lake calls the canonical columns.")
    entities: dict[str, EntityPolicy] = Field(
        {
            "customer": EntityPolicy(column="CUSTOMER_ID"),
            "terminal": EntityPolicy(column="TERMINAL_ID", fraud_share=True),
        },
        description="Whom and what transactions belong to; {} where that is not known, and no feature looks back.",
    )
    features: ColumnFeaturePolicy = Field(ColumnFeaturePolicy(), description="Further columns, and forbidden ones.")
    labels: LabelPolicy = Field(LabelPolicy(), description="When a label may be believed, and how the lake writes it.")
    window: Annotated[WindowPolicy, BeforeValidator(_rolling_by_default)] = Field(
        RollingWindow(), description="Which days a model learns from."
    )
    holdout: HoldoutPolicy = Field(HoldoutPolicy(), description="Which days judge it.")
    validation: ValidationPolicy = Field(ValidationPolicy(), description="What days and windows must be like.")
    model: ModelPolicy = Field(ModelPolicy(), description="What is trained.")
    gates: GatePolicy = Field(GatePolicy(), description="What a candidate must prove.")
    promotion: PromotionPolicy = Field(PromotionPolicy(), description="Who lets a candidate serve.")
    drift: DriftPolicy = Field(DriftPolicy(), description="How days are compared with what the champion learnt from.")
    triggers: TriggerPolicy = Field(TriggerPolicy(), description="When a retrain is requested.")
    mlflow: MlflowPolicy = Field(MlflowPolicy(), description="Where runs and versions are kept.")
    budget: BudgetPolicy = Field(BudgetPolicy(), description="What a retrain may cost.")
    retention: RetentionPolicy = Field(RetentionPolicy(), description="What is kept of ended retrains.")
    retries: RetryPolicy = Field(RetryPolicy(), description="How often a step is tried after an outage.")
    alerts: AlertPolicy = Field(AlertPolicy(), description="Where alerts go.")
    environment: Literal["development", "staging", "production"] = Field(
        "production", description="Where this runs; schedules and sensors of a development start switched off."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment first; what `load_settings` read from the file second."""
        return _Environment(settings_cls), init_settings

    @property
    def home(self) -> Path:
        """The one folder of all state."""
        return home_folder()

    @property
    def starts_stopped(self) -> bool:
        """Whether schedules and sensors start switched off."""
        return self.environment == "development"

    @property
    def lake_uri(self) -> str:
        """Where transactions arrive."""
        return self.lake.uri or str(self.home / "lake")

    @property
    def store_uri(self) -> str:
        """Where partitions are kept."""
        return self.store.uri or str(self.home / "store")

    @property
    def heads_uri(self) -> str:
        """Where heads of the ledger's chain are kept: a file, or an address on S3."""
        return self.ledger.heads or str(self.home / "ledger_heads")

    @property
    def ledger_url(self) -> str:
        """The ledger's database."""
        return self.ledger.url or f"sqlite:///{self.home / LEDGER_FILE}"

    @property
    def tracking_uri(self) -> str:
        """MLflow's tracking store."""
        return self.mlflow.tracking_uri or f"sqlite:///{self.home / MLFLOW_FILE}"

    @property
    def slice_columns(self) -> tuple[str, ...]:
        """Columns of the lake that are carried along only to judge slices."""
        return tuple(name for name in self.gates.slices if name not in self.features.categorical)

    @property
    def drift_threshold(self) -> float:
        """Drift above which a day counts as drifted; the trigger's, or its default where the trigger is off."""
        return (self.triggers.drift or DriftTriggerPolicy()).threshold

    @property
    def performance_rule(self) -> PerformanceTriggerPolicy:
        """When live performance is too low; the trigger's rule, or its default where the trigger is off."""
        return self.triggers.performance or PerformanceTriggerPolicy()

    @property
    def mapping(self) -> LakeMapping:
        """How a row of the lake becomes a canonical transaction."""
        return LakeMapping(
            columns=self.columns,
            entities=self.entities,
            numeric=self.features.numeric,
            categorical=self.features.categorical,
            slices=self.slice_columns,
            labels=LabelValues(fraud_values=self.labels.fraud_values, genuine_values=self.labels.genuine_values),
        )

    @property
    def learnt_features(self) -> tuple[str, ...]:
        """Features that a new model learns from: those of the plan that are not retired, in its order."""
        return tuple(name for name in self.feature_plan.names if not self.features.retires(name))

    @property
    def feature_plan(self) -> FeaturePlan:
        """Which features a transaction has."""
        return FeaturePlan(
            entities=self.entities,
            numeric=self.features.numeric,
            categorical=self.features.categorical,
            slices=self.slice_columns,
            label_delay_days=self.labels.delay_days,
            labelled_at=self.columns.labelled_at is not None,
        )


def home_folder() -> Path:
    """The folder of all state, absolute; from the environment, or `.fraud_retraining` here."""
    return Path(os.environ.get(HOME_VARIABLE) or DEFAULT_HOME).expanduser().resolve()


def load_settings(config: Path | str | None = None) -> Settings:
    """Settings from a file and the environment.

    `config` wins over `FRAUD_RETRAINING_CONFIG`, which wins over `retraining.yaml` in the current folder.

    Raises:
        SettingsError: every problem that was found, in one message.
    """
    path = _config_path(config)
    values = _read_yaml(path) if path else {}
    problems = _unknown_variables()
    try:
        settings = Settings(**values)
    except ValidationError as error:
        problems += [*_validation_problems(error), *_conflicts_beside(error, values)]
        raise _settings_error(problems, path) from None
    except RecursionError:
        raise _settings_error([*problems, "a value is nested without end"], path) from None
    except SourceError as error:
        raise _settings_error([*problems, redact(f"{error}: {error.__cause__}")], path) from None
    problems.extend(_conflicts(settings) or _unmappable(settings) or _feature_name_problems(settings))
    if problems:
        raise _settings_error(problems, path)
    return settings


def _settings_error(problems: list[str], path: Path | None) -> SettingsError:
    source = f"{path} and the environment" if path else "the environment"
    return SettingsError(
        f"The settings from {source} cannot be obeyed ({len(problems)} problem{'s' if len(problems) > 1 else ''}).",
        culprits=problems,
        remedy="correct each line above; every key, its default and its meaning stand in retraining.yaml.",
    )


def _config_path(config: Path | str | None) -> Path | None:
    named = config or os.environ.get(CONFIG_VARIABLE)
    if named:
        path = Path(named).expanduser()
        if not path.is_file():
            raise SettingsError(
                f"There is no settings file at {path}.", remedy=f"correct --config or {CONFIG_VARIABLE}."
            )
        return path
    default = Path(DEFAULT_CONFIG)
    return default if default.is_file() else None


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = read_yaml(path)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{path} cannot be read as settings in YAML.",
            culprits=[redact(str(error))],
            remedy="correct the line that is named.",
        ) from None
    except ValueError as error:
        raise SettingsError(
            f"{path} holds a date that no calendar has.", culprits=[error], remedy="correct it; dates are YYYY-MM-DD."
        ) from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read.", culprits=[error], remedy="correct its permissions.") from None
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise SettingsError(f"{path} does not hold keys and values.", remedy="see retraining.yaml in the project.")
    return values


def _unknown_variables() -> list[str]:
    known = {HOME_VARIABLE, CONFIG_VARIABLE, REVIEWER_TOKEN_VARIABLE, PROXY_SECRET_VARIABLE}
    names = sorted(name for name in os.environ if name.upper().startswith(PREFIX) and name.upper() not in known)
    fields = set(Settings.model_fields)
    return [
        f"environment variable {name}: no such key"
        for name in names
        if name.upper().removeprefix(PREFIX).split("__")[0].lower() not in fields
    ]


def _validation_problems(error: ValidationError) -> list[str]:
    problems = []
    for detail in error.errors(include_url=False, include_input=False, include_context=False):
        where = ".".join(str(part) for part in detail["loc"])
        message = detail["msg"].removeprefix("Value error, ")
        if detail["type"] == "extra_forbidden":
            message = "no such key"
        problems.append(f"{where}: {message}" if where else message)
    return problems


def _conflicts(settings: Settings, broken: Collection[str] = ()) -> list[str]:
    """Values that conflict, apart from those in sections that are invalid themselves."""
    rules: tuple[tuple[Callable[[Settings], list[str]], set[str]], ...] = (
        (_columns_mapped_twice, {"columns", "entities", "features"}),
        (_forbidden_features, {"columns", "entities", "features"}),
        (_name_problems, {"entities", "features", "gates", "labels"}),
        (_window_problems, {"holdout", "window"}),
        (_reference_problems, {"entities", "features", "gates"}),
        (_secret_problems, {"alerts", "ledger", "mlflow"}),
        (_reviewer_problems, {"promotion"}),
        (_url_problems, {"ledger", "mlflow", "lake", "store"}),
    )
    return [problem for rule, about in rules if about.isdisjoint(broken) for problem in rule(settings)]


def _conflicts_beside(error: ValidationError, values: Mapping[str, Any]) -> list[str]:
    """Values that conflict in the valid sections, so that one message holds every problem."""
    broken = {str(detail["loc"][0]) for detail in error.errors() if detail["loc"]}
    try:
        sound = Settings(**{key: value for key, value in values.items() if key not in broken})
    except (ValidationError, SourceError):
        return []
    return _conflicts(sound, broken)


def _unmappable(settings: Settings) -> list[str]:
    """Problems that the lake's mapping and the feature plan find when they are built."""
    problems = []
    for make in (lambda: settings.mapping, lambda: settings.feature_plan):
        try:
            make()
        except ValidationError as error:
            problems += _validation_problems(error)
    return problems


def _mapped_columns(settings: Settings) -> Iterator[tuple[str, str]]:
    for canonical, column in settings.columns.model_dump().items():
        if column is not None:
            yield f"columns.{canonical}", column
    for name, entity in settings.entities.items():
        for column in entity.parts:
            yield f"entities.{name}.column", column


def _columns_mapped_twice(settings: Settings) -> list[str]:
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


def _same_keys(settings: Settings) -> list[str]:
    """Entities with the same key; a column may be part of several keys, and a feature besides."""
    same: dict[tuple[str, ...], list[str]] = {}
    for name, entity in settings.entities.items():
        same.setdefault(entity.parts, []).append(f"entities.{name}")
    return [f"{' and '.join(names)} have the same column" for names in same.values() if len(names) > 1]


def _forbidden_features(settings: Settings) -> list[str]:
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


def _name_problems(settings: Settings) -> list[str]:
    problems = [
        f"entities.{name}: {why}" for name in settings.entities if (why := entity_problem(name, Settings.CANONICAL))
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
        plan = FeaturePlan(entities=settings.entities, label_delay_days=settings.labels.delay_days)
    except ValidationError as error:
        return [f"entities: {problem}" for problem in _validation_problems(error)]
    own = (*plan.names, *Settings.CANONICAL, *settings.entities)
    features, mapped = dict.fromkeys(further), list(_mapped_columns(settings))
    problems = [
        f"column {shown(name)} {why}; rename it in the lake" for name in features if (why := feature_problem(name, own))
    ]
    problems += [f"{key}: {shown(name)} {why}" for key, name in mapped if (why := column_problem(name))]
    return problems + [
        f"columns {' and '.join(names)} differ in capitals only, which the engine does not tell apart"
        for names in twins([*(name for _, name in mapped), *features])
    ]


def _window_problems(settings: Settings) -> list[str]:
    if isinstance(settings.window, ExpandingWindow) or settings.holdout.days <= settings.window.days:
        return []
    return [f"holdout.days ({settings.holdout.days}) is longer than window.days ({settings.window.days})"]


def _reference_problems(settings: Settings) -> list[str]:
    problems = _alert_entity_problems(settings)
    problems += [
        f"gates.slices names the forbidden column {column}"
        for column in settings.gates.slices
        if column in settings.features.forbidden
    ]
    return problems


def _alert_entity_problems(settings: Settings) -> list[str]:
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


def _feature_name_problems(settings: Settings) -> list[str]:
    plan, retired = settings.feature_plan, settings.features.retired
    problems = [f"drift names {name}, which is not a feature" for name in settings.drift.unknown(plan)]
    problems += [
        f"features.retired names {name}, which is no feature"
        for name in retired
        if not fnmatch.filter(plan.names, name)
    ]
    return problems if settings.learnt_features else [*problems, "features.retired leaves no feature to learn from"]


def _reviewer_problems(settings: Settings) -> list[str]:
    """Two-person approval needs two reviewers who can prove who they are: one person can type two names."""
    policy = settings.promotion
    if not policy.two_person:
        return []
    problems = []
    if not policy.require_verified:
        problems.append("promotion.two_person needs require_verified: true, or one person could give two names")
    proven = [one.name for one in policy.reviewers if policy.proxy_header or one.provable_somewhere]
    if len(proven) < 2:
        problems.append(
            f"promotion.two_person needs two reviewers who can prove who they are, and {len(proven)} can: give each a "
            "slack_id, token_sha256 or os_user, or set proxy_header"
        )
    return problems


def _holds_secret(url: str) -> bool:
    """Whether a URL has a password, before its host or among its parameters."""
    try:
        parts = urlsplit(url)
        return bool(parts.password) or any(is_secret_name(name) for name, _ in parse_qsl(parts.query))
    except ValueError:
        return False


def _url_problems(settings: Settings) -> list[str]:
    """Addresses that no driver could use; they may hold a password, so a message never repeats them."""
    addresses = {
        "ledger.url": settings.ledger.url,
        "mlflow.tracking_uri": settings.mlflow.tracking_uri,
        "lake.s3.endpoint": settings.lake.s3.endpoint,
        "lake.uri": settings.lake.uri,
        "store.uri": settings.store.uri,
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


def _secret_problems(settings: Settings) -> list[str]:
    problems = [why for one in DESTINATIONS for why in secret_problems(one, settings.alerts, os.environ)]
    for key, value, variable in (
        ("mlflow.tracking_uri", settings.mlflow.tracking_uri, f"{PREFIX}MLFLOW__TRACKING_URI"),
        ("ledger.url", settings.ledger.url, f"{PREFIX}LEDGER__URL"),
        (
            "alerts.webhook.url",
            settings.alerts.webhook.url if settings.alerts.webhook else "",
            f"{PREFIX}ALERTS__WEBHOOK__URL",
        ),
    ):
        if value and _holds_secret(value) and variable not in os.environ:
            problems.append(f"{key} holds a password; secrets come only from the environment ({variable})")
    return problems
