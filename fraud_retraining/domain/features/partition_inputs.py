"""Inputs of each partition as digests: a partition is made again when one of them changes.

Here: the inputs of a day of each asset. Labels and facts (everything but labels) have digests of their own: features
look back on facts of every day, but on labels only of days that the label delay has released, so a label that arrives
makes no other day stale before its time. Not here: reading the digests and comparing them with a stored day
(`orchestration/state/inventory.py`), and the lineage of columns (`column_lineage.py`).
"""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import NamedTuple

from fraud_retraining.domain.features.plan import FeaturePlan
from fraud_retraining.domain.values.base import Value
from fraud_retraining.domain.values.digests import digest


class DayDigests(Value):
    """One day of an asset: everything, everything but labels, and the labels."""

    whole: str
    facts: str
    labels: str


Digests = Mapping[date, DayDigests]


class MadeDays(NamedTuple):
    """The digests of the days that features are made from; of `entity_label_days` by day known."""

    transactions: Digests
    entity_days: Digests
    entity_label_days: Mapping[date, str]


def transactions_inputs(source_version: str, mapping_digest: str, code: str) -> dict[str, str]:
    """Inputs of `transactions`[D]."""
    return {"source": source_version, "mapping": mapping_digest, "code": code}


def entity_days_inputs(transactions: DayDigests, plan_digest: str, code: str) -> dict[str, str]:
    """Inputs of `entity_days`[D]."""
    return {"transactions": transactions.whole, "plan": plan_digest, "code": code}


def facts_lookback(plan: FeaturePlan, day: date) -> list[date]:
    """Whole earlier days whose amounts the features of `day` look back on, oldest first."""
    longest = max((max(entity.windows_days) for entity in plan.entities.values()), default=0)
    return [day - timedelta(days=n) for n in range(longest, 0, -1)]


def labels_lookback(plan: FeaturePlan, day: date) -> list[date]:
    """Whole earlier days whose labels the features of `day` look back on, oldest first; none without a fraud share."""
    windows = [max(entity.windows_days) for entity in plan.entities.values() if entity.fraud_share]
    if plan.labels_as_known:
        return []
    return [plan.label_day(day) - timedelta(days=n) for n in range(max(windows, default=0) - 1, -1, -1)]


def label_days_lookback(plan: FeaturePlan, day: date) -> list[date]:
    """Earlier days on which a label that the features of `day` read can have become known, oldest first; none unless
    labels are used as known."""
    windows = [max(entity.windows_days) for entity in plan.entities.values() if entity.fraud_share]
    longest = max(windows, default=0) if plan.labels_as_known else 0
    return [day - timedelta(days=n) for n in range(longest, 0, -1)]


def lookback(plan: FeaturePlan, day: date) -> list[date]:
    """Every earlier day that the features of `day` depend on, oldest first."""
    return sorted({*facts_lookback(plan, day), *labels_lookback(plan, day)})


def features_inputs(
    plan: FeaturePlan,
    day: date,
    made: MadeDays,
    plan_digest: str,
    code: str,
) -> dict[str, str]:
    """Inputs of `transaction_features`[day]; an absent day counts as a day without transactions."""
    return {"transactions": made.transactions[day].whole, **_history_inputs(plan, day, made, plan_digest, code)}


def online_state_inputs(plan: FeaturePlan, day: date, made: MadeDays, plan_digest: str, code: str) -> dict[str, str]:
    """Inputs of `online_state`[day], which features of the day after it read."""
    return _history_inputs(plan, day + timedelta(days=1), made, plan_digest, code)


def _history_inputs(plan: FeaturePlan, day: date, made: MadeDays, plan_digest: str, code: str) -> dict[str, str]:
    """What the features of `day` read of the days before it."""
    transactions, entity_days = made.transactions, made.entity_days

    def facts(of: Digests, days: list[date]) -> str:
        return digest([[d.isoformat(), of[d].facts] for d in days if d in of])

    def labels(of: Digests, days: list[date]) -> str:
        return digest([[d.isoformat(), of[d].labels] for d in days if d in of])

    reports = label_days_lookback(plan, day)
    known = digest([[d.isoformat(), made.entity_label_days[d]] for d in reports if d in made.entity_label_days])
    return {
        # Facts and labels apart: a label that arrives late must not make features stale that cannot use it.
        "previous": facts(transactions, [day - timedelta(days=1)]),
        "entity_facts": facts(entity_days, facts_lookback(plan, day)),
        "entity_labels": known if plan.labels_as_known else labels(entity_days, labels_lookback(plan, day)),
        "plan": plan_digest,
        "code": code,
    }
