"""What blocked transactions do to a model and its numbers: naive, left out, corrected, and the truth beside.

Simulates a lake of which production blocks a share by a rule of thumb, but for a control group, and knows the truth.

- The numbers: one model, trained on the truth, is judged on the holdout as it is and as each way would see it, over
  many draws of the control group.
- The models: the shipped model is trained in each way, over a few draws, and judged on the truth.

Naive: a blocked transaction counts as genuine. Left out: it does not count, and nothing stands for it. Corrected: the
control group stands for it, by the rule that the pipeline has. Ends with exit code 1 where the corrected average
precision is off the truth by more than its noise and 2 %, or is not nearer to it than the naive one.

With `--review-share` an analyst reviews some of what is blocked. Beside a control group that changes nothing; without
one (`--control 0`) a reviewed transaction counts for itself, nothing can be corrected, and the bounds of the report are
shown: then it ends with exit code 1 where a draw's bounds do not hold the truth.

    python -m benchmarks.blocked_transactions [--seed 7] [--transactions-per-day 6000] [--block-at .01] [--control .1]
        [--review-share 0]
"""

import argparse
import sys
from collections.abc import Sequence
from datetime import date
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table

from benchmarks.simulator_decay import PLAN, START, featured_days
from fraud_retraining.domain.evaluation.alert_recall import alert_recall
from fraud_retraining.domain.evaluation.judged import UNKNOWN, Floats, Judged, entity_codes
from fraud_retraining.domain.evaluation.metrics import MetricsPolicy, evaluate
from fraud_retraining.domain.labels.blocked import has_outcome, row_weights
from fraud_retraining.domain.training.fitting import FittedModel, ModelPolicy, fit
from fraud_retraining.domain.values.schemas import IS_FRAUD
from fraud_retraining.simulation import SimulationPolicy, Simulator
from fraud_retraining.simulation.decisions import APPROVE, BLOCK, Blocking, BlockingPolicy

HISTORY, WINDOW, HOLDOUT = 30, 30, 14
DAYS = HISTORY + WINDOW + HOLDOUT
DRAWS, FITS = 40, 2
ALLOWED = 0.02
ROUNDING = 1e-9
WAYS = ("naive", "left out", "corrected")


class Numbers(NamedTuple):
    """Average precision, card precision at the budget, and recall of the entities within it."""

    average_precision: float
    card_precision: float
    recall: float


class Seen(NamedTuple):
    """What is known of some transactions: their propensities, and whether they have an outcome."""

    chances: Floats
    known: np.ndarray


class World:
    """The days of one lake, and what production decided about them with one control group."""

    def __init__(self, policy: SimulationPolicy, blocking: BlockingPolicy) -> None:
        self.days = [(day, table) for day, table in Simulator(policy)]
        self.policy, self._blocking = policy, blocking

    def seen(self, draw: int, first: int, last: int) -> "Seen":
        """What ingestion knows of each transaction of some days."""
        blocking = Blocking(self._blocking, seed=draw)
        found = [blocking.of(day, table) for day, table in self.days[first : last + 1]]
        names, unknown = (np.concatenate([getattr(one, name) for one in found]) for name in ("names", "unknown"))
        control = self._blocking.control_share
        # Nothing stands for what is blocked where there is no control group: then a review of it counts for itself.
        stands_for = 0.0 if control else np.nan
        chances = np.where(names == APPROVE, 1.0, np.where(names == BLOCK, stands_for, control))
        return Seen(chances, has_outcome(chances, ~unknown))

    def features(self, label: int | None = None, draw: int | None = None) -> list[pa.Table]:
        """Features of each day; with a draw, blocked transactions have `label` in what features read of labels."""
        blocking = Blocking(self._blocking, seed=draw or 0)

        def seen(day: date, table: pa.Table) -> pa.Table:
            if draw is None:
                return table
            blocked = pa.array(blocking.of(day, table).unknown)
            labels = pc.if_else(blocked, pa.scalar(label, pa.int8()), table["TX_FRAUD"])
            return table.set_column(table.schema.get_field_index("TX_FRAUD"), "TX_FRAUD", labels)

        return [table for _, table in featured_days(Simulator(self.policy), seen)]


