"""The settings: `retraining.yaml`, then environment variables; frozen and closed.

Here: how the domain's policies are composed, where the values come from, and which values conflict. Not here: what a
single policy means (the domain module that obeys it).
"""

import json
import os
from collections import Counter
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    PrivateAttr,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings import (
    SettingsError as SourceError,
)

from fraud_retraining.adapters.storage.locations import TransferPolicy
from fraud_retraining.adapters.storage.yaml_file import read_yaml
from fraud_retraining.domain.alerts.failures import RetryPolicy
from fraud_retraining.domain.alerts.notices import AlertPolicy
from fraud_retraining.domain.audit.archiving import LEAST_DAYS
from fraud_retraining.domain.audit.retention import RetentionPolicy
from fraud_retraining.domain.data.athena_table import AthenaPolicy
from fraud_retraining.domain.data.engine_policy import EnginePolicy
from fraud_retraining.domain.data.lake_layout import DayLimits
from fraud_retraining.domain.data.lake_mapping import LakeMapping
from fraud_retraining.domain.data.segments import SHARED, SegmentPolicy, Where, columns_of
from fraud_retraining.domain.data.validation import ValidationPolicy
from fraud_retraining.domain.evaluation.gates import GatePolicy
from fraud_retraining.domain.evaluation.score_fits import ScoresPolicy
from fraud_retraining.domain.features.plan import FeaturePlan
from fraud_retraining.domain.labels.policy import LabelPolicy
from fraud_retraining.domain.ledger.signatures import SignerPolicy
from fraud_retraining.domain.monitoring.drift import DriftPolicy
from fraud_retraining.domain.releases.promotion_mode import PromotionPolicy
from fraud_retraining.domain.releases.reviewers import PROXY_SECRET_VARIABLE
from fraud_retraining.domain.replay.replaceable_settings import laid_over
from fraud_retraining.domain.retraining.budget import BudgetPolicy
from fraud_retraining.domain.retraining.run_resources import KubernetesPolicy
from fraud_retraining.domain.retraining.triggers.drift import DriftTriggerPolicy
from fraud_retraining.domain.retraining.triggers.performance import PerformanceTriggerPolicy
from fraud_retraining.domain.retraining.triggers.registry import TriggerPolicy
from fraud_retraining.domain.serving.policy import ServingPolicy
from fraud_retraining.domain.training.fitting import ModelPolicy
from fraud_retraining.domain.training.windows import HoldoutPolicy, RollingWindow, WindowPolicy
from fraud_retraining.domain.values.base import Policy
from fraud_retraining.domain.values.errors import SettingsError
from fraud_retraining.domain.values.redaction import redact
from fraud_retraining.domain.values.schemas import (
    AMOUNT,
    CORE_COLUMNS,
    LABELLED_AT,
    TRANSACTION,
    ColumnFeaturePolicy,
    ColumnPolicy,
    EntityPolicy,
    LabelValues,
)
from fraud_retraining.settings_checks import (
    conflicts,
    segment_problems,
    settings_problems,
    validation_problems,
)

