"""What it is worth to use labels from the day on which they are known: a replay beside mature labels, on the same days.

A lake says of each label when it became known; reports of fraud are simulated, seeded. `fraud-retraining replay` lives
through its days with the shipped settings, which use labels as known, and with `labels.use: mature`. The days are
simulated, without a shift, or those of a lake that has the simulator's columns, as the Fraud Detection Handbook's data
have. A day is judged once its labels are mature, so the last seven days are not.

    python -m benchmarks.label_times [--seed 7] [--report-days 2.5] [--latest-days 28]
                                     [--data FOLDER --weeks 2018-07-04 2018-07-11 ...]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from statistics import fmean
from typing import Any

import pyarrow as pa

from benchmarks.given_lake import days_as_given

START, DAYS, SERVED = date(2026, 1, 1), 105, 42
FRAUD_RATE = 0.015
PRESENT, MATURE = "present settings", "mature"


def main() -> None:
    """Writes the lake, lives through it and prints both sides."""
    options = _options()
    if options.write:
        _write(options)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(options.folder or name)
        found = _replay(folder, options)
    _print(found, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--transactions-per-day", type=int, default=6000)
    parser.add_argument("--report-days", type=float, default=2.5, help="median delay of a report of fraud")
    parser.add_argument("--latest-days", type=float, default=28, help="longest delay of a report of fraud")
    parser.add_argument("--data", type=Path, help="a lake with the simulator's columns, in place of simulated days")
    parser.add_argument(
        "--weeks", type=date.fromisoformat, nargs="+", help="first days of weeks to judge; all if absent"
    )
    parser.add_argument(
        "--entities", type=json.loads, help="the setting `entities` as JSON; by default the shipped ones"
    )
    parser.add_argument("--folder", help="where lake and home are kept; by default a temporary folder")
    parser.add_argument("--write", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _days(options: argparse.Namespace) -> Iterator[tuple[date, pa.Table]]:
    from fraud_retraining.simulation import Simulator

    yield from days_as_given(options.data) if options.data else Simulator(_policy(options))


def _policy(options: argparse.Namespace) -> Any:
    from fraud_retraining.simulation import SimulationPolicy

    return SimulationPolicy(
        start=next(days_as_given(options.data))[0] if options.data else START,
        days=DAYS,
        transactions_per_day=options.transactions_per_day,
        seed=options.seed,
        fraud_rate=FRAUD_RATE,
    )


def _write(options: argparse.Namespace) -> None:
    from fraud_retraining.commands.implementation.simulated_lake import LakeWriter
    from fraud_retraining.commands.support.options import SimulatedLabels
    from fraud_retraining.settings import load_settings
    from fraud_retraining.simulation.reports import ReportPolicy

    reports = ReportPolicy(median_days=options.report_days, latest_days=options.latest_days)
    writer = LakeWriter(load_settings(), _policy(options), SimulatedLabels.COLUMN, reports)
    written = []
    for day, table in _days(options):
        writer.put(day, table)
        written.append(str(day))
    print(json.dumps([written[0], written[-1]]))


def _replay(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The answer of the command, on a home of its own."""
    from fraud_retraining.simulation.reports import LABELLED_AT

    settings: dict[str, Any] = {"lake": {"uri": str(folder / "lake")}, "columns": {"labelled_at": LABELLED_AT}}
    settings |= {"entities": options.entities} if options.entities else {}
    config, policies = folder / "retraining.yaml", folder / "policies.yaml"
    config.write_text(json.dumps(settings))
    policies.write_text(json.dumps({MATURE: {"labels": {"use": "mature"}}}))
    environment = {**os.environ, "FRAUD_RETRAINING_HOME": str(folder / "home"), "FRAUD_RETRAINING_CONFIG": str(config)}

    def run(*command: str) -> str:
        return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment).stdout

    first, last = json.loads(run(sys.executable, "-m", "benchmarks.label_times", *sys.argv[1:], "--write"))
    served = date.fromisoformat(last) - timedelta(days=7 + SERVED - 1)
    until = date.fromisoformat(last) - timedelta(days=7)
    if options.weeks:
        served, until = min(options.weeks), max(options.weeks) + timedelta(days=6)
    product = (str(Path(sys.executable).with_name("fraud-retraining")),)
    run(*product, "ingest", "--from", first, "--to", last)
    dates = ("--from", str(served), "--to", str(until))
    return dict(json.loads(run(*product, "replay", *dates, "--policies", str(policies), "--json")))


def _print(found: dict[str, Any], options: argparse.Namespace) -> None:
    policies = {one["name"]: one for one in found["policies"]}
    for name in (PRESENT, MATURE):
        one = policies[name]
        days = {date.fromisoformat(day["day"]): day["average_precision"] for day in one["days"]}
        print(f"{name:20} average precision {one['average_precision']:.3f}, {one['retrains']} retrains")
        for week in options.weeks or ():
            print(f"{'':20} {week}: {fmean(days[week + timedelta(days=number)] for number in range(7)):.3f}")
    interval = policies[MATURE]["against_present"]["average_precision"]
    low, high = -interval["high"], -interval["low"]
    print(f"as known against mature: {-interval['value']:+.3f} [{low:+.3f}, {high:+.3f}]")


if __name__ == "__main__":
    main()