def together(features: Sequence[pa.Table], first: int, last: int) -> pa.Table:
    """Rows of some days."""
    return pa.concat_tables(features[first : last + 1])


def judged(rows: pa.Table, truth: np.ndarray, scores: Floats) -> Judged:
    """Rows with the label that they truly have."""
    return Judged(
        labels=truth.astype(np.int8),
        scores=scores,
        customers=entity_codes(rows["customer"]),
        days=rows["timestamp"].cast(pa.date32()).cast(pa.int32()).to_numpy(),
        amounts=rows["amount"].to_numpy().astype(np.float64),
    )


def seen_as(way: str, whole: Judged, seen: Seen) -> Judged:
    """The rows as a way sees them."""
    chances, known = seen
    labels = np.where(known, whole.labels, UNKNOWN).astype(np.int8)
    corrected = Judged(
        labels, whole.scores, whole.customers, whole.days, whole.amounts, row_weights=row_weights(chances, known)
    )
    if way == "naive":
        return corrected.assuming(fraud=False)
    return corrected if way == "corrected" else whole.where(known)


def numbers(rows: Judged, policy: MetricsPolicy) -> Numbers:
    """The three numbers of some rows."""
    values = evaluate(rows, policy).values
    missed = alert_recall(rows, policy)
    assert missed is not None and missed.missed_share is not None
    return Numbers(
        values["average_precision"] or 0.0,
        values[f"card_precision_at_{policy.alert_budget}"] or 0.0,
        1 - missed.missed_share,
    )


def trained(rows: pa.Table, labels: np.ndarray, weights: Floats) -> FittedModel:
    """The shipped model of some rows; those of weight 0 are left out."""
    table = rows.set_column(rows.schema.get_field_index(IS_FRAUD), IS_FRAUD, pa.array(labels.astype(np.int8)))
    table = table.append_column("weight", pa.array(weights.astype(np.float32))).filter(pa.array(weights > 0))
    return fit(ModelPolicy(), PLAN.names, (), lambda: iter(table.combine_chunks().to_batches()))


def of_numbers(world: World, model: FittedModel, features: Sequence[pa.Table], policy: MetricsPolicy) -> dict:
    """The truth, and for each way the numbers of one model over the draws."""
    rows = together(features, DAYS - HOLDOUT, DAYS - 1)
    whole = judged(rows, rows[IS_FRAUD].to_numpy(), model.predict(rows))
    found: dict[str, list[Numbers]] = {"truth": [numbers(whole, policy)], **{way: [] for way in WAYS}}
    for draw in range(DRAWS):
        seen = world.seen(draw, DAYS - HOLDOUT, DAYS - 1)
        for way in WAYS:
            found[way].append(numbers(seen_as(way, whole, seen), policy))
    return found


def outside(world: World, model: FittedModel, features: Sequence[pa.Table], policy: MetricsPolicy) -> list[str]:
    """Prints the mean bounds over the draws; gives every draw whose bounds do not hold the truth."""
    rows = together(features, DAYS - HOLDOUT, DAYS - 1)
    whole = judged(rows, rows[IS_FRAUD].to_numpy(), model.predict(rows))
    truth, drawn, wrong = evaluate(whole, policy).values, [], []
    for draw in range(DRAWS):
        seen = world.seen(draw, DAYS - HOLDOUT, DAYS - 1)
        selected = evaluate(seen_as("corrected", whole, seen), policy).selected
        if selected is None:
            continue
        drawn.append(selected.bounds)
        wrong += [
            f"draw {draw}: {name} {truth[name]:.3f} is not within {low:.3f} to {high:.3f}"
            for name, (low, high) in selected.bounds.items()
            if not low - ROUNDING <= truth[name] <= high + ROUNDING
        ]
    for name in drawn[0] if drawn else ():
        low, high = np.mean([one[name] for one in drawn], axis=0)
        print(f"{name}: truth {truth[name]:.3f}, bounds {low:.3f} to {high:.3f} on average")
    return wrong