PREFIX = "FRAUD_RETRAINING_"
HOME_VARIABLE = f"{PREFIX}HOME"
CONFIG_VARIABLE = f"{PREFIX}CONFIG"
REVIEWER_TOKEN_VARIABLE = f"{PREFIX}REVIEWER_TOKEN"
SEGMENT_VARIABLE = f"{PREFIX}SEGMENT"
NOT_SETTINGS = frozenset(
    {HOME_VARIABLE, CONFIG_VARIABLE, REVIEWER_TOKEN_VARIABLE, PROXY_SECRET_VARIABLE, SEGMENT_VARIABLE}
)
"""Variables with the prefix that are no keys of the settings."""
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
    """Where transactions arrive: files by day, or a table of Athena (`kind: athena`, with the keys of the table)."""

    kind: Literal["files", "athena"] = Field("files", description="Files by day under `uri`, or a table of Athena.")
    athena: AthenaPolicy | None = Field(
        None,
        description="The table of kind athena; its keys (database, table, output, ...) may stand beside `kind`.",
    )
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

    @model_validator(mode="before")
    @classmethod
    def _keys_of_the_table(cls, given: Any) -> Any:
        """`database`, `table` and the like, written beside `kind`, are those of the table."""
        if not isinstance(given, Mapping):
            return given
        beside = {name: value for name, value in given.items() if name in AthenaPolicy.model_fields}
        if not beside:
            return given
        table = given.get("athena") or {}
        if not isinstance(table, Mapping):
            return given
        rest = {name: value for name, value in given.items() if name not in beside}
        return {**rest, "athena": {**table, **beside}}

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.kind == "athena") != (self.athena is not None):
            raise ValueError("a table of Athena needs kind: athena, and database, table and output beside it")
        if self.athena is not None and self.uri is not None:
            raise ValueError("kind: athena reads a table: leave out uri")
        return self

    s3: S3Policy = Field(S3Policy(), description="How S3 is reached, by lake and store alike.")


Owner = Annotated[str, StringConstraints(pattern=r"^(team:[A-Za-z0-9_-]+|[^@\s]+@[^@\s]+\.[^@\s]+)$")]


class OwnersPolicy(Policy):
    """Whom Dagster's catalogue names as owners: `team:NAME` or an e-mail address."""

    data: tuple[Owner, ...] = Field(("team:data-platform",), description="Of the days of data and features.")
    model: tuple[Owner, ...] = Field(("team:fraud-models",), description="Of models, evaluation, release, monitoring.")


class StorePolicy(Policy):
    """Where partitions are kept."""

    uri: str | None = Field(None, min_length=1, description="Folder or s3:// URI; by default `store` under the home.")


SignerName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,39}$")]


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
    signers: dict[SignerName, SignerPolicy] = Field(
        {},
        max_length=50,
        description="Keys that sign events, by name; {}: nothing is signed. Keys that were replaced stay listed.",
    )
    key_file: Path | None = Field(
        None,
        description="File with the private key (PEM) of this process; the variable LEDGER_PRIVATE_KEY may hold it.",
    )

    @field_validator("key_file")
    @classmethod
    def _absolute(cls, given: Path | None) -> Path | None:
        found = given.expanduser() if given is not None else None
        if found is not None and not found.is_absolute():
            raise ValueError("not an absolute path; runs start in other folders")
        return found

    @model_validator(mode="after")
    def _one_name_a_key(self) -> Self:
        names: dict[bytes, list[str]] = {}
        for name, signer in self.signers.items():
            names.setdefault(signer.key_bytes, []).append(name)
        twice = [" and ".join(found) for found in names.values() if len(found) > 1]
        if twice:
            raise ValueError(f"signers {', '.join(twice)} have the same key: one key has one name")
        return self


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


MODELS_AT_FULL_PACE = 10
FRESH_HOLDOUT_DAYS, MATURE_HOLDOUT_DAYS = 3, HoldoutPolicy().days


