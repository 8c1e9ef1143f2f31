"""Stored partitions of some days, and which of them are stale.

Here: reading the records of day partitions and comparing their inputs with the present ones. Not here: the dependencies
between partitions (`domain/features/partition_inputs.py`).
"""

import logging
from collections.abc import Collection, Iterable, Mapping
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Any

from pydantic import ValidationError

from fraud_retraining.adapters.days.stored_days import stored_day
from fraud_retraining.adapters.mlflow.code_versions import code_version
from fraud_retraining.adapters.storage.lake import DayFiles
from fraud_retraining.adapters.storage.model_store import WHOLE_ROWS
from fraud_retraining.adapters.storage.store import Partition, Store
from fraud_retraining.domain.data.day_checks import DAY_CHECKS, delivered_together
from fraud_retraining.domain.data.identity import Identity
from fraud_retraining.domain.data.reproducibility import StoredDay
from fraud_retraining.domain.data.rule_results import Report
from fraud_retraining.domain.features import partition_inputs
from fraud_retraining.domain.features.partition_inputs import DayDigests
from fraud_retraining.domain.features.plan import FeaturePlan
from fraud_retraining.domain.values.digests import digest
from fraud_retraining.domain.values.errors import IntegrityError
from fraud_retraining.orchestration.names import (
    ENTITY_DAYS,
    ENTITY_LABEL_DAYS,
    FEATURES,
    ONLINE_STATE,
    TRANSACTIONS,
)
from fraud_retraining.settings import Settings

LOG = logging.getLogger(__name__)
CHECKS = "checks"
REFUSED = "refused"
REPLACED = "replaced"
"""Fact of an online state: digests of the states of the same day that were there before it."""

FACTS = {
    TRANSACTIONS: {"rows", "facts", "labels", "key_types", "rejects", "ignored_columns"},
    ENTITY_DAYS: {"facts", "labels"},
    FEATURES: {"label_days", "columns"},
}
"""Facts that a record of an older version of the project may lack; such a partition is made again."""
DAY_ASSETS = tuple(FACTS)


class Recipes:
    """Digests of the settings and the code that partitions are made by, each computed at its first use."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def mapping(self) -> str:
        """Digest of the mapping of the lake's columns."""
        return digest(self._settings.mapping.model_dump(mode="json"))

    @cached_property
    def plan(self) -> str:
        """Digest of the feature plan."""
        return digest(self._settings.feature_plan.model_dump(mode="json"))

    @cached_property
    def ingestion_code(self) -> str:
        """Version of the ingestion code."""
        return code_version("ingestion")

    @cached_property
    def features_code(self) -> str:
        """Version of the feature code."""
        return code_version("features")

    @cached_property
    def feature_version(self) -> str:
        """Digest of the feature plan and the feature code: states of another one are not scored with."""
        return digest([self.plan, self.features_code])

    def every(self) -> dict[str, str]:
        """All of them by name."""
        names = ("mapping", "plan", "ingestion_code", "features_code")
        return {name: getattr(self, name) for name in names}


def day_digests(partition: Partition) -> DayDigests:
    """The three digests that `partition` was written with."""
    return DayDigests(whole=partition.digest, facts=partition.facts["facts"], labels=partition.facts["labels"])


