"""The control for wide lakes: 150 further columns that say nothing, five of which drift, and a terminal that is busy.

Bins, profiles, importance and reports are those of the product, over features that are counted here: what is judged is
the rule by which a day counts. What `adapters/days/day_counts.py` counts with DuckDB has tests of its own.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from fraud_retraining.domain.evaluation.judged import Floats, Mask
from fraud_retraining.domain.monitoring.bins import Bins, category_bins, number_bins, number_counts
from fraud_retraining.domain.monitoring.drift import (
    Counts,
    DriftPolicy,
    DriftReport,
    FeatureDrift,
    FeatureProfile,
    FeatureRole,
    excused,
    feature_drift,
    heavy_keys,
    without_heavy,
)
from fraud_retraining.domain.retraining.triggers.drift import DriftTriggerPolicy
from fraud_retraining.simulation import SimulationPolicy
from fraud_retraining_tests.support.wide_lakes import HEAVY_TERMINAL, NUMBER_NAMES, START, WORD_NAMES, wide_days

LOOK_BACK, TRAINING, CALM, SHIFTED = 3, 12, 30, 2
FIRST_CALM = LOOK_BACK + TRAINING
SHIFT = FIRST_CALM + CALM
BUSY = range(FIRST_CALM + 8, FIRST_CALM + 18)
THRESHOLD = DriftTriggerPolicy().threshold
POLICY = DriftPolicy()
LAKE = SimulationPolicy(
    start=START,
    days=SHIFT + SHIFTED,
    transactions_per_day=1000,
    fraud_rate=0.03,
    seed=5,
    shift_on=START + timedelta(days=SHIFT),
)

pytestmark = pytest.mark.slow

Column = Floats | list[str]


class Day(NamedTuple):
    """The features of a day, its terminals, and which rows are frauds."""

    features: Mapping[str, Column]
    terminals: Floats
    frauds: Mask

    def counts(self, bins: Bins, kept: Mask | None = None) -> Counts:
        """Rows in every bin of a feature, of all of them or of those that are kept."""
        values = self.features[bins.name]
        rows = np.ones(len(values), bool) if kept is None else kept
        if bins.categories is None:
            return number_counts(bins, np.asarray(values)[rows])
        known = {word: number for number, word in enumerate(bins.categories)}
        found = Counter(known.get(str(word), len(known)) for word, keep in zip(values, rows, strict=True) if keep)
        return tuple(found[number] for number in range(bins.size))


def featured(tables: Sequence[pa.Table]) -> list[Day]:
    """Each day with the columns of the lake and what customers and terminals did on the days before."""
    days = []
    for index, table in enumerate(tables):
        before = tables[max(0, index - LOOK_BACK) : index]
        terminals, amounts = table["TERMINAL_ID"].to_numpy(), table["TX_AMOUNT"].to_numpy()
        busy = Counter(key for one in before for key in one["TERMINAL_ID"].to_pylist())
        spent: dict[int, list[float]] = {}
        for one in before:
            for key, amount in zip(one["CUSTOMER_ID"].to_pylist(), one["TX_AMOUNT"].to_pylist(), strict=True):
                spent.setdefault(key, []).append(amount)
        means = np.array([np.mean(spent.get(key, [np.nan])) for key in table["CUSTOMER_ID"].to_pylist()])
        own = {
            "amount": amounts,
            "terminal_count_3d": np.array([busy[key] for key in terminals.tolist()], float),
            "customer_amount_ratio_3d": amounts / means,
        }
        numbers = {name: table[name].to_numpy().astype(float) for name in NUMBER_NAMES}
        words = {name: table[name].to_pylist() for name in WORD_NAMES}
        days.append(Day({**own, **numbers, **words}, terminals, table["TX_FRAUD"].to_numpy() == 1))
    return days


class Wide:
    """The lake under a model that has learnt from its first days."""

    def __init__(self) -> None:
        self.days = featured([table for _, table in wide_days(LAKE, drift_from=FIRST_CALM, heavy=BUSY)])
        self.training = self.days[LOOK_BACK:FIRST_CALM]

    @cached_property
    def profiles(self) -> dict[str, FeatureProfile]:
        return {
            name: FeatureProfile.of(bins, [day.counts(bins) for day in self.training])
            for name, bins in ((name, self._bins(name)) for name in self.days[0].features)
        }

    def _bins(self, name: str) -> Bins:
        values = [day.features[name] for day in self.training]
        if name in WORD_NAMES:
            return category_bins(name, Counter(str(word) for day in values for word in day).items(), POLICY.categories)
        return number_bins(name, np.concatenate([np.asarray(day, float) for day in values]), POLICY.bins)

    @cached_property
    def importance(self) -> dict[str, float]:
        """The share of the gain of a model over these features."""
        import xgboost

        names = list(self.profiles)
        columns = [np.concatenate([self._numbers(name, day) for day in self.training]) for name in names]
        labels = np.concatenate([day.frauds for day in self.training])
        matrix = xgboost.DMatrix(np.column_stack(columns), labels, feature_names=names)
        booster = xgboost.train({"objective": "binary:logistic", "max_depth": 6, "eta": 0.2, "nthread": 1}, matrix, 30)
        gain = booster.get_score(importance_type="total_gain")
        return {name: float(gain.get(name, 0.0)) / sum(gain.values()) for name in names}

    def _numbers(self, name: str, day: Day) -> Floats:
        if name not in WORD_NAMES:
            return np.asarray(day.features[name], float)
        known = {word: number for number, word in enumerate(self.profiles[name].bins.categories or ())}
        return np.array([known.get(str(word), -1) for word in day.features[name]], float)

    def report(self, index: int) -> DriftReport:
        day = self.days[index]
        found = [self._drift(name, profile, day) for name, profile in self.profiles.items()]
        return DriftReport(
            day=START + timedelta(days=index),
            version=1,
            fingerprint="f",
            statistic="psi",
            threshold=THRESHOLD,
            rows=len(day.frauds),
            features=tuple(found),
            left_out={},
            groups=("transaction",),
            scores="",
            fraud_rate=None,
            no_fraud_rate="",
            min_importance=POLICY.min_importance,
        )

    def _drift(self, name: str, profile: FeatureProfile, day: Day) -> FeatureDrift:
        full = feature_drift(
            profile,
            day.counts(profile.bins),
            FeatureRole("transaction", self.importance[name], features=len(self.profiles)),
            statistic="psi",
        )
        heavy = heavy_keys("terminal", Counter(day.terminals.tolist()).items(), len(day.frauds))
        if full.drift <= THRESHOLD or heavy is None:
            return full
        rest = day.counts(profile.bins, ~np.isin(day.terminals, np.array(heavy.keys, float)))
        return excused(full, heavy, without_heavy(profile, full, rest, "psi"))


@pytest.fixture(scope="module")
def wide() -> Wide:
    return Wide()


def test_a_calm_month_of_150_further_columns_has_no_drifted_day_and_a_shift_is_found_on_its_day(wide: Wide) -> None:
    calm = [wide.report(index) for index in range(FIRST_CALM, SHIFT)]
    greatest = [max(one.psi - wide.profiles[one.name].usual["psi"] for one in one_day.features) for one_day in calm]
    drifted = [one_day.day for one_day in calm if one_day.value > THRESHOLD]
    print(f"drifted of {CALM} calm days: by the greatest {sum(v > THRESHOLD for v in greatest)}, now {len(drifted)}")
    assert sum(value > THRESHOLD for value in greatest) >= 23, "it is no control where the greatest feature is calm"
    assert drifted == []
    assert all(one_day.over() for one_day in calm[1:]), "what drifted stays in the table"
    shifted = [wide.report(index) for index in range(SHIFT, SHIFT + SHIFTED)]
    assert all(one_day.value > THRESHOLD for one_day in shifted)
    assert "customer_amount_ratio_3d" in shifted[0].drift_day.worst[:2]


def test_one_busy_terminal_is_named_and_no_change_of_the_world(wide: Wide) -> None:
    found = {one.name: one for one in wide.report(BUSY[-2]).features}["terminal_count_3d"]
    assert found.psi > THRESHOLD
    assert found.drift < THRESHOLD / 2
    assert found.heavy.startswith(f"terminal {HEAVY_TERMINAL}")
    assert wide.importance["terminal_count_3d"] > POLICY.min_importance, "the model does use it"
