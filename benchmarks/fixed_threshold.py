"""Alerts of fixed thresholds over 15 retrains, with score mappings and without, beside the first champion.

Simulates a lake, fits the shipped model every 2 days on its window, and gives each one the score mapping that a retrain
would: to the version before it, on the days after the holdout, which neither has learnt. Thresholds are scores of the
first champion that a share of the rows reaches. Each version is counted on the days that it would serve, and so is the
first champion, on the same rows. Ends with exit code 1 where a threshold with a mapping gives, over all days, more
than 10 % more or fewer alerts than the first champion, who had at least 400.

    python -m benchmarks.fixed_threshold [--seed 7] [--transactions-per-day 10000] [--shift-on DAY] [--data FOLDER]

With `--data` the days are those of a lake that has the simulator's columns.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from benchmarks.given_lake import given_days
from benchmarks.simulator_decay import PLAN, START, featured_days
from fraud_retraining.domain.evaluation.score_fits import MappingRecord, matched
from fraud_retraining.domain.training.fitting import FittedModel, ModelPolicy, fit
from fraud_retraining.simulation import SimulationPolicy, Simulator

WINDOW, HOLDOUT, DELAY, EVERY, RETRAINS = 30, 7, 7, 2, 15
FIRST_AS_OF = 30 + WINDOW + HOLDOUT + DELAY
"""The first 30 days are history that features look back on."""
SHARES = (0.001, 0.01, 0.05)
ALLOWED = 0.10
LEAST_ALERTS = 400
"""Fewer alerts of the first champion in all cannot show a change of a tenth: chance alone is a twentieth."""
RECORD = MappingRecord(contract="alert_rate", matched_to="champion", days=(), rows=0, knots=0)


@dataclass(frozen=True)
class Counted:
    """Alerts of one version at each threshold on the days that it would serve, beside the first champion's."""

    first: np.ndarray
    mapped: np.ndarray
    unmapped: np.ndarray


def trained(features: Sequence[pa.Table], as_of: int) -> FittedModel:
    """The shipped model of an as-of day, with labels that are mature then."""
    end = as_of - DELAY - HOLDOUT
    window = pa.concat_tables(features[end - WINDOW + 1 : end + 1])
    return fit(ModelPolicy(), PLAN.names, (), lambda: iter(window.to_batches()))


def followed(candidate: FittedModel, champion: FittedModel, features: Sequence[pa.Table], as_of: int) -> FittedModel:
    """The candidate with a mapping to the champion's scores on the days after its holdout."""
    rows = pa.concat_tables(features[as_of - DELAY + 1 : as_of + 1])
    return candidate.with_mapping(matched(candidate.predict(rows), champion.predict(rows), RECORD).mapping)


def counted(features: Sequence[pa.Table]) -> list[Counted]:
    """Every retrain after the first one, in order."""
    first = champion = trained(features, FIRST_AS_OF)
    before = pa.concat_tables(features[FIRST_AS_OF - DELAY + 1 : FIRST_AS_OF + 1])
    thresholds = np.quantile(first.predict(before), [1 - share for share in SHARES])
    found = []
    for number in range(1, RETRAINS + 1):
        as_of = FIRST_AS_OF + number * EVERY
        candidate = trained(features, as_of)
        champion = followed(candidate, champion, features, as_of)
        live = pa.concat_tables(features[as_of + 1 : as_of + 1 + EVERY])
        found.append(
            Counted(
                *((model.predict(live)[:, None] >= thresholds).sum(axis=0) for model in (first, champion, candidate))
            )
        )
    return found


def main() -> int:
    """Runs the retrains and prints what each threshold gave."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seed", type=int, default=7)
    arguments.add_argument("--transactions-per-day", type=int, default=10_000)
    arguments.add_argument("--shift-on", type=int, default=None, help="Day on which fraudsters change their tactics.")
    arguments.add_argument("--data", type=Path, help="a lake with the simulator's columns, in place of simulated days")
    given = arguments.parse_args()
    days = FIRST_AS_OF + (RETRAINS + 1) * EVERY + 1
    policy = SimulationPolicy(
        start=START,
        days=days,
        shift_on=START + timedelta(days=given.shift_on) if given.shift_on is not None else None,
        seed=given.seed,
        transactions_per_day=given.transactions_per_day,
    )
    lake = given_days(given.data, START, days) if given.data else Simulator(policy)
    return _show(counted([table for _, table in featured_days(lake)]))


def _show(found: Sequence[Counted]) -> int:
    served = RETRAINS * EVERY
    table = Table(title=f"{RETRAINS} retrains, one in {EVERY} days; alerts beside the first champion's")
    for heading in ("threshold at", "first, a day", "", "all days", "worst version", "mean |change|", "last version"):
        table.add_column(heading, justify="right")
    off = []
    for place, share in enumerate(SHARES):
        first = np.array([one.first[place] for one in found])
        for name in ("mapped", "unmapped"):
            other = np.array([getattr(one, name)[place] for one in found])
            changes = other / np.maximum(first, 1) - 1
            total = other.sum() / first.sum() - 1
            worst = changes[np.abs(changes).argmax()]
            table.add_row(
                f"{share:.1%}", f"{first.sum() / served:,.1f}", name, f"{total:+.1%}", f"{worst:+.1%}",
                f"{np.abs(changes).mean():.1%}", f"{changes[-1]:+.1%}",
            )  # fmt: skip
            if name == "mapped" and abs(total) > ALLOWED and first.sum() >= LEAST_ALERTS:
                off.append(f"threshold at {share:.1%}: {total:+.1%}")
    Console(width=120).print(table)
    for one in off:
        print(f"NOT WITHIN {ALLOWED:.0%}: {one}", file=sys.stderr)
    return 1 if off else 0


if __name__ == "__main__":
    sys.exit(main())