def of_models(world: World, truth: Sequence[pa.Table], policy: MetricsPolicy) -> dict:
    """For each way the numbers of its models on the truth."""
    window, holdout = (HISTORY, HISTORY + WINDOW - 1), (DAYS - HOLDOUT, DAYS - 1)
    labels = {span: together(truth, *span)[IS_FRAUD].to_numpy() for span in (window, holdout)}
    found: dict[str, list[Numbers]] = {way: [] for way in ("truth", *WAYS)}

    def add(way: str, features: Sequence[pa.Table], learnt: np.ndarray, weights: Floats) -> None:
        model = trained(together(features, *window), learnt, weights)
        rows = together(features, *holdout)
        found[way].append(numbers(judged(rows, labels[holdout], model.predict(rows)), policy))

    add("truth", truth, labels[window], np.ones(len(labels[window])))
    for draw in range(FITS):
        chances, known = world.seen(draw, *window)
        unknown, genuine = world.features(None, draw), world.features(0, draw)
        add("naive", genuine, np.where(known, labels[window], 0), np.ones(len(known)))
        add("left out", unknown, labels[window], known.astype(np.float64))
        add("corrected", unknown, labels[window], row_weights(chances, known))
    return found


def failures(found: dict[str, list[Numbers]]) -> list[str]:
    """Where the corrected numbers are not what they claim to be."""
    truth = found["truth"][0].average_precision
    drawn = np.array([one.average_precision for one in found["corrected"]])
    naive = np.mean([one.average_precision for one in found["naive"]])
    noise = 2 * float(drawn.std(ddof=1)) / np.sqrt(len(drawn))
    off = abs(float(drawn.mean()) - truth)
    wrong = [f"corrected average precision is {off:.3f} off the truth"] if off > noise + ALLOWED * truth else []
    return wrong + ([] if off < abs(naive - truth) else ["the naive average precision is nearer to the truth"])


def main() -> int:
    """Runs the comparison and prints it."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seed", type=int, default=7)
    arguments.add_argument("--transactions-per-day", type=int, default=6000)
    arguments.add_argument("--block-at", type=float, default=0.01)
    arguments.add_argument("--control", type=float, default=0.1)
    arguments.add_argument("--review-share", type=float, default=0.0)
    given = arguments.parse_args()
    policy = SimulationPolicy(start=START, days=DAYS, seed=given.seed, transactions_per_day=given.transactions_per_day)
    world = World(
        policy, BlockingPolicy(block_share=given.block_at, control_share=given.control, review_share=given.review_share)
    )
    metrics = MetricsPolicy(alert_budget=max(given.transactions_per_day // 50, 1))
    truth = world.features()
    rows = together(truth, HISTORY, HISTORY + WINDOW - 1)
    model = trained(rows, rows[IS_FRAUD].to_numpy(), np.ones(rows.num_rows))
    first = of_numbers(world, model, truth, metrics)
    _show(f"One model on {HOLDOUT} days, {DRAWS} control groups", first, metrics)
    _show(f"Models of each way on the truth, {FITS} control groups", of_models(world, truth, metrics), metrics)
    failed = failures(first) if given.control else outside(world, model, truth, metrics)
    for claim in failed:
        print(f"NOT SO: {claim}", file=sys.stderr)
    return 1 if failed else 0


def _show(title: str, found: dict[str, list[Numbers]], policy: MetricsPolicy) -> None:
    table = Table(title=title, title_justify="left")
    for heading in ("", "average precision", f"card precision@{policy.alert_budget}", "recall of the alerts"):
        table.add_column(heading)
    for way, drawn in found.items():
        values = np.array(drawn)
        noise = values.std(axis=0, ddof=1) if len(values) > 1 else None
        cells = [
            f"{value:.3f}" + (f" ± {noise[n]:.3f}" if noise is not None else "")
            for n, value in enumerate(values.mean(axis=0))
        ]
        table.add_row(way, *cells)
    Console(width=110).print(table)


if __name__ == "__main__":
    sys.exit(main())