def _section(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A section of the settings as it was given; empty where it was not, or is no section."""
    given = values.get(name)
    if isinstance(given, BaseModel):
        return given.model_dump(exclude_unset=True)
    return dict(given) if isinstance(given, Mapping) else {}


def _texts(given: Any) -> list[str]:
    """The texts of a list that was given; what is none is refused when the settings of its model are made."""
    return [one for one in given if isinstance(one, str)] if isinstance(given, list | tuple) else []


def _settings_about(column: str, model: SegmentPolicy) -> list[str]:
    """The settings of a model that name a column by which rows are told apart or judged."""
    named = {"where": column in model.where, "gates.slices": column in _texts((model.gates or {}).get("slices"))}
    return [f"models.{model.name}.{key}" for key, is_named in named.items() if is_named]


def _completed(values: Mapping[str, Any], name: str, section: dict[str, Any]) -> dict[str, Any]:
    """The section under its name; nothing where what was given is no section, which its own check refuses."""
    return {name: section} if isinstance(values.get(name, {}), Mapping | BaseModel) else {}


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
    engine: EnginePolicy = Field(EnginePolicy(), description="What computes days, and what it may use.")
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
    judging: Literal["fresh", "mature"] = Field(
        "fresh",
        description="With labels as_known: judge on the last days as far as labels are known, or on mature days.",
    )
    validation: ValidationPolicy = Field(ValidationPolicy(), description="What days and windows must be like.")
    model: ModelPolicy = Field(ModelPolicy(), description="What is trained.")
    models: tuple[SegmentPolicy, ...] = Field(
        (), description="Several models side by side, each with its own transactions and settings; () for one."
    )
    gates: GatePolicy = Field(GatePolicy(), description="What a candidate must prove.")
    scores: ScoresPolicy = Field(ScoresPolicy(), description="What the scores of a new version mean.")
    promotion: PromotionPolicy = Field(PromotionPolicy(), description="Who lets a candidate serve.")
    drift: DriftPolicy = Field(DriftPolicy(), description="How days are compared with what the champion learnt from.")
    triggers: TriggerPolicy = Field(TriggerPolicy(), description="When a retrain is requested.")
    serving: ServingPolicy = Field(ServingPolicy(), description="How `serve-scores` answers.")
    mlflow: MlflowPolicy = Field(MlflowPolicy(), description="Where runs and versions are kept.")
    budget: BudgetPolicy = Field(BudgetPolicy(), description="What a retrain may cost.")
    kubernetes: KubernetesPolicy = Field(KubernetesPolicy(), description="Runs that are pods of Kubernetes.")
    retention: RetentionPolicy = Field(RetentionPolicy(), description="What is kept of ended retrains.")
    retries: RetryPolicy = Field(RetryPolicy(), description="How often a step is tried after an outage.")
    alerts: AlertPolicy = Field(AlertPolicy(), description="Where alerts go.")
    environment: Literal["development", "staging", "production"] = Field(
        "production", description="Where this runs; schedules and sensors of a development start switched off."
    )

    _shared: "Settings | None" = PrivateAttr(None)
    """The settings that a model of several is one of."""

    @model_validator(mode="before")
    @classmethod
    def _defaults_that_follow_label_times(cls, values: Any) -> Any:
        """`labels.use` and `holdout.days` where the settings leave them out, or say null.

        Labels are used as known where there are label times, a feed or a column; without any they are mature ones. With
        labels as known and judged fresh the holdout is 3 days.
        """
        if not isinstance(values, Mapping):
            return values
        labels, columns, holdout = (_section(values, name) for name in ("labels", "columns", "holdout"))
        times = bool(labels.get("uri") or columns.get("labelled_at"))
        use = labels.get("use") or ("as_known" if times else "mature")
        if use == "as_known" and not times:
            use = "mature"
        fresh = use == "as_known" and values.get("judging", "fresh") == "fresh"
        days = FRESH_HOLDOUT_DAYS if fresh else MATURE_HOLDOUT_DAYS
        return {
            **values,
            **_completed(values, "labels", {**labels, "use": use}),
            **_completed(
                values, "holdout", {**holdout, "days": days if holdout.get("days") is None else holdout["days"]}
            ),
        }

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
        # No dotenv and no secrets folder: the settings of a run must be found in two places and no third one.
        return _Environment(settings_cls), init_settings

    @property
    def shared(self) -> "Settings":
        """The settings that all models share; these, where there is one model."""
        return self._shared or self

    @property
    def segment(self) -> str:
        """The name of the model where it is one of several: the first part of the keys of its assets. Else empty."""
        return self.model.name if self._shared is not None else ""

    @property
    def model_names(self) -> tuple[str, ...]:
        """The models that are configured."""
        return tuple(one.name for one in self.models) or (self.model.name,)

    @property
    def recorded_as(self) -> str:
        """Whose decisions and failures the ledger records: the model's, or those of days that several models share."""
        return SHARED if self.models else self.model.name

    def paced(self, seconds: int) -> int:
        """How often a sensor looks: `seconds` for up to ten models, and longer the more there are beside it."""
        # A tick costs the daemon a tenth of a second, whoever's it is: a hundred models must not keep it from any.
        return seconds * max(1, -(-len(self.shared.models) // MODELS_AT_FULL_PACE)) if self.segment else seconds

    def each_model(self) -> tuple["Settings", ...]:
        """The settings of each model; these, where there is one."""
        return tuple(map(self.of_model, self.model_names))

    def of_model(self, name: str) -> "Settings":
        """The settings of one model: those of all, with its own laid over them; of `shared` what they share.

        Raises:
            SettingsError: there is no such model.
            ValidationError: they are no settings.
        """
        entry = next((one for one in self.models if one.name == name), None)
        if entry is None:
            if name == SHARED:
                return self.shared
            if name == self.model.name and not self.models:
                return self
            raise SettingsError(f"there is no model {name}", culprits=self.model_names, remedy="name one of these.")
        own = dict(entry.overrides)
        own["model"] = {**own.get("model", {}), "name": name, "where": entry.where}
        # Runs of each model in an experiment of its own: retention reads the runs of one experiment.
        own["mlflow"] = {"experiment": f"{self.mlflow.experiment}/{name}"}
        base = self._given("judging" in own)
        if own["model"].get("estimator", self.model.estimator) != self.model.estimator:
            base["model"] = {**base.get("model", {}), "params": {}}
        made = GivenSettings(**{**laid_over(base, own), "models": ()})
        made._shared = self
        return made

    def of_former(self, name: str) -> "Settings":
        """The settings under which the record of a model is read that they no longer name."""
        made = GivenSettings(
            **laid_over(self._given(other_labels=False), {"model": {"name": name, "where": {}}, "models": ()})
        )
        made._shared = self.shared
        return made

    def with_overrides(self, overrides: Mapping[str, Any]) -> "Settings":
        """These settings with others laid over them, for the same model.

        Raises:
            ValidationError: they are no settings.
        """
        made = GivenSettings(**laid_over(self._given("labels" in overrides or "judging" in overrides), overrides))
        made._shared = self._shared
        return made

    def _given(self, other_labels: bool) -> dict[str, Any]:
        """What was given, by section; with `other_labels` without the length of the holdout that follows from them."""
        given = self.model_dump(exclude_unset=True)
        follows = FRESH_HOLDOUT_DAYS if self.judges_fresh else MATURE_HOLDOUT_DAYS
        if other_labels and self.holdout.days == follows:
            given["holdout"] = {key: value for key, value in given["holdout"].items() if key != "days"}
        return given

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
        if self.lake.athena is not None:
            return self.lake.athena.uri
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
        """Columns of the lake that are carried along only to judge slices, or to tell segments apart."""
        # Of all models together: the days are shared, and each says what they are made of.
        shared = self.shared
        slices = self._shared_slices
        kept = (*slices, *shared.model.where, *columns_of(shared.models))
        there = {*shared.features.categorical, *shared.features.numeric, *shared.stored_names}
        own = set(slices) - set(shared.features.categorical)
        return tuple(dict.fromkeys(name for name in kept if name in own or name not in there))

    @property
    def _shared_slices(self) -> tuple[str, ...]:
        """Columns by which any of the models judges slices."""
        shared = self.shared
        own = [name for one in shared.models for name in _texts((one.gates or {}).get("slices"))]
        return (*shared.gates.slices, *own)

    @property
    def _columns_of_models(self) -> dict[str, tuple[str, ...]]:
        """Columns that days have for single models alone, and the settings that ask for them."""
        shared = self.shared
        needed = {*shared.gates.slices, *shared.model.where}
        return {
            name: tuple(setting for one in shared.models for setting in _settings_about(name, one))
            for name in self.slice_columns
            if name not in needed
        }

    @property
    def own_columns(self) -> dict[str, str]:
        """Columns that days have for single models alone, of which this is one, and its setting that asks for each."""
        own = next((one for one in self.shared.models if one.name == self.segment), None)
        if own is None:
            return {}
        found = {name: " and ".join(_settings_about(name, own)) for name in self._columns_of_models}
        return {name: settings for name, settings in found.items() if settings}

    @property
    def stored_names(self) -> dict[str, str]:
        """Lake columns of amount and of keys of one column, and what days call them."""
        keys = {entity.parts[0]: name for name, entity in self.entities.items() if len(entity.parts) == 1}
        return {**keys, **{name: name for name in self.entities}, self.columns.amount: AMOUNT}

    @property
    def segment_where(self) -> Where:
        """The condition of the model, by the names that columns have in days."""
        further = {*self.features.numeric, *self.features.categorical, *self.slice_columns}
        names = {name: name for name in further}
        return {{**self.stored_names, **names}.get(name, name): one for name, one in self.model.where.items()}

    @property
    def drift_threshold(self) -> float:
        """Drift above which a day counts as drifted; the trigger's, or its default where the trigger is off."""
        return (self.triggers.drift or DriftTriggerPolicy()).threshold

    @property
    def performance_rule(self) -> PerformanceTriggerPolicy:
        """When live performance is too low; the trigger's rule, or its default where the trigger is off."""
        return self.triggers.performance or PerformanceTriggerPolicy()

    @property
    def label_times(self) -> bool:
        """Whether it is known when labels became known: from a feed, or from a column."""
        return self.labels.uri is not None or self.columns.labelled_at is not None

    @property
    def watches_missed_frauds(self) -> bool:
        """Whether known frauds of served days are held against the alert budget: the trigger `labels` reads them."""
        return self.triggers.labels is not None and self.label_times

    @property
    def window_labels(self) -> LabelPolicy:
        """Labels by which windows choose their days: mature ones where judging is."""
        return self.labels if self.judging == "fresh" else self.labels.model_copy(update={"use": "mature"})

    @property
    def judged_at_age(self) -> timedelta:
        """Age at which a served day is judged first: that of a holdout's first day on labels as known, or mature."""
        mature = timedelta(days=self.labels.delay_days)
        return min(timedelta(days=self.holdout.days), mature) if self.window_labels.use == "as_known" else mature

    @property
    def learns_after_days(self) -> int:
        """Days from a day until the training window of a retrain reaches it."""
        # A second fit learns from the holdout too; where it does not agree with the judged one, days are learnt later.
        return self.window_labels.lag_days + (0 if self.window.refit.enabled else self.holdout.longest)

    @property
    def judges_fresh(self) -> bool:
        """Whether candidates are judged on labels that are not mature yet, so that they are judged again later."""
        return self.labels.use == "as_known" and self.judging == "fresh"

    @property
    def label_values(self) -> LabelValues:
        """How the lake, or the label feed where there is one, writes labels."""
        return LabelValues(fraud_values=self.labels.fraud_values, genuine_values=self.labels.genuine_values)

    @property
    def mapping(self) -> LakeMapping:
        """How a row of the lake becomes a canonical transaction."""
        return LakeMapping(
            columns=self.columns.model_copy(update={"is_fraud": None}) if self.labels.uri else self.columns,
            # How a row is mapped does not depend on labels: their other use needs no other transactions.
            entities={name: entity.decided(fraud_share=False) for name, entity in self.entities.items()},
            numeric=self.features.numeric,
            categorical=self.features.categorical,
            slices=self.slice_columns,
            asked_by=self._columns_of_models,
            labels=LabelValues() if self.labels.uri else self.label_values,
            blocked=self.labels.blocked if self.columns.decision is not None else None,
        )

    @property
    def learnt_features(self) -> tuple[str, ...]:
        """Features that a new model learns from: those of the plan that are not retired, in its order."""
        return tuple(name for name in self.feature_plan.names if not self.features.retires(name))

    @property
    def feature_plan(self) -> FeaturePlan:
        """Which features a transaction has."""
        as_known = self.labels.use == "as_known"
        return FeaturePlan(
            entities={name: entity.decided(as_known) for name, entity in self.entities.items()},
            numeric=self.features.numeric,
            categorical=self.features.categorical,
            slices=self.slice_columns,
            label_delay_days=self.labels.delay_days,
            labelled_at=self.columns.labelled_at is not None,
            labels_as_known=as_known,
            propensity=self.columns.decision is not None,
        )


class GivenSettings(Settings):
    """Settings from values alone: the environment is in those that they are made of, and must not win again."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The values that were given, nothing else."""
        return (init_settings,)


def home_folder() -> Path:
    """The folder of all state, absolute; from the environment, or `.fraud_retraining` here."""
    return Path(os.environ.get(HOME_VARIABLE) or DEFAULT_HOME).expanduser().resolve()


def load_settings(config: Path | str | None = None) -> Settings:
    """Settings from a file and the environment.

    `config` wins over `FRAUD_RETRAINING_CONFIG`, which wins over `retraining.yaml` in the current folder.

    Raises:
        SettingsError: every problem that was found, in one message.
    """
    path = config_path(config)
    values = _read_yaml(path) if path else {}
    problems = _unknown_variables()
    try:
        settings = Settings(**values)
    except ValidationError as error:
        problems += [*validation_problems(error), *_conflicts_beside(error, values)]
        raise _settings_error(problems, path) from None
    except RecursionError:
        raise _settings_error([*problems, "a value is nested without end"], path) from None
    except SourceError as error:
        raise _settings_error([*problems, redact(f"{error}: {error.__cause__}")], path) from None
    problems.extend(settings_problems(settings) or segment_problems(settings))
    if problems:
        raise _settings_error(problems, path)
    return settings


def settings_source(config: Path | str | None = None) -> str:
    """Where `load_settings` takes the settings from, in words: the file, and names of variables of the environment."""
    path = config_path(config)
    names = sorted(name for name in os.environ if name.upper().startswith(PREFIX) and name.upper() not in NOT_SETTINGS)
    sources = [str(path.absolute()) if path else f"defaults, for there is no {DEFAULT_CONFIG} here", *names]
    return ", ".join(sources)


def _settings_error(problems: list[str], path: Path | None) -> SettingsError:
    source = f"{path} and the environment" if path else "the environment"
    return SettingsError(
        f"The settings from {source} cannot be obeyed ({len(problems)} problem{'s' if len(problems) > 1 else ''}).",
        culprits=problems,
        remedy="correct each line above; every key, its default and its meaning stand in retraining.yaml.",
    )


def config_path(config: Path | str | None) -> Path | None:
    """The settings file that `load_settings` reads; None where there is none.

    Raises:
        SettingsError: one is named and not there.
    """
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
    names = sorted(name for name in os.environ if name.upper().startswith(PREFIX) and name.upper() not in NOT_SETTINGS)
    fields = set(Settings.model_fields)
    return [
        f"environment variable {name}: no such key"
        for name in names
        if name.upper().removeprefix(PREFIX).split("__")[0].lower() not in fields
    ]


def _conflicts_beside(error: ValidationError, values: Mapping[str, Any]) -> list[str]:
    """Values that conflict in the valid sections, so that one message holds every problem."""
    broken = {str(detail["loc"][0]) for detail in error.errors() if detail["loc"]}
    try:
        sound = Settings(**{key: value for key, value in values.items() if key not in broken})
    except (ValidationError, SourceError):
        return []
    return conflicts(sound, broken)