class Inventory:
    """The records of some days, read once.

    `made` are the assets that the caller makes: a damaged partition of them counts as missing. A damaged record of the
    other assets, which the caller only reads, raises `IntegrityError`.
    """

    def __init__(self, store: Store, settings: Settings, days: Iterable[date], *, made: Collection[str] = ()) -> None:
        self._store = store
        self._made = made
        self.clashing: dict[date, list[date]] = {}
        """By day, the days whose keys or categories are written in another form."""
        self._settings = settings
        self._days = tuple(sorted(set(days)))
        self._recipes = Recipes(settings)
        self._damaged: dict[str, dict[date, Partition]] = {}

    @property
    def recipes(self) -> Recipes:
        """Digests of the present settings and code."""
        return self._recipes

    @property
    def plan(self) -> FeaturePlan:
        """The feature plan of the settings."""
        return self._settings.feature_plan

    @property
    def plan_digest(self) -> str:
        """Digest of the plan."""
        return self._recipes.plan

    @cached_property
    def transactions(self) -> dict[date, Partition]:
        """Partitions of `transactions`."""
        return self._records(TRANSACTIONS)

    @cached_property
    def entity_days(self) -> dict[date, Partition]:
        """Partitions of `entity_days`."""
        return self._records(ENTITY_DAYS)

    @cached_property
    def entity_label_days(self) -> dict[date, Partition]:
        """Partitions of `entity_label_days` by the day known; none unless labels are used as known."""
        return self._store.readable(ENTITY_LABEL_DAYS, self._days) if self.plan.labels_as_known else {}

    @cached_property
    def features(self) -> dict[date, Partition]:
        """Partitions of `transaction_features`."""
        return self._records(FEATURES)

    @cached_property
    def online_states(self) -> dict[date, Partition]:
        """Partitions of `online_state`; a damaged one counts as missing."""
        return self._store.readable(ONLINE_STATE, self._days)

    @property
    def key_types(self) -> dict[str, str]:
        """Whether each key is integer or text, as the latest day that says so has it."""
        return {
            name: kind for _, one in sorted(self.transactions.items()) for name, kind in one.facts["key_types"].items()
        }

    def _records(self, asset: str) -> dict[date, Partition]:
        if asset not in self._made:
            return self._store.partitions(asset, self._days)
        standing = self._store.standing(asset, self._days)
        # Damage is logged and repaired by making the day again; only the maker may treat it so, a reader must stop.
        damaged = {day: one for day, one in standing.items() if one.problem}
        for day, one in damaged.items():
            LOG.warning("%s of %s is damaged and counts as not made: %s", asset, day, one.problem)
        found = {day: one.record for day, one in standing.items() if one.record is not None}
        # A record of an older version may lack facts that are read below: it counts as missing, not as an error.
        known = {day: record for day, record in found.items() if record.facts.keys() >= FACTS[asset]}
        self._damaged[asset] = {day: record for day, record in known.items() if day in damaged}
        return {day: record for day, record in known.items() if day not in damaged}

    def before(self, day: date) -> Partition | None:
        """The last ingested partition of a day, even if its files are damaged now."""
        return self.transactions.get(day) or self._damaged.get(TRANSACTIONS, {}).get(day)

    @cached_property
    def stored_days(self) -> Mapping[date, StoredDay]:
        """The present and the earlier digests of every ingested day."""
        return {day: stored_day(partition) for day, partition in self.transactions.items()}

    def transactions_inputs(self, files: DayFiles) -> dict[str, str]:
        """Inputs of `transactions` of the day as they are now."""
        return partition_inputs.transactions_inputs(files.version, self._recipes.mapping, self._recipes.ingestion_code)

    def entity_days_inputs(self, day: date) -> dict[str, str]:
        """Inputs of `entity_days` of the day as they are now."""
        digests = day_digests(self.transactions[day])
        return partition_inputs.entity_days_inputs(digests, self._recipes.plan, self._recipes.features_code)

    def features_inputs(self, day: date) -> dict[str, str]:
        """Inputs of `transaction_features` of the day as they are now."""
        return partition_inputs.features_inputs(
            self.plan, day, self._made_days, self._recipes.plan, self._recipes.features_code
        )

    def online_state_inputs(self, day: date) -> dict[str, str]:
        """Inputs of `online_state` of the day as they are now."""
        return partition_inputs.online_state_inputs(
            self.plan, day, self._made_days, self._recipes.plan, self._recipes.features_code
        )

    @cached_property
    def _made_days(self) -> partition_inputs.MadeDays:
        return partition_inputs.MadeDays(
            self._digests_of_transactions, self._digests_of_entity_days, self._digests_of_entity_label_days
        )

    @cached_property
    def _digests_of_transactions(self) -> Mapping[date, DayDigests]:
        return {day: day_digests(partition) for day, partition in self.transactions.items()}

    @cached_property
    def _digests_of_entity_label_days(self) -> Mapping[date, str]:
        return {day: partition.digest for day, partition in self.entity_label_days.items()}

    @cached_property
    def _digests_of_entity_days(self) -> Mapping[date, DayDigests]:
        return {day: day_digests(partition) for day, partition in self.entity_days.items()}

    def stale_transactions(self, lake: Mapping[date, DayFiles]) -> list[date]:
        """Days whose files in the lake are new or changed, or that were ingested by other rules."""
        return [
            day
            for day, files in sorted(lake.items())
            if day in self._days
            and (day not in self.transactions or self.transactions[day].inputs != self.transactions_inputs(files))
        ]

    def stale_entity_days(self) -> list[date]:
        """Ingested days whose sums are missing or were made from something else."""
        return [
            day
            for day in self.transactions
            if day not in self.entity_days or self.entity_days[day].inputs != self.entity_days_inputs(day)
        ]

    def stale_features(self, days: Iterable[date]) -> list[date]:
        """Those of `days` whose features are missing or were made from something else."""
        return [
            day
            for day in days
            if day in self.transactions
            and (day not in self.features or self.features[day].inputs != self.features_inputs(day))
        ]

    @property
    def _limits(self) -> str:
        """Digest of the size limits of a day: after a change, a day that was too large is tried again."""
        return digest(self._settings.lake.limits)

    def refuse(self, day: date, files: DayFiles, why: str) -> None:
        """Records that the day is refused, so that it is not tried again until one of its inputs changes."""
        # The other days are part of the reason: once one of them is delivered in another form, this one is tried again.
        beside = {other.isoformat(): self.transactions[other].inputs for other in self.clashing.get(day, ())}
        refusal = {"inputs": self.transactions_inputs(files), "why": why, "beside": beside, "limits": self._limits}
        self._store.annotate(TRANSACTIONS, day, REFUSED, refusal)

    def beside(self, day: date, lake: Mapping[date, DayFiles], reach: timedelta) -> dict[date, Identity]:
        """Forms of keys and categories on the days around a day that are ingested as they are in the lake now.

        A day that was delivered again does not count until it is ingested: so the form of all days can be changed.
        """
        return {
            other: Identity(**{name: record.facts.get(name, {}) for name in Identity.model_fields})
            for other, record in self.transactions.items()
            if other != day
            and abs(other - day) <= reach
            and other in lake
            and record.inputs == self.transactions_inputs(lake[other])
        }

    def lake_column(self, name: str) -> str:
        """The name in the lake of a canonical column, or of one column of a composite key."""
        mapping = self._settings.mapping
        if name in mapping.key_parts:
            entity, lake = mapping.key_parts[name]
            return f"{lake} ({entity})"
        lake = " and ".join(mapping.lake_names[name])
        return lake if lake == name else f"{lake} ({name})"

    def refusal(self, day: date, files: DayFiles) -> str | None:
        """Why the day is refused as it is in the lake now: unreadable, or failed checks; None if it is not."""
        if day in self.stale_transactions({day: files}):
            found = self._annotation(day, REFUSED)
            same = (found.get("inputs"), found.get("limits")) == (self.transactions_inputs(files), self._limits)
            return str(found.get("why")) if same and self._still_beside(found) else None
        report = self.report(day)
        if report is None or not report.failed or report.rules != self.rules(day):
            return None
        return "; ".join(f"{result.name}: {result.message}" for result in report.failed)

    def _still_beside(self, refusal: Mapping[str, Any]) -> bool:
        """Whether the days that a refused day did not fit are still what they were."""
        beside = {date.fromisoformat(day): inputs for day, inputs in refusal.get("beside", {}).items()}
        now = self._store.readable(TRANSACTIONS, beside)
        return all(day in now and now[day].inputs == inputs for day, inputs in beside.items())

    def earlier_rows(self, day: date) -> list[int]:
        """Accepted rows of the days before, oldest first, as far as the trailing median looks back."""
        before = [day - timedelta(days=n) for n in range(self._settings.validation.trailing_days, 0, -1)]
        facts = (self.transactions[earlier].facts for earlier in before if earlier in self.transactions)
        # Of all transactions, also where a model sees some: days are checked as they were delivered.
        return [one.get(WHOLE_ROWS, one["rows"]) for one in facts]

    def earlier_columns(self, day: date) -> list[str] | None:
        """Columns of the day before that nothing reads; None where that day is not ingested."""
        before = self.transactions.get(day - timedelta(days=1))
        return list(before.facts["ignored_columns"]) if before else None

    def with_day_before(self, day: date) -> bool:
        """Whether the day was delivered together with the nearest ingested day before it."""
        back = range(1, self._settings.validation.trailing_days + 1)
        before = next((found for n in back if (found := self._arrival(day - timedelta(days=n)))), None)
        return delivered_together(self._arrival(day), before)

    def _arrival(self, day: date) -> datetime | None:
        arrived = self.transactions[day].facts.get("arrived_at") if day in self.transactions else None
        return datetime.fromisoformat(arrived) if arrived else None

    def rules(self, day: date) -> str:
        """Digest of all inputs of the checks of a day but its rows."""
        settings = self._settings
        around = [self.earlier_rows(day), self.earlier_columns(day), self.with_day_before(day)]
        return digest([settings.shared.validation, settings.mapping, *around])

    def report(self, day: date) -> Report | None:
        """The report of the day as it is stored now; None unless every check has a result."""
        try:
            report = Report.model_validate(self._annotation(day, CHECKS))
        except ValidationError:
            return None
        # A report of fewer checks is of an older version; one of another digest is of rows that were replaced since.
        complete = {result.name for result in report.results} == set(DAY_CHECKS)
        return report if complete and report.digest == self.transactions[day].digest else None

    def _annotation(self, day: date, name: str) -> dict[str, Any]:
        """A document beside a day; empty where there is none, or none that can be read back: it is made again."""
        try:
            return self._store.annotation(TRANSACTIONS, day, name) or {}
        except IntegrityError:
            return {}

    def unfit(self, days: Iterable[date]) -> tuple[date, ...]:
        """Those of `days` that were ingested and failed a blocking check, or whose checks gave no result."""
        return tuple(day for day in days if self.unchecked([day]))

    def unchecked(self, days: Iterable[date]) -> list[str]:
        """Ingested days that failed a blocking check or whose checks gave no result, with the reason."""
        problems = []
        for day in days:
            if day not in self.transactions:
                continue
            report = self.report(day)
            if report is None:
                problems.append(f"{day}: its checks gave no result")
            else:
                problems += [f"{day}: {result.name}: {result.message}" for result in report.failed]
        return problems
