"""Point-in-time features computed the slow and obvious way: one transaction at a time, from all of history.

Here: the definition that `domain/features/point_in_time.py` is held against. It knows no `entity_days`, no sums and no
clocks; it looks at every earlier transaction and checks whether it lies in the window.
"""

from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from fraud_retraining.domain.features.definitions import MAX_RATIO, MAX_ZSCORE, never_seen_seconds
from fraud_retraining.domain.features.plan import FeaturePlan
from fraud_retraining.domain.values.schemas import EntityPolicy

DAY = pd.Timedelta(days=1)


def reference_features(plan: FeaturePlan, day: date, history: pd.DataFrame) -> pd.DataFrame:
    """Features of the transactions of `day`, given every transaction there ever was, later ones included."""
    today = history[history.timestamp.dt.date == day].sort_values(["timestamp", "transaction_id"])
    rows = [{**_own(row), **_by_entity(plan, row, history), **_passed(plan, row)} for _, row in today.iterrows()]
    return pd.DataFrame(rows, columns=["transaction_id", *plan.names])


def _own(row: pd.Series) -> dict[str, Any]:
    hour = row.timestamp.hour
    return {
        "transaction_id": row.transaction_id,
        "amount": row.amount,
        "hour": hour,
        "weekend": int(row.timestamp.dayofweek in (5, 6)),
        "night": int(hour <= 6),
    }


def _passed(plan: FeaturePlan, row: pd.Series) -> dict[str, Any]:
    return {name: row[name] for name in (*plan.numeric, *plan.categorical)}


def _by_entity(plan: FeaturePlan, row: pd.Series, history: pd.DataFrame) -> dict[str, float]:
    features: dict[str, float] = {}
    for entity, policy in plan.entities.items():
        same = history[history[entity] == row[entity]]
        for window in policy.windows_days:
            past = same[_earlier(same, row) & _in_window(same, row.timestamp, window)]
            features |= {f"{entity}_{name}_{window}d": value for name, value in _against_past(row, past).items()}
        features[f"{entity}_seconds_since_previous"] = _since_previous(same, row, policy)
        if policy.fraud_share:
            features |= {
                f"{entity}_{name}": value for name, value in _labels(plan, policy, same, row.timestamp).items()
            }
    return features


def _earlier(same: pd.DataFrame, row: pd.Series) -> pd.Series:
    tie = (same.timestamp == row.timestamp) & (same.transaction_id < row.transaction_id)
    return (same.timestamp < row.timestamp) | tie


def _in_window(same: pd.DataFrame, until: pd.Timestamp, window: int) -> pd.Series:
    if window == 1:
        return (same.timestamp > until - DAY) & (same.timestamp <= until)
    return (same.timestamp >= until.normalize() - window * DAY) & (same.timestamp <= until)


def _against_past(row: pd.Series, past: pd.DataFrame) -> dict[str, float]:
    amounts = past.amount.to_numpy()
    everything = np.append(amounts, row.amount)
    mean = amounts.mean() if len(amounts) else 0.0
    deviation = amounts.std(ddof=1) if len(amounts) > 1 else 0.0
    return {
        "count": len(everything),
        "mean_amount": everything.mean(),
        "max_amount": everything.max(),
        "max_ratio": everything.max() / everything.mean() if everything.mean() > 0 else 1.0,
        "amount_ratio": min(row.amount / mean, MAX_RATIO) if mean > 0 else 1.0,
        "amount_zscore": np.clip((row.amount - mean) / deviation, -MAX_ZSCORE, MAX_ZSCORE)
        if deviation > 1e-5 * mean
        else 0.0,
    }


def _since_previous(same: pd.DataFrame, row: pd.Series, policy: EntityPolicy) -> float:
    begins = row.timestamp.normalize() - max(policy.windows_days) * DAY
    seen = same[_earlier(same, row) & (same.timestamp >= begins)].timestamp
    return (row.timestamp - seen.max()).total_seconds() if len(seen) else never_seen_seconds(policy)


def _labels(plan: FeaturePlan, policy: EntityPolicy, same: pd.DataFrame, now: pd.Timestamp) -> dict[str, float]:
    """What is known of the entity's frauds, from the last day whose labels may be used backwards."""
    today, delay = now.normalize(), plan.label_delay_days + 1
    days = same.timestamp.dt.normalize()
    known = same.is_fraud.notna()
    if plan.labelled_at:
        known &= same.labelled_at.isna() | (same.labelled_at < days + delay * DAY)
    features: dict[str, float] = {}
    for window in policy.windows_days:
        inside = (days <= today - delay * DAY) & (days > today - (delay + window) * DAY)
        labels = same[known & inside].is_fraud.astype(float)
        features[f"fraud_share_{window}d"] = labels.mean() if len(labels) else 0.0
        features[f"labelled_count_{window}d"] = len(labels)
    longest = (days <= today - delay * DAY) & (days > today - (delay + max(policy.windows_days)) * DAY)
    frauds = (today - days[known & longest & (same.is_fraud == 1)]).dt.days
    genuine = (today - days[known & longest & (same.is_fraud == 0)]).dt.days
    never = plan.label_delay_days + max(policy.windows_days) + 1
    last_nonfraud = genuine.min() if len(genuine) else never
    streak = frauds[frauds < last_nonfraud]
    return features | {
        "days_since_first_fraud": frauds.max() if len(frauds) else never,
        "days_since_last_fraud": frauds.min() if len(frauds) else never,
        "days_since_last_nonfraud": last_nonfraud,
        "days_since_fraud_streak_began": streak.max() if len(streak) else never,
        "fraud_streak": len(streak),
    }
