"""False alarms of the gate `score_contract` in slices on calm days, and what of a real shift of one slice it finds.

Simulates lakes on which nothing changes, fits the shipped model every 2 days on its window, gives each one the score
mapping that a retrain would, and counts alerts in slices as the gate does: on the days after the holdout, each half of
the customers mapped by a fit on the other half. Slices are the simulator's channel, bands of the amount, and groups of
customers at random. Each candidate is then given a real shift in one slice: a share of the customers of the channel
with the most alerts gets no alert any more. Ends with exit code 1 where more than 5 % of the calm candidates fail, or
fewer than 80 % of the shifted ones are found of those whose slice has at least `--enough` alerts of the champion.

    python -m benchmarks.slice_alerts [--seeds 1 2] [--transactions-per-day 6000] [--shift .3] [--enough 250]
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from benchmarks.fixed_threshold import DELAY, EVERY, FIRST_AS_OF, RECORD, RETRAINS, SHARES, followed, trained
from benchmarks.simulator_decay import START, featured_days
from fraud_retraining.domain.evaluation.alert_volume import AlertChange, ScoredRows, Threshold, alert_change
from fraud_retraining.domain.evaluation.gates.alerts import held_thresholds
from fraud_retraining.domain.evaluation.gates.policy import GatePolicy
from fraud_retraining.domain.evaluation.judged import Floats, Integers, categories, entity_codes
from fraud_retraining.domain.evaluation.score_fits import matched
from fraud_retraining.simulation import SimulationPolicy, Simulator

GROUPS = 8
"""Groups of customers at random."""
BANDS = (10.0, 50.0, 100.0, 250.0)
JUDGED = SHARES[1]
"""The threshold at which the shifted slice is looked for."""
MOST_FALSE, LEAST_FOUND = 0.05, 0.8


class Candidate(NamedTuple):
    """One candidate: alerts on calm days, and with a shift in one slice; alerts of the champion in that slice."""

    seed: int
    calm: AlertChange
    shifted: AlertChange
    slice: str
    alerts: int


def candidates(seed: int, volume: int, shift: float, policy: GatePolicy) -> Iterator[Candidate]:
    """Every retrain after the first one of one lake, in order."""
    channels: dict[int, str] = {}

    def seen(day: date, table: pa.Table) -> pa.Table:
        channels.update(zip(table["TRANSACTION_ID"].to_pylist(), table["TX_CHANNEL"].to_pylist(), strict=True))
        return table

    days = FIRST_AS_OF + RETRAINS * EVERY + 1
    simulated = SimulationPolicy(start=START, days=days, seed=seed, transactions_per_day=volume)
    features = [table for _, table in featured_days(Simulator(simulated), seen)]
    champion = trained(features, FIRST_AS_OF)
    for number in range(1, RETRAINS + 1):
        as_of = FIRST_AS_OF + number * EVERY
        candidate = trained(features, as_of)
        rows = pa.concat_tables(features[as_of - DELAY + 1 : as_of + 1])
        own, theirs = candidate.predict(rows), champion.predict(rows)
        customers = entity_codes(rows["customer"])
        scored = ScoredRows(
            days=[START + timedelta(days=one) for one in range(as_of - DELAY + 1, as_of + 1)],
            candidate=_held_out(own, theirs, customers),
            champion=theirs,
            customers=customers,
            slices={
                "channel": categories(
                    pa.chunked_array([[channels[one] for one in rows["transaction_id"].to_pylist()]])
                ),
                "amount": categories(pa.chunked_array([np.digitize(rows["amount"].to_numpy(), BANDS).astype(str)])),
                "group": categories(pa.chunked_array([(customers % GROUPS).astype(str)])),
            },
        )
        yield _counted(seed, scored, shift, policy)
        champion = followed(candidate, champion, features, as_of)


def _held_out(own: Floats, theirs: Floats, customers: Integers) -> Floats:
    """The candidate's scores, each by a mapping that was fitted on the other half of the customers."""
    scores = own.copy()
    for half in (customers % 2 == 0, customers % 2 == 1):
        mapping = matched(own[~half], theirs[~half], RECORD).mapping
        scores[half] = own[half] if mapping is None else mapping(own[half])
    return scores


def _counted(seed: int, rows: ScoredRows, shift: float, policy: GatePolicy) -> Candidate:
    thresholds = [Threshold(name=f"{share:.1%}", at=float(np.quantile(rows.champion, 1 - share))) for share in SHARES]
    # The channel with the most alerts: of a group of customers every threshold has about as many.
    column = rows.slices["channel"]
    at = thresholds[SHARES.index(JUDGED)].at
    code = int(np.bincount(column.codes[rows.champion >= at]).argmax())
    here = column.codes == code
    silent = here & (np.random.default_rng(seed).uniform(size=rows.customers.max() + 1) < shift)[rows.customers]
    shifted = ScoredRows(
        rows.days, np.where(silent, 0.0, rows.candidate), rows.champion, rows.customers, {"channel": column}
    )
    return Candidate(
        seed,
        alert_change(rows, thresholds, policy),
        alert_change(shifted, thresholds, policy),
        column.names[code],
        int(((rows.champion >= at) & here).sum()),
    )


def main() -> int:
    """Runs the lakes and prints how often the gate fails."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seeds", type=int, nargs="+", default=[1])
    arguments.add_argument("--transactions-per-day", type=int, default=6_000)
    arguments.add_argument("--shift", type=float, default=0.3)
    arguments.add_argument("--enough", type=int, default=250)
    given = arguments.parse_args()
    policy = GatePolicy()
    found = [one for seed in given.seeds for one in candidates(seed, given.transactions_per_day, given.shift, policy)]
    return _show(found, policy, given.shift, given.enough)


def _fails(alerts: AlertChange, policy: GatePolicy) -> list[str]:
    return [one.named for one in held_thresholds(policy, alerts) if one.margin < 0 and " in " in one.named]


def _show(found: Sequence[Candidate], policy: GatePolicy, shift: float, enough: int) -> int:
    calm = [_fails(one.calm, policy) for one in found]
    enough_alerts = [one for one in found if one.alerts >= enough]
    caught = [one for one in enough_alerts if f"{JUDGED:.1%} in channel {one.slice}" in _fails(one.shifted, policy)]
    judged = [sum(" in " in one.named for one in held_thresholds(policy, candidate.calm)) for candidate in found]
    table = Table(title=f"{len(found)} candidates, {min(judged)} to {max(judged)} slices judged of each")
    for heading in ("", "candidates", "fail", "share"):
        table.add_column(heading, justify="right")
    failed = sum(bool(one) for one in calm)
    table.add_row("calm", f"{len(found)}", f"{failed}", f"{failed / len(found):.1%}")
    if enough_alerts:
        share = f"{len(caught) / len(enough_alerts):.1%}"
        table.add_row(f"{shift:.0%} fewer in one slice", f"{len(enough_alerts)}", f"{len(caught)}", share)
    Console(width=110).print(table)
    for one, names in zip(found, calm, strict=True):
        if names:
            print(f"seed {one.seed}, {one.calm.first} to {one.calm.last}: {'; '.join(names)}")
    wrong = [f"{failed} of {len(found)} calm candidates fail"] if failed > MOST_FALSE * len(found) else []
    if len(caught) < LEAST_FOUND * len(enough_alerts):
        wrong.append(f"{len(caught)} of {len(enough_alerts)} shifts are found")
    for claim in wrong:
        print(f"NOT SO: {claim}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
