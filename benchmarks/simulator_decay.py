"""Proof that a simulated lake is worth retraining on: an old model decays on the shift day, a fresh one recovers.

Simulates a lake with a shift, computes the project's features of every day, and compares on equal rows a model
that was trained before the shift with models whose 30-day windows hold more and more shifted days. Features and
model are the shipped defaults. Ends with exit code 1 when the lake does not show what it was made for.

    python benchmarks/simulator_decay.py [--seed 7] [--transactions-per-day 10000]
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import ibis
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table
from sklearn.metrics import average_precision_score

from fraud_retraining.domain.features.definitions import CALENDAR_FEATURES
from fraud_retraining.domain.features.plan import FeaturePlan
from fraud_retraining.domain.features.point_in_time import entity_days, transaction_features
from fraud_retraining.domain.review.assembly import stability_index
from fraud_retraining.domain.training.fitting import FittedModel, ModelPolicy, fit
from fraud_retraining.domain.values.schemas import EntityPolicy
from fraud_retraining.simulation import SimulationPolicy, Simulator

START = date(2026, 1, 1)
SHIFT, DAYS, WINDOW = 60, 100, 30
SHIFTED_TRAINING_DAYS = (2, 4, 7, 11, 16)
LEAST_DECAY, GREATEST_LOSS, STABLE_BAND = 0.15, 0.05, (0.60, 0.85)
NAMES = {
    "TRANSACTION_ID": "transaction_id",
    "TX_DATETIME": "timestamp",
    "CUSTOMER_ID": "customer",
    "TERMINAL_ID": "terminal",
    "TX_AMOUNT": "amount",
    "TX_FRAUD": "is_fraud",
}
PLAN = FeaturePlan(
    entities={
        "customer": EntityPolicy(column="CUSTOMER_ID"),
        "terminal": EntityPolicy(column="TERMINAL_ID", fraud_share=True),
    }
)


@dataclass(frozen=True)
class Result:
    """One model on one span of days."""

    model: str
    days: str
    frauds: int
    average_precision: float


def featured_days(
    days: Iterable[tuple[date, pa.Table]], seen: Callable[[date, pa.Table], pa.Table] = lambda _, table: table
) -> Iterator[tuple[int, pa.Table]]:
    """Features of each day of a simulator, in order, with the history that the day looks back on; `seen` makes of a day
    what the lake says of it."""
    engine = ibis.duckdb.connect()
    raw: dict[date, pa.Table] = {}
    statistics: dict[str, dict[date, pa.Table]] = {entity: {} for entity in PLAN.entities}
    for index, (day, lake) in enumerate(days):
        raw[day] = seen(day, lake).select(list(NAMES)).rename_columns(list(NAMES.values()))
        lookback = PLAN.lookback(day)
        features = transaction_features(
            PLAN,
            day,
            today=ibis.memtable(raw[day]),
            yesterday=_together(raw, (lookback.yesterday,)),
            entity_days={
                entity: history
                for entity, span in lookback.entity_days.items()
                if (history := _together(statistics[entity], tuple(span))) is not None
            },
        )
        yield index, engine.to_pyarrow(features)
        for entity in PLAN.entities:
            rows = engine.to_pyarrow(entity_days(ibis.memtable(raw[day]), entity, PLAN, day))
            statistics[entity][day] = rows.append_column("day", pa.array([day] * len(rows), pa.date32()))
        raw.pop(day - timedelta(days=PLAN.label_delay_days + 3), None)


def _together(days: dict[date, pa.Table], wanted: Sequence[date]) -> ibis.Table | None:
    present = [days[day] for day in wanted if day in days]
    return ibis.memtable(pa.concat_tables(present)) if present else None


def trained(features: Sequence[pa.Table], end: int) -> FittedModel:
    """The shipped model of the `WINDOW` days that end on day `end`."""
    window = pa.concat_tables(features[end - WINDOW + 1 : end + 1])
    return fit(ModelPolicy(), PLAN.names, (), lambda: iter(window.to_batches()))


def judged(name: str, model: FittedModel, features: Sequence[pa.Table], first: int, last: int) -> Result:
    """Average precision of a model on the days `first` to `last`."""
    rows = pa.concat_tables(features[first : last + 1])
    labels = rows["is_fraud"].to_numpy()
    score = float(average_precision_score(labels, model.predict(rows)))
    return Result(name, f"{first} to {last}", int(labels.sum()), score)


def results(features: Sequence[pa.Table]) -> list[Result]:
    """The old model before and after the shift, and fresh ones on the last two weeks."""
    end = SHIFT - 16
    old = trained(features, end)
    found = [
        judged("old, before the shift", old, features, end + 1, SHIFT - 1),
        judged("old, days 3 to 16 after the shift", old, features, SHIFT + 3, SHIFT + 16),
        judged("old, last two weeks", old, features, DAYS - 14, DAYS - 1),
    ]
    for shifted in SHIFTED_TRAINING_DAYS:
        fresh = trained(features, SHIFT + shifted - 1)
        found.append(judged(f"fresh, {shifted} shifted training days", fresh, features, DAYS - 14, DAYS - 1))
    return found


def drift(features: Sequence[pa.Table], index: int) -> tuple[float, str]:
    """The feature of that day that is farthest from the old model's window, calendar features apart."""
    window = pa.concat_tables(features[SHIFT - 15 - WINDOW : SHIFT - 15])
    names = [name for name in PLAN.names if name not in {one.name for one in CALENDAR_FEATURES}]
    return max((stability_index(features[index][name].to_numpy(), window[name].to_numpy()), name) for name in names)


def failures(found: Sequence[Result]) -> list[str]:
    """What the lake was made for and does not show."""
    before, *after = (result.average_precision for result in found[:3])
    recovered = found[-2].average_precision
    claims = {
        f"before the shift {before:.3f} lies in {STABLE_BAND}": STABLE_BAND[0] <= before <= STABLE_BAND[1],
        f"the old model loses {LEAST_DECAY} ({before:.3f} to {max(after):.3f})": before - max(after) >= LEAST_DECAY,
        f"{found[-2].model}: within {GREATEST_LOSS} of {before:.3f} ({recovered:.3f})": (
            recovered >= before - GREATEST_LOSS
        ),
    }
    return [claim for claim, holds in claims.items() if not holds]


def main() -> int:
    """Runs the comparison and prints it."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seed", type=int, default=7)
    arguments.add_argument("--transactions-per-day", type=int, default=10_000)
    given = arguments.parse_args()
    policy = SimulationPolicy(
        start=START,
        days=DAYS,
        shift_on=START + timedelta(days=SHIFT),
        seed=given.seed,
        transactions_per_day=given.transactions_per_day,
    )
    began = time.perf_counter()
    rows = sum(table.num_rows for _, table in Simulator(policy))
    simulated = time.perf_counter() - began
    features = [table for _, table in featured_days(Simulator(policy))]
    found = results(features)
    _show(found, features)
    frauds = sum(pc.sum(table["is_fraud"]).as_py() for table in features)
    print(f"seed {given.seed}: {rows:,} transactions, {frauds:,} frauds, simulated in {simulated:.1f} s")
    failed = failures(found)
    for claim in failed:
        print(f"NOT SO: {claim}", file=sys.stderr)
    return 1 if failed else 0


def _show(found: Sequence[Result], features: Sequence[pa.Table]) -> None:
    table = Table(title=f"Shift on day {SHIFT}; windows of {WINDOW} days", title_justify="left")
    for heading in ("model", "judged on days", "frauds", "average precision", "against before"):
        table.add_column(heading)
    for result in found:
        change = result.average_precision - found[0].average_precision
        table.add_row(
            result.model, result.days, f"{result.frauds:,}", f"{result.average_precision:.3f}", f"{change:+.3f}"
        )
    console = Console(width=110)
    console.print(table)
    for index in (SHIFT - 8, SHIFT - 1, SHIFT, SHIFT + 1, SHIFT + 7):
        value, name = drift(features, index)
        console.print(f"day {index}: greatest population stability index {value:.3f} ({name})")


if __name__ == "__main__":
    sys.exit(main())
